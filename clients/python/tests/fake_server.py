"""A server of a few lines for tests: it speaks the protocol and counts, in one thread."""

import socket
import threading

from trendsrv import ids, wire


class FakeServer:
    """Accepts one connection after the other. `misbehave(server, frame)` may return bytes to send
    in place of the right answer, or None to close the connection.
    """

    def __init__(self, misbehave=None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self.misbehave = misbehave
        self.next_seq = {}
        self.counts = {}
        self.names = {}
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes accept, which then sees that the listener is shut.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _serve(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with peer:
                self._talk(peer)

    def _talk(self, peer):
        buffer = bytearray()
        self.received = 0
        while True:
            raw = wire.split(buffer)
            if raw is None:
                more = peer.recv(65_536)
                if not more:
                    return
                buffer += more
                continue
            del buffer[: len(raw)]
            frame = wire.decode(raw)
            if frame.kind in wire.EVENT_KINDS:
                self.received += len(raw)
            answer = self.misbehave(self, frame) if self.misbehave else b""
            if answer is None:
                return
            peer.sendall(answer or self._answer(frame))

    def _answer(self, frame):
        return getattr(self, "_on_" + frame.kind)(frame.fields, frame.tag)

    def _on_hello(self, fields, _):
        self.producer = fields["producer"]
        self.next_seq.setdefault(self.producer, 1)
        ok = {"ack": fields["ack"], "clock": "event", "generation": 1, "features": 0}
        ok.update(server_time_ms=0, credit_until=wire.CREDIT_INITIAL, slide_ms=1_000, panes=60)
        ok.update(next_seq=self.next_seq[self.producer], frame_bytes_max=1 << 20)
        ok.update(frame_events_max=4_096, shard=0, shards=[0] * 4_096)
        return wire.encode("hello_ok", {**ok, "addresses": [(self.host, self.port)]})

    def _on_events_named(self, fields, _):
        named = [(ids.name_id(e["tenant"]), ids.name_id(e["topic"]), e) for e in fields["events"]]
        for _, topic, event in named:
            self.names[topic] = event["topic"]
        return self._count(fields["seq"], named)

    def _on_events(self, fields, _):
        named = [(e["tenant"], e["topic"], e) for e in fields["events"]]
        need = [{"kind": "topic", "id": t} for _, t, _ in named if t not in self.names]
        asked = wire.encode("need", {"ids": need}) if need else b""
        return asked + self._count(fields["seq"], named)

    def _on_text(self, fields, _):
        """Its program takes the first word of a text for the topic."""
        found = [(ids.name_id(e["tenant"]), e["text"].split()[0], e) for e in fields["events"]]
        self.names.update((ids.name_id(word), word) for _, word, _ in found)
        return self._count(fields["seq"], [(t, ids.name_id(word), e) for t, word, e in found])

    def _count(self, seq, named):
        expected = self.next_seq[self.producer]
        if seq > expected:
            return self.refusal(seq, "SEQ_GAP", "resend")
        if seq == expected:
            for tenant, topic, event in named:
                key = (tenant, topic)
                self.counts[key] = self.counts.get(key, 0) + event["weight"]
            self.next_seq[self.producer] += 1
        credit = self.received + wire.CREDIT_INITIAL
        return wire.encode("ack", {"seq": seq, "credit_until": credit})

    def refusal(self, seq, code, retry_class, wait=0, kind=4, tag=0):
        fields = {"seq": seq, "expected_seq": self.next_seq.get(self.producer, 1), "code": code}
        fields.update(kind=kind, retry_after_ms=wait, index=None, message="why")
        return wire.encode("refuse", {**fields, "class": retry_class}, tag)

    def _on_define(self, fields, _):
        self.names.update((entry["id"], entry["name"]) for entry in fields["names"])
        return b""

    def _on_query(self, fields, tag):
        if all(tenant != fields["tenant"] for tenant, _ in self.counts):
            return self.refusal(0, "UNKNOWN_TENANT", "never", kind=9, tag=tag)
        return wire.encode("summary", self.summary(fields["tenant"]), tag)

    def _on_subscribe(self, fields, tag):
        if not fields["on"]:
            return b""
        updates = [self.summary(fields["tenant"], version) for version in (1, 1, 2)]
        return b"".join(wire.encode("update", update, tag) for update in updates)

    def summary(self, tenant, version=1):
        fields = dict.fromkeys(wire.SUMMARY_NUMBERS, 0)
        counts = {topic: n for (owner, topic), n in self.counts.items() if owner == tenant}
        fields.update(tenant=tenant, total=sum(counts.values()), version=version)
        fields["flags"] = list(wire.FLAGS)
        rows = [self._row(topic, n) for topic, n in counts.items()]
        rows.sort(key=lambda row: (-row["count"], row["name"]))
        return {**fields, "tldr": "", "program": "", "topics": rows}

    def _row(self, topic, count):
        row = {"topic": topic, "count": count, "low": count, "high": count, "trend": "new"}
        row.update(velocity_milli=1_500, score_milli=-250, sample="")
        return {**row, "name": self.names.get(topic, "")}
