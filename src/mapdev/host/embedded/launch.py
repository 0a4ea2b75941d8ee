"""`ClientProcess` starts a client: a subprocess.Popen whose program runs under the seccomp filter.

Between fork and exec the child gives up new privileges, installs the filter and sends the listener
to us; from then on it, and all that it forks and executes, are clients.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import Any

from mapdev.host.embedded import syscalls
from mapdev.host.process import Process

# A child that can't install its filter has to say so before exec; Popen passes on only that
# preexec_fn raised. The errno comes through the listener's socket instead.
_FAILED = b"failed"


class ClientProcess(Process):
    """A client that the host started; used like subprocess.Popen.

    A blocking waitpid would also see the stops of a thread that the host has stopped by ptrace and
    take them for its end, so this waits on a pidfd first.

    :ivar signalled: called after `send_signal`, since a call that waits must be told.
    """

    signalled: Callable[[], None] | None = None

    def __init__(self, args: Any, program: bytes, channel: socket.socket, **options: Any) -> None:
        """Start `args` under the filter `program`; its listener comes out of `channel`."""
        super().__init__(args, preexec_fn=_Installer(program, channel), **options)

    def poll(self) -> int | None:
        """Return the exit status if the process has ended, see subprocess.Popen.poll."""
        return super().poll() if self._ended(0) else self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process, see subprocess.Popen.wait.

        :raises subprocess.TimeoutExpired: it did not end in `timeout` seconds.
        """
        if not self._ended(timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return super().wait()

    def send_signal(self, sig: int) -> None:
        """Send a signal to the process, see subprocess.Popen.send_signal."""
        super().send_signal(sig)
        if self.signalled is not None:
            self.signalled()

    def _ended(self, timeout: float | None) -> bool:
        if self.returncode is not None or self._pidfd < 0:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(None if timeout is None else max(0, timeout * 1000)))


class _Installer:
    """Installs the filter in the child between fork and exec, by nothing but system calls."""

    def __init__(self, program: bytes, channel: socket.socket) -> None:
        self._program = program
        self._channel = channel
        self._rights = socket.SOL_SOCKET, socket.SCM_RIGHTS
        self._array = array.array

    def __call__(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            listener = _install(self._program)
        except OSError as error:
            self._channel.send(_FAILED + str(error).encode())
            raise
        self._channel.sendmsg([b"x"], [(*self._rights, self._array("i", [listener]))])
        os.close(listener)


def _install(program: bytes) -> int:
    flags = syscalls.SECCOMP_FILTER_FLAG_NEW_LISTENER
    try:
        return syscalls.seccomp_filter(
            program, flags | syscalls.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        )
    except OSError:
        return syscalls.seccomp_filter(program, flags)  # before Linux 5.19


def receive_listener(channel: socket.socket) -> int | None:
    """Return the descriptor that a child sent, None when it ended before it could.

    :raises OSError: the child could not install its filter.
    """
    data, descriptors, _, _ = socket.recv_fds(channel, 256, 1)
    if data.startswith(_FAILED):
        raise OSError(f"the kernel refused the client's filter: {data[len(_FAILED):].decode()}; "
                      "see `mapdev doctor`")  # fmt: skip
    return descriptors[0] if descriptors else None
