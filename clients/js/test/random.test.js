// Random lives of a client between two gateways that are killed, restarted, drained and black-holed, whose rings are lapped: whatever
// happens, each consumer gets each tick once, merged with a count, or announced by a gap, in order.
// LIFE=17 replays one life.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Witness, World } from './world.js';

const LIVES = Number(process.env.LIVES ?? 1500), STEPS = 120, SYMBOLS = ['EURUSD', 'GBPUSD', 'XAUUSD'];

function live(seed) {
  const world = new World({ seed, delay_ms: 1 + seed % 40 }), { random } = world;
  const any = (list) => list[Math.floor(random() * list.length)];
  const gateways = ['a', 'b'].map((name) => world.gateway(name, { history: any([0, 5, 256]), tellsEpochs: random() < 0.8 }));
  const client = world.client(['a', 'b']);
  const witnesses = [], subscriptions = [], log = [];
  const rate = () => any([{}, {}, { mode: 'latest', minIntervalMs: any([0, 50, 300, 2000]) }, { minIntervalMs: 100, mode: 'latest' }]);
  const subscribe = () => {
    const symbol = any(SYMBOLS), witness = new Witness(world, symbol), asked = rate();
    witness.asked = asked;
    witnesses.push(witness);
    subscriptions.push(client.subscribe({ symbols: symbol, ...asked }, witness.listener));
  };
  for (const symbol of SYMBOLS) for (let i = 0; i < 3; i++) world.tick(symbol);
  subscribe(); subscribe(); subscribe();
  const steps = {
    ticks: () => { for (let i = 0; i < 6; i++) { world.tick(any(SYMBOLS), random() < 0.05 ? null : undefined); world.pass(random() * 20); } },
    pass: () => world.pass(random() * any([10, 300, 5000])),
    long: () => world.pass(40000),
    subscribe: () => { if (subscriptions.length < 12) subscribe(); },
    unsubscribe: () => { const i = Math.floor(random() * subscriptions.length); if (subscriptions.length > 2) { subscriptions.splice(i, 1)[0].close(); witnesses.splice(i, 1); } },
    update: () => any(subscriptions).update(rate()),
    kill: () => any(gateways).kill(),
    start: () => { for (const gateway of gateways) { gateway.start(); gateway.isMute = false; } },
    goaway: () => { const gateway = any(gateways); gateway.goaway(Math.floor(random() * 3000), random() * 4000); },
    blackHole: () => any(gateways).blackHole(),
    close: () => { for (const link of any(gateways).links) link.close(any([1001, 1006, 1012, 4002, 4400, 1011])); },
    lap: () => {
      const symbol = any(SYMBOLS), subs = gateways.flatMap((gateway) => [...gateway.links]).flatMap((link) => [...link.subs.values()]).filter((sub) => sub.channel.symbol === symbol && random() < 0.7);
      const turn = any([0, 1, 2, 3, -1, -1]);
      for (const sub of subs) sub.isStalled = true;
      for (let i = 0; i < 4; i++) { if (i === turn) world.newEpoch(symbol); world.tick(symbol); }
      for (const sub of subs) { sub.isStalled = false; sub.skip = 3; }
      world.tick(symbol);
    },
    epoch: () => world.newEpoch(any(SYMBOLS)),
    reconnect: () => client.reconnect(),
    online: () => world.wakes.online(),
    hide: () => { world.isHidden = !world.isHidden; world.wakes.look(); },
    sleep: () => world.sleep(random() * 100000),
  };
  const plan = [...Array(30).fill('ticks'), ...Array(8).fill('pass'), 'long', 'subscribe', 'subscribe', 'unsubscribe', 'update', 'update', 'kill', 'start', 'start', 'goaway', 'goaway', 'blackHole', 'close', 'lap', 'lap', 'epoch', 'reconnect', 'online', 'hide', 'sleep'];
  for (let i = 0; i < STEPS; i++) {
    const step = any(plan);
    log.push(step);
    steps[step]();
    const wrong = witnesses.flatMap((witness) => witness.wrong);
    if (wrong.length) return { wrong, log };
  }
  // In the end all is well again, and everybody has the newest tick.
  steps.start();
  world.isHidden = false;
  world.wakes.look();
  world.pass(200000);
  for (const symbol of SYMBOLS) world.tick(symbol);
  world.pass(5000);
  const wrong = witnesses.flatMap((w) => w.wrong);
  for (const w of witnesses) {
    const last = world.channel(w.symbol).ticks.at(-1);
    if (w.epoch !== last.epoch || w.seq !== last.seq) wrong.push(`${w.symbol} ${JSON.stringify(w.asked)} ended at ${w.epoch}/${w.seq}, not ${last.epoch}/${last.seq}`);
  }
  if (client.connection.state !== 'open') wrong.push(`ended ${client.connection.state}`);
  wrong.push(...world.reports.map(String));
  client.close();
  const { stats } = client;
  return { wrong, log, stats, told: witnesses.reduce((sum, w) => sum + w.ticks, 0), missed: witnesses.reduce((sum, w) => sum + w.missed, 0) };
}

test(`${LIVES} random lives: each tick once, merged with a count, or announced as missing`, () => {
  const only = process.env.LIFE, sum = { told: 0, missed: 0, moves: 0, connections: 0, duplicates: 0 };
  for (let seed = only ? Number(only) : 1; seed <= (only ? Number(only) : LIVES); seed++) {
    const life = live(seed);
    assert.deepEqual(life.wrong, [], `LIFE=${seed}: ${life.wrong[0]}\n${only ? life.log.join(' ') : ''}`);
    sum.told += life.told; sum.missed += life.missed; sum.moves += life.stats.moves; sum.connections += life.stats.connections; sum.duplicates += life.stats.duplicates;
  }
  // A test that never moved, lost or met a tick twice would prove nothing.
  if (!only) for (const [name, n] of Object.entries(sum)) assert.ok(n > LIVES / 2, `${name}: ${n}`);
  console.log(`        ${JSON.stringify(sum)}`);
});
