// Not run, only checked: what a page in TypeScript writes must be right, and what is wrong must be found.

import { Tickcast, type ChannelEvent, type Connection, type Subscription, type Tick } from 'tickcast';

const feed = new Tickcast('wss://prices.example/ws', { transports: ['websocket', 'events'], binary: true });
new Tickcast();
new Tickcast(['https://a.example/', 'https://b.example/']);

const one: Subscription = feed.subscribe('EURUSD', (event) => {
  switch (event.type) {
    case 'tick': { const bid: number | undefined = event.bid, seq: number = event.seq; return void [bid, seq]; }
    case 'gap': { const missed: number | null = event.missed; return void missed; }
    case 'symbolState': { const until: number | undefined = event.until; return void until; }
    default: { const nothing: never = event; return nothing; }
  }
});
one.update({ mode: 'latest', minIntervalMs: 250 });
one.close();
feed.subscribe(['EURUSD', 'GBPUSD'] as const, (event: ChannelEvent) => void event.symbol);
feed.subscribe({ symbols: ['AAPL'], source: 'tradingview', mode: 'every', onSlow: 'merge' }, () => {});

const off: () => void = feed.on('status', (status) => void (status.health.link === 'up'));
off();
feed.on('connection', (connection) => void (connection.retryInMs ?? 0));
feed.on('latency', ({ rttMs, venueToIngestMs = 0 }) => void (rttMs + venueToIngestMs));
const connection: Connection = feed.connection;
const fold = ({ merged = 1, high, low }: Tick): [number, number | undefined, number | undefined] => [merged, high, low];
void [connection, fold, feed.stats.duplicates, feed.serverNow()];
feed.reconnect();
feed.close();

// @ts-expect-error there is no such mode
feed.subscribe({ symbols: 'EURUSD', mode: 'sometimes' }, () => {});
// @ts-expect-error symbols are wanted
feed.subscribe({ source: 'ctrader' }, () => {});
// @ts-expect-error there is no such event
feed.on('price', () => {});
// @ts-expect-error no such transport
new Tickcast('.', { transports: ['carrier pigeon'] });
// @ts-expect-error the connection is told, not set
feed.connection = connection;
