"""`mapdev frames`, `mapdev watch`, `mapdev record` and `mapdev replay`: a look at running hosts.

Exit status: 0; 1 there is no such host, or it does not answer; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mapdev.watch import client, recording
from mapdev.watch.client import HostError, ask, find
from mapdev.watch.tables import print_table, visible
from mapdev.watch.terminal import KEYS, run_view, show_lines
from mapdev.watch.web import Page, standalone

__all__ = ["frames", "record", "replay", "watch"]


def _add_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "host", nargs="?", metavar="HOST",
        help="a running host, by the number of its process; needed if several run",
    )  # fmt: skip


def frames(argv: Sequence[str]) -> int:
    """Run ``mapdev frames`` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="mapdev frames",
        description="List the page frames that the drivers of a running host have or its programs "
        "map: neighbours in the same state are one row.",
        epilog="pfn: frame numbers, hexadecimal; driver, kind, slab: whose allocation it is, by "
        "which allocator, and in which cache; order: of the allocation; refs, maps: page_count() "
        "and page_mapcount(); mapped: in which processes, at which address.",
    )
    _add_host(parser)
    parser.add_argument("--driver", metavar="NAME", help="only the frames of one driver")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    arguments = parser.parse_args(argv)
    try:
        found = ask(find(arguments.host), "frames")
    except HostError as error:
        return _complain("frames", error)
    if arguments.driver is not None:
        found = [run for run in found if run["driver"] == arguments.driver]
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print_table(
            ("pfn", "driver", "kind", "order", "refs", "maps", "flags", "mapped"),
            map(_row, found), right=(3, 4, 5),
        )  # fmt: skip
    return 0


def _row(run: dict[str, Any]) -> tuple[object, ...]:
    last = run["pfn"] + run["nr_pages"] - 1
    return (
        f"{run['pfn']:x}" + (f"-{last:x}" if run["nr_pages"] > 1 else ""),
        run["driver"] or "-", run["slab"] or run["kind"] or "-", run["order"], run["refcount"],
        run["mapcount"], " ".join(run["flags"]) or "-",
        ", ".join(f"{pid}:{addr:x}" for pid, addr in run["mapped"]) or "-",
    )  # fmt: skip


def watch(argv: Sequence[str]) -> int:
    """Run ``mapdev watch`` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="mapdev watch",
        description="Show what happens on a running host, as it happens: processes with their "
        "areas, frames, what drivers have allocated, and a log of operations with the kernel "
        "functions that they called, as C. Without a terminal, or with TERM=dumb, a line for each "
        "event.",
        epilog=f"keys: {KEYS}",
    )
    _add_host(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="print a line for each event")
    _add_web(parser, how)
    arguments = parser.parse_args(argv)
    try:
        name = find(arguments.host)
        snapshot, events = client.watch(name)
        if arguments.web:
            return _serve("watch", name, snapshot, events, arguments.port)
        if arguments.plain or not _is_on_screen():
            print(f"mapdev watch: watching host {name}; Ctrl-C ends it", file=sys.stderr)
            show_lines(events)
            return 0
        return run_view(name, snapshot, events, at_end=True)
    except HostError as error:
        return _complain("watch", error)


def record(argv: Sequence[str]) -> int:
    """Run ``mapdev record`` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="mapdev record",
        description="Write what happens on a running host into FILE until the host ends, or "
        "Ctrl-C. `mapdev replay FILE` shows it. To record a command from its beginning: "
        "mapdev run --record FILE -d ... -- COMMAND",
    )
    parser.add_argument("file", metavar="FILE", help="is replaced if it is there")
    _add_host(parser)
    arguments = parser.parse_args(argv)
    try:
        name = find(arguments.host)
        snapshot, events = client.watch(name)
        with (
            open(arguments.file, "w", encoding="utf-8") as file,  # noqa: PTH123
            contextlib.suppress(KeyboardInterrupt),
        ):
            recording.write(file, snapshot, events)
    except HostError as error:
        return _complain("record", error)
    except OSError as error:
        return _complain("record", f"{arguments.file}: {error.strerror}")
    return 0


def replay(argv: Sequence[str]) -> int:
    """Run ``mapdev replay`` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="mapdev replay",
        description="Show a recording of `mapdev record` or `mapdev run --record`, from its first "
        "event on. Without a terminal, or with TERM=dumb, a line for each event.",
        epilog=f"keys: {KEYS}",
    )
    parser.add_argument("file", metavar="FILE")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--plain", action="store_true", help="print a line for each event")
    how.add_argument(
        "--html", metavar="OUT", help="write a page that shows it, and needs nothing else, into OUT"
    )
    _add_web(parser, how)
    arguments = parser.parse_args(argv)
    try:
        snapshot, events = recording.read(arguments.file)
        name = Path(arguments.file).name
    except OSError as error:
        return _complain("replay", f"{arguments.file}: {error.strerror}")
    except recording.FormatError as error:
        return _complain("replay", error)
    if arguments.html is not None:
        try:
            Path(arguments.html).write_text(standalone(name, snapshot, events), encoding="utf-8")
        except OSError as error:
            return _complain("replay", f"{arguments.html}: {error.strerror}")
        return 0
    if arguments.web:
        return _serve("replay", name, snapshot, events, arguments.port)
    if arguments.plain or not _is_on_screen():
        show_lines(events)
        return 0
    return run_view(arguments.file, snapshot, events, at_end=False)


def _is_on_screen() -> bool:
    """Say whether there is a terminal that can be painted on."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return is_terminal and os.environ.get("TERM") != "dumb"


def _add_web(parser: argparse.ArgumentParser, how: argparse._MutuallyExclusiveGroup) -> None:
    how.add_argument(
        "--web", action="store_true",
        help="show it in a browser: serves a page on 127.0.0.1, and prints its address, until "
        "Ctrl-C",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=0, help="of --web (default: any that is free)")


def _serve(
    command: str, name: str, snapshot: dict[str, Any], events: Iterator[Any], port: int
) -> int:
    try:
        page = Page(name, snapshot, events, port)
    except (OSError, OverflowError) as error:
        return _complain(command, f"port {port}: {error}")
    print(f"mapdev {command}: open {page.url}  (Ctrl-C ends it)", file=sys.stderr)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    page.close()
    return 0


def _complain(command: str, what: object) -> int:
    print(f"mapdev {command}: {visible(str(what))}", file=sys.stderr)
    return 1
