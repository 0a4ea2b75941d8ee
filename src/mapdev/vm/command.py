"""`mapdev vm`: run a command under another kernel, with the module loaded and devices served.

Exit status: the command's own; 124 when time ran out; 125 when there is no machine to be had or it
broke down; 130 after Ctrl-C; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from mapdev.module.build import build
from mapdev.support.tools import UnavailableError, say
from mapdev.vm import kernels, machine

_TIMED_OUT, _FAILED, _INTERRUPTED, _BROKEN_PIPE = 124, 125, 130, 141
_EXAMPLES = """\
examples:
  mapdev vm -d /dev/fb0=framebuffer -- fbset -fb /dev/fb0
  mapdev vm --kernel 6.1 -- pytest tests
  mapdev vm --kernel ~/linux --module none -- uname -r
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mapdev vm",
        description="Run COMMAND in a virtual machine that boots another kernel and sees this "
        "machine's files; what is written there is gone when it ends. The module is built for that "
        "kernel and loaded; COMMAND is root.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="mapdev vm [options] [-d /dev/NODE=DRIVER[,key=value]...]... -- COMMAND [ARG]...",
    )
    parser.add_argument(
        "--kernel", default=kernels.DEFAULT, metavar="KERNEL",
        help=f"{', '.join(kernels.SERIES)}: Debian's newest of that series, fetched once; newest: "
        "of its backports; running: this machine's; or a path: a bzImage, a kernel's build tree, "
        f"or a directory with boot/ and lib/modules/ (default: {kernels.DEFAULT})",
    )  # fmt: skip
    parser.add_argument(
        "-d", "--device", action="append", default=[], metavar="/dev/NODE=DRIVER[,key=value]...",
        help="a device that the kernel host serves there, as with mapdev run",
    )  # fmt: skip
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="with -d: log each call on standard error"
    )
    parser.add_argument(
        "-m", "--memory", default="2G", metavar="SIZE",
        help="of the machine (default: 2G, taken as it is used)",
    )  # fmt: skip
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="for all of it")
    parser.add_argument(
        "--module",
        default="build",
        metavar="FILE|none",
        help="load this, or none, not what is built",
    )
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="key=value", help="for the module"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _run(arguments: argparse.Namespace, command: Sequence[str]) -> int:
    machine.check()
    kernel = kernels.find(arguments.kernel)
    module = _module(arguments.module, kernel)
    say(f"booting Linux {kernel.release} ({kernel.origin})")
    outcome = machine.run(
        kernel, _served(arguments, command), memory=arguments.memory, timeout=arguments.timeout,
        module=module, parameters=arguments.parameter, stdin=_stdin(), write=_write_all,
        ready=lambda seconds: say(f"started the command after {seconds:.1f} s"),
    )  # fmt: skip
    return outcome.status


def _module(what: str, kernel: kernels.Kernel) -> Path | None:
    if what == "none":
        return None
    if what != "build":
        path = Path(what)
        if not path.is_file():
            raise UnavailableError(f"{path} is no module")
        return path
    if kernel.build is None:
        raise UnavailableError(
            f"there are no headers to build the module for Linux {kernel.release}: "
            "install them, or --module FILE, or --module none"
        )
    return build(kernel.build)


def _served(arguments: argparse.Namespace, command: Sequence[str]) -> list[str]:
    """Return the command as it runs in the machine: if devices are wanted, below `mapdev run`."""
    if not arguments.device:
        return list(command)
    devices = [word for device in arguments.device for word in ("-d", device)]
    options = ["--host", "kernel", *(["-v"] if arguments.verbose else []), *devices]
    return [sys.executable, "-m", "mapdev.cli", "run", *options, "--", *command]


def _stdin() -> int | None:
    """Return standard input, unless a read from it would stop us as a background job."""
    try:
        return 0 if not os.isatty(0) or os.tcgetpgrp(0) == os.getpgrp() else None
    except OSError:
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _leave(number: int, frame: object) -> None:
    """Be ended by a signal, but tidy up: the machine, and its files."""
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    command = arguments.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        parser.error("there is no command: mapdev vm ... -- COMMAND [ARG]...")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        return _run(arguments, command)
    except TimeoutError as error:
        say(str(error))
        return _TIMED_OUT
    except (UnavailableError, machine.MachineError) as error:
        say(str(error))
        return _FAILED
    except BrokenPipeError:  # whoever reads what the command writes has gone
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
