"""The host's event loop: a thread that takes calls and jobs one at a time and survives all errors.

`Loop` is what both hosts' servers have in common; a subclass says how calls come in (`serve`). It
owns the thread. Other threads reach it by `Jobs`, which runs a function there, and by the host's
lock, which is held while anything is handled. Nothing that a driver or a handler raises ends
the thread; if it can't go on all the same, those who wait for it are told why.
"""

from __future__ import annotations

import abc
import errno
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mapdev.host.core.call import Call
from mapdev.host.core.operations import Operations, OperationTimeout
from mapdev.host.core.polling import Polling
from mapdev.host.core.waiting import Waiting, WouldWait
from mapdev.linux.log import log

__all__ = ["OWN_ERROR", "HostDiedError", "Jobs", "Loop"]

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


class Jobs:
    """Runs functions of other threads in the host's thread.

    Made before anything else, so that whoever needs the thread gets this in its constructor.

    :param lock: the host's.
    :param kick: makes the thread look up; called in any thread.
    :ivar pending: what is to be run.
    :ivar settling: who waits for `settle`.
    """

    def __init__(self, lock: threading.RLock, kick: Callable[[], None]) -> None:
        self.lock = lock
        self.kick = kick
        self._done = threading.Condition(lock)
        self.pending: list[_Job] = []  # looked at after each call, so plain attributes
        self.settling: list[_Job] = []
        self._thread: threading.Thread | None = None
        self._died: BaseException | None = None

    def begin(self, thread: threading.Thread) -> None:
        """Know the host's thread, which is about to run."""
        self._thread = thread

    def end(self, error: BaseException | None = None) -> None:
        """Know that the thread has ended, because of `error` if it was not asked to."""
        with self.lock:
            self._thread = None
            self._died = error
            self._done.notify_all()

    def in_thread(self, work: Callable[[], _T]) -> _T:
        """Run `work` in the host's thread and return its result; here, if there is none.

        :raises HostDiedError: the thread has ended because of an error.
        """
        if self._thread is None or threading.current_thread() is self._thread:
            self._check()
            return work()
        job = _Job(work)
        with self.lock:
            self.pending.append(job)
            self._wait_for(job)
        if job.error is not None:
            raise job.error
        result: _T = job.result
        return result

    def submit(self, work: Callable[[], Any]) -> None:
        """Have `work` run in the host's thread soon; does not wait."""
        self.pending.append(_Job(work))
        self.kick()

    def settle(self) -> None:
        """Return when what ended before this call is handled: descriptors, mappings, clients.

        Clients that go on making calls don't keep it from returning.

        :raises HostDiedError: the thread has ended because of an error.
        """
        job = _Job(lambda: None)
        with self.lock:
            if self._thread is not None:
                self.settling.append(job)
                self._wait_for(job)
            self._check()

    def _check(self) -> None:
        if self._died is not None:
            raise HostDiedError(f"the host's thread has ended: {self._died!r}") from self._died

    def _wait_for(self, job: _Job) -> None:
        self.kick()
        while not job.is_done:
            self._done.wait(_LOOK)  # lets go of the lock, which the thread needs to run the job
            if job.is_done:
                return
            if self._thread is None or not self._thread.is_alive():
                self._check()
                job.run()  # the host is closing: nothing happens beside this any more

    # --- in the host's thread ---------------------------------------------------------------

    def run(self, settled: tuple[_Job, ...] = ()) -> None:
        """Run what is to be run, and let those go on that waited for `settle`; under the lock."""
        jobs, self.pending = self.pending, []
        for job in settled:
            self.settling.remove(job)
        for job in (*jobs, *settled):
            job.run()
        self._done.notify_all()


class Loop(abc.ABC):
    """Runs the host's thread from `start` to `end_thread`.

    :param waiting: calls that wait, of this loop.
    """

    def __init__(
        self, jobs: Jobs, waiting: Waiting, polling: Polling, operations: Operations
    ) -> None:
        self.jobs = jobs
        self.lock = jobs.lock
        self.waiting = waiting
        self.polling = polling
        self.operations = operations
        self._is_running = True
        self._thread = threading.Thread(target=self._run, name="mapdev host", daemon=True)

    # --- from other threads -----------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self.jobs.begin(self._thread)
        self._thread.start()

    def settle(self) -> None:
        """Return when what ended before this call is handled; see `Jobs.settle`."""
        self.jobs.settle()

    def end_thread(self) -> None:
        """End the thread; calls that wait fail with ENODEV."""
        self._is_running = False
        while self._thread.is_alive():
            self.jobs.kick()
            self._thread.join(_LOOK)
        self.jobs.end()
        with self.lock:
            self.waiting.close()

    # --- in the host's thread ---------------------------------------------------------------

    @abc.abstractmethod
    def serve(self, is_busy: bool) -> bool:
        """Wait for what clients do and handle it under the lock: a call by `handle`.

        :param is_busy: don't wait.
        :return: whether there may be more, of what had happened when this was called.
        """

    def _run(self) -> None:
        jobs, waiting = self.jobs, self.waiting
        waiting.begin()
        errors = 0
        while self._is_running:
            try:
                settling = tuple(jobs.settling)
                more = self.serve(bool(settling or jobs.pending or waiting.is_due))
                if waiting.is_due:
                    with self.lock:
                        waiting.tend(self.carry_out, self.polling.woken)
                        jobs.run()
                elif jobs.pending or settling:
                    with self.lock:
                        self.flush()
                        jobs.run(() if more else settling)
                errors = 0
            except OperationTimeout:
                pass  # it came too late: the operation had just ended
            except BaseException as error:
                log.exception(OWN_ERROR)
                errors += 1
                if errors >= _ENOUGH_ERRORS:
                    self._die(error)
                    return

    def flush(self) -> None:  # noqa: B027 - not every host keeps answers back
        """Send all answers that were noted: somebody waits for that."""

    def _die(self, error: BaseException) -> None:
        """Give up: whoever waits for a call or for this thread must not wait for ever."""
        log.critical("mapdev: the host can't go on and ends: %r", error)
        with self.lock:
            self.abandon()
        self.jobs.end(error)

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
            if self.polling.by_driver or waiting.is_due:
                self.show_changes(call)
            call.finish(self.before_answer(call, result))
        return None

    def before_answer(self, call: Call, result: Any) -> Any:
        """Do what the client must find done when it goes on; return what to answer."""
        return result

    def show_changes(self, call: Call) -> None:
        """Have poll see what the call changed, before its client goes on."""
        if call.owner is not None:
            self.polling.refresh(call.owner)  # with or without a wake-up
            if call.file.driver is not call.owner:  # an attribute of its device
                self.polling.refresh(call.file.driver)
        if self.waiting.is_due:
            self.waiting.show(self.polling.woken)

    @abc.abstractmethod
    def failed(self, call: Call, error: BaseException) -> None:
        """Answer a call whose handler failed by a mistake of the host, or whose client is gone."""
