"""A blocking reader: answers on demand, and answers as they change."""

from dataclasses import dataclass

from . import ids, wire
from .connection import Connection, tick_ms
from .errors import Disconnected, Refused, TrendError


@dataclass(frozen=True)
class Topic:
    """One topic of an answer. The true weight lies in low..high."""

    name: str
    id: int
    count: int
    low: int
    high: int
    velocity: float
    score: float
    trend: str
    sample: str


@dataclass(frozen=True)
class Summary:
    """A tenant's answer, with what it says about how good it is."""

    tenant: int
    as_of_ms: int
    version: int
    total: int
    events: int
    distinct: int
    error_bound: int
    late: int
    dropped: int
    shed: int
    window_ms: int
    slide_ms: int
    known: bool
    exact: bool
    distinct_exact: bool
    certified: bool
    tldr: str
    program: str
    topics: tuple

    @classmethod
    def of(cls, fields):
        """Read the fields of SUMMARY or UPDATE."""
        numbers = {name: fields[name] for name in wire.SUMMARY_NUMBERS}
        flags = {word: word in fields["flags"] for word in wire.FLAGS}
        topics = tuple(map(_topic, fields["topics"]))
        texts = {"tldr": fields["tldr"], "program": fields["program"]}
        return cls(**numbers, **flags, **texts, topics=topics)


def _topic(fields):
    return Topic(
        name=fields["name"] or f"id:{fields['topic']:016x}",
        id=fields["topic"],
        count=fields["count"],
        low=fields["low"],
        high=fields["high"],
        velocity=fields["velocity_milli"] / 1_000,
        score=fields["score_milli"] / 1_000,
        trend=fields["trend"],
        sample=fields["sample"],
    )


class Reader:
    """Asks one server for answers.

        with Reader("127.0.0.1", 7171) as reader:
            print(reader.query("#en.wikipedia").topics)
    """

    def __init__(self, host, port, *, timeout=30):
        self._timeout = timeout
        self._connection = Connection(host, port, timeout=timeout, ack="none")
        self._last_tag = 0
        self._updates = {}

    @property
    def welcome(self):
        """The fields of HELLO_OK: the window's panes, the clock, the shards."""
        return self._connection.welcome

    def query(self, tenant, k=10, rank="score", at_ms=None):
        """Return a tenant's answer now, or for the window that ends at `at_ms`."""
        tag = self._next_tag()
        ask = {"tenant": ids.name_id(tenant), "at_ms": at_ms, "k": k, "rank": rank}
        self._connection.send(wire.encode("query", ask, tag))
        deadline = tick_ms() + self._timeout * 1_000
        while True:
            frame = self._frame(deadline)
            if frame is None:
                raise TrendError(f"no answer within {self._timeout} s")
            if frame.kind == "summary" and frame.tag == tag:
                return Summary.of(frame.fields)
            self._store(frame)

    def subscribe(self, tenant, k=10, rank="score", timeout=None):
        """Yield a tenant's answers as they change; end after `timeout` seconds without one."""
        tag = self._next_tag()
        ask = {"tenant": ids.name_id(tenant), "k": k, "rank": rank, "on": True}
        self._connection.send(wire.encode("subscribe", ask, tag))
        self._updates[tag] = None
        last_version = -1
        wait = self._timeout if timeout is None else timeout
        deadline = tick_ms() + wait * 1_000
        try:
            while True:
                update, self._updates[tag] = self._updates[tag], None
                if update is None:
                    frame = self._frame(None if timeout is None else deadline)
                    if frame is None:
                        return
                    self._store(frame)
                elif update["version"] > last_version:
                    last_version = update["version"]
                    yield Summary.of(update)
                    deadline = tick_ms() + wait * 1_000
        finally:
            del self._updates[tag]
            self._unsubscribe(ask, tag)

    def close(self):
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _unsubscribe(self, ask, tag):
        try:
            self._connection.send(wire.encode("subscribe", {**ask, "on": False}, tag))
        except Disconnected:
            pass  # A connection that is gone has no subscriptions.

    def _next_tag(self):
        self._last_tag = self._last_tag % 0xFFFF_FFFF + 1
        return self._last_tag

    def _frame(self, deadline):
        """The next frame that is not a PING; None after the deadline."""
        while True:
            left = 3_600 if deadline is None else max(0, deadline - tick_ms()) / 1_000
            frame = self._connection.receive(left)
            if frame is None and deadline is None:
                continue
            if frame is None or frame.kind != "ping":
                return frame
            self._connection.send(wire.encode("pong", frame.fields, frame.tag))

    def _store(self, frame):
        """Keep the newest update of each subscription; raise what was refused."""
        if frame.kind == "refuse":
            raise Refused(frame.fields)
        if frame.kind == "update" and frame.tag in self._updates:
            self._updates[frame.tag] = frame.fields
