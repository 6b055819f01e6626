// The client in Node against the real programs: gateways killed, restarted, drained and black-holed. A gateway that nobody
// touches says what really happened; each consumer must have got each tick once, merged with a count, or in a gap, in order.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { freePort, startStack, until } from '../../../../sim/e2e/browser/stack.js';
import { Tickcast } from '../../tickcast.js';
import { Witness } from '../world.js';

const SYMBOLS = ['EURUSD', 'GBPUSD', 'USDJPY', 'XAUUSD'];
const RATES = [{}, { mode: 'latest', minIntervalMs: 0 }, { minIntervalMs: 250 }, { mode: 'latest', minIntervalMs: 1000 }];

let stack, truth;
before(async () => {
  stack = await startStack();
  truth = new Truth(stack.url);
  await until('the truth flows', () => SYMBOLS.every((symbol) => truth.channel(symbol).ticks.length > 20), 40000);
});
after(async () => {
  truth?.socket.close();
  await stack?.stop();
});

/** Every tick, as a plain WebSocket at a gateway nobody touches has it. */
class Truth {
  constructor(url) {
    this.channels = new Map(SYMBOLS.map((symbol) => [symbol, { ticks: [] }]));
    this.socket = new WebSocket(url.replace('http', 'ws'));
    this.socket.on('open', () => this.socket.send(JSON.stringify({ type: 'subscribe', symbols: SYMBOLS })));
    this.socket.on('message', (data) => {
      const m = JSON.parse(data);
      assert.notEqual(m.type, 'gap', 'the truth itself has a hole');
      if (m.type === 'tick') this.channels.get(m.symbol).ticks.push(m);
    });
  }
  /** As `Witness` wants it: the whole epoch from number 1, of which what came before us is not looked at. */
  channel(symbol) {
    const { ticks } = this.channels.get(symbol), head = ticks.length ? ticks[0].seq - 1 : 0;
    return { ticks: [...Array.from({ length: head }, () => ({ epoch: ticks[0].epoch })), ...ticks] };
  }
}

/** A client with every kind of consumer, at these gateways. */
class Page {
  constructor(urls, options) {
    this.feed = new Tickcast(urls, { WebSocket, ...options });
    this.states = [];
    this.feed.on('connection', ({ state, transport, url, code, reason }) => this.states.push({ state, transport, url, code, reason }));
    this.consumers = SYMBOLS.flatMap((symbol) => RATES.map((rate) => {
      const consumer = { symbol, rate, events: [] };
      this.feed.subscribe({ symbols: symbol, ...rate }, (event) => consumer.events.push(event));
      return consumer;
    }));
  }

  /** Waits until every consumer has what the truth has now. */
  async isCurrent(within_ms = 20000) {
    const goal = new Map(SYMBOLS.map((symbol) => [symbol, truth.channel(symbol).ticks.at(-1).seq + 10]));
    const seq = ({ events }) => events.findLast((event) => event.type === 'tick')?.seq ?? 0;
    await until('every consumer has the newest', () => this.consumers.every((consumer) => seq(consumer) >= goal.get(consumer.symbol)), within_ms).catch((error) => {
      throw new Error(`${error.message}\n${JSON.stringify(this.feed.connection)}\n${JSON.stringify(this.states.slice(-8))}\n${stack.logs()}`);
    });
  }

  /** Holds what each consumer was told against the truth, and answers how many ticks were announced as missing. */
  async judge() {
    this.feed.close();
    const last = ({ events }) => events.findLast((event) => event.type === 'tick').seq;
    await until('the truth is as far', () => this.consumers.every((consumer) => truth.channel(consumer.symbol).ticks.at(-1).seq >= last(consumer)));
    let missed = 0;
    for (const { symbol, rate, events } of this.consumers) {
      const witness = new Witness(truth, symbol);
      for (const event of events) witness.listener(event);
      assert.deepEqual(witness.wrong, [], `${symbol} ${JSON.stringify(rate)}`);
      assert.ok(witness.ticks + witness.missed > 10);
      missed += witness.missed;
    }
    return missed;
  }
}

/** A way to a gateway that can stop passing anything on, without closing. */
async function proxy(port) {
  const sockets = new Set(), way = { isHole: false };
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.on('data', (bytes) => { if (!way.isHole) to.write(bytes); });
      from.on('close', () => { sockets.delete(from); if (!way.isHole) to.destroy(); });
      from.on('error', () => from.destroy());
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  way.url = `ws://127.0.0.1:${server.address().port}/ws`;
  way.close = () => { server.close(); for (const socket of sockets) socket.destroy(); };
  return way;
}

async function gateways(count, settings) {
  const all = [];
  for (let i = 0; i < count; i++) {
    const port = await freePort();
    all.push({ port, url: `ws://127.0.0.1:${port}/ws`, program: await stack.startGateway(port, settings) });
  }
  return all;
}

test('a gateway serves what the script prints', async () => {
  const served = await (await fetch(new URL('tickcast.js', stack.url))).text();
  assert.equal(served, execFileSync(new URL('../../strip', import.meta.url).pathname, { encoding: 'utf8' }));
});

test('a gateway killed and started again is come back to', async () => {
  const [gateway] = await gateways(1);
  const page = new Page(gateway.url);
  await page.isCurrent();
  for (let i = 0; i < 3; i++) {
    await gateway.program.kill('SIGKILL');
    await until('the loss is noticed', () => page.feed.connection.state !== 'open');
    gateway.program = await stack.startGateway(gateway.port);
    await page.isCurrent();
  }
  const missed = await page.judge();
  console.log(`        missed, of 16 consumers: ${missed}`);
  await gateway.program.kill('SIGTERM');
});

test('a killed gateway is left for the other', async () => {
  const [a, b] = await gateways(2);
  const page = new Page([a.url, b.url]);
  await page.isCurrent();
  await a.program.kill('SIGKILL');
  await page.isCurrent();
  assert.equal(page.feed.connection.url, b.url);
  const missed = await page.judge();
  console.log(`        missed, of 16 consumers: ${missed}`);
  await b.program.kill('SIGTERM');
});

test('a drained gateway is left for the other without a break, and nothing is lost or told twice', async () => {
  const all = await gateways(3, { DRAIN_MS: '3000' });
  const page = new Page(all.map(({ url }) => url));
  await page.isCurrent();
  for (const gateway of all.slice(0, 2)) {
    await gateway.program.kill('SIGTERM');
    await page.isCurrent();
  }
  assert.equal(page.feed.connection.url, all[2].url);
  assert.equal(page.feed.stats.moves, 2);
  const opened = page.states.findIndex(({ state }) => state === 'open');
  assert.ok(page.states.slice(opened).every(({ state }) => state === 'open'), 'there was always a connection');
  const missed = await page.judge();
  console.log(`        missed, of 16 consumers: ${missed}`);
  await all[2].program.kill('SIGTERM');
});

test('a way that falls silent without closing is left after 30 s', async () => {
  const [a, b] = await gateways(2), hole = await proxy(a.port), page = new Page([hole.url, b.url]);
  await page.isCurrent();
  hole.isHole = true;
  const at = Date.now();
  await until('the other one', () => page.feed.connection.url === b.url && page.feed.connection.state === 'open', 50000);
  assert.ok(Date.now() - at >= 29000);
  await page.isCurrent();
  const missed = await page.judge();
  console.log(`        missed, of 16 consumers: ${missed}`);
  hole.close();
  for (const gateway of [a, b]) await gateway.program.kill('SIGTERM');
});
