"""`mapdev vm`: run a command under another kernel, with the module loaded and devices served.

Exit status: the command's own; 124 when time ran out; 125 when there is no machine to be had or it
broke down; 130 after Ctrl-C; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mapdev.vm import kernels, machine
from mapdev.vm.tools import UnavailableError, say

_TIMED_OUT, _FAILED, _INTERRUPTED, _USAGE = 124, 125, 130, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.add_argument("--kernel", default=kernels.DEFAULT)
    parser.add_argument("-m", "--memory", default="2G")
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--module", help="a module to load (.ko)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(function=run)


def run(arguments: argparse.Namespace) -> int:
    """Run ``mapdev vm`` and return its exit status."""
    command = arguments.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        print("mapdev vm: there is no command", file=sys.stderr)
        return _USAGE
    try:
        machine.check()
        kernel = kernels.find(arguments.kernel)
        say(f"booting Linux {kernel.release} ({kernel.origin})")
        from pathlib import Path

        return machine.run(
            kernel, command, memory=arguments.memory, timeout=arguments.timeout,
            module=Path(arguments.module) if arguments.module else None,
            stdin=_stdin(), ready=lambda seconds: say(f"ready after {seconds:.1f} s"),
        ).status  # fmt: skip
    except TimeoutError as error:
        say(str(error))
        return _TIMED_OUT
    except (UnavailableError, machine.MachineError) as error:
        say(str(error))
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _stdin() -> int | None:
    """Return standard input, unless a read from it would stop us as a background job."""
    try:
        return 0 if not os.isatty(0) or os.tcgetpgrp(0) == os.getpgrp() else None
    except OSError:
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="mapdev vm", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args(argv))
