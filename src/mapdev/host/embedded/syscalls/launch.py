"""`ClientProcess` starts a client: a subprocess.Popen whose program runs under the seccomp filter.

Between fork and exec the child gives up new privileges, installs the filter and sends the listener
to us; from then on it, and all that it forks and executes, are clients.

Until the child has closed its own copy of the listener, a call of it that the filter hands over
would wait for ever if nobody else had one. So it makes no such call before we say that we have the
listener, and in all that time it dies with us (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import resource
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from typing import Any

from mapdev.host.embedded import libc, limits
from mapdev.host.process import Process

# A child that can't install its filter has to say so before exec; Popen passes on only that
# preexec_fn raised. The errno comes through the listener's socket instead.
_FAILED = b"failed"
_RECEIVED, _LOST = b"received", b"lost"
_NOT_RECEIVED = 125  # exit status of a child that nobody will ever see


class Arrival:
    """How the listener of a client that was started got here.

    :ivar error: why it did not; set before the child has ended.
    """

    error: OSError | None = None


class ClientProcess(Process):
    """A client that the host started; used like subprocess.Popen.

    A blocking waitpid would also see the stops of a thread that the host has stopped by ptrace and
    take them for its end, so this waits on a pidfd first.

    """

    def __init__(
        self, args: Any, program: bytes, base: int, channel: socket.socket, other_end: int,
        arrival: Arrival, signalled: Callable[[], None], **options: Any,
    ) -> None:  # fmt: skip
        """Start `args` under the filter `program`, which sends its listener through `channel`.

        :param other_end: the descriptor at which that is received.
        :param base: the filter hands over socket calls on descriptors from this one on.
        :param signalled: called after `send_signal`, since a call that waits must be told.
        :raises OSError: the program can't be executed, or `arrival` says why the listener is lost.
        """
        self._signalled = signalled
        super().__init__(args, _Installer(program, base, channel, other_end), **options)
        if arrival.error is not None:
            self.end()  # it has ended itself
            raise arrival.error

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
        self._signalled()

    def _ended(self, timeout: float | None) -> bool:
        if self.returncode is not None or self._pidfd < 0:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(None if timeout is None else max(0, timeout * 1000)))


class _Installer:
    """Installs the filter in the child between fork and exec, by nothing but system calls."""

    def __init__(
        self, program: bytes, base: int, channel: socket.socket, other_end: int
    ) -> None:  # fmt: skip
        self._other_end = other_end
        self._program = program
        self._base = base
        self._channel = channel
        self._parent = os.getpid()
        self._limits = limits.limits_of_clients()
        self._array = array.array
        self._socket = socket.socket

    def __call__(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._parent:
            os._exit(_NOT_RECEIVED)  # it had died already
        channel, stdin = self._channel, -1
        os.close(self._other_end)  # the listener needs a descriptor, which may be the last one
        try:
            if channel.fileno() >= self._base:
                channel, stdin = self._channel_at_0()
            libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
            listener = _install(self._program)
        except OSError as error:
            channel.send(_FAILED + str(error).encode())
            raise
        if not self._is_received(channel, listener):
            os._exit(_NOT_RECEIVED)  # not by an exception: to report that is a call on a descriptor
        os.close(listener)
        libc.prctl(libc.PR_SET_PDEATHSIG, 0)
        if stdin >= 0:
            os.dup2(stdin, channel.detach())
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)

    def _channel_at_0(self) -> tuple[socket.socket, int]:
        """Return the channel at a number whose socket calls are not handed over, and old number 0.

        There may be many clients, and no number below `base` that is free.
        """
        try:
            stdin = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
        except OSError:
            stdin = -1  # it is closed
        os.dup2(self._channel.fileno(), 0, inheritable=stdin >= 0)
        self._channel.close()
        return self._socket(fileno=0), stdin

    def _is_received(self, channel: socket.socket, listener: int) -> bool:
        rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, self._array("i", [listener])
        try:
            channel.sendmsg([b"x"], [rights])
            # No end of file need ever come: a child that starts now has a copy of the other end.
            return channel.recv(len(_RECEIVED)) == _RECEIVED
        except OSError:
            return False


def _install(program: bytes) -> int:
    flags = libc.SECCOMP_FILTER_FLAG_NEW_LISTENER
    try:
        return libc.seccomp_filter(program, flags | libc.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
    except OSError:
        return libc.seccomp_filter(program, flags)  # before Linux 5.19


def receive_listener(channel: socket.socket) -> int | None:
    """Return the descriptor that a child sent, None when it ended before it could.

    :raises OSError: the child could not install its filter; EMFILE we have no descriptor left, so
        that the kernel has dropped the listener.
    """
    data, descriptors, flags, _ = socket.recv_fds(channel, 256, 1)
    if data.startswith(_FAILED):
        raise OSError(f"the kernel refused the client's filter: {data[len(_FAILED):].decode()}; "
                      "see `mapdev doctor`")  # fmt: skip
    if descriptors:
        return descriptors[0]
    if data or flags & socket.MSG_CTRUNC:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise OSError(errno.EMFILE, "no descriptor is left for the listener of a client: mapdev "
                      f"may have {limit}; see `ulimit -Hn`")  # fmt: skip
    return None


def confirm(channel: socket.socket, is_received: bool) -> None:
    """Tell a child whether its listener is served from now on; if not, it ends."""
    with contextlib.suppress(OSError):  # it has ended
        channel.send(_RECEIVED if is_received else _LOST)
