"""Frames as bytes and as fields. No socket, no clock: docs/protocol.md in Python.

    encode("query", {"tenant": 1, "at_ms": None, "k": 10, "rank": "score"}, tag=7)  -> bytes
    split(buffer)      -> the first whole frame of a buffer, or None while it is incomplete
    decode(frame)      -> Frame(kind, tag, fields)

Fields are called as in docs/protocol.md. Ids are integers, choices are words ("applied", "score"),
lengths and counts are left out: they follow from the rest.
"""

import ipaddress
import struct
from collections import namedtuple

from .ids import VNODES, NameRuleError, check_name, crc32c, name_id

HEADER_BYTES = 16
FRAME_BYTES_MAX = 1 << 20
FRAME_EVENTS_MAX = 4_096
NAMES_PER_FRAME_MAX = 4_096
TOP_K_MAX = 100
WEIGHT_MAX = 1_000_000_000
TIME_MS_MAX = 253_402_300_799_999
SOFTWARE_BYTES_MAX = 64
MESSAGE_BYTES_MAX = 512
TLDR_BYTES_MAX = 512
SAMPLE_BYTES_MAX = 4_096
TEXT_BYTES_MAX = 4_096
SHARDS_MAX = 256
CREDIT_INITIAL = 16 << 10

MAGIC = int.from_bytes(b"TRND", "little")
VERSION = 1

KINDS = {
    "hello": 1,
    "hello_ok": 2,
    "events": 3,
    "events_named": 4,
    "define": 5,
    "need": 6,
    "ack": 7,
    "refuse": 8,
    "query": 9,
    "summary": 10,
    "subscribe": 11,
    "update": 12,
    "ping": 13,
    "pong": 14,
    "goaway": 15,
    "text": 16,
}
KIND_WORDS = {number: word for word, number in KINDS.items()}
EVENT_KINDS = ("events", "events_named", "text")

ACKS = ("none", "received", "applied", "durable")
CLOCKS = ("wall", "event")
RANKS = ("score", "count")
TRENDS = ("steady", "new", "rising", "falling")
CLASSES = ("never", "later", "resend", "reconnect")
NAME_KINDS = {1: "tenant", 2: "topic"}
FLAGS = ("known", "exact", "distinct_exact", "certified")
REFUSALS = (
    "",
    "RATE_LIMITED",
    "OVERLOADED",
    "CREDIT_EXCEEDED",
    "DISK_FULL",
    "STORAGE_FAILED",
    "SEQ_GAP",
    "SEQ_REUSED",
    "FENCED",
    "PRODUCER_UNKNOWN",
    "FUTURE",
    "TOO_LARGE",
    "MALFORMED",
    "ID_COLLISION",
    "UNKNOWN_TENANT",
    "TENANTS_FULL",
    "UNAUTHORISED",
    "PROGRAM_FAILED",
    "GOAWAY",
    "UNSUPPORTED",
)
INDEX_NONE = 0xFFFF_FFFF

Frame = namedtuple("Frame", "kind tag fields")


class WireError(ValueError):
    """A frame that breaks the layout or a rule. `rule` is the word the test vectors use."""

    def __init__(self, rule, message, index=None):
        super().__init__(message)
        self.rule = rule
        self.index = index


class FramingLost(WireError):
    """Nobody can tell where the next frame begins: the connection must be closed."""


# --- The frame ----------------------------------------------------------------------------------


def encode(kind, fields, tag=0):
    """Return the bytes of one frame."""
    body = _WRITERS[kind](fields)
    length = HEADER_BYTES + len(body)
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"frame of {length} bytes; at most {FRAME_BYTES_MAX} are allowed")
    head = struct.pack("<IBB", length, KINDS[kind], 0)
    tail = struct.pack("<II", tag, crc32c(body))
    check = struct.pack("<H", crc32c(head + tail) & 0xFFFF)
    return head + check + tail + body


def split(buffer):
    """Return the first frame of a buffer as bytes, or None while it is incomplete.

    Raises FramingLost when no frame can be found any more.
    """
    if len(buffer) < HEADER_BYTES:
        return None
    head = bytes(buffer[:HEADER_BYTES])
    length, check = struct.unpack_from("<I2xH", head)
    want = crc32c(head[:6] + head[8:]) & 0xFFFF
    if check != want:
        raise FramingLost("check", f"frame header check is {check:#06x}, should be {want:#06x}")
    if not HEADER_BYTES <= length <= FRAME_BYTES_MAX:
        raise FramingLost("length", f"frame length {length} is out of range")
    if len(buffer) < length:
        return None
    return bytes(buffer[:length])


def decode(frame):
    """Read one whole frame, as split returned it. Raises WireError."""
    kind, flags, tag, crc = struct.unpack_from("<4xBB2xII", frame)
    body = _Body(frame)
    want = crc32c(memoryview(frame)[HEADER_BYTES:])
    if crc != want:
        raise WireError("crc", f"body CRC32C is {crc:#010x}, should be {want:#010x}")
    if flags != 0:
        raise WireError("flags", f"frame flags are {flags:#04x}, must be 0")
    word = KIND_WORDS.get(kind)
    if word is None:
        raise WireError("kind", f"unknown frame kind {kind}")
    fields = _READERS[word](body)
    body.end()
    return Frame(word, tag, fields)


class _Body:
    """Reads a body front to back; every step says where it failed."""

    def __init__(self, frame):
        self.frame = frame
        self.at = HEADER_BYTES

    def take(self, layout, what):
        part = struct.Struct(layout)
        return part.unpack(self.raw(part.size, what))

    def raw(self, size, what):
        part = self.frame[self.at : self.at + size]
        if len(part) < size:
            raise WireError("short", f"frame ends inside {what}, which starts at byte {self.at}")
        self.at += size
        return part

    def text(self, size, what):
        try:
            return self.raw(size, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise WireError("utf8", f"{what} is not UTF-8: {error}") from None

    def end(self):
        if self.at != len(self.frame):
            more = len(self.frame) - self.at
            raise WireError("trailing", f"{more} bytes too many from byte {self.at}")


def _within(what, got, least, most, index=None):
    if not least <= got <= most:
        rule = "range" if index is None else "entry"
        where = "" if index is None else f"entry {index}: "
        message = f"{where}{what} is {got}, must be {least} to {most}"
        raise WireError(rule, message, index)
    return got


def _at_most(what, got, most):
    if got > most:
        raise WireError("too_many", f"{what} is {got}; one frame holds at most {most}")
    return got


def _name(raw, index):
    try:
        return check_name(raw).decode("utf-8")
    except NameRuleError as error:
        raise WireError("name", f"entry {index}: {error}", index) from None


class TextRuleError(ValueError):
    """A text that breaks the rule for texts."""


def check_text(text):
    """Return the bytes of a text event. Raises TextRuleError."""
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TextRuleError(f"text is not UTF-8: {error.reason}") from None
    _check_text_bytes(raw)
    return raw


def _check_text_bytes(raw):
    if not raw:
        raise TextRuleError(f"text is empty; 1 to {TEXT_BYTES_MAX} bytes are allowed")
    if len(raw) > TEXT_BYTES_MAX:
        raise TextRuleError(f"text has {len(raw)} bytes; at most {TEXT_BYTES_MAX} are allowed")
    if 0 in raw:
        raise TextRuleError(f"text has a NUL at byte {raw.index(0)}")


def _text(raw, index):
    try:
        _check_text_bytes(raw)
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"entry {index}: text is not UTF-8 at byte {error.start}"
        raise WireError("text", message, index) from None
    except TextRuleError as error:
        raise WireError("text", f"entry {index}: {error}", index) from None


def _text_bytes(text, most, what):
    raw = text.encode("utf-8")
    if len(raw) > most:
        raise ValueError(f"{what} has {len(raw)} bytes; at most {most} are allowed")
    return raw


# --- HELLO, HELLO_OK ----------------------------------------------------------------------------

_HELLO = "<IHBBQQIHH"
_HELLO_OK = "<HBBIQQQQIIIIHHHH"
_ADDRESS = "<BBH16s"


def _write_hello(f):
    software = _text_bytes(f["software"], SOFTWARE_BYTES_MAX, "software")
    ack = ACKS.index(f["ack"])
    head = (MAGIC, VERSION, ack, 0, f["features"], f["producer"], f["epoch"], f["lane"])
    return struct.pack(_HELLO, *head, len(software)) + software


def _read_hello(body):
    magic, version, ack, zero, features, producer, epoch, lane, size = body.take(_HELLO, "HELLO")
    if magic != MAGIC:
        raise WireError("magic", f"magic is {magic:#010x}, must be {MAGIC:#010x}")
    _version(version)
    _within("ack mode", ack, 0, 3)
    _within("software_len", size, 0, SOFTWARE_BYTES_MAX)
    _within("reserved byte 23", zero, 0, 0)
    return {
        "ack": ACKS[ack],
        "features": features,
        "producer": producer,
        "epoch": epoch,
        "lane": lane,
        "software": body.text(size, "the software name"),
    }


def _version(version):
    if version != VERSION:
        raise WireError("version", f"protocol version {version} is not spoken here; 1 is")


def _write_hello_ok(f):
    shards, addresses = f["shards"], f["addresses"]
    if len(shards) != VNODES:
        raise ValueError(f"a vnode map has {VNODES} entries, not {len(shards)}")
    head = struct.pack(
        _HELLO_OK,
        VERSION,
        ACKS.index(f["ack"]),
        CLOCKS.index(f["clock"]),
        f["generation"],
        f["features"],
        f["server_time_ms"],
        f["credit_until"],
        f["next_seq"],
        f["slide_ms"],
        f["panes"],
        f["frame_bytes_max"],
        f["frame_events_max"],
        f["shard"],
        len(addresses),
        VNODES,
        0,
    )
    parts = [head, struct.pack(f"<{VNODES}H", *shards)]
    for host, port in addresses:
        ip = ipaddress.ip_address(host)
        parts.append(struct.pack(_ADDRESS, ip.version, 0, port, ip.packed))
    return b"".join(parts)


def _read_hello_ok(body):
    head = body.take(_HELLO_OK, "HELLO_OK")
    version, ack, clock, generation, features, server_time_ms, credit_until, next_seq = head[:8]
    slide_ms, panes, bytes_max, events_max, shard, shard_count, vnode_count, _ = head[8:]
    _version(version)
    _within("ack mode", ack, 0, 3)
    _within("clock", clock, 0, 1)
    _within("shard_count", shard_count, 1, SHARDS_MAX)
    _within("vnode_count", vnode_count, VNODES, VNODES)
    _within("shard", shard, 0, shard_count - 1)
    shards = body.take(f"<{VNODES}H", "the vnode map")
    _within("shard of a vnode", max(shards), 0, shard_count - 1)
    return {
        "ack": ACKS[ack],
        "clock": CLOCKS[clock],
        "generation": generation,
        "features": features,
        "server_time_ms": server_time_ms,
        "credit_until": credit_until,
        "next_seq": next_seq,
        "slide_ms": slide_ms,
        "panes": panes,
        "frame_bytes_max": bytes_max,
        "frame_events_max": events_max,
        "shard": shard,
        "shards": list(shards),
        "addresses": [_read_address(body) for _ in range(shard_count)],
    }


def _read_address(body):
    """(host, port), or (None, port) for a family this client does not know."""
    family, _, port, ip = body.take(_ADDRESS, "shard addresses")
    packed = {4: ip[:4], 6: ip}.get(family)
    return (str(ipaddress.ip_address(packed)) if packed else None, port)


# --- EVENTS, EVENTS_NAMED, TEXT -----------------------------------------------------------------

_EVENTS = "<QQII"
_RECORD = struct.Struct("<QQIi")
_NAMED = struct.Struct("<BBHIi")
_TEXT = struct.Struct("<BBHIi")
NAMED_HEAD_BYTES = _NAMED.size
TEXT_HEAD_BYTES = _TEXT.size
EVENTS_HEAD_BYTES = HEADER_BYTES + struct.calcsize(_EVENTS)


def _write_events(f):
    parts = [_events_head(f)]
    for e in f["events"]:
        parts.append(_RECORD.pack(e["tenant"], e["topic"], e["weight"], e["offset_ms"]))
    return b"".join(parts)


def _write_events_named(f):
    parts = [_events_head(f)]
    for e in f["events"]:
        tenant, topic = check_name(e["tenant"]), check_name(e["topic"])
        parts.append(_NAMED.pack(len(tenant), len(topic), 0, e["weight"], e["offset_ms"]))
        parts += (tenant, topic)
    return b"".join(parts)


def _write_text(f):
    parts = [_events_head(f)]
    for e in f["events"]:
        tenant, text = check_name(e["tenant"]), check_text(e["text"])
        parts.append(_TEXT.pack(len(tenant), 0, len(text), e["weight"], e["offset_ms"]))
        parts += (tenant, text)
    return b"".join(parts)


def _events_head(f):
    count = len(f["events"])
    if count > FRAME_EVENTS_MAX:
        raise ValueError(f"{count} events; one frame holds at most {FRAME_EVENTS_MAX}")
    return struct.pack(_EVENTS, f["seq"], f["base_ms"], f["generation"], count)


def _read_events_head(body):
    seq, base_ms, generation, count = body.take(_EVENTS, "the head of events")
    _at_most("event count", count, FRAME_EVENTS_MAX)
    _within("base_ms", base_ms, 0, TIME_MS_MAX)
    return {"seq": seq, "base_ms": base_ms, "generation": generation}, count


def _check_event(index, base_ms, weight, offset_ms):
    _within("weight", weight, 1, WEIGHT_MAX, index)
    _within("event time in ms", base_ms + offset_ms, 0, TIME_MS_MAX, index)
    return {"weight": weight, "offset_ms": offset_ms}


def _read_events(body):
    fields, count = _read_events_head(body)
    records = [body.take("<QQIi", "records") for _ in range(count)]
    body.end()
    fields["events"] = [
        {"tenant": tenant, "topic": topic, **_check_event(i, fields["base_ms"], weight, offset)}
        for i, (tenant, topic, weight, offset) in enumerate(records)
    ]
    return fields


def _read_events_named(body):
    fields, count = _read_events_head(body)
    events = fields["events"] = []
    for index in range(count):
        tenant_len, topic_len, zero, weight, offset = body.take("<BBHIi", "a named event")
        _within("reserved", zero, 0, 0, index)
        event = _check_event(index, fields["base_ms"], weight, offset)
        tenant = _name(body.raw(tenant_len, "a tenant name"), index)
        topic = _name(body.raw(topic_len, "a topic name"), index)
        events.append({"tenant": tenant, "topic": topic, **event})
    return fields


def _read_text_frame(body):
    fields, count = _read_events_head(body)
    events = fields["events"] = []
    for index in range(count):
        tenant_len, zero, text_len, weight, offset = body.take("<BBHIi", "a text event")
        _within("reserved", zero, 0, 0, index)
        event = _check_event(index, fields["base_ms"], weight, offset)
        tenant = _name(body.raw(tenant_len, "a tenant name"), index)
        text = _text(body.raw(text_len, "a text"), index)
        events.append({"tenant": tenant, "text": text, **event})
    return fields


# --- DEFINE, NEED -------------------------------------------------------------------------------

_NAME_KIND_NUMBERS = {word: number for number, word in NAME_KINDS.items()}


def _write_define(f):
    parts = [struct.pack("<II", len(f["names"]), 0)]
    for entry in f["names"]:
        name = check_name(entry["name"])
        kind = _NAME_KIND_NUMBERS[entry["kind"]]
        parts += (struct.pack("<BBHQ", kind, len(name), 0, entry["id"]), name)
    return b"".join(parts)


def _list_count(body):
    count, zero = body.take("<II", "a list of names")
    _at_most("name count", count, NAMES_PER_FRAME_MAX)
    _within("reserved", zero, 0, 0, 0)
    return count


def _read_define(body):
    names = []
    for index in range(_list_count(body)):
        kind, size, zero, number = body.take("<BBHQ", "a definition")
        _within("kind of name", kind, 1, 2, index)
        _within("reserved", zero, 0, 0, index)
        name = _name(body.raw(size, "a name"), index)
        if number != name_id(name):
            message = f"entry {index}: {name!r} does not hash to the id {number:#018x}"
            raise WireError("wrong_id", message, index)
        names.append({"kind": NAME_KINDS[kind], "id": number, "name": name})
    return {"names": names}


def _write_need(f):
    parts = [struct.pack("<II", len(f["ids"]), 0)]
    for entry in f["ids"]:
        parts.append(struct.pack("<QB7x", entry["id"], _NAME_KIND_NUMBERS[entry["kind"]]))
    return b"".join(parts)


def _read_need(body):
    ids = []
    for index in range(_list_count(body)):
        number, kind, zero = body.take("<QB7s", "needed ids")
        _within("kind of name", kind, 1, 2, index)
        _within("reserved", int.from_bytes(zero, "little"), 0, 0, index)
        ids.append({"kind": NAME_KINDS[kind], "id": number})
    return {"ids": ids}


# --- ACK, REFUSE, PING, PONG, GOAWAY ------------------------------------------------------------

_REFUSE = "<QQHBBIIHH"


def _write_ack(f):
    return struct.pack("<QQ", f["seq"], f["credit_until"])


def _read_ack(body):
    seq, credit_until = body.take("<QQ", "ACK")
    return {"seq": seq, "credit_until": credit_until}


def _write_refuse(f):
    message = _text_bytes(f["message"], MESSAGE_BYTES_MAX, "message")
    code, retry_class = REFUSALS.index(f["code"]), CLASSES.index(f["class"])
    index = INDEX_NONE if f["index"] is None else f["index"]
    head = (f["seq"], f["expected_seq"], code, retry_class, f["kind"], f["retry_after_ms"], index)
    return struct.pack(_REFUSE, *head, len(message), 0) + message


def _read_refuse(body):
    seq, expected, code, retry_class, kind, retry_after, index, size, _ = body.take(
        _REFUSE, "REFUSE"
    )
    _within("message_len", size, 0, MESSAGE_BYTES_MAX)
    message = body.text(size, "the message")
    known = 1 <= code < len(REFUSALS)
    _within("retry class", retry_class, 0, 3)
    return {
        "seq": seq,
        "expected_seq": expected,
        # A code that is newer than this client: the class still says what to do.
        "code": REFUSALS[code] if known else f"CODE_{code}",
        "class": CLASSES[retry_class],
        "kind": kind,
        "retry_after_ms": retry_after,
        "index": None if index == INDEX_NONE else index,
        "message": message,
    }


def _write_ping(f):
    return struct.pack("<Q", f["nonce"])


def _read_ping(body):
    return {"nonce": body.take("<Q", "PING or PONG")[0]}


def _write_goaway(f):
    message = _text_bytes(f["message"], MESSAGE_BYTES_MAX, "message")
    return struct.pack("<IHH", f["drain_ms"], len(message), 0) + message


def _read_goaway(body):
    drain_ms, size, _ = body.take("<IHH", "GOAWAY")
    _within("message_len", size, 0, MESSAGE_BYTES_MAX)
    return {"drain_ms": drain_ms, "message": body.text(size, "the message")}


# --- QUERY, SUBSCRIBE, SUMMARY, UPDATE ----------------------------------------------------------

_SUMMARY = "<10QIIIHHH6x"
_TOPIC = "<QQQQqqBBHI"
SUMMARY_NUMBERS = (
    "tenant",
    "as_of_ms",
    "version",
    "total",
    "events",
    "distinct",
    "error_bound",
    "late",
    "dropped",
    "shed",
    "window_ms",
    "slide_ms",
)
_TOPIC_NUMBERS = ("topic", "count", "low", "high", "velocity_milli", "score_milli")


def _write_query(f):
    rank = RANKS.index(f["rank"])
    return struct.pack("<QQHB5x", f["tenant"], f["at_ms"] or 0, f["k"], rank)


def _read_query(body):
    tenant, at_ms, k, rank, zero = body.take("<QQHB5s", "QUERY")
    body.end()
    _check_ask(k, rank)
    _within("at_ms", at_ms, 0, TIME_MS_MAX)
    _within("reserved", int.from_bytes(zero, "little"), 0, 0)
    return {"tenant": tenant, "at_ms": at_ms or None, "k": k, "rank": RANKS[rank]}


def _check_ask(k, rank):
    _within("k", k, 1, TOP_K_MAX)
    _within("rank", rank, 0, 1)


def _write_subscribe(f):
    rank = RANKS.index(f["rank"])
    return struct.pack("<QHBB4x", f["tenant"], f["k"], rank, 1 if f["on"] else 0)


def _read_subscribe(body):
    tenant, k, rank, on, zero = body.take("<QHBBI", "SUBSCRIBE")
    body.end()
    _check_ask(k, rank)
    _within("on", on, 0, 1)
    _within("reserved", zero, 0, 0)
    return {"tenant": tenant, "k": k, "rank": RANKS[rank], "on": on == 1}


def _write_summary(f):
    tldr = _text_bytes(f["tldr"], TLDR_BYTES_MAX, "tldr")
    program = _text_bytes(f["program"], 255, "program")
    flags = sum(1 << FLAGS.index(word) for word in f["flags"])
    numbers = [f[name] for name in SUMMARY_NUMBERS]
    lengths = (len(f["topics"]), len(tldr), len(program))
    parts = [struct.pack(_SUMMARY, *numbers, flags, *lengths), tldr, program]
    for t in f["topics"]:
        name = _text_bytes(t["name"], 255, "name")
        sample = _text_bytes(t["sample"], SAMPLE_BYTES_MAX, "sample")
        row = [t[name] for name in _TOPIC_NUMBERS]
        trend = TRENDS.index(t["trend"])
        parts += (struct.pack(_TOPIC, *row, trend, len(name), len(sample), 0), name, sample)
    return b"".join(parts)


def _read_summary(body):
    *numbers, flags, topic_count, tldr_len, program_len = body.take(_SUMMARY, "SUMMARY")
    _within("topic_count", topic_count, 0, TOP_K_MAX)
    _within("tldr_len", tldr_len, 0, TLDR_BYTES_MAX)
    _within("program_len", program_len, 0, 255)
    fields = dict(zip(SUMMARY_NUMBERS, numbers))
    fields["flags"] = [word for bit, word in enumerate(FLAGS) if flags >> bit & 1]
    fields["tldr"] = body.text(tldr_len, "the one-line summary")
    fields["program"] = body.text(program_len, "the program name")
    fields["topics"] = [_read_topic(body, index) for index in range(topic_count)]
    return fields


def _read_topic(body, index):
    *row, trend, name_len, sample_len, _ = body.take(_TOPIC, "a topic")
    _within("trend", trend, 0, 3, index)
    _within("sample_len", sample_len, 0, SAMPLE_BYTES_MAX, index)
    topic = dict(zip(_TOPIC_NUMBERS, row))
    topic["trend"] = TRENDS[trend]
    topic["name"] = body.text(name_len, "a topic name")
    topic["sample"] = body.text(sample_len, "a sample")
    return topic


_WRITERS = {
    "hello": _write_hello,
    "hello_ok": _write_hello_ok,
    "events": _write_events,
    "events_named": _write_events_named,
    "define": _write_define,
    "need": _write_need,
    "ack": _write_ack,
    "refuse": _write_refuse,
    "query": _write_query,
    "summary": _write_summary,
    "subscribe": _write_subscribe,
    "update": _write_summary,
    "ping": _write_ping,
    "pong": _write_ping,
    "goaway": _write_goaway,
    "text": _write_text,
}
_READERS = {
    "hello": _read_hello,
    "hello_ok": _read_hello_ok,
    "events": _read_events,
    "events_named": _read_events_named,
    "define": _read_define,
    "need": _read_need,
    "ack": _read_ack,
    "refuse": _read_refuse,
    "query": _read_query,
    "summary": _read_summary,
    "subscribe": _read_subscribe,
    "update": _read_summary,
    "ping": _read_ping,
    "pong": _read_ping,
    "goaway": _read_goaway,
    "text": _read_text_frame,
}
