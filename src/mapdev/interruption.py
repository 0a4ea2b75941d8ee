"""Ctrl-C for `mapdev run` while a driver blocks it: in probe, or in an operation.

Signals are blocked in all threads and are read, so nothing is raised by itself. An exception in a
thread comes at its next bytecode; what blocks in C is left by ending the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

from mapdev.host.core.host import Host
from mapdev.host.embedded.libc import read_signal, signalfd

_A_WHILE = 0.3  # seconds after which an operation is taken for one that blocks
_PATIENCE = 2.0  # seconds that an operation gets to end


class Interrupted(BaseException):
    """A signal came while a device was added."""

    number = 0


class Blocked:
    """What signals mean while an operation of a driver blocks the host.

    :ivar number: the signal that has ended all; 0 if none has.
    """

    def __init__(self, host: Host) -> None:
        self.number = 0
        self._host = host
        self._told: set[FrameType] = set()

    def signalled(self, number: int) -> None:
        """Say which operation blocks the host; if that was said of it before, end all."""
        watchdog = self._host.watchdog
        before = {running.frame for running in watchdog.look()}
        if not before:
            return
        time.sleep(_A_WHILE)
        blocking = [running for running in watchdog.look() if running.frame in before]
        if not blocking:
            return
        if not any(running.frame in self._told for running in blocking):
            for running in blocking:
                watchdog.say(running)
            self._told = {running.frame for running in blocking}
            print("mapdev: another signal ends mapdev and its programs", file=sys.stderr)
            return
        self.number = number
        self._host.kill_clients()
        deadline = time.monotonic() + _PATIENCE
        for running in blocking:
            watchdog.end(running)
        while {running.frame for running in watchdog.look()} & self._told:
            if time.monotonic() > deadline:
                print("mapdev: the driver can't be interrupted; nothing is cleaned up",
                      file=sys.stderr, flush=True)  # fmt: skip
                os._exit(128 + number)
            time.sleep(0.02)


@contextlib.contextmanager
def listening(numbers: Iterable[int], signalled: Callable[[int], None]) -> Iterator[None]:
    """Call `signalled` for each of the signals `numbers`, which are blocked, in another thread."""
    signals, end = signalfd({int(number) for number in numbers}), os.eventfd(0, os.EFD_CLOEXEC)

    def listen() -> None:
        while end not in select.select([signals, end], [], [])[0]:
            signalled(read_signal(signals)[0])

    thread = threading.Thread(target=listen, name="mapdev signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.eventfd_write(end, 1)
        thread.join()
        os.close(signals)
        os.close(end)


@contextlib.contextmanager
def interruptible(host: Host, numbers: Iterable[int]) -> Iterator[None]:
    """Let signals `numbers`, which are blocked, end the code within; a second one ends the process.

    :raises Interrupted: a signal came.
    """
    me = threading.get_ident()
    Interrupted.number = 0

    def signalled(number: int) -> None:
        if Interrupted.number:
            os._exit(128 + number)
        Interrupted.number = number
        for running in host.watchdog.look():
            host.watchdog.say(running)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(me), ctypes.py_object(Interrupted)
        )

    with listening(numbers, signalled):
        yield
