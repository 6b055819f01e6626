// Tickcast console: venue health and live prices from one gateway, over the client that any page may use.
//
// What the client tells changes a model and nothing else; one animation frame paints the rows that changed and are in view.

import { Tickcast } from '../tickcast.js';
import { $, count, duration, el, lookup, mark, notice, number, put, say } from './page.js';
import { startSearch } from './search.js';
import { BUCKET_MS, drawSpark, noSamples, sample } from './spark.js';
import { venueCards } from './venue-card.js';
import { askWhyAgain, whyQuiet } from './why.js';

const ROWS_MAX = 1000;              // MAX_SUBSCRIPTIONS of a gateway as it comes
const PLACES_TICKS = 200;         // so many ticks show how many decimals a symbol has
const QUIET_AFTER_MS = 10000;       // a live row this long without a tick offers to say why
const NAMES_MAX = 50000;
const FIRST_COUNT = 6, FIRST_CHOICE = ['EURUSD', 'GBPUSD', 'USDJPY', 'XAUUSD', 'US30', 'BTCUSD', 'AUDUSD', 'USDCHF', 'USDCAD'];
const CALM = matchMedia('(prefers-reduced-motion: reduce)').matches;

const local = () => performance.timeOrigin + performance.now();
const serverNow = () => feed.serverNow();

const countdown = (at) => `${Math.max(0, Math.ceil((at - local()) / 1000))} s`;

// ---- model

const venues = new Map();           // source -> venue
const rows = new Map();             // source + newline + symbol -> row: the wanted set, in order
const dirty = new Set();            // rows whose cells are behind the model
const keyOf = (source, symbol) => `${source}\n${symbol}`;
let ticks = 0, ticksPerS = 0, firstOpen = false, defaultSource = null;

function addRow(source, symbol, first = false) {
  const key = keyOf(source, symbol);
  if (rows.has(key)) return null;
  if (rows.size >= ROWS_MAX) { notice(`This page shows up to ${count(ROWS_MAX)} symbols; remove some first.`); return null; }
  const row = {
    key, source, symbol, about: '', bid: null, ask: null, mid: null, dir: 0, at: 0, ticks: 0,
    state: 'pending', code: '', message: '', until: 0, delayedS: null, day: {}, gaps: 0, missed: 0, digits: 0, pip: null,
    ...noSamples(), inView: false, ui: null,
  };
  rows.set(key, row);
  knowInstrument(row);
  mountRow(row, first);
  row.subscription = feed.subscribe({ symbols: symbol, source }, (event) => heard(row, event));
  return row;
}

function removeRow(row) {
  row.subscription?.close();
  rows.delete(row.key);
  dirty.delete(row);
  unmountRow(row);
}

/** Adds or removes the chosen symbols, then brings address bar and words in line. */
function choose(source, symbols, wanted) {
  firstOpen = false;
  for (const symbol of symbols) {
    // A single choice goes where the reader sees it, a list keeps its order at the end.
    if (wanted) { if (!addRow(source, symbol, symbols.length === 1) && rows.size >= ROWS_MAX) break; }
    else { const row = rows.get(keyOf(source, symbol)); if (row) removeRow(row); }
  }
  changed();
}

function changed() { writeHash(); paintWords(); }

function knowInstrument(row) {
  const known = venues.get(row.source)?.names.get(row.symbol);
  if (!known) return;
  row.about = known.about ?? row.about;
  row.digits = Math.max(row.digits, known.digits ?? 0);
  row.pip = known.pip ?? row.pip;
}

// ---- the connection to the gateway

const feed = new Tickcast();
const link = { ...feed.connection, rtt: Infinity, retryAt: 0, why: '' };
const isOpen = () => link.state === 'open';

feed.on('connection', (now) => {
  const wasOpen = isOpen(), { state } = link;
  Object.assign(link, now, { retryAt: now.retryInMs === undefined ? 0 : local() + now.retryInMs });
  if (now.code !== undefined) link.why = closeWords(now.code, now.reason);
  if (isOpen() && !wasOpen) say('Connected to the gateway.');
  if (wasOpen && !isOpen()) {
    for (const row of rows.values()) { row.cut = true; touch(row); }
    if (now.state !== 'stopped') say('The connection to the gateway is lost; reconnecting.');
  }
  if (now.state === 'stopped' && state !== 'stopped') say(link.why);
  paintWords();
});
feed.on('status', onStatus);
feed.on('latency', ({ rttMs }) => { link.rtt = rttMs; });
feed.on('error', (m) => { if (m.code !== 'NOT_SUBSCRIBED') notice(`The gateway says: ${m.message ?? m.code}`); });

function closeWords(code, reason) {
  const words = {
    1001: 'The gateway is going away', 1012: 'The gateway is restarting', 1008: 'The gateway refused this page (policy)', 1009: 'The gateway found a message too big',
    4001: 'The gateway wants a login this page does not have', 4002: 'This page could not keep up', 4003: 'The gateway has no room for another connection', 4004: 'The handshake took too long',
  }[code] ?? (code >= 4500 ? 'The gateway asks this page not to come back' : link.attempt > 1 ? 'The gateway does not answer' : 'The connection was lost');
  return reason ? `${words}: ${reason}` : words;
}

// ---- what a row is told

function heard(row, event) {
  // Asked for before the venue's list was known, it may come back in the venue's spelling.
  if (event.symbol !== row.symbol && !respell(row, event.symbol)) return;
  if (event.type === 'tick') onTick(row, event);
  else if (event.type === 'symbolState') onSymbolState(row, event);
  else if (event.type === 'gap') { row.gaps += 1; row.missed += event.missed ?? 0; touch(row); }
}

function onTick(row, tick) {
  ticks++;
  row.at = tick.receivedAt ?? tick.timestamp;
  row.bid = tick.bid ?? null; row.ask = tick.ask ?? null;
  // Numbers do not show their last zeros, so it takes some to see how many places there are.
  const shown = row.bid === null && row.ask === null ? [tick.price] : [row.bid, row.ask];
  if (row.pip === null && row.ticks++ < PLACES_TICKS) for (const price of shown) row.digits = Math.max(row.digits, String(price ?? '').split('.')[1]?.length ?? 0);
  if (row.delayedS !== (tick.delayedS ?? null)) { row.delayedS = tick.delayedS ?? null; paintWordsSoon(); }
  row.day = tick;
  const mid = tick.price ?? (row.bid !== null && row.ask !== null ? (row.bid + row.ask) / 2 : row.bid ?? row.ask);
  if (row.mid === null) learnInstrumentsSoon();
  if (mid !== row.mid) { if (row.mid !== null) row.dir = mid > row.mid ? 1 : -1; row.mid = mid; }
  if (!tick.snapshot && (row.state === 'pending' || row.state === 'stale')) setState(row, 'live', '', '', 0);
  sample(row, serverNow());
  touch(row);
}

function setState(row, state, code, message, until) {
  Object.assign(row, { state, code: code ?? '', message: message ?? '', until: until ?? 0 });
  if (state !== 'live') row.cut = true;
  touch(row);
  paintWordsSoon();
}

function onSymbolState(row, m) {
  const news = m.state === 'refused' && row.state !== 'refused';
  setState(row, m.state, m.code, m.message, m.until);
  if (news) say(`${fullName(row)} refused: ${why(row, 'refused')}.`);
}

/** The venue spells the symbol another way than the link or the reader did; false where there is such a row already. */
function respell(row, symbol) {
  const key = keyOf(row.source, symbol);
  if (rows.has(key)) { removeRow(row); writeHash(); return false; }
  rows.delete(row.key);
  Object.assign(row, { key, symbol });
  rows.set(key, row);
  knowInstrument(row);
  nameRow(row); writeHash();
  return true;
}

function onStatus(m) {
  defaultSource ??= m.source;
  let venue = venues.get(m.source);
  if (!venue) venues.set(m.source, venue = { source: m.source, word: '', health: {}, names: new Map(), seenUp: false, listed: false, open: false, retryAt: 0, ui: null, said: '' });
  const health = m.health ?? {};
  const wait = health.retryInMs ?? m.delay;
  venue.word = m.status; venue.health = health; venue.text = m.message ?? '';
  venue.attempt = health.attempt ?? m.attempt ?? 0;
  venue.retryAt = wait == null ? 0 : local() + wait - (link.rtt < Infinity ? Math.min(2000, Math.max(0, serverNow() - m.timestamp)) : 0);
  venue.seenUp ||= health.link === 'up';
  if (m.availableSymbols) { venue.open = m.open === true; learnNames(venue, m.availableSymbols); }
  for (const row of rows.values()) if (row.source === venue.source) { if (!flows(row)) row.cut = true; touch(row); }
  if (firstOpen && venue.names.size) {
    const names = [...venue.names.keys()], liked = FIRST_CHOICE.filter((name) => venue.names.has(name));
    choose(venue.source, [...new Set([...liked, ...names])].slice(0, FIRST_COUNT), true);
  }
  paintWords();
}

function learnNames(venue, list) {
  if (!list.length) return;
  venue.listed = true;
  const before = venue.names;
  venue.names = new Map();
  for (const item of list.slice(0, NAMES_MAX)) learnName(venue, item, before);
}

function learnName(venue, item, before = venue.names) {
  const symbol = typeof item === 'string' ? item : item?.symbol;
  if (!symbol || venue.names.size >= NAMES_MAX) return;
  const known = before.get(symbol) ?? { key: lookup(symbol) };
  if (typeof item === 'object') {
    known.about = item.description || known.about; known.digits = item.digits ?? known.digits; known.pip = item.pipPosition ?? known.pip;
  }
  venue.names.set(symbol, known);
}

// ---- instruments: digits and pip position are known to the gateway once somebody wanted the symbol

const instruments = { timer: 0, tries: 0 };
function learnInstrumentsSoon() {
  instruments.tries = 0;
  if (!instruments.timer) instruments.timer = setTimeout(learnInstruments, 700);
}

async function learnInstruments() {
  const unknown = (row) => row.pip === null && row.state !== 'refused' && !venues.get(row.source)?.open;
  const lacking = new Set([...rows.values()].filter((row) => unknown(row) && row.mid !== null).map((row) => row.source));
  for (const source of lacking) {
    await fetchNames(source, '');
    for (const row of rows.values()) if (row.source === source) { knowInstrument(row); touch(row); }
  }
  const waiting = [...rows.values()].some(unknown);
  instruments.timer = waiting && instruments.tries++ < 8 ? setTimeout(learnInstruments, 1000 * 2 ** instruments.tries) : 0;
}

async function fetchNames(source, q, signal) {
  try {
    const url = new URL('api/v1/symbols', location.href);
    url.search = new URLSearchParams(q ? { source, q } : { source });
    const answer = await (await fetch(url, { signal })).json();
    const list = answer.data?.symbols ?? answer.data;
    const venue = venues.get(source);
    if (venue && Array.isArray(list)) for (const item of list) learnName(venue, item);
  } catch { /* the list of the status message is enough to go on with */ }
}

// ---- the address bar holds the wanted set: #ctrader=EURUSD,GBPUSD&ib=AAPL

const escapeName = (name) => encodeURIComponent(name).replace(/%3A/g, ':').replace(/%2F/g, '/');
let hashTimer = 0, ownHash = '';

function writeHash() {
  clearTimeout(hashTimer);
  hashTimer = setTimeout(() => {
    const bySource = new Map();
    for (const { row: { source, symbol } } of $('rows').children) bySource.set(source, [...(bySource.get(source) ?? []), escapeName(symbol)]);
    ownHash = '#' + ([...bySource].map(([source, names]) => `${escapeName(source)}=${names.join(',')}`).join('&') || 'none');
    history.replaceState(null, '', ownHash);
  }, 150);
}

function readHash() {
  const wanted = new Map();
  for (const part of location.hash.slice(1).split('&')) {
    const [source, names] = part.split('=');
    if (!names) continue;
    for (const name of names.split(',')) try { wanted.set(keyOf(decodeURIComponent(source), decodeURIComponent(name)), 1); } catch { /* a broken escape names nothing */ }
  }
  for (const row of [...rows.values()]) if (!wanted.has(row.key)) removeRow(row);
  for (const key of wanted.keys()) { const [source, symbol] = key.split('\n'); if (source && symbol) addRow(source, symbol); }
  firstOpen = location.hash.length < 2;
  paintWords();
}

// ---- rows

const inView = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const row = target.row;
    if (!row) continue;
    row.inView = isIntersecting;
    if (isIntersecting) { row.drawn = -1; touch(row); } else if (row.ui) row.ui.canvas.width = 0;
  }
}, { rootMargin: '160px' });

function mountRow(row, first) {
  const cell = (name, ...kids) => { const td = el('td', { className: name }, ...kids); td.setAttribute('role', 'cell'); return td; };
  const price = () => [el('span'), el('span', { className: 'pip' }), el('span')];
  const asks = (name, text) => el('button', { type: 'button', className: name, tabIndex: -1, ariaHasPopup: 'dialog', onclick: () => whyQuiet(row, fullName(row)) }, text);
  const ui = { name: asks('name', ''), offer: asks('offer', 'Why?'), tag: el('small'), bid: price(), ask: price(), trade: el('span', { className: 'unit' }), spread: el('span'), unit: el('span', { className: 'unit' }), canvas: el('canvas', { width: 0 }), day: el('span'), word: el('span', { className: 'word' }), why: el('span', { className: 'why' }), button: el('button', { type: 'button', tabIndex: -1 }, '×') };
  ui.canvas.setAttribute('aria-hidden', 'true');
  ui.dir = cell('dir'); ui.age = cell('age'); ui.missed = cell('missed'); ui.state = cell('state', ui.offer, ui.word, ui.why);
  ui.tr = el('tr', {}, cell('symbol', el('b', {}, ui.name), ui.tag), cell('bid', ...ui.bid, ui.trade), ui.dir, cell('ask', ...ui.ask), cell('spread', ui.spread, ui.unit), cell('day', ui.day), cell('spark', ui.canvas), ui.age, ui.missed, ui.state, cell('drop', ui.button));
  ui.tr.setAttribute('role', 'row');
  ui.tr.row = row;
  ui.button.onclick = () => dropRow(row);
  ui.last = { bid: '', ask: '' };
  row.ui = ui;
  nameRow(row);
  $('rows')[first ? 'prepend' : 'append'](ui.tr);
  inView.observe(ui.tr);
  touch(row);
}

const tagOf = (source) => venues.size > 1 || source !== (defaultSource ?? source) ? source : '';
/** A symbol for ears: with its venue, where there is more than one. */
const fullName = ({ symbol, source }) => [tagOf(source), symbol].filter(Boolean).join(' ');

function nameRow(row) {
  const { ui, symbol, source, about } = row, tag = tagOf(source);
  put(ui.name, symbol); put(ui.tag, tag);
  ui.tr.dataset.symbol = symbol; ui.tr.dataset.source = source;
  ui.name.title = about || symbol;
  ui.button.setAttribute('aria-label', `Remove ${fullName(row)}`);
  ui.offer.setAttribute('aria-label', `Why is ${fullName(row)} quiet?`);
}

function unmountRow(row) { inView.unobserve(row.ui.tr); row.ui.tr.row = null; row.ui.tr.remove(); row.ui = null; }

function dropRow(row) {
  const next = row.ui.tr.nextElementSibling ?? row.ui.tr.previousElementSibling;
  choose(row.source, [row.symbol], false);
  say(`${fullName(row)} removed.`);
  if (next) focusRow(next); else search.focus();
}

function focusRow(tr) {
  for (const button of $('rows').querySelectorAll('button[tabindex="0"]')) button.tabIndex = -1;
  tr.row.ui.button.tabIndex = 0;
  tr.row.ui.button.focus();
}

// One tab stop for the whole table; arrows move inside it.
$('rows').onkeydown = (event) => {
  const tr = event.target.closest('tr'), all = $('rows').children;
  if (!tr) return;
  const to = { ArrowDown: tr.nextElementSibling, ArrowUp: tr.previousElementSibling, Home: all[0], End: all[all.length - 1] }[event.key];
  if (to !== undefined) { event.preventDefault(); if (to) focusRow(to); }
  else if (event.key === '?') { event.preventDefault(); whyQuiet(tr.row, fullName(tr.row)); }
  else if (event.key === 'Delete' || event.key === 'Backspace') { event.preventDefault(); dropRow(tr.row); }
};

/** The state a reader should believe: a row is only as live as the way to it, and prices that come late are not live. */
function shown(row) {
  if (row.state !== 'live') return row.state;
  const health = venues.get(row.source)?.health;
  return !isOpen() || (health?.link && health.link !== 'up') || health?.data === 'stale' ? 'stale' : row.delayedS === null ? 'live' : 'delayed';
}
const flows = (row) => ['live', 'delayed'].includes(shown(row));
const tallyOf = (some) => {
  const live = some.filter((row) => shown(row) === 'live').length, late = some.filter((row) => shown(row) === 'delayed').length;
  return `${count(live)} live${late ? `, ${count(late)} delayed` : ''}`;
};

function why(row, state) {
  const venue = venues.get(row.source);
  if (state === 'stale' && !isOpen()) return 'not connected to the gateway';
  if (state === 'refused') return row.code === 'UNKNOWN_SYMBOL' ? `${row.source} does not offer it` : row.message || row.code || 'the venue does not stream it';
  if (state === 'closed') return row.until ? `opens ${opening(row.until)}` : row.message || 'the market is closed';
  if (state === 'pending') return venue && venue.health.link !== 'up' ? `waiting for ${row.source}` : row.message || 'waiting for the first price';
  if (state === 'stale') return venue && venue.health.link !== 'up' ? `${row.source} is away` : row.message || 'no new prices';
  return '';
}

/** A time to come in the reader's own words and zone; one that is days away has its date. */
function opening(at) {
  const far = at - serverNow() > 6 * 86400000;
  return new Date(at).toLocaleString(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit', ...(far && { day: 'numeric', month: 'short' }) });
}

function touch(row) { dirty.add(row); paintSoon(); }

const search = startSearch({ venues, rows, keyOf, choose, fullName, fetchNames });
const paintVenue = venueCards({
  rows, local, serverNow, countdown, opening, isOpen, tallyOf, choose, rowsMax: ROWS_MAX, askOf: search.askOf,
  mounted() { search.paintPick(); for (const row of rows.values()) nameRow(row); },
});

// ---- painting

let frame = 0;
function paintSoon() { if (!frame) frame = requestAnimationFrame(paint); }

function paint() {
  frame = 0;
  for (const row of dirty) if (row.inView) { paintRow(row); dirty.delete(row); }
  // Sparklines: at most a few rows in one frame, each at most twice a second.
  const bucket = Math.floor(serverNow() / (CALM ? 4 * BUCKET_MS : BUCKET_MS));
  let budget = 8;
  for (const row of rows.values()) if (row.inView && row.drawn !== bucket && row.mid !== null) {
    if (!budget--) break;
    row.drawn = bucket;
    drawSpark(row, serverNow(), colours);
  }
  if (budget < 0) paintSoon();
}

function decimals(value) {
  const text = String(value), point = text.indexOf('.');
  return text.includes('e') ? 10 : point < 0 ? 0 : text.length - point - 1;
}

function paintPrice(row, side, value = row[side]) {
  const [head, pip, tail] = row.ui[side];
  if (value === null) { row.ui.last[side] = ''; put(head, '–'); put(pip, ''); put(tail, ''); return; }
  row.digits = Math.max(row.digits, decimals(value));
  const text = value.toFixed(row.digits);
  if (row.ui.last[side] === text) return;
  row.ui.last[side] = text;
  let end = text.length;
  if (row.pip !== null) {
    const point = row.digits ? text.length - row.digits - 1 : text.length;
    end = Math.min(text.length, row.pip > 0 ? point + 1 + row.pip : point + row.pip);
  }
  let start = row.pip === null ? end : Math.max(0, end - 2);
  if (text[start] === '.' || text[start + 1] === '.') start = Math.max(0, start - 1);
  put(head, text.slice(0, start)); put(pip, text.slice(start, end)); put(tail, text.slice(end));
}

function paintRow(row) {
  const { ui } = row, state = shown(row);
  // Where a venue has no quotes, its last trade stands in their place.
  const trade = row.bid === null && row.ask === null && row.mid !== null;
  paintPrice(row, 'bid', trade ? row.mid : row.bid); paintPrice(row, 'ask');
  put(ui.trade, trade ? 'last' : '');
  put(ui.dir, row.dir > 0 ? '▲' : row.dir < 0 ? '▼' : '');
  const dirClass = row.dir > 0 ? 'dir up' : row.dir < 0 ? 'dir down' : 'dir';
  if (ui.dir.className !== dirClass) { ui.dir.className = dirClass; ui.dir.setAttribute('aria-label', row.dir > 0 ? 'up' : row.dir < 0 ? 'down' : ''); }
  if (row.bid === null || row.ask === null) { put(ui.spread, '–'); put(ui.unit, ''); }
  else if (row.pip !== null) { put(ui.spread, ((row.ask - row.bid) * 10 ** row.pip).toFixed(Math.max(0, row.digits - row.pip))); put(ui.unit, 'pips'); }
  else { put(ui.spread, (row.ask - row.bid).toFixed(row.digits)); put(ui.unit, ''); }
  paintDay(row);
  paintAge(row);
  put(ui.missed, row.missed ? count(row.missed) : '0');
  if (row.missed) { ui.missed.className = 'missed some'; ui.missed.title = `${count(row.missed)} ticks missed in ${count(row.gaps)} gaps`; }
  mark(ui.tr, 'state', state);
  const reason = why(row, state);
  put(ui.word, { pending: '◌ pending', live: '● live', delayed: `◷ delayed${row.delayedS ? ` ${duration(row.delayedS * 1000)}` : ''}`, stale: '◑ stale', closed: '■ closed', refused: '✕ refused' }[state] ?? state);
  put(ui.why, reason && `: ${reason}`);
  if (ui.state.title !== reason) ui.state.title = reason;
}

/** What some venues tell of the day: the change in percent, the rest for who points at it. */
function paintDay({ day, ui }) {
  const { change, changePercent: percent, volume, bidSize, askSize, session } = day, sign = (n) => (n > 0 ? '+' : '');
  const said = [
    change !== undefined && `change ${sign(change)}${number(change)}`, volume !== undefined && `volume ${number(volume)}`,
    bidSize !== undefined && `bid size ${number(bidSize)}`, askSize !== undefined && `ask size ${number(askSize)}`, session,
  ].filter(Boolean).join(', ');
  put(ui.day, percent === undefined ? '–' : `${sign(percent)}${percent.toFixed(2)} %`);
  if (ui.day.title !== said) ui.day.title = said;
  if (said || percent !== undefined) $('prices').classList.add('daily');
}

function paintAge(row) {
  const age = serverNow() - row.at;
  put(row.ui.age, !row.at ? '–' : age < 1000 ? '< 1 s' : duration(age));
  row.ui.offer.hidden = flows(row) && age < QUIET_AFTER_MS;
}

const colours = { up: '', down: '', spark: '' };
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name in colours) colours[name] = style.getPropertyValue(`--${name}`).trim();
  for (const row of rows.values()) row.drawn = -1;
  paintSoon();
}

// ---- words: venue cards, own connection, counts

function paintGateway() {
  const { state } = link;
  mark($('gateway'), 'state', state);
  put($('gateway').firstElementChild, { open: '●', connecting: '◌', waiting: '◑', stopped: '▲' }[state]);
  const nth = link.attempt ? `attempt ${link.attempt}` : '';
  put($('gateway-state'), { open: 'Gateway connected', connecting: 'Connecting to the gateway', waiting: `Gateway: reconnecting in ${countdown(link.retryAt)}`, stopped: 'Disconnected' }[state]);
  const moving = link.retryAt ? `moving to another in ${countdown(link.retryAt)}` : '';
  put($('gateway-detail'), {
    open: moving || `${count(ticksPerS)} ticks/s${link.rtt < Infinity ? `, ${link.rtt < 10 ? link.rtt.toFixed(1) : Math.round(link.rtt)} ms` : ''}`,
    connecting: nth, waiting: [nth, link.why].filter(Boolean).join('. '), stopped: link.why,
  }[state]);
  $('gateway-now').hidden = state !== 'waiting' && state !== 'stopped';
  const title = state === 'open' ? 'Tickcast' : `${state === 'stopped' ? 'Disconnected' : 'Reconnecting'} · Tickcast`;
  if (document.title !== title) document.title = title;
}

function paintWords() {
  paintGateway();
  for (const venue of venues.values()) paintVenue(venue);
  put($('count'), rows.size ? `${count(rows.size)} chosen, ${tallyOf([...rows.values()])}` : '');
  $('clear').hidden = !rows.size;
  $('prices').hidden = !rows.size;
  $('empty').hidden = rows.size > 0;
  const listed = [...venues.values()].some((venue) => venue.names.size), open = [...venues.values()].some((venue) => venue.open);
  if (!rows.size) put($('empty'), !isOpen() ? 'Not connected to the gateway yet. This page keeps trying.' : listed ? 'No symbols chosen. Press / to search, or take the first 20 of a venue.' : open ? 'No symbols chosen. Press / and type the name of one.' : venues.size ? 'No venue has listed its symbols yet; they appear here as soon as one connects.' : 'Connected. Waiting for a venue.');
  const first = $('rows').firstElementChild;
  if (first && !$('rows').querySelector('button[tabindex="0"]')) first.row.ui.button.tabIndex = 0;
}

let wordsTimer = 0;
function paintWordsSoon() { if (!wordsTimer) wordsTimer = setTimeout(() => { wordsTimer = 0; paintWords(); }, 200); }

// ---- the beat of the page

let lastBeat = local();
function beat() {
  const now = local();
  ticksPerS = Math.round(ticks * 1000 / (now - lastBeat || 1000));
  ticks = 0; lastBeat = now;
  for (const row of rows.values()) if (row.inView) paintAge(row);
  askWhyAgain();
  paintWords(); paintSoon();
}

$('gateway-now').onclick = () => feed.reconnect();
$('clear').onclick = () => { for (const row of [...rows.values()]) removeRow(row); firstOpen = false; changed(); say('All symbols removed.'); search.focus(); };
addEventListener('hashchange', () => { if (location.hash !== ownHash) readHash(); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', readColours);
addEventListener('resize', () => { for (const row of rows.values()) { row.drawn = -1; row.ui.canvas.width = 0; } paintSoon(); });

readColours();
readHash();
setInterval(beat, 1000);
setInterval(() => { if (link.retryAt || [...venues.values()].some((venue) => venue.retryAt > local())) paintWords(); }, 250);
