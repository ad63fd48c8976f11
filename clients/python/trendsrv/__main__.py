"""The command line: python -m trendsrv send | top."""

import argparse
import dataclasses
import json
import sys

from . import Producer, Reader, TrendError, parse_address
from .wire import WireError


def main(argv=None):
    args = _parser().parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
    except (TrendError, WireError, ValueError) as error:
        print(f"trendsrv: {error}", file=sys.stderr)
        return 1


def _parser():
    parser = argparse.ArgumentParser(prog="python -m trendsrv", description="Talks to trendsrv.")
    commands = parser.add_subparsers(dest="command", required=True)

    send = commands.add_parser(
        "send",
        help="send events",
        description="Sends one event, or those on standard input: lines of tenant, ts_ms, topic "
        "and weight with tabs between them; an empty ts_ms is now, an empty weight 1.",
    )
    _server(send)
    send.add_argument("--tenant", help="tenant of the one event")
    send.add_argument("--topic", help="topic of the one event")
    send.add_argument("--text", help="text of the one event, in which topics are found")
    send.add_argument("--weight", type=int, default=1, help="its weight (default 1)")
    send.add_argument("--ts", type=int, metavar="MS", help="its time (default now)")
    send.add_argument("--ids", action="store_true", help="send ids, and names when asked")
    send.set_defaults(run=_send)

    top = commands.add_parser("top", help="show a tenant's top topics")
    top.add_argument("tenant")
    _server(top)
    top.add_argument("-k", type=int, default=10, help="how many topics (default 10)")
    top.add_argument("--rank", choices=("score", "count"), default="score")
    top.add_argument("--at", type=int, metavar="MS", help="the window that ends at this time")
    top.add_argument("--watch", action="store_true", help="go on showing answers as they change")
    top.add_argument("--json", action="store_true", help="one JSON object per answer")
    top.set_defaults(run=_top)
    return parser


def _server(parser):
    parser.add_argument("--server", default="127.0.0.1:7171", metavar="HOST:PORT")


def _send(args):
    given = [name for name in ("topic", "text") if getattr(args, name) is not None]
    if len(given) != (0 if args.tenant is None else 1):
        raise ValueError("--tenant goes with --topic or --text; leave all out to read lines")
    host, port = parse_address(args.server)
    with Producer(host, port, by_id=args.ids) as producer:
        if args.text is not None:
            producer.send_text(args.tenant, args.text, args.weight, args.ts)
        elif args.tenant is not None:
            producer.send(args.tenant, args.topic, args.weight, args.ts)
        else:
            for number, line in enumerate(sys.stdin, 1):
                _send_line(producer, number, line.rstrip("\r\n"))
    print(f"{producer.events_acknowledged} events acknowledged, {producer.events_refused} refused")
    for refusal in producer.refused:
        print(f"trendsrv: {refusal.events} events refused: {refusal}", file=sys.stderr)
    return 1 if producer.refused else 0


def _send_line(producer, number, line):
    cells = line.split("\t")
    try:
        if len(cells) < 3:
            raise ValueError(f"{len(cells)} columns; tenant, ts_ms and topic are needed")
        ts_ms = int(cells[1]) if cells[1] else None
        weight = int(cells[3]) if len(cells) > 3 and cells[3] else 1
        producer.send(cells[0], cells[2], weight, ts_ms)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _top(args):
    host, port = parse_address(args.server)
    show = _show_json if args.json else _show
    with Reader(host, port) as reader:
        if args.watch:
            for summary in reader.subscribe(args.tenant, args.k, args.rank):
                show(args.tenant, summary)
        else:
            show(args.tenant, reader.query(args.tenant, args.k, args.rank, args.at))
    return 0


def _show_json(tenant, summary):
    print(json.dumps({**dataclasses.asdict(summary), "tenant": tenant}), flush=True)


def _show(tenant, summary):
    exact = "exact" if summary.exact else f"each count within {summary.error_bound}"
    window = f"{summary.window_ms / 1_000:g} s"
    print(f"{tenant}: {summary.total} in {window}, {summary.distinct} topics, {exact}")
    if summary.tldr:
        print(f"  {summary.tldr}")
    for topic in summary.topics:
        print(f"  {topic.count:>10} {topic.trend:<8}{topic.score:>9.3f}  {topic.name}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
