"""Serves a student's driver to small programs, and notes what it does meanwhile.

A `Session` has a host of its own with one device, /dev/lab. What the driver called, allocated and
freed is read from a recorder, so that a check can name a mistake and not only its effect. A driver
may do anything: its operations end after some seconds, and a program that gets no answer is killed.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import mapdev
from mapdev.driver import Driver
from mapdev.host.core.snapshot import frames
from mapdev.host.loading import DriverError
from mapdev.lab.prelude import PRELUDE
from mapdev.linux.log import log

__all__ = ["NODE", "Call", "Done", "Holder", "Missing", "Operation", "Session"]

NODE = "/dev/lab"
_PATIENCE = 20.0  # seconds that a program of a check may take
_OPERATION = 5.0  # seconds that an operation may take
_MEMORY = "64M"


class Missing(Exception):  # noqa: N818 - an outcome
    """What the driver lacks, in words for who wrote it; it ends a check."""


class Call(NamedTuple):
    """A kernel function that the driver called, as a recorder notes it."""

    name: str
    arguments: tuple[Any, ...]
    result: Any

    @property
    def is_error(self) -> bool:
        """It raised OSError."""
        return isinstance(self.result, int) and -4096 < self.result < 0


class Operation(NamedTuple):
    """An operation of the driver that ran.

    :ivar area: (vm_start, vm_end, vm_pgoff, vm_flags, vm_page_prot) of its area, or None.
    """

    name: str
    arguments: str
    result: str
    area: tuple[int, int, int, int, int] | None
    calls: list[Call]

    def called(self, *names: str) -> list[Call]:
        """Return its calls of these functions."""
        return [call for call in self.calls if call.name in names]


class Done(NamedTuple):
    """A program that has ended."""

    status: int  # as `subprocess` has it: negative for a signal
    out: str
    err: str


class Holder:
    """A program that waits in ``ready()``, with all that it has mapped, until it may go on."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid
        self.out = ""

    def wait_until_ready(self) -> None:
        """Read what it prints up to ``ready``.

        :raises Missing: it has ended before, or takes too long.
        """
        limit = threading.Timer(_PATIENCE, self._process.kill)
        limit.start()
        try:
            for line in self._process.stdout:
                if line == "ready\n":
                    return
                self.out += line
        finally:
            limit.cancel()
        raise Missing(_ended(self._process.wait(_PATIENCE), self._process.stderr.read()))

    def close(self) -> None:
        """Let it end."""
        self._process.stdin.close()

    def go_on(self) -> None:
        """Let it go on to its next ``ready()``, or to its end."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()


class Session:
    """A driver of a student's, served as /dev/lab.

    :param driver: its class.
    :param params: of its probe.
    :ivar driver: the object; after `add`.
    :ivar log: what the host said of the driver: one text for each line of its log.
    """

    def __init__(self, driver: type[Driver], **params: Any) -> None:
        self._class = driver
        self._params = params
        self.log: list[str] = []
        self.leaks: list[str] = []

    def __enter__(self) -> Session:
        log.prepare()
        self._handler = _Lines(self.log)
        logger = logging.getLogger("mapdev")
        self._propagates, logger.propagate = logger.propagate, False
        logger.addHandler(self._handler)
        self.host = mapdev.host(_MEMORY, timeout=_OPERATION)
        self.host.__enter__()
        self._recorder, self._number, _ = self.host.control.begin()
        try:
            self._add()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _add(self) -> None:
        try:
            self.driver = self.host.add(self._class, NODE, **self._params)
        except DriverError as error:
            raise Missing(f"the device can't be made: {error}") from None
        except Exception as error:
            raise Missing(f"probe raised {_told(error)}") from None

    def __exit__(self, *_: object) -> None:
        self.host.__exit__(None, None, None)
        self.leaks = self.host.leaks
        logger = logging.getLogger("mapdev")
        logger.removeHandler(self._handler)
        logger.propagate = self._propagates

    # --- programs ---------------------------------------------------------------------------

    def run(self, code: str) -> Done:
        """Run a program: Python, after what `PRELUDE` says."""
        try:
            done = self.host.run(
                _command(code), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=_PATIENCE,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Missing(
                f"a program of the check got no answer within {_PATIENCE:.0f} seconds. Which "
                "operation does not return?"
            ) from None
        return Done(done.returncode, done.stdout, done.stderr)

    def output(self, code: str) -> str:
        """Run a program that should succeed, and return what it printed.

        :raises Missing: it failed.
        """
        done = self.run(code)
        if done.status:
            raise Missing(self.explained(_ended(done.status, done.err)))
        return done.out

    @contextmanager
    def hold(self, code: str) -> Iterator[Holder]:
        """Run a program as far as its ``ready()``; it is ended afterwards."""
        pipe = subprocess.PIPE
        with self.host.popen(
            _command(code), stdin=pipe, stdout=pipe, stderr=pipe, text=True
        ) as process:
            holder = Holder(process)
            try:
                holder.wait_until_ready()
                self.host.settle()
                yield holder
            except Missing as missing:
                raise Missing(self.explained(str(missing))) from None
            finally:
                holder.close()
                try:
                    process.wait(_PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
        self.host.settle()

    def explained(self, text: str) -> str:
        """Add what the host said of the driver meanwhile."""
        said = [line for line in self.log if line not in text]
        return "\n".join([text, *said[:3]])

    # --- what the driver did ------------------------------------------------------------------

    def operations(self, name: str | None = None) -> list[Operation]:
        """Return the operations that ran since the device was added; only those of one name."""
        found = []
        for _, _, kind, _, *rest in self._recorder.since(self._number):
            if kind == "call":
                _, operation, arguments, result, _, area, calls = rest
                made = [Call(*call) for call in calls if not isinstance(call, int)]
                found.append(Operation(operation, arguments, result, area, made))
        return [operation for operation in found if name in (None, operation.name)]

    def last(self, name: str) -> Operation | None:
        """Return the last operation of one name; None if there was none."""
        found = self.operations(name)
        return found[-1] if found else None

    def allocations(self) -> list[dict[str, Any]]:
        """Return what the driver has allocated now: see `mapdev.host.core.snapshot`."""
        from mapdev.host.core.snapshot import describe

        with self.host.lock:
            found: list[dict[str, Any]] = describe(self.host)["allocations"]
        return [one for one in found if one["owner"] == self.driver.name]

    def frames(self) -> dict[int, dict[str, Any]]:
        """Return the frames that the driver has or a program maps, by their numbers."""
        with self.host.lock:
            runs = frames(self.host)
        return {run["pfn"] + page: run for run in runs for page in range(run["nr_pages"])}

    def fill(self, allocation: dict[str, Any], size: int) -> None:
        """Write a number into each page of an allocation: see `number_of`."""
        from mapdev.linux.access import memory
        from mapdev.linux.numbers import PAGE_SIZE

        view = memory(allocation["addr"], size)
        for page in range(size // PAGE_SIZE):
            at = page * PAGE_SIZE
            view[at : at + 8] = self.number_of(page).to_bytes(8, sys.byteorder)

    @staticmethod
    def number_of(page: int) -> int:
        """Return what `fill` writes into a page."""
        return 0x1AB0000 + page


class _Lines(logging.Handler):
    """Keeps lines of the log: of a traceback its last one, which says what was raised."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {_told(record.exc_info[1])}"
        if text not in self._lines:
            self._lines.append(text)


def _command(code: str) -> Sequence[str]:
    return [sys.executable, "-I", "-S", "-c", PRELUDE + code]


def _ended(status: int, err: str) -> str:
    """Say how a program of a check ended."""
    if status == -7:
        return (
            "the program got SIGBUS: it touched a page of the area that the driver had not mapped"
        )
    if status == -9:
        return (
            f"a program of the check got no answer within {_PATIENCE:.0f} seconds, and was killed. "
            "Which operation does not return?"
        )
    if status < 0:
        return f"the program was ended by signal {-status}"
    last = err.strip().splitlines()[-1:] or ["it said nothing"]
    return f"the program failed (status {status}): {last[0]}"


def _told(error: BaseException) -> str:
    """Name an error, and the line of the student's file that it came from."""
    own, place, trace = os.path.dirname(mapdev.__file__), "", error.__traceback__  # noqa: PTH120
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith((own, "<")):
            place = f" (line {trace.tb_lineno} of {name.rpartition('/')[2]})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"
