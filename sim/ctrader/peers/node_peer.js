// Uses @reiryoku/ctrader-layer against the simulator as a client program would.
//
// usage: node_peer.js MODULES HOST PORT SYMBOLS   (MODULES: the node_modules folder the package is installed in)
//
// Logs in, reads the symbols, subscribes, and goes on until every kind of event has come. Prints one line, and exits 1
// where something was not as it must be. The certificate is checked: NODE_EXTRA_CA_CERTS names the simulator's.
"use strict";

const assert = require("node:assert");
const path = require("node:path");

const [modules, host, port, symbols] = process.argv.slice(2);
const { CTraderConnection } = require(path.join(modules, "@reiryoku/ctrader-layer"));

const ctidTraderAccountId = 1000001;
const WATCHED = ["EURUSD", "XAUUSD", "USDJPY", "US100.cash"];
const WITHIN_MS = 60_000;

/** The text of the answer to a request that has to be refused. */
async function refusal(connection, name, fields) {
  try {
    await connection.sendCommand(name, fields);
  } catch (answer) {
    return answer.errorCode;
  }
  throw new Error(`${name} was not refused`);
}

// 64-bit numbers come as text, absent fields as null.
const kind = (event) => `${event.bid !== null ? "bid" : ""}${event.ask !== null ? "ask" : ""}`;

function check(events, digits) {
  assert.strictEqual(kind(events[0]), "bidask");
  assert.notStrictEqual(events[0].sessionClose, null);
  const step = 10 ** (5 - digits);
  let [bid, ask, time] = [0, 0, 1_700_000_000_000];
  for (const event of events) {
    bid = event.bid === null ? bid : Number(event.bid);
    ask = event.ask === null ? ask : Number(event.ask);
    assert(bid > 0 && bid <= ask && bid % step === 0 && ask % step === 0, JSON.stringify(event));
    assert(Number(event.timestamp) >= time, JSON.stringify(event));
    time = Number(event.timestamp);
  }
}

async function live() {
  const connection = new CTraderConnection({ host, port: Number(port) });
  await connection.open();
  connection.sendHeartbeat();
  assert.strictEqual(
    await refusal(connection, "ProtoOASymbolsListReq", { ctidTraderAccountId }),
    "CH_CLIENT_NOT_AUTHENTICATED",
  );
  await connection.sendCommand("ProtoOAApplicationAuthReq", { clientId: "sim-app", clientSecret: "sim-secret" });
  await connection.sendCommand("ProtoOAAccountAuthReq", { accessToken: "sim-token", ctidTraderAccountId });
  const listed = await connection.sendCommand("ProtoOASymbolsListReq", { ctidTraderAccountId });
  assert.strictEqual(listed.symbol.length, Number(symbols));
  const wanted = WATCHED.map((name) => listed.symbol.find((one) => one.symbolName === name).symbolId);
  const known = await connection.sendCommand("ProtoOASymbolByIdReq", { ctidTraderAccountId, symbolId: wanted });
  const digits = new Map(known.symbol.map((one) => [one.symbolId, one.digits]));
  assert.deepStrictEqual(wanted.map((key) => digits.get(key)), [5, 2, 3, 2]);

  const events = new Map(wanted.map((key) => [key, []]));
  const enough = new Promise((resolve) => {
    connection.on("ProtoOASpotEvent", (event) => {
      events.get(event.descriptor.symbolId).push(event.descriptor);
      const mixed = (list) => list.length > 40 && new Set(list.map(kind)).size === 3;
      if ([...events.values()].every(mixed)) {
        resolve();
      }
    });
  });
  const subscription = { ctidTraderAccountId, symbolId: wanted, subscribeToSpotTimestamp: true };
  await connection.sendCommand("ProtoOASubscribeSpotsReq", subscription);
  await enough;
  for (const [key, list] of events) {
    check(list, digits.get(key));
  }
  assert.strictEqual(await refusal(connection, "ProtoOASubscribeSpotsReq", subscription), "ALREADY_SUBSCRIBED");
  connection.sendHeartbeat();
  await connection.sendCommand("ProtoOAUnsubscribeSpotsReq", { ctidTraderAccountId, symbolId: wanted });
  connection.close();
  return [...events.values()].reduce((sum, list) => sum + list.length, 0);
}

const late = setTimeout(() => {
  console.log("failed: did not finish in time");
  process.exit(1);
}, WITHIN_MS);

live().then(
  (count) => {
    console.log(`ok, ${count} events`);
    clearTimeout(late);
  },
  (problem) => {
    console.log(`failed: ${problem.stack ?? JSON.stringify(problem)}`);
    process.exit(1);
  },
);
