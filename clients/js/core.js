// What the client decides: when to connect and how, what to ask for, what a message means. It reaches the world only
// through `env` (clocks, timers, chance, sockets), so that tests run it in virtual time.

import { Channel, HELD_MAX, Pace, Reader } from './channel.js';

const BACKOFF_MIN_MS = 1000, BACKOFF_MAX_MS = 30000, HIDDEN_FACTOR = 4;
// An open connection this old forgets the failed attempts.
const STABLE_MS = 10000;
const OPEN_MS = 10000, SILENCE_MS = 30000, PROBE_MS = 5000, PING_MS = 10000, BEAT_MS = 5000, LATE_MS = 10000;
// An attempt this old is given up for another that is asked for now.
const HUNG_MS = 1000;
// So long at most are two connections kept beside each other.
const MOVE_MS = 10000;
const GOAWAY_MAX_MS = 60000;
// Time until a better transport is tried again.
const BETTER_MS = 10000, BETTER_MAX_MS = 300000;
// Wishes gather for so long; a request refused for its rate waits so long.
const ASK_MS = 20, AGAIN_MS = 2000;
// Below MAX_MESSAGE_BYTES of a gateway as it comes.
const MESSAGE_CHARS = 60000;
// What comes right after a resume is old, and no measure of the way.
const QUIET_MS = 2000;

const keyOf = ({ source = '', symbol }) => `${source}\n${symbol}`;
const lookup = (name) => name.replace(/[/\s]/g, '').toUpperCase();
const isCount = (n) => Number.isSafeInteger(n) && n >= 0;
const isEpoch = (text) => typeof text === 'string' && /^\d{1,20}$/.test(text);
const isPrice = (n) => n === undefined || typeof n === 'number';

export class Core {
  constructor(env, urls, transports) {
    Object.assign(this, { env, urls, transports });
    // By source and symbol: what readers want.
    this.channels = new Map();
    this.listeners = {};
    this.pace = new Pace(env);
    this.timers = {};
    // The connection, and the one that is to follow it.
    this.cur = this.next = null;
    this.attempt = this.misses = this.best = this.turn = this.ids = 0;
    this.better = BETTER_MS;
    this.chars = MESSAGE_CHARS;
    // The connection is to be followed by another.
    this.isLeaving = false;
    this.why = {};
    this.clock = { offset: 0, rtt: Infinity, at: -Infinity };
    this.lag = { ticks: 0, venue: 0, way: 0 };
    this.stats = { connections: 0, moves: 0, ticks: 0, duplicates: 0, gaps: 0, invalid: 0 };
    this.unlisten = env.listen({ online: () => this.#online(), look: () => this.#look() });
    this.#beatSoon();
    this.#dial();
  }

  // ---- what the page asks for

  subscribe({ symbols, source = this.source, ...rate }, listener) {
    const now = this.env.now(), readers = [];
    for (const symbol of new Set([symbols].flat())) {
      const key = keyOf({ source, symbol }), reader = new Reader((event) => this.#call(listener, event), this.pace);
      if (!this.channels.has(key)) this.channels.set(key, new Channel(source, symbol));
      reader.rate(rate, now);
      this.channels.get(key).join(reader, now);
      readers.push(reader);
    }
    this.#askSoon();
    return {
      update: (change) => {
        Object.assign(rate, change);
        for (const reader of readers) reader.rate(rate, this.env.now());
        this.#askSoon();
      },
      close: () => {
        for (const reader of readers) reader.leave();
        this.#askSoon();
      },
    };
  }

  on(type, listener) {
    const all = (this.listeners[type] ??= new Set()).add(listener);
    if (type === 'status') this.#send(this.#wire, { type: 'connect' });
    return () => { all.delete(listener); };
  }

  /** Connects now: at once where there is no connection, beside the open one where there is. */
  reconnect() {
    if (this.isClosed) return;
    this.#unhang();
    this.attempt = this.misses = 0;
    this.isAgain = false;
    this.isLeaving = !!this.cur?.open;
    this.#dial();
  }

  close() {
    this.isClosed = true;
    this.unlisten();
    this.pace.stop();
    for (const name in this.timers) this.#after(name);
    this.#drop(this.next);
    this.#drop(this.cur);
    this.cur = this.next = null;
    this.channels.clear();
    this.#changed();
  }

  get connection() {
    const { cur, next, timers, attempt, why: { code, reason } } = this, now = this.env.now();
    const state = this.isClosed ? 'closed' : cur ? (cur.open ? 'open' : 'connecting') : timers.redial ? 'waiting' : 'stopped';
    return {
      state, attempt, code, reason, url: cur?.url, transport: this.transports[cur?.kind],
      isMoving: !!cur?.open && !!(next || timers.redial),
      retryInMs: timers.redial && Math.max(0, this.redialAt - now), openForMs: cur?.open ? now - cur.since : undefined,
    };
  }

  /** The gateway's clock, Unix milliseconds. */
  serverNow() { return this.env.wall() + this.clock.offset; }

  // ---- connections

  #dial(kind = this.#pick(), isTrial = false) {
    if (this.isClosed || (this.cur && !this.cur.open)) return;
    // One move at a time.
    if (this.next?.open) return void (this.isAgain = !isTrial);
    this.#drop(this.next);
    this.#after('redial');
    const now = this.env.now(), url = this.urls[this.turn % this.urls.length];
    const conn = { kind, isTrial, url, since: now, heard: now, asked: new Map(), requests: new Map() };
    this[this.cur ? 'next' : 'cur'] = conn;
    this.stats.connections++;
    const live = (run) => (...all) => { if (!conn.dead) run(...all); };
    const closed = live((...why) => this.#closed(conn, ...why));
    try {
      conn.socket = this.env.socket(this.transports[kind], url, {
        open: live(() => this.#opened(conn)), message: live((...said) => this.#receive(conn, ...said)), close: closed,
      });
    } catch (error) {
      this.env.setTimeout(() => closed(1006, String(error)), 0);
    }
    this.#changed();
  }

  /** The transport that worked last gets a second chance, then each has its turn. */
  #pick() { return (this.best + Math.max(0, this.misses - 1)) % this.transports.length; }

  /** Where requests go. */
  get #wire() { return this.next?.open ? this.next : this.cur; }

  #opened(conn) {
    const now = this.env.now();
    Object.assign(conn, { open: true, since: now, heard: now });
    if (conn === this.next) {
      // Merged ticks of two connections overlap, so those of the old one are kept back until it is known which count.
      for (const channel of this.channels.values()) {
        if (channel.owner !== this.cur) this.#release(channel, true);
        else if (channel.mayMerge()) channel.holds = this.cur;
      }
      this.cur.requests.clear();
      this.#after('move', MOVE_MS, () => (conn.isGood ? this.#moved() : this.#closed(conn, 1006, 'silent')));
    }
    if (this.listeners.status?.size) this.#send(conn, { type: 'connect' });
    this.#ping(conn);
    this.#ask();
    this.#settle();
    this.#after('better');
    if (conn.kind) this.#improve();
    else this.better = BETTER_MS;
    this.#changed();
  }

  /** `isMissing`: what this transport needs could not be loaded, which says nothing of gateways, and the best one is tried first. */
  #closed(conn, code = 1006, reason = '', isMissing = false) {
    const isNext = conn === this.next, mustStop = code === 4001 || (code >= 4500 && code <= 4999);
    this.#drop(conn);
    if (isMissing) this.misses = 0;
    else if (!conn.isTrial) {
      this.turn++;
      if (!conn.isGood) this.misses++;
    }
    if (conn.open && this.env.now() - conn.since >= STABLE_MS) this.attempt = 0;
    if (code === 1009) this.chars = Math.max(1000, this.chars / 2);
    if (isNext) {
      this.next = null;
      this.isAgain = false;
      this.#after('move');
      for (const channel of this.channels.values()) {
        if (channel.owner !== this.cur && this.cur.asked.has(channel)) {
          // Here the other stream went on without us: it begins anew where this one ended.
          channel.owner = null;
          this.cur.asked.set(channel, '');
        }
        // What was kept of one before ours waits for the answer to ours.
        if ([conn, this.cur].includes(channel.holds)) this.#release(channel, channel.holds !== conn);
      }
      this.#askSoon();
      if (this.isLeaving && !mustStop) this.#retry(code);
      else this.#improve();
    } else if (this.next?.open) {
      this.#moved();
    } else {
      this.why = { code, reason };
      this.cur = this.next;
      this.next = null;
      this.isLeaving = false;
      for (const channel of this.channels.values()) this.#release(channel, true);
      if (mustStop && !this.cur) this.#after('redial');
      else if (!this.cur) this.#retry(code);
    }
    this.#changed();
  }

  #drop(conn) {
    if (!conn || conn.dead) return;
    conn.dead = true;
    // It may be gone anyway.
    try { conn.socket?.close(); } catch {}
  }

  #retry(code) {
    const { random } = this.env;
    this.#redial([1008, 1009, 4003].includes(code) ? BACKOFF_MAX_MS * (1 + random()) / 2 : random() * this.#ceiling());
    this.attempt++;
  }

  #ceiling() {
    return Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.attempt, 5)) * (this.env.hidden() ? HIDDEN_FACTOR : 1);
  }

  /** Dials after `ms`, or when that was planned anyway where it is sooner. */
  #redial(ms) {
    const at = this.env.now() + ms;
    if (this.timers.redial && this.redialAt <= at) return;
    this.redialAt = at;
    this.#after('redial', ms, () => this.#dial());
    this.#changed();
  }

  /** Tries later whether the best transport can be had. */
  #improve(ms) {
    if (!this.cur?.open || !this.cur.kind) return;
    this.#after('better', ms ?? this.better * (0.5 + this.env.random()), () => {
      if (this.next) return this.#improve();
      this.better = Math.min(BETTER_MAX_MS, this.better * 2);
      this.#dial(0, true);
    });
  }

  /** The network is back: what waits goes soon, what seems open must show that it is. */
  #online() {
    const soon = () => this.env.random() * BACKOFF_MIN_MS;
    this.#unhang();
    this.attempt = 0;
    this.better = BETTER_MS;
    if (this.timers.redial) this.#redial(soon());
    this.#improve(soon());
    this.#probe();
  }

  /** The page was shown or hidden. */
  #look() {
    if (this.env.hidden()) return;
    if (this.timers.redial) this.#redial(this.env.random() * this.#ceiling());
    this.#probe();
  }

  /** Gives attempts up that hang. */
  #unhang(isOver = (since) => this.env.now() - since >= HUNG_MS) {
    for (const conn of [this.next, this.cur]) if (conn && !conn.open && isOver(conn.since, OPEN_MS)) this.#closed(conn, 1006, 'not open in time');
  }

  #probe() {
    for (const conn of [this.cur, this.next]) {
      if (!conn?.open) continue;
      conn.probed ??= this.env.now();
      this.#ping(conn);
    }
  }

  #ping(conn) {
    conn.pinged = this.env.now();
    this.#send(conn, { type: 'ping', id: 0 });
  }

  #beatSoon() {
    this.beatAt = this.env.now();
    this.wallAt = this.env.wall();
    this.#after('beat', BEAT_MS, () => this.#beat());
  }

  /** Looks whether connections live. After a sleep of the machine their silence means nothing, so they are asked. */
  #beat() {
    const now = this.env.now(), last = this.beatAt, slept = Math.max(now - last, this.env.wall() - this.wallAt) > BEAT_MS + LATE_MS;
    // In a tab hidden for long every beat is late. What waited at the one before has had its time.
    const isOver = (since, ms) => (slept ? since <= last : now - since >= ms);
    this.#beatSoon();
    this.#unhang(isOver);
    for (const conn of [this.next, this.cur]) {
      if (!conn?.open) continue;
      if (isOver(conn.probed, PROBE_MS) || (!slept && now - conn.heard >= SILENCE_MS)) this.#closed(conn, 1006, 'silent');
      else if (now - conn.pinged >= PING_MS) this.#ping(conn);
    }
    if (slept) this.#probe();
  }

  #after(name, ms, run) {
    this.env.clearTimeout(this.timers[name]);
    delete this.timers[name];
    if (run) this.timers[name] = this.env.setTimeout(() => { delete this.timers[name]; run(); }, ms);
  }

  // ---- requests

  #send(conn, message) {
    if (conn?.open && !conn.dead) conn.socket.send(JSON.stringify(message));
  }

  #askSoon(ms = ASK_MS) {
    if (!this.isClosed && !this.timers.ask) this.#after('ask', ms, () => { this.#ask(); this.#settle(); });
  }

  /** Compares what readers want with what this connection was asked for, and asks for the difference. */
  #ask() {
    const conn = this.#wire, groups = new Map();
    const group = (type, source, rate, channel) => {
      const key = JSON.stringify([type, source, rate]);
      if (!groups.has(key)) groups.set(key, { message: { type, source, ...rate }, channels: [] });
      groups.get(key).channels.push(channel);
    };
    for (const [key, channel] of this.channels) if (!channel.readers.size) this.channels.delete(key);
    if (!conn?.open) return;
    for (const channel of conn.asked.keys()) {
      if (channel.readers.size && conn.asked.get(channel)) continue;
      conn.asked.delete(channel);
      if (!channel.isDouble) group('unsubscribe', channel.source, {}, channel);
    }
    for (const channel of this.channels.values()) {
      const rate = channel.wanted(), text = JSON.stringify(rate);
      // While two connections overlap the rate stays as it is, for ticks merged otherwise could not be told apart.
      if (conn.asked.get(channel) === text || (conn === this.next && conn.asked.has(channel) && channel.owner !== conn)) continue;
      if (!conn.asked.has(channel)) channel.resumes = channel.position;
      conn.asked.set(channel, text);
      channel.mayMerge();
      group('subscribe', channel.source, rate, channel);
    }
    for (const { message, channels } of groups.values()) this.#request(conn, message, channels);
  }

  /** One message, or several where it would be too long for the gateway. */
  #request(conn, message, channels) {
    const id = ++this.ids, resumed = channels.filter((c) => c.resumes), half = channels.length >> 1;
    const text = JSON.stringify({
      ...message, symbols: channels.map((c) => c.symbol), resume: resumed[0] && Object.fromEntries(resumed.map((c) => [c.symbol, c.resumes])), id,
    });
    if (half && text.length > this.chars) return [channels.slice(0, half), channels.slice(half)].forEach((part) => this.#request(conn, message, part));
    for (const channel of channels) channel.resumes = undefined;
    conn.requests.set(id, channels);
    conn.socket.send(text);
  }

  /** What was asked for in these requests is asked for again. */
  #again(conn, ids) {
    for (const id of ids) {
      for (const channel of conn.requests.get(id)) {
        // One nobody wants any more is to be unsubscribed from again, unless it was asked for anew.
        if (channel && !this.channels.has(keyOf(channel))) conn.asked.set(channel, '');
        else conn.asked.delete(channel);
      }
      conn.requests.delete(id);
    }
    this.#askSoon(AGAIN_MS);
  }

  // ---- messages

  /** `isAside`: it did not come the way ticks do, so it says nothing of whether these come through. */
  #receive(conn, data, isAside) {
    conn.heard = this.env.now();
    conn.probed = undefined;
    if (!conn.isGood && !isAside) {
      conn.isGood = true;
      this.misses = 0;
      this.best = conn.kind;
    }
    let m;
    // What cannot be read is counted below.
    try { m = typeof data === 'string' ? JSON.parse(data) : data; } catch {}
    if (!m || typeof m !== 'object' || this.#handle(conn, m) === false) this.stats.invalid++;
  }

  /** False where the message makes no sense. */
  #handle(conn, m) {
    const isWire = conn === this.#wire;
    switch (m.type) {
      case 'tick': return isTick(m) && this.#stream(conn, m);
      case 'gap': return isGap(m) && this.#stream(conn, m);
      case 'symbolState': return typeof m.symbol === 'string' && typeof m.state === 'string' && isWire && this.#state(this.#channel(conn, m), m);
      case 'status':
        if (typeof m.source !== 'string') return false;
        if (isWire) this.#emit('status', m);
        return true;
      case 'subscribeResponse': return Array.isArray(m.results) && this.#answered(conn, m);
      case 'unsubscribeResponse': return conn.requests.delete(m.id);
      case 'pong': return isCount(m.timestamp) && this.#pong(conn, m.timestamp);
      case 'goaway': return this.#goaway(conn, m.reconnectInMs);
      case 'error': return this.#error(conn, m);
    }
  }

  #stream(conn, m) {
    const channel = this.#channel(conn, m);
    if (!channel) return true;
    if (channel.holds === conn) {
      channel.held.push(m);
      if (channel.held.length > HELD_MAX) this.#adopt(channel, conn);
      else this.#touch(channel);
    } else if (channel.owner === conn) {
      this.#take(channel, m, conn);
      this.#touch(channel);
    }
    return true;
  }

  #take(channel, m, conn) {
    const now = this.env.now(), isTick = m.type === 'tick';
    if (!channel.take(m, now, conn)) return void this.stats.duplicates++;
    this.stats[isTick ? 'ticks' : 'gaps']++;
    if (!isTick || m.snapshot || now - conn.since < QUIET_MS || !isCount(m.receivedAt)) return;
    this.lag.ticks++;
    this.lag.venue += m.receivedAt - m.timestamp || 0;
    this.lag.way += this.serverNow() - m.receivedAt;
  }

  /** The next connection's stream counts from where it meets the other's. */
  #touch(channel) {
    if (this.next && channel.holds === this.next && channel.held.length && channel.touches(channel.held[0])) this.#adopt(channel, this.next);
  }

  /** From now on this connection's stream counts, what was kept first. */
  #adopt(channel, conn) {
    channel.owner = conn;
    this.#release(channel, true);
    this.#settle();
  }

  #release(channel, isWanted) {
    const { held, holds } = channel;
    channel.held = [];
    channel.holds = null;
    if (isWanted) for (const m of held) this.#take(channel, m, holds);
  }

  /** Ends the move once everything comes over the new connection. */
  #settle() {
    const { next } = this;
    if (!next?.open || !next.isGood || next.requests.size) return;
    for (const channel of this.channels.values()) if (channel.owner !== next) return;
    this.#moved();
  }

  #moved() {
    const { cur, next } = this;
    this.#after('move');
    this.cur = next;
    this.next = null;
    this.isLeaving = !!next.isLeft;
    for (const channel of this.channels.values()) if (channel.holds === next) this.#adopt(channel, next);
    this.stats.moves++;
    this.#drop(cur);
    this.#askSoon();
    if (this.isAgain) this.reconnect();
    this.#changed();
  }

  #answered(conn, m) {
    const channels = conn.requests.get(m.id);
    if (!channels) return false;
    // Streams answer a request in parts.
    m.results.forEach((result, i) => {
      const asked = channels[i];
      if (!result || typeof result !== 'object') return;
      channels[i] = null;
      if (!asked || !conn.asked.has(asked)) return;
      const channel = this.#respell(conn, asked, result);
      if (result.status === 'error') {
        channel.owner = conn;
        this.#release(channel, true);
        return this.#refused(channel, result);
      }
      channel.waits = result.code === 'VENUE_DOWN';
      if (channel.state?.state === 'refused') this.#state(channel, { ...channel.state, state: 'pending', code: result.code, message: result.message });
      const isOn = result.recovered === true || !channel.epoch;
      if (channel.owner === conn && result.recovered !== false) return;
      this.#release(channel, !isOn);
      if (!isOn) channel.broken = conn;
      if (isOn || channel.mayMerge() || (channel.owner?.dead ?? true) || channel.owner === conn) channel.owner = conn;
      else channel.holds = conn;
    });
    if (!channels.some(Boolean)) conn.requests.delete(m.id);
    this.#settle();
    return true;
  }

  #refused(channel, { code, message }) {
    const { source, symbol } = channel;
    return this.#state(channel, { type: 'symbolState', source, symbol, state: 'refused', code, message });
  }

  #state(channel, m) {
    if (!channel) return true;
    if (JSON.stringify(channel.state) !== JSON.stringify(m)) channel.tell(channel.state = m, this.env.now());
    return true;
  }

  /** The channel a message is about. A name that waited for the venue's list may come in the venue's spelling. */
  #channel(conn, m) {
    const found = this.channels.get(keyOf(m));
    if (found) return found;
    for (const other of this.channels.values()) {
      if (other.waits && !other.last && (other.source ?? m.source) === m.source && lookup(other.symbol) === lookup(m.symbol)) return this.#respell(conn, other, m);
    }
  }

  /** The gateway's own names for what was asked. */
  #respell(conn, channel, { source, symbol }) {
    if (typeof source !== 'string' || typeof symbol !== 'string') return channel;
    this.source ??= channel.source === undefined ? source : undefined;
    const before = keyOf(channel), key = keyOf({ source, symbol }), other = this.channels.get(key);
    if (key === before) return channel;
    if (this.channels.get(before) === channel) this.channels.delete(before);
    if (!other || other === channel) {
      this.channels.set(key, Object.assign(channel, { source, symbol }));
      return channel;
    }
    // Asked for under two names: the gateway has one subscription of it.
    channel.isDouble = true;
    // At the rate it was last asked for, under either name.
    if (conn.asked.has(other)) conn.asked.set(other, '?');
    for (const reader of [...channel.readers]) { reader.leave(); other.join(reader, this.env.now()); }
    this.#askSoon();
    return other;
  }

  #goaway(conn, ms) {
    if (!conn.isLeft && conn === this.#wire) {
      conn.isLeft = this.isLeaving = true;
      this.turn++;
      this.#redial(Math.min(GOAWAY_MAX_MS, isCount(ms) ? ms : this.env.random() * BACKOFF_MIN_MS));
    }
    return true;
  }

  #error(conn, m) {
    const asked = conn.requests.get(m.id);
    if (m.code === 'RATE_LIMITED') {
      // One that was not even read has no id.
      this.#again(conn, asked ? [m.id] : [...conn.requests.keys()]);
      return true;
    }
    for (const channel of asked ?? []) if (channel) { channel.owner = conn; this.#refused(channel, m); }
    conn.requests.delete(m.id);
    const about = typeof m.symbol === 'string' && this.channels.get(keyOf({ source: this.source, ...m }));
    if (about) this.#refused(about, m);
    else if (!asked) this.#emit('error', m);
    this.#settle();
    return true;
  }

  /** Learns the gateway's clock (the best round trip wins) and tells where the time goes. */
  #pong(conn, timestamp) {
    const now = this.env.now(), rtt = now - conn.pinged, { clock, lag } = this, offset = timestamp + rtt / 2 - this.env.wall();
    const contradicts = Math.abs(offset - clock.offset) > rtt + clock.rtt;
    if (rtt <= clock.rtt || now - clock.at > 60000 || contradicts) this.clock = { offset, rtt, at: now };
    this.#emit('latency', {
      type: 'latency', rttMs: rtt, ticks: lag.ticks,
      ...(lag.ticks && {
        venueToIngestMs: lag.venue / lag.ticks, ingestToGatewayMs: Math.max(0, lag.way / lag.ticks - this.clock.rtt / 2),
        gatewayToClientMs: this.clock.rtt / 2, ingestToClientMs: lag.way / lag.ticks,
      }),
    });
    this.lag = { ticks: 0, venue: 0, way: 0 };
    return true;
  }

  // ---- words to the page

  #changed() { this.#emit('connection', { type: 'connection', ...this.connection }); }

  #emit(type, event) {
    for (const listener of [...this.listeners[type] ?? []]) this.#call(listener, event);
  }

  /** A listener that fails harms nobody else. */
  #call(listener, event) {
    try { listener(event); } catch (error) { this.env.report(error); }
  }
}

function isTick(m) {
  const { merged = 1 } = m;
  return typeof m.symbol === 'string' && isEpoch(m.epoch) && isCount(m.seq)
    && isCount(merged) && merged > 0 && merged <= m.seq + 1
    && [m.bid, m.ask, m.price, m.high, m.low].every(isPrice);
}

const isGap = (m) => typeof m.symbol === 'string' && (m.epoch === undefined || isEpoch(m.epoch)) && isCount(m.from) && isCount(m.to) && m.from > 0 && m.from <= m.to;
