"""Writes docs/protocol-vectors.json and the seed corpus of the fuzz target made from it.

    python3 -m tests.write_vectors          (in clients/python)

Change a vector here, run it, and let the tests of both sides (Rust and Python) agree with the file.
"""

import json
import os
import struct

from trendsrv import ids, wire

from . import vectors

CORPUS = os.path.join(
    os.path.dirname(__file__), os.pardir, os.pardir, os.pardir, "tests", "fuzz", "corpus", "frame"
)
U64_MAX = 0xFFFF_FFFF_FFFF_FFFF
MS = 1_442_016_000_000
LONG_NAME = "n" * 255
LONG_UTF8_NAME = "é" * 127 + "x"


def document():
    """The vectors, as the file holds them."""
    frames = [_frame(*row) for row in _frames()]
    bad = [dict(zip(("name", "hex", "rule", "refusal", "index"), row)) for row in _malformed()]
    return {"ids": [_id(name) for name in _names()], "frames": frames, "malformed": bad}


def main():
    written = document()
    with open(vectors.PATH, "w", encoding="utf-8") as file:
        file.write("{\n")
        lists = []
        for key, rows in written.items():
            lines = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows)
            lists.append(f' "{key}": [\n{lines}\n ]')
        file.write(",\n".join(lists) + "\n}\n")
    os.makedirs(CORPUS, exist_ok=True)
    for row in written["frames"] + written["malformed"]:
        with open(os.path.join(CORPUS, row["name"].replace(" ", "-")), "wb") as file:
            file.write(bytes.fromhex(row["hex"]))


def _names():
    """One name at each edge of the branches of XXH3, and some of people's."""
    alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
    for size in (1, 2, 3, 4, 5, 8, 9, 12, 16, 17, 32, 33, 64, 65, 96, 97, 128, 129, 144, 160, 239):
        yield (alphabet * 8)[:size]
    for size in (240, 241, 254, 255):
        yield (alphabet * 8)[:size]
    yield from ("#en.wikipedia", "naïve café", "東京", "🚀 launch", LONG_UTF8_NAME, "a b")


def _id(name):
    number = ids.name_id(name)
    return {"name": name, "id": f"{number:016x}", "vnode": ids.vnode(number)}


def _frame(name, kind, fields, tag=0):
    raw = wire.encode(kind, fields, tag)
    shown = vectors.to_json(kind, fields)
    return {"name": name, "kind": kind, "tag": tag, "hex": raw.hex(), "fields": shown}


def _frames():
    yield from _greetings()
    yield from _events()
    yield from _names_frames()
    yield from _replies()
    yield from _answers()


def _hello(**changes):
    fields = {"ack": "applied", "features": 0, "producer": 0, "epoch": 0, "lane": 0}
    return {**fields, "software": "", **changes}


def _hello_ok(**changes):
    fields = {
        "ack": "applied",
        "clock": "wall",
        "generation": 1,
        "features": 0,
        "server_time_ms": MS,
        "credit_until": 16_384,
        "next_seq": 1,
        "slide_ms": 1_000,
        "panes": 60,
        "frame_bytes_max": 1_048_576,
        "frame_events_max": 4_096,
        "shard": 0,
        "shards": [0] * 4_096,
        "addresses": [("127.0.0.1", 7_171)],
    }
    return {**fields, **changes}


def _greetings():
    yield "hello anonymous", "hello", _hello()
    named = _hello(ack="none", producer=0x0123_4567_89AB_CDEF, epoch=7, lane=3)
    yield "hello producer", "hello", {**named, "software": "trendctl/0.1.0 (naïve)"}
    edge = _hello(ack="received", features=U64_MAX, producer=U64_MAX, epoch=0xFFFF_FFFF)
    yield "hello edges", "hello", {**edge, "lane": 0xFFFF, "software": "s" * 64}
    yield "hello durable", "hello", _hello(ack="durable", producer=1, software="x")
    yield "hello_ok one shard", "hello_ok", _hello_ok()
    shards = [0] * 1_000 + [2] * 96 + [1] * 2_900 + [0, 1, 2, 0] * 25
    two = {"clock": "event", "generation": 9, "next_seq": U64_MAX, "shard": 2, "shards": shards}
    addresses = [("127.0.0.1", 40_001), ("::1", 40_002), ("2001:db8::8:800:200c:417a", 65_535)]
    yield "hello_ok three shards", "hello_ok", _hello_ok(**two, addresses=addresses)


def _event(tenant, topic, weight=1, offset_ms=0):
    return {"tenant": tenant, "topic": topic, "weight": weight, "offset_ms": offset_ms}


def _said(tenant, text, weight=1, offset_ms=0):
    return {"tenant": tenant, "text": text, "weight": weight, "offset_ms": offset_ms}


def _event_head(seq, events, base_ms=MS, generation=1):
    return {"seq": seq, "base_ms": base_ms, "generation": generation, "events": events}


def _events():
    t, a, b = (ids.name_id(name) for name in ("#en.wikipedia", "Mars", "Venus"))
    yield "events filler", "events", _event_head(42, [])
    yield "events one", "events", _event_head(1, [_event(t, a)])
    pair = [_event(t, a, 1_000_000_000, -60_000), _event(t, b, 2, 4_999)]
    yield "events weights and offsets", "events", _event_head(2, pair)
    edge = [_event(0, U64_MAX, 1, 0), _event(U64_MAX, 0, 1, -0x8000_0000)]
    last = _event_head(U64_MAX, edge, wire.TIME_MS_MAX, 0xFFFF_FFFF)
    yield "events edges", "events", last
    run = [_event(t, a, n) for n in range(1, 9)]
    yield "events run of one tenant", "events", _event_head(3, run)

    yield "events_named filler", "events_named", _event_head(43, [])
    yield "events_named one", "events_named", _event_head(1, [_event("#en.wikipedia", "Mars")])
    names = [
        _event("東京", "🚀 launch", 3, -1),
        _event(LONG_NAME, LONG_UTF8_NAME, 1_000_000_000, 1),
        _event("a", "b", 1, 0x7FFF_FFFF),
    ]
    yield "events_named edges", "events_named", _event_head(2, names)

    yield "text filler", "text", _event_head(44, [])
    yield "text one", "text", _event_head(1, [_said("acme", "Mars rover lands #space")])
    said = [
        _said("東京", "🚀 打ち上げ", 3, -1),
        _said(LONG_NAME, "ß" * 2_048, 1_000_000_000, 1),
        _said("a", "b", 1, 0x7FFF_FFFF),
        _said("a", "two\nlines\tand \x1b[1mother\x7f controls\x85"),
    ]
    yield "text edges", "text", _event_head(2, said)


def _names_frames():
    tenants = ("a", "東京", LONG_NAME)
    define = [{"kind": "tenant", "id": ids.name_id(name), "name": name} for name in tenants]
    define.append({"kind": "topic", "id": ids.name_id("a"), "name": "a"})
    yield "define none", "define", {"names": []}
    yield "define one", "define", {"names": define[-1:]}
    yield "define edges", "define", {"names": define}
    yield "need none", "need", {"ids": []}
    need = [{"kind": "tenant", "id": 0}, {"kind": "topic", "id": U64_MAX}]
    yield "need two", "need", {"ids": need}


def _refuse(**changes):
    fields = {"seq": 0, "expected_seq": 1, "code": "MALFORMED", "class": "never", "kind": 0}
    return {**fields, "retry_after_ms": 0, "index": None, "message": "", **changes}


def _replies():
    yield "ack first", "ack", {"seq": 0, "credit_until": 16_384}
    yield "ack edges", "ack", {"seq": U64_MAX, "credit_until": U64_MAX}
    yield "refuse framing lost", "refuse", _refuse(message="frame header check is wrong")
    entry = _refuse(seq=9, expected_seq=9, kind=3, index=0, message="entry 0: weight is 0")
    yield "refuse entry", "refuse", entry
    later = _refuse(seq=U64_MAX, expected_seq=U64_MAX, code="OVERLOADED", message="é" * 256)
    later.update({"kind": 4, "class": "later", "retry_after_ms": 0xFFFF_FFFF, "index": 4_095})
    yield "refuse edges", "refuse", later
    gap = _refuse(seq=12, expected_seq=10, code="SEQ_GAP", kind=3, message="10 comes next")
    yield "refuse gap", "refuse", {**gap, "class": "resend"}
    for number, code in enumerate(wire.REFUSALS[1:], 1):
        fields = _refuse(code=code, kind=9, message=code)
        fields["class"] = _class_of(code)
        yield f"refuse code {number}", "refuse", fields, number
    yield "ping", "ping", {"nonce": 0x0123_4567_89AB_CDEF}
    yield "ping edges", "ping", {"nonce": U64_MAX}, 0xFFFF_FFFF
    yield "pong", "pong", {"nonce": 0x0123_4567_89AB_CDEF}, 5
    yield "pong zero", "pong", {"nonce": 0}
    yield "goaway", "goaway", {"drain_ms": 5_000, "message": "the server restarts"}
    yield "goaway edges", "goaway", {"drain_ms": 0xFFFF_FFFF, "message": "m" * 512}
    yield "goaway silent", "goaway", {"drain_ms": 0, "message": ""}


def _class_of(code):
    if code in ("RATE_LIMITED", "OVERLOADED", "DISK_FULL", "TENANTS_FULL", "PROGRAM_FAILED"):
        return "later"
    if code in ("CREDIT_EXCEEDED", "SEQ_GAP"):
        return "resend"
    if code in ("STORAGE_FAILED", "PRODUCER_UNKNOWN", "GOAWAY"):
        return "reconnect"
    return "never"


def _summary(**changes):
    fields = dict.fromkeys(wire.SUMMARY_NUMBERS, 0)
    fields.update(window_ms=60_000, slide_ms=1_000, flags=[], tldr="", program="", topics=[])
    return {**fields, **changes}


def _topic(**changes):
    fields = {"topic": 1, "count": 5, "low": 5, "high": 5, "velocity_milli": 0, "score_milli": 0}
    return {**fields, "trend": "steady", "name": "", "sample": "", **changes}


def _answers():
    t = ids.name_id("#en.wikipedia")
    yield "query now", "query", {"tenant": t, "at_ms": None, "k": 10, "rank": "score"}, 7
    edge = {"tenant": U64_MAX, "at_ms": wire.TIME_MS_MAX, "k": 100, "rank": "count"}
    yield "query edges", "query", edge, 0xFFFF_FFFF
    yield "subscribe", "subscribe", {"tenant": t, "k": 1, "rank": "score", "on": True}, 8
    yield "unsubscribe", "subscribe", {"tenant": t, "k": 100, "rank": "count", "on": False}, 8
    yield "summary empty", "summary", _summary(tenant=t), 7
    mars = _topic(topic=ids.name_id("Mars"), name="Mars", trend="rising", score_milli=4_200)
    rows = [mars, _topic(velocity_milli=-1_500, score_milli=-2_001, trend="falling")]
    counts = {"as_of_ms": MS, "version": 3, "total": 10, "events": 10, "distinct": 2}
    flags = ["known", "exact", "distinct_exact", "certified"]
    one = _summary(tenant=t, **counts, flags=flags, topics=rows)
    yield "summary exact", "summary", one, 7
    most = dict.fromkeys(wire.SUMMARY_NUMBERS, U64_MAX)
    most.update(window_ms=0xFFFF_FFFF, slide_ms=0xFFFF_FFFF, flags=["known"], tldr="é" * 256)
    wide = {"topic": U64_MAX, "count": U64_MAX, "low": 0, "high": U64_MAX, "trend": "new"}
    low = {"velocity_milli": -(1 << 63), "score_milli": (1 << 63) - 1}
    last = _topic(**wide, **low, name=LONG_NAME, sample="ß" * 2_048)
    most.update(program="p" * 255, topics=[last])
    yield "summary edges", "summary", most, 0xFFFF_FFFF
    yield "update", "update", one, 8
    many = [_topic(topic=n, count=200 - n, name=f"topic {n}") for n in range(100)]
    yield "update full", "update", _summary(tenant=1, flags=["known"], topics=many), 9


def _raw(kind, body, tag=0, flags=0):
    """A frame with right checksums around any body."""
    head = struct.pack("<IBB", 16 + len(body), kind, flags)
    tail = struct.pack("<II", tag, ids.crc32c(body))
    return head + struct.pack("<H", ids.crc32c(head + tail) & 0xFFFF) + tail + body


def _malformed():
    ping = wire.encode("ping", {"nonce": 1})
    fields = {"length": 0, "kind": 4, "flags": 5, "check": 6, "tag": 8, "crc": 12}
    for name, at in fields.items():
        bad = bytearray(ping)
        bad[at] ^= 1
        yield f"bad header {name} bit", bad.hex(), "check", "MALFORMED", None
    for name, length in (("short", 15), ("long", (1 << 20) + 1)):
        head = struct.pack("<IBB", length, 13, 0)
        tail = struct.pack("<II", 0, 0)
        raw = head + struct.pack("<H", ids.crc32c(head + tail) & 0xFFFF) + tail
        yield f"bad length too {name}", raw.hex(), "length", "MALFORMED", None
    bad = bytearray(ping)
    bad[20] ^= 0x80
    yield "bad body bit", bad.hex(), "crc", "MALFORMED", None
    yield "bad flags", _raw(13, bytes(8), flags=1).hex(), "flags", "MALFORMED", None
    yield "bad kind 0", _raw(0, b"").hex(), "kind", "MALFORMED", None
    yield "bad kind 17", _raw(17, b"x").hex(), "kind", "MALFORMED", None
    for kind, body, name, rule, refusal, index in _bad_bodies():
        yield "bad " + name, _raw(wire.KINDS[kind], body).hex(), rule, refusal, index


def _bad_bodies():
    m = "MALFORMED"
    hello = wire.encode("hello", _hello(software="ab"))[16:]
    yield "hello", b"DNRT" + hello[4:], "hello magic", "magic", m, None
    yield "hello", hello[:4] + b"\x02" + hello[5:], "hello version", "version", "UNSUPPORTED", None
    yield "hello", hello[:6] + b"\x04" + hello[7:], "hello ack mode", "range", m, None
    yield "hello", hello[:7] + b"\x01" + hello[8:], "hello reserved", "range", m, None
    yield "hello", hello[:30] + b"\x41\0" + b"s" * 65, "hello software length", "range", m, None
    yield "hello", hello[:-1], "hello cut", "short", m, None
    yield "hello", hello + b"x", "hello trailing", "trailing", m, None
    yield "hello", hello[:-1] + b"\xff", "hello software utf8", "utf8", m, None
    yield "hello", b"", "hello empty", "short", m, None
    yield from _bad_events(m)
    yield from _bad_named(m)
    yield from _bad_texts(m)
    yield from _bad_lists(m)
    yield from _bad_asks(m)


def _bad_events(m):
    def frame(records, base_ms=MS, count=None):
        count = len(records) if count is None else count
        head = struct.pack("<QQII", 1, base_ms, 1, count)
        return head + b"".join(struct.pack("<QQIi", *record) for record in records)

    good = (1, 2, 1, 0)
    heavy = (1, 2, 1_000_000_001, 0)
    yield "events", frame([good, (1, 2, 0, 0)]), "events zero weight", "entry", m, 1
    yield "events", frame([heavy, good]), "events huge weight", "entry", m, 0
    yield "events", frame([good, good, (1, 2, 1, -6)], 5), "events before 1970", "entry", m, 2
    late = frame([(1, 2, 1, 1)], wire.TIME_MS_MAX)
    yield "events", late, "events after 9999", "entry", m, 0
    yield "events", frame([], wire.TIME_MS_MAX + 1), "events base_ms", "range", m, None
    yield "events", frame([good], count=2), "events count too large", "short", m, None
    yield "events", frame([good, good], count=1), "events count too small", "trailing", m, None
    yield "events", frame([], count=4_097), "events too many", "too_many", "TOO_LARGE", None
    yield "events", frame([])[:23], "events head cut", "short", m, None


def _bad_named(m):
    def frame(tenant, topic, zero=0, weight=1, extra=b"", count=1):
        head = struct.pack("<QQII", 1, MS, 1, count)
        event = struct.pack("<BBHIi", len(tenant), len(topic), zero, weight, 0)
        return head + event + tenant + topic + extra

    yield "events_named", frame(b"", b"b"), "events_named empty tenant", "name", m, 0
    yield "events_named", frame(b"a", b""), "events_named empty topic", "name", m, 0
    yield "events_named", frame(b"a", b"b\n"), "events_named line feed", "name", m, 0
    yield "events_named", frame(b"a\x7f", b"b"), "events_named delete", "name", m, 0
    c1 = "a\x85".encode()
    yield "events_named", frame(c1, b"b"), "events_named next line", "name", m, 0
    yield "events_named", frame(b"\xc3", b"b"), "events_named utf8", "name", m, 0
    yield "events_named", frame(b"a", b"\xed\xa0\x80"), "events_named surrogate", "name", m, 0
    yield "events_named", frame(b"a", b"b", zero=1), "events_named reserved", "entry", m, 0
    yield "events_named", frame(b"a", b"b", weight=0), "events_named zero weight", "entry", m, 0
    more = frame(b"a", b"b", extra=b"c")
    yield "events_named", more, "events_named trailing", "trailing", m, None
    yield "events_named", frame(b"a", b"b", count=2), "events_named count", "short", m, None
    many = frame(b"a", b"b", count=5_000)
    yield "events_named", many, "events_named too many", "too_many", "TOO_LARGE", None
    second = struct.pack("<BBHIi", 1, 0, 0, 1, 0) + b"a"
    bad = frame(b"a", b"b", extra=second, count=2)
    yield "events_named", bad, "events_named second event", "name", m, 1


def _bad_texts(m):
    def text(tenant=b"a", said=b"b", zero=0, weight=1, offset_ms=0, size=None):
        size = len(said) if size is None else size
        head = struct.pack("<BBHIi", len(tenant), zero, size, weight, offset_ms)
        return head + tenant + said

    def frame(*texts, count=None, base_ms=MS):
        count = len(texts) if count is None else count
        return struct.pack("<QQII", 1, base_ms, 1, count) + b"".join(texts)

    yield "text", frame(text(tenant=b"")), "text empty tenant", "name", m, 0
    yield "text", frame(text(tenant=b"a\n")), "text tenant line feed", "name", m, 0
    yield "text", frame(text(said=b"")), "text empty", "text", m, 0
    yield "text", frame(text(said=b"t" * 4_097)), "text too long", "text", m, 0
    yield "text", frame(text(said=b"b\xff")), "text utf8", "text", m, 0
    yield "text", frame(text(said=b"a\0b")), "text nul", "text", m, 0
    yield "text", frame(text(), text(said=b"\xed\xa0\x80")), "text surrogate", "text", m, 1
    yield "text", frame(text(zero=1)), "text reserved", "entry", m, 0
    yield "text", frame(text(), text(weight=0)), "text zero weight", "entry", m, 1
    yield "text", frame(text(weight=1_000_000_001)), "text huge weight", "entry", m, 0
    yield "text", frame(text(offset_ms=-6), base_ms=5), "text before 1970", "entry", m, 0
    yield "text", frame(base_ms=wire.TIME_MS_MAX + 1), "text base_ms", "range", m, None
    yield "text", frame(text(size=2)), "text cut", "short", m, None
    yield "text", frame(text(), count=2), "text count too large", "short", m, None
    yield "text", frame(text(), text(), count=1), "text count too small", "trailing", m, None
    yield "text", frame(count=4_097), "text too many", "too_many", "TOO_LARGE", None


def _bad_lists(m):
    def define(kind, name, number=None, zero=0, head_zero=0):
        number = ids.xxh3_64(name) if number is None else number
        entry = struct.pack("<BBHQ", kind, len(name), zero, number)
        return struct.pack("<II", 1, head_zero) + entry + name

    yield "define", define(1, b"a", number=5), "define wrong id", "wrong_id", m, 0
    yield "define", define(0, b"a"), "define kind 0", "entry", m, 0
    yield "define", define(3, b"a"), "define kind 3", "entry", m, 0
    yield "define", define(1, b""), "define empty name", "name", m, 0
    yield "define", define(2, b"\xff"), "define utf8", "name", m, 0
    yield "define", define(1, b"a", zero=1), "define reserved", "entry", m, 0
    yield "define", define(1, b"a", head_zero=1), "define head reserved", "entry", m, 0
    yield "define", define(1, b"ab")[:-1], "define cut", "short", m, None
    many = struct.pack("<II", 4_097, 0)
    yield "define", many, "define too many", "too_many", "TOO_LARGE", None
    yield "need", many, "need too many", "too_many", "TOO_LARGE", None
    need = struct.pack("<IIQB7x", 1, 0, 1, 1)
    yield "need", need[:16] + b"\x03" + need[17:], "need kind", "entry", m, 0
    yield "need", need[:-1] + b"\x01", "need reserved", "entry", m, 0
    yield "need", need[:-1], "need cut", "short", m, None


def _bad_asks(m):
    def query(at_ms=0, k=10, rank=0, zero=0):
        return struct.pack("<QQHBB4x", 1, at_ms, k, rank, zero)

    def subscribe(k=10, rank=0, on=1, zero=0):
        return struct.pack("<QHBBI", 1, k, rank, on, zero)

    yield "query", query(k=0), "query k 0", "range", m, None
    yield "query", query(k=101), "query k 101", "range", m, None
    yield "query", query(rank=2), "query rank", "range", m, None
    yield "query", query(at_ms=wire.TIME_MS_MAX + 1), "query at_ms", "range", m, None
    yield "query", query(zero=1), "query reserved", "range", m, None
    yield "query", query()[:-1], "query cut", "short", m, None
    yield "query", query() + b"x", "query trailing", "trailing", m, None
    yield "subscribe", subscribe(k=0), "subscribe k", "range", m, None
    yield "subscribe", subscribe(on=2), "subscribe on", "range", m, None
    yield "subscribe", subscribe(zero=1), "subscribe reserved", "range", m, None
    yield "ping", bytes(7), "ping cut", "short", m, None
    yield "ping", bytes(9), "ping trailing", "trailing", m, None
    yield "ack", bytes(15), "ack cut", "short", m, None
    refuse = bytearray(wire.encode("refuse", _refuse())[16:])
    refuse[18] = 4
    yield "refuse", bytes(refuse), "refuse class", "range", m, None
    yield "goaway", struct.pack("<IHH", 0, 513, 0) + b"m" * 513, "goaway message", "range", m, None
    summary = wire.encode("summary", _summary(topics=[_topic()]))[16:]
    yield "summary", summary[:-8] + b"\x04" + summary[-7:], "summary trend", "entry", m, 0
    yield "summary", summary[:92] + b"\x65" + summary[93:], "summary topic count", "range", m, None
    yield "summary", summary[:-1], "summary cut", "short", m, None


if __name__ == "__main__":
    main()
