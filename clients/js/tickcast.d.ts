/** How often a consumer wants to be told. */
export interface Rate {
  /** `every`: each tick. `latest`: the newest, with what was merged into it. Default: `latest` where `minIntervalMs` is given. */
  mode?: 'every' | 'latest';
  /** Least time between two ticks of a symbol in `latest` mode, 0 to 60,000 ms. */
  minIntervalMs?: number;
  /** What a slow connection does with ticks in `every` mode: announce them as missing (`gap`, the default) or merge them. */
  onSlow?: 'gap' | 'merge';
}

export interface Request extends Rate {
  symbols: string | readonly string[];
  /** The venue; the gateway's first one where absent. */
  source?: string;
}

/** The price of a symbol. Times are Unix milliseconds. */
export interface Tick {
  type: 'tick';
  source: string;
  symbol: string;
  bid?: number;
  ask?: number;
  /** Last traded price, where the venue tells it. */
  last?: number;
  /** Mid, or last where the venue has no quotes. */
  price?: number;
  /** When the venue says it was; where it does not, `receivedAt`. */
  timestamp: number;
  /** When Tickcast had it from the venue. */
  receivedAt: number;
  /** Life of the numbering, a whole number as text; a greater one begins anew. */
  epoch: string;
  /** Number in the epoch, one more for each tick. */
  seq: number;
  /** Known already when the stream of this consumer began, or began anew. */
  snapshot?: boolean;
  /** How late the venue delivers on purpose, seconds. */
  delayedS?: number;
  /** What some venues tell besides, as they last said it; sizes and volume in the venue's units. */
  bidSize?: number;
  askSize?: number;
  /** Traded since the trading day began. */
  volume?: number;
  /** From the last close, in quote currency. */
  change?: number;
  /** From the last close, in percent of it. */
  changePercent?: number;
  /** Phase of trading in the venue's word, such as `market` or `out_of_session`. */
  session?: string;
  /** Ticks folded into this one, itself included. */
  merged?: number;
  /** Highest `price` of them. */
  high?: number;
  /** Lowest `price` of them. */
  low?: number;
}

/** Ticks that this consumer does not get. */
export interface Gap {
  type: 'gap';
  source: string;
  symbol: string;
  epoch: string;
  from: number;
  /** `null` where the epoch ended while there was no connection, and nobody can say with which number. */
  to: number | null;
  /** Exactly how many; `null` where `to` is. */
  missed: number | null;
}

export interface SymbolState {
  type: 'symbolState';
  source?: string;
  symbol: string;
  state: 'pending' | 'live' | 'stale' | 'closed' | 'refused';
  code?: string;
  message?: string;
  /** Next opening, Unix milliseconds. */
  until?: number;
}

/** What a consumer is told of its symbols: each tick once, merged with a count or in a gap, in order. */
export type ChannelEvent = Tick | Gap | SymbolState;

export interface Subscription {
  /** Changes the rate without a gap. */
  update(rate: Rate): void;
  close(): void;
}

export interface Health {
  link: 'down' | 'connecting' | 'up';
  auth: 'none' | 'pending' | 'ok' | 'refused';
  data: 'idle' | 'live' | 'stale';
  since: number;
  linkSince: number;
  authSince: number;
  dataSince: number;
  cause: string | null;
  causeCode: string | null;
  attempt: number;
  retryInMs: number | null;
  lastTickAgeMs: number | null;
}

/** A venue's health, on every change. */
export interface Status {
  type: 'status';
  source: string;
  status: string;
  message: string;
  timestamp: number;
  health: Health;
  availableSymbols?: unknown[];
  open?: boolean;
  attempt?: number;
  delay?: number;
}

export type Transport = 'websocket' | 'events' | 'polling';

/** How the connection to the gateway is. */
export interface Connection {
  /** `stopped`: the gateway wants this client not to come back unchanged; only `reconnect()` tries again. */
  state: 'connecting' | 'open' | 'waiting' | 'stopped' | 'closed';
  transport?: Transport;
  url?: string;
  /** Another connection is to take over from the open one. */
  isMoving: boolean;
  /** Attempts since the last connection that lasted. */
  attempt: number;
  retryInMs?: number;
  openForMs?: number;
  /** How the last connection ended (RFC 6455; 1006 where it just ended or fell silent). */
  code?: number;
  reason?: string;
}

/** Where the time between the venue and this page went, on average since the last such event; about every 10 s. */
export interface Latency {
  type: 'latency';
  rttMs: number;
  /** Ticks measured. Without any the following are absent. */
  ticks: number;
  venueToIngestMs?: number;
  ingestToGatewayMs?: number;
  gatewayToClientMs?: number;
  ingestToClientMs?: number;
}

/** The gateway found fault with something that concerns no single symbol. */
export interface Failure {
  type: 'error';
  code: string;
  message?: string;
  id?: unknown;
}

export interface Events {
  connection: Connection & { type: 'connection' };
  status: Status;
  latency: Latency;
  error: Failure;
}

export interface Options {
  /** In this order; the first that works. Default: all three. */
  transports?: readonly Transport[];
  /** Ticks in 6 to 9 bytes instead of about 200, for 1.8 KB more to load. Default: `false`. */
  binary?: boolean;
  /** Constructor of WebSockets where there is no global one, such as that of the package `ws`. */
  WebSocket?: new (url: string) => unknown;
}

export interface Stats {
  connections: number;
  /** Connections that took over from an open one. */
  moves: number;
  ticks: number;
  /** What came again and was dropped. */
  duplicates: number;
  gaps: number;
  /** Messages that made no sense. */
  invalid: number;
}

export class Tickcast {
  /**
   * Connects at once, and comes back for ever. `url` is the address of a gateway (`https://host/`, `wss://host/ws`, relative to
   * the page), or several of them, which take turns. Default: where the page came from.
   */
  constructor(url?: string | readonly string[], options?: Options);
  /** Consumers share one subscription of a symbol, each at its own rate. */
  subscribe(what: string | readonly string[] | Request, listener: (event: ChannelEvent) => void): Subscription;
  /** Answers a function that takes the listener away again. */
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): () => void;
  /** Connects now: at once where there is no connection, beside the open one where there is. */
  reconnect(): void;
  close(): void;
  readonly connection: Connection;
  readonly stats: Readonly<Stats>;
  /** The gateway's clock, Unix milliseconds. */
  serverNow(): number;
}
