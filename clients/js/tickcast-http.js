// A connection where WebSocket cannot be had: it takes and tells the messages of a WebSocket, over server-sent events or by
// polling. What is wanted is a set of streams, each of one venue.

const STREAM_SYMBOLS = 100;         // what a gateway takes in one stream
const REGROUP_MS = 10;
const FIRST_MS = 10000, SILENCE_MS = 30000;  // a stream begins at once, and says something every 15 s
const POLL_MS = 1000, POLL_WAIT_MS = 20000;  // time between two polls, and how long one waits for news

const keyOf = ({ source, symbol }) => `${source}\n${symbol}`;

/** Where a client stands in these symbols, as a gateway reads it: `epoch-seq.seq~epoch-seq`, in base 36. */
export function places(wants) {
  let text = '', before;
  for (const { position } of wants) {
    const epoch = BigInt(position?.epoch ?? 0).toString(36);
    text += (epoch === before ? '.' : `${before === undefined ? '' : '~'}${epoch}-`) + (position ? position.seq.toString(36) : '');
    before = epoch;
  }
  return wants.some((want) => want.position) ? text : undefined;
}

/**
 * One rate for all symbols of a venue, the most demanding one: a stream takes a connection, of which browsers open six to a host.
 * The client tells each consumer at its own rate anyway.
 */
function demanding(rates) {
  const every = rates.filter((rate) => rate.mode !== 'latest'), all = every.length ? every : rates;
  const onSlow = all.every((rate) => rate.onSlow === 'merge') ? 'merge' : undefined;
  return every.length ? { mode: every[0].mode, onSlow } : { mode: 'latest', minIntervalMs: Math.min(...all.map((rate) => rate.minIntervalMs ?? 0)), onSlow };
}

export class HttpSocket {
  #wants = new Map();     // by source and symbol
  #streams = new Set();
  #timer;

  constructor(env, kind, url, { open, message, close }) {
    Object.assign(this, { env, kind, message, base: url.replace(/^ws/, 'http').replace(/ws(\?.*)?$/, 'api/v1/') });
    this.end = (code, reason) => { this.close(); close(code, reason); };
    this.#get('status').then(open, (error) => this.end(1006, String(error)));
  }

  send(text) {
    const { type, id, source, symbols, resume, ...rate } = JSON.parse(text);
    if (type === 'connect') this.#statuses().catch(() => {});
    if (type === 'ping') this.#pong(id).catch(() => {});
    if (type === 'unsubscribe') {
      for (const symbol of symbols) {
        const key = keyOf({ source, symbol });
        this.#answer(this.#wants.get(key), {});
        this.#wants.delete(key);
      }
      this.tell({ type: 'unsubscribeResponse', id });
    }
    if (type === 'subscribe') {
      symbols.forEach((symbol, index) => {
        const key = keyOf({ source, symbol }), want = this.#wants.get(key) ?? { source, symbol, asked: [] };
        if (resume && Object.hasOwn(resume, symbol)) want.position ??= resume[symbol];
        want.rate = rate;
        want.asked.push({ id, index });
        this.#wants.set(key, want);
      });
    }
    if (symbols) this.#timer ??= this.env.setTimeout(() => this.#regroup(), REGROUP_MS);
  }

  close() {
    this.env.clearTimeout(this.#timer);
    this.isClosed = true;
    for (const stream of this.#streams) stream.control.abort();
  }

  /** Every venue's status with its first symbols, as `connect` is answered. */
  async #statuses() {
    for (const venue of (await this.#get('status')).venues) {
      const { known, open, symbols } = await this.#get(`symbols?source=${encodeURIComponent(venue.source)}`);
      this.tell({ type: 'status', ...venue, ...(open && { open }), ...((known || open) && { availableSymbols: symbols.map(({ symbol }) => symbol) }) }, true);
    }
  }

  async #pong(id) {
    const { venues: [venue] } = await this.#get('status');
    this.tell({ type: 'pong', id, timestamp: venue.timestamp }, true);
  }

  /** `isAside`: it came as a page, and says nothing of whether streams come through. */
  tell(m, isAside = false) { if (!this.isClosed) this.message(JSON.stringify(m), isAside); }

  /** What `run` does, with a watch over it: the connection ends where that was not wound again within the time it was given. */
  async #watched(signal, run) {
    let timer;
    const stop = () => this.env.clearTimeout(timer);
    signal.addEventListener('abort', stop);
    try {
      await run((ms) => { stop(); timer = this.env.setTimeout(() => this.end(1006, 'silent'), ms); });
    } finally {
      stop();
    }
  }

  /** Answers all requests for a symbol that wait for it. */
  #answer(want, result) {
    for (const { id, index } of want?.asked.splice(0) ?? []) {
      const results = [];
      results[index] = result;
      this.tell({ type: 'subscribeResponse', id, results });
    }
  }

  /** From now on it is spoken of by the gateway's own names; of two names of one symbol one is enough. */
  #respell(want, { source, symbol }) {
    const before = keyOf(want), key = keyOf({ source, symbol });
    Object.assign(want, { source, symbol });
    if (key === before || this.#wants.get(before) !== want) return;
    this.#wants.delete(before);
    if (!this.#wants.has(key)) this.#wants.set(key, want);
  }

  /** Compares the streams there are with what is wanted. One that would carry other symbols goes on as another. */
  #regroup() {
    this.#timer = undefined;
    const venues = new Map(), streams = new Set();
    for (const want of this.#wants.values()) venues.set(want.source, [...venues.get(want.source) ?? [], want]);
    for (const [source, all] of venues) {
      const rate = demanding(all.map((want) => want.rate)), key = JSON.stringify([source, rate]);
      for (let i = 0; i < all.length; i += STREAM_SYMBOLS) {
        const wants = all.slice(i, i + STREAM_SYMBOLS), isSame = (other) => other.key === key && other.wants.length === wants.length && wants.every((want, j) => want === other.wants[j]);
        streams.add([...this.#streams].find(isSame) ?? { key, source, rate, wants });
      }
    }
    for (const stream of this.#streams) if (!streams.has(stream)) stream.control.abort();
    this.#streams = streams;
    for (const stream of streams) {
      if (!stream.control) this.#begin(stream);
      // A change that changes nothing here is granted.
      else if (stream.isAnswered) for (const want of stream.wants) this.#answer(want, { symbol: want.symbol, source: want.source, status: 'subscribed', ...want.rate });
    }
  }

  #begin(stream) {
    stream.control = new AbortController();
    const { signal } = stream.control;
    this.#watched(signal, (watch) => this[this.kind](stream, signal, watch)).catch((error) => { if (!signal.aborted) this.end(error.code ?? 1006, error.message); });
  }

  async events(stream, signal, watch) {
    let rest = '', last = '';
    watch(FIRST_MS);
    const answer = await this.#ask('stream', stream, signal, { lastEventId: places(stream.wants) });
    if (!answer) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (signal.aborted) return;
      if (done) break;
      watch(SILENCE_MS);
      const lines = (rest + value).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith('data:')) this.#told(stream, JSON.parse(line.slice(5)));
        else if (line.startsWith(': ')) last = line;
      }
    }
    // A gateway's last words are the close code it would have sent.
    const [, code = 1006, reason = ''] = /^: (\d{4}) ?(.*)/.exec(last) ?? [];
    this.end(+code, reason);
  }

  async polling(stream, signal, watch) {
    while (!signal.aborted) {
      watch(SILENCE_MS);
      const answer = await this.#ask('ticks', stream, signal, { after: places(stream.wants) ?? '', waitMs: POLL_WAIT_MS });
      const { data } = answer ? await answer.json() : {};
      if (!data || signal.aborted) return;
      for (const m of data.messages) this.#told(stream, m);
      this.tell({ type: 'heartbeat' });
      if (!data.hasMore) await new Promise((done) => { this.env.setTimeout(done, POLL_MS); });
    }
  }

  /** A message of a stream: where its client stands then, and whose request it answers. */
  #told(stream, m) {
    const { wants } = stream;
    if (m.type === 'subscribeResponse') {
      stream.isAnswered = true;
      m.results.forEach((result, i) => {
        const want = wants[i];
        if (result.recovered === false) {
          // A stream that was begun anew has not met the one before: whoever wants it has to know.
          if (!want.asked.length && want.position) return this.end(1012, 'the position is not known any more');
          want.position = undefined;
        }
        this.#answer(want, result);
        if (result.status !== 'error') this.#respell(want, result);
      });
      return;
    }
    if (m.type === 'tick' || m.type === 'gap') {
      const want = wants.find(({ symbol }) => m.symbol === symbol), at = want?.position;
      if (want && m.type === 'tick') want.position = { epoch: m.epoch, seq: m.seq };
      // A hole further on is in the middle of a merged tick, which is still to come, or at the head of an epoch that is not told.
      else if (at && m.epoch && m.epoch !== at.epoch ? m.from === 1 : at && m.from <= at.seq + 1 && m.to > at.seq && (m.epoch || m.from > 1)) want.position = { epoch: m.epoch ?? at.epoch, seq: m.to };
    }
    this.tell(m);
  }

  async #get(path, options) {
    const answer = await this.env.fetch(this.base + path, { cache: 'no-store', ...options });
    const { success, data, error } = await answer.json();
    if (!success) throw Object.assign(new Error(error.message), { code: answer.status === 403 ? 1008 : 1013 });
    return data;
  }

  /** Asks for a stream; a refusal of what was asked is told, any other ends the connection. */
  async #ask(path, { source, rate, wants }, signal, more) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries({ source, ...rate, ...more })) if (value !== undefined) query.set(name, value);
    query.set('symbols', wants.map((want) => want.symbol));
    const answer = await this.env.fetch(`${this.base}${path}?${query}`, { signal, cache: 'no-store' });
    if (answer.ok) return answer;
    const { error } = await answer.json();
    if (answer.status !== 400 && answer.status !== 404) throw Object.assign(new Error(error.message), { code: answer.status === 403 ? 1008 : 1013 });
    for (const { asked } of wants) for (const { id } of asked.splice(0)) this.tell({ type: 'error', id, code: error.code, message: error.message });
  }
}
