// A gateway in a few lines that says what a test wants it to say: for the states the real programs reach seldom
// (goaway, every close code, a gap, a refused symbol, several venues) and for feeding the page at a known rate.
// It speaks the browser protocol over its own minimal RFC 6455 and serves the console page under a strict CSP.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const CONSOLE = new URL('../../../services/ws-gateway/console/', import.meta.url);
const client = (part) => execFileSync(new URL('../../../clients/js/strip', import.meta.url).pathname, [part]);
const CLIENT = { 'tickcast.js': client('client'), 'tickcast-http.js': client('http'), 'tickcast-bin.js': client('bin') };
const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript' };
export const STRICT_CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEALTHY = { link: 'up', auth: 'ok', data: 'live', cause: null, causeCode: null, attempt: 0, retryInMs: null, lastTickAgeMs: 10 };

/** Starts on `port` (0 = any free one). `venues`: [{source, symbols: [name], open?, health?, status?, pip?, digits?}]; an open one
 *  has no list and takes any name. */
export async function scriptedGateway({ port = 0, venues }) {
  const clients = new Set(), requests = [], seen = { peak: 0 }, limited = { next: 0 }, prices = new Map(), refused = new Map(), manners = new Map();
  const started = Date.now(), whys = [], why = { status: 404, body: {} };

  const status = (venue, list) => ({
    type: 'status', source: venue.source, status: venue.status ?? 'connected', message: '', timestamp: Date.now(),
    health: { since: started, linkSince: started, authSince: started, dataSince: started, ...HEALTHY, ...venue.health },
    ...(list && { availableSymbols: venue.symbols, ...(venue.open && { open: true }) }),
  });

  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://x'), name = url.pathname === '/' ? 'console/index.html' : url.pathname.slice(1);
    const answer = (code, type, body) => response.writeHead(code, { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': STRICT_CSP, 'x-content-type-options': 'nosniff' }).end(body);
    if (CLIENT[name]) return answer(200, 'text/javascript', CLIENT[name]);
    const part = /^console\/([a-z-]+\.(\w+))$/.exec(name);
    if (part && existsSync(new URL(part[1], CONSOLE))) return answer(200, TYPES[part[2]], readFileSync(new URL(part[1], CONSOLE)));
    if (name === 'api/v1/symbols') {
      const venue = venues.find((v) => v.source === url.searchParams.get('source')), q = (url.searchParams.get('q') ?? '').toUpperCase();
      const data = (venue?.symbols ?? []).filter((symbol) => symbol.includes(q)).map((symbol) => ({ symbol, description: `${symbol.slice(0, 3)} against ${symbol.slice(3)}`, digits: venue.digits ?? 5, pipPosition: venue.pip ?? 4 }));
      return answer(200, 'application/json', JSON.stringify({ success: true, data, error: null }));
    }
    if (name === 'api/v1/why') {
      whys.push(url.search);
      return answer(why.status, 'application/json', JSON.stringify(why.body));
    }
    answer(404, 'text/plain', 'not here');
  });

  function next(source, symbol, snapshot) {
    const key = `${source}\n${symbol}`, { delayedS, trades, details } = manners.get(symbol) ?? {};
    let price = prices.get(key);
    if (!price) prices.set(key, price = { units: 100000 + Math.floor(Math.random() * 50000), seq: 0 });
    price.units += Math.floor(Math.random() * 7) - 3;
    price.seq += snapshot && price.seq ? 0 : 1;
    const now = Date.now(), show = (units) => (units / 100000).toFixed(5);
    const sides = trades ? '' : `"bid":${show(price.units)},"ask":${show(price.units + 8)},`, late = delayedS === undefined ? '' : `,"delayedS":${delayedS}`, more = details ? `,${JSON.stringify(details).slice(1, -1)}` : '';
    return `{"type":"tick","source":"${source}","symbol":${JSON.stringify(symbol)},${sides}"price":${show(price.units + 4)}${late}${more},"timestamp":${now},"receivedAt":${now},"epoch":"1","seq":${price.seq}${snapshot ? ',"snapshot":true' : ''}}`;
  }

  function handle(client, message) {
    requests.push(message);
    const reply = (answer) => client.send(JSON.stringify({ timestamp: Date.now(), ...answer }));
    if (message.type === 'connect') for (const venue of venues) reply(status(venue, true));
    if (message.type === 'ping') reply({ type: 'pong', id: message.id });
    if (message.type === 'subscribe' && limited.next > 0) { limited.next--; return reply({ type: 'error', code: 'RATE_LIMITED', message: 'slower, please', id: message.id }); }
    if (message.type === 'subscribe') {
      const { source, symbols } = message;
      const venue = venues.find((v) => v.source === source);
      if (!venue) return reply({ type: 'subscribeResponse', id: message.id, results: symbols.map((symbol) => ({ symbol, source, status: 'subscribed', code: 'VENUE_DOWN' })) });
      const results = symbols.map((symbol) => venue.open || venue.symbols.includes(symbol)
        ? { symbol, source, status: 'subscribed', mode: 'every' } : { symbol, source, status: 'error', code: 'UNKNOWN_SYMBOL', message: 'no such symbol' });
      reply({ type: 'subscribeResponse', results, id: message.id });
      for (const { symbol, status } of results) if (status === 'subscribed') {
        client.subscribed.add(`${source}\n${symbol}`);
        const why = refused.get(symbol);
        reply({ type: 'symbolState', source, symbol, state: why ? 'refused' : 'live', ...(why && { code: 'SYMBOL_REFUSED', message: why }) });
        if (!why) client.send(next(source, symbol, true));
      }
    }
    if (message.type === 'unsubscribe') {
      for (const symbol of message.symbols) client.subscribed.delete(`${message.source}\n${symbol}`);
      reply({ type: 'unsubscribeResponse', results: message.symbols.map((symbol) => ({ symbol, source: message.source, status: 'unsubscribed' })), id: message.id });
    }
  }

  server.on('upgrade', (request, socket) => {
    const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
    socket.setNoDelay(true);
    const client = { socket, subscribed: new Set(), send: (text) => socket.write(frame(1, Buffer.from(text))) };
    clients.add(client);
    seen.peak = Math.max(seen.peak, clients.size);
    let bytes = Buffer.alloc(0);
    socket.on('data', (more) => {
      bytes = Buffer.concat([bytes, more]);
      for (let got; (got = unframe(bytes)); bytes = bytes.subarray(got.size)) {
        if (got.opcode === 1) handle(client, JSON.parse(got.payload.toString()));
        if (got.opcode === 8) socket.end(frame(8, got.payload));
        if (got.opcode === 9) socket.write(frame(10, got.payload));
      }
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => clients.delete(client));
  });

  await new Promise((resolve, reject) => server.on('error', reject).listen(port, '127.0.0.1', resolve));

  return {
    port: server.address().port, clients, requests, refused, whys,
    /** How ticks of a symbol are: {delayedS} marked as late, {trades: true} without bid and ask, {details} with these members. */
    manners,
    /** Answers from now on what `api/v1/why` is asked with these hops: [name, ok, detail, next]; or refuses with words. */
    setWhy(hops) {
      if (typeof hops === 'string') return Object.assign(why, { status: 429, body: { success: false, data: null, error: { code: 'RATE_LIMITED', message: hops, details: null } } });
      const data = hops.map(([name, ok, detail, next = '']) => ({ name, ok, since: ok ? null : Date.now() - 65000, detail, next })), wrong = data.find((hop) => !hop.ok) ?? null;
      Object.assign(why, { status: 200, body: { success: true, data: { source: '', symbol: '', ok: !wrong, summary: wrong ? `${wrong.name}: ${wrong.detail}.` : 'Every hop is as it should be.', wrong, hops: data, timestamp: Date.now() }, error: null } });
    },
    /** So many subscribes from now on are refused with RATE_LIMITED. */
    limit(times) { limited.next = times; },
    /** Most connections open at one time. */
    get peak() { return seen.peak; },
    /** Changes a venue's health and tells everybody. */
    setVenue(source, change) {
      const venue = Object.assign(venues.find((v) => v.source === source), change);
      this.broadcast(status(venue, venue.status === 'connected'));
    },
    broadcast(message) { for (const client of clients) client.send(JSON.stringify(message)); },
    /** One tick of everything subscribed, to everybody. */
    tickAll() { for (const client of clients) for (const key of client.subscribed) { const [source, symbol] = key.split('\n'); if (!refused.has(symbol)) client.send(next(source, symbol)); } },
    /** Skips `missed` ticks of a symbol and says so. */
    gap(source, symbol, missed) {
      const price = prices.get(`${source}\n${symbol}`), from = price.seq + 1;
      price.seq += missed;
      this.broadcast({ type: 'gap', source, symbol, missed, from, to: price.seq });
    },
    closeAll(code, reason = '') {
      const body = Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
      for (const { socket } of clients) socket.end(frame(8, body));
    },
    async stop() {
      for (const { socket } of clients) socket.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function frame(opcode, payload) {
  const n = payload.length;
  const head = n < 126 ? Buffer.from([128 | opcode, n]) : n < 65536 ? Buffer.from([128 | opcode, 126, n >> 8, n & 255]) : Buffer.alloc(10);
  if (n >= 65536) { head[0] = 128 | opcode; head[1] = 127; head.writeBigUInt64BE(BigInt(n), 2); }
  return Buffer.concat([head, payload]);
}

/** One masked client frame from the front of `bytes`, or null while it is not complete. */
function unframe(bytes) {
  if (bytes.length < 6) return null;
  let n = bytes[1] & 127, at = 2;
  if (n === 126) { n = bytes.readUInt16BE(2); at = 4; } else if (n === 127) { if (bytes.length < 14) return null; n = Number(bytes.readBigUInt64BE(2)); at = 10; }
  if (bytes.length < at + 4 + n) return null;
  const mask = bytes.subarray(at, at + 4), payload = Buffer.from(bytes.subarray(at + 4, at + 4 + n));
  for (let i = 0; i < n; i++) payload[i] ^= mask[i & 3];
  return { opcode: bytes[0] & 15, payload, size: at + 4 + n };
}
