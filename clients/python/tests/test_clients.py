"""Producer, Reader and the command line over real sockets, against the fake server."""

import contextlib
import io
import json
import unittest
from unittest import mock

from trendsrv import Disconnected, Producer, Reader, Refused, __main__, ids, parse_address

from .fake_server import FakeServer

TIMEOUT = 20


def count(server, tenant, topic):
    return server.counts.get((ids.name_id(tenant), ids.name_id(topic)), 0)


class Producers(unittest.TestCase):
    def test_everything_sent_is_counted_once(self):
        for by_id in (False, True):
            with self.subTest(by_id=by_id), FakeServer() as server:
                with Producer(server.host, server.port, by_id=by_id, timeout=TIMEOUT) as producer:
                    for n in range(3_000):
                        producer.send("t", f"topic {n % 7}", 2, n)
                total = sum(count(server, "t", f"topic {n}") for n in range(7))
                self.assertEqual(total, 6_000)
                self.assertEqual(producer.events_acknowledged, 3_000)
                self.assertEqual(len(server.names), 7)

    def test_texts_and_topics_are_counted_once_each(self):
        broken = []

        def misbehave(server, frame):
            if frame.kind == "text" and frame.fields["seq"] > 3 and not broken:
                broken.append(frame.fields["seq"])
                server._answer(frame)  # Counted, and never acknowledged.
                return None
            return b""

        with FakeServer(misbehave) as server:
            with Producer(server.host, server.port, timeout=TIMEOUT) as producer:
                for n in range(1_000):
                    producer.send_text("t", f"word{n % 3} and more of it", 2, n)
                    if n % 100 == 0:
                        producer.send("t", "word0", 1, n)
            self.assertEqual(len(broken), 1)
            counts = [count(server, "t", f"word{n}") for n in range(3)]
            self.assertEqual(counts, [2 * 334 + 10, 2 * 333, 2 * 333])
            self.assertEqual(producer.events_acknowledged, 1_010)

    def test_a_broken_connection_loses_and_doubles_nothing(self):
        broken = []

        def misbehave(server, frame):
            seq = frame.fields.get("seq")
            if seq in (3, 5) and seq not in broken:
                broken.append(seq)
                if seq == 5:
                    server._answer(frame)  # Counted, and never acknowledged.
                return None
            return b""

        with FakeServer(misbehave) as server:
            with Producer(server.host, server.port, timeout=TIMEOUT) as producer:
                for n in range(4_000):
                    producer.send("t", "x", 1, n)
            self.assertEqual(broken, [3, 5])
            self.assertEqual(server.connections, 3)
            self.assertEqual(count(server, "t", "x"), 4_000)
            self.assertEqual(producer.events_acknowledged, 4_000)

    def test_a_refused_frame_is_told_and_the_rest_goes_on(self):
        def misbehave(server, frame):
            events = frame.fields.get("events") or []
            if any(event["topic"] == "bad" for event in events):
                return server.refusal(frame.fields["seq"], "MALFORMED", "never")
            return b""

        with FakeServer(misbehave) as server:
            with Producer(server.host, server.port, timeout=TIMEOUT) as producer:
                for n in range(2_000):
                    producer.send("t", "bad" if n == 700 else "good", 1, n)
            refused = producer.events_refused
            self.assertEqual([r.code for r in producer.refused], ["MALFORMED"])
            self.assertEqual(count(server, "t", "good"), 2_000 - refused)
            self.assertGreater(refused, 0)

    def test_an_overloaded_server_is_asked_again(self):
        asked = []

        def misbehave(server, frame):
            if frame.kind == "events_named" and len(asked) < 3:
                asked.append(frame.fields["seq"])
                return server.refusal(frame.fields["seq"], "OVERLOADED", "later", wait=1)
            return b""

        with FakeServer(misbehave) as server:
            with Producer(server.host, server.port, timeout=TIMEOUT) as producer:
                producer.send("t", "x", 1, 0)
            self.assertEqual(asked, [1, 1, 1])
            self.assertEqual(count(server, "t", "x"), 1)

    def test_nobody_at_the_address_is_an_error(self):
        with FakeServer() as server:
            port = server.port
        with self.assertRaises(Disconnected):
            Producer("127.0.0.1", port, timeout=TIMEOUT)

    def test_a_refused_hello_says_why(self):
        def misbehave(server, frame):
            server.producer = 0
            return server.refusal(0, "UNSUPPORTED", "never", kind=1)

        with FakeServer(misbehave) as server, self.assertRaises(Refused) as caught:
            Producer(server.host, server.port, ack="durable", timeout=TIMEOUT)
        self.assertEqual(caught.exception.code, "UNSUPPORTED")


class Readers(unittest.TestCase):
    def test_an_answer_has_its_topics(self):
        with FakeServer() as server:
            server.counts = {(ids.name_id("t"), ids.name_id("b")): 2, (ids.name_id("t"), 7): 1}
            server.names = {ids.name_id("b"): "b"}
            with Reader(server.host, server.port, timeout=TIMEOUT) as reader:
                answer = reader.query("t")
                with self.assertRaises(Refused) as caught:
                    reader.query("nobody")
        self.assertEqual(caught.exception.code, "UNKNOWN_TENANT")
        self.assertTrue(answer.known and answer.exact)
        self.assertEqual(answer.total, 3)
        names = [(topic.name, topic.count) for topic in answer.topics]
        self.assertEqual(names, [("b", 2), ("id:0000000000000007", 1)])
        self.assertEqual((answer.topics[0].velocity, answer.topics[0].score), (1.5, -0.25))

    def test_a_subscription_gives_each_version_once(self):
        with FakeServer() as server, Reader(server.host, server.port, timeout=TIMEOUT) as reader:
            updates = reader.subscribe("t")
            self.assertEqual([next(updates).version for _ in range(2)], [1, 2])
            updates.close()
            server.counts = {(ids.name_id("t"), 7): 1}
            self.assertTrue(reader.query("t").known)

    def test_a_refused_query_says_why(self):
        def misbehave(server, frame):
            if frame.kind != "query":
                return b""
            return server.refusal(0, "MALFORMED", "never", kind=9, tag=frame.tag)

        with FakeServer(misbehave) as server:
            with Reader(server.host, server.port, timeout=TIMEOUT) as reader:
                with self.assertRaises(Refused):
                    reader.query("t", at_ms=1)


class CommandLine(unittest.TestCase):
    def run_main(self, server, *args, stdin=""):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with mock.patch("sys.stdin", io.StringIO(stdin)):
                code = __main__.main([*args, "--server", f"{server.host}:{server.port}"])
        return code, out.getvalue(), err.getvalue()

    def test_what_send_sends_top_shows(self):
        with FakeServer() as server:
            lines = "t\t1000\tx\t3\nt\t\ty\n"
            code, out, _ = self.run_main(server, "send", stdin=lines)
            self.assertEqual((code, out), (0, "2 events acknowledged, 0 refused\n"))
            code, out, _ = self.run_main(server, "send", "--tenant", "t", "--topic", "x")
            self.assertEqual(code, 0)
            code, out, _ = self.run_main(server, "top", "t", "--json")
            self.assertEqual(code, 0)
            answer = json.loads(out)
            self.assertEqual([t["count"] for t in answer["topics"]], [4, 1])
            code, out, _ = self.run_main(server, "top", "t")
            self.assertIn(" x\n", out)

    def test_a_bad_line_is_named(self):
        with FakeServer() as server:
            code, _, err = self.run_main(server, "send", stdin="t\t1\tx\nt\n")
            self.assertEqual(code, 1)
            self.assertIn("line 2: 1 columns", err)

    def test_an_address_needs_its_port(self):
        self.assertEqual(parse_address("[::1]:7171"), ("::1", 7_171))
        for bad in ("localhost", "a:b", "a:0", "a:65536"):
            with self.assertRaises(ValueError):
                parse_address(bad)


if __name__ == "__main__":
    unittest.main()
