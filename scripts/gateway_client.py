"""A WebSocket client of a gateway on Python's standard library alone, for a few subscriptions. Used by scripts here."""

import base64
import json
import os
import socket
import struct
import time


class NotInTime(Exception):
    """What was waited for did not come; the text says what."""


class Gateway:
    """A connection; `at` is HOST:PORT. Whatever waits does so until `deadline`, a reading of time.monotonic."""

    def __init__(self, at, within_s=10.0):
        host, _, port = at.rpartition(":")
        self.within_s = within_s
        self.connection = socket.create_connection((host, int(port)), timeout=within_s)
        key = base64.b64encode(os.urandom(16)).decode()
        self.connection.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.stream = self.connection.makefile("rb")
        status = self.stream.readline()
        if b" 101 " not in status:
            raise NotInTime(f"no WebSocket: {status!r}")
        while self.stream.readline() not in (b"\r\n", b""):
            pass

    def send(self, message):
        payload = json.dumps(message).encode()
        assert len(payload) < 126
        # A mask of zeros leaves the payload as it is.
        self.connection.sendall(struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload)

    def subscribe(self, symbol, source=None):
        self.send({"type": "subscribe", "symbols": [symbol], **({"source": source} if source else {})})

    def expect(self, what, wanted, forbidden=lambda message: False):
        """The next message for which `wanted` is true; none before it may be `forbidden`."""
        deadline = time.monotonic() + self.within_s
        while time.monotonic() < deadline:
            message = self.receive()
            if message is None:
                raise NotInTime(f"{what}: the gateway closed")
            if forbidden(message):
                raise NotInTime(f"while waiting for {what}: {json.dumps(message)}")
            if wanted(message):
                return message
        raise NotInTime(f"{what}: not within {self.within_s:g} s")

    def receive(self):
        """The next text message; {} for control frames; None at the end."""
        head = self.stream.read(2)
        if len(head) < 2 or head[0] & 0xF == 8:
            return None
        length = head[1]
        if length == 126:
            length = struct.unpack("!H", self.stream.read(2))[0]
        elif length == 127:
            length = struct.unpack("!Q", self.stream.read(8))[0]
        payload = self.stream.read(length)
        return json.loads(payload) if head[0] & 0xF == 1 else {}


def is_tick(message, symbol, source=None):
    of_source = source is None or message.get("source") == source
    return message.get("type") == "tick" and message.get("symbol") == symbol and of_source
