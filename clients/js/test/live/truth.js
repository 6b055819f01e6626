// What a test of the client against real gateways needs: the truth, a judge, ways that fail.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import WebSocket from 'ws';
import { until } from '../../../../sim/e2e/browser/stack.js';
import { Witness } from '../world.js';

export const SYMBOLS = ['EURUSD', 'GBPUSD', 'USDJPY', 'XAUUSD'];
export const RATES = [{}, { mode: 'latest', minIntervalMs: 0 }, { minIntervalMs: 250 }, { mode: 'latest', minIntervalMs: 1000 }];

/** Every tick, as a plain WebSocket at a gateway nobody touches has it. */
export class Truth {
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

export const seqOf = ({ events }) => events.findLast((event) => event.type === 'tick')?.seq ?? 0;

/** Holds what consumers were told (`symbol`, `rate`, `events`) against the truth, and answers how many ticks were announced as missing. */
export async function judge(truth, consumers) {
  await until('the truth is as far', () => consumers.every((consumer) => truth.channel(consumer.symbol).ticks.at(-1).seq >= seqOf(consumer)));
  let missed = 0;
  for (const { symbol, rate, events } of consumers) {
    const witness = new Witness(truth, symbol);
    for (const event of events) witness.listener(event);
    assert.deepEqual(witness.wrong, [], `${symbol} ${JSON.stringify(rate)}`);
    assert.ok(witness.ticks + witness.missed > 10);
    missed += witness.missed;
  }
  return missed;
}

/** What a proxy may not let through. */
export const SOCKETS = /^upgrade: *websocket/im, SOCKETS_AND_STREAMS = /^upgrade: *websocket|^GET \/api\/v1\/stream/im, STREAMS = /^GET \/api\/v1\/stream/im;

/** A way to a gateway that can stop passing anything on without closing (`isHole`), refuse requests (`refuses`), or leave them without an answer (`holds`). */
export async function proxy(port) {
  const sockets = new Set(), way = { isHole: false, refuses: null, holds: null };
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.on('data', (bytes) => {
        if (from === near && way.refuses?.test(bytes.toString('latin1'))) return void near.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
        const isHeld = from === near && way.holds?.test(bytes.toString('latin1'));
        if (!way.isHole && !isHeld) to.write(bytes);
      });
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
