"""A made-up adb server: adb's own protocol on a socket, with a folder of this machine as the phone.

It speaks what the library adbutils sends for shells, raw commands and file transfers, and loses the
phone in the middle of the operations that it is told to. It is not adb: what a real daemon does is
the question of `experiments/devices`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Collection
from pathlib import Path

SERIAL = "FAKE1"
#: Of the protocol that adb 1.0.41 has: transports are asked for by serial.
_VERSION = "0029"


class FakeAdb(socketserver.ThreadingTCPServer):
    """The server and its phones.

    Args:
        states: serial -> state, as `adb devices` lists them.
        breaks: number of each shell, raw command or transfer that the connection breaks in.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, states: dict[str, str], breaks: Collection[int] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.states, self.breaks = states, frozenset(breaks)
        self.operations: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self._lock = threading.Lock()

    def breaks_now(self, kind: str) -> bool:
        """Count an operation; return whether the phone is unplugged in its middle."""
        with self._lock:
            self.operations[kind] += 1
            now = self.operations.total() in self.breaks
            self.broken[kind] += now
            return now


class _Connection(socketserver.BaseRequestHandler):
    server: FakeAdb
    request: socket.socket

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while (length := self._read(4)) is not None:
                if not self._serve(self._must_read(int(length, 16)).decode()):
                    return

    def _serve(self, command: str) -> bool:
        """Answer one request; return whether another may follow on this connection."""
        kind, _, rest = command.partition(":")
        if command == "host:version":
            self._say(b"OKAY", _VERSION)
        elif command in ("host:devices", "host:devices-l"):
            listed = self.server.states.items()
            self._say(b"OKAY", "".join(f"{serial}\t{state}\n" for serial, state in listed))
        elif command.startswith("host:tport:serial:"):
            return self._transport(command.removeprefix("host:tport:serial:"))
        elif kind in ("shell", "exec"):
            self._run(kind, rest)
        elif kind == "sync":
            self.request.sendall(b"OKAY")
            self._sync()
        else:
            self._say(b"FAIL", f"unknown host service '{command}'")
        return False

    def _transport(self, serial: str) -> bool:
        if self.server.states.get(serial) != "device":
            self._say(b"FAIL", f"device '{serial}' not found")
            return False
        self.request.sendall(b"OKAY" + struct.pack("<Q", 1))
        return True

    def _run(self, kind: str, command: str) -> None:
        self.request.sendall(b"OKAY")
        unplugged = self.server.breaks_now(kind)
        done = subprocess.run(
            ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        # Unplugged, it has had its effect, half of its output arrives, and nothing says so.
        half = len(done.stdout) // 2
        self.request.sendall(done.stdout[:half] if unplugged else done.stdout)

    def _sync(self) -> None:
        kind = self._must_read(4)
        (length,) = struct.unpack("<I", self._must_read(4))
        name = self._must_read(length).decode()
        if kind == b"STAT":
            mode = Path(name).stat().st_mode if Path(name).exists() else 0
            self.request.sendall(b"STAT" + struct.pack("<III", mode, 0, 0))
        elif kind == b"SEND":
            path, _, mode = name.rpartition(",")
            self._receive(Path(path), int(mode))

    def _receive(self, path: Path, mode: int) -> None:
        unplugged = self.server.breaks_now("push")
        with path.open("wb") as out:
            while (kind := self._must_read(4)) == b"DATA":
                (length,) = struct.unpack("<I", self._must_read(4))
                block = self._must_read(length)
                if unplugged:
                    out.write(block[: length // 2])
                    return
                out.write(block)
        assert kind == b"DONE"
        self._must_read(4)
        os.chmod(path, mode & 0o777)
        self.request.sendall(b"OKAY" + struct.pack("<I", 0))

    def _say(self, status: bytes, text: str) -> None:
        self.request.sendall(status + f"{len(text):04x}{text}".encode())

    def _read(self, count: int) -> bytes | None:
        """Return so many bytes; None when the other side is done."""
        block = bytearray()
        while len(block) < count:
            more = self.request.recv(count - len(block))
            if not more:
                return None
            block += more
        return bytes(block)

    def _must_read(self, count: int) -> bytes:
        block = self._read(count)
        if block is None:
            raise ConnectionError("the client went away")
        return block
