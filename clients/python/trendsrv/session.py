"""A producer's side of one lane, without socket and clock.

    add, flush ->  batch -> frames, numbered -> transmit -> bytes
    receive    <-  ACK: forget frames   REFUSE: go back, mend, wait   NEED: DEFINE

    frames:   first                       next_to_send                last
              | sent, not acknowledged    | not sent, or again        |

Invariants:
- frames hold dense sequence numbers, from the first not acknowledged to the last batched;
- what was sent on this connection never passes credit_until;
- a frame leaves only when it is acknowledged, or its place is taken by a filler and its events
  are told in `refused`;
- events leave in the order they came in: topics and texts never share a frame, so a batch ends
  when the other kind comes.
"""

from collections import OrderedDict, deque

from . import ids, wire
from .errors import Refused, TrendError

FRAME_BYTES_TARGET = wire.CREDIT_INITIAL
FRAME_EVENTS_TARGET = 512
REFUSED_MAX = 1_000
REFUSALS_OF_A_FRAME_MAX = wire.SHARDS_MAX
NAMES_MAX = 100_000
WAIT_MS_MAX = 30_000
_OFFSET_MAX = 0x7FFF_FFFF


class _Outgoing:
    """One event frame: its fields while it may be renumbered, its bytes to send."""

    def __init__(self, kind, fields):
        self.kind = kind
        self.fields = fields
        self.refusals = 0
        self.encode()

    def encode(self):
        self.raw = wire.encode(self.kind, self.fields)

    @property
    def seq(self):
        return self.fields["seq"]


class Session:
    """Batches events, numbers frames, keeps them until they are acknowledged.

    `by_id` sends records of ids and tells names when the server asks; otherwise names go inline.
    `jitter` is a function that gives a random number of 0..1.
    """

    def __init__(self, *, by_id=False, jitter):
        self.by_id = by_id
        self.refused = deque(maxlen=REFUSED_MAX)
        self.events_refused = 0
        self.events_acknowledged = 0
        self.events_uncertain = 0
        self.draining = False
        self.reconnect_wanted = False
        self.epoch_is_stale = False
        self._jitter = jitter
        self._names = OrderedDict()
        self._generation = 0
        self._frames = deque()
        self._next_seq = 1
        self._next_to_send = 1
        self._sent_high = 0
        self._sent_bytes = 0
        self._credit_until = 0
        self._resume_at_ms = 0
        self._backoff_ms = 0
        self._went_back_to = None
        self._control = bytearray()
        self._connected = False
        self._clear_batch()

    # --- Events in ------------------------------------------------------------------------------

    def add(self, tenant, topic, weight, ts_ms):
        """Put one event into the batch; a full batch becomes a frame."""
        tenant_raw, topic_raw = ids.check_name(tenant), ids.check_name(topic)
        _check_numbers(weight, ts_ms)
        if self.by_id:
            tenant = self._remember("tenant", tenant, tenant_raw)
            topic = self._remember("topic", topic, topic_raw)
            kind, size = "events", 24
        else:
            kind, size = "events_named", wire.NAMED_HEAD_BYTES + len(tenant_raw) + len(topic_raw)
        self._batch_up(kind, size, {"tenant": tenant, "topic": topic, "weight": weight}, ts_ms)

    def add_text(self, tenant, text, weight, ts_ms):
        """Put one text event into the batch: the tenant's program finds its topics."""
        tenant_raw, text_raw = ids.check_name(tenant), wire.check_text(text)
        _check_numbers(weight, ts_ms)
        size = wire.TEXT_HEAD_BYTES + len(tenant_raw) + len(text_raw)
        self._batch_up("text", size, {"tenant": tenant, "text": text, "weight": weight}, ts_ms)

    def _batch_up(self, kind, size, event, ts_ms):
        if self._batch and not self._fits(kind, size, ts_ms):
            self.flush()
        if not self._batch:
            self._batch_kind, self._base_ms = kind, ts_ms
        self._batch.append({**event, "offset_ms": ts_ms - self._base_ms})
        self._batch_bytes += size
        if len(self._batch) >= FRAME_EVENTS_TARGET:
            self.flush()

    def flush(self):
        """Make a frame of what the batch holds."""
        if not self._batch:
            return
        fields = {"seq": self._next_seq, "base_ms": self._base_ms}
        fields.update(generation=self._generation, events=self._batch)
        self._frames.append(_Outgoing(self._batch_kind, fields))
        self._next_seq += 1
        self._clear_batch()

    def _clear_batch(self):
        self._batch = []
        self._batch_kind = "events"
        self._batch_bytes = wire.EVENTS_HEAD_BYTES
        self._base_ms = 0

    def _fits(self, kind, size, ts_ms):
        return (
            kind == self._batch_kind
            and self._batch_bytes + size <= FRAME_BYTES_TARGET
            and abs(ts_ms - self._base_ms) <= _OFFSET_MAX
        )

    def _remember(self, kind, name, raw):
        number = ids.xxh3_64(raw)
        self._names[kind, number] = name
        self._names.move_to_end((kind, number))
        if len(self._names) > NAMES_MAX:
            self._names.popitem(last=False)
        return number

    # --- Bytes out ------------------------------------------------------------------------------

    def transmit(self, now_ms):
        """Return the bytes that may go now."""
        out = bytes(self._control)
        self._control.clear()
        if not self._connected or self.draining or now_ms < self._resume_at_ms:
            return out
        parts = [out]
        while self._next_to_send < self._next_seq:
            frame = self._frame(self._next_to_send)
            if frame is None or self._sent_bytes + len(frame.raw) > self._credit_until:
                break
            parts.append(frame.raw)
            self._sent_bytes += len(frame.raw)
            self._sent_high = max(self._sent_high, frame.seq)
            self._next_to_send += 1
        return b"".join(parts)

    @property
    def frames_waiting(self):
        """Frames that are not acknowledged yet, sent or not."""
        return len(self._frames)

    @property
    def is_idle(self):
        return not self._frames and not self._batch

    @property
    def answers_due(self):
        """Whether frames sent on this connection have not been answered."""
        return bool(self._frames) and self._next_to_send > self._frames[0].seq

    def resume_in_ms(self, now_ms):
        """How long nothing will be sent because the server asked to wait."""
        return max(0, self._resume_at_ms - now_ms)

    def _frame(self, seq):
        at = seq - self._frames[0].seq if self._frames else -1
        return self._frames[at] if 0 <= at < len(self._frames) else None

    # --- Frames in ------------------------------------------------------------------------------

    def connected(self, welcome):
        """A connection is there; `welcome` are the fields of HELLO_OK."""
        self._generation = welcome["generation"]
        self.draining = self.reconnect_wanted = self.epoch_is_stale = False
        self._agree(welcome["next_seq"])
        self._next_to_send = self._first_seq
        self._went_back_to = None
        self._credit_until = welcome["credit_until"]
        self._sent_bytes = 0
        self._control.clear()
        self._connected = not self.reconnect_wanted

    def _agree(self, next_seq):
        """Go by `next_seq` of HELLO_OK, which tells what some shard has counted, not what all have:
        it acknowledges nothing, and every frame not acknowledged is sent again as it was."""
        if next_seq == 0:
            # The server may have given up what it knew of this producer; under a new epoch it
            # knows it from the first frame on.
            self.reconnect_wanted = self.epoch_is_stale = True
        elif self._sent_high == 0:
            self._renumber(next_seq)
        elif next_seq == 1 and self._first_seq > 1:
            # Nobody knows this producer, as after a restart without a log.
            self._renumber(1)
        elif next_seq > self._sent_high + 1:
            raise TrendError(
                f"the server expects frame {next_seq}, which was never sent here: "
                "another program uses the same producer id"
            )

    def start_epoch(self):
        """A new epoch begins: what was sent may or may not have counted, and is given up."""
        while self._frames and self._frames[0].seq <= self._sent_high:
            self.events_uncertain += len(self._frames.popleft().fields["events"])
        self._renumber(1)
        self.epoch_is_stale = False

    def disconnected(self):
        """The connection is gone; frames stay for the next one."""
        self._connected = False

    def receive(self, frame, now_ms):
        """Take one frame of the server. Raises Refused when this producer has to stop."""
        fields = frame.fields
        if frame.kind == "ack":
            self._acknowledge(fields["seq"])
            self._credit_until = max(self._credit_until, fields["credit_until"])
        elif frame.kind == "refuse":
            self._refuse(fields, now_ms)
        elif frame.kind == "need":
            self._define(fields["ids"])
        elif frame.kind == "ping":
            self._control += wire.encode("pong", fields, frame.tag)
        elif frame.kind == "goaway":
            self.draining = True
        elif frame.kind != "pong":
            raise TrendError(f"a producer has no use for {frame.kind}")

    def _acknowledge(self, seq):
        while self._frames and self._frames[0].seq <= seq:
            self.events_acknowledged += len(self._frames.popleft().fields["events"])
            self._backoff_ms = 0

    @property
    def _first_seq(self):
        return self._frames[0].seq if self._frames else self._next_seq

    def _renumber(self, first_seq):
        """Give the frames kept other numbers: none of them is known to the server."""
        for seq, frame in enumerate(self._frames, first_seq):
            frame.fields["seq"] = seq
            frame.encode()
        self._next_seq = first_seq + len(self._frames)
        self._sent_high = first_seq - 1

    def _refuse(self, fields, now_ms):
        if wire.KIND_WORDS.get(fields["kind"]) not in wire.EVENT_KINDS:
            self.refused.append(Refused(fields))
            if fields["kind"] == 0 or fields["class"] == "reconnect":
                self.reconnect_wanted = True
            return
        expected = fields["expected_seq"]
        is_of_expected = fields["seq"] in (0, expected)
        if not is_of_expected and expected == self._went_back_to:
            return  # The echo of a refusal before it.
        if fields["code"] in ("FENCED", "UNAUTHORISED"):
            raise Refused(fields)
        if fields["class"] == "reconnect" or expected == 0:
            self.reconnect_wanted = True
            self.epoch_is_stale = fields["code"] == "PRODUCER_UNKNOWN"
            return
        frame = self._frame(expected)
        if frame is None:
            raise TrendError(f"the server expects frame {expected}, which is not kept here")
        self._went_back_to = expected
        if is_of_expected and fields["class"] == "never":
            self._fill(frame, fields)
        elif is_of_expected and fields["class"] == "later":
            self._resume_at_ms = now_ms + self._wait_ms(fields["retry_after_ms"])
        self._next_to_send = expected

    def _fill(self, frame, fields):
        events = len(frame.fields["events"])
        frame.refusals += 1
        if events == 0:
            # Each shard with a part of the frame may have refused it before the filler came.
            if frame.refusals > REFUSALS_OF_A_FRAME_MAX:
                raise Refused(fields)
            return
        self.refused.append(Refused(fields, events))
        self.events_refused += events
        # A server from before TEXT would refuse a filler of that kind, too.
        frame.kind = "events"
        frame.fields["events"] = []
        frame.encode()

    def _wait_ms(self, retry_after_ms):
        self._backoff_ms = min(WAIT_MS_MAX, max(1, retry_after_ms, 2 * self._backoff_ms))
        spread = self._backoff_ms * (0.5 + self._jitter() / 2)
        return max(retry_after_ms, int(spread))

    def _define(self, wanted):
        names = []
        for entry in wanted:
            name = self._names.get((entry["kind"], entry["id"]))
            if name is not None:
                names.append({**entry, "name": name})
        # 4,096 names of 255 bytes do not fit one frame.
        for at in range(0, len(names), 1_024):
            self._control += wire.encode("define", {"names": names[at : at + 1_024]})


def _check_numbers(weight, ts_ms):
    if not 1 <= weight <= wire.WEIGHT_MAX:
        raise ValueError(f"weight is {weight}, must be 1 to {wire.WEIGHT_MAX}")
    if not 0 <= ts_ms <= wire.TIME_MS_MAX:
        raise ValueError(f"time is {ts_ms} ms, must be 0 to {wire.TIME_MS_MAX}")
