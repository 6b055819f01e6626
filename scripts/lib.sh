# What the scripts share. Sourced, not run.
# shellcheck shell=bash

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export root

# Where servers and cargo are found for users whose PATH lacks these.
PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"

say() { printf '%s\n' "$*"; }

# fail TEXT: says why on standard error and ends the script.
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# need COMMAND PACKAGE...: makes sure that the command is there, by installing Debian packages where that is possible.
need() {
  local command=$1
  shift
  if command -v "$command" >/dev/null 2>&1; then return 0; fi
  install_packages "$@"
  command -v "$command" >/dev/null 2>&1 || fail "'$command' is still missing after installing: $*"
}

# install_packages PACKAGE...
install_packages() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then fail "please install: apt-get install $*"; fi
    as_root=(sudo -n)
  fi
  command -v apt-get >/dev/null 2>&1 || fail "please install what this system calls: $*"
  say "installing $* (apt-get)"
  local log
  log=$(mktemp)
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends)
  # The package lists of a fresh machine are empty or old: only then they are fetched.
  if ! "${apt[@]}" install "$@" >"$log" 2>&1 </dev/null \
    && ! { "${apt[@]}" update && "${apt[@]}" install "$@"; } >"$log" 2>&1 </dev/null; then
    tail -n 5 "$log" >&2
    rm -f "$log"
    fail "could not install: $*"
  fi
  rm -f "$log"
}

# need_rust: cargo, and the C compiler and linker that Rust and one of the crates (ring) need.
need_rust() {
  command -v cargo >/dev/null 2>&1 || fail "please install Rust's toolchain (rustup)"
  need cc gcc libc6-dev
}

# env_value NAME: the value of a variable as the services see it: from the environment, else from .env.
# Good enough to see whether something is set; the services read the file themselves.
env_value() {
  if [ -n "${!1+set}" ]; then
    printf '%s' "${!1}"
  elif [ -f "$root/.env" ]; then
    sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*[\"']?([^\"'#]*).*/\2/p" "$root/.env" | tail -n 1
  fi
}

# listening PORT: whether any process listens on this TCP port, on any address.
listening() {
  local hex
  hex=$(printf '%04X' "$1")
  grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6
}

# http_status ADDR PATH: the status code of a GET, or nothing. Needs no tool that a fresh machine lacks.
http_status() {
  local status
  status=$( (exec 3<>"/dev/tcp/${1%:*}/${1##*:}" \
    && printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$2" "$1" >&3 \
    && IFS=' ' read -r -t 5 _ code _ <&3 && printf '%s' "$code") 2>/dev/null) || true
  printf '%s' "$status"
}

# need_venv: Python that can make environments of its own.
need_venv() {
  need python3 python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
}

# venv NAME PACKAGE==VERSION...: sets VENV to a Python environment with these packages (from PyPI), made once.
venv() {
  local name=$1
  shift
  need_venv
  VENV="$root/target/tools/$name"
  local made="$VENV/made-with"
  if [ "$(cat "$made" 2>/dev/null)" != "$*" ]; then
    say "installing $* into target/tools/$name (PyPI)"
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check "$@"
    printf '%s' "$*" >"$made"
  fi
}
