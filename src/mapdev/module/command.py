"""`mapdev module`: build, load and unload the kernel module, and say how it stands.

Exit status: 0 it is done; 1 it can't be done, or (status) the module is not loaded or of another
version; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mapdev.module import headers, source, state
from mapdev.support.tools import UnavailableError, say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mapdev module",
        description="The kernel host needs a module. It comes with mapdev as source.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    build = commands.add_parser("build", help="compile it into the user's cache and print where")
    _add_directory(build)
    build.add_argument("flags", nargs="*", metavar="key=value", help="more for make")
    build.set_defaults(function=_build)
    load = commands.add_parser("load", help="build it if need be, and load it (root only)")
    _add_directory(load)
    load.add_argument("--file", type=Path, metavar="KO", help="load this instead of building")
    load.add_argument("parameters", nargs="*", metavar="key=value", help="the module's parameters")
    load.set_defaults(function=_load)
    unload = commands.add_parser("unload", help="unload it (root only)")
    unload.set_defaults(function=_unload)
    status = commands.add_parser("status", help="whether it is loaded, its version and devices")
    status.set_defaults(function=_status)
    where = commands.add_parser("source", help="print where the source is, with a dkms.conf")
    where.set_defaults(function=_source)
    return parser


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernel-dir", type=Path, metavar="DIRECTORY",
        help="build for the kernel of this build directory (default: the running kernel's)",
    )  # fmt: skip


def _build(arguments: argparse.Namespace) -> int:
    print(_built(arguments.kernel_dir, arguments.flags))
    return 0


def _built(directory: Path | None, flags: Sequence[str] = ()) -> Path:
    from mapdev.module.build import build

    return build(directory or headers.build_directory(), flags)


def _load(arguments: argparse.Namespace) -> int:
    from mapdev.module.load import CONTROL, load

    found = load(arguments.file or _built(arguments.kernel_dir), arguments.parameters)
    say(f"the module is loaded, version {found.version}; its control device is {CONTROL}")
    return 0


def _unload(arguments: argparse.Namespace) -> int:
    from mapdev.module.load import unload

    say("the module is unloaded" if unload() else "the module was not loaded")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from mapdev.module.load import check

    found = state.read()
    if found:
        print(f"version:    {found.version}")
        print(f"references: {found.references}")
        for name, value in found.parameters.items():
            print(f"parameter:  {name}={value}")
        for name, (major, minor) in found.devices.items():
            print(f"device:     /dev/{name} ({major}:{minor})")
    check()
    return 0


def _source(arguments: argparse.Namespace) -> int:
    print(source.directory())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.function(arguments)
    except UnavailableError as error:
        print(f"mapdev: {error}", file=sys.stderr)
        return 1
    return status
