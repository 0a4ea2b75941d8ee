"""What clients do for us in the middle of their calls, which wait: copying, listing their areas.

Only the client's own task can reach its memory in every case. While it does, others of its threads
may wait for us, and it for them: a page fault of our own areas, an mmap. So what a process's mm
waits for is served meanwhile, nested in the operation that asked.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import NamedTuple

from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control, Request


class Outcome(NamedTuple):
    """What a command came to."""

    result: int
    arg: tuple[int, ...]
    payload: bytes


class _Job:
    def __init__(self, do: Callable[[], Outcome]) -> None:
        self.do = do
        self.outcome: Outcome | OSError | None = None


class Commands:
    """Gives commands; from the server's thread, or from another by way of it.

    :param lock: the host's, held by whoever calls.
    :param serve: handles a request that can't wait.
    """

    def __init__(
        self, control: Control, lock: threading.RLock, serve: Callable[[Request], None]
    ) -> None:
        self._control = control
        self._serve = serve
        self._done = threading.Condition(lock)
        self._jobs: list[_Job] = []
        self._thread = 0

    def begin(self) -> None:
        """Know the server's thread, which is the calling one."""
        self._thread = threading.get_ident()

    @property
    def busy(self) -> bool:
        """Whether another thread waits for `tend`."""
        return bool(self._jobs)

    def run(self, request: int, kind: int, addr: int, length: int, data: bytes = b"") -> Outcome:
        """Have the client of a call do something, and return what came of it.

        :raises OSError: EFAULT the client is gone, or can't do that now; what the command says.
        """
        if threading.get_ident() == self._thread:
            return self._run(request, kind, addr, length, data)
        job = _Job(lambda: self._run(request, kind, addr, length, data))
        self._jobs.append(job)
        self._control.kick()
        while job.outcome is None:
            self._done.wait()  # lets go of the lock: the server needs it to carry this out
        if isinstance(job.outcome, OSError):
            raise job.outcome
        return job.outcome

    def tend(self) -> None:
        """Do what other threads ask for; in the server's thread."""
        while self._jobs:
            job = self._jobs.pop(0)
            try:
                job.outcome = job.do()
            except OSError as error:
                job.outcome = error
            self._done.notify_all()

    def _run(self, request: int, kind: int, addr: int, length: int, data: bytes) -> Outcome:
        control = self._control
        control.command(request, kind, addr, length, data)
        while True:
            got = control.fetch(uapi.NEXT_URGENT, request)
            if got is None:
                if control.is_waited_for(request):
                    continue  # kicked
                raise OSError(errno.EFAULT, "the client is gone")
            if got.op != uapi.RESULT or got.id != request:
                self._serve(got)
                continue
            result = uapi.signed(got.arg[0])
            if result < 0:
                raise OSError(-result, "the client can't do that now")
            return Outcome(result, got.arg, control.payload(got.slot, got.len))
