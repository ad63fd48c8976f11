"""The Python side of docs/protocol-vectors.json; proto/tests/vectors.rs is the other."""

import unittest

from trendsrv import ids, wire

from . import vectors, write_vectors

DOCUMENT = vectors.load()


class Vectors(unittest.TestCase):
    def test_ids_and_vnodes_are_those_of_the_file(self):
        self.assertGreater(len(DOCUMENT["ids"]), 20)
        for row in DOCUMENT["ids"]:
            with self.subTest(row["name"]):
                number = ids.name_id(row["name"])
                self.assertEqual(f"{number:016x}", row["id"])
                self.assertEqual(ids.vnode(number), row["vnode"])

    def test_fields_encode_to_the_bytes(self):
        for row in DOCUMENT["frames"]:
            with self.subTest(row["name"]):
                fields = vectors.from_json(row["kind"], row["fields"])
                self.assertEqual(wire.encode(row["kind"], fields, row["tag"]).hex(), row["hex"])

    def test_bytes_decode_to_the_fields(self):
        for row in DOCUMENT["frames"]:
            with self.subTest(row["name"]):
                raw = bytes.fromhex(row["hex"])
                self.assertEqual(wire.split(raw + b"next"), raw)
                frame = wire.decode(raw)
                self.assertEqual((frame.kind, frame.tag), (row["kind"], row["tag"]))
                self.assertEqual(vectors.to_json(frame.kind, frame.fields), row["fields"])

    def test_the_file_is_what_its_writer_writes(self):
        self.assertEqual(DOCUMENT, write_vectors.document())

    def test_every_kind_has_two_vectors(self):
        kinds = [row["kind"] for row in DOCUMENT["frames"]]
        for kind in wire.KINDS:
            self.assertGreaterEqual(kinds.count(kind), 2, kind)

    def test_malformed_frames_are_refused_by_the_rule_they_break(self):
        for row in DOCUMENT["malformed"]:
            with self.subTest(row["name"]):
                raw = bytes.fromhex(row["hex"])
                with self.assertRaises(wire.WireError) as caught:
                    frame = wire.split(raw)
                    self.assertIsNotNone(frame, "a malformed vector is a whole frame")
                    wire.decode(frame)
                self.assertEqual(caught.exception.rule, row["rule"])
                self.assertEqual(caught.exception.index, row["index"])
                lost = row["rule"] in ("check", "length")
                self.assertEqual(isinstance(caught.exception, wire.FramingLost), lost)


class Split(unittest.TestCase):
    def test_every_cut_of_a_frame_is_incomplete(self):
        for row in DOCUMENT["frames"]:
            raw = bytes.fromhex(row["hex"])
            if len(raw) < 1_000:
                for size in range(len(raw)):
                    self.assertIsNone(wire.split(raw[:size]), row["name"])

    def test_every_flipped_bit_of_a_frame_is_found(self):
        for row in DOCUMENT["frames"]:
            raw = bytes.fromhex(row["hex"])
            if len(raw) > 80:
                continue
            for bit in range(8 * len(raw)):
                bad = bytearray(raw)
                bad[bit // 8] ^= 1 << bit % 8
                with self.assertRaises(wire.WireError):
                    wire.decode(wire.split(bad))


if __name__ == "__main__":
    unittest.main()
