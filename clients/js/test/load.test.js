// What the shell around the decisions loads when it needs it, where that cannot be had.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tickcast } from '../tickcast.js';
import { World } from './world.js';

/** A client whose WebSockets and modules are those of the test. */
function client(world, more) {
  const { socket, ...env } = world.env();
  return new Tickcast('ws://gateway.example/ws', { ...env, ...more });
}

/** Time passes, and what is promised comes true within it. */
async function pass(world, ms) {
  for (let i = 0; i < ms; i += 100) { world.pass(100); await new Promise(setImmediate); }
}

/** A WebSocket that a proxy refuses. */
const refused = (world, dials) => class {
  constructor() { dials.push(world.ms); world.later(5, () => this.onclose({ code: 1006, reason: '' })); }
  close() {}
};

test('a module that could not be loaded is asked for under another name, and WebSocket has most turns meanwhile', async () => {
  const world = new World(), names = [], dials = [], kinds = [];
  let isThere = false;
  class HttpSocket {
    constructor(_, kind, url, { open }) { kinds.push(kind); world.later(5, open); }
    send() {}
    close() {}
  }
  const feed = client(world, {
    WebSocket: refused(world, dials),
    load: async (name) => { names.push(name); if (!isThere) throw new TypeError('not there'); return { HttpSocket }; },
  });
  await pass(world, 300000);
  assert.ok(names.length > 3 && dials.length >= 2 * names.length, `${names.length} ${dials.length}`);
  assert.deepEqual(names, names.map((_, i) => `./tickcast-http.js${i ? `?${i}` : ''}`));
  assert.match(feed.connection.reason, /not there|^$/);
  isThere = true;
  while (!kinds.length && world.ms < 1_000_000) await pass(world, 1000);
  assert.deepEqual(kinds, ['events']);
  assert.equal(feed.connection.state, 'open');
  feed.close();
});

test('without what reads binary ticks they come in JSON', async () => {
  const world = new World(), protocols = [];
  const feed = client(world, {
    binary: true, load: async () => { throw new TypeError('not there'); },
    WebSocket: class { constructor(_, wanted) { protocols.push(wanted); world.later(5, () => this.onopen()); } send() {} close() {} },
  });
  await pass(world, 3000);
  assert.equal(feed.connection.state, 'open');
  assert.deepEqual(protocols, [[]]);
  feed.close();
});
