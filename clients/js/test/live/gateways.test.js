// The client in Node against the real programs: gateways killed, restarted, drained and black-holed. A gateway that nobody
// touches says what really happened; each consumer must have got each tick once, merged with a count, or in a gap, in order.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { freePort, startStack, until } from '../../../../sim/e2e/browser/stack.js';
import { Tickcast } from '../../tickcast.js';
import { proxy, judge, RATES, seqOf, SYMBOLS, Truth } from './truth.js';

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
    await until('every consumer has the newest', () => this.consumers.every((consumer) => seqOf(consumer) >= goal.get(consumer.symbol)), within_ms).catch((error) => {
      throw new Error(`${error.message}\n${JSON.stringify(this.feed.connection)}\n${JSON.stringify(this.states.slice(-8))}\n${stack.logs()}`);
    });
  }

  judge() {
    this.feed.close();
    return judge(truth, this.consumers);
  }
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
  for (const [name, part] of [['tickcast.js', 'client'], ['tickcast-http.js', 'http']]) {
    const served = await (await fetch(new URL(name, stack.url))).text();
    assert.ok(served === execFileSync(new URL('../../strip', import.meta.url).pathname, [part], { encoding: 'utf8' }), `${name} is served with ${served.length} characters`);
  }
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

test('where a proxy refuses WebSockets, events serve the same, through a drain and a cut, and WebSocket is returned to without a loss', async () => {
  const all = await gateways(2, { DRAIN_MS: '3000' }), ways = await Promise.all(all.map(({ port }) => proxy(port)));
  for (const way of ways) way.isStrict = true;
  const page = new Page(ways.map(({ url }) => url));
  await page.isCurrent();
  assert.equal(page.feed.connection.transport, 'events');
  const first = all.find(({ port }, i) => ways[i].url === page.feed.connection.url);
  await first.program.kill('SIGTERM');
  await page.isCurrent();
  assert.equal(page.feed.connection.transport, 'events');
  const second = all.find((gateway) => gateway !== first);
  await second.program.kill('SIGKILL');
  second.program = await stack.startGateway(second.port);
  await page.isCurrent(60000);
  for (const way of ways) way.isStrict = false;
  await until('WebSocket again', () => page.feed.connection.transport === 'websocket', 60000);
  await page.isCurrent();
  console.log(`        missed, of 16 consumers: ${await page.judge()}`);
  for (const way of ways) way.close();
  await second.program.kill('SIGTERM');
});
