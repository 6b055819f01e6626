"""Starts and stops what ./bench measures. Every process dies with this one, and every load has an end of its own."""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
OUT = ROOT / "target" / "bench"

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = str(CORES[0])
LOAD_CORES = ",".join(map(str, CORES[1:] or CORES))

STOP_WITHIN_S = 8

# Where ./bench installs the server that comes as a crate.
SOCKUDO = ROOT / "target" / "peers" / "sockudo" / "bin" / "sockudo"


class Trouble(Exception):
    """A row that cannot be measured."""


class Process:
    """One process, its log, and where it listens."""

    def __init__(self, name, command, cores, env=None):
        OUT.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log = OUT / f"{name}.log"
        out = open(self.log, "wb")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("NATS_", "LOADGEN_", "CTRADER_"))}
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", "taskset", "-c", cores, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=OUT,
            env=clean | {key: str(value) for key, value in (env or {}).items()},
        )
        out.close()
        self.pid = self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern, within_s=20):
        """The first group of the pattern in the log, as soon as it is there."""
        deadline = time.monotonic() + within_s
        while True:
            found = re.search(pattern, self.text())
            if found:
                return found.group(found.lastindex or 0)
            if self.process.poll() is not None:
                raise Trouble(f"{self.name} ended with {self.process.returncode}: {self.text()[-300:]}")
            if time.monotonic() > deadline:
                raise Trouble(f"{self.name} did not come within {within_s} s")
            time.sleep(0.02)

    def stop(self, how=signal.SIGTERM, within_s=STOP_WITHIN_S):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(within_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def last_json(self):
        lines = [line for line in self.text().splitlines() if line.startswith("{")]
        return json.loads(lines[-1]) if lines else {}

    def used(self):
        """CPU seconds and resident bytes so far."""
        nanos = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                nanos += int((task / "schedstat").read_text().split()[0])
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        resident = re.search(r"VmRSS:\s+(\d+) kB", status)  # one that has just ended has none
        return nanos / 1e9, int(resident[1]) * 1024 if resident else 0


class Server(Process):
    """Something clients connect to."""

    url = ""
    metrics = ""

    def number(self, name):
        """The sum of a metric over its labels."""
        text = fetch(self.metrics)
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(name + r"[ {]", line))


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def answers(address):
    host, port = address.rsplit(":", 1)
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


class Rig:
    """Everything that is running."""

    def __init__(self):
        self.running = []
        self.count = 0
        self.help = subprocess.run([BIN / "ws-gateway", "--help"], capture_output=True, text=True).stdout
        self.bus = None
        self.monitor = ""

    def serves(self, setting):
        """Whether the gateway knows a setting (and does not say that it is not served yet)."""
        line = re.search(rf"^ *{setting} .*$", self.help, re.MULTILINE)
        return bool(line) and "not served" not in line[0]

    def keep(self, process):
        self.running.append(process)
        return process

    def stop(self, *processes):
        for process in processes:
            process.stop()
            if process in self.running:
                self.running.remove(process)

    def stop_all(self):
        for process in reversed(self.running):
            with contextlib.suppress(Exception):
                process.stop(within_s=3)
        self.running.clear()

    def stop_all_but_bus(self):
        for process in reversed([process for process in self.running if process.name != "bus"]):
            with contextlib.suppress(Exception):
                process.stop(within_s=3)
        self.running = [process for process in self.running if process.name == "bus"]

    def start_bus(self):
        """The nats-server of the whole run: bus of the gateway, and on its WebSocket port a baseline is another one."""
        config = OUT / "bus.conf"
        config.write_text('listen: "127.0.0.1:-1"\nhttp: "127.0.0.1:-1"\n')
        bus = self.keep(Process("bus", ["nats-server", "-c", config], LOAD_CORES))
        self.bus = "nats://" + bus.wait_for(r"Listening for client connections on (\S+)")
        self.monitor = "http://" + bus.wait_for(r"Starting http monitor on (\S+)")
        return bus

    def bus_subscribes(self):
        return json.loads(fetch(self.monitor + "/subsz"))["num_inserts"]

    def name(self, what):
        self.count += 1
        return f"{self.count:03}-{what}"

    def feed(self, symbols, ticks_per_s, seconds=120, bus=None, options=()):
        command = [BIN / "loadgen-feed", "--symbols", symbols, "--ticks-per-s", ticks_per_s, "--seconds", seconds]
        command += ["--nats-url", bus or self.bus, *options]
        feed = self.keep(Process(self.name("feed"), command, LOAD_CORES))
        feed.wait_for(r'"what":"feed"')
        return feed

    def gateway(self, flush_ms=0, env=None, wrap=(), core=SERVER_CORE, within_s=20):
        settings = {
            "NATS_URL": self.bus, "LOG_FORMAT": "json", "LOG": "info,client=warn", "ADMIN_ADDR": "127.0.0.1:0",
            "WS_ADDR": "127.0.0.1", "WS_PORT": 0, "PORT": "", "GATEWAY_VENUES": "bench", "MAX_CONNECTIONS": 19_500,
            "DRAIN_MS": 0,
        }
        if self.serves("FLUSH_MS"):
            settings["FLUSH_MS"] = flush_ms
        if self.serves("WRITERS"):
            settings["WRITERS"] = 1
        command = [*wrap, BIN / "ws-gateway"]
        gateway = self.keep(Server(self.name("gateway"), command, core, settings | (env or {})))
        addr = gateway.wait_for(r'"addr":"([^"]+)"[^\n]*"what":"websocket"|"what":"websocket"[^\n]*"addr":"([^"]+)"', within_s)
        is_tls = bool(env and env.get("TLS_CERT_FILE"))
        gateway.url = f"{'wss' if is_tls else 'ws'}://{addr}/ws"
        admin = gateway.wait_for(r'"addr":"([^"]+)"[^\n]*"what":"admin"|"what":"admin"[^\n]*"addr":"([^"]+)"', within_s)
        gateway.metrics = f"http://{admin}/metrics"
        deadline = time.monotonic() + within_s
        while True:
            with contextlib.suppress(OSError):
                if fetch(f"http://{admin}/readyz"):
                    break
            if time.monotonic() > deadline:
                raise Trouble("the gateway is not ready")
            time.sleep(0.1)
        # Its first look at the venue: a beat and the catalogue.
        time.sleep(0.3 if not wrap else 3)
        return gateway

    def axum(self, wrap=()):
        command = [*wrap, BIN / "axum-plain", "--nats-url", self.bus]
        server = self.keep(Server(self.name("axum"), command, SERVER_CORE))
        server.url = "ws://" + server.wait_for(r'"addr":"([^"]+)"', 20 if not wrap else 60) + "/ws"
        return server

    def calibrator(self, clients, symbols, ticks_per_s, window_ms=0, seconds=60):
        command = [BIN / "calibrator", "--clients", clients, "--symbols", symbols, "--ticks-per-s", ticks_per_s]
        command += ["--window-ms", window_ms, "--seconds", seconds]
        server = self.keep(Server(self.name("calibrator"), command, SERVER_CORE))
        server.url = "ws://" + server.wait_for(r'"addr":"([^"]+)"') + "/ws"
        return server

    def nats(self):
        """nats-server as the one that serves browsers."""
        config = OUT / "nats-ws.conf"
        config.write_text(
            'listen: "127.0.0.1:-1"\nmax_connections: 19500\nwebsocket { listen: "127.0.0.1:-1", no_tls: true }\n'
        )
        server = self.keep(Server(self.name("nats"), ["nats-server", "-c", config], SERVER_CORE, {"GOMAXPROCS": 1}))
        server.bus = "nats://" + server.wait_for(r"Listening for client connections on (\S+)")
        server.url = "ws://" + server.wait_for(r"Listening for websocket clients on ws://(\S+)") + "/"
        return server

    def sockudo(self):
        """Sockudo as the one that serves browsers: one app, nothing stored, nothing limited."""
        if not SOCKUDO.exists():
            raise Trouble("Sockudo is not installed")
        port = free_port()
        app = {
            "ID": "bench", "KEY": "bench-key", "SECRET": "bench-secret", "MAX_CONNECTIONS": 20_000,
            "MAX_BACKEND_EVENTS_PER_SECOND": 1_000_000, "MAX_EVENT_BATCH_SIZE": 10,
        }
        settings = {f"SOCKUDO_DEFAULT_APP_{name}": value for name, value in app.items()} | {
            "HOST": "127.0.0.1", "PORT": port, "SOCKUDO_MAX_CONNECTIONS": 20_000, "METRICS_ENABLED": "false",
            "RATE_LIMITER_ENABLED": "false", "ADAPTER_DRIVER": "local", "CACHE_DRIVER": "memory", "QUEUE_DRIVER": "none",
            "RATE_LIMITER_DRIVER": "memory", "SOCKUDO_LOG_PROD": "warn", "TOKIO_WORKER_THREADS": 1,
        }
        # Its settings file is looked for where it runs.
        server = self.keep(Server(self.name("sockudo"), [SOCKUDO], SERVER_CORE, settings))
        server.address = f"127.0.0.1:{port}"
        server.url = f"ws://{server.address}/app/bench-key?protocol=7&client=bench&version=1"
        deadline = time.monotonic() + 20
        while not answers(server.address):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise Trouble(f"Sockudo did not come: {server.text()[-300:]}")
            time.sleep(0.05)
        return server

    def relay(self, server):
        """Feeds Sockudo over HTTP with what the feed says on the bus."""
        command = [sys.executable, ROOT / "scripts" / "bench_relay.py", self.bus.removeprefix("nats://"), server.address]
        relay = self.keep(Process(self.name("relay"), [*command, "bench", "bench-key", "bench-secret"], LOAD_CORES))
        relay.wait_for("relay")

    def load_process(self, server, name="load", wrap=(), **options):
        """A load tool at work; see load()."""
        report = OUT / (self.name(name) + ".json")
        values = {
            "url": server.url, "source": "bench", "fine-stamps": True, "pid": server.pid, "seconds": 2, "warmup": 1,
            "connect-rate": 5000, "json": report, "metrics": server.metrics or None,
        } | {key.replace("_", "-"): value for key, value in options.items()}
        if isinstance(values.get("symbols"), int):
            values["symbols"] = ",".join(f"S{number:02}" for number in range(values["symbols"]))
        command = [*wrap, BIN / "loadgen"]
        for key, value in values.items():
            if value is True:
                command.append(f"--{key}")
            elif value is not None:
                command += [f"--{key}", value]
        process = self.keep(Process(report.stem, command, LOAD_CORES))
        process.report = report
        process.began = time.monotonic(), self.foreign_cpu_s()
        return process

    def foreign_cpu_s(self):
        """CPU seconds that this machine has spent so far on anything but this run."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
        for process in self.running:
            with contextlib.suppress(OSError):
                ours += process.used()[0]
        return busy_s() - ours

    def finish(self, process, within_s=120):
        """The report of a load tool that has done its work."""
        try:
            process.process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.stop()
            raise Trouble(f"the load did not end within {within_s} s") from None
        self.stop(process)
        if not process.report.exists():
            raise Trouble(f"no report: {process.text()[-300:]}")
        report = json.loads(process.report.read_text())
        began, foreign = process.began
        report["foreign_cores"] = max(0, self.foreign_cpu_s() - foreign) / (time.monotonic() - began)
        return report

    def load(self, server, **options):
        """One run of the load tool against a server; its report."""
        return self.finish(self.load_process(server, **options))


def busy_s():
    """CPU seconds of the cores of this run that were not idle."""
    busy = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if re.fullmatch(r"cpu\d+", name) and int(name[3:]) in CORES:
            # Without idle, waiting for disks, and guests (which are counted as user already).
            busy += sum(int(field) for index, field in enumerate(fields[:8]) if index not in (3, 4))
    return busy / os.sysconf("SC_CLK_TCK")


def kernel_slab_bytes():
    return int(re.search(r"Slab:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024


def kernel_tcp_bytes():
    text = pathlib.Path("/proc/net/sockstat").read_text()
    return int(re.search(r"TCP:.* mem (\d+)", text)[1]) * os.sysconf("SC_PAGE_SIZE")


def queued_bytes(port):
    """Kernel memory of what waits to be sent, for each connection of a listening port."""
    text = subprocess.run(
        ["ss", "-tmnH", "state", "established", f"( sport = :{port} )"], capture_output=True, text=True
    ).stdout
    return [int(value) for value in re.findall(r"skmem:\([^)]*?,w(\d+),", text)]


def hot_functions(file, count=12):
    """The functions with the most instructions of a callgrind file: (share, name)."""
    text = subprocess.run(["callgrind_annotate", file], capture_output=True, text=True).stdout
    (OUT / "callgrind.txt").write_text(text)
    found = re.findall(r"^ *[\d,]+ \(([ \d.]+%)\)  (?:\S*?:)?(.+?)(?: \[[^\]]*\])?$", text, re.MULTILINE)
    return [(part.strip(), name[:110]) for part, name in found if "PROGRAM TOTALS" not in name][:count]


def instructions(text):
    """What callgrind counted."""
    found = re.search(r"Collected : (\d+)", text)
    if not found:
        raise Trouble("callgrind counted nothing: " + text[-200:])
    return int(found[1])


def machine():
    """What it was measured on."""
    cpu = re.search(r"model name\s+: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    out = lambda *command: subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    return [
        ["date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())],
        ["commit", out("git", "rev-parse", "--short", "HEAD")
         + (" with changes that are not committed" if out("git", "status", "--porcelain", "-uno") else "")],
        ["ws-gateway built", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime((BIN / "ws-gateway").stat().st_mtime))],
        ["CPU", f"{cpu[1] if cpu else 'unknown'}, {len(CORES)} cores used"],
        ["memory", f"{memory / 2**20:.0f} GiB"],
        ["kernel", " ".join(os.uname()[i] for i in (0, 2))],
        ["rustc", out("rustc", "--version")],
        ["nats-server", out("nats-server", "--version").replace("nats-server: ", "")],
    ]
