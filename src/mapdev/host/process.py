"""`Process` is a program that a host starts: `subprocess.Popen` with a pidfd to select on."""

from __future__ import annotations

import os
import signal
import subprocess
import warnings
from collections.abc import Callable
from typing import Any


def _unblock_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the host may have blocked some for itself


def _both(
    prepare: Callable[[], None], preexec_fn: Callable[[], object] | None
) -> Callable[[], None]:
    """Return what the child calls: our own function, then the caller's, which is a client's."""
    if preexec_fn is None:
        return prepare

    def call() -> None:
        prepare()
        preexec_fn()

    return call


class Process(subprocess.Popen[Any]):
    """A program; ``fileno`` makes it good for select."""

    _pidfd = -1

    def __init__(
        self, args: Any, prepare: Callable[[], None] = _unblock_signals,
        preexec_fn: Callable[[], object] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        with warnings.catch_warnings():
            # 3.12 warns of any fork in a process with threads. Our child only makes system calls.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(args, preexec_fn=_both(prepare, preexec_fn), **options)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self.end()  # nobody could wait for it
            raise

    def end(self) -> None:
        """Kill the process, collect it, and close our ends of its pipes."""
        subprocess.Popen.kill(self)
        subprocess.Popen.wait(self)
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    def fileno(self) -> int:
        """Return a pidfd: readable once the process has ended."""
        return self._pidfd

    def __del__(self, *args: Any) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        super().__del__()
