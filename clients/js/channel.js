// One symbol of one venue: where its stream stands, and who reads it how often. No sockets, no clock.

/** Compares epochs, which are whole numbers of any size in decimal text. */
const compare = (a, b) => a.length - b.length || (a < b ? -1 : +(a > b));

/** Ticks kept while two connections overlap. */
export const HELD_MAX = 1000;

export class Channel {
  constructor(source, symbol) {
    Object.assign(this, { source, symbol, epoch: '', seq: 0, last: null, state: null });
    this.readers = new Set();
    this.broken = false;    // the gateway could not go on where we stopped
    this.owner = null;      // the connection whose stream counts
    this.holds = null;      // the connection whose messages are kept in `held` for now
    this.held = [];
    // Holes within what comes merged next, as the connection `from` told them.
    this.ahead = [];
  }

  /** What the gateway is to be asked for: the most demanding of all readers. */
  wanted() {
    const all = [...this.readers], every = all.filter((reader) => !reader.latest);
    const onSlow = (every.length ? every : all).every((reader) => reader.onSlow === 'merge') ? 'merge' : undefined;
    if (every.length) return { mode: 'every', onSlow };
    return { mode: 'latest', minIntervalMs: Math.min(...all.map((reader) => reader.minIntervalMs)), onSlow };
  }

  /** Whether ticks may come merged, by what is or was wanted. */
  mayMerge() {
    const { mode, onSlow } = this.wanted();
    return (this.merges ||= mode === 'latest' || !!onSlow);
  }

  /** Where to go on. */
  get position() { return this.epoch ? { epoch: this.epoch, seq: this.seq } : undefined; }

  join(reader, now) {
    reader.channel = this;
    this.readers.add(reader);
    if (this.state) reader.take(this.state, now);
    if (this.last) {
      const { merged, high, low, ...tick } = this.last;
      reader.take({ ...tick, snapshot: true }, now);
      if (this.seq > tick.seq) reader.take(this.gap(tick.seq + 1, this.seq), now);
    }
  }

  tell(event, now) { for (const reader of [...this.readers]) reader.take(event, now); }

  /** Takes a checked `tick` or `gap` of the stream that counts; false where it is old. */
  take(m, now, from) {
    if (from !== this.from) Object.assign(this, { from, ahead: [] });
    const isGap = m.type === 'gap', end = isGap ? m.to : m.seq;
    const order = isGap || !this.epoch ? 0 : compare(m.epoch, this.epoch);
    if (order < 0) return false;
    if (!order && this.epoch && end <= this.seq) {
      // Here the stream meets ours, so there is no hole.
      this.broken = false;
      return false;
    }
    // What is missing in the middle of a merged tick is announced before it, and ticks before the hole come with it.
    if (isGap && this.epoch && m.from > this.seq + 1 && this.mayMerge() && !this.ahead[63]) return !!this.ahead.push(m);
    const ahead = isGap ? [] : this.ahead;
    const holes = order ? 0 : ahead.reduce((sum, hole) => sum + hole.missed, 0);
    const start = isGap ? m.from - 1 : m.seq - (m.merged ?? 1) - holes;
    if (order > 0) {
      // How many of the old epoch are missing nobody can say, where the stream was cut.
      if (this.broken) this.tell(this.gap(this.seq + 1, null), now);
    } else if (this.epoch && start > this.seq) {
      this.tell(this.gap(this.seq + 1, start), now);
    } else if (this.epoch && start < this.seq) {
      m = isGap ? { ...m, from: this.seq + 1, missed: end - this.seq } : { ...m, merged: Math.max(1, end - this.seq - holes) };
    }
    if (!isGap) this.ahead = [];
    for (const hole of ahead) this.tell({ ...hole, epoch: this.epoch }, now);
    if (isGap) m = { ...m, epoch: this.epoch };
    else Object.assign(this, { epoch: m.epoch, last: m, broken: false });
    if (this.epoch) this.seq = end;
    this.tell(m, now);
    return true;
  }

  /** Whether a message goes on where the stream stands, or before. */
  touches(m) {
    if (!this.epoch) return true;
    if (m.type === 'gap') return m.from <= this.seq + 1;
    const order = compare(m.epoch, this.epoch);
    return order > 0 || (!order && m.seq - (m.merged ?? 1) <= this.seq);
  }

  gap(from, to) {
    const { source, symbol, epoch } = this;
    return { type: 'gap', source, symbol, epoch, from, to, missed: to && to - from + 1 };
  }
}

/** One consumer of a channel, at its own rate. `deliver` gets each event. */
export class Reader {
  constructor(deliver, pace) { Object.assign(this, { deliver, pace, at: 0, fold: null, channel: null }); }

  /** Changes the rate; what is folded is delivered first. */
  rate({ mode, minIntervalMs, onSlow }, now) {
    this.flush(now);
    this.minIntervalMs = Math.min(60000, Math.max(0, Math.floor(minIntervalMs) || 0));
    this.latest = mode ? mode === 'latest' : this.minIntervalMs > 0;
    this.onSlow = onSlow;
    this.at = Math.min(this.at, now + this.minIntervalMs);
  }

  leave() {
    this.channel.readers.delete(this);
    this.pace.delete(this);
    this.fold = null;
  }

  take(event, now) {
    if (!this.latest || event.type !== 'tick') {
      this.flush(now);
      return this.deliver(event);
    }
    // A fold never crosses an epoch.
    if (this.fold && this.fold.epoch !== event.epoch) this.flush(now);
    const { price, merged = 1, high = price, low = price } = event, fold = this.fold;
    this.fold = {
      ...event, merged: merged + (fold?.merged ?? 0),
      ...range([high, fold?.high], Math.max, 'high'), ...range([low, fold?.low], Math.min, 'low'),
    };
    if (now >= this.at) this.flush(now);
    else this.pace.add(this);
  }

  /** Delivers what is folded. */
  flush(now) {
    this.pace.delete(this);
    const tick = this.fold;
    if (!tick) return;
    this.fold = null;
    this.at = now + this.minIntervalMs;
    this.deliver(tick);
  }
}

/** Prices may be absent. */
function range(prices, choose, name) {
  const known = prices.filter((price) => price !== undefined);
  return known.length ? { [name]: choose(...known) } : {};
}

/** Readers that wait for their time, on one timer. */
export class Pace {
  #waiting = new Set();
  #timer;
  #due = Infinity;
  constructor(env) { this.env = env; }

  add(reader) {
    this.#waiting.add(reader);
    if (reader.at < this.#due) this.#arm(reader.at);
  }

  delete(reader) { this.#waiting.delete(reader); }

  stop() {
    this.#waiting.clear();
    this.#arm(Infinity);
  }

  #arm(at) {
    this.env.clearTimeout(this.#timer);
    this.#due = at;
    if (at < Infinity) this.#timer = this.env.setTimeout(() => this.#run(), at - this.env.now());
  }

  #run() {
    const now = this.env.now();
    for (const reader of [...this.#waiting]) if (reader.at <= now) reader.flush(now);
    this.#arm([...this.#waiting].reduce((next, reader) => Math.min(next, reader.at), Infinity));
  }
}
