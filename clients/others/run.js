// Runs the programs of docs/clients.md as they stand there against the real system, and cuts their connections: none may lose
// a tick or get one twice, and each must go on where it stopped.
//
//   node run.js PYTHON     with the packages of check installed beside this file and in that Python
//
// The last line is "N passed, N failed".

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { startStack, until } from '../../sim/e2e/browser/stack.js';

const root = resolve(import.meta.dirname, '../..');
const CUTS = 3, TICKS_BETWEEN = 40, WITHIN_MS = 60000;

/** Forwards connections to a gateway, and cuts them when told to. */
class Line {
  constructor(port) {
    this.sockets = new Set();
    this.server = createServer((near) => {
      const far = connect(port, '127.0.0.1');
      const end = () => { near.destroy(); far.destroy(); this.sockets.delete(end); };
      this.sockets.add(end);
      for (const socket of [near, far]) socket.on('error', end).on('close', end);
      near.pipe(far).pipe(near);
    });
  }
  async open() {
    await new Promise((done) => this.server.listen(0, '127.0.0.1', done));
    this.address = `127.0.0.1:${this.server.address().port}`;
  }
  cut() { for (const end of [...this.sockets]) end(); }
  close() { this.cut(); this.server.close(); }
}

/** What one client printed, and whether it may have. */
class Account {
  ticks = 0; recovered = 0; faults = []; last = new Map();
  take(line) {
    let message;
    try { message = JSON.parse(line); } catch { return this.faults.push(`not a message: ${line.slice(0, 200)}`); }
    const { type, symbol, snapshot, epoch, seq, from, to } = message;
    if (type === 'subscribeResponse') {
      if (message.results.some(({ status }) => status !== 'subscribed')) this.faults.push(line);
      if (message.results.every(({ recovered }) => recovered === true)) this.recovered += 1;
    }
    if (type !== 'tick' && type !== 'gap') return;
    const last = this.last.get(symbol);
    if (type === 'gap') this.faults.push(`nothing was too long ago: ${line}`), this.last.set(symbol, { ...last, seq: to, from });
    else {
      if (last ? snapshot || epoch !== last.epoch || seq !== last.seq + 1 : !snapshot) this.faults.push(`after ${last?.seq}: ${line}`);
      this.last.set(symbol, { epoch, seq });
      this.ticks += 1;
    }
  }
}

/** A program of the page, running. */
function run(command, args, address, account) {
  const child = spawn(command, args, { env: { ...process.env, TICKCAST: address }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  createInterface({ input: child.stdout }).on('line', (line) => account.take(line));
  createInterface({ input: child.stderr }).on('line', (line) => account.faults.push(line));
  child.on('error', (error) => account.faults.push(String(error)));
  const end = () => { try { process.kill(-child.pid, 'SIGKILL'); } catch { /* it ended before */ } };
  process.on('exit', end);
  return end;
}

/** The EventSource of a real browser. */
async function browse(script, address, account) {
  const { chromium } = await import(join(root, 'sim/e2e/browser/node_modules/playwright-core/index.mjs'));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
  const page = await browser.newPage();
  page.on('console', (entry) => { if (entry.type() === 'log') account.take(entry.text()); });
  // Any page of the gateway's own will do, best one that does nothing itself.
  await page.goto(`http://${address}/healthz`);
  await page.evaluate(script);
  return () => browser.close();
}

/** The programs on the page, by their headings. */
function programs() {
  const text = readFileSync(join(root, 'docs/clients.md'), 'utf8');
  return new Map([...text.matchAll(/^## (.*)\n[^]*?^```\w+\n([^]*?)^```$/gm)].map(([, heading, program]) => [heading, program]));
}

const [python] = process.argv.slice(2);
const page = programs();
const folder = mkdtempSync(join(tmpdir(), 'tickcast-clients-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const file = (name, heading) => {
  writeFileSync(join(folder, name), page.get(heading));
  return join(folder, name);
};
symlinkSync(join(import.meta.dirname, 'node_modules'), join(folder, 'node_modules'));

const rust = readFileSync(join(root, 'sim/e2e/examples/plain_client.rs'), 'utf8');
const binaries = process.env.TICKCAST_BIN_DIR ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug');
const clients = [
  ['Node, `ws`', (heading) => ['node', [file('client.mjs', heading)]]],
  ['Python, `websockets`', (heading) => [python, [file('client.py', heading)]]],
  ['Rust, `tokio-tungstenite`', () => [join(binaries, 'examples/plain_client'), []]],
  ['Shell, `curl -N`', (heading) => ['bash', [file('client.sh', heading)]]],
  ['Anything that can ask for a page', (heading) => [python, [file('poll.py', heading)]]],
];

let passed = 0, failed = 0;
const judge = (name, faults) => {
  if (faults.length) { failed += 1; console.log(`${name}: failed\n  ${faults.slice(0, 5).join('\n  ')}`); } else { passed += 1; console.log(`${name}: ok`); }
};

judge('the Rust program is the one on the page', rust.endsWith(page.get('Rust, `tokio-tungstenite`')) ? [] : ['they differ']);
const stack = await startStack();
await until('the venue is ready', async () => {
  const { data } = await (await fetch(`${stack.url}api/v1/status`)).json();
  return data.venues.find(({ source }) => source === 'ctrader')?.status === 'connected';
}, 40000);
const line = new Line(Number(new URL(stack.url).port));
await line.open();

const running = clients.map(([name, program]) => {
  const account = new Account();
  return { name, account, end: run(...program(name), line.address, account), cuts: 0, mark: 0 };
});
if (process.env.CHROMIUM) {
  const name = 'A web page, `EventSource`', account = new Account();
  running.push({ name, account, end: await browse(page.get(name), line.address, account), cuts: 0, mark: 0 });
} else console.log('browser test SKIPPED: no chromium on PATH (set CHROMIUM to one)');

const all = (what, is) => until(what, () => running.every((client) => client.account.faults.length || is(client.account, client)), WITHIN_MS)
  .catch((error) => running.filter((client) => !is(client.account, client)).forEach(({ account }) => account.faults.push(`${error.message} (${account.ticks} ticks)`)));
for (let cut = 0; cut <= CUTS; cut += 1) {
  running.forEach((client) => { client.mark = client.account.ticks; });
  await all('ticks go on', (account, { mark }) => account.ticks >= mark + TICKS_BETWEEN);
  if (cut < CUTS) {
    const before = new Map(running.map(({ account }) => [account, account.recovered]));
    line.cut();
    await all('every client is back where it stopped', (account) => account.recovered > before.get(account));
  }
}
for (const { name, account, end } of running) { await end(); judge(name, account.faults); }
if (failed) console.log(stack.logs());
line.close();
await stack.stop();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
