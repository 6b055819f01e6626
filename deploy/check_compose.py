"""Reads docker-compose.yml, the Dockerfile and .env.example, and checks what they name. Run by deploy/check."""

import json
import pathlib
import re
import subprocess
import sys

import yaml

DEPLOY = pathlib.Path(__file__).parent
ROOT = DEPLOY.parent
# Read by compose itself or by the script ./run, not by a program.
NOT_SETTINGS = {"COMPOSE_PROFILES"}
# Files that programs write themselves and that must outlive the container.
KEPT_FILES = {"CTRADER_TOKEN_FILE"}

problems = []


def need(condition, text):
    if not condition:
        problems.append(text)


def settings_of(program):
    """The variables in a program's --help."""
    text = subprocess.run([BIN / program, "--help"], check=True, capture_output=True, text=True).stdout
    names = re.findall(r"^ +([A-Z][A-Z0-9_]+) ", text, re.MULTILINE)
    need(len(names) > 5, f"--help of {program} names hardly any variable")
    return set(names)


def check_dockerfile():
    """Checks the Dockerfile; returns program by build target."""
    text = (DEPLOY / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages, programs, packages, copied = [], {}, [], []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, stage = re.fullmatch(r"(\S+)( AS (\S+))?", rest).groups()
            need(base in stages or ":" in base, f"Dockerfile: {base} is neither a stage nor an image with a version")
            stages.append(stage)
        elif word == "COPY" and rest.startswith("--from="):
            source = re.match(r"--from=(\S+) (\S+)", rest)
            need(source[1] in stages, f"Dockerfile: no stage {source[1]}")
            need(source[2].removeprefix("/out/") in packages, f"Dockerfile: {source[2]} is not built")
        elif word == "COPY":
            for path in rest.split()[:-1]:
                need(any(ROOT.glob(path)), f"Dockerfile: {path} does not exist")
                need(allowed(path), f"Dockerfile: {path} is kept out by Dockerfile.dockerignore")
                copied.append(path)
        elif word == "RUN" and "cargo build" in rest:
            packages = re.findall(r"-p (\S+)", rest)
            need("--locked" in rest and "--release" in rest, "Dockerfile: cargo build is not --locked --release")
            for package in packages:
                need(f"target/release/{package}" in rest, f"Dockerfile: {package} is not copied to /out")
        elif word == "ENTRYPOINT":
            programs[stages[-1]] = json.loads(rest)[0]
        elif word == "ENV" and stages[-1] in programs_with_settings:
            for name in re.findall(r"([A-Z_0-9]+)=", rest):
                need(name in settings[stages[-1]], f"Dockerfile: {stages[-1]} knows no variable {name}")
        elif word == "USER":
            need(rest not in ("root", "0"), "Dockerfile: runs as root")
    need("USER" in text, "Dockerfile: no USER")
    check_included(copied)

    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
            check=True, capture_output=True, cwd=ROOT,
        ).stdout
    )
    binaries = {
        target["name"]
        for package in metadata["packages"] if package["name"] in packages
        for target in package["targets"] if "bin" in target["kind"]
    }
    need(binaries >= set(packages), f"Dockerfile: no program comes out of {set(packages) - binaries}")
    for stage, program in programs.items():
        need(program in binaries, f"Dockerfile: {stage} starts {program}, which is not built")
    return programs


def check_included(copied):
    """What the sources take in from other folders is there when the image is built; what only their tests do need not be."""
    for source in (path for folder in ("shared", "services", "sim") for path in ROOT.glob(f"{folder}/*/src/**/*.rs")):
        if "test" in source.name or "tests" in source.parts:
            continue
        text = source.read_text().split("#[cfg(test)]")[0]
        for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
            path = (source.parent / name).resolve().relative_to(ROOT.resolve())
            there = any(path.match(known) or pathlib.Path(known) in path.parents for known in copied)
            need(there, f"Dockerfile: {path}, which {source.relative_to(ROOT)} includes, is not copied")


def allowed(path):
    """Whether Dockerfile.dockerignore (everything is out, `!` lets in) lets a path in."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    return any(path == line[1:] or path.startswith(line[1:] + "/") for line in lines if line.startswith("!"))


def check_compose(programs):
    compose = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    services, volumes = compose["services"], compose["volumes"]
    used, profiles = set(), set()
    for name, service in services.items():
        profiles.update(service.get("profiles", []))
        need("image" in service, f"{name}: no image name")
        target = (service.get("build") or {}).get("target")
        if target is None:
            need(re.search(r":\d", service["image"]), f"{name}: the image has no version")
            need("healthcheck" in service, f"{name}: no health check")
        else:
            need(target in programs, f"{name}: the Dockerfile has no target {target}")
            need((DEPLOY / service["build"]["context"]).resolve() == ROOT.resolve(), f"{name}: the context is not the root")
            for variable, value in (service.get("environment") or {}).items():
                need(variable in settings[target], f"{name}: {target} knows no variable {variable}")
                need(isinstance(value, str), f"{name}: {variable} must be quoted")
        for other, how in (service.get("depends_on") or {}).items():
            need(other in services, f"{name}: depends on {other}, which is none")
            need(how == {"condition": "service_healthy"}, f"{name}: does not wait until {other} is healthy")
            their = set(services.get(other, {}).get("profiles", []))
            need(their <= set(service.get("profiles", [])), f"{name}: depends on {other} of another profile")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                need((DEPLOY / source).is_file(), f"{name}: {source} does not exist")
            else:
                need(source in volumes, f"{name}: volume {source} is not declared")
                used.add(source)
        check_kept(name, service, target)
        for host in simulators_of(service):
            need(host in services, f"{name}: no service {host}")
            simulator = services.get(host, {}).get("environment", {})
            need(host == simulator.get("SIM_HOSTS"), f"{name}: no certificate for {host}")
            ca_files = [value for key, value in service["environment"].items() if key.endswith("_CA_FILE")]
            need(ca_files == [simulator.get("SIM_CA_FILE")], f"{name}: does not trust the file that {host} writes")
            need(mounts(service) == mounts(services.get(host, {})), f"{name}: shares no folder with {host}")
        for address in re.findall(r"//([a-z-]+):\d+", json.dumps(service.get("environment") or {})):
            need(address in services, f"{name}: speaks to {address}, which is none")
    need(used == set(volumes), f"volumes nobody uses: {set(volumes) - used}")
    need(services["ws-gateway"]["deploy"]["replicas"] >= 2, "ws-gateway: fewer than two replicas")
    chosen = dict(line.split("=") for line in (DEPLOY / ".env").read_text().splitlines() if line[:1].isalpha())
    need(chosen["COMPOSE_PROFILES"] in profiles, "deploy/.env: no such profile")

    check_venues(compose)

    backend = re.search(r"server-template \S+ (\d+) ([a-z-]+):(\d+)", (DEPLOY / "haproxy.cfg").read_text())
    need(backend[2] in services, f"haproxy.cfg: no service {backend[2]}")
    need(int(backend[1]) >= services["ws-gateway"]["deploy"]["replicas"], "haproxy.cfg: fewer slots than replicas")


def check_kept(name, service, target):
    """What a program keeps lies in a volume it may write to; it is kept where people give the program its secrets."""
    files = {key: value for key, value in (service.get("environment") or {}).items() if key in KEPT_FILES}
    if service.get("env_file"):
        for variable in KEPT_FILES & settings.get(target, set()):
            need(variable in files, f"{name}: {variable} is not set, what it keeps would be lost")
    writable = [volume.split(":")[1] for volume in service.get("volumes", [])
                if not volume.startswith(".") and not volume.endswith(":ro")]
    for variable, file in files.items():
        folder = str(pathlib.PurePosixPath(file).parent)
        need(folder in writable, f"{name}: {variable} does not lie in a volume that may be written to")
        # A new volume takes over the owner of the image's folder.
        owned = re.search(r"install -d -o (\S+) .*?(/\S+)", (DEPLOY / "Dockerfile").read_text())
        need(owned and owned[2] == folder, f"{name}: {folder} does not belong to the user of the image")


def simulators_of(service):
    """The hosts of the venue, where a service's settings name one."""
    environment = service.get("environment") or {}
    host = environment.get("CTRADER_HOST")
    url = re.match(r"wss://([a-z-]+):", environment.get("TRADINGVIEW_URL", ""))
    return [found for found in (host, url and url[1]) if found]


def mounts(service):
    """Volumes and where they are, without whether they may be written to."""
    return [volume.split(":")[:2] for volume in service.get("volumes", [])]


def check_venues(compose):
    """Each venue the gateways offer can be simulated and real, and is simulated unless somebody wants otherwise."""
    services = compose["services"]
    for venue in services["ws-gateway"]["environment"]["GATEWAY_VENUES"].split(","):
        for kind in ("sim", "live"):
            ingest = services.get(f"ingest-{kind}-{venue}", {})
            need(f"{kind}-{venue}" in ingest.get("profiles", []), f"no profile {kind}-{venue} with an ingest")
            need(("sim" in ingest.get("profiles", [])) == (kind == "sim"), f"ingest-{kind}-{venue}: profile sim is wrong")


def check_env_example():
    known = set().union(*settings.values()) | NOT_SETTINGS
    for line in (ROOT / ".env.example").read_text().splitlines():
        name = re.match(r"#? ?([A-Z][A-Z0-9_]*)=", line)
        if name:
            need(name[1] in known, f".env.example: nobody knows {name[1]}")


BIN = pathlib.Path(sys.argv[1]).resolve()
programs_with_settings = ["ingest-ctrader", "ingest-tradingview", "ws-gateway", "sim-ctrader", "sim-tradingview"]
settings = {program: settings_of(program) for program in programs_with_settings}
check_compose(check_dockerfile())
check_env_example()
print("\n".join(problems), end="\n" if problems else "")
sys.exit(1 if problems else 0)
