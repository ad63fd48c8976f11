"""A blocking connection: whole frames in and out, every wait with a deadline."""

import select
import socket
import time

from . import wire
from .errors import Disconnected, Refused

SOFTWARE = "trendsrv-python/0.1.0"
_READ_BYTES = 64 << 10


def now_ms():
    """The wall clock, for event times."""
    return time.time_ns() // 1_000_000


def tick_ms():
    """A clock that never jumps, for waiting."""
    return time.monotonic_ns() // 1_000_000


def parse_address(text):
    """Read HOST:PORT, the host of an IPv6 address in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:7171")
    return host.strip("[]") or "127.0.0.1", int(port)


class Connection:
    """One connection after its HELLO; `welcome` holds the fields of HELLO_OK."""

    def __init__(self, host, port, *, timeout, ack="applied", producer=0, epoch=0, lane=0):
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout)
        except OSError as error:
            raise Disconnected(f"cannot connect to {host}:{port}: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        hello = {"ack": ack, "features": 0, "producer": producer, "epoch": epoch, "lane": lane}
        hello["software"] = SOFTWARE
        try:
            self.send(wire.encode("hello", hello))
            frame = self.receive(timeout)
            if frame is None:
                raise Disconnected(f"{host}:{port} did not answer HELLO within {timeout} s")
            if frame.kind == "refuse":
                raise Refused(frame.fields)
            if frame.kind != "hello_ok":
                raise Disconnected(f"{host}:{port} answered HELLO with {frame.kind}")
        except BaseException:
            self.close()
            raise
        self.welcome = frame.fields

    def send(self, raw):
        """Send all of `raw`."""
        try:
            self._socket.sendall(raw)
        except OSError as error:
            raise Disconnected(f"cannot send: {error}") from error

    def receive(self, timeout):
        """Return the next frame, or None when none is whole within `timeout` seconds."""
        deadline = tick_ms() + timeout * 1_000
        while True:
            raw = wire.split(self._buffer)
            if raw is not None:
                del self._buffer[: len(raw)]
                return wire.decode(raw)
            left = max(0, deadline - tick_ms()) / 1_000
            ready, _, _ = select.select([self._socket], [], [], left)
            if not ready:
                return None
            try:
                more = self._socket.recv(_READ_BYTES)
            except OSError as error:
                raise Disconnected(f"cannot receive: {error}") from error
            if not more:
                raise Disconnected("the server closed the connection")
            self._buffer += more

    def close(self):
        self._socket.close()
