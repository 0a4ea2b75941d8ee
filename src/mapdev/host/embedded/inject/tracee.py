"""`Tracee` is a thread that the host holds by ptrace: its stops, registers and signal mask.

The thread is a client's, not our child's, unless it is the main thread of one. Whatever is done
to it may find it killed: then `gone` is set and `ClientGone` raised, and it has been waited for,
as its tracer must. All of this belongs to the host's thread, which is the tracer.

Source: ptrace(2)
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import struct
import threading
import time

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.libc import ptrace
from mapdev.host.embedded.processes import is_child, state_of, tgid_of, threads_traced_by_us

PTRACE_CONT = 7
PTRACE_DETACH = 17
PTRACE_GETREGSET, PTRACE_SETREGSET = 0x4204, 0x4205
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
PTRACE_GETSIGMASK, PTRACE_SETSIGMASK = 0x420A, 0x420B
PTRACE_GETEVENTMSG, PTRACE_GETSIGINFO, PTRACE_SETSIGINFO = 0x4201, 0x4202, 0x4203
PTRACE_O_EXITKILL = 1 << 20
NT_PRSTATUS = 1
WALL, WNOTHREAD = 0x40000000, 0x20000000
_INSTANT = 0.0002  # seconds
_DEAD = ("Z", "X")  # as in /proc/TID/stat

_WORDS = struct.Struct(f"<{ARCH.REGISTERS}Q")


class ClientGone(Exception):  # noqa: N818 - an event, not an error
    """The thread died while its call was being carried out; there is nobody to answer."""


class NotStoppable(Exception):  # noqa: N818 - a condition of the client
    """The thread can't be stopped, since another tracer (a debugger) holds it."""


class _Buffer:
    """A piece of our own memory that ptrace(2) reads and writes, and its ``struct iovec``."""

    def __init__(self, size: int) -> None:
        self.raw = bytearray(size)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.raw))
        self._iovec = bytearray(struct.pack("<QQ", self.address, size))
        self.iovec = ctypes.addressof(ctypes.c_char.from_buffer(self._iovec))


class _Buffers(threading.local):
    """Buffers that ptrace(2) reads and writes, one set for each thread that runs a host.

    :ivar early: stops of threads that were reported while another one was waited for.
    """

    def __init__(self) -> None:
        self.registers = _Buffer(_WORDS.size)
        self.word = _Buffer(8)
        self.siginfo = _Buffer(128)
        self.early: dict[int, int] = {}


_buffers = _Buffers()
_EXITED = (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)
_ANY_EVENT = os.WSTOPPED | os.WEXITED | os.WNOWAIT | WALL


class Tracee:
    """A thread that the calling thread traces (ptrace).

    :ivar gone: it died, or was let go: nothing more can be done to it.
    :ivar has_siblings: we may trace other threads of its process too.
    """

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.has_siblings = False
        self.gone = False

    def seize(self) -> None:
        """Become the thread's tracer; it runs on, and dies with us from now on.

        :raises NotStoppable: it has a tracer already.
        """
        _buffers.early.pop(self.tid, None)  # an earlier thread's
        try:
            ptrace(PTRACE_SEIZE, self.tid, 0, PTRACE_O_EXITKILL)
        except OSError as error:
            if error.errno == errno.EPERM and state_of(self.tid) not in _DEAD:
                raise NotStoppable(str(error)) from None
            self.gone = True
            raise ClientGone from None

    def ptrace(self, request: int, addr: int = 0, data: int = 0) -> None:
        """Make a ptrace request of the stopped thread."""
        try:
            ptrace(request, self.tid, addr, data)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
            self.wait_for_death()
            raise ClientGone from None

    def change_signal(self, signo: int, code: int, addr_lsb: int) -> None:
        """Change the signal of a fault at whose delivery the thread has stopped.

        Its address stays; it must be let go with `signo`.
        """
        info = _buffers.siginfo
        self.ptrace(PTRACE_GETSIGINFO, 0, info.address)
        struct.pack_into("<iii", info.raw, 0, signo, 0, code)
        struct.pack_into("<h", info.raw, 24, addr_lsb)  # behind si_addr
        self.ptrace(PTRACE_SETSIGINFO, 0, info.address)

    def wait(self) -> int:
        """Wait for the next stop; return its signal, with the event in the bits above 8."""
        if not self.has_siblings and self.tid not in _buffers.early:
            return self._wait_alone()
        while self.tid not in _buffers.early:
            try:
                status = self._next_event()
            except ChildProcessError:
                self.gone = True
                raise ClientGone from None
            if status.si_code not in _EXITED:
                os.waitid(os.P_PID, status.si_pid, os.WSTOPPED | os.WNOHANG | WALL)
                _buffers.early[status.si_pid] = status.si_status
            elif status.si_pid == self.tid:
                self.wait_for_death()
                raise ClientGone
            else:
                Tracee(status.si_pid).wait_for_death()
        return _buffers.early.pop(self.tid)

    def _wait_alone(self) -> int:
        """Wait for a thread of which the other threads don't concern us."""
        try:
            status = os.waitid(os.P_PID, self.tid, os.WSTOPPED | WALL)
        except ChildProcessError:  # it can't stop any more
            self.wait_for_death()
            raise ClientGone from None
        assert status is not None
        return status.si_status

    def _next_event(self) -> os.waitid_result:
        """Wait for an event of the thread, or of another that has to be seen to before.

        The death of a main thread is reported when the other threads of its process are gone, and
        those that we trace are gone when we have waited for them.
        """
        status = os.waitid(os.P_ALL, 0, _ANY_EVENT | WNOTHREAD)
        assert status is not None
        if (
            status.si_pid == self.tid
            or status.si_code not in _EXITED
            or not is_child(status.si_pid)
        ):
            return status
        # A dead child of ours stays, since subprocess.Popen waits for it, and hides all others.
        while True:
            for tid in (self.tid, *threads_traced_by_us(tgid_of(self.tid))):
                found = os.waitid(os.P_PID, tid, _ANY_EVENT | os.WNOHANG)
                if found is not None:
                    return found
            time.sleep(_INSTANT)

    def keep_going(self) -> None:
        """Continue the thread if it has stopped, as its process may (SIGSTOP); does not wait.

        :raises ClientGone: it died.
        """
        stop = _buffers.early.pop(self.tid, None)
        if stop is None:
            try:
                status = os.waitid(os.P_PID, self.tid, _ANY_EVENT | os.WNOHANG)
            except ChildProcessError:
                self.gone = True
                raise ClientGone from None
            if status is None:
                return
            if status.si_code in _EXITED:
                self.wait_for_death()
                raise ClientGone
            stop = status.si_status
        self.ptrace(PTRACE_CONT, 0, _signal_of(stop))

    def wait_for_death(self) -> None:
        """Collect the dying thread, unless it is a child of ours: somebody else waits for that."""
        self.gone = True
        _buffers.early.pop(self.tid, None)
        keep = os.WNOWAIT if is_child(self.tid) else 0
        _collect_others(self.tid)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.tid, os.WEXITED | keep | WALL)

    def get_registers(self) -> list[int]:
        """Return the registers, in the order of `ARCH`."""
        registers = _buffers.registers
        self.ptrace(PTRACE_GETREGSET, NT_PRSTATUS, registers.iovec)
        return list(_WORDS.unpack(registers.raw))

    def set_registers(self, values: list[int]) -> None:
        """Set the registers."""
        registers = _buffers.registers
        _WORDS.pack_into(registers.raw, 0, *values)
        self.ptrace(PTRACE_SETREGSET, NT_PRSTATUS, registers.iovec)

    def get_sigmask(self) -> int:
        """Return the blocked signals, signal N as bit N - 1."""
        self.ptrace(PTRACE_GETSIGMASK, 8, _buffers.word.address)
        return int.from_bytes(_buffers.word.raw, "little")

    def set_sigmask(self, mask: int) -> None:
        """Set the blocked signals."""
        _buffers.word.raw[:] = mask.to_bytes(8, "little")
        self.ptrace(PTRACE_SETSIGMASK, 8, _buffers.word.address)

    def get_event_message(self) -> int:
        """Return what belongs to the event that stopped the thread, a new thread's id."""
        self.ptrace(PTRACE_GETEVENTMSG, 0, _buffers.word.address)
        return int.from_bytes(_buffers.word.raw, "little")


class Wakeful(Tracee):
    """Keeps an injected thread running while SIGSTOP holds its process; traces it only then."""

    def __init__(self, tid: int) -> None:
        super().__init__(tid)
        self._is_held = False

    def keep_going(self) -> None:
        """See that the thread goes on; to be called again and again; does not wait.

        :raises ClientGone: it died.
        :raises NotStoppable: another tracer has stopped it.
        """
        if not self._is_held:
            state = state_of(self.tid)
            if state in _DEAD:
                raise ClientGone
            if state not in "Tt":
                return
            self.seize()
            self._is_held = True
        super().keep_going()

    def let_go(self) -> None:
        """Let it stop with its process again.

        :raises ClientGone: it died.
        """
        if self._is_held:
            self.ptrace(PTRACE_INTERRUPT)
            status = self.wait()
            self.ptrace(PTRACE_DETACH, 0, _signal_of(status))


def _signal_of(status: int) -> int:
    """Return the signal that a stop is about, to be passed on; 0 if it is another kind of stop."""
    return 0 if status >> 8 or status == signal.SIGTRAP else status


def _collect_others(tid: int) -> None:
    """Collect the other threads of a dying process that we trace.

    A thread killed while it started another may not have told us of it; the kernel has made us its
    tracer all the same, and until we have waited for it the process can't end.
    """
    process = tgid_of(tid)
    while True:
        others = [other for other in threads_traced_by_us(process) if other not in (tid, process)]
        if not others:
            return
        for other in others:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, other, os.WEXITED | os.WNOHANG | WALL)
        time.sleep(_INSTANT)
