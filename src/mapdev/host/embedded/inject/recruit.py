"""`Recruits` gets a thread that the host may trace into a process which a debugger holds.

A thread has one tracer: under gdb or strace the host can't stop it to make system calls in it. But
it can write to its code (/proc/TID/mem) while the thread waits in its call. So the call ends with
-ERESTART, and behind the `syscall` instruction the thread finds `ARCH.clone_and_repeat`: it
starts another thread, of which its tracer is not told (CLONE_UNTRACED), and makes its call again.
The new thread, the recruit, makes a call that the host has waited for. When both have arrived, the
code is as it was; the recruit starts a worker and ends. From then on that is where threads come
from that make system calls for the host in this process (`Worker.stand_in`).

While the code is another one, no thread but these two must run it: so this is done in processes of
one thread only. A signal handler could run in between: if a signal is pending, the kernel has the
call repeated after it first (-ERESTARTNOINTR), with the code as it is.

Objects: one `Recruits` for a host. A process has at most one pending recruit, which is forgotten
when its thread calls again. Used in the host's thread only.

Source: ptrace(2), proc(5), arch/x86/kernel/signal.c (handle_signal), mm/gup.c (FOLL_FORCE)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from mapdev.host.embedded.arch import ARCH, NUMBER_OF
from mapdev.host.embedded.listeners import Listeners
from mapdev.host.embedded.processes import (
    blocked_signals,
    is_single_threaded,
    live_threads,
)
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.thread_status import ThreadStatus
from mapdev.host.numbers import (
    CLONE_FILES,
    CLONE_FS,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_UNTRACED,
    CLONE_VM,
)
from mapdev.linux.errnos import ERESTARTNOINTR

# A call that the filter always hands over and that has no effect before we answer it.
HELPERS_CALL = "remap_file_pages"
_FLAGS = (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
          | CLONE_UNTRACED)  # fmt: skip
_PATIENCE = 0.02  # seconds between two looks whether the process has been killed
_FEW_TRIES, _MOST_TRIES = 10, 100


class _Recruit:
    """A thread that is on its way."""

    def __init__(self, call: Call, tgid: int, code: bytes, saved: bytes) -> None:
        self.tid, self.tgid = call.tid, tgid
        self.ip = call.ip
        self.code, self.saved = code, saved
        self.call: Call | None = None  # that of the recruit, once it has come

    def put_back(self, found: bytes) -> bytes:
        """Return the code as it was, unless another program is there now."""
        return self.saved if found == self.code else found


class Recruits:
    """Starts threads in processes that a debugger holds.

    :ivar pending: those that are to come, by the thread that starts them.
    """

    def __init__(self, listeners: Listeners) -> None:
        self.pending: dict[int, _Recruit] = {}
        self._listeners = listeners
        self._tries: dict[int, int] = {}  # by process

    def begin(self, call: Call, tgid: int) -> bool:
        """Have the thread of `call` make it again, and start a recruit; False if it can't."""
        tries = self._tries[tgid] = self._tries.get(tgid, 0) + 1
        if tries > _MOST_TRIES or not is_single_threaded(call.tid):
            return False
        if tries < _FEW_TRIES and _has_signal(call.tid):  # there may always be one
            call.fail(ERESTARTNOINTR)
            return True
        code = ARCH.clone_and_repeat(
            _FLAGS, NUMBER_OF[HELPERS_CALL], call.nr, call.args, blocked_signals(call.tid)
        )
        try:
            saved = _exchange(call.tid, call.ip, lambda _: code, len(code))
        except OSError:
            return False  # its code is shared, or may not be written here
        self.pending[call.tid] = _Recruit(call, tgid, code, saved)
        call.fail(errno.ERESTART)  # means nothing to the kernel
        return True

    def arrives(self, call: Call, tgid: int) -> bool:
        """Keep `call` if it is that of a recruit; say whether it is."""
        for recruit in self.pending.values():
            if recruit.tgid == tgid and call.tid != recruit.tid and recruit.call is None:
                recruit.call = call
                return True
        return False

    def called_again(self, call: Call) -> Call | None:
        """The thread of `call` is back in its call: put its code back; return the recruit's call.

        None if there is no recruit, since the call was repeated before the code was run.
        """
        recruit = self.pending[call.tid]
        while recruit.call is None and len(live_threads(recruit.tgid)) > 1:
            other = self._listeners.next_call(_PATIENCE)
            if other is None:
                continue
            if other.nr != NUMBER_OF[HELPERS_CALL] or not self.arrives(other, recruit.tgid):
                self._listeners.postponed.append(other)
        del self.pending[call.tid]
        try:
            _exchange(call.tid, recruit.ip, recruit.put_back, len(recruit.code))
        except OSError:
            return None  # it has been killed
        return recruit.call

    def succeeded(self, tgid: int) -> None:
        """Forget how often it was tried in a process."""
        self._tries.pop(tgid, None)


def _has_signal(tid: int) -> bool:
    """Say whether a signal is pending for a process of one thread, so that a call is restarted."""
    status = ThreadStatus(tid)
    try:
        pending = status.read()
    finally:
        status.close()
    return pending is not None and (pending.private or pending.shared)


def _exchange(tid: int, addr: int, change: Callable[[bytes], bytes], size: int) -> bytes:
    """Replace `size` bytes of a process's code by what `change` makes of them; return them.

    :raises OSError: EIO they are not there, or not to be written; EPERM, EACCES not allowed to.
    """
    fd = os.open(f"/proc/{tid}/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        found = os.pread(fd, size, addr)
        if len(found) != size or os.pwrite(fd, change(found), addr) != size:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return found
    finally:
        os.close(fd)
