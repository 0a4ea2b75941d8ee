"""`mapdev frames`: the page frames of a running host.

Exit status: 0; 1 there is no such host, or it does not answer; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from mapdev.watch.client import HostError, ask, find
from mapdev.watch.tables import print_table

__all__ = ["frames"]


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
        print(f"mapdev frames: {error}", file=sys.stderr)
        return 1
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
