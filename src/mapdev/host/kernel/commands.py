"""`Commands` has a waiting client copy its memory or list its areas, in the middle of its call.

Only the client's own task can reach its memory in every case. While it does, others of its threads
may wait for us, and it for them: a page fault of our own areas, an mmap. So what a process's mm
waits for is served meanwhile, nested in the operation that asked.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from mapdev.host.kernel import request as at
from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control
from mapdev.host.kernel.request import Got


class Outcome(NamedTuple):
    """The result of a command."""

    result: int
    arg: tuple[int, ...]
    payload: bytes


InThread = Callable[[Callable[[], Outcome]], Outcome]


class Commands:
    """Gives commands to clients that wait.

    :param in_thread: runs a function in the server's thread.
    :param serve: handles a request that can't wait.
    """

    def __init__(self, control: Control, in_thread: InThread, serve: Callable[[Got], None]) -> None:
        self._control = control
        self._in_thread = in_thread
        self._serve = serve

    def run(self, request: int, kind: int, addr: int, length: int, data: bytes = b"") -> Outcome:
        """Have the client of a call carry out a command; return its outcome; in any thread.

        :raises OSError: EFAULT the client is gone, or can't do that now; what the command says.
        """
        return self._in_thread(lambda: self._run(request, kind, addr, length, data))

    def _run(self, request: int, kind: int, addr: int, length: int, data: bytes) -> Outcome:
        control = self._control
        control.command(request, kind, addr, length, data)
        while True:
            got = control.fetch(uapi.NEXT_URGENT, request)
            if got is None:
                if control.is_waited_for(request):
                    continue  # kicked
                raise OSError(errno.EFAULT, "the client is gone")
            if got[at.OP] != uapi.RESULT or got[at.ID] != request:
                self._serve(got)
                continue
            result = uapi.signed(got[at.ARG0])
            if result < 0:
                raise OSError(-result, "the client can't do that now")
            payload = control.payload(got[at.SLOT], got[at.LEN])
            return Outcome(result, got[at.ARG0 : at.ARG5 + 1], payload)
