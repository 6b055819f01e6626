// Uses @mathieuc/tradingview against the simulator as a client program would, then reads the simulator's frames with
// JavaScript's own idea of a length, which is the one the venue's frames count in.
//
// usage: node_peer.js MODULES HOST PORT   (MODULES: the node_modules folder the package is installed in)
//
// Prints one line, and exits 1 where something was not as it must be. TLS is checked: NODE_EXTRA_CA_CERTS names the
// simulator's certificate. The package cannot be told a host; what it puts in front of its own is told to it as the
// option `server`, so that the rest of its address becomes a query.
"use strict";

const assert = require("node:assert");
const path = require("node:path");

const [modules, host, port] = process.argv.slice(2);
const TradingView = require(path.join(modules, "@mathieuc/tradingview"));
const WebSocket = require(path.join(modules, "ws"));

const WITHIN_MS = 60_000;
const server = `${host}:${port}/socket.io/websocket?from=`;

/** Calls `listen` with a function that takes the event which ends the wait. */
const until = (listen) => new Promise((resolve) => listen(resolve));

/** Watches a market until enough has come; everything is merged by the package. */
async function market(session, symbol, enough) {
  const one = new session.Market(symbol);
  const events = [];
  one.onError((...problem) => {
    throw new Error(`${symbol}: ${JSON.stringify(problem)}`);
  });
  const loaded = until((done) => one.onLoaded(done));
  await until((done) => one.onData((data) => {
    events.push({ ...data });
    if (events.length >= enough) {
      done();
    }
  }));
  await loaded;
  one.close();
  return events;
}

async function quotes(client) {
  const session = new client.Session.Quote({ fields: "all" });
  const symbols = ["OANDA:EURUSD", "KRX:005930", "BIST:ŞİŞE", "TVC:DXY", "BITSTAMP:BTCUSD"];
  const all = await Promise.all(symbols.map((symbol) => market(session, symbol, 12)));
  const [euro, samsung, glass, dollar] = all.map((events) => events.at(-1));
  assert(Math.abs(euro.lp - 1.08421) < 0.01 && euro.bid <= euro.ask && euro.update_mode === "streaming");
  assert.strictEqual(samsung.local_description, "삼성전자");
  assert.strictEqual(samsung.update_mode, "delayed_streaming_1200");
  assert.strictEqual(glass.description, "Türkiye Şişe ve Cam Fabrikaları 🍾");
  assert(dollar.bid === undefined && dollar.volume === 1e100);
  for (const events of all) {
    const distinct = new Set(events.map((event) => `${event.lp} ${event.bid} ${event.volume} ${event.lp_time}`));
    assert(distinct.size > 2, "prices move");
  }
  const wrong = new session.Market("OANDA:NOSUCH");
  const problem = await until((done) => wrong.onError((...args) => done(args)));
  const [words, [, { s, errmsg }]] = problem;
  assert.deepStrictEqual([words, s, errmsg], ["Market error", "error", "invalid symbol"]);
  session.delete();
  return all.flat().length;
}

async function charts(client) {
  const chart = new client.Session.Chart();
  const updates = [];
  let enough;
  const moved = until((done) => { enough = done; });
  chart.onUpdate(() => {
    updates.push(chart.periods.length);
    if (updates.length > 5) {
      enough();
    }
  });
  chart.setMarket("OANDA:EURUSD", { timeframe: "1", range: 50 });
  await until((done) => chart.onSymbolLoaded(done));
  assert.strictEqual(chart.infos.pro_name, "OANDA:EURUSD");
  await moved;
  assert(chart.periods.length >= 50, `${chart.periods.length} bars`);
  chart.fetchMore(20);
  await until((done) => chart.onUpdate(() => chart.periods.length >= 70 && done()));
  const errors = [];
  let failed;
  chart.onError((...words) => {
    errors.push(words.join(" "));
    failed();
  });
  const error = async (provoke, words) => {
    const come = until((done) => { failed = done; });
    provoke();
    await come;
    assert(errors.at(-1).includes(words), `${errors.at(-1)} has no ${words}`);
  };
  await error(() => chart.setMarket("OANDA:NOSUCH", { timeframe: "1" }), "Symbol error: invalid symbol");
  const again = new client.Session.Chart();
  const critical = until((done) => again.onError((...words) => done(words)));
  again.setMarket("OANDA:EURUSD", { timeframe: "XX" });
  const [words, reason, info] = await critical;
  assert.strictEqual(words, "Critical error:");
  assert.strictEqual(reason, "invalid parameters");
  assert.strictEqual(info, 'method: create_series. args: "[$prices, s1, ser_1, XX, 100]"');
  return updates.length;
}

/** Every message has to be whole frames, counted as JavaScript counts. */
async function lengths() {
  const socket = new WebSocket(`wss://${server}`, { origin: "https://www.tradingview.com" });
  const frame = (payload) => `~m~${payload.length}~m~${payload}`;
  const say = (m, p) => socket.send(frame(JSON.stringify({ m, p })));
  socket.on("open", () => {
    say("set_auth_token", ["sim-token"]);
    say("quote_create_session", ["qs_1"]);
    say("quote_add_symbols", ["qs_1", "BIST:ŞİŞE", "KRX:005930", "HOSE:VCB", "OANDA:EURUSD"]);
  });
  let [frames, beyond] = [0, 0];
  await until((done) => socket.on("message", (data) => {
    let rest = data.toString();
    while (rest !== "") {
      const [head, length] = /^~m~(\d+)~m~/.exec(rest) ?? assert.fail(rest);
      const payload = rest.slice(head.length, head.length + Number(length));
      assert.strictEqual(payload.length, Number(length));
      if (!payload.startsWith("~h~")) {
        JSON.parse(payload);
      }
      frames += 1;
      beyond += /[^\x00-\x7f]/.test(payload) ? 1 : 0;
      rest = rest.slice(head.length + payload.length);
    }
    if (frames > 60 && beyond > 20) {
      done();
    }
  }));
  socket.close();
  return frames;
}

/** Heartbeats are answered for longer than the simulator would wait for an echo. */
async function beats(client) {
  let count = 0;
  await until((done) => client.onPing(() => (count += 1) === 6 && done()));
  assert(client.isOpen);
  return count;
}

async function live() {
  const client = new TradingView.Client({ server });
  client.onError((...problem) => {
    throw new Error(JSON.stringify(problem));
  });
  await until((done) => client.onConnected(done));
  const pings = beats(client);
  const events = await quotes(client);
  const updates = await charts(client);
  const frames = await lengths();
  const count = await pings;
  const gone = until((done) => client.onDisconnected(done));
  await client.end();
  await gone;

  // A token that is not good: the venue says why and closes.
  const stranger = new TradingView.Client({ server });
  const said = until((done) => stranger.onError((...words) => done(words)));
  const left = until((done) => stranger.onDisconnected(done));
  stranger.send("set_auth_token", ["not-this-one"]);
  assert.deepStrictEqual(await said, ["Client critical error:", ["bad auth token"]]);
  await left;
  return `${events} quotes, ${updates} bars, ${frames} frames counted, ${count} heartbeats`;
}

const late = setTimeout(() => {
  console.log("failed: did not finish in time");
  process.exit(1);
}, WITHIN_MS);

live().then(
  (words) => {
    console.log(`ok, ${words}`);
    clearTimeout(late);
    process.exit(0);
  },
  (problem) => {
    console.log(`failed: ${problem.stack ?? JSON.stringify(problem)}`);
    process.exit(1);
  },
);
