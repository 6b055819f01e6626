// Ticks of the subprotocol tickcast.v1.bin, read as docs/binary.md says: a frame in, the messages it means out.

const signed = (n) => (n % 2 ? -(n + 1) / 2 : n / 2);
const DETAILS = ['bidSize', 'askSize', 'volume', 'change', 'changePercent'];

/** The table of one connection. `read(frame)` answers the ticks, and throws where bytes are not of this protocol. */
export class BinaryReader {
  #table = new Map();

  read(frame) {
    const bytes = new Uint8Array(frame), ticks = [];
    if (!bytes.length) throw new Error('an empty frame');
    for (let at = { bytes, n: 0 }; at.n < bytes.length;) ticks.push(bytes[at.n] & 128 ? this.#full(at) : this.#step(at));
    return ticks;
  }

  #step(at) {
    const flags = byte(at), [merged, isLag, isLast, isAsk, isSame, isBid] = [64, 32, 16, 8, 4, 2].map((bit) => !!(flags & bit));
    if (isSame && (isAsk || !isBid)) throw new Error('bits that mean nothing');
    const entry = this.#table.get(varint(at));
    if (!entry) throw new Error('a step of a channel that was not named');
    if ((isBid && entry.bid === undefined) || ((isAsk || isSame) && entry.ask === undefined) || (isLast && entry.last === undefined)) throw new Error('a price that is not there');
    entry.receivedAt += signed(varint(at));
    const bid = isBid ? signed(varint(at)) : 0;
    if (isBid) entry.bid += bid;
    if (isSame) entry.ask += bid;
    if (isAsk) entry.ask += signed(varint(at));
    if (isLast) entry.last += signed(varint(at));
    if (isLag) entry.lag += signed(varint(at));
    if (flags & 1) {
      const mask = bits(at, 31);
      DETAILS.forEach((name, i) => {
        if (!(mask >> i & 1)) return;
        if (!entry.details?.[name]) throw new Error('a detail that is not there');
        entry.details[name].units += signed(varint(at));
      });
    }
    entry.seq++;
    return message(entry, merged && { merged: 1, range: [0, 0] });
  }

  #full(at) {
    const flags = byte(at), channel = varint(at), has = (bit) => !!(flags & bit), before = this.#table.get(channel);
    if (!has(8) && !before) throw new Error('a channel that was not named');
    const entry = has(8) ? { source: text(at), symbol: text(at), epoch: String(big(at)) } : { source: before.source, symbol: before.symbol, epoch: before.epoch };
    entry.seq = varint(at);
    const marked = byte(at);
    entry.places = places(marked & 127);
    if (has(1)) entry.bid = signed(varint(at));
    if (has(2)) entry.ask = signed(varint(at)) + (entry.bid ?? 0);
    if (has(4)) entry.last = signed(varint(at)) + (entry.bid ?? 0);
    entry.receivedAt = signed(varint(at));
    entry.lag = signed(varint(at));
    if (has(16)) entry.delayedS = varint(at);
    if (marked & 128) {
      const mask = bits(at, 63);
      entry.details = {};
      DETAILS.forEach((name, i) => {
        if (mask >> i & 1) entry.details[name] = { places: places(byte(at)), units: signed(varint(at)) };
      });
      if (mask & 32) entry.session = text(at);
    }
    let fold;
    if (has(64)) {
      fold = { merged: varint(at) };
      const range = byte(at);
      if (range > 1) throw new Error('neither a range nor none');
      if (range) fold.range = [signed(varint(at)), signed(varint(at))];
    }
    this.#table.set(channel, entry);
    return message(entry, fold, has(32));
  }
}

function message({ source, symbol, epoch, seq, places, bid, ask, last, receivedAt, lag, delayedS, details = {}, session }, fold, isSnapshot) {
  const numbers = Object.entries(details);
  if (![bid ?? 0, ask ?? 0, last ?? 0, receivedAt, lag, ...numbers.map(([, n]) => n.units)].every(Number.isSafeInteger)) throw new Error('a number that is too great');
  const unit = 10 ** places, m = { type: 'tick', source, symbol };
  if (bid !== undefined) m.bid = bid / unit;
  if (ask !== undefined) m.ask = ask / unit;
  if (last !== undefined) m.last = last / unit;
  const tenths = bid !== undefined && ask !== undefined ? (bid + ask) * 5 : (last ?? bid ?? ask) * 10;
  const isPriced = !Number.isNaN(tenths);
  if (isPriced) m.price = tenths / (unit * 10);
  Object.assign(m, { timestamp: receivedAt - lag, receivedAt, epoch, seq });
  if (delayedS !== undefined) m.delayedS = delayedS;
  for (const [name, n] of numbers) m[name] = n.units / 10 ** n.places;
  if (session !== undefined) m.session = session;
  if (isSnapshot) m.snapshot = true;
  if (fold) {
    m.merged = fold.merged;
    if (fold.range && (isPriced || fold.merged > 1)) [m.high, m.low] = fold.range.map((distance) => ((isPriced ? tenths : 0) + distance) / (unit * 10));
  }
  return m;
}

/** So many decimal places, if there can be so many. */
function places(n) {
  if (n > 18) throw new Error('too many places');
  return n;
}

/** A byte that says what follows: something, and nothing but what these bits stand for. */
function bits(at, allowed) {
  const mask = byte(at);
  if (!mask || mask & ~allowed) throw new Error('bits that mean nothing');
  return mask;
}

function byte(at) {
  if (at.n >= at.bytes.length) throw new Error('a record that ends early');
  return at.bytes[at.n++];
}

function varint(at) {
  let n = 0;
  for (let i = 0; i < 10; i++) {
    const b = byte(at);
    n += (b & 127) * 2 ** (7 * i);
    if (b < 128) {
      if (n >= 2 ** 64) break;
      return n;
    }
  }
  throw new Error('a number that is too great');
}

/** The same for numbers of 64 bits. */
function big(at) {
  let n = 0n;
  for (let i = 0n; i < 10n; i++) {
    const b = byte(at);
    n |= BigInt(b & 127) << (7n * i);
    if (b < 128 && n < 1n << 64n) return n;
    if (b < 128) break;
  }
  throw new Error('a number that is too great');
}

function text(at) {
  const length = varint(at), end = at.n + length;
  if (end > at.bytes.length) throw new Error('a record that ends early');
  const part = at.bytes.subarray(at.n, end);
  at.n = end;
  return new TextDecoder('utf-8', { fatal: true }).decode(part);
}
