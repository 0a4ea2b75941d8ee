"""`mapdev skeleton`: a kernel module in C, begun from a driver in Python.

Exit status: 0; 1 it can't be written; 2 wrong usage, or there is no such driver.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mapdev.host.loading import DriverError, load
from mapdev.skeleton.module import write

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Run ``mapdev skeleton`` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="mapdev skeleton",
        description="Write a kernel module in C with the file operations, operations of areas, "
        "ioctl numbers and structures of a driver. Statements that have a counterpart in C are "
        "written as such; from the first one on that has none, the Python is in a comment with a "
        "TODO, and the function fails.",
    )
    parser.add_argument(
        "driver", metavar="DRIVER",
        help="a name that `mapdev drivers` lists, file.py:Class or package.module:Class",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="made if need be")
    parser.add_argument(
        "-f", "--force", action="store_true", help="write over files that are there and differ"
    )
    arguments = parser.parse_args(argv)
    try:
        skeleton = write(load(arguments.driver))
    except DriverError as error:
        return _complain(error, 2)
    except OSError as error:
        return _complain(f"{arguments.driver}: its source can't be read: {error}", 1)
    try:
        directory = Path(arguments.output)
        directory.mkdir(parents=True, exist_ok=True)
        changed = [
            name
            for name, text in skeleton.files.items()
            if (directory / name).exists() and (directory / name).read_bytes() != text.encode()
        ]
        if changed and not arguments.force:
            return _complain(f"{directory} has {', '.join(changed)} already, and they are "
                             "others: --force writes over them", 1)  # fmt: skip
        for name, text in skeleton.files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}", 1)
    print(f"wrote {', '.join(skeleton.files)} to {directory}")
    if skeleton.left:
        print(f"left to do: {', '.join(skeleton.left)} (see the TODOs)")
    return 0


def _complain(what: object, status: int) -> int:
    print(f"mapdev skeleton: {what}", file=sys.stderr)
    return status
