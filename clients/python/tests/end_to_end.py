"""Against a running server, either clock:  python3 -m tests.end_to_end HOST:PORT

Sends to tenants with fresh names, so that it can run beside other load and as often as one likes.
Prints what it checked and exits with 0, or says what was wrong and exits with 1.
"""

import secrets
import socket
import sys

from trendsrv import Producer, Reader, Refused, TrendError, parse_address, wire
from trendsrv.connection import Connection, tick_ms

TIMEOUT = 10


def main(address):
    host, port = address
    checks = (
        named_events_are_counted_exactly,
        ids_are_named_when_the_server_asks,
        texts_become_topics_with_a_sample,
        a_frame_sent_again_counts_once,
        a_gap_is_refused_and_mended,
        a_subscription_sees_the_change,
        bad_queries_are_refused_and_the_connection_lives,
        every_malformed_frame_is_refused,
        lost_framing_closes_the_connection,
    )
    for check in checks:
        try:
            check(host, port, f"e2e-{secrets.token_hex(8)}")
        except (AssertionError, TrendError, OSError) as error:
            print(f"FAILED {check.__name__}: {type(error).__name__}: {error}")
            return 1
        print(f"ok {check.__name__}")
    print(f"{len(checks)} checks passed")
    return 0


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def named_events_are_counted_exactly(host, port, tenant):
    with Reader(host, port, timeout=TIMEOUT) as reader:
        now_ms = reader.welcome["server_time_ms"]
        with Producer(host, port, timeout=TIMEOUT) as producer:
            for n in range(2_000):
                producer.send(tenant, f"topic {n % 5} é", 1 + n % 5, now_ms)
        equal(producer.events_refused, 0)
        answer = reader.query(tenant, rank="count")
        equal((answer.total, answer.events, answer.distinct), (6_000, 2_000, 5))
        assert answer.known and answer.exact, "a tenant with five topics is exact"
        rows = [(topic.name, topic.count, topic.low, topic.high) for topic in answer.topics]
        counts = [(f"topic {n} é", 400 * (n + 1)) for n in (4, 3, 2, 1, 0)]
        equal(rows, [(name, count, count, count) for name, count in counts])


def ids_are_named_when_the_server_asks(host, port, tenant):
    topic = f"topic of {tenant}"
    with Reader(host, port, timeout=TIMEOUT) as reader:
        now_ms = reader.welcome["server_time_ms"]
        with Producer(host, port, by_id=True, timeout=TIMEOUT) as producer:
            producer.send(tenant, topic, 7, now_ms)
            producer.flush()
            # NEED comes when the server likes: each flush takes what has arrived.
            deadline = tick_ms() + TIMEOUT * 1_000
            while True:
                rows = [(row.name, row.count) for row in reader.query(tenant).topics]
                if rows == [(topic, 7)]:
                    return
                equal([count for _, count in rows], [7])
                assert tick_ms() < deadline, f"the server never asked for a name: {rows}"
                producer.poll(0.05)


def texts_become_topics_with_a_sample(host, port, tenant):
    with Reader(host, port, timeout=TIMEOUT) as reader:
        now_ms = reader.welcome["server_time_ms"]
        with Producer(host, port, timeout=TIMEOUT) as producer:
            for n in range(600):
                producer.send_text(tenant, f"message {n} of #tag{n % 3}\n", 2, now_ms)
        equal(producer.events_refused, 0)
        answer = reader.query(tenant, rank="count")
        rows = [(topic.name, topic.count) for topic in answer.topics]
        equal(rows, [(f"#tag{n}", 400) for n in range(3)])
        for topic in answer.topics:
            assert topic.name in topic.sample, f"{topic.sample!r} is about another topic"


def a_frame_sent_again_counts_once(host, port, tenant):
    producer = secrets.randbits(63) | 1
    frame = None
    for attempt in (1, 2):
        connection = Connection(host, port, timeout=TIMEOUT, producer=producer)
        if frame is None:
            frame = _named(connection, 1, tenant, "x", 5)
        equal(connection.welcome["next_seq"], attempt)
        connection.send(frame)
        equal(_until(connection, "ack").fields["seq"], 1)
        connection.close()
    with Reader(host, port, timeout=TIMEOUT) as reader:
        equal(reader.query(tenant).total, 5)


def a_gap_is_refused_and_mended(host, port, tenant):
    connection = Connection(host, port, timeout=TIMEOUT)
    connection.send(_named(connection, 2, tenant, "x", 5))
    refused = _until(connection, "refuse").fields
    equal((refused["code"], refused["seq"], refused["expected_seq"]), ("SEQ_GAP", 2, 1))
    connection.send(_named(connection, 1, tenant, "x", 1) + _named(connection, 2, tenant, "x", 2))
    while _until(connection, "ack").fields["seq"] < 2:
        pass
    connection.close()
    with Reader(host, port, timeout=TIMEOUT) as reader:
        equal(reader.query(tenant).total, 3)


def a_subscription_sees_the_change(host, port, tenant):
    with Reader(host, port, timeout=TIMEOUT) as reader:
        now_ms = reader.welcome["server_time_ms"]
        with Producer(host, port, timeout=TIMEOUT) as producer:
            producer.send(tenant, "x", 3, now_ms)
            producer.flush()
            updates = reader.subscribe(tenant, timeout=TIMEOUT)
            equal(next(updates).total, 3)
            producer.send(tenant, "x", 4, now_ms)
            producer.flush()
            equal(next(updates).total, 7)


def bad_queries_are_refused_and_the_connection_lives(host, port, tenant):
    with Reader(host, port, timeout=TIMEOUT) as reader:
        for bad in ({"k": 0}, {"k": 101}, {"at_ms": wire.TIME_MS_MAX + 1}):
            try:
                reader.query(tenant, **bad)
            except Refused as refused:
                equal(refused.code, "MALFORMED")
            else:
                raise AssertionError(f"a query with {bad} was answered")
        try:
            reader.query(tenant)
        except Refused as refused:
            equal(refused.code, "UNKNOWN_TENANT")
        else:
            raise AssertionError("a tenant without events was answered")


def every_malformed_frame_is_refused(host, port, _tenant):
    """Each malformed vector on one connection that goes on; those that lose framing apart."""
    from . import vectors

    connection = Connection(host, port, timeout=TIMEOUT)
    sent = 0
    for row in vectors.load()["malformed"]:
        if row["rule"] in ("check", "length"):
            continue
        raw = bytes.fromhex(row["hex"])
        connection.send(raw)
        refused = _until(connection, "refuse")
        got = (row["name"], refused.fields["kind"], refused.fields["code"])
        # A HELLO that comes second and frames of the server are refused by whatever is seen first.
        from_client = wire.KIND_WORDS.get(raw[4]) in ("events", "events_named", "define", "query")
        code = row["refusal"] if from_client else refused.fields["code"]
        equal(got, (row["name"], raw[4], code))
        sent += 1
    assert sent > 50, f"{sent} vectors"
    connection.send(wire.encode("ping", {"nonce": 7}, 1))
    equal(_until(connection, "pong").fields["nonce"], 7)
    connection.close()


def lost_framing_closes_the_connection(host, port, _tenant):
    connection = Connection(host, port, timeout=TIMEOUT)
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    equal(_until(connection, "refuse").fields["code"], "MALFORMED")
    try:
        connection.receive(TIMEOUT)
    except TrendError:
        pass
    else:
        raise AssertionError("the connection goes on after its framing was lost")
    # Without HELLO, too.
    with socket.create_connection((host, port), timeout=TIMEOUT) as raw:
        raw.sendall(b"\r\n" * 20)
        answer = b""
        while True:
            more = raw.recv(4_096)
            if not more:
                break
            answer += more
    first = wire.split(answer)
    assert first is not None, "closed without a REFUSE"
    equal(wire.decode(first).kind, "refuse")


def _named(connection, seq, tenant, topic, weight):
    event = {"tenant": tenant, "topic": topic, "weight": weight, "offset_ms": 0}
    fields = {"seq": seq, "base_ms": connection.welcome["server_time_ms"], "generation": 0}
    return wire.encode("events_named", {**fields, "events": [event]})


def _until(connection, kind):
    """The next frame of this kind; an ACK or REFUSE in its place is an error."""
    while True:
        frame = connection.receive(TIMEOUT)
        assert frame is not None, f"no {kind} within {TIMEOUT} s"
        if frame.kind == kind:
            return frame
        assert frame.kind not in ("refuse", "goaway"), f"{frame} in place of {kind}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 -m tests.end_to_end HOST:PORT")
    sys.exit(main(parse_address(sys.argv[1])))
