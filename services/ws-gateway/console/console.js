// Tickcast console: venue health and live prices from one gateway, over the client that any page may use.
//
// What the client tells changes a model and nothing else; one animation frame paints the rows that changed and are in view.

import { Tickcast } from './tickcast.js';

const ROWS_MAX = 1000;              // MAX_SUBSCRIPTIONS of a gateway as it comes
const PLACES_TICKS = 200;         // so many ticks show how many decimals a symbol has
const QUIET_AFTER_MS = 10000;       // a live row this long without a tick offers to say why
const WHY_EVERY_MS = 1500;
const BUCKET_MS = 500, BUCKETS = 120;   // a sparkline is one minute
const FOUND_MAX = 50, NAMES_MAX = 50000;
const FIRST_COUNT = 6, FIRST_CHOICE = ['EURUSD', 'GBPUSD', 'USDJPY', 'XAUUSD', 'US30', 'BTCUSD', 'AUDUSD', 'USDCHF', 'USDCAD'];
const CALM = matchMedia('(prefers-reduced-motion: reduce)').matches;

const $ = (id) => document.getElementById(id);
const el = (tag, props, ...kids) => { const node = Object.assign(document.createElement(tag), props); node.append(...kids); return node; };
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const mark = (node, name, value) => { if (node.dataset[name] !== value) node.dataset[name] = value; };
const count = (n) => n.toLocaleString('en');
const number = new Intl.NumberFormat('en', { maximumFractionDigits: 10 }).format;
const lookup = (name) => name.replace(/[/\s]/g, '').toUpperCase();

const local = () => performance.timeOrigin + performance.now();
const serverNow = () => feed.serverNow();

function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d`;
}
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
    samples: new Float64Array(BUCKETS).fill(NaN), bucket: 0, cut: true, drawn: -1, inView: false, ui: null,
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
  sample(row);
  touch(row);
}

/** One value per half second; a silence is filled with the last price, a cut is left open. */
function sample(row) {
  const bucket = Math.floor(serverNow() / BUCKET_MS);
  const skipped = Math.min(BUCKETS, bucket - row.bucket);
  const filler = row.cut ? NaN : row.samples[row.bucket % BUCKETS];
  for (let i = 1; i < skipped; i++) row.samples[(bucket - i) % BUCKETS] = filler;
  row.samples[bucket % BUCKETS] = row.mid;
  row.bucket = Math.max(row.bucket, bucket); row.cut = false;
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

// ---- search: a combobox over the lists of the venue picked, or of all; a venue without a list takes any name

const search = { of: $('of'), input: $('search'), list: $('found'), box: $('found-box'), hits: [], on: -1, timer: 0, abort: null };
const searched = () => [...venues.values()].filter((venue) => !search.of.value || venue.source === search.of.value);

function find(query) {
  const name = query.trim(), key = lookup(query), word = name.toLowerCase(), hits = [], offers = [];
  const near = (known, about) => { const at = known.indexOf(key); return known === key ? 0 : at === 0 ? 1 : at > 0 ? 2 : word && about?.toLowerCase().includes(word) ? 3 : -1; };
  for (const venue of searched()) {
    const hit = (symbol, about, rank) => hits.push({ source: venue.source, symbol, about: about ?? '', rank });
    for (const [symbol, known] of venue.names) { const rank = near(known.key, known.about); if (rank >= 0) hit(symbol, known.about, rank); }
    if (!venue.open) continue;
    // Of a venue without a list only what was chosen is known. It must not be taken for a longer name that is being typed.
    for (const row of rows.values()) if (row.source === venue.source && near(lookup(row.symbol)) >= 0) hit(row.symbol, '', row.symbol === name ? 0 : 5);
    if (name && !rows.has(keyOf(venue.source, name))) offers.push({ source: venue.source, symbol: name, about: 'ask for this name', rank: 4 });
    if (name && name === word && name !== name.toUpperCase()) offers.push({ source: venue.source, symbol: name.toUpperCase(), about: 'ask for it in capitals', rank: 4 });
  }
  // A venue whose list is not known yet can be asked, too.
  if (key && !hits.some((hit) => hit.rank === 0)) for (const venue of searched()) if (!venue.open && !venue.listed) offers.push({ source: venue.source, symbol: name, about: 'ask for this name', rank: 4 });
  hits.sort((a, b) => a.rank - b.rank);
  const listed = hits.slice(0, FOUND_MAX - offers.length), from = listed.findIndex((hit) => hit.rank > 4);
  listed.splice(from < 0 ? listed.length : from, 0, ...offers);
  return { hits: listed, more: hits.length + offers.length > listed.length ? hits.length : 0 };
}

function showFound() {
  const { hits, more } = find(search.input.value);
  const held = search.hits[search.on];
  search.hits = hits;
  search.on = held ? hits.findIndex((hit) => hit.symbol === held.symbol && hit.source === held.source) : -1;
  if (search.on < 0 && search.input.value.trim() && hits.length) search.on = 0;
  search.list.replaceChildren(...hits.map((hit, i) => {
    const added = rows.has(keyOf(hit.source, hit.symbol));
    const about = venues.size > 1 ? [hit.source, hit.about].filter(Boolean).join(' · ') : hit.about;
    const option = el('li', { id: `found-${i}`, role: 'option' }, el('b', {}, hit.symbol), el('span', { className: 'about' }, about), el('span', { className: 'act' }, added ? '✓ added, Enter removes' : 'add'));
    option.onmousedown = (event) => { event.preventDefault(); search.on = i; toggleFound(); };
    return option;
  }));
  const asked = searched(), open = asked.filter((venue) => venue.open).map((venue) => venue.source).join(' and ');
  const none = asked.some((venue) => venue.names.size) ? 'No symbol matches.' : open ? '' : 'No venue has listed its symbols yet. Type a whole name to ask for it.';
  const any = open && !search.input.value.trim() ? `${open} has no list of symbols: type a whole name, exactly as it is written there.` : '';
  put($('found-note'), [hits.length === 0 ? none : more ? `${count(more)} symbols match; type on to narrow them.` : '', any].filter(Boolean).join(' '));
  $('found-note').hidden = !$('found-note').textContent;
  search.box.hidden = false;
  search.input.setAttribute('aria-expanded', 'true');
  pointAt(search.on);
}

function pointAt(index) {
  search.list.children[search.on]?.classList.remove('on');
  search.on = index;
  [...search.list.children].forEach((option, i) => option.setAttribute('aria-selected', i === index));
  const option = search.list.children[index];
  option?.classList.add('on');
  option?.scrollIntoView({ block: 'nearest' });
  if (option) search.input.setAttribute('aria-activedescendant', option.id); else search.input.removeAttribute('aria-activedescendant');
}

function hideFound() {
  search.box.hidden = true; search.on = -1; search.hits = [];
  search.list.replaceChildren();
  search.input.setAttribute('aria-expanded', 'false');
  search.input.removeAttribute('aria-activedescendant');
}

function toggleFound() {
  const hit = search.hits[search.on];
  if (!hit) return;
  const wanted = !rows.has(keyOf(hit.source, hit.symbol));
  choose(hit.source, [hit.symbol], wanted);
  say(`${fullName(hit)} ${wanted ? 'added' : 'removed'}.`);
  search.input.select();
  showFound();
}

search.input.oninput = () => {
  // What was pointed at was an answer to other letters.
  search.on = -1;
  showFound();
  clearTimeout(search.timer); search.abort?.abort();
  const q = search.input.value.trim();
  if (q.length > 1) search.timer = setTimeout(async () => {
    search.abort = new AbortController();
    await Promise.all(searched().filter((venue) => !venue.open).map((venue) => fetchNames(venue.source, q, search.abort.signal)));
    if (!search.box.hidden && search.input.value.trim() === q) showFound();
  }, 150);
};
search.of.onchange = () => { paintPick(); if (!search.box.hidden) showFound(); };
search.input.onfocus = showFound;
search.input.onclick = showFound;
search.input.onblur = hideFound;
search.input.onkeydown = (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (step) {
    event.preventDefault();
    if (search.box.hidden) return showFound();
    const n = search.hits.length;
    if (n) pointAt(Math.abs(step) > 1 ? Math.min(n - 1, Math.max(0, search.on + step)) : (search.on + step + (search.on < 0 && step < 0 ? 1 : 0) + n) % n);
  } else if (event.key === 'Enter') { event.preventDefault(); toggleFound(); }
  else if (event.key === 'Escape') {
    if (search.input.value) { search.input.value = ''; showFound(); }
    else if (!search.box.hidden) hideFound();
    else search.input.blur();
  }
};

/** The venues that can be picked, and what the field then takes. */
function paintPick() {
  for (const { source } of venues.values()) if (![...search.of.options].some((option) => option.value === source)) search.of.append(el('option', { value: source }, source));
  search.of.hidden = venues.size < 2;
  const of = searched(), open = of.length > 0 && of.every((venue) => venue.open);
  search.input.placeholder = open ? 'any name, as it is written there' : of.some((venue) => venue.open) ? 'EURUSD, gold, or any name' : 'EURUSD, gold, …';
}

/** Opens the search for names of one venue. */
function askOf(source) { search.of.value = source; paintPick(); search.input.focus(); search.input.select(); }

document.addEventListener('keydown', (event) => {
  if (event.key === '/' && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest?.('input, select')) { event.preventDefault(); search.input.focus(); search.input.select(); }
});

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
  const asks = (name, text) => el('button', { type: 'button', className: name, tabIndex: -1, ariaHasPopup: 'dialog', onclick: () => whyQuiet(row) }, text);
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
  if (next) focusRow(next); else search.input.focus();
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
  else if (event.key === '?') { event.preventDefault(); whyQuiet(tr.row); }
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

// ---- why a symbol is quiet: the gateway's answer, asked again while it is looked at

const quiet = { box: $('why'), row: null, asked: 0, busy: false, answer: null };

function whyQuiet(row) {
  Object.assign(quiet, { row: { source: row.source, symbol: row.symbol }, asked: 0, busy: false, answer: null });
  put($('why-title'), `${fullName(row)}: why is it quiet?`);
  put($('why-summary'), 'Asking the gateway …');
  $('why-hops').replaceChildren();
  if (!quiet.box.open) quiet.box.showModal();
  askWhy();
}

async function askWhy() {
  const { row } = quiet;
  if (quiet.busy) return;
  quiet.busy = true; quiet.asked = local();
  let answer = null, trouble = 'The gateway does not answer.';
  try {
    const url = new URL('api/v1/why', location.href);
    url.search = new URLSearchParams(row);
    const told = await (await fetch(url, { signal: AbortSignal.timeout(5000) })).json();
    answer = told.data; trouble = told.error?.message ?? trouble;
  } catch { /* the words above */ }
  if (quiet.row !== row) return;
  quiet.busy = false;
  if (answer) { quiet.answer = answer; paintWhy(); } else put($('why-summary'), `${trouble} This page asks again.`);
}

function paintWhy() {
  const { answer } = quiet, first = answer.hops.findIndex((hop) => !hop.ok);
  put($('why-summary'), answer.summary);
  $('why-hops').replaceChildren(...answer.hops.map((hop, i) => {
    const glyph = el('i', {}, hop.ok ? '●' : '▲');
    glyph.setAttribute('aria-label', hop.ok ? 'right' : 'not right');
    glyph.setAttribute('role', 'img');
    const since = hop.since ? ` (for ${duration(answer.timestamp - hop.since)})` : '';
    const item = el('li', {}, glyph, el('b', {}, hop.name), `: ${hop.detail}`, el('span', { className: 'since' }, since), hop.next ? `. Next: ${hop.next}` : '');
    mark(item, 'hop', hop.name); mark(item, 'ok', String(hop.ok));
    if (i === first) mark(item, 'first', '');
    return item;
  }));
}

$('why-close').onclick = () => quiet.box.close();
quiet.box.onclick = (event) => { if (event.target === quiet.box) quiet.box.close(); };
quiet.box.onclose = () => { quiet.row = null; quiet.answer = null; };

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
    drawSpark(row);
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

function drawSpark(row) {
  const { canvas } = row.ui, ratio = Math.min(3, devicePixelRatio || 1);
  if (!canvas.width) { canvas.width = Math.round(canvas.clientWidth * ratio); canvas.height = Math.round(canvas.clientHeight * ratio); }
  const { width, height } = canvas, pad = 2 * ratio, now = Math.floor(serverNow() / BUCKET_MS);
  let low = Infinity, high = -Infinity, first = NaN;
  const oldest = Math.max(now - BUCKETS + 1, row.bucket - BUCKETS + 1);
  for (let b = oldest; b <= row.bucket; b++) {
    const value = row.samples[b % BUCKETS];
    if (value !== value) continue;
    if (first !== first) first = value;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const pen = canvas.getContext('2d');
  pen.clearRect(0, 0, width, height);
  if (low > high) return;
  const scale = high > low ? (height - 2 * pad) / (high - low) : 0;
  pen.beginPath();
  let drawing = false;
  for (let b = oldest; b <= row.bucket; b++) {
    const value = row.samples[b % BUCKETS];
    if (value !== value) { drawing = false; continue; }
    const x = width - (now - b) * width / BUCKETS - ratio, y = scale ? height - pad - (value - low) * scale : height / 2;
    if (drawing) pen.lineTo(x, y); else pen.moveTo(x, y);
    drawing = true;
  }
  pen.lineWidth = 1.4 * ratio; pen.lineJoin = 'round';
  pen.strokeStyle = row.mid > first ? colours.up : row.mid < first ? colours.down : colours.spark;
  pen.stroke();
}

// ---- words: venue cards, own connection, counts

/** What a newcomer should read first about a venue: tone, headline, what to do. */
function describe(venue) {
  const { link: state, auth, data, causeCode } = venue.health, name = venue.source;
  const next = venue.retryAt > local() ? `, next try in ${countdown(venue.retryAt)}` : '';
  const nth = venue.attempt ? `, attempt ${venue.attempt}` : '';
  if (!state) return ['idle', venue.text || `Waiting for news of ${name}`, ''];
  if (causeCode === 'bus_down') return ['bad', 'The gateway cannot reach the message bus', 'Is nats-server running? This page goes on by itself.'];
  if (causeCode === 'ingest_gone') return [venue.seenUp ? 'bad' : 'idle', `No ingest for ${name} is running`, `Start ingest-${name}; its prices appear by themselves.`];
  if (auth === 'refused') return ['bad', `The venue refused the credentials${next}`, `Check the credentials in the settings of ingest-${name}.`];
  if (state === 'down') return ['bad', next || nth ? `Reconnecting${nth}${next}` : 'Not connected to the venue', ''];
  if (state === 'connecting') return ['wait', nth ? `Reconnecting${nth}, trying now` : 'Connecting to the venue', ''];
  if (auth === 'pending') return ['wait', nth ? `Reconnecting${nth}, logging in` : 'Logging in at the venue', ''];
  if (data === 'stale') return ['wait', 'Connected, but no prices arrive', 'Click a symbol to see why.'];
  if (causeCode === 'market_closed') {
    const opens = [...rows.values()].filter((row) => row.source === name && row.state === 'closed' && row.until).map((row) => row.until);
    return ['good', 'Connected, the markets are closed', opens.length ? `The next opens ${opening(Math.min(...opens))}.` : ''];
  }
  if (data === 'live') return ['good', 'Prices are flowing', ''];
  return ['good', 'Connected, nothing is subscribed yet', ''];
}

const TONES = { up: 'good', ok: 'good', live: 'good', connecting: 'wait', pending: 'wait', stale: 'wait', down: 'bad', refused: 'bad' };
const GLYPHS = { good: '●', wait: '◑', bad: '▲', idle: '○' };

function mountVenue(venue) {
  const ui = venue.ui = { word: el('span', { className: 'word' }), size: el('span', { className: 'size muted' }), head: el('p', { className: 'head' }), hint: el('p', { className: 'hint muted' }), axes: {} };
  const axis = (name, label) => {
    const value = el('b'), glyph = el('i'), since = el('span', { className: 'since' });
    glyph.setAttribute('aria-hidden', 'true');
    const box = el('div', { className: 'axis' }, el('dt', {}, label), el('dd', {}, glyph, ' ', value, since));
    ui.axes[name] = { box, value, glyph, since };
    return box;
  };
  const button = (label, take) => el('button', { type: 'button', onclick: () => { const names = take([...venue.names.keys()]); choose(venue.source, names, true); say(`${names.length} symbols chosen.`); } }, label);
  ui.first = button('Subscribe first 20', (names) => names.slice(0, 20));
  ui.all = button('All', (names) => names.slice(0, ROWS_MAX));
  ui.ask = el('button', { type: 'button', onclick: () => askOf(venue.source) }, 'Add by name');
  ui.none = el('button', { type: 'button', onclick: () => choose(venue.source, [...rows.values()].filter((row) => row.source === venue.source).map((row) => row.symbol), false) }, 'None');
  ui.acts = el('div', { className: 'acts' }, ui.first, ui.all, ui.ask, ui.none);
  ui.card = el('article', { className: 'venue' }, el('div', { className: 'top' }, el('h3', {}, venue.source), ui.word, ui.size), ui.head, ui.hint, el('dl', {}, axis('link', 'Link'), axis('auth', 'Login'), axis('data', 'Data')), ui.acts);
  ui.card.dataset.source = venue.source;
  $('venues').querySelector('.empty')?.remove();
  $('venues').append(ui.card);
  paintPick();
  for (const row of rows.values()) nameRow(row);
}

function paintVenue(venue) {
  if (!venue.ui) mountVenue(venue);
  const { ui, health } = venue, known = isOpen();
  const [tone, head, hint] = known ? describe(venue) : ['idle', 'Not known while this page is not connected', 'The last word was:'];
  const chosen = [...rows.values()].filter((row) => row.source === venue.source);
  const cause = known && tone !== 'good' && tone !== 'idle' && health.cause && !['ingest_gone', 'bus_down'].includes(health.causeCode) ? `Cause: ${health.cause}.` : '';
  const tally = tone === 'good' && chosen.length ? `${count(chosen.length)} chosen: ${tallyOf(chosen)}.` : '';
  mark(ui.card, 'tone', tone); mark(ui.card, 'status', venue.word);
  put(ui.word, venue.word); put(ui.head, head); put(ui.hint, [cause, hint, tally].filter(Boolean).join(' '));
  put(ui.size, venue.open ? 'any name' : venue.names.size ? `${count(venue.names.size)} symbols` : '');
  for (const name of ['link', 'auth', 'data']) {
    const { box, value, glyph, since } = ui.axes[name], word = health[name] ?? 'unknown', axisTone = TONES[word] ?? 'idle', at = health[`${name}Since`] ?? health.since;
    // Without a connection nothing is known, and a venue nobody runs is no alarm.
    mark(box, 'tone', known && (tone !== 'idle' || axisTone !== 'bad') ? axisTone : 'idle');
    put(value, word); put(glyph, GLYPHS[box.dataset.tone]);
    put(since, at ? `for ${duration(serverNow() - at)}` : '');
  }
  ui.acts.hidden = !venue.names.size && !venue.open && !chosen.length;
  ui.first.hidden = venue.names.size <= 20;
  ui.all.hidden = !venue.names.size; ui.ask.hidden = !venue.open;
  if (ui.wasOpen !== venue.open) { ui.wasOpen = venue.open; paintPick(); }
  put(ui.all, venue.names.size > ROWS_MAX ? `First ${count(ROWS_MAX)}` : `All ${count(venue.names.size)}`);
  ui.none.hidden = !chosen.length;
  const spoken = `${venue.source}: ${head.replace(/, (attempt|next try) .*/, '')}.`;
  if (isOpen() && venue.said !== spoken) { if (venue.said || tone !== 'good') say(spoken); venue.said = spoken; }
}

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

const spoken = { queue: new Set(), timer: 0 };
/** Says a change to screen readers, changes of one second together; of many the newest. */
function say(text) {
  spoken.queue.add(text);
  if (spoken.queue.size > 6) spoken.queue.delete(spoken.queue.values().next().value);
  spoken.timer ||= setTimeout(() => { put($('live'), [...spoken.queue].join(' ')); spoken.queue.clear(); spoken.timer = 0; }, 1000);
}

let noticeTimer = 0;
function notice(text) {
  put($('notice'), text);
  $('notice').hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { $('notice').hidden = true; }, 12000);
}

// ---- the beat of the page

let lastBeat = local();
function beat() {
  const now = local();
  ticksPerS = Math.round(ticks * 1000 / (now - lastBeat || 1000));
  ticks = 0; lastBeat = now;
  for (const row of rows.values()) if (row.inView) paintAge(row);
  if (quiet.box.open && now - quiet.asked > WHY_EVERY_MS) askWhy();
  paintWords(); paintSoon();
}

$('gateway-now').onclick = () => feed.reconnect();
$('clear').onclick = () => { for (const row of [...rows.values()]) removeRow(row); firstOpen = false; changed(); say('All symbols removed.'); search.input.focus(); };
addEventListener('hashchange', () => { if (location.hash !== ownHash) readHash(); });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', readColours);
addEventListener('resize', () => { for (const row of rows.values()) { row.drawn = -1; row.ui.canvas.width = 0; } paintSoon(); });

readColours();
readHash();
setInterval(beat, 1000);
setInterval(() => { if (link.retryAt || [...venues.values()].some((venue) => venue.retryAt > local())) paintWords(); }, 250);
