"""A blocking producer: Session on a Connection, connected again when it breaks."""

import random
import secrets
import time

from .connection import Connection, now_ms, tick_ms
from .errors import Disconnected, TrendError
from .session import WAIT_MS_MAX, Session

FRAMES_WAITING_MAX = 64


class Producer:
    """Sends events to one server.

        with Producer("127.0.0.1", 7171) as producer:
            producer.send("#en.wikipedia", "Mars")

    Without a `producer` id of its own it takes a random one, so that frames sent again after a
    broken connection count once. Events wait for others up to `linger_ms`, looked at with each
    send: end with flush or close. `timeout` (seconds) bounds every wait; `refused` holds what the
    server would not take.
    """

    def __init__(
        self,
        host,
        port,
        *,
        ack="applied",
        producer=None,
        epoch=0,
        lane=0,
        by_id=False,
        linger_ms=100,
        timeout=30,
    ):
        if ack == "none":
            raise ValueError("ack 'none' is not offered here: use 'received'")
        self._address = (host, port)
        identity = secrets.randbits(64) | 1 if producer is None else producer
        self._hello = {"ack": ack, "producer": identity, "epoch": epoch, "lane": lane}
        self._timeout = timeout
        self._linger_ms = linger_ms
        self._flushed_ms = tick_ms()
        self._session = Session(by_id=by_id, jitter=random.random)
        self._connection = None
        self._connect()

    def send(self, tenant, topic, weight=1, ts_ms=None):
        """Send one event; `ts_ms` is now when left out. Returns before it is acknowledged."""
        self._put(self._session.add, tenant, topic, weight, ts_ms)

    def send_text(self, tenant, text, weight=1, ts_ms=None):
        """Send one text of 1 to 4,096 bytes: the tenant's program finds its topics."""
        self._put(self._session.add_text, tenant, text, weight, ts_ms)

    def _put(self, add, tenant, what, weight, ts_ms):
        session = self._session
        before = session.frames_waiting
        add(tenant, what, weight, now_ms() if ts_ms is None else ts_ms)
        if tick_ms() - self._flushed_ms >= self._linger_ms:
            session.flush()
        if session.frames_waiting > before:
            self._flushed_ms = tick_ms()
            self._step(0)
            self._wait_while(lambda: session.frames_waiting > FRAMES_WAITING_MAX)

    def flush(self):
        """Send what is batched and wait until everything is acknowledged or refused."""
        self._session.flush()
        self._wait_while(lambda: not self._session.is_idle)

    def poll(self, wait=0):
        """Take what the server sent, such as a question for names; wait up to `wait` seconds."""
        self._step(wait)
        self._step(0)

    def close(self):
        """Flush and close."""
        try:
            self.flush()
        finally:
            self._drop()

    @property
    def refused(self):
        """The newest refusals, each with the number of events it cost."""
        return list(self._session.refused)

    @property
    def events_refused(self):
        return self._session.events_refused

    @property
    def events_acknowledged(self):
        return self._session.events_acknowledged

    @property
    def events_uncertain(self):
        """Events that may or may not have counted: the server no longer knew this producer."""
        return self._session.events_uncertain

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:
            self._drop()

    def _wait_while(self, condition):
        deadline = tick_ms() + self._timeout * 1_000
        while condition():
            left_ms = deadline - tick_ms()
            if left_ms <= 0:
                count = self._session.frames_waiting
                raise TrendError(f"{count} frames not acknowledged within {self._timeout} s")
            resume_ms = self._session.resume_in_ms(tick_ms())
            wait_ms = min(left_ms, resume_ms) if resume_ms else left_ms
            self._step(wait_ms / 1_000)

    def _step(self, wait):
        """Send what may go, take what has come; wait up to `wait` seconds for the first."""
        session = self._session
        try:
            raw = session.transmit(tick_ms())
            if raw:
                self._connection.send(raw)
            frame = self._connection.receive(wait)
            while frame is not None:
                session.receive(frame, tick_ms())
                frame = self._connection.receive(0)
            drained = session.draining and not session.answers_due
            if session.reconnect_wanted or drained:
                raise Disconnected("the server asked to connect again")
        except Disconnected:
            self._connect()

    def _connect(self):
        first = self._connection is None
        self._drop()
        deadline = tick_ms() + self._timeout * 1_000
        pause_ms = 50
        while True:
            if self._session.epoch_is_stale:
                self._hello["epoch"] += 1
                self._session.start_epoch()
            if not first:
                time.sleep(pause_ms * (0.5 + random.random() / 2) / 1_000)
                pause_ms = min(2 * pause_ms, WAIT_MS_MAX)
            try:
                self._connection = Connection(
                    *self._address, timeout=self._timeout, **self._hello
                )
            except Disconnected:
                # The first connection fails at once: the address is probably wrong.
                if first or tick_ms() + pause_ms > deadline:
                    raise
                continue
            self._session.connected(self._connection.welcome)
            if not self._session.epoch_is_stale:
                return
            self._drop()

    def _drop(self):
        self._session.disconnected()
        if self._connection is not None:
            self._connection.close()
