"""`mapdev run`: serve devices to one command until it and all that it started have ended.

Signals: Ctrl-C in a terminal reaches command and host alike, and the host leaves the decision to
the command. A signal sent to the host alone is passed on to the command. While an operation of a
driver blocks the host, the first signal says which one, and the second ends all. When the command
has ended and programs that it started live on, the host serves those until they end, or Ctrl-C.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence

from mapdev.host.core.device import Device
from mapdev.host.core.host import Host
from mapdev.host.core.trace import Trace
from mapdev.host.embedded import native
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.libc import read_signal, signalfd
from mapdev.host.embedded.syscalls import gate
from mapdev.host.loading import DriverError, parse_device, told
from mapdev.host.process import Process
from mapdev.interruption import Blocked, Interrupted, interruptible, listening
from mapdev.linux.log import log

_PASSED_ON = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
              signal.SIGUSR2}  # fmt: skip
_FAILED, _NOT_EXECUTABLE, _NOT_FOUND, _USAGE = 125, 126, 127, 2
_LOOK_AGAIN = 0.1  # seconds
_MANY_OBJECTS = 50_000  # a mapping of thousands of runs makes as many, none of them in a cycle


def run(
    devices: Sequence[str],
    command: Sequence[str],
    memory: str = "1G",
    descriptors: int | None = 10,
    verbose: bool = False,
    kind: str = "embedded",
    timeout: float | None = None,
    watch: bool = False,
    record: str | None = None,
    web: bool = False,
    trees: Sequence[str] = (),
    preload: bool = True,
) -> int:
    """Run `command` with `devices` and return the exit status of ``mapdev run``.

    :param kind: "embedded" or "kernel": which host serves them.
    :param timeout: seconds that an operation of a driver may take.
    :param watch: show what happens, above the command.
    :param record: a file into which it is written.
    :param web: show it in a browser.
    :param trees: files that describe devices, see `mapdev.host.core.tree_file`.
    :param preload: have clients pass on calls themselves, see `mapdev.host.embedded.syscalls.gate`.
    """
    if "/" not in command[0] and not _is_on_path(command[0]):
        # Not left to execvp: to that, a directory of PATH that may not be searched counts more.
        return _complain(f"{command[0]}: command not found", _NOT_FOUND)
    trace = _trace if verbose else None
    if verbose and kind != "kernel":
        _complain(f"{native.description()}; {gate.description(preload)}", 0)
    make = (
        _kernel_host(trace, timeout) if kind == "kernel"
        else lambda: EmbeddedHost(memory, trace, descriptors, False, timeout, False, preload)
    )  # fmt: skip

    def work(host: Host) -> int:
        for path in trees:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
                text = file.read()
            try:
                host.add_tree(text)
            except DriverError as error:
                raise DriverError(f"{path}: {error}") from None
        return _serve(host, command)

    return _with_host(make, devices, work, lambda host: _watch(host, watch, record, web))


def _watch(host: Host, watch: bool, record: str | None, web: bool) -> Callable[[], object]:
    """Begin to show and to record what happens; return what ends that.

    :raises OSError: the file can't be made.
    """
    if not watch and record is None and not web:
        return lambda: None
    from mapdev.watch.beside import Recording, Serving, Watching

    ends = [] if record is None else [Recording(host, record).stop]
    if web:
        ends.append(Serving(host).stop)
    if watch:
        ends.append(Watching(host).stop)
    return lambda: [end() for end in ends]


def serve(devices: Sequence[str], verbose: bool = False) -> int:
    """Serve `devices` by the kernel host until a signal comes: ``mapdev serve``."""
    make = _kernel_host(_trace if verbose else None)
    return _with_host(make, devices, lambda host: _serve_all(host, devices))


def _kernel_host(trace: Trace | None, timeout: float | None = None) -> Callable[[], Host]:
    def make() -> Host:
        from mapdev.host.kernel.host import KernelHost

        return KernelHost(trace, timeout or 0)

    return make


def _with_host(
    make: Callable[[], Host],
    devices: Sequence[str],
    work: Callable[[Host], int],
    watch: Callable[[Host], Callable[[], object]] = lambda host: lambda: None,
) -> int:
    # Blocked before the host's thread starts, so that no thread takes them: they are read.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    gc.set_threshold(_MANY_OBJECTS, *gc.get_threshold()[1:])
    try:
        with make() as host, contextlib.ExitStack() as watching:
            with contextlib.suppress(OSError):  # it can be had without
                host.listen()
            watching.callback(watch(host))
            with interruptible(host, _PASSED_ON):
                for text in devices:
                    _add(host, text)
            if "logging" in sys.modules:  # a driver's own
                log.prepare()
            status = work(host)
            blocked = Blocked(host)
            with listening(_PASSED_ON, blocked.signalled):
                host.close()
            status = 128 + blocked.number if blocked.number else status
    except (DriverError, ValueError) as error:
        return _complain(error, _USAGE)
    except Interrupted as interrupted:
        return 128 + interrupted.number
    except _CommandError as error:
        return _complain(error, error.status)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _complain(f"{where}{error.strerror or error}", _FAILED)
    finally:
        _forget_pending_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for leak in host.leaks:
        _complain(f"left behind: {leak}", 0)
    for failure in host.failures:
        _complain(f"a driver raised {failure!r}, which is no error of a call: see above", 0)
    return status or (_FAILED if host.failures else 0)


def _is_on_path(name: str) -> bool:
    paths = (os.path.join(directory, name) for directory in os.get_exec_path())  # noqa: PTH118
    return any(os.access(path, os.X_OK) and not os.path.isdir(path) for path in paths)  # noqa: PTH112


def _forget_pending_signals() -> None:
    """Take what is still pending: the Ctrl-C that ended the command has reached us as well, and
    would end us with a traceback once it is unblocked."""
    while signal.sigtimedwait(_PASSED_ON, 0) is not None:
        pass


def _add(host: Host, text: str) -> None:
    node, driver, params = parse_device(text)
    try:
        host.add(driver, node, **params)
    except (DriverError, Interrupted):
        raise
    except BaseException as error:  # sys.exit() in probe, too: Ctrl-C is not raised here
        raise DriverError(f"{node}: {driver} can't be set up: {told(error)}") from error


def _serve_all(host: Host, devices: Sequence[str]) -> int:
    from mapdev.service import notify

    signals = signalfd({int(number) for number in _PASSED_ON})
    try:
        _complain(f"serving {', '.join(device.node for device in host.devices)}; Ctrl-C ends it", 0)
        notify("READY=1")
        select.select([signals], [], [])
        read_signal(signals)
        notify("STOPPING=1")
    finally:
        os.close(signals)
    return 0


class _CommandError(Exception):
    """The command can't be executed.

    :ivar status: the exit status that says so.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def _start(host: Host, command: Sequence[str]) -> Process:
    try:
        return host.popen(command)
    except OSError as error:
        if error.filename != command[0]:
            raise
        if error.errno == errno.ENOENT:
            raise _CommandError(f"{command[0]}: command not found", _NOT_FOUND) from None
        raise _CommandError(f"{command[0]}: {error.strerror}", _NOT_EXECUTABLE) from None


def _serve(host: Host, command: Sequence[str]) -> int:
    signals = signalfd({int(number) for number in _PASSED_ON})
    try:
        process = _start(host, command)
        blocked = Blocked(host)
        while process.poll() is None:
            _wait(process, signals, blocked)
        with listening(_PASSED_ON, blocked.signalled):
            host.settle()
        _serve_the_rest(host, signals)
    finally:
        os.close(signals)
    if blocked.number:
        return 128 + blocked.number
    status: int = process.returncode
    return status if status >= 0 else 128 - status


def _wait(process: Process, signals: int, blocked: Blocked) -> None:
    """Wait for the end of the command or for a signal, which is passed on."""
    ready, _, _ = select.select([process.fileno(), signals], [], [])
    if signals in ready:
        number, by_terminal = read_signal(signals)
        if not by_terminal:  # a terminal sends its signals to the command as well
            process.send_signal(number)
        blocked.signalled(number)


def _serve_the_rest(host: Host, signals: int) -> None:
    """Serve the programs that the command left behind, until they end or a signal comes."""
    said = False
    while host.has_clients:
        if not said:
            _complain("the command has ended; serving the programs it left (Ctrl-C ends them)", 0)
            said = True
        if select.select([signals], [], [], _LOOK_AGAIN)[0]:
            return


def _trace(device: Device, operation: str, arguments: str, result: str, seconds: float) -> None:
    node = device.node.encode("unicode_escape").decode()  # of anon_inode_getfd: any text
    with contextlib.suppress(OSError):  # who read it has ended, or its disk is full
        print(f"{node}: {operation}({arguments}) = {result} <{seconds:.6f}>", file=sys.stderr)


def _complain(what: object, status: int) -> int:
    with contextlib.suppress(OSError):  # a program must not end for want of who reads this
        print(f"mapdev: {what}", file=sys.stderr)
    return status
