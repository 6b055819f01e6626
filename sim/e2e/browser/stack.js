// The real programs on free ports: nats-server, each venue's simulator and ingest, ws-gateway. Whatever was started is
// killed when this process ends, however it ends.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const ROOT = resolve(import.meta.dirname, '../../..');
const BINARIES = process.env.TICKCAST_BIN_DIR ?? join(process.env.CARGO_TARGET_DIR ?? join(ROOT, 'target'), 'debug');
const LOG_LINES_KEPT = 40;

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

/** Waits until `look` answers something true, or says after `within_ms` what was missing. */
export async function until(what, look, within_ms = 20000) {
  const deadline = Date.now() + within_ms;
  for (let last; ; await new Promise((done) => setTimeout(done, 50))) {
    try { last = await look(); } catch (error) { last = undefined; if (Date.now() > deadline) throw error; }
    if (last) return last;
    if (Date.now() > deadline) throw new Error(`not within ${within_ms / 1000} s: ${what}`);
  }
}

class Program {
  constructor(name, command, args, env, cwd) {
    this.name = name; this.lines = []; this.addresses = {};
    this.child = spawn(command, args, { cwd, env: { PATH: process.env.PATH, HOME: cwd, LOG: 'info', LOG_FORMAT: 'json', ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(this.child);
    this.ended = new Promise((done) => this.child.on('close', () => { running.delete(this.child); done(); }));
    this.child.on('error', (error) => this.lines.push(String(error)));
    for (const stream of [this.child.stdout, this.child.stderr]) createInterface({ input: stream }).on('line', (line) => this.read(line));
  }

  read(line) {
    if (this.lines.push(line) > LOG_LINES_KEPT) this.lines.shift();
    try {
      const entry = JSON.parse(line), { message, what, addr } = entry.fields ?? entry;
      if (message === 'listening' && what) this.addresses[what] = addr;
    } catch { /* not every line is JSON */ }
  }

  /** The address on which the program listens for `what` (admin, venue, websocket). */
  async address(what) {
    return until(`${this.name} listening (${what})`, () => {
      if (this.child.exitCode !== null) throw new Error(`${this.name} ended with ${this.child.exitCode}:\n${this.lines.join('\n')}`);
      return this.addresses[what];
    }).catch((error) => { throw new Error(`${error.message}\n${this.lines.join('\n')}`); });
  }

  /** Ends the program; one that does not heed the signal within ten seconds is killed. */
  async kill(signal = 'SIGKILL') {
    this.child.kill(signal);
    const harder = setTimeout(() => this.child.kill('SIGKILL'), 10000);
    await this.ended;
    clearTimeout(harder);
  }
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts everything; `stop()` ends it and removes its folder. */
export async function startStack() {
  for (const name of ['sim-ctrader', 'ingest-ctrader', 'sim-tradingview', 'ingest-tradingview', 'ws-gateway']) {
    if (!existsSync(join(BINARIES, name))) throw new Error(`${name} is not built (cargo build --workspace), looked in ${BINARIES}`);
  }
  const folder = mkdtempSync(join(tmpdir(), 'tickcast-browser-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

  const nats = new Program('nats-server', 'nats-server', ['-a', '127.0.0.1', '-p', '-1', '-js', '-sd', join(folder, 'nats'), '--ports_file_dir', folder], {}, folder);
  const natsUrl = await until('nats-server writes its ports', () => {
    const file = readdirSync(folder).find((name) => name.endsWith('.ports'));
    return file && JSON.parse(readFileSync(join(folder, file), 'utf8')).nats[0];
  });

  const admins = {};
  /** A venue's simulator and its ingest; `settings` tells the ingest how to reach what listens on a port and who signed for it. */
  const startVenue = async (name, ticks_per_s, settings) => {
    const ca = join(folder, `${name}-ca.pem`);
    const sim = new Program(`sim-${name}`, join(BINARIES, `sim-${name}`), [], { SIM_ADDR: '127.0.0.1:0', ADMIN_ADDR: '127.0.0.1:0', SIM_CA_FILE: ca, SIM_SYMBOLS: '200', SIM_TICKS_PER_S: ticks_per_s }, folder);
    const port = (await sim.address('venue')).split(':').pop();
    admins[name] = await sim.address('admin');
    const ingest = new Program(`ingest-${name}`, join(BINARIES, `ingest-${name}`), [], {
      NATS_URL: natsUrl, ADMIN_ADDR: '127.0.0.1:0', BACKOFF_MIN_MS: '3000', BACKOFF_MAX_MS: '6000', HISTORY_TICKS: '1000', ...settings(port, ca),
    }, folder);
    return [ingest, sim];
  };
  const venues = [...await startVenue('ctrader', '20', (port, ca) => ({
    CTRADER_HOST: '127.0.0.1', CTRADER_PORT: port, CTRADER_CA_FILE: ca,
    CTRADER_CLIENT_ID: 'sim-app', CTRADER_CLIENT_SECRET: 'sim-secret', CTRADER_ACCESS_TOKEN: 'sim-token', CTRADER_ACCOUNT_ID: '1000001',
  })), ...await startVenue('tradingview', '5', (port, ca) => ({ TRADINGVIEW_URL: `wss://127.0.0.1:${port}/socket.io/websocket`, TRADINGVIEW_CA_FILE: ca, TRADINGVIEW_DIALS_PER_MINUTE: '60' }))];

  const gateways = new Set();
  /** One more gateway, on this port. */
  const startGateway = async (port, settings = {}) => {
    const gateway = new Program('ws-gateway', join(BINARIES, 'ws-gateway'), [], { NATS_URL: natsUrl, ADMIN_ADDR: '127.0.0.1:0', WS_ADDR: '127.0.0.1', WS_PORT: String(port), ...settings }, folder);
    gateways.add(gateway);
    gateway.ended.then(() => gateways.delete(gateway));
    await gateway.address('websocket');
    return gateway;
  };

  const port = await freePort();
  const stack = {
    url: `http://127.0.0.1:${port}/`,
    gateway: await startGateway(port),
    startGateway,
    async restartGateway() { stack.gateway = await startGateway(port); },
    /** Switches a fault of a venue's simulator: POST on or once, DELETE off. */
    async fault(method, venue, name) {
      const answer = await fetch(`http://${admins[venue]}/faults/${name}`, { method });
      if (!answer.ok) throw new Error(`${method} /faults/${name}: ${answer.status}`);
    },
    /** The last log lines of every program, for a failed test. */
    logs: () => [nats, ...venues, ...gateways].map(({ name, lines }) => `--- ${name}\n${lines.slice(-4).join('\n')}`).join('\n'),
    async stop() { for (const program of [...gateways, ...venues, nats]) await program.kill('SIGTERM'); },
  };
  return stack;
}
