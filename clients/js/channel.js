// One symbol of one venue: where its stream stands, and who reads it how often. No sockets, no clock.

/** Compares epochs, which are whole numbers of any size in decimal text. */
const compare = (a, b) => a.length - b.length || (a < b ? -1 : +(a > b));

/** The number before the first one a message is about. */
const startOf = (m) => (m.type === 'gap' ? m.from - 1 : m.seq - (m.merged ?? 1));

const endOf = (m) => (m.type === 'gap' ? m.to : m.seq);

/** Ticks kept while two connections overlap. */
export const HELD_MAX = 1000;

export class Channel {
  constructor(source, symbol) {
    Object.assign(this, { source, symbol, epoch: '', seq: 0, last: null, state: null });
    this.readers = new Set();
    // The connection whose gateway could not go on where we stopped.
    this.broken = null;
    // The connection whose stream counts.
    this.owner = null;
    // The connection whose messages are kept in `held` for now.
    this.holds = null;
    this.held = [];
    // Holes within what comes merged next, or before the first tick there is, as the connection `from` told them.
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
      const { merged, high, low, ...last } = this.last, end = endOf(last);
      reader.take(last.type === 'gap' ? last : { ...last, snapshot: true }, now);
      if (this.seq > end) reader.take(this.gap(end + 1, this.seq), now);
    }
  }

  tell(event, now) { for (const reader of [...this.readers]) reader.take(event, now); }

  /** Takes a checked `tick` or `gap` of the stream that counts; false where it is old. */
  take(m, now, from) {
    if (from !== this.from) Object.assign(this, { from, ahead: [] });
    const isGap = m.type === 'gap', end = endOf(m), order = this.order(m);
    // A gateway that does not tell the epoch of a gap begins the next one with this; its first tick shows as much.
    if (isGap && !m.epoch && m.from === 1 && this.seq) return true;
    if (order < 0) return false;
    // Where the stream meets ours, there is no hole.
    const isBroken = this.broken === from;
    if (isBroken) this.broken = null;
    const ahead = isGap ? [] : this.ahead, holes = ahead.reduce((sum, hole) => sum + hole.missed, 0), start = startOf(m) - holes;
    if (order > 0) {
      // How many of the old epoch are missing nobody can say, where the stream was cut.
      if (isBroken) this.tell(this.gap(this.seq + 1, null), now);
      Object.assign(this, { epoch: m.epoch, seq: this.epoch ? 0 : start, last: null, ahead: [] });
    }
    if (end <= this.seq) return false;
    // What is missing in the middle of a merged tick is announced before it, and ticks before the hole come with it.
    if (isGap && (!this.epoch || (m.from > this.seq + 1 && this.mayMerge())) && !this.ahead[63]) return !!this.ahead.push(m);
    if (start > this.seq) this.tell(this.gap(this.seq + 1, start), now);
    else if (start < this.seq) m = isGap ? { ...m, from: this.seq + 1, missed: end - this.seq } : { ...m, merged: Math.max(1, end - this.seq - holes) };
    for (const hole of ahead) this.tell({ ...hole, epoch: this.epoch }, now);
    m = { ...m, epoch: this.epoch };
    // Who joins before an epoch has a tick begins with what is missing of it.
    if (!isGap || !this.last) this.last = m;
    if (!isGap) this.ahead = [];
    this.seq = end;
    this.tell(m, now);
    return true;
  }

  /** Whether a message is of a later epoch (above 0) than ours, or of an earlier one. */
  order({ epoch }) { return epoch ? compare(epoch, this.epoch) : 0; }

  /** Whether a message goes on where the stream stands, or before. */
  touches(m) { return !this.epoch || this.order(m) > 0 || (!this.order(m) && startOf(m) <= this.seq); }

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
