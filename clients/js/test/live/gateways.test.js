// The client in Node against the real programs: gateways killed, restarted, drained and black-holed. A gateway that nobody
// touches says what really happened; each consumer must have got each tick once, merged with a count, or in a gap, in order.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { freePort, startStack, until } from '../../../../sim/e2e/browser/stack.js';
import { Tickcast } from '../../tickcast.js';
import { judge, proxy, RATES, seqOf, SOCKETS, SOCKETS_AND_STREAMS, STREAMS, SYMBOLS, Truth } from './truth.js';

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

/** Three clients at these gateways: one with every kind of consumer, the same in binary, one whose consumers all let ticks be merged. */
class Page {
  constructor(urls) {
    this.states = [];
    this.consumers = [];
    this.feeds = [{ rates: RATES }, { rates: RATES.slice(0, 3), binary: true }, { rates: RATES.slice(2), binary: true }].map(({ rates, binary = false }) => {
      const feed = new Tickcast(urls, { WebSocket, binary }), states = [];
      this.states.push(states);
      feed.on('connection', ({ state, transport, url, code, reason }) => states.push({ state, transport, url, code, reason }));
      for (const symbol of SYMBOLS) for (const rate of rates) {
        const consumer = { symbol, rate, events: [] };
        feed.subscribe({ symbols: symbol, ...rate }, (event) => consumer.events.push(event));
        this.consumers.push(consumer);
      }
      return feed;
    });
  }

  /** Whether this holds for the connections of both. */
  are(holds) { return this.feeds.every((feed) => holds(feed.connection, feed.stats)); }

  /** Waits until every consumer has what the truth has now. */
  async isCurrent(within_ms = 20000) {
    const goal = new Map(SYMBOLS.map((symbol) => [symbol, truth.channel(symbol).ticks.at(-1).seq + 10]));
    await until('every consumer has the newest', () => this.consumers.every((consumer) => seqOf(consumer) >= goal.get(consumer.symbol)), within_ms).catch((error) => {
      throw new Error(`${error.message}\n${this.feeds.map((feed, i) => `${JSON.stringify(feed.connection)}\n${JSON.stringify(this.states[i].slice(-8))}`).join('\n')}\n${stack.logs()}`);
    });
  }

  async judge() {
    for (const feed of this.feeds) feed.close();
    const missed = await judge(truth, this.consumers);
    console.log(`        missed, of ${this.consumers.length} consumers: ${missed}`);
    return missed;
  }
}

/** Their rings, filled from the history, reach further back than any outage here takes. */
async function gateways(count, more) {
  const all = [], settings = { RING_TICKS: '1000', ...more };
  for (let i = 0; i < count; i++) {
    const port = await freePort();
    all.push({ port, settings, url: `ws://127.0.0.1:${port}/ws`, program: await stack.startGateway(port, settings) });
  }
  return all;
}

test('a gateway serves what the script prints', async () => {
  for (const [name, part] of [['tickcast.js', 'client'], ['tickcast-http.js', 'http'], ['tickcast-bin.js', 'bin']]) {
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
    await until('the loss is noticed', () => page.are(({ state }) => state !== 'open'));
    gateway.program = await stack.startGateway(gateway.port, gateway.settings);
    await page.isCurrent();
  }
  assert.equal(await page.judge(), 0, 'missed');
  await gateway.program.kill('SIGTERM');
});

test('a killed gateway is left for the other', async () => {
  const [a, b] = await gateways(2);
  const page = new Page([a.url, b.url]);
  await page.isCurrent();
  await a.program.kill('SIGKILL');
  await page.isCurrent();
  assert.ok(page.are(({ url }) => url === b.url));
  assert.equal(await page.judge(), 0, 'missed');
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
  assert.ok(page.are(({ url }, { moves }) => url === all[2].url && moves === 2));
  for (const states of page.states) {
    const opened = states.findIndex(({ state }) => state === 'open');
    assert.ok(states.slice(opened).every(({ state }) => state === 'open'), 'there was always a connection');
  }
  assert.equal(await page.judge(), 0, 'missed');
  await all[2].program.kill('SIGTERM');
});

test('a way that falls silent without closing is left after 30 s', async () => {
  const [a, b] = await gateways(2), hole = await proxy(a.port), page = new Page([hole.url, b.url]);
  await page.isCurrent();
  hole.isHole = true;
  const at = Date.now();
  await until('the other one', () => page.are(({ url, state }) => url === b.url && state === 'open'), 50000);
  assert.ok(Date.now() - at >= 29000);
  await page.isCurrent();
  assert.equal(await page.judge(), 0, 'missed');
  hole.close();
  for (const gateway of [a, b]) await gateway.program.kill('SIGTERM');
});

for (const [transport, refuses] of Object.entries({ events: SOCKETS, polling: SOCKETS_AND_STREAMS })) {
  test(`where a proxy lets only ${transport} through they serve the same, through a drain and a cut, and WebSocket is returned to without a loss`, async () => {
    const all = await gateways(2, { DRAIN_MS: '3000' }), ways = await Promise.all(all.map(({ port }) => proxy(port)));
    for (const way of ways) way.refuses = refuses;
    const page = new Page(ways.map(({ url }) => url));
    await page.isCurrent(60000);
    assert.ok(page.are((connection) => connection.transport === transport));
    const first = all.find((_, i) => ways[i].url === page.feeds[0].connection.url), second = all.find((gateway) => gateway !== first);
    await first.program.kill('SIGTERM');
    await page.isCurrent(60000);
    assert.ok(page.are((connection) => connection.transport === transport));
    await second.program.kill('SIGKILL');
    second.program = await stack.startGateway(second.port, second.settings);
    await page.isCurrent(90000);
    for (const way of ways) way.refuses = null;
    await until('WebSocket again', () => page.are((connection) => connection.transport === 'websocket'), 90000);
    await page.isCurrent();
    assert.equal(await page.judge(), 0, 'missed');
    for (const way of ways) way.close();
    await second.program.kill('SIGTERM');
  });
}

test('where a proxy holds streams back polls are reached, also by a page that listens for statuses, and the round trip is known', async () => {
  const [gateway] = await gateways(1), way = await proxy(gateway.port), sources = new Set(), latencies = [];
  Object.assign(way, { refuses: SOCKETS, holds: STREAMS });
  const page = new Page(way.url);
  for (const feed of page.feeds) { feed.on('status', ({ source }) => sources.add(source)); feed.on('latency', ({ rttMs }) => latencies.push(rttMs)); }
  await page.isCurrent(90000);
  assert.ok(page.are(({ transport }) => transport === 'polling'));
  assert.ok(sources.size > 0);
  await until('the round trip', () => latencies.length > 0);
  await page.isCurrent();
  for (const feed of page.feeds) assert.ok(Math.abs(feed.serverNow() - Date.now()) < 1000);
  await page.judge();
  way.close();
  await gateway.program.kill('SIGTERM');
});
