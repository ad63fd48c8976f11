"""The producer's rules of docs/protocol.md, without socket or clock."""

import unittest

from trendsrv import ids, wire
from trendsrv.errors import Refused, TrendError
from trendsrv.session import Session

EVENTS_NAMED = wire.KINDS["events_named"]
TEXT = wire.KINDS["text"]


def session(by_id=False, credit=1 << 20, next_seq=1):
    made = Session(by_id=by_id, jitter=lambda: 0.0)
    made.connected({"next_seq": next_seq, "generation": 5, "credit_until": credit})
    return made


def with_frames(count, **options):
    made = session(**options)
    for n in range(count):
        made.add("t", f"topic {n}", 1, 1_000)
        made.flush()
    return made


def frames(raw):
    found = []
    while raw:
        first = wire.split(raw)
        found.append(wire.decode(first))
        raw = raw[len(first) :]
    return found


def seqs(raw):
    return [frame.fields["seq"] for frame in frames(raw)]


def ack(seq, credit=1 << 20):
    return wire.Frame("ack", 0, {"seq": seq, "credit_until": credit})


def refuse(seq, expected, code="MALFORMED", retry_class="never", kind=EVENTS_NAMED, wait=0):
    fields = {"seq": seq, "expected_seq": expected, "code": code, "class": retry_class}
    fields.update(kind=kind, retry_after_ms=wait, index=None, message="why")
    return wire.Frame("refuse", 0, fields)


class Sequence(unittest.TestCase):
    def test_frames_carry_dense_numbers_from_next_seq(self):
        made = with_frames(3, next_seq=7)
        self.assertEqual(seqs(made.transmit(0)), [7, 8, 9])
        self.assertEqual(made.transmit(0), b"")

    def test_an_ack_is_cumulative(self):
        made = with_frames(3)
        made.transmit(0)
        made.receive(ack(2), 0)
        self.assertEqual((made.frames_waiting, made.events_acknowledged), (1, 2))
        made.receive(ack(3), 0)
        self.assertTrue(made.is_idle)

    def test_a_frame_refused_for_good_gives_its_place_to_a_filler(self):
        made = with_frames(3)
        made.transmit(0)
        made.receive(refuse(2, 2), 0)
        again = frames(made.transmit(0))
        self.assertEqual([f.fields["seq"] for f in again], [2, 3])
        self.assertEqual([len(f.fields["events"]) for f in again], [0, 1])
        self.assertEqual(made.events_refused, 1)
        self.assertEqual(made.refused[0].code, "MALFORMED")

    def test_the_echo_of_a_refusal_is_passed_over(self):
        made = with_frames(4)
        made.transmit(0)
        made.receive(refuse(2, 2), 0)
        self.assertEqual(seqs(made.transmit(0)), [2, 3, 4])
        for seq in (3, 4):
            made.receive(refuse(seq, 2, "SEQ_GAP", "resend"), 0)
        self.assertEqual(made.transmit(0), b"")
        made.receive(ack(4), 0)
        self.assertEqual((made.events_acknowledged, made.events_refused), (3, 1))

    def test_a_gap_that_nothing_was_said_about_is_mended(self):
        made = with_frames(4)
        made.transmit(0)
        made.receive(refuse(4, 3, "SEQ_GAP", "resend"), 0)
        self.assertEqual(seqs(made.transmit(0)), [3, 4])
        made.receive(refuse(4, 3, "SEQ_GAP", "resend"), 0)
        self.assertEqual(made.transmit(0), b"")

    def test_a_frame_refused_by_two_shards_costs_its_events_once(self):
        made = with_frames(2)
        made.transmit(0)
        for _ in range(2):
            made.receive(refuse(1, 1, "ID_COLLISION"), 0)
            self.assertEqual(seqs(made.transmit(0)), [1, 2])
        self.assertEqual((made.events_refused, len(made.refused)), (1, 1))

    def test_a_filler_that_is_always_refused_ends_it(self):
        made = with_frames(1)
        with self.assertRaises(Refused):
            while True:
                made.transmit(0)
                made.receive(refuse(1, 1), 0)

    def test_a_frame_too_damaged_to_tell_its_number_is_the_expected_one(self):
        made = with_frames(2)
        made.transmit(0)
        made.receive(refuse(0, 1), 0)
        self.assertEqual(seqs(made.transmit(0)), [1, 2])
        self.assertEqual(made.events_refused, 1)

    def test_later_waits_as_told_and_longer_each_time(self):
        made = with_frames(1)
        made.transmit(0)
        waits = []
        now = 0
        for _ in range(4):
            made.receive(refuse(1, 1, "OVERLOADED", "later", wait=100), now)
            waits.append(made.resume_in_ms(now))
            self.assertEqual(made.transmit(now + waits[-1] - 1), b"")
            now += waits[-1]
            self.assertEqual(seqs(made.transmit(now)), [1])
        self.assertEqual(waits, [100, 100, 200, 400])
        self.assertEqual(made.events_refused, 0)

    def test_a_fenced_producer_stops(self):
        made = with_frames(1)
        made.transmit(0)
        with self.assertRaises(Refused):
            made.receive(refuse(1, 1, "FENCED"), 0)

    def test_a_lost_producer_takes_a_new_epoch(self):
        made = with_frames(1)
        made.transmit(0)
        made.receive(refuse(1, 1, "PRODUCER_UNKNOWN", "reconnect"), 0)
        self.assertTrue(made.reconnect_wanted and made.epoch_is_stale)


class Texts(unittest.TestCase):
    def test_texts_and_topics_share_the_sequence_and_keep_their_order(self):
        for by_id in (False, True):
            made = session(by_id=by_id)
            made.add("t", "a", 1, 1_000)
            made.add_text("t", "two\nlines #b", 2, 1_001)
            made.add_text("u", "c", 3, 1_002)
            made.add("t", "d", 1, 1_003)
            made.flush()
            sent = frames(made.transmit(0))
            topics = "events" if by_id else "events_named"
            self.assertEqual([f.kind for f in sent], [topics, "text", topics])
            self.assertEqual([f.fields["seq"] for f in sent], [1, 2, 3])
            first = {"tenant": "t", "text": "two\nlines #b", "weight": 2, "offset_ms": 0}
            self.assertEqual(sent[1].fields["events"][0], first)
            made.receive(ack(3), 0)
            self.assertEqual(made.events_acknowledged, 4)

    def test_a_refused_text_frame_becomes_a_filler_that_older_servers_know(self):
        made = session()
        made.add_text("t", "x", 1, 0)
        made.add("t", "y", 1, 0)
        made.flush()
        made.transmit(0)
        made.receive(refuse(0, 1, kind=TEXT), 0)
        again = frames(made.transmit(0))
        self.assertEqual([(f.kind, len(f.fields["events"])) for f in again][0], ("events", 0))
        self.assertEqual([f.fields["seq"] for f in again], [1, 2])
        self.assertEqual(made.events_refused, 1)

    def test_bad_texts_are_told_at_once(self):
        made = session()
        for bad in (("t", "", 1, 0), ("t", "x" * 4_097, 1, 0), ("t", "a\0", 1, 0)):
            with self.assertRaises(ValueError):
                made.add_text(*bad)
        for bad in (("t", "\ud800", 1, 0), ("", "x", 1, 0), ("t", "x", 0, 0), ("t", "x", 1, -1)):
            with self.assertRaises(ValueError):
                made.add_text(*bad)
        self.assertTrue(made.is_idle)

    def test_no_text_frame_is_larger_than_the_first_credit(self):
        made = session()
        for n in range(20):
            made.add_text("t" * 255, "ß" * 2_048, 1, n)
        made.flush()
        sent = frames(made.transmit(0))
        self.assertEqual(sum(len(f.fields["events"]) for f in sent), 20)
        sizes = [len(wire.encode(f.kind, f.fields)) for f in sent]
        self.assertLessEqual(max(sizes), wire.CREDIT_INITIAL)


class Reconnect(unittest.TestCase):
    def again(self, made, next_seq):
        made.disconnected()
        self.assertEqual(made.transmit(0), b"")
        made.connected({"next_seq": next_seq, "generation": 5, "credit_until": 1 << 20})

    def test_next_seq_acknowledges_nothing(self):
        made = with_frames(3)
        made.transmit(0)
        made.receive(ack(1), 0)
        for next_seq in (4, 2, 3):
            self.again(made, next_seq)
            self.assertEqual(seqs(made.transmit(0)), [2, 3])
        self.assertEqual(made.events_acknowledged, 1)

    def test_marks_that_may_be_given_up_cost_what_was_sent_and_a_new_epoch(self):
        made = with_frames(3)
        made.transmit(0)
        made.receive(ack(1), 0)
        made.add("t", "x", 1, 0)
        made.flush()
        self.again(made, 0)
        self.assertTrue(made.epoch_is_stale and made.reconnect_wanted)
        self.assertEqual(made.transmit(0), b"")
        made.start_epoch()
        self.again(made, 1)
        self.assertFalse(made.epoch_is_stale)
        self.assertEqual(seqs(made.transmit(0)), [1])
        self.assertEqual((made.events_uncertain, made.events_acknowledged), (2, 1))

    def test_another_program_with_the_same_id_is_told(self):
        made = with_frames(3)
        made.transmit(0)
        with self.assertRaises(TrendError):
            self.again(made, 5)

    def test_a_server_that_forgot_gets_new_numbers(self):
        made = with_frames(3)
        made.transmit(0)
        made.receive(ack(1), 0)
        made.connected({"next_seq": 1, "generation": 5, "credit_until": 1 << 20})
        self.assertEqual(seqs(made.transmit(0)), [1, 2])
        made.add("t", "x", 1, 0)
        made.flush()
        self.assertEqual(seqs(made.transmit(0)), [3])

    def test_nothing_new_is_sent_to_a_server_that_goes_away(self):
        made = with_frames(1)
        made.receive(wire.Frame("goaway", 0, {"drain_ms": 1, "message": ""}), 0)
        self.assertEqual(made.transmit(0), b"")
        self.assertFalse(made.answers_due)


class Credit(unittest.TestCase):
    def test_never_sends_beyond_its_credit(self):
        made = with_frames(5)
        size = len(made.transmit(0)) // 5
        made = with_frames(5, credit=2 * size)
        self.assertEqual(seqs(made.transmit(0)), [1, 2])
        made.receive(ack(1, 3 * size), 0)
        self.assertEqual(seqs(made.transmit(0)), [3])
        made.receive(ack(1, 2 * size), 0)
        self.assertEqual(made.transmit(0), b"")
        made.receive(ack(1, 5 * size), 0)
        self.assertEqual(seqs(made.transmit(0)), [4, 5])

    def test_frames_sent_again_count_again(self):
        size = len(with_frames(1).transmit(0))
        made = with_frames(2, credit=3 * size)
        made.transmit(0)
        made.receive(refuse(1, 1, "CREDIT_EXCEEDED", "resend"), 0)
        self.assertEqual(seqs(made.transmit(0)), [1])
        made.receive(ack(0, 4 * size), 0)
        self.assertEqual(seqs(made.transmit(0)), [2])

    def test_no_frame_is_larger_than_the_first_credit(self):
        made = session()
        for n in range(200):
            made.add("t" * 255, f"{n}" + "x" * 250, 1, n)
        made.flush()
        raw = made.transmit(0)
        sizes = []
        while raw:
            sizes.append(len(wire.split(raw)))
            raw = raw[sizes[-1] :]
        self.assertGreater(len(sizes), 5)
        self.assertLessEqual(max(sizes), wire.CREDIT_INITIAL)


class Batches(unittest.TestCase):
    def test_times_beyond_an_offset_begin_a_new_frame(self):
        made = session()
        for ts_ms in (0, 0x7FFF_FFFF, 0x8000_0000, 1):
            made.add("t", "x", 1, ts_ms)
        made.flush()
        times = [
            [f.fields["base_ms"] + e["offset_ms"] for e in f.fields["events"]]
            for f in frames(made.transmit(0))
        ]
        self.assertEqual(times, [[0, 0x7FFF_FFFF], [0x8000_0000, 1]])

    def test_bad_events_are_told_at_once(self):
        made = session()
        for bad in (("", "x", 1, 0), ("t", "x\n", 1, 0), ("t", "x" * 256, 1, 0)):
            with self.assertRaises(ValueError):
                made.add(*bad)
        for weight, ts_ms in ((0, 0), (1_000_000_001, 0), (1, -1), (1, wire.TIME_MS_MAX + 1)):
            with self.assertRaises(ValueError):
                made.add("t", "x", weight, ts_ms)
        self.assertTrue(made.is_idle)

    def test_ids_are_named_when_the_server_asks(self):
        made = session(by_id=True)
        made.add("t", "東京", 2, 5)
        made.flush()
        (sent,) = frames(made.transmit(0))
        self.assertEqual(sent.kind, "events")
        tenant, topic = ids.name_id("t"), ids.name_id("東京")
        self.assertEqual(sent.fields["events"][0]["topic"], topic)
        asked = [{"kind": "tenant", "id": tenant}, {"kind": "topic", "id": topic}]
        asked.append({"kind": "topic", "id": 1})
        made.receive(wire.Frame("need", 0, {"ids": asked}), 0)
        (told,) = frames(made.transmit(0))
        self.assertEqual([entry["name"] for entry in told.fields["names"]], ["t", "東京"])

    def test_a_ping_is_answered(self):
        made = session()
        made.receive(wire.Frame("ping", 3, {"nonce": 9}), 0)
        self.assertEqual(frames(made.transmit(0)), [wire.Frame("pong", 3, {"nonce": 9})])


if __name__ == "__main__":
    unittest.main()
