// The console page in headless Chromium: first against a scripted gateway, for what the real programs reach seldom,
// then against the real programs. Timing is measured and printed, never asserted.

import { strict as assert } from 'node:assert';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { scriptedGateway } from './scripted-gateway.js';
import { startStack, until } from './stack.js';

const shotAt = process.argv.indexOf('--screenshot');
const shots = shotAt > 0 ? process.argv[shotAt + 1] : null;
const WIDE = { width: 1440, height: 900 }, NARROW = { width: 360, height: 780 };

let passed = 0, failed = 0, explain = () => '';
async function test(name, run) {
  try { await run(); passed++; console.log(`ok      ${name}`); }
  catch (error) { failed++; console.log(`FAILED  ${name}\n        ${String(error.stack ?? error).replace(/\n/g, '\n        ')}\n${explain()}`); }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? 'chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** A fresh page that remembers whatever it should not have done. */
async function open(url, viewport = WIDE) {
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(20000);
  page.asked = []; page.complaints = [];
  page.on('request', (request) => page.asked.push(request.url()));
  page.on('websocket', (socket) => page.asked.push(socket.url()));
  page.on('pageerror', (error) => page.complaints.push(String(error.stack)));
  page.on('console', (message) => { if (['error', 'warning'].includes(message.type())) page.complaints.push(message.text()); });
  await page.goto(url);
  return page;
}

const row = (page, symbol, state) => page.locator(`tr[data-symbol="${symbol}"]${state ? `[data-state=${state}]` : ''}`);
const card = (page, source) => page.locator(`.venue[data-source=${source}]`);
const symbols = (page) => page.locator('#rows tr').evaluateAll((all) => all.map((tr) => tr.dataset.symbol));
const text = async (locator) => (await locator.textContent()).replace(/\s+/g, ' ').trim();
/** How many chosen symbols are live, by the page's own count: rows out of view are painted when they come into view. */
const live = async (page) => Number(/(\d+) live/.exec(await text(page.locator('#count')))?.[1] ?? 0);

/** Types a name into the search, for one venue or any, and takes the first option. */
async function add(page, name, venue = '') {
  await page.locator('#of').selectOption(venue);
  await page.locator('#search').fill(name);
  await page.keyboard.press('Enter');
}

/** The bid of `symbol` becomes another one. */
async function moves(page, symbol) {
  const bid = row(page, symbol).locator('.bid'), before = await text(bid);
  await until(`${symbol} moves from ${before}`, async () => { const now = await text(bid); return now !== before && /^\d/.test(now); });
}

// ---- against a scripted gateway

const NAMES = ['EURUSD', 'GBPUSD', 'USDJPY', 'XAUUSD', 'AUDUSD', 'USDCAD', 'NZDUSD', ...Array.from({ length: 23 }, (_, i) => `SYM${String(i).padStart(3, '0')}`)];
const DOWN = { link: 'down', auth: 'none', data: 'idle' };

async function scripted(run, { tick_every_ms = 100, hash = '', viewport, names = NAMES } = {}) {
  const gateway = await scriptedGateway({ venues: [
    { source: 'ctrader', status: 'connected', symbols: names },
    { source: 'tradingview', status: 'connected', symbols: [], open: true },
    { source: 'ib', status: 'disconnected', symbols: [], health: { ...DOWN, causeCode: 'ingest_gone', cause: "no sign of life from the venue's ingest" } },
  ] });
  const timer = setInterval(() => gateway.tickAll(), tick_every_ms);
  const page = await open(`http://127.0.0.1:${gateway.port}/${hash}`, viewport);
  try { await run(page, gateway); } finally { clearInterval(timer); await page.close(); await gateway.stop(); }
}

await test('a first visit chooses a handful of symbols by itself and writes them into the address', () => scripted(async (page) => {
  await until('six live rows', async () => await live(page) === 6);
  assert.deepEqual(await symbols(page), ['EURUSD', 'GBPUSD', 'USDJPY', 'XAUUSD', 'AUDUSD', 'USDCAD']);
  await until('address', () => page.url().endsWith('#ctrader=EURUSD,GBPUSD,USDJPY,XAUUSD,AUDUSD,USDCAD'));
}));

await test('a shared link brings its symbols, and a name nobody offers says so', () => scripted(async (page) => {
  await row(page, 'EURUSD', 'live').waitFor();
  await row(page, 'NASDAQ:AAPL', 'live').waitFor();
  await row(page, 'NOSUCH', 'refused').waitFor();
  assert.match(await text(row(page, 'NOSUCH').locator('.state')), /ctrader does not offer it/);
  assert.equal((await symbols(page)).length, 3);
}, { hash: '#ctrader=EURUSD,NOSUCH&tradingview=NASDAQ:AAPL' }));

await test('markup in a name stays text', () => scripted(async (page) => {
  const name = '<img src=x onerror=alert(1)>';
  await until('the name as text', async () => (await symbols(page))[0] === name);
  assert.equal(await text(row(page, name.replaceAll('"', '\\"')).locator('.symbol b')), name);
  assert.equal(await page.locator('#rows img').count(), 0);
  assert.deepEqual(page.complaints, []);
}, { hash: `#ctrader=${encodeURIComponent('<img src=x onerror=alert(1)>')}` }));

await test("one venue's trouble is told in words and leaves the other's prices alone", () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  await row(page, 'NASDAQ:MSFT', 'live').waitFor();
  assert.match(await text(card(page, 'ib')), /No ingest for ib is running/);
  gateway.setVenue('ctrader', { status: 'error', health: { ...DOWN, auth: 'refused', causeCode: 'auth_refused', cause: 'credentials refused: CH_CLIENT_AUTH_FAILURE', attempt: 1 } });
  await until('refused in words', async () => /refused the credentials/.test(await text(card(page, 'ctrader').locator('.head'))));
  await row(page, 'EURUSD', 'stale').waitFor();
  assert.match(await text(card(page, 'tradingview').locator('.head')), /Prices are flowing/);
  await row(page, 'NASDAQ:MSFT', 'live').waitFor();
  await moves(page, 'NASDAQ:MSFT');
}, { hash: '#ctrader=EURUSD&tradingview=NASDAQ:MSFT' }));

await test('a venue without a list takes any name exactly as it is written, and its refusal is told in its words', () => scripted(async (page, gateway) => {
  gateway.refused.set('OANDA:NOSUCH', 'invalid symbol');
  await row(page, 'EURUSD', 'live').waitFor();
  const venue = card(page, 'tradingview');
  assert.match(await text(venue.locator('.size')), /any name/);
  // With the keyboard alone: the venue is picked beside the field, the name typed and taken.
  await page.locator('#of').focus();
  await page.keyboard.type('trad');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  assert.match(await text(page.locator('#found-note')), /tradingview has no list/);
  for (const name of ['1/XAUUSD', '1XAUUSD', 'BITSTAMP:BTCUSD*1000', 'BITSTAMP:BTCUSD', 'BIST:ŞİŞE', '={"symbol":"OANDA:EURUSD","session":"extended"}']) {
    await page.keyboard.press('Control+A');
    await page.keyboard.type(name);
    await page.keyboard.press('Enter');
    await until(`${name} is asked for`, () => gateway.requests.some(({ type, source, symbols }) => type === 'subscribe' && source === 'tradingview' && symbols.includes(name)));
    await until(`${name} is live`, async () => await page.locator('#rows tr[data-state=live]').evaluateAll((all, name) => all.some((tr) => tr.dataset.symbol === name && tr.dataset.source === 'tradingview'), name));
  }
  await page.keyboard.press('Control+A');
  await page.keyboard.type('OANDA:NOSUCH');
  await page.keyboard.press('Enter');
  await row(page, 'OANDA:NOSUCH', 'refused').waitFor();
  assert.match(await text(row(page, 'OANDA:NOSUCH').locator('.state')), /refused: invalid symbol/);
  await until('it is told to those who listen', async () => /tradingview OANDA:NOSUCH refused: invalid symbol/.test(await text(page.locator('#live'))));
  const held = await symbols(page);
  assert.equal(held.length, 8);
  await until('the address', () => page.url().includes('OANDA:NOSUCH'));
  await page.reload();
  await until('the address brings all of it back', async () => await live(page) === 7);
  assert.deepEqual(await symbols(page), held);
}, { hash: '#ctrader=EURUSD' }));

await test('a name typed in small letters is offered in capitals, too', () => scripted(async (page) => {
  await card(page, 'tradingview').getByRole('button', { name: 'Add by name' }).click();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'search');
  await page.keyboard.type('oanda:eurusd');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await row(page, 'OANDA:EURUSD', 'live').waitFor();
  assert.deepEqual(await symbols(page), ['OANDA:EURUSD']);
}, { hash: '#none' }));

await test('the same symbol of two venues is two rows, each with its venue', () => scripted(async (page) => {
  await row(page, 'EURUSD', 'live').first().waitFor();
  await add(page, 'EURUSD', 'tradingview');
  await until('two live rows', async () => await live(page) === 2);
  assert.deepEqual(await page.locator('#rows tr .symbol').evaluateAll((all) => all.map((td) => td.textContent)), ['EURUSDtradingview', 'EURUSDctrader']);
  await page.getByRole('button', { name: 'Remove tradingview EURUSD' }).click();
  await until('one is left', async () => (await page.locator('#rows tr').evaluateAll((all) => all.map((tr) => tr.dataset.source))).join() === 'ctrader');
  // A search of one venue finds nothing of another.
  await page.locator('#of').selectOption('ctrader');
  await page.locator('#search').fill('EURUSD');
  assert.equal(await page.locator('#found li').count(), 1);
}, { hash: '#ctrader=EURUSD' }));

await test('late prices are called delayed and not live, and a last trade stands in for quotes', () => scripted(async (page, gateway) => {
  gateway.manners.set('NYSE:IBM', { delayedS: 900 });
  gateway.manners.set('X:Y', { delayedS: 0 });
  gateway.manners.set('TVC:DXY', { trades: true });
  await row(page, 'NYSE:IBM', 'delayed').waitFor();
  await row(page, 'TVC:DXY', 'live').waitFor();
  assert.match(await text(row(page, 'NYSE:IBM').locator('.state')), /delayed 15 min/);
  await until('late by nobody knows how much', async () => /◷ delayed$/.test(await text(row(page, 'X:Y').locator('.state .word'))));
  await until('counted apart', async () => /4 chosen, 2 live, 2 delayed/.test(await text(page.locator('#count'))));
  await moves(page, 'NYSE:IBM');
  assert.match(await text(row(page, 'TVC:DXY').locator('.bid')), /^1\.\d{5}last$/);
  assert.equal(await text(row(page, 'TVC:DXY').locator('.ask')), '–');
  gateway.manners.delete('NYSE:IBM');
  await row(page, 'NYSE:IBM', 'live').waitFor();
}, { hash: '#ctrader=EURUSD&tradingview=NYSE:IBM,X:Y,TVC:DXY' }));

await test('what a venue tells of the day is shown where any does', () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  assert.equal(await page.locator('th.day').isVisible(), false);
  gateway.manners.set('NASDAQ:AAPL', { details: { bidSize: 3, askSize: 12.5, volume: 81234, change: -0.35, changePercent: -0.19, session: 'market' } });
  await add(page, 'NASDAQ:AAPL', 'tradingview');
  const day = row(page, 'NASDAQ:AAPL').locator('.day');
  await until('the day', async () => await text(day) === '-0.19 %');
  assert.equal(await day.locator('span').getAttribute('title'), 'change -0.35, volume 81,234, bid size 3, ask size 12.5, market');
  assert.equal(await page.locator('th.day').isVisible(), true);
  assert.equal(await text(row(page, 'EURUSD').locator('.day')), '–');
}, { hash: '#ctrader=EURUSD' }));

await test('missed ticks are counted and refusals keep their reason', () => scripted(async (page, gateway) => {
  gateway.refused.set('SYM003', 'the venue has no quotes for it');
  await row(page, 'EURUSD', 'live').waitFor();
  gateway.gap('ctrader', 'EURUSD', 7);
  gateway.gap('ctrader', 'EURUSD', 1200);
  await until('1,207 missed', async () => await text(row(page, 'EURUSD').locator('.missed')) === '1,207');
  await page.locator('#search').fill('SYM003');
  await page.keyboard.press('Enter');
  await row(page, 'SYM003', 'refused').waitFor();
  assert.match(await text(row(page, 'SYM003').locator('.state')), /no quotes for it/);
}, { hash: '#ctrader=EURUSD' }));

await test('a click on a symbol says why it is quiet, and follows how it goes on', () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  const box = page.locator('#why'), hops = box.locator('li');
  gateway.setWhy([['client', true, 'clients are subscribed'], ['leader', true, 'it answers'], ['login', false, 'the venue <b>refused</b> the credentials', 'the next try is in 90 s'], ['ticks', false, 'none for 65 s']]);
  assert.equal(await box.isVisible(), false);
  await row(page, 'EURUSD').locator('button.name').click();
  await until('four hops', async () => await hops.count() === 4);
  assert.match(await text(box.locator('#why-title')), /EURUSD/);
  assert.match(await text(box.locator('#why-summary')), /refused/);
  assert.deepEqual(await hops.evaluateAll((all) => all.map((li) => `${li.dataset.hop} ${li.dataset.ok} ${'first' in li.dataset}`)), ['client true false', 'leader true false', 'login false true', 'ticks false false']);
  assert.match(await text(hops.nth(2)), /<b>refused<\/b> the credentials \(for 1 min\)\. Next: the next try is in 90 s/);
  assert.equal(new URLSearchParams(gateway.whys[0]).get('symbol'), 'EURUSD');
  assert.equal(new URLSearchParams(gateway.whys[0]).get('source'), 'ctrader');

  gateway.setWhy('too many ask at the moment');
  await until('the trouble in words', async () => /too many ask/.test(await text(box.locator('#why-summary'))));
  gateway.setWhy([['client', true, 'clients are subscribed'], ['ticks', true, 'the last came 0.2 s ago']]);
  await until('it has healed', async () => /Every hop is as it should be/.test(await text(box.locator('#why-summary'))) && await hops.count() === 2);
  await page.keyboard.press('Escape');
  await until('closed', async () => !await box.isVisible());

  await page.locator('#rows button[tabindex="0"]').focus();
  await page.keyboard.press('?');
  await box.waitFor();
  await box.getByRole('button', { name: 'Close' }).click();
  await until('closed again', async () => !await box.isVisible());
  assert.deepEqual(page.complaints.filter((words) => !/429/.test(words)), []);
}, { hash: '#ctrader=EURUSD' }));

await test('a row that is not live, or has been quiet, offers by itself to say why', () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  const ask = row(page, 'EURUSD').getByRole('button', { name: 'Why is ctrader EURUSD quiet?' });
  assert.equal(await ask.isVisible(), false);
  gateway.setWhy([['ticks', false, 'none for 65 s']]);
  gateway.broadcast({ type: 'symbolState', source: 'ctrader', symbol: 'EURUSD', state: 'stale', code: 'STALE', message: 'no tick for 12 s, usually one each second' });
  await row(page, 'EURUSD', 'stale').waitFor();
  assert.match(await text(row(page, 'EURUSD').locator('.state')), /usually one each second/);
  assert.ok(await ask.evaluate((button) => button.scrollWidth <= button.clientWidth), 'its words fit');
  await ask.click();
  await until('the answer', async () => /none for 65 s/.test(await text(page.locator('#why-hops'))));
}, { hash: '#ctrader=EURUSD', tick_every_ms: 100000 }));

await test('a closed market is told with its next opening and is no failure', () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  const monday = Date.now() + 2 * 86400000, later = Date.now() + 9 * 86400000;
  const closed = (symbol, until) => gateway.broadcast({ type: 'symbolState', source: 'ctrader', symbol, state: 'closed', code: 'MARKET_CLOSED', message: 'the market is closed', until });
  closed('EURUSD', monday); closed('GBPUSD', later); closed('USDJPY', undefined);
  gateway.setVenue('ctrader', { health: { data: 'idle', causeCode: 'market_closed', cause: 'the market is closed' } });
  await row(page, 'EURUSD', 'closed').waitFor();
  const words = (at, far) => page.evaluate(([at, far]) => new Date(at).toLocaleString(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit', ...(far && { day: 'numeric', month: 'short' }) }), [at, far]);
  assert.ok((await text(row(page, 'EURUSD').locator('.state'))).includes(`closed: opens ${await words(monday, false)}`));
  assert.ok((await text(row(page, 'GBPUSD').locator('.state'))).includes(`closed: opens ${await words(later, true)}`));
  assert.match(await text(row(page, 'USDJPY').locator('.state')), /the market is closed/);
  const colour = (locator) => locator.evaluate((node) => getComputedStyle(node).color);
  assert.equal(await colour(row(page, 'EURUSD').locator('.word')), await colour(page.locator('body')));
  const venue = card(page, 'ctrader');
  await until('the venue says so', async () => (await text(venue.locator('.head'))).includes('the markets are closed'));
  assert.equal(await venue.getAttribute('data-tone'), 'good');
  assert.ok((await text(venue.locator('.hint'))).includes(`The next opens ${await words(monday, false)}`));
}, { hash: '#ctrader=EURUSD,GBPUSD,USDJPY', tick_every_ms: 100000 }));

await test('a symbol removed and added again in one go shows its price again', () => scripted(async (page) => {
  await row(page, 'EURUSD', 'live').waitFor();
  await page.locator('#search').fill('EURUSD');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await row(page, 'EURUSD', 'live').waitFor();
  await until('a price', async () => /^\d/.test(await text(row(page, 'EURUSD').locator('.bid'))));
}, { hash: '#ctrader=EURUSD', tick_every_ms: 100000 }));

await test('a request refused for its rate is made again', () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  gateway.limit(1);
  await page.locator('#search').fill('SYM004');
  await page.keyboard.press('Enter');
  await row(page, 'SYM004', 'live').waitFor();
}, { hash: '#ctrader=EURUSD' }));

await test('a name in another spelling meets its prices once the venue has told its own', () => scripted(async (page, gateway) => {
  await row(page, 'EUR/usd', 'pending').waitFor();
  gateway.broadcast({ type: 'tick', source: 'later', symbol: 'EURUSD', bid: 1.5, ask: 1.6, timestamp: Date.now(), receivedAt: Date.now(), epoch: '1', seq: 1 });
  await row(page, 'EURUSD', 'live').waitFor();
  assert.deepEqual(await symbols(page), ['EURUSD']);
}, { hash: '#later=EUR/usd' }));

await test('a goaway is followed by a move without a break', () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  const [before] = gateway.clients;
  gateway.broadcast({ type: 'goaway', reconnectInMs: 600 });
  await until('only the new connection is left', () => gateway.clients.size === 1 && !gateway.clients.has(before));
  assert.equal(gateway.peak, 2, 'the new connection was open before the old one closed');
  assert.equal(await page.locator('#gateway').getAttribute('data-state'), 'open');
  await moves(page, 'EURUSD');
  await until('six live', async () => await live(page) === 6);
}));

for (const code of [1012, 4002, 4400]) await test(`the page comes back after close code ${code}`, () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  const [before] = gateway.clients;
  gateway.closeAll(code, 'try again');
  await until('another connection', () => gateway.clients.size === 1 && !gateway.clients.has(before));
  await moves(page, 'EURUSD');
  await until('six live', async () => await live(page) === 6);
}));

for (const code of [4001, 4500]) await test(`the page stays away after close code ${code}, and says why`, () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  gateway.closeAll(code, 'not you');
  await page.locator('#gateway[data-state=stopped]').waitFor();
  assert.match(await text(page.locator('#gateway')), /not you/);
  await row(page, 'EURUSD', 'stale').waitFor();
  const asked = page.asked.length;
  await page.locator('#gateway-now').click();
  await until('comes back when told to', () => page.asked.length > asked);
  await row(page, 'EURUSD', 'live').waitFor();
}));

await test('a phone of 360 pixels needs no sideways scrolling', () => scripted(async (page, gateway) => {
  await row(page, 'EURUSD', 'live').waitFor();
  gateway.setVenue('ctrader', { status: 'reconnecting', health: { ...DOWN, data: 'stale', attempt: 12, retryInMs: 25000, causeCode: 'reset', cause: `connection lost: ${'a long story '.repeat(8)}` } });
  await row(page, 'EURUSD', 'stale').waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= NARROW.width);
  await page.keyboard.press('/');
  await page.keyboard.type('usd');
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= NARROW.width);
}, { viewport: NARROW }));

await test('a page fed 4,000 ticks/s (figures only)', () => scripted(async (page) => {
  await card(page, 'ctrader').getByRole('button', { name: /^All/ }).click();
  await until('200 live', async () => await live(page) === 200);
  await figures(page);
}, { tick_every_ms: 50, names: Array.from({ length: 200 }, (_, i) => `SYM${String(i).padStart(3, '0')}`) }));

// ---- against the real programs

let stack = null, page = null;
await test('the real programs start and the page opens', async () => {
  stack = await startStack();
  explain = stack.logs;
  page = await open(stack.url);
});

if (page) {
  await test('prices move by themselves, and each venue says how it is', async () => {
    await until('six live rows', async () => await live(page) === 6, 30000);
    const [first] = await symbols(page);
    await moves(page, first);
    await well('ctrader');
    await until('spread in pips', async () => /pips/.test(await text(row(page, first).locator('.spread'))), 30000);
    assert.match(await text(row(page, first).locator('.age')), /\d+ s/);
  });

  await test('nothing is asked from outside, the content policy is strict and holds', async () => {
    const header = (await fetch(stack.url)).headers.get('content-security-policy') ?? '';
    assert.match(header, /default-src '(self|none)'/);
    assert.doesNotMatch(header, /unsafe/);
    for (const url of page.asked) assert.match(url, /^(data:|(http|ws):\/\/127\.0\.0\.1:\d+\/)/);
    assert.deepEqual(page.complaints, []);
    const probe = await open(stack.url);
    assert.equal(await probe.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'window.inlineRan = true';
      document.body.append(script);
      return window.inlineRan;
    }), undefined);
    await probe.close();
  });

  await test('a symbol is found, added and removed with the keyboard alone', async () => {
    const held = await symbols(page);
    const answer = await (await fetch(new URL('api/v1/symbols?source=ctrader', stack.url))).json();
    const offered = (answer.data.symbols ?? answer.data).map((item) => item.symbol ?? item);
    const wanted = offered.find((symbol) => !held.includes(symbol) && symbol.length > 4);
    await page.keyboard.press('/');
    await page.keyboard.type(wanted.toLowerCase());
    const active = () => page.evaluate(() => document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))?.textContent ?? '');
    await until('it is the active option', async () => (await active()).startsWith(wanted));
    await page.keyboard.press('Enter');
    await row(page, wanted, 'live').waitFor();
    await moves(page, wanted);
    await until('the address has it', () => decodeURIComponent(page.url()).includes(wanted));
    await page.keyboard.press('Escape');
    await page.keyboard.press('ArrowDown');
    const second = await active();
    await page.keyboard.press('ArrowDown');
    assert.notEqual(await active(), second);
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement.id), '');
    await page.locator('#rows button[tabindex="0"]').focus();
    await page.keyboard.press('End');
    await page.keyboard.press('Home');
    assert.equal(await page.evaluate(() => document.activeElement.closest('tr').dataset.symbol), wanted);
    await page.keyboard.press('Delete');
    await until('it is gone', async () => !(await symbols(page)).includes(wanted));
    assert.deepEqual(await symbols(page), held);
  });

  await test('the venue is cut: the page says reconnecting with attempt and countdown, and heals by itself', async () => {
    const [first] = await symbols(page), head = card(page, 'ctrader').locator('.head');
    await stack.fault('POST', 'ctrader', 'refuse');
    await stack.fault('POST', 'ctrader', 'cut');
    try { await reconnecting(first, head); } finally { await stack.fault('DELETE', 'ctrader', 'refuse'); }
    await until('all rows live again', async () => await live(page) === (await symbols(page)).length, 60000);
    await moves(page, first);
    assert.match(await text(head), /Prices are flowing/);
    await row(page, first).locator('button.name').click();
    await until('the whole way is right', async () => /^Every hop is as it should be/.test(await text(page.locator('#why-summary'))));
    assert.equal(await page.locator('#why li[data-ok=false]').count(), 0);
    await page.keyboard.press('Escape');
  });

  async function reconnecting(first, head) {
    await card(page, 'ctrader').and(page.locator('[data-status=reconnecting]')).waitFor();
    const seen = new Set();
    await until('attempt and countdown, counting down', async () => {
      const said = /Reconnecting, attempt (\d+), next try in (\d+) s/.exec(await text(head));
      if (said) seen.add(`${said[1]}/${said[2]}`);
      return [...seen].some((a) => [...seen].some((b) => a.split('/')[0] === b.split('/')[0] && a !== b)) && [...seen].some((a) => Number(a.split('/')[0]) >= 2);
    }, 60000);
    assert.match(await text(card(page, 'ctrader').locator('.hint')), /Cause: \w+/);
    await until('none is called live', async () => await live(page) === 0);
    await until('the row says whom it waits for', async () => /waiting for ctrader|ctrader is away/.test(await text(row(page, first).locator('.state'))));
    assert.equal(await page.locator('#gateway').getAttribute('data-state'), 'open');
    await row(page, first).locator('button.name').click();
    await page.locator('#why li[data-hop=link][data-first]').waitFor();
    assert.match(await text(page.locator('#why-summary')), /^Link: .*(refused|attempt)/);
    await page.keyboard.press('Escape');
    assert.match(await text(page.locator('#live')), /ctrader: /);
    if (shots) { await page.emulateMedia({ colorScheme: 'dark' }); await page.screenshot({ path: join(shots, 'console-down.png') }); await page.emulateMedia({ colorScheme: 'light' }); }
  }

  await test('free text subscribes at a venue without a list, an unknown name is refused with the reason', async () => {
    for (const name of ['1/XAUUSD', 'BITSTAMP:BTCUSD*1000', 'OANDA:EURUSD']) {
      await add(page, name, 'tradingview');
      await row(page, name, 'live').waitFor();
    }
    for (const name of ['BITSTAMP:BTCUSD*1000', 'OANDA:EURUSD']) await moves(page, name);
    for (const name of ['BIST:ŞİŞE', 'NYSE:IBM']) {
      await add(page, name, 'tradingview');
      await row(page, name, 'delayed').waitFor();
    }
    assert.match(await text(row(page, 'NYSE:IBM').locator('.state')), /delayed 15 min/);
    await add(page, 'OANDA:NOSUCH', 'tradingview');
    await row(page, 'OANDA:NOSUCH', 'refused').waitFor();
    assert.match(await text(row(page, 'OANDA:NOSUCH').locator('.state')), /refused: .*invalid symbol/);
    await well('tradingview');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    if (shots) await pictures();
    await page.getByRole('button', { name: 'Remove tradingview OANDA:NOSUCH' }).click();
  });

  for (const [cut, other] of [['ctrader', 'tradingview'], ['tradingview', 'ctrader']]) await test(`${cut} is cut: only its status changes, ${other}'s rows keep moving`, async () => {
    const first = { ctrader: 'EURUSD', tradingview: 'OANDA:EURUSD' }[other];
    await page.evaluate(watchVenue, other);
    await stack.fault('POST', cut, 'refuse');
    await stack.fault('POST', cut, 'cut');
    try {
      await card(page, cut).and(page.locator('[data-status=reconnecting]')).waitFor();
      await until('none of its rows is called live', async () => await page.locator(`#rows tr[data-source=${cut}]:is([data-state=live], [data-state=delayed])`).count() === 0);
      for (let i = 0; i < 3; i++) await moves(page, first);
      if (shots) await page.screenshot({ path: join(shots, `console-cut-${cut}.png`) });
    } finally { await stack.fault('DELETE', cut, 'refuse'); }
    await until('all its rows go on', async () => await page.locator(`#rows tr[data-source=${cut}]:not([data-state=live], [data-state=delayed])`).count() === 0, 60000);
    await moves(page, first);
    assert.deepEqual(await page.evaluate(() => window.otherChanged), []);
  });

  await test('the gateway is killed and restarted: the page reconnects and subscribes again by itself', async () => {
    const before = await symbols(page), flowing = async () => await page.locator('#rows tr:is([data-state=live], [data-state=delayed])').count();
    page.complaints.length = 0;
    await stack.gateway.kill('SIGKILL');
    await page.locator('#gateway[data-state=waiting]').waitFor();
    assert.match(await text(page.locator('#gateway')), /reconnecting in \d+ s.*attempt \d+/);
    await until('rows say they are not live', async () => await live(page) === 0);
    await stack.restartGateway();
    await until('all rows go on', async () => await flowing() === before.length, 60000);
    assert.deepEqual(await symbols(page), before);
    for (const symbol of ['OANDA:EURUSD', 'EURUSD']) await moves(page, symbol);
    for (const complaint of page.complaints) assert.match(complaint, /WebSocket connection to .* failed/);
  });

  await test('200 symbols at 20 ticks/s each (figures only)', async () => {
    await card(page, 'tradingview').getByRole('button', { name: 'None' }).click();
    await card(page, 'ctrader').getByRole('button', { name: /^All/ }).click();
    await until('200 live', async () => await live(page) === 200, 60000);
    await figures(page);
    if (shots) await page.screenshot({ path: join(shots, 'console-200.png') });
  });
}

/** All three axes of the venue are as they should be, and say since when. */
async function well(venue) {
  for (const [name, word] of [['Link', 'up'], ['Login', 'ok'], ['Data', 'live']]) await until(`${name} of ${venue} is ${word}`, async () => new RegExp(`${word}.*for \\d+`).test(await text(card(page, venue).locator('.axis', { hasText: name }))));
}

/** In the page: keeps in `otherChanged` whatever from now on is said of a venue's status, axes or rows. */
function watchVenue(source) {
  window.otherChanged = [];
  window.otherObserver?.disconnect();
  window.otherObserver = new MutationObserver((changes) => { for (const { target, attributeName, oldValue } of changes) {
    const now = target.getAttribute(attributeName);
    if (now !== oldValue) window.otherChanged.push(`${target.dataset.symbol ?? target.className} ${attributeName}: ${oldValue} -> ${now}`);
  } });
  const watch = (node) => window.otherObserver.observe(node, { attributes: true, attributeOldValue: true, attributeFilter: ['data-status', 'data-tone', 'data-state'] });
  for (const node of document.querySelectorAll(`[data-source=${source}], [data-source=${source}] .axis`)) watch(node);
}

async function figures(page) {
  const measured = await page.evaluate(measure, 10000);
  console.log(`        ${JSON.stringify({ ...measured, gateway: await text(page.locator('#gateway-detail')) })}`);
}

/** In the page: long tasks and frame times of the next `for_ms`. */
function measure(for_ms) {
  return new Promise((done) => {
    const long_tasks_ms = [], frames = [];
    new PerformanceObserver((list) => long_tasks_ms.push(...list.getEntries().map((entry) => Math.round(entry.duration)))).observe({ type: 'longtask' });
    let last = performance.now();
    const end = last + for_ms;
    requestAnimationFrame(function next(at) {
      frames.push(at - last); last = at;
      if (at < end) return requestAnimationFrame(next);
      frames.sort((a, b) => a - b);
      const quantile = (q) => Number(frames[Math.min(frames.length - 1, Math.floor(frames.length * q))].toFixed(1));
      done({ long_tasks_ms, frames: frames.length, frame_ms_p50: quantile(0.5), frame_ms_p99: quantile(0.99), frame_ms_max: quantile(1), heap_mib: Math.round((performance.memory?.usedJSHeapSize ?? 0) / 2 ** 20) });
    });
  });
}

/** Pictures for people, of a page that has run for a minute so that the sparklines are full. */
async function pictures() {
  await page.locator('#of').selectOption('');
  await page.waitForTimeout(62000);
  await page.evaluate(() => document.activeElement.blur());
  await page.mouse.move(0, 0);
  await page.screenshot({ path: join(shots, 'console.png') });
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.screenshot({ path: join(shots, 'console-dark.png') });
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize(NARROW);
  await page.waitForTimeout(1500);
  await page.screenshot({ path: join(shots, 'console-narrow.png') });
  await page.setViewportSize(WIDE);
}

await browser.close();
await stack?.stop();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
