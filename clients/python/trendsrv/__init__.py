"""A producer and a reader for trendsrv, in the standard library alone (Python 3.9 or newer).

    Producer.send(tenant, topic)        Reader.query(tenant)        Reader.subscribe(tenant)

Written from docs/protocol.md; tested against docs/protocol-vectors.json.
"""

from .connection import parse_address
from .errors import Disconnected, Refused, TrendError
from .ids import NameRuleError, name_id, vnode
from .producer import Producer
from .reader import Reader, Summary, Topic

__all__ = [
    "Disconnected",
    "NameRuleError",
    "Producer",
    "Reader",
    "Refused",
    "Summary",
    "Topic",
    "TrendError",
    "name_id",
    "parse_address",
    "vnode",
]
