"""Takes ticks as JSON from a NATS server and triggers each as an event of a server that speaks the Pusher protocol.

Used by ./bench, for a server that is fed over HTTP: `bench_relay.py NATS_HOST:PORT SERVER_HOST:PORT APP KEY SECRET`.
"""

import hashlib
import hmac
import http.client
import json
import re
import socket
import sys
import time

# Events in one request: what such servers take by default.
EVENTS_MAX = 10


def main(nats, server, app, key, secret):
    host, port = nats.rsplit(":", 1)
    bus = socket.create_connection((host, int(port)))
    bus.sendall(b'CONNECT {"verbose":false}\r\nSUB json.> 1\r\nPING\r\n')
    http_api = http.client.HTTPConnection(server, timeout=10)
    http_api.connect()
    http_api.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    path = f"/apps/{app}/batch_events"
    buffer, pending = b"", []
    print("relay", flush=True)
    while True:
        piece = bus.recv(1 << 16)
        if not piece:
            return
        buffer += piece
        buffer, ticks = messages(buffer, bus)
        pending += ticks
        while pending:
            batch, pending = pending[:EVENTS_MAX], pending[EVENTS_MAX:]
            post(http_api, path, key, secret, batch)


def messages(buffer, bus):
    """The payloads of the whole messages at the start of the buffer, and what is left of it."""
    ticks, at = [], 0
    while True:
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return buffer[at:], ticks
        line = buffer[at:end]
        found = re.match(rb"MSG json\.[^.]+\.(\S+) \S+ (\d+)$", line)
        if found:
            last = end + 2 + int(found[2])
            if len(buffer) < last + 2:
                return buffer[at:], ticks
            ticks.append((found[1].decode(), buffer[end + 2 : last].decode()))
            at = last + 2
            continue
        if line == b"PING":
            bus.sendall(b"PONG\r\n")
        at = end + 2


def post(api, path, key, secret, batch):
    body = json.dumps({"batch": [{"name": "tick", "channel": symbol, "data": tick} for symbol, tick in batch]})
    query = (
        f"auth_key={key}&auth_timestamp={int(time.time())}&auth_version=1.0"
        f"&body_md5={hashlib.md5(body.encode()).hexdigest()}"
    )
    signature = hmac.new(secret.encode(), f"POST\n{path}\n{query}".encode(), hashlib.sha256).hexdigest()
    api.request("POST", f"{path}?{query}&auth_signature={signature}", body, {"Content-Type": "application/json"})
    answer = api.getresponse()
    words = answer.read()
    if answer.status != 200:
        raise SystemExit(f"the server says {answer.status}: {words[:300]!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
