// The client of clients/js in headless Chromium, as a gateway serves it: gateways are killed, started again, drained and
// black-holed, and a proxy refuses WebSockets. A gateway nobody touches says what happened; each consumer must have got each
// tick once, merged with a count, or in a gap, in order.

import { strict as assert } from 'node:assert';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';
import { judge, proxy, RATES, seqOf, SOCKETS, SYMBOLS, Truth } from '../../../clients/js/test/live/truth.js';
import { freePort, startStack, until } from './stack.js';

let passed = 0, failed = 0;
async function test(name, run) {
  try { await run(); passed++; console.log(`ok      ${name}`); }
  catch (error) { failed++; console.log(`FAILED  ${name}\n        ${String(error.stack ?? error).replace(/\n/g, '\n        ')}\n${stack?.logs() ?? ''}`); }
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? 'chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const stack = await startStack(), truth = new Truth(stack.url);

// A page of somebody else: empty, without the console's policy, with the client as a gateway serves it.
const site = createServer(async (request, response) => {
  if (request.url === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>client</title><link rel="icon" href="data:,">');
  if (request.url.startsWith('/example')) return response.writeHead(200, { 'content-type': 'text/html' }).end(readFileSync(new URL('../../../clients/js/example.html', import.meta.url)));
  response.writeHead(200, { 'content-type': 'text/javascript' }).end(await (await fetch(new URL(request.url, stack.url))).text());
});
await new Promise((done) => { site.listen(0, '127.0.0.1', done); });

/** Their rings, filled from the history, reach further back than any outage here takes. */
const SETTINGS = { DRAIN_MS: '3000', RING_TICKS: '1000' };
async function gateways(count) {
  const all = [];
  for (let i = 0; i < count; i++) {
    const port = await freePort();
    all.push({ port, url: `ws://127.0.0.1:${port}/ws`, program: await stack.startGateway(port, SETTINGS) });
  }
  return all;
}

/** A page with a client at these gateways and every kind of consumer. */
async function open(urls) {
  const page = await browser.newPage();
  page.complaints = [];
  page.on('pageerror', (error) => page.complaints.push(String(error.stack)));
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  await page.evaluate(async ([urls, symbols, rates]) => {
    const { Tickcast } = await import('/tickcast.js');
    window.feed = new Tickcast(urls);
    window.consumers = symbols.flatMap((symbol) => rates.map((rate) => {
      const consumer = { symbol, rate, events: [] };
      window.feed.subscribe({ symbols: symbol, ...rate }, (event) => consumer.events.push(event));
      return consumer;
    }));
  }, [urls, SYMBOLS, RATES]);
  return Object.assign(page, {
    told: () => page.evaluate(() => window.consumers),
    connection: () => page.evaluate(() => window.feed.connection),
    stats: () => page.evaluate(() => window.feed.stats),
  });
}

/** Waits until every consumer of the page has what the truth has now. */
async function isCurrent(page, within_ms = 30000) {
  const goal = new Map(SYMBOLS.map((symbol) => [symbol, truth.channel(symbol).ticks.at(-1).seq + 10]));
  await until('every consumer has the newest', async () => (await page.told()).every((consumer) => seqOf(consumer) >= goal.get(consumer.symbol)), within_ms).catch(async (error) => {
    const told = (await page.told()).map(({ symbol, rate, events }) => [symbol, JSON.stringify(rate), events.length, JSON.stringify(events.at(-1))].join(' '));
    throw new Error([error.message, JSON.stringify(await page.connection()), JSON.stringify(await page.stats()), ...told, ...page.complaints].join('\n'));
  });
}

async function end(page) {
  await page.evaluate(() => window.feed.close());
  const consumers = await page.told();
  const missed = await judge(truth, consumers);
  console.log(`        missed, of ${consumers.length} consumers: ${missed}`);
  assert.deepEqual(page.complaints, []);
  await page.close();
  return missed;
}

await until('the truth flows', () => SYMBOLS.every((symbol) => truth.channel(symbol).ticks.length > 20), 40000);

await test('killed and started again, left for another, drained: the page goes on', async () => {
  const [a, b] = await gateways(2), page = await open([a.url, b.url]);
  await isCurrent(page);
  await a.program.kill('SIGKILL');
  await isCurrent(page);
  assert.equal((await page.connection()).url, b.url);
  a.program = await stack.startGateway(a.port, SETTINGS);
  await b.program.kill('SIGTERM');
  await isCurrent(page);
  assert.deepEqual([(await page.connection()).url, (await page.stats()).moves], [a.url, 1]);
  await a.program.kill('SIGKILL');
  a.program = await stack.startGateway(a.port, SETTINGS);
  await isCurrent(page);
  assert.equal(await end(page), 0);
  await a.program.kill('SIGTERM');
});

await test('a drain alone loses nothing and tells nothing twice', async () => {
  const [a, b] = await gateways(2), page = await open([a.url, b.url]);
  await isCurrent(page);
  await a.program.kill('SIGTERM');
  await isCurrent(page);
  assert.equal((await page.connection()).url, b.url);
  assert.equal(await end(page), 0);
  await b.program.kill('SIGTERM');
});

await test('a way that falls silent is left after 30 s, and one that refuses WebSockets serves events', async () => {
  const [a, b] = await gateways(2), hole = await proxy(a.port), strict = await proxy(b.port);
  strict.refuses = SOCKETS;
  const silent = await open([hole.url, b.url]), refused = await open([strict.url]);
  await isCurrent(silent);
  hole.isHole = true;
  await isCurrent(refused);
  assert.equal((await refused.connection()).transport, 'events');
  await until('the other way', async () => { const { url, state } = await silent.connection(); return url === b.url && state === 'open'; }, 60000);
  await isCurrent(silent);
  strict.refuses = null;
  await until('WebSocket again', async () => (await refused.connection()).transport === 'websocket', 90000);
  await isCurrent(refused);
  assert.equal(await end(silent), 0);
  assert.equal(await end(refused), 0);
  hole.close();
  strict.close();
  for (const gateway of [a, b]) await gateway.program.kill('SIGTERM');
});

await test('the example shows prices, ticks and bars', async () => {
  const page = await browser.newPage(), complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error.stack)));
  await page.goto(`http://127.0.0.1:${site.address().port}/example.html?gateway=${stack.url}&symbols=EURUSD,XAUUSD`);
  await until('both rows', async () => {
    const rows = await page.locator('#rows tr').allInnerTexts();
    return rows.length === 2 && rows.every((row) => /^(EURUSD|XAUUSD)\t[\d.]+\t[\d.]+\t\d{2,}\t[\d.]+ to [\d.]+, \d+ ticks/.test(row));
  });
  assert.match(await page.locator('#connection').innerText(), /^open, websocket/);
  assert.deepEqual(complaints, []);
  await page.close();
});

truth.socket.close();
await browser.close();
site.close();
await stack.stop();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
