import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HttpSocket, places } from '../tickcast-http.js';

/** A gateway's HTTP side that a test scripts: `streams` are those open, `status` and `answers` what is answered. */
class Web {
  constructor() { Object.assign(this, { streams: [], polls: [], refuse: null, heard: [], asides: [], closed: null, isOpen: false, late: new Set() }); }

  socket(kind) {
    const env = {
      fetch: (url, options) => this.fetch(new URL(url), options),
      // What is long is waited for by `lapse` only.
      setTimeout: (run, ms) => { const timer = { ms, run }; if (ms > 1000) this.late.add(timer); else timer.short = setTimeout(run, Math.min(ms, 5)); return timer; },
      clearTimeout: (timer) => { clearTimeout(timer?.short); this.late.delete(timer); },
    };
    return new HttpSocket(env, kind, 'ws://gateway.example:1/sub/ws', {
      open: () => { this.isOpen = true; }, message: (text, isAside) => (isAside ? this.asides : this.heard).push(JSON.parse(text)), close: (code, reason) => { this.closed ??= [code, reason]; },
    });
  }

  /** So long passes. */
  lapse(ms) { for (const timer of [...this.late]) if (timer.ms <= ms) { this.late.delete(timer); timer.run(); } }

  async fetch(url, { signal } = {}) {
    assert.equal(url.origin + url.pathname.slice(0, 12), 'http://gateway.example:1/sub/api/v1/');
    const path = url.pathname.slice(12), query = Object.fromEntries(url.searchParams), json = (status, body) => ({ ok: status < 300, status, json: async () => body });
    if (path === 'status') return json(200, { success: true, data: { venues: [{ source: 'sim', status: 'connected', timestamp: 1234 }] } });
    if (path === 'symbols') return json(200, { success: true, data: { source: query.source, known: true, open: false, symbols: [{ symbol: 'A' }, { symbol: 'B' }] } });
    if (this.refuse) return json(this.refuse, { success: false, data: null, error: { code: 'UNKNOWN_SOURCE', message: 'no' } });
    if (path === 'ticks') return new Promise((done) => { this.polls.push({ query, signal, answer: (messages) => done(json(200, { success: true, data: { messages, hasMore: false } })) }); });
    const stream = { query, signal, symbols: query.symbols.split(',') };
    const body = new ReadableStream({ start: (controller) => { stream.write = (text) => controller.enqueue(new TextEncoder().encode(text)); stream.end = () => controller.close(); signal.addEventListener('abort', () => controller.error(new Error('aborted'))); } });
    stream.say = (m) => stream.write(`id: 1-1\ndata: ${JSON.stringify(m)}\n\n`);
    stream.answer = (recovered) => stream.say({ type: 'subscribeResponse', results: stream.symbols.map((symbol) => ({ symbol: symbol.toUpperCase(), source: 'sim', status: 'subscribed', recovered })) });
    this.streams.push(stream);
    return { ok: true, status: 200, body };
  }
}

const until = async (what, look) => { for (let i = 0; i < 400; i++) { if (look()) return; await new Promise((done) => { setTimeout(done, 5); }); } assert.fail(what); };
const subscribe = (socket, id, symbols, more = {}) => socket.send(JSON.stringify({ type: 'subscribe', source: 'sim', symbols, id, ...more }));
const tick = (symbol, seq, epoch = '36') => ({ type: 'tick', source: 'sim', symbol, epoch, seq, price: 1 });

test('positions are written as gateways read them', () => {
  const at = (epoch, seq) => ({ position: { epoch, seq } });
  assert.equal(places([{}, {}]), undefined);
  assert.equal(places([at('36', 1295)]), '10-zz');
  assert.equal(places([at('7', 1), at('7', 36), at('8', 2)]), '7-1.10~8-2');
  assert.equal(places([{}, at('7', 1)]), '0-~7-1');
  assert.equal(places([at('18446744073709551615', 1)]), '3w5e11264sgsf-1');
});

test('a request is answered stream by stream, and ticks come after their answer', async () => {
  const web = new Web(), socket = web.socket('events'), symbols = Array.from({ length: 150 }, (_, i) => `s${i}`);
  await until('open', () => web.isOpen);
  subscribe(socket, 7, symbols, { mode: 'latest', minIntervalMs: 250, resume: { s0: { epoch: '36', seq: 35 } } });
  await until('two streams', () => web.streams.length === 2);
  assert.deepEqual(web.streams.map((stream) => stream.symbols.length), [100, 50]);
  assert.match(web.streams[0].query.lastEventId, /^10-z~0-/);
  assert.deepEqual([web.streams[0].query.mode, web.streams[0].query.minIntervalMs, web.streams[0].query.source], ['latest', '250', 'sim']);
  web.streams[1].answer();
  web.streams[1].say(tick('S149', 1));
  await until('the tick', () => web.heard.some((m) => m.type === 'tick'));
  const answers = web.heard.slice(0, -1);
  assert.ok(answers.every((m) => m.type === 'subscribeResponse' && m.id === 7));
  assert.deepEqual(answers.map((m) => m.results.length - 1), Array.from({ length: 50 }, (_, i) => 100 + i));
  socket.close();
});

test('a venue is one stream at the rate of the most demanding, whatever the rates of its symbols', async () => {
  const web = new Web(), socket = web.socket('events'), asked = ({ query }) => [query.mode, query.minIntervalMs, query.onSlow];
  subscribe(socket, 1, ['a'], { mode: 'latest', minIntervalMs: 1000 });
  subscribe(socket, 2, ['b'], { mode: 'latest', minIntervalMs: 250 });
  await until('a stream', () => web.streams.length === 1);
  assert.deepEqual([web.streams[0].symbols, asked(web.streams[0])], [['a', 'b'], ['latest', '250', undefined]]);
  web.streams[0].answer();
  web.streams[0].say(tick('A', 35));
  await until('the tick', () => web.heard.some((m) => m.type === 'tick'));
  subscribe(socket, 3, ['A'], { mode: 'latest', minIntervalMs: 500 });
  await until('the grant', () => web.heard.some((m) => m.id === 3));
  assert.equal(web.streams.length, 1, 'nothing changes for the stream');
  subscribe(socket, 4, ['c'], { mode: 'every', onSlow: 'merge' });
  await until('another stream', () => web.streams.length === 2);
  assert.deepEqual([web.streams[1].symbols, asked(web.streams[1])], [['A', 'B', 'c'], ['every', undefined, 'merge']]);
  assert.match(web.streams[1].query.lastEventId, /^10-z~/);
  subscribe(socket, 5, ['c'], { mode: 'every' });
  await until('a third', () => web.streams.length === 3);
  assert.deepEqual(asked(web.streams[2]), ['every', undefined, undefined]);
  socket.close();
});

test('requests for a symbol that is asked for again, or left, before the answer are answered, too', async () => {
  const web = new Web(), socket = web.socket('events'), answered = () => web.heard.map((m) => m.id).sort();
  subscribe(socket, 1, ['a', 'b']);
  await until('a stream', () => web.streams.length === 1);
  subscribe(socket, 2, ['a'], { mode: 'latest', minIntervalMs: 100 });
  subscribe(socket, 3, ['b'], { mode: 'latest', minIntervalMs: 100 });
  await until('another stream', () => web.streams.length === 2);
  socket.send(JSON.stringify({ type: 'unsubscribe', source: 'sim', symbols: ['b'], id: 4 }));
  assert.deepEqual(answered(), [1, 3, 4], 'what is left is answered at once');
  await until('a third', () => web.streams.length === 3);
  web.streams[2].answer();
  await until('the answers', () => web.heard.length === 5);
  assert.deepEqual(answered(), [1, 1, 2, 3, 4]);
  assert.deepEqual(web.heard.at(-1).results[0].symbol, 'A');
  socket.close();
});

test('a symbol left and wanted again at once begins anew', async () => {
  const web = new Web(), socket = web.socket('events');
  subscribe(socket, 1, ['A']);
  await until('a stream', () => web.streams.length === 1);
  web.streams[0].answer();
  await until('the answer', () => web.heard.length === 1);
  socket.send(JSON.stringify({ type: 'unsubscribe', source: 'sim', symbols: ['A'], id: 2 }));
  subscribe(socket, 3, ['A'], { resume: { A: { epoch: '36', seq: 35 } } });
  await until('another stream', () => web.streams.length === 2);
  assert.equal(web.streams[1].query.lastEventId, '10-z');
  assert.equal(web.streams[0].signal.aborted, true);
  socket.close();
});

test('what was asked for in another spelling is left by the venue\'s own, and asked for once', async () => {
  const web = new Web(), socket = web.socket('events');
  subscribe(socket, 1, ['a'], { source: undefined });
  subscribe(socket, 2, ['A']);
  await until('two streams', () => web.streams.length === 2);
  for (const stream of web.streams) stream.answer();
  await until('the answers', () => web.heard.length === 2);
  subscribe(socket, 3, ['b']);
  await until('one for all', () => web.streams.length === 3);
  assert.deepEqual(web.streams.map(({ symbols, signal }) => [symbols.join(), signal.aborted]), [['a', true], ['A', true], ['A,b', false]]);
  socket.send(JSON.stringify({ type: 'unsubscribe', source: 'sim', symbols: ['A', 'b'], id: 4 }));
  await until('its end', () => web.streams[2].signal.aborted);
  assert.equal(web.streams.length, 3);
  socket.close();
});

test('events come whole, however they are cut', async () => {
  const web = new Web(), socket = web.socket('events');
  subscribe(socket, 1, ['a']);
  await until('a stream', () => web.streams.length === 1);
  const [stream] = web.streams;
  for (const letter of `retry: 1500\n\nid: 1-1\ndata: ${JSON.stringify(tick('A', 5))}\n\n: nothing\n\n`) stream.write(letter);
  await until('the tick', () => web.heard.length === 1);
  assert.equal(web.heard[0].seq, 5);
  stream.write(': 1001 the gateway is stopping\n\n');
  stream.end();
  await until('the end', () => web.closed);
  assert.deepEqual(web.closed, [1001, 'the gateway is stopping']);
});

test('a wish more is a new stream that goes on where the old one was, and what is given up ends', async () => {
  const web = new Web(), socket = web.socket('events');
  subscribe(socket, 1, ['a', 'b']);
  await until('a stream', () => web.streams.length === 1);
  web.streams[0].answer();
  web.streams[0].say(tick('A', 5));
  web.streams[0].say({ type: 'gap', source: 'sim', symbol: 'A', from: 6, to: 9, missed: 4 });
  await until('the gap', () => web.heard.some((m) => m.type === 'gap'));
  subscribe(socket, 2, ['c']);
  await until('another stream', () => web.streams.length === 2);
  assert.equal(web.streams[0].signal.aborted, true);
  assert.deepEqual(web.streams[1].symbols, ['A', 'B', 'c']);
  assert.equal(web.streams[1].query.lastEventId, '10-9~0-.');
  web.streams[1].answer(true);
  await until('the answer', () => web.heard.some((m) => m.id === 2));
  socket.send(JSON.stringify({ type: 'unsubscribe', source: 'sim', symbols: ['A', 'B', 'C'], id: 3 }));
  await until('its end', () => web.streams[1].signal.aborted);
  assert.equal(web.closed, null);
  socket.close();
});

test('a gap at the head of a new epoch is a place in that epoch, where the gateway tells it', async () => {
  for (const [epoch, to, place] of [['37', 2, '11-2'], ['36', 2, '10-z'], [undefined, 2, '10-z'], [undefined, 40, '10-z']]) {
    const web = new Web(), socket = web.socket('events');
    subscribe(socket, 1, ['a']);
    await until('a stream', () => web.streams.length === 1);
    web.streams[0].answer();
    web.streams[0].say(tick('A', 35));
    web.streams[0].say({ type: 'gap', source: 'sim', symbol: 'A', epoch, from: 1, to, missed: to });
    await until('the gap', () => web.heard.length === 3);
    subscribe(socket, 2, ['b']);
    await until('another stream', () => web.streams.length === 2);
    assert.equal(web.streams[1].query.lastEventId.split('~')[0].split('.')[0], place);
    socket.close();
  }
});

test('a new stream that has not met the old one ends the connection, so that the loss is told', async () => {
  const web = new Web(), socket = web.socket('events');
  subscribe(socket, 1, ['a']);
  await until('a stream', () => web.streams.length === 1);
  web.streams[0].answer();
  web.streams[0].say(tick('A', 5));
  await until('the tick', () => web.heard.length === 2);
  subscribe(socket, 2, ['b']);
  await until('another stream', () => web.streams.length === 2);
  web.streams[1].answer(false);
  await until('the end', () => web.closed);
  assert.equal(web.closed[0], 1012);
});

test('what is asked for and refused is told, a gateway that is full is come back to, a page that may not is not soon', async () => {
  for (const [status, code] of [[404, null], [400, null], [503, 1013], [429, 1013], [403, 1008]]) {
    const web = new Web(), socket = web.socket('events');
    web.refuse = status;
    subscribe(socket, 9, ['a']);
    await until(`the answer to ${status}`, () => web.closed || web.heard.length);
    assert.deepEqual([web.closed?.[0] ?? null, web.heard[0]?.id ?? null], code ? [code, null] : [null, 9]);
    socket.close();
  }
});

test('polls go on from where the answer before ended', async () => {
  const web = new Web(), socket = web.socket('polling');
  subscribe(socket, 1, ['a']);
  await until('a poll', () => web.polls.length === 1);
  assert.equal(web.polls[0].query.after, '');
  web.polls[0].answer([{ type: 'subscribeResponse', results: [{ symbol: 'A', source: 'sim', status: 'subscribed' }] }, tick('A', 35)]);
  await until('another', () => web.polls.length === 2);
  assert.equal(web.polls[1].query.after, '10-z');
  assert.deepEqual(web.heard.map((m) => m.type), ['subscribeResponse', 'tick', 'heartbeat']);
  socket.close();
  assert.equal(web.polls[1].signal.aborted, true);
});

test('statuses are those of the gateway, with symbols', async () => {
  const web = new Web(), socket = web.socket('events');
  socket.send('{"type":"connect"}');
  await until('a status', () => web.asides.length === 1);
  assert.deepEqual(web.asides[0], { type: 'status', source: 'sim', status: 'connected', timestamp: 1234, availableSymbols: ['A', 'B'] });
  socket.close();
});

test('a ping is answered with the time of the gateway, and is no sign of a stream', async () => {
  const web = new Web(), socket = web.socket('polling');
  socket.send('{"type":"ping","id":0}');
  await until('a pong', () => web.asides.length === 1);
  assert.deepEqual(web.asides[0], { type: 'pong', id: 0, timestamp: 1234 });
  assert.deepEqual(web.heard, []);
  socket.close();
});

test('a stream that does not begin, or falls silent, and a poll that is held ends the connection', async () => {
  for (const [kind, speaks, before_ms, after_ms] of [['events', false, 9999, 10000], ['events', true, 29999, 30000], ['polling', false, 29999, 30000]]) {
    const web = new Web(), socket = web.socket(kind);
    subscribe(socket, 1, ['a']);
    await until('a request', () => web.streams.length + web.polls.length === 1);
    if (speaks) { web.streams[0].answer(); await until('the answer', () => web.heard.length === 1); }
    web.lapse(before_ms);
    assert.equal(web.closed, null, kind);
    web.lapse(after_ms);
    assert.deepEqual(web.closed, [1006, 'silent']);
    socket.close();
  }
});

test('what was refused is not waited for', async () => {
  const web = new Web(), socket = web.socket('events');
  web.refuse = 404;
  subscribe(socket, 9, ['a']);
  await until('the refusal', () => web.heard.length === 1);
  await until('the end of the watch', () => web.late.size === 0);
  assert.equal(web.closed, null);
  socket.close();
});
