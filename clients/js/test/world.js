// A world for the client in virtual time: a clock that a test moves, chance from a seed, and gateways that keep the
// browser protocol as the real ones do (snapshot, resume, gaps, merging, goaway), over links with a delay.

import { Core } from '../core.js';

/** mulberry32 */
export function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class World {
  constructor({ seed = 1, delay_ms = 5 } = {}) {
    Object.assign(this, { ms: 0, timers: new Map(), id: 0, random: chance(seed), isHidden: false, reports: [], dials: [], delay_ms, skew_ms: 0, wakes: null, coarse_ms: 1 });
    this.gateways = new Map();
    this.market = new Map();
  }

  env(more = {}) {
    return {
      now: () => this.ms, wall: () => 1_700_000_000_000 + this.skew_ms + this.ms, random: this.random, hidden: () => this.isHidden,
      setTimeout: (run, ms) => this.later(Math.ceil((this.ms + ms) / this.coarse_ms) * this.coarse_ms - this.ms, run), clearTimeout: (id) => this.timers.delete(id),
      report: (error) => this.reports.push(error),
      listen: (wakes) => { this.wakes = wakes; return () => { this.wakes = null; }; },
      socket: (kind, url, handlers) => this.socket(kind, url, handlers), ...more,
    };
  }

  client(urls = ['a'], transports = ['websocket']) { return new Core(this.env(), urls, transports); }

  later(ms, run) {
    this.timers.set(++this.id, { at: this.ms + Math.max(0, ms), run });
    return this.id;
  }

  /** Runs what is due within the next `ms`, in order. */
  pass(ms) {
    const end = this.ms + ms;
    for (;;) {
      let first = null;
      for (const [id, timer] of this.timers) if (timer.at <= end && (!first || timer.at < first.timer.at)) first = { id, timer };
      if (!first) break;
      this.timers.delete(first.id);
      this.ms = Math.max(this.ms, first.timer.at);
      first.timer.run();
    }
    this.ms = end;
  }

  /** The machine sleeps: the clocks go on, timers do not. */
  sleep(ms) { this.ms += ms; }

  gateway(name = 'a', options = {}) {
    const gateway = new Gateway(this, name, options);
    this.gateways.set(name, gateway);
    return gateway;
  }

  socket(kind, url, handlers) {
    this.dials.push({ at: this.ms, url, kind });
    const gateway = this.gateways.get(url), link = new Link(this, handlers, kind);
    link.later(() => {
      if (!gateway?.isUp || !gateway.kinds.includes(kind)) return link.end(1006, '');
      if (gateway.refuses) return link.end(gateway.refuses, 'refused');
      if (gateway.isMute) return;
      gateway.links.add(link);
      link.gateway = gateway;
      link.isOpen = true;
      handlers.open();
    });
    // As over HTTP, where a stream that does not begin ends the connection.
    if (gateway?.holds.includes(kind)) this.later(10000, () => link.end(1006, 'silent'));
    return { send: (text) => link.up(text), close: () => link.hangUp() };
  }

  // ---- the market: what really happened

  channel(symbol) {
    if (!this.market.has(symbol)) this.market.set(symbol, { symbol, epoch: 1, ticks: [], ends: new Map() });
    return this.market.get(symbol);
  }

  /** The next tick of a symbol. `price` is null for one without. */
  tick(symbol, price = Math.round(this.random() * 1000)) {
    const channel = this.channel(symbol), now = 1_700_000_000_000 + this.ms;
    const tick = { epoch: String(channel.epoch), seq: channel.ticks.filter((t) => t.epoch === String(channel.epoch)).length + 1, price: price ?? undefined, timestamp: now - 7, receivedAt: now };
    channel.ticks.push(tick);
    for (const gateway of this.gateways.values()) gateway.publish(channel);
    return tick;
  }

  newEpoch(symbol) { this.channel(symbol).epoch++; }
}

/** One connection as both ends have it; what was sent arrives in order. */
class Link {
  constructor(world, handlers, kind) { Object.assign(this, { world, handlers, kind, isOpen: false, subs: new Map(), got: [], mute: false }); }
  later(run) { this.world.later(this.world.delay_ms, () => { if (!this.isGone) run(); }); }
  up(text) { if (this.isOpen) this.later(() => { if (!this.mute && this.gateway.links.has(this)) this.gateway.receive(this, JSON.parse(text)); }); }
  down(message, isAside = false) { const text = typeof message === 'string' ? message : JSON.stringify(message); if (!this.mute) this.later(() => this.handlers.message(text, isAside)); }
  /** What is no stream of ticks; over HTTP it is asked for as a page. */
  aside(message) { this.down(message, this.kind !== 'websocket'); }
  end(code, reason) { if (this.isGone) return; this.isGone = true; this.gateway?.links.delete(this); this.handlers.close(code, reason); }
  close(code, reason = '') { this.later(() => this.end(code, reason)); }
  hangUp() { this.isGone = true; this.gateway?.links.delete(this); }
}

export class Gateway {
  constructor(world, name, { history = 256, kinds = ['websocket'], holds = [], tellsEpochs = true } = {}) {
    Object.assign(this, { world, name, history, kinds, holds, tellsEpochs, isUp: true, isMute: false, refuses: 0, links: new Set(), requests: [], limited: 0, spelling: new Map(), unknown: new Set() });
    this.beat();
  }

  beat() {
    this.world.later(15000, () => { for (const link of this.links) if (link.kind === 'websocket' || link.subs.size) link.down({ type: 'heartbeat', timestamp: this.now() }); this.beat(); });
  }

  now() { return 1_700_000_000_000 + Math.floor(this.world.ms); }

  receive(link, m) {
    this.requests.push(m);
    link.got.push(m);
    if (this.limited > 0 && m.type.endsWith('subscribe')) { this.limited--; return link.down({ type: 'error', code: 'RATE_LIMITED', message: 'slower' }); }
    if (m.type === 'ping') link.aside({ type: 'pong', id: m.id, timestamp: this.now() });
    if (m.type === 'connect') link.aside({ type: 'status', source: 'sim', status: 'connected', timestamp: this.now(), health: {} });
    if (m.type === 'unsubscribe') {
      for (const symbol of m.symbols) link.subs.delete(this.name_of(symbol));
      link.down({ type: 'unsubscribeResponse', id: m.id, results: m.symbols.map((symbol) => ({ symbol, source: 'sim', status: 'unsubscribed' })) });
    }
    if (m.type === 'subscribe' && !this.holds.includes(link.kind)) this.subscribe(link, m);
  }

  name_of(symbol) { return this.spelling.get(symbol) ?? symbol; }

  subscribe(link, m) {
    const after = [];
    const results = m.symbols.map((asked) => {
      const symbol = this.name_of(asked);
      if (this.unknown.has(symbol)) return { symbol, source: m.source ?? 'sim', status: 'error', code: 'UNKNOWN_SYMBOL', message: 'no' };
      const channel = this.world.channel(symbol), old = link.subs.get(symbol), at = m.resume?.[asked];
      const sub = { channel, source: m.source ?? 'sim', latest: m.mode === 'latest', every_ms: m.minIntervalMs ?? 0, next: old?.next ?? 0, cursor: old?.cursor };
      const result = { symbol, source: m.source ?? 'sim', status: 'subscribed', mode: m.mode ?? 'every', minIntervalMs: m.minIntervalMs ?? 0 };
      if (old) { link.subs.set(symbol, sub); after.push(sub); return result; }
      const last = channel.ticks.at(-1);
      if (at) {
        const index = channel.ticks.findIndex((t) => t.epoch === at.epoch && t.seq === at.seq);
        result.recovered = !!last && at.epoch === last.epoch && index >= 0 && channel.ticks.length - 1 - index <= this.history;
        if (result.recovered) sub.cursor = index + 1;
      }
      if (sub.cursor === undefined) { sub.cursor = Math.max(0, channel.ticks.length - 1); sub.snapshot = channel.ticks.length > 0; }
      link.subs.set(symbol, sub);
      after.push(sub);
      return result;
    });
    link.down({ type: 'subscribeResponse', id: m.id, results, timestamp: this.now() });
    for (const sub of after) this.serve(link, sub);
  }

  publish(channel) {
    for (const link of this.links) { const sub = link.subs.get(channel.symbol); if (sub) this.serve(link, sub); }
  }

  /** Tells a client everything it does not have yet, at its rate. */
  serve(link, sub) {
    const { channel } = sub, now = this.world.ms;
    const head = { source: sub.source, symbol: channel.symbol };
    if (sub.isStalled) return;
    if (sub.skip) {
      const skipped = channel.ticks.slice(sub.cursor, sub.cursor + sub.skip);
      for (const epoch of new Set(skipped.map((t) => t.epoch))) {
        const same = skipped.filter((t) => t.epoch === epoch);
        link.down({ type: 'gap', ...head, ...(this.tellsEpochs && { epoch }), missed: same.length, from: same[0].seq, to: same.at(-1).seq });
      }
      sub.cursor += skipped.length;
      sub.skip = 0;
    }
    if (!sub.latest) {
      for (; sub.cursor < channel.ticks.length; sub.cursor++) { link.down({ type: 'tick', ...head, ...channel.ticks[sub.cursor], ...(sub.snapshot && { snapshot: true }) }); sub.snapshot = false; }
      return;
    }
    if (sub.cursor >= channel.ticks.length) return;
    if (now < sub.next) { sub.timer ??= this.world.later(sub.next - now, () => { sub.timer = undefined; if (link.subs.get(channel.symbol) === sub) this.serve(link, sub); }); return; }
    while (sub.cursor < channel.ticks.length) {
      const first = channel.ticks[sub.cursor], folded = [];
      while (channel.ticks[sub.cursor]?.epoch === first.epoch) folded.push(channel.ticks[sub.cursor++]);
      link.down({ type: 'tick', ...head, ...fold(folded), ...(sub.snapshot && { snapshot: true }) });
      sub.snapshot = false;
    }
    sub.next = now + sub.every_ms;
  }

  goaway(reconnectInMs, close_after_ms = 3000) {
    for (const link of [...this.links]) {
      link.down({ type: 'goaway', reconnectInMs });
      this.world.later(reconnectInMs + close_after_ms, () => link.close(1001, 'the gateway is stopping'));
    }
  }

  kill() { this.isUp = false; for (const link of [...this.links]) link.end(1006, ''); }
  start() { this.isUp = true; }
  /** Nothing passes any more, and nobody is told. */
  blackHole() { this.isMute = true; for (const link of this.links) link.mute = true; }
}

export function fold(ticks) {
  const prices = ticks.map((t) => t.price).filter((price) => price !== undefined);
  return { ...ticks.at(-1), merged: ticks.length, ...(prices.length && { high: Math.max(...prices), low: Math.min(...prices) }) };
}

/** Judges what one consumer is told against what really happened: each tick once, or in a gap, in order. */
export class Witness {
  constructor(world, symbol) { Object.assign(this, { world, symbol, events: [], epoch: '', seq: 0, ticks: 0, missed: 0, wrong: [], cut: false }); }

  get listener() {
    return (event) => {
      this.events.push(event);
      if (event.type === 'gap') this.gap(event);
      if (event.type === 'tick') this.tick(event);
    };
  }

  gap({ from, to, missed, epoch }) {
    if (!this.epoch) Object.assign(this, { epoch, seq: from - 1 });
    if (epoch !== this.epoch) this.enter(epoch);
    if (from !== this.seq + 1) this.wrong.push(`gap from ${from} after ${this.seq}`);
    if (to === null) { this.cut = true; return; }
    if (missed !== to - from + 1) this.wrong.push(`gap of ${missed} from ${from} to ${to}`);
    this.missed += missed;
    this.seq = to;
  }

  /** The numbering begins anew: the whole epoch before must have been told, and what is missing of this one follows. */
  enter(epoch) {
    if (BigInt(epoch) < BigInt(this.epoch)) this.wrong.push(`epoch ${epoch} after ${this.epoch}`);
    const end = this.world.channel(this.symbol).ticks.filter((t) => t.epoch === this.epoch).length;
    if (this.seq !== end && !this.cut) this.wrong.push(`epoch ${this.epoch} ends at ${end}, was left at ${this.seq} unannounced`);
    Object.assign(this, { epoch, seq: 0, cut: false });
  }

  tick(tick) {
    const merged = tick.merged ?? 1, all = this.world.channel(this.symbol).ticks.filter((t) => t.epoch === tick.epoch);
    if (this.epoch && tick.epoch !== this.epoch) this.enter(tick.epoch);
    if (this.epoch && tick.seq - merged !== this.seq) this.wrong.push(`tick ${tick.seq} (${merged}) after ${this.seq} of epoch ${tick.epoch}`);
    const real = fold(all.slice(tick.seq - merged, tick.seq));
    if (real.price !== tick.price) this.wrong.push(`price ${tick.price} of ${tick.seq}, was ${real.price}`);
    if (tick.merged !== undefined && (real.high !== tick.high || real.low !== tick.low)) this.wrong.push(`range ${tick.low}..${tick.high} of ${tick.seq} (${merged}), was ${real.low}..${real.high}`);
    Object.assign(this, { epoch: tick.epoch, seq: tick.seq, cut: false });
    this.ticks += merged;
  }
}
