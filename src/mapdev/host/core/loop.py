"""The host's thread: takes one call after another and has it carried out, whatever happens.

`Loop` is what both hosts' servers have in common; a subclass says how calls come in (`serve`). It
owns the thread. Other threads reach it by `in_thread`, which runs a function there, and by the
host's lock, which is held while anything is handled. Nothing that a driver or a handler raises ends
the thread; if it can't go on all the same, those who wait for it are told why.

Source: trio's and the kernel's habit of one place that waits
"""

from __future__ import annotations

import abc
import errno
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mapdev.host.core.call import Call
from mapdev.host.core.operations import Operations
from mapdev.host.core.polling import Polling
from mapdev.host.core.waiting import Waiting, WouldWait
from mapdev.linux.log import log

__all__ = ["OWN_ERROR", "HostDiedError", "Loop"]

_T = TypeVar("_T")
OWN_ERROR = "mapdev: an error of the host itself; please report it"
_TOO_LARGE = 4096  # for an errno
_LOOK = 1.0  # seconds after which those who wait for the thread look whether it lives
_ENOUGH_ERRORS = 100  # in a row, with nothing served in between: it can't go on


class HostDiedError(RuntimeError):
    """The host's thread has ended because of an error of its own."""


class _Job:
    """A function that another thread wants to have run in the host's thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        self.is_done = True


class Loop(abc.ABC):
    """Runs the host's thread from `start` to `stop`.

    :param lock: the host's.
    :param waiting: calls that wait, of this loop.
    """

    def __init__(
        self, lock: threading.RLock, waiting: Waiting, polling: Polling, operations: Operations
    ) -> None:
        self.lock = lock
        self.waiting = waiting
        self.polling = polling
        self.operations = operations
        self._done = threading.Condition(lock)
        self._jobs: list[_Job] = []
        self._settling: list[_Job] = []
        self._is_running = True
        self._died: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="mapdev host", daemon=True)

    # --- from other threads -----------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def in_thread(self, work: Callable[[], _T]) -> _T:
        """Run `work` in the host's thread, which may be the caller's, and return its result.

        :raises HostDiedError: the thread has ended.
        """
        if threading.current_thread() is self._thread:
            return work()
        job = _Job(work)
        with self.lock:
            self._jobs.append(job)
            self.kick()
            self._wait_for(job)
        if job.error is not None:
            raise job.error
        result: _T = job.result
        return result

    def submit(self, work: Callable[[], Any]) -> None:
        """Have `work` run in the host's thread soon; does not wait."""
        self._jobs.append(_Job(work))
        self.kick()

    def settle(self) -> None:
        """Return when what ended before this call is handled: descriptors, mappings, clients.

        Clients that go on making calls don't keep it from returning.

        :raises HostDiedError: the thread has ended.
        """
        job = _Job(lambda: None)
        with self.lock:
            self._settling.append(job)
            self.kick()
            self._wait_for(job)

    def _wait_for(self, job: _Job) -> None:
        while not job.is_done:
            # Lets go of the lock, which the thread needs to carry the job out.
            if not self._done.wait(_LOOK) and not self._thread.is_alive():
                raise HostDiedError(f"the host's thread has ended: {self._died!r}")

    def end_thread(self) -> None:
        """End the thread; calls that wait fail with ENODEV."""
        self._is_running = False
        if self._thread.is_alive():
            self.kick()
            self._thread.join()
        with self.lock:
            self.waiting.close()

    @abc.abstractmethod
    def kick(self) -> None:
        """Make `serve` return; in any thread."""

    # --- in the host's thread ---------------------------------------------------------------

    @abc.abstractmethod
    def serve(self, is_busy: bool) -> bool:
        """Wait for what clients do and handle it under the lock: a call by `handle`.

        :param is_busy: don't wait.
        :return: whether there may be more, of what had happened when this was called.
        """

    def _run(self) -> None:
        self.waiting.begin()
        errors = 0
        while self._is_running:
            try:
                settling = tuple(self._settling)
                more = self.serve(bool(settling or self._jobs or self.waiting.is_due))
                if self._jobs or self.waiting.is_due or (settling and not more):
                    with self.lock:
                        self._tend(() if more else settling)
                errors = 0
            except BaseException as error:
                log.exception(OWN_ERROR)
                errors += 1
                if errors >= _ENOUGH_ERRORS:
                    self._die(error)
                    return

    def _tend(self, settled: tuple[_Job, ...]) -> None:
        jobs, self._jobs = self._jobs, []
        if self.waiting.is_due:
            self.waiting.tend(self.carry_out, self.polling.woken)
        elif settled:
            self.flush()
            for job in settled:
                self._settling.remove(job)
            jobs += settled
        for job in jobs:
            job.run()
        if jobs:
            self._done.notify_all()

    def flush(self) -> None:  # noqa: B027 - not every host keeps answers back
        """Send all answers that were noted: somebody waits for that."""

    def _die(self, error: BaseException) -> None:
        """Give up: whoever waits for a call or for this thread must not wait for ever."""
        self._died = error
        log.critical("mapdev: the host can't go on and ends: %r", error)
        with self.lock:
            self.abandon()
            self._done.notify_all()

    def abandon(self) -> None:
        """Let go of all clients, whose calls fail from now on."""
        self.waiting.close()

    def handle(self, call: Call, function: Callable[..., Any], *args: Any) -> None:
        """Carry out a new call, by `function`, and answer or park it."""
        wait = self.carry_out(call, function, *args)
        if wait is not None:
            self.waiting.keep(call, wait)

    def carry_out(self, call: Call, function: Callable[..., Any], *args: Any) -> WouldWait | None:
        """Call `function` and answer `call` with what comes of it, or return why it waits."""
        waiting = self.waiting
        if waiting.is_due:
            waiting.show(self.polling.woken)  # what was woken before a call is seen by it
        try:
            result = function(*args)
        except WouldWait as wait:
            return wait
        except OSError as error:
            self.show_changes(call)
            code = error.errno or 0
            call.fail(code if 0 < code < _TOO_LARGE else errno.EIO)
        except BaseException as error:
            self.failed(call, error)
        else:
            self.show_changes(call)
            call.finish(result)
        return None

    def show_changes(self, call: Call) -> None:
        """Have poll see what the call changed, before its client goes on."""
        if self.waiting.is_due:
            self.waiting.show(self.polling.woken)

    @abc.abstractmethod
    def failed(self, call: Call, error: BaseException) -> None:
        """Answer a call whose handler failed by a mistake of ours, or whose client is gone."""
