import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Witness, World, fold } from './world.js';

const reads = (world, client, symbol, rate = {}) => {
  const witness = new Witness(world, symbol);
  witness.subscription = client.subscribe({ symbols: symbol, ...rate }, witness.listener);
  return witness;
};
const fine = (...witnesses) => { for (const witness of witnesses) assert.deepEqual(witness.wrong, []); };
const ticks = (world, symbol, count, every_ms = 10) => { for (let i = 0; i < count; i++) { world.tick(symbol); world.pass(every_ms); } };
const subscribes = (gateway) => gateway.requests.filter((m) => m.type === 'subscribe');
const states = (client) => { const seen = []; client.on('connection', (event) => seen.push(event)); return seen; };

// ---- coming back

test('waits grow from 1 s to 30 s with full jitter and never end', () => {
  const waits = Array.from({ length: 8 }, () => []);
  let total = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const world = new World({ seed }), client = world.client();
    world.pass(3_600_000);
    total += world.dials.length;
    for (let i = 0; i < waits.length; i++) waits[i].push(world.dials[i + 1].at - world.dials[i].at - world.delay_ms);
    client.close();
  }
  for (const [i, all] of waits.entries()) {
    const ceiling = Math.min(30000, 1000 * 2 ** i), mean = all.reduce((a, b) => a + b) / all.length;
    assert.ok(Math.max(...all) <= ceiling && Math.max(...all) > 0.9 * ceiling, `wait ${i} reaches ${Math.max(...all)} of ${ceiling}`);
    assert.ok(Math.min(...all) >= 0 && Math.min(...all) < 0.1 * ceiling);
    assert.ok(Math.abs(mean / ceiling - 0.5) < 0.07, `wait ${i}: mean ${mean} of ${ceiling}`);
  }
  assert.ok(total / 300 > 200, `${total / 300} attempts in an hour`);
});

test('a connection that lasted forgets the failed attempts, one that did not does not', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  gateway.kill();
  world.pass(200000);
  gateway.start();
  world.pass(60000);
  assert.equal(client.connection.state, 'open');
  world.pass(11000);
  gateway.kill();
  assert.equal(client.connection.attempt, 1);
  const dials = world.dials.length;
  gateway.start();
  for (let i = 0; i < 6; i++) { world.pass(40000 / 6); for (const link of gateway.links) link.end(1011, ''); }
  assert.ok(client.connection.attempt > 2, 'opened and dropped again and again is no success');
  assert.ok(world.dials.length > dials);
});

test('a hidden tab waits longer, and comes back when it is shown', () => {
  const mean = (isHidden) => {
    let sum = 0;
    for (let seed = 1; seed <= 200; seed++) {
      const world = new World({ seed });
      world.isHidden = isHidden;
      const client = world.client();
      world.pass(10_000_000);
      sum += world.dials[10].at - world.dials[9].at;
      client.close();
    }
    return sum / 200;
  };
  assert.ok(mean(true) > 3 * mean(false));
  const world = new World(), gateway = world.gateway(), client = world.client();
  gateway.kill();
  world.isHidden = true;
  world.wakes.look();
  world.pass(600000);
  gateway.start();
  world.isHidden = false;
  world.wakes.look();
  world.pass(30100);
  assert.equal(client.connection.state, 'open');
});

test('when the network is back the next attempt comes within a second', () => {
  for (let seed = 1; seed <= 50; seed++) {
    const world = new World({ seed }), gateway = world.gateway(), client = world.client();
    gateway.kill();
    world.pass(500000);
    gateway.start();
    world.wakes.online();
    world.pass(1000 + 2 * world.delay_ms);
    assert.equal(client.connection.state, 'open', `seed ${seed}`);
    client.close();
  }
});

test('reconnecting by hand goes at once, also after a close that was final, and never with two attempts at a time', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  gateway.refuses = 4001;
  world.pass(100);
  assert.equal(client.connection.state, 'stopped');
  gateway.refuses = 0;
  for (let i = 0; i < 3; i++) client.reconnect();
  world.pass(20);
  assert.equal(client.connection.state, 'open');
  assert.equal(world.dials.length, 2);
});

for (const [code, comes] of Object.entries({ 1000: 1, 1001: 1, 1002: 1, 1006: 1, 1008: 2, 1009: 2, 1011: 1, 1012: 1, 1013: 1, 4000: 1, 4001: 0, 4002: 1, 4003: 2, 4004: 1, 4400: 1, 4499: 1, 4500: 0, 4999: 0 })) {
  test(`close code ${code}: ${['stays away', 'comes back', 'comes back, but not soon'][comes]}`, () => {
    const waits = new Set();
    for (let seed = 1; seed <= 20; seed++) {
      const world = new World({ seed }), gateway = world.gateway(), client = world.client(), seen = states(client);
      world.pass(20000);
      for (const link of gateway.links) link.close(Number(code), 'said so');
      const at = world.ms;
      world.pass(60000);
      assert.ok(seen.some((event) => event.code === Number(code) && event.reason === 'said so'));
      if (!comes) { assert.equal(client.connection.state, 'stopped'); assert.equal(world.dials.length, 1); continue; }
      assert.equal(client.connection.state, 'open');
      const wait = world.dials[1].at - at - world.delay_ms;
      assert.ok(comes === 2 ? wait >= 15000 && wait <= 30000 : wait <= 1000, `${wait} ms`);
      waits.add(Math.round(wait));
    }
    assert.ok(!comes || waits.size > 10, 'jitter');
  });
}

// ---- knowing that it lives

test('a quiet connection lives by heartbeats, for hours', () => {
  const world = new World();
  world.gateway();
  const client = world.client();
  world.pass(4 * 3_600_000);
  assert.equal(world.dials.length, 1);
  assert.equal(client.connection.state, 'open');
});

test('a connection through which nothing comes is given up after 30 s', () => {
  const world = new World(), gateway = world.gateway(), other = world.gateway('b'), client = world.client(['a', 'b']);
  const witness = reads(world, client, 'EURUSD');
  world.pass(100);
  ticks(world, 'EURUSD', 20);
  gateway.blackHole();
  world.pass(29000);
  ticks(world, 'EURUSD', 5);
  assert.equal(world.dials.length, 1);
  world.pass(7500);
  assert.equal(other.links.size, 1);
  fine(witness);
  assert.equal(witness.ticks, 25);
});

test('one that never opens is given up after 10 s', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  gateway.isMute = true;
  world.pass(16500);
  assert.equal(client.connection.reason, 'not open in time');
});

test('after a sleep of the machine the connection is asked, not dropped; one that is dead is found within 10 s', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), other = world.gateway('b');
  client.urls.push('b');
  world.pass(1000);
  world.sleep(3_600_000);
  world.pass(60000);
  assert.equal(world.dials.length, 1, 'alive');
  gateway.blackHole();
  world.sleep(3_600_000);
  world.pass(16000);
  assert.equal(other.links.size, 1);
});

test('in a tab hidden for long, where timers run once a minute, one that is dead is found by the second, and one that lives is kept', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), other = world.gateway('b');
  client.urls.push('b');
  world.pass(1000);
  world.isHidden = true;
  world.coarse_ms = 60000;
  world.pass(1_200_000);
  assert.equal(world.dials.length, 1, 'alive');
  gateway.blackHole();
  world.pass(241000);
  assert.equal(other.links.size, 1);
});

test('there an attempt that hangs is given up, too', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  world.isHidden = true;
  world.coarse_ms = 60000;
  gateway.isMute = true;
  world.pass(130000);
  gateway.isMute = false;
  world.pass(300000);
  assert.equal(client.connection.state, 'open');
});

for (const [how, wake] of Object.entries({ 'the network is back': (world) => world.wakes.online(), 'it is asked for': (_, client) => client.reconnect() })) {
  test(`an attempt that hangs is given up when ${how}, one just begun is not`, () => {
    const world = new World(), gateway = world.gateway(), client = world.client();
    gateway.isMute = true;
    world.pass(500);
    wake(world, client);
    world.pass(10);
    assert.equal(world.dials.length, 1);
    world.pass(2000);
    gateway.isMute = false;
    wake(world, client);
    world.pass(1100);
    assert.equal(client.connection.state, 'open');
    assert.equal(world.dials.length, 2);
    assert.equal(client.isLeaving, false, 'there is nothing to be left');
  });
}

test('a wish to reconnect is fulfilled by the move it waited for, or forgotten with it', () => {
  const world = new World(), a = world.gateway(), b = world.gateway('b'), client = world.client(['a', 'b']);
  world.pass(100);
  b.receive = () => {};
  client.turn = 1;
  client.reconnect();
  world.pass(100);
  client.reconnect();
  assert.equal(client.isAgain, true);
  for (const link of b.links) link.end(1006, '');
  assert.equal(client.isAgain, false);
  assert.equal(a.links.size, 1);
});

// ---- asking

test('after a reconnect one message per venue asks for everything, with where it stopped', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  const symbols = Array.from({ length: 300 }, (_, i) => `SYM${i}`);
  for (const symbol of symbols) world.tick(symbol);
  client.subscribe({ symbols, source: 'sim' }, () => {});
  client.subscribe({ symbols: ['AAPL', 'MSFT'], source: 'other' }, () => {});
  world.pass(100);
  assert.equal(subscribes(gateway).length, 2);
  assert.ok(subscribes(gateway).every((m) => m.resume === undefined));
  gateway.kill();
  gateway.start();
  world.pass(2000);
  const [sim, other] = subscribes(gateway).slice(2);
  assert.equal(subscribes(gateway).length, 4);
  assert.deepEqual(sim.symbols, symbols);
  assert.equal(Object.keys(sim.resume).length, 300);
  assert.deepEqual(sim.resume.SYM7, { epoch: '1', seq: 1 });
  assert.deepEqual(other.symbols, ['AAPL', 'MSFT']);
});

test('a message stays below what a gateway takes, and smaller still once one was too big', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  const symbols = Array.from({ length: 1000 }, (_, i) => `EXCHANGE:A-LONG-NAME-${i}`);
  for (const symbol of symbols) world.tick(symbol);
  client.subscribe({ symbols }, () => {});
  world.pass(100);
  gateway.kill();
  gateway.start();
  world.pass(2000);
  const before = subscribes(gateway).length;
  assert.ok(before > 2);
  for (const m of subscribes(gateway)) assert.ok(JSON.stringify(m).length < 65536);
  assert.equal(new Set(subscribes(gateway).slice(1).flatMap((m) => m.symbols)).size, 1000);
  for (const link of gateway.links) link.close(1009);
  world.pass(35000);
  for (const m of subscribes(gateway).slice(before)) assert.ok(JSON.stringify(m).length < 33000);
});

test('consumers share one subscription; the most demanding of them decides what the gateway is asked for', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  const slow = reads(world, client, 'EURUSD', { minIntervalMs: 1000 });
  const asked = () => { world.pass(50); const { mode, minIntervalMs, onSlow } = subscribes(gateway).at(-1); return [mode, minIntervalMs, onSlow]; };
  assert.deepEqual(asked(), ['latest', 1000, undefined]);
  const quick = reads(world, client, 'EURUSD', { mode: 'latest', minIntervalMs: 100 });
  assert.deepEqual(asked(), ['latest', 100, undefined]);
  const every = reads(world, client, 'EURUSD', { onSlow: 'merge' });
  assert.deepEqual(asked(), ['every', undefined, 'merge']);
  const strict = reads(world, client, 'EURUSD');
  assert.deepEqual(asked(), ['every', undefined, undefined]);
  ticks(world, 'EURUSD', 100, 20);
  world.pass(1100);
  fine(slow, quick, every, strict);
  assert.deepEqual([slow, quick, every, strict].map((w) => w.ticks), [100, 100, 100, 100]);
  const told = (w) => w.events.filter((e) => e.type === 'tick').length;
  assert.ok(told(slow) <= 4 && told(quick) <= 22 && told(every) === 100, [slow, quick, every].map(told).join(' '));
  strict.subscription.close();
  every.subscription.close();
  assert.deepEqual(asked(), ['latest', 100, undefined]);
  quick.subscription.update({ minIntervalMs: 2000 });
  assert.deepEqual(asked(), ['latest', 1000, undefined]);
  const requests = gateway.requests.length;
  slow.subscription.close();
  quick.subscription.close();
  world.pass(50);
  assert.deepEqual(gateway.requests.slice(requests).map((m) => [m.type, m.symbols]), [['unsubscribe', ['EURUSD']]]);
});

test('one consumer with its own rate for each symbol gets merged ticks that add up', () => {
  const world = new World(), client = (world.gateway(), world.client());
  const witnesses = new Map(['A', 'B'].map((symbol) => [symbol, new Witness(world, symbol)]));
  client.subscribe({ symbols: ['A', 'B'], mode: 'latest', minIntervalMs: 500 }, (event) => witnesses.get(event.symbol)?.listener(event));
  client.subscribe({ symbols: ['A', 'B'] }, () => {});
  world.pass(50);
  for (let i = 0; i < 300; i++) { world.tick('A', i % 7 ? undefined : null); if (i % 3 === 0) world.tick('B'); world.pass(10); }
  world.pass(1000);
  fine(...witnesses.values());
  assert.equal(witnesses.get('A').ticks, 300);
  assert.equal(witnesses.get('B').ticks, 100);
  const bars = witnesses.get('A').events.filter((e) => e.type === 'tick'), real = fold(world.channel('A').ticks);
  assert.equal(Math.max(...bars.map((bar) => bar.high ?? -1)), real.high);
  assert.equal(Math.min(...bars.map((bar) => bar.low ?? Infinity)), real.low);
  assert.ok(bars.length < 12);
});

test('who joins later gets the last known tick first, and everything from there', () => {
  const world = new World(), client = (world.gateway(), world.client());
  const first = reads(world, client, 'EURUSD');
  world.pass(50);
  ticks(world, 'EURUSD', 10);
  const second = reads(world, client, 'EURUSD'), third = reads(world, client, 'EURUSD', { mode: 'latest', minIntervalMs: 200 });
  assert.equal(second.events[0].snapshot, true);
  assert.deepEqual([third.events[0].merged, third.events[0].high], [1, third.events[0].price]);
  ticks(world, 'EURUSD', 10);
  world.pass(300);
  fine(first, second, third);
  assert.deepEqual([first.seq, second.seq, third.seq], [20, 20, 20]);
});

test('a symbol left and wanted again is asked anew, and what was on the way does not count', () => {
  const world = new World({ delay_ms: 100 }), client = (world.gateway(), world.client());
  const first = reads(world, client, 'EURUSD');
  world.pass(1000);
  ticks(world, 'EURUSD', 10);
  first.subscription.close();
  world.pass(50);
  const second = reads(world, client, 'EURUSD');
  ticks(world, 'EURUSD', 100);
  world.pass(500);
  fine(first, second);
  assert.equal(second.missed, 0);
  assert.equal(second.seq, 110);
});

test('a request refused for its rate is made again', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  gateway.limited = 2;
  const witness = reads(world, client, 'EURUSD');
  world.tick('EURUSD');
  world.pass(10000);
  assert.equal(witness.seq, 1);
});

test('an unknown symbol is told as refused, to who comes later too, and harms no other', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  gateway.unknown.add('NOSUCH');
  const events = [], late = [];
  client.subscribe({ symbols: ['NOSUCH', 'EURUSD'] }, (event) => events.push(event));
  world.tick('EURUSD');
  world.pass(100);
  assert.deepEqual(events.map((e) => [e.type, e.symbol, e.state, e.code]), [['symbolState', 'NOSUCH', 'refused', 'UNKNOWN_SYMBOL'], ['tick', 'EURUSD', undefined, undefined]]);
  client.subscribe({ symbols: 'NOSUCH' }, (event) => late.push(event.state));
  assert.deepEqual(late, ['refused']);
  world.pass(60000);
  assert.equal(subscribes(gateway).length, 1);
});

test("names in other spellings meet the venue's own, and two names of one symbol share it", () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  gateway.spelling.set('EUR/USD', 'EURUSD').set('eurusd', 'EURUSD');
  const all = ['EUR/USD', 'eurusd', 'EURUSD'].map((name) => { const w = new Witness(world, 'EURUSD'); client.subscribe({ symbols: name }, w.listener); return w; });
  world.pass(100);
  ticks(world, 'EURUSD', 10);
  world.pass(100);
  fine(...all);
  assert.deepEqual(all.map((w) => w.ticks), [10, 10, 10]);
  assert.equal(client.channels.size, 1);
  gateway.kill();
  gateway.start();
  world.pass(2000);
  assert.deepEqual(subscribes(gateway).at(-1).symbols, ['EURUSD']);
});

test('of two names of one symbol at different rates each consumer has its own', () => {
  for (const names of [['EURUSD', 'eurusd'], ['eurusd', 'EURUSD']]) {
    const world = new World(), gateway = world.gateway(), client = world.client(), [every, slow] = [new Witness(world, 'EURUSD'), new Witness(world, 'EURUSD')];
    gateway.spelling.set('eurusd', 'EURUSD');
    client.subscribe({ symbols: names[0] }, every.listener);
    world.pass(50);
    client.subscribe({ symbols: names[1], minIntervalMs: 1000 }, slow.listener);
    world.pass(100);
    ticks(world, 'EURUSD', 100);
    world.pass(1000);
    fine(every, slow);
    const told = ({ events }) => events.filter((e) => e.type === 'tick').length;
    assert.deepEqual([every.ticks, slow.ticks, told(every)], [100, 100, 100], names.join());
    assert.ok(told(slow) <= 3);
  }
});

test('an unsubscribe refused for its rate is made again, but not where the symbol is wanted again', () => {
  for (const isWanted of [false, true]) {
    const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD');
    ticks(world, 'EURUSD', 3);
    gateway.limited = 1;
    witness.subscription.close();
    world.pass(100);
    const next = isWanted && reads(world, client, 'EURUSD');
    world.pass(5000);
    assert.equal([...gateway.links][0].subs.size, isWanted ? 1 : 0);
    if (next) { ticks(world, 'EURUSD', 3); fine(next); assert.equal(next.seq, 6); }
  }
});

// ---- positions

test('what was missed and cannot be had any more is announced exactly, then comes the newest', () => {
  const world = new World(), gateway = world.gateway('a', { history: 5 }), client = world.client();
  const every = reads(world, client, 'EURUSD'), latest = reads(world, client, 'EURUSD', { minIntervalMs: 100 });
  world.pass(100);
  ticks(world, 'EURUSD', 10);
  gateway.kill();
  ticks(world, 'EURUSD', 10);
  gateway.start();
  world.pass(2000);
  fine(every, latest);
  assert.deepEqual([every.ticks, every.missed], [11, 9]);
  assert.deepEqual([latest.ticks, latest.missed], [11, 9]);
  assert.deepEqual(every.events.slice(-2).map((e) => e.type), ['gap', 'tick']);
});

test('a new epoch after a cut is a gap of unknown size, on a living connection it is none', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD');
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  world.newEpoch('EURUSD');
  ticks(world, 'EURUSD', 3);
  assert.equal(witness.events.filter((e) => e.type === 'gap').length, 0);
  gateway.kill();
  world.newEpoch('EURUSD');
  ticks(world, 'EURUSD', 3);
  gateway.start();
  world.pass(2000);
  fine(witness);
  const [gap] = witness.events.filter((e) => e.type === 'gap');
  assert.deepEqual([gap.missed, gap.from, gap.to, gap.epoch], [null, 4, null, '2']);
});

for (const tellsEpochs of [true, false]) {
  const how = tellsEpochs ? 'a gateway that tells its epoch' : 'an older gateway';

  test(`what is missing at the head of a new epoch is told as missing there, by ${how}`, () => {
    for (const before of [1, 2, 7]) {
      const world = new World(), gateway = world.gateway('a', { tellsEpochs }), client = world.client();
      const every = reads(world, client, 'EURUSD'), latest = reads(world, client, 'EURUSD', { minIntervalMs: 100 });
      world.pass(100);
      ticks(world, 'EURUSD', before);
      const [sub] = [...gateway.links][0].subs.values();
      sub.isStalled = true;
      world.newEpoch('EURUSD');
      ticks(world, 'EURUSD', 2);
      Object.assign(sub, { isStalled: false, skip: 2 });
      ticks(world, 'EURUSD', 3);
      world.pass(200);
      fine(every, latest);
      for (const { events, missed } of [every, latest]) {
        assert.deepEqual(events.filter((e) => e.type === 'gap').map((e) => [e.epoch, e.from, e.to, e.missed]), [['2', 1, 2, 2]], `${before} ticks before`);
        assert.equal(missed, 2);
      }
      assert.equal(client.stats.duplicates, 0);
    }
  });
}

test('an epoch of which nothing is left but gaps is told of, to who joins within it too', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD');
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  const [link] = gateway.links, sub = link.subs.get('EURUSD');
  sub.isStalled = true;
  ticks(world, 'EURUSD', 2);
  for (let i = 0; i < 2; i++) { world.newEpoch('EURUSD'); ticks(world, 'EURUSD', 2); }
  for (const [epoch, from, to] of [['1', 4, 5], ['2', 1, 2], ['3', 1, 1]]) link.down({ type: 'gap', source: 'sim', symbol: 'EURUSD', epoch, from, to, missed: to - from + 1 });
  world.pass(10);
  const late = reads(world, client, 'EURUSD');
  Object.assign(sub, { isStalled: false, cursor: sub.cursor + 5 });
  ticks(world, 'EURUSD', 2);
  fine(witness, late);
  assert.deepEqual(witness.events.filter((e) => e.type === 'gap').map((e) => [e.epoch, e.from, e.to]), [['1', 4, 5], ['2', 1, 2], ['3', 1, 1]]);
  assert.deepEqual([witness.seq, late.epoch, late.seq], [4, '3', 4]);
});

test('a hole in the middle of the first merged tick of an epoch is told with it', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD', { mode: 'latest' });
  ticks(world, 'EURUSD', 3);
  const [link] = gateway.links, of = { source: 'sim', symbol: 'EURUSD', epoch: '2' }, before = witness.events.length;
  link.down({ type: 'gap', ...of, from: 2, to: 3, missed: 2 });
  link.down({ type: 'tick', ...of, seq: 5, price: 1.5, merged: 3, high: 2, low: 1 });
  world.pass(10);
  const seen = witness.events.slice(before).map(({ type, from, to, epoch, seq, merged }) => (type === 'gap' ? { from, to, epoch } : { seq, merged, epoch }));
  assert.deepEqual(seen, [{ from: 2, to: 3, epoch: '2' }, { seq: 5, merged: 3, epoch: '2' }]);
});

test('what is missing before the first tick there is has the epoch of that tick', () => {
  for (const epoch of ['7', undefined]) {
    const world = new World(), gateway = world.gateway(), client = world.client(), events = [];
    client.subscribe({ symbols: 'EURUSD' }, (event) => events.push(event));
    world.pass(100);
    const [link] = gateway.links, of = { source: 'sim', symbol: 'EURUSD' };
    link.down({ type: 'gap', ...of, epoch, from: 41, to: 41, missed: 1 });
    link.down({ type: 'tick', ...of, epoch: '7', seq: 42, price: 1 });
    world.pass(10);
    assert.deepEqual(events.map((e) => [e.type, e.epoch, e.from ?? e.seq]), [['gap', '7', 41], ['tick', '7', 42]]);
  }
});

test('a change of the rate that cannot go on, as over HTTP, cuts the stream like a lost connection', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD');
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  const [link] = gateway.links, sub = link.subs.get('EURUSD');
  gateway.subscribe = (_, { id }) => {
    link.down({ type: 'subscribeResponse', id, results: [{ symbol: 'EURUSD', source: 'sim', status: 'subscribed', recovered: false }] });
    Object.assign(sub, { isStalled: false, cursor: sub.channel.ticks.length - 1, snapshot: true });
    gateway.serve(link, sub);
  };
  sub.isStalled = true;
  ticks(world, 'EURUSD', 2);
  world.newEpoch('EURUSD');
  ticks(world, 'EURUSD', 3);
  witness.subscription.update({ minIntervalMs: 1 });
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  fine(witness);
  assert.deepEqual(witness.events.filter((e) => e.type === 'gap').map((e) => [e.epoch, e.from, e.to]), [['1', 4, null], ['2', 1, 2]]);
  assert.equal(witness.seq, 6);
});

test('ticks told twice or of an older epoch are dropped', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD');
  world.newEpoch('EURUSD');
  world.pass(100);
  ticks(world, 'EURUSD', 5);
  const [link] = gateway.links, again = { type: 'tick', source: 'sim', symbol: 'EURUSD', epoch: '2', price: 1 };
  for (const seq of [1, 3, 5]) link.down({ ...again, seq });
  link.down({ ...again, epoch: '1', seq: 999 });
  link.down({ type: 'gap', source: 'sim', symbol: 'EURUSD', from: 2, to: 4, missed: 3 });
  world.pass(100);
  ticks(world, 'EURUSD', 1);
  fine(witness);
  assert.equal(witness.events.length, 6);
  assert.equal(client.stats.duplicates, 5);
});

test('a hole in the middle of merged ticks leaves the ticks around it delivered', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD', { mode: 'latest' });
  ticks(world, 'EURUSD', 3);
  const [link] = gateway.links, of = { source: 'sim', symbol: 'EURUSD' }, before = witness.events.length;
  link.down({ type: 'gap', ...of, from: 6, to: 7, missed: 2 });
  link.down({ type: 'gap', ...of, from: 9, to: 9, missed: 1 });
  world.pass(10);
  assert.equal(witness.events.length, before, 'it is told with the tick');
  link.down({ type: 'tick', ...of, epoch: '1', seq: 10, price: 1.5, merged: 4, high: 2, low: 1 });
  world.pass(10);
  const seen = witness.events.slice(before).map(({ type, from, to, missed, epoch, seq, merged }) => (type === 'gap' ? { from, to, missed, epoch } : { seq, merged }));
  assert.deepEqual(seen, [{ from: 6, to: 7, missed: 2, epoch: '1' }, { from: 9, to: 9, missed: 1, epoch: '1' }, { seq: 10, merged: 4 }]);
});

test('a hole told just before the connection is cut is told once, by who goes on', () => {
  const world = new World(), a = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD', { mode: 'latest' });
  ticks(world, 'EURUSD', 3);
  const [link] = a.links;
  link.down({ type: 'gap', source: 'sim', symbol: 'EURUSD', from: 5, to: 5, missed: 1 });
  world.pass(10);
  link.end(1006, '');
  world.pass(60000);
  ticks(world, 'EURUSD', 3);
  world.pass(100);
  fine(witness);
  assert.equal(witness.missed, 0, 'the gateway that goes on has it');
  assert.equal(witness.ticks, 6);
});

// ---- moving

for (const rate of [{}, { mode: 'latest', minIntervalMs: 50 }]) for (const history of [256, 0]) {
  test(`a goaway loses nothing and tells nothing twice (${rate.mode ?? 'every'}, ${history ? 'with' : 'without'} history)`, () => {
    for (let seed = 1; seed <= 30; seed++) {
      const world = new World({ seed, delay_ms: 3 + seed }), a = world.gateway('a', { history }), b = world.gateway('b', { history }), client = world.client(['a', 'b']);
      const seen = states(client), witness = reads(world, client, 'EURUSD', rate);
      ticks(world, 'EURUSD', 40);
      a.goaway(500);
      const at = world.ms;
      ticks(world, 'EURUSD', 200);
      world.pass(500);
      fine(witness);
      assert.equal(a.links.size, 0);
      assert.equal(b.links.size, 1);
      assert.ok(world.dials[1].at >= at + 500);
      assert.equal(witness.seq, 240);
      if (history || !rate.mode) assert.equal(witness.missed, 0, `seed ${seed}`);
      assert.ok(seen.every((event) => event.state === 'open' || event.state === 'connecting'), 'there was always a connection');
      assert.ok(seen.some((event) => event.isMoving));
      client.close();
    }
  });
}

test('what the old connection still tells does not hide that the new one could not go on', () => {
  const world = new World(), a = world.gateway(), b = world.gateway('b'), client = world.client(['a', 'b']), witness = reads(world, client, 'EURUSD', { minIntervalMs: 1 });
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  const sub = [...a.links][0].subs.get('EURUSD');
  a.goaway(0);
  world.pass(12);
  assert.ok(client.next.open && !subscribes(b).length, 'it has asked');
  world.tick('EURUSD');
  sub.isStalled = true;
  world.tick('EURUSD');
  world.newEpoch('EURUSD');
  ticks(world, 'EURUSD', 3);
  world.pass(100);
  fine(witness);
  assert.deepEqual(witness.events.filter((e) => e.type === 'gap').map((e) => [e.epoch, e.from, e.to]), [['1', 5, null]]);
});

test('a move that fails while the one before is not answered yet tells nothing twice', () => {
  const world = new World(), a = world.gateway(), client = (world.gateway('b'), world.client(['a', 'b'])), witness = reads(world, client, 'EURUSD', { minIntervalMs: 1 });
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  client.turn = 1;
  client.reconnect();
  world.pass(2);
  world.tick('EURUSD', 900);
  world.pass(6);
  assert.equal([...client.channels.values()][0].held.length, 1);
  client.reconnect();
  a.kill();
  world.tick('EURUSD', 1);
  world.pass(100);
  fine(witness);
  assert.deepEqual([witness.ticks, witness.missed], [5, 0]);
});

test('while the next gateway cannot be reached the old one goes on, and the next is tried again', () => {
  const world = new World(), a = world.gateway(), b = world.gateway('b'), client = world.client(['a', 'b']), witness = reads(world, client, 'EURUSD');
  world.pass(100);
  b.kill();
  a.goaway(100, 20000);
  a.refuses = 1013;
  for (let i = 0; i < 50; i++) ticks(world, 'EURUSD', 10);
  assert.equal(a.links.size, 1);
  assert.ok(world.dials.length > 2);
  b.start();
  world.pass(15000);
  ticks(world, 'EURUSD', 10);
  fine(witness);
  assert.deepEqual([witness.ticks, witness.missed], [510, 0]);
});

test('a next gateway that opens and then says nothing does not get the stream', () => {
  const world = new World(), a = world.gateway(), b = world.gateway('b'), client = world.client(['a', 'b']);
  const witness = reads(world, client, 'EURUSD', { minIntervalMs: 50 });
  world.pass(100);
  b.receive = () => {};
  client.turn = 1;
  client.reconnect();
  for (let i = 0; i < 120; i++) ticks(world, 'EURUSD', 10);
  world.pass(100);
  assert.equal(a.links.size, 1);
  fine(witness);
  assert.deepEqual([witness.seq, witness.missed], [1200, 0]);
});

test('absurd times in a goaway are bounded, and a flood of them makes one move', () => {
  for (const ms of [-1, 1e12, 'soon', null, undefined, NaN]) {
    const world = new World(), a = world.gateway(), b = world.gateway('b'), client = world.client(['a', 'b']);
    world.pass(100);
    for (const link of a.links) for (let i = 0; i < 100; i++) link.down({ type: 'goaway', reconnectInMs: ms });
    world.pass(62000);
    assert.equal(b.links.size, 1, String(ms));
    assert.equal(world.dials.length, 2);
    client.close();
  }
});

// ---- transports

test('where WebSocket cannot be had, events serve, then polling; and WebSocket is returned to without a loss', () => {
  const world = new World(), gateway = world.gateway('a', { kinds: ['polling'] }), client = world.client(['a'], ['websocket', 'events', 'polling']);
  const witness = reads(world, client, 'EURUSD');
  ticks(world, 'EURUSD', 5000);
  assert.equal(client.connection.transport, 'polling');
  assert.deepEqual([...new Set(world.dials.map((dial) => dial.kind))], ['websocket', 'events', 'polling']);
  assert.ok(world.dials.filter((dial) => dial.kind === 'websocket').length >= 3, 'it is tried again');
  assert.equal(client.connection.state, 'open');
  gateway.kinds = ['websocket', 'events', 'polling'];
  for (let i = 0; i < 500; i++) ticks(world, 'EURUSD', 1, 1000);
  assert.equal(client.connection.transport, 'websocket');
  fine(witness);
  assert.equal(witness.missed, 0);
  assert.equal(witness.seq, 5500);
  gateway.kill();
  gateway.start();
  world.pass(1100);
  assert.equal(world.dials.at(-1).kind, 'websocket');
});

test('statuses and pongs that come beside a stream that is held back do not keep the client from polling', () => {
  const world = new World(), client = (world.gateway('a', { kinds: ['events', 'polling'], holds: ['events'] }), world.client(['a'], ['websocket', 'events', 'polling']));
  client.on('status', () => {});
  const witness = reads(world, client, 'EURUSD');
  ticks(world, 'EURUSD', 600, 100);
  assert.equal(client.connection.transport, 'polling');
  assert.deepEqual([...new Set(world.dials.map((dial) => dial.kind))], ['websocket', 'events', 'polling']);
  fine(witness);
  assert.equal(witness.seq, 600);
});

test('over HTTP a client without subscriptions stays connected, and learns the clock', () => {
  const world = new World({ delay_ms: 20 }), client = (world.gateway('a', { kinds: ['events'] }), world.client(['a'], ['events'])), told = [];
  client.on('latency', ({ rttMs }) => told.push(rttMs));
  world.skew_ms = 5000;
  world.pass(1_000_000);
  assert.equal(world.dials.length, 1);
  assert.equal(told.at(-1), 40);
  assert.ok(Math.abs(client.serverNow() - (1_700_000_000_000 + world.ms)) <= 1);
});

test('only attempts in vain make those for WebSocket rarer, not how often the stream beside them was opened', () => {
  const world = new World(), client = (world.gateway('a', { kinds: ['events'] }), world.client(['a'], ['websocket', 'events']));
  reads(world, client, 'EURUSD');
  world.tick('EURUSD');
  world.pass(5000);
  for (let i = 0; i < 8; i++) { client.reconnect(); world.pass(200); }
  assert.equal(client.connection.transport, 'events');
  assert.equal(client.stats.moves, 8);
  const dials = world.dials.length;
  world.pass(31000);
  assert.ok(world.dials.slice(dials).some(({ kind }) => kind === 'websocket'));
});

test('a short outage is no reason to change the transport', () => {
  const world = new World(), gateway = world.gateway('a', { kinds: ['websocket', 'events', 'polling'] }), client = world.client(['a'], ['websocket', 'events', 'polling']);
  world.pass(20000);
  gateway.kill();
  gateway.start();
  world.pass(1100);
  assert.equal(client.connection.transport, 'websocket');
});

// ---- what strangers may say

test('no message makes it fail, and prices go on', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD');
  const errors = [];
  client.on('error', (event) => errors.push(event));
  client.on('status', () => {});
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  const [link] = gateway.links, values = [undefined, null, true, -1, 0, 1.5, 1e308, '', 'x', '__proto__', 'EURUSD', '18446744073709551616', [], [null], {}, { length: 9 }];
  const good = { symbol: 'EURUSD', source: 'sim', epoch: '1', seq: 2 };
  for (const text of ['', '{', 'null', '1', '"tick"', '[]', '[[[[', '{"type":1}', '{"type":"constructor"}', '\u0000', '{"type":"tick"}'.repeat(3), `{"type":"tick","x":"${'y'.repeat(1e6)}"}`]) link.down(text);
  for (const type of ['tick', 'gap', 'symbolState', 'status', 'subscribeResponse', 'unsubscribeResponse', 'pong', 'heartbeat', 'error', 'subscriptions', 'future']) {
    link.down({ type });
    for (const field of ['symbol', 'source', 'epoch', 'seq', 'merged', 'price', 'bid', 'from', 'to', 'missed', 'id', 'results', 'timestamp', 'state', 'code']) for (const value of values) {
      // The epoch and the numbers of a gateway are believed; what makes no sense is not.
      if (field === 'epoch' && value === '18446744073709551616') continue;
      link.down({ type, ...good, ...(type === 'tick' && { price: 1 }), [field]: value });
    }
  }
  world.pass(5000);
  assert.deepEqual(world.reports, []);
  assert.ok(client.stats.invalid > 100);
  assert.ok(errors.length > 0);
  assert.equal(client.connection.state, 'open');
  assert.equal({}.polluted, undefined);
  const before = witness.events.length;
  world.pass(3000);
  ticks(world, 'EURUSD', 30);
  world.pass(3000);
  assert.ok(witness.events.length > before);
  assert.equal(client.channels.size, 1);
});

test('random bytes and torn messages are counted and nothing else', () => {
  const world = new World({ seed: 5 }), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD');
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  const [link] = gateway.links, text = JSON.stringify({ type: 'tick', source: 'sim', symbol: 'EURUSD', epoch: '1', seq: 3, price: 5 });
  for (let i = 0; i < 3000; i++) {
    const at = Math.floor(world.random() * text.length), byte = String.fromCharCode(Math.floor(world.random() * 128));
    const torn = world.random() < 0.3 ? text.slice(0, at) : text.slice(0, at) + byte + text.slice(at + 1);
    if (!/"seq":[^3]|"seq":3\d|"epoch":"[^1]|"epoch":"1\d/.test(torn)) link.down(torn);
  }
  world.pass(100);
  ticks(world, 'EURUSD', 3);
  fine(witness);
  assert.deepEqual(world.reports, []);
});

test('a name like __proto__ is a name', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, '__proto__');
  world.pass(100);
  ticks(world, '__proto__', 3);
  gateway.kill();
  gateway.start();
  ticks(world, '__proto__', 3, 1000);
  fine(witness);
  assert.equal(witness.ticks, 6);
  assert.deepEqual(Object.entries(subscribes(gateway).at(-1).resume), [['__proto__', { epoch: '1', seq: 3 }]]);
});

test('a consumer that fails harms no other, and the failure is reported', () => {
  const world = new World(), client = (world.gateway(), world.client());
  client.subscribe({ symbols: 'EURUSD' }, () => { throw new Error('mine'); });
  const witness = reads(world, client, 'EURUSD');
  world.pass(100);
  ticks(world, 'EURUSD', 5);
  assert.equal(witness.ticks, 5);
  assert.equal(world.reports.length, 5);
});

// ---- what else is told

test('the way of a tick is split into venue, ingest and network, by the clock of the gateway', () => {
  const world = new World({ delay_ms: 20 }), client = (world.gateway(), world.client()), told = [];
  world.skew_ms = 123456;
  client.on('latency', (event) => told.push(event));
  reads(world, client, 'EURUSD');
  ticks(world, 'EURUSD', 1500);
  const last = told.at(-1);
  assert.equal(last.rttMs, 40);
  assert.ok(Math.abs(last.venueToIngestMs - 7) <= 1, JSON.stringify(last));
  assert.ok(Math.abs(last.ingestToClientMs - 20) <= 1 && Math.abs(last.ingestToGatewayMs) <= 1 && last.gatewayToClientMs === 20, JSON.stringify(last));
  assert.ok(Math.abs(client.serverNow() - (1_700_000_000_000 + world.ms)) <= 1);
});

test('statuses are asked for by who listens, on every connection', () => {
  const world = new World(), gateway = world.gateway(), client = world.client();
  world.pass(100);
  assert.equal(gateway.requests.filter((m) => m.type === 'connect').length, 0);
  const told = [], off = client.on('status', (event) => told.push(event.source));
  world.pass(100);
  assert.deepEqual(told, ['sim']);
  gateway.kill();
  gateway.start();
  world.pass(2000);
  assert.deepEqual(told, ['sim', 'sim']);
  off();
  for (const link of gateway.links) link.down({ type: 'status', source: 'sim' });
  world.pass(100);
  assert.equal(told.length, 2);
});

test('after close nothing runs and nothing is told', () => {
  const world = new World(), gateway = world.gateway(), client = world.client(), witness = reads(world, client, 'EURUSD', { minIntervalMs: 5000 });
  world.pass(100);
  ticks(world, 'EURUSD', 10);
  for (const link of gateway.links) link.down({ type: 'goaway', reconnectInMs: 50 });
  world.pass(10);
  client.close();
  const told = witness.events.length;
  world.timers.clear();
  world.tick('EURUSD');
  client.reconnect();
  client.subscribe({ symbols: 'GBPUSD' }, () => {});
  world.pass(100000);
  assert.equal(witness.events.length, told);
  assert.equal(client.connection.state, 'closed');
  assert.equal(gateway.links.size, 0);
  assert.equal(world.timers.size, 0);
  assert.equal(world.wakes, null);
});
