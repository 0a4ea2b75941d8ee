"""`Sigio` sends the signals of signal-driven I/O: SIGIO, or what F_SETSIG asks for, with si_fd.

Nobody but the kernel may send a signal with such a code to another process. So the host has the
kernel send it: a pipe, or a pair of sockets, gets the same owner, signal and descriptor number as
the client's file, is made asynchronous, and then something happens to it. The number is that of a
descriptor of the host, so a thread with a table of its own does it, where all numbers are free.

Used from any thread.

Source: fs/fcntl.c (send_sigio_to_task), fs/pipe.c, net/unix/af_unix.c (unix_shutdown)
Fidelity: to who has chosen a signal, POLL_MSG, POLL_ERR and POLL_PRI are told as POLL_IN.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import socket
import struct
import threading

from mapdev.host.embedded.libc import close_range, unshare_files
from mapdev.host.numbers import F_SETOWN_EX
from mapdev.linux.fasync import POLL_HUP, POLL_OUT
from mapdev.linux.fs import FownStruct
from mapdev.linux.log import log

_OWNER = struct.Struct("<ii")  # struct f_owner_ex
_ALL = (1 << 32) - 1
_LOOK = 1.0  # seconds


class Sigio:
    """The thread, which is started for the first signal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._work: queue.SimpleQueue[tuple[FownStruct, int, int] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def send(self, owner: FownStruct, fd: int, band: int) -> None:
        """Signal the owner of a file; returns when the signal is there."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mapdev sigio", daemon=True)
                self._thread.start()
            self._work.put((owner, fd, band))
            while self._thread.is_alive():
                try:
                    self._done.get(timeout=_LOOK)
                except queue.Empty:
                    continue
                return

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            if self._thread is not None:
                self._work.put(None)
                self._thread.join(_LOOK)
                self._thread = None

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            unshare_files()
            close_range(0, _ALL)
        except OSError as error:
            log.warning("no signals for O_ASYNC: %s", error)
            unable = True
        else:
            unable = False
        while (work := self._work.get()) is not None:
            try:
                if not unable:
                    _signal(*work)
            except OSError as error:
                log.debug("no signal to %d: %s", work[0].pid, error)  # it is gone
            finally:
                if not unable:
                    close_range(0, _ALL)
                self._done.put(None)


def _signal(owner: FownStruct, fd: int, band: int) -> None:
    """Have the kernel signal `owner` for descriptor `fd`; leaves descriptors open."""
    if band == POLL_HUP:
        end, other = (part.detach() for part in socket.socketpair())
    else:
        end, other = os.pipe()
        if band == POLL_OUT:
            end, other = other, end
    if other == fd:
        other = fcntl.fcntl(other, fcntl.F_DUPFD, fd + 1)
    if end != fd:
        with contextlib.suppress(OSError):  # it is beyond our limit
            end = os.dup2(end, fd)
    fcntl.fcntl(end, F_SETOWN_EX, _OWNER.pack(owner.pid_type, owner.pid))
    fcntl.fcntl(end, fcntl.F_SETSIG, owner.signum)
    fcntl.fcntl(end, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    if band == POLL_HUP:
        peer = socket.socket(fileno=other)
        peer.shutdown(socket.SHUT_RDWR)
        peer.detach()
    elif band == POLL_OUT:
        os.write(end, b"\0")
        os.read(other, 1)
    else:
        os.write(other, b"\0")
    fcntl.fcntl(end, fcntl.F_SETFL, os.O_NONBLOCK)  # the end of the other one is no event
