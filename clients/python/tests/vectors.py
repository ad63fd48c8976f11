"""docs/protocol-vectors.json, and its fields as the codec's fields."""

import copy
import json
import os

PATH = os.path.join(
    os.path.dirname(__file__), os.pardir, os.pardir, os.pardir, "docs", "protocol-vectors.json"
)
_NAMED = ("events_named", "text")
_ID_FIELDS = ("tenant", "topic", "id", "features", "producer", "nonce")


def load():
    with open(PATH, encoding="utf-8") as file:
        return json.load(file)


def from_json(kind, fields):
    """Fields of the file as fields of trendsrv.wire."""
    fields = _walk(copy.deepcopy(fields), lambda text: int(text, 16), named=kind in _NAMED)
    if kind == "hello_ok":
        runs = fields.pop("vnode_runs")
        fields["shards"] = [shard for shard, count in runs for _ in range(count)]
        fields["addresses"] = [_host_port(text) for text in fields["addresses"]]
    return fields


def to_json(kind, fields):
    """Fields of trendsrv.wire as fields of the file."""
    fields = _walk(copy.deepcopy(fields), lambda n: f"{n:016x}", named=kind in _NAMED)
    if kind == "hello_ok":
        runs = []
        for shard in fields.pop("shards"):
            if runs and runs[-1][0] == shard:
                runs[-1][1] += 1
            else:
                runs.append([shard, 1])
        fields["vnode_runs"] = runs
        fields["addresses"] = [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for host, port in fields["addresses"]
        ]
    return fields


def _walk(value, change, named):
    if isinstance(value, list):
        return [_walk(item, change, named) for item in value]
    if not isinstance(value, dict):
        return value
    for key, item in value.items():
        is_name = named and key in ("tenant", "topic")
        if key in _ID_FIELDS and not is_name:
            value[key] = change(item)
        else:
            value[key] = _walk(item, change, named)
    return value


def _host_port(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
