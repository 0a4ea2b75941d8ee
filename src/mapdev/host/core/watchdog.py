"""The watchdog: says which operation of a driver has run for long, and can end it.

While a driver's operation runs, the host's lock is held and no other program is served. A thread
looks at the Python frames of all threads every second, so that operations themselves pay nothing:
an operation is the frame of a function in `_OPERATIONS`, which is the same object for as long as it
runs. What it waits for is where its innermost frame in the driver's file is.

An operation is ended by an exception in its thread (`OperationTimeout`), which Python raises at the
next bytecode. Code that blocks in C (``time.sleep``, a lock, a read of a pipe) gets it when that
returns; its client has ETIMEDOUT by then.

Objects: an `Running` is an operation that was seen; it holds the frame, so that no other can have
the same identity. Used in the watchdog's thread, and by `current` in any.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import NamedTuple

from mapdev.host.core.call import Call
from mapdev.host.core.coroutines import _Locked
from mapdev.host.core.device import Device
from mapdev.host.core.operations import Operations, OperationTimeout
from mapdev.linux.log import log

__all__ = ["Operation", "Running", "Watchdog", "watched"]

LONG = 5.0  # seconds after which the user is told
_LOOK = 1.0  # seconds between two looks


class Operation(NamedTuple):
    """A driver's operation that runs.

    :ivar owner: whose it is: the host, or its machine or lock.
    :ivar name: as in the driver: ``read``.
    :ivar device: whose driver it is; None for probe and remove.
    :ivar driver: its class's name, empty if `name` has it.
    :ivar file: where that class is written.
    :ivar call: the client's call that it answers by its result, if any.
    """

    owner: object
    name: str
    device: Device | None
    driver: str
    file: str
    call: Call | None


class Running(NamedTuple):
    """An operation that was seen to run, in the thread `thread`, since `since` at the latest."""

    operation: Operation
    frame: FrameType
    thread: int
    since: float

    def describe(self, innermost: FrameType | None) -> str:
        """Say what has run for how long, and where it is."""
        operation = self.operation
        where = f" at {operation.device.node}" if operation.device is not None else ""
        seconds = time.monotonic() - self.since
        place = _place(innermost, self.frame, operation.file)
        name = f"{operation.driver}.{operation.name}".lstrip(".")
        return f"{name}{where} has run for {seconds:.0f} s; all programs wait: {place}"


_OPERATIONS: dict[CodeType, Callable[[FrameType], Operation]] = {}


def watched(function: Callable[..., object], describe: Callable[[FrameType], Operation]) -> None:
    """Have calls of `function` watched, whose frames `describe` reads."""
    _OPERATIONS[function.__code__] = describe


class Watchdog:
    """Looks at the operations of one host's thread and of those who add devices.

    :param owns: says whether an operation is this host's.
    :param timeout: seconds after which an operation is ended; None for never.
    :param verbose: log the driver's stack besides.
    """

    def __init__(
        self, owns: Callable[[Operation], bool], timeout: float | None, verbose: bool
    ) -> None:  # fmt: skip
        self._owns = owns
        self._timeout = timeout
        self._verbose = verbose
        self._seen: dict[FrameType, Running] = {}
        self._said: set[FrameType] = set()
        self._ended: set[FrameType] = set()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="mapdev watchdog", daemon=True)

    def start(self) -> None:
        """Start to look, if that has not begun."""
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Look no longer."""
        self._stop.set()

    def _run(self) -> None:
        look = _LOOK if self._timeout is None else min(_LOOK, self._timeout / 4)
        while not self._stop.wait(look):
            try:
                for running in self.look():
                    self._judge(running)
            except Exception:
                log.exception("mapdev: the watchdog failed; please report it")

    def look(self) -> list[Running]:
        """Return the operations that run now, with the time since they were first seen."""
        now = time.monotonic()
        with self._lock:
            found: dict[FrameType, Running] = {}
            for thread, innermost in sys._current_frames().items():
                frame = _find(innermost)
                if frame is not None:
                    operation = _OPERATIONS[frame.f_code](frame)
                    if self._owns(operation):
                        before = self._seen.get(frame)
                        found[frame] = before or Running(operation, frame, thread, now)
            self._seen = found
            self._said &= set(found)
            self._ended &= set(found)
        return list(found.values())

    def _judge(self, running: Running) -> None:
        seconds = time.monotonic() - running.since
        if seconds >= LONG and running.frame not in self._said:
            self.say(running)
        if self._timeout is not None and seconds >= self._timeout:
            if running.frame not in self._ended:
                log.error("%s has run for more than %g s; its client gets ETIMEDOUT",
                          running.operation.name, self._timeout)  # fmt: skip
            self.end(running)

    def say(self, running: Running) -> None:
        """Log that an operation has run for long."""
        self._said.add(running.frame)
        innermost = sys._current_frames().get(running.thread)
        log.warning("%s", running.describe(innermost))
        if self._verbose and innermost is not None:
            log.warning("%s", _stack(innermost, running.frame))

    def end(self, running: Running) -> None:
        """End an operation: answer its client now, and raise an exception in its thread."""
        if running.frame not in self._ended and running.operation.call is not None:
            running.operation.call.time_out()
        self._ended.add(running.frame)
        if _find(sys._current_frames().get(running.thread)) is running.frame:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(running.thread), ctypes.py_object(OperationTimeout)
            )


def _find(frame: FrameType | None) -> FrameType | None:
    """Return the frame of the innermost operation below which `frame` runs."""
    while frame is not None and frame.f_code not in _OPERATIONS:
        frame = frame.f_back
    return frame


def _place(innermost: FrameType | None, operation: FrameType, file: str) -> str:
    frame, first = innermost, None
    while frame is not None and frame is not operation:
        if frame.f_code.co_filename == file:
            return f"{os.path.basename(file)}:{frame.f_lineno}"  # noqa: PTH119
        first, frame = frame, frame.f_back
    if first is None:
        return "it has just ended"
    return f"{os.path.basename(first.f_code.co_filename)}:{first.f_lineno}"  # noqa: PTH119


def _stack(innermost: FrameType, operation: FrameType) -> str:
    import traceback

    frames = traceback.extract_stack(innermost)
    depth = len(traceback.extract_stack(operation))
    return "".join(traceback.format_list(frames[depth:])).rstrip()


# --- what is an operation, and how its frame is read ----------------------------------------------


def operation_of(
    owner: object, name: str, driver: object, device: Device | None = None, call: Call | None = None
) -> Operation:
    """Describe an operation of `driver`."""
    cls = type(driver)
    module = sys.modules.get(cls.__module__)
    return Operation(
        owner, name, device, cls.__name__, getattr(module, "__file__", None) or "", call
    )


def _of_call(frame: FrameType) -> Operation:
    at = frame.f_locals
    device = at["call"].file.device
    return operation_of(at["self"].machine, at["operation"], device.driver, device, at["call"])


def _of_device(frame: FrameType) -> Operation:
    at = frame.f_locals
    return operation_of(at["self"].machine, at["operation"], at["device"].driver, at["device"])


def _of_poll(frame: FrameType) -> Operation:
    at = frame.f_locals
    device = at["of"].device
    return operation_of(at["self"].machine, "poll", device.driver, device)


def _of_coroutine(frame: FrameType) -> Operation:
    at = frame.f_locals["self"]
    coroutine = at._coroutine
    file = getattr(getattr(coroutine, "cr_code", None), "co_filename", "")
    return Operation(at._lock, coroutine.__qualname__, None, "", file, None)


watched(Operations._run, _of_call)
watched(Operations.run, _of_device)
watched(Operations.poll, _of_poll)
watched(_Locked.send, _of_coroutine)
