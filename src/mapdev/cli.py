"""The `mapdev` command: parses its arguments and calls the rest; no logic of devices in here.

Exit status of `run`: the command's own; 128+N when signal N ended it; 127 it was not found, 126 it
could not be executed; 125 mapdev itself failed; 2 wrong usage.

What `run` does not need is imported where it is needed: a program should start at once.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mapdev import __version__
from mapdev.linux.log import log

if TYPE_CHECKING:
    import argparse

EX_FAILURE, EX_USAGE = 1, 2
EX_INTERRUPTED = 128 + 2  # SIGINT
EX_BROKEN_PIPE = 128 + 13  # SIGPIPE
# Of a disk that is full or fails, when what is printed goes to a file.
_OUTPUT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# Commands that read the rest of the line themselves: what they need to is not imported for others.
_OTHERS = {
    "vm": "mapdev.vm.command:main", "module": "mapdev.module.command:main",
    "maps": "mapdev.watch.processes:maps", "pages": "mapdev.watch.processes:pages",
    "skeleton": "mapdev.skeleton.command:main",
    "frames": "mapdev.watch.command:frames", "watch": "mapdev.watch.command:watch",
    "record": "mapdev.watch.command:record", "replay": "mapdev.watch.command:replay",
    "record-tree": "mapdev.inspect.sysfs:main", "lab": "mapdev.lab.command:main",
}  # fmt: skip

_EXAMPLES = """\
examples:
  mapdev run -d /dev/fb0=framebuffer,width=640,height=480 -- fbset -fb /dev/fb0
  mapdev run -d /dev/mem=registers -- busybox devmem 0x43C00000
  mapdev run --watch -d /dev/buf=vmalloc -- python3
  mapdev run -v -d /dev/x=mydriver.py:MyDriver,size=64K -- sh -c 'cat /dev/x | od'
"""


def _plain_run(argv: Sequence[str]) -> tuple[list[str], Sequence[str], bool] | None:
    """Read `run [-v] [-d DEVICE]... -- COMMAND...`, the usual form, without argparse.

    Return devices, command and whether to be verbose; None for any other form.
    """
    if argv[:1] != ["run"] or "--" not in argv:
        return None
    end = argv.index("--")
    devices, verbose, words = [], False, iter(argv[1:end])
    for word in words:
        value = next(words, "-") if word == "-d" else "-"
        if not value.startswith("-"):
            devices.append(value)
        elif word == "-v":
            verbose = True
        else:
            return None
    command = argv[end + 1 :]
    return (devices, command, verbose) if command else None


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="mapdev",
        description="Serve Linux character devices written in Python, mmap included, to programs "
        "that know nothing of it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mapdev {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands.add_parser(
        "run", help="run a program with devices",
        description="Run COMMAND, and all that it starts, with the devices given by -d.",
        epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="mapdev run [options] -d /dev/NODE=DRIVER[,key=value]... -- COMMAND [ARG]...",
    ))  # fmt: skip
    serve = commands.add_parser(
        "serve", help="serve devices to all programs of this machine (kernel host)",
        description="Make devices and serve them until a signal comes; needs the kernel module, "
        "see `mapdev module`.",
    )  # fmt: skip
    _add_devices(serve)
    serve.set_defaults(function=_serve)
    drivers = commands.add_parser(
        "drivers", help="list the drivers that go by a name",
        description="List the gallery: drivers that -d takes by name, and their parameters.",
    )  # fmt: skip
    drivers.set_defaults(function=_drivers)
    doctor = commands.add_parser(
        "doctor", help="say whether mapdev can work here, and what is missing",
        description="Check this machine; the exit status is 1 when mapdev can't work on it.",
    )  # fmt: skip
    doctor.set_defaults(function=_doctor)
    commands.add_parser("vm", help="run a program under another kernel, in a virtual machine")
    commands.add_parser("module", help="build, load and unload the kernel host's module")
    commands.add_parser("record-tree", help="describe a device of this machine, for `run --tree`")
    commands.add_parser("skeleton", help="write a kernel module in C, begun from a driver")
    commands.add_parser("maps", help="list the areas of a process, with all flags spelt out")
    commands.add_parser("pages", help="show the pages of a process, their frames and who maps them")
    commands.add_parser("frames", help="list the page frames of a running host")
    commands.add_parser("watch", help="show what happens on a running host, as it happens")
    commands.add_parser("record", help="write what happens on a running host into a file")
    commands.add_parser("replay", help="show such a file")
    commands.add_parser("lab", help="exercises: write a driver, and have it checked")
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    import argparse

    _add_devices(parser)
    parser.add_argument(
        "--host", choices=("embedded", "kernel"), default="embedded",
        help="who serves: a host in user space, to this command only (default), or the kernel "
        "through our module, to all programs",
    )  # fmt: skip
    parser.add_argument(
        "-m", "--memory", default="1G", metavar="SIZE",
        help="physical memory for all drivers together (default: 1G, taken as it is used)",
    )  # fmt: skip
    parser.add_argument(
        "--descriptors", default="10", metavar="N|all", type=_descriptors,
        help="serve devices on descriptors below N, where dup2 can put them (default: 10); more "
        "costs programs speed on their ordinary files",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS",
        help="end an operation of a driver that takes longer: its program gets ETIMEDOUT",
    )  # fmt: skip
    parser.add_argument(
        "--watch", action="store_true",
        help="show what happens above the command, in the same terminal; if standard error is "
        "none, write it there. See also `mapdev watch`",
    )  # fmt: skip
    parser.add_argument(
        "--web", action="store_true", help="show it in a browser, at an address that is printed"
    )
    parser.add_argument(
        "--record", metavar="FILE", help="write what happens into FILE, for `mapdev replay`"
    )
    parser.add_argument(
        "--tree", action="append", default=[], metavar="FILE",
        help="add the devices that FILE describes, in umockdev's format; their nodes are served by "
        "the drivers that -d puts there. `mapdev record-tree` writes such a file",
    )  # fmt: skip
    parser.add_argument(
        "--preload", action=argparse.BooleanOptionalAction, default=True,
        help="have programs pass on calls that concern no device themselves, by code that is put "
        "into them: much faster for programs that look at many files (default: yes)",
    )  # fmt: skip
    parser.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(function=_run)


def _add_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d", "--device", action="append", default=[], metavar="/dev/NODE=DRIVER[,key=value]...",
        help="a device: DRIVER is a name that `mapdev drivers` lists, file.py:Class or "
        "package.module:Class; key=value are the driver's parameters; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "-v", "--verbose", action="store_true",
        help="log each call on standard error: device, operation, arguments, result, time",
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        import argparse

        raise argparse.ArgumentTypeError("it is a number of seconds, more than 0")
    return seconds


def _descriptors(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdigit() or int(text) < 3:
        import argparse

        raise argparse.ArgumentTypeError("it is a number from 3 on, or `all`")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        return _complain("there is no command: mapdev run -d ... -- COMMAND [ARG]...", EX_USAGE)
    return _import_run()(
        arguments.device, command, arguments.memory, arguments.descriptors, arguments.verbose,
        arguments.host, arguments.timeout, arguments.watch, arguments.record, arguments.web,
        arguments.tree, arguments.preload,
    )  # fmt: skip


def _serve(arguments: argparse.Namespace) -> int:
    from mapdev.run import serve

    if not arguments.device:
        return _complain("there is no device: mapdev serve -d /dev/NODE=DRIVER", EX_USAGE)
    return serve(arguments.device, arguments.verbose)


def _drivers(arguments: argparse.Namespace) -> int:
    from mapdev.gallery import show

    return show()


def _doctor(arguments: argparse.Namespace) -> int:
    from mapdev.doctor import examine

    return examine()


def _complain(text: str, status: int) -> int:
    print(f"mapdev: {text}", file=sys.stderr)
    return status


def _import_run() -> Callable[..., int]:
    """Import what `run` needs, and keep the collector of garbage off it: there is none in it.

    That saves a tenth of the time that is spent before and after the command.
    """
    import gc

    gc.disable()
    from mapdev.run import run

    gc.freeze()
    gc.enable()
    return run


def _set_logging_up() -> None:
    import logging

    logging.basicConfig(format="mapdev: %(message)s", level=logging.INFO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        try:
            return _main(argv)
        finally:  # after --help, too, which ends by SystemExit
            if sys.stdout is not None:  # it is None if descriptor 1 was closed
                sys.stdout.flush()
    except KeyboardInterrupt:  # before the command has started: `run` reads signals from then on
        return EX_INTERRUPTED
    except BrokenPipeError:
        _write_no_more()  # who read the output has ended
        return EX_BROKEN_PIPE
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS or error.filename is not None:
            raise
        _write_no_more()
        return _complain(f"standard output: {error.strerror}", EX_FAILURE)


def _write_no_more() -> None:
    """Have standard output go nowhere: at exit Python would try to write the rest once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(argv: Sequence[str] | None) -> int:
    log.before_first_use(_set_logging_up)
    argv = sys.argv[1:] if argv is None else argv
    plain = _plain_run(argv)
    if plain is not None:
        run = _import_run()
        devices, command, verbose = plain
        return run(devices, command, verbose=verbose)
    if argv and argv[0] in _OTHERS:
        from importlib import import_module

        module, _, name = _OTHERS[argv[0]].partition(":")
        status: int = getattr(import_module(module), name)(argv[1:])
        return status
    arguments = _parser().parse_args(argv)
    function: Callable[[argparse.Namespace], int] = arguments.function
    return function(arguments)


if __name__ == "__main__":
    sys.exit(main())
