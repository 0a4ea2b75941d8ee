"""One thread held by ptrace: stops, registers, signal mask. Knows nothing of what they are for.

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
import struct
import threading
import time

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.processes import is_child, tgid_of, threads_traced_by_us
from mapdev.host.embedded.syscalls import ptrace

PTRACE_CONT, PTRACE_DETACH = 7, 17
PTRACE_INTERRUPT = 0x4207
PTRACE_GETREGSET, PTRACE_SETREGSET = 0x4204, 0x4205
PTRACE_SEIZE = 0x4206
PTRACE_GETSIGMASK, PTRACE_SETSIGMASK = 0x420A, 0x420B
PTRACE_GETEVENTMSG = 0x4201
PTRACE_O_EXITKILL = 1 << 20
NT_PRSTATUS = 1
WALL = 0x40000000
_INSTANT = 0.0002  # seconds

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
    """What the calls below pass to the kernel, for each thread: several hosts may have one each."""

    def __init__(self) -> None:
        self.registers = _Buffer(_WORDS.size)
        self.word = _Buffer(8)


_buffers = _Buffers()


class Tracee:
    """A thread that this one traces.

    :ivar gone: it died, or was let go: nothing more can be done to it.
    """

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.gone = False

    def seize(self) -> None:
        """Become the thread's tracer; it runs on, and dies with us from now on.

        :raises NotStoppable: it has a tracer already.
        """
        try:
            ptrace(PTRACE_SEIZE, self.tid, 0, PTRACE_O_EXITKILL)
        except OSError as error:
            self.gone = True
            if error.errno == errno.EPERM:
                raise NotStoppable(str(error)) from None
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

    def wait(self) -> int:
        """Wait for the next stop; return its signal, with the event in the bits above 8."""
        # WNOWAIT: the death of our own child is for subprocess.Popen to collect.
        try:
            status = os.waitid(os.P_PID, self.tid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | WALL)
        except ChildProcessError:
            self.gone = True
            raise ClientGone from None
        if status is None or status.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
            self.wait_for_death()
            raise ClientGone
        return status.si_status

    def keep_running(self) -> None:
        """Let the thread go on if it has stopped, as its process was by SIGSTOP or a terminal.

        :raises ClientGone: it has died.
        """
        try:
            flags = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG | WALL
            status = os.waitid(os.P_PID, self.tid, flags)
        except ChildProcessError:
            self.gone = True
            raise ClientGone from None
        if status is not None and status.si_code in (os.CLD_STOPPED, os.CLD_TRAPPED):
            self.ptrace(PTRACE_CONT)
        elif status is not None:
            self.wait_for_death()
            raise ClientGone

    def let_go(self) -> None:
        """End to trace the thread, which runs; stopped with its process it is again."""
        self.ptrace(PTRACE_INTERRUPT)
        self.wait()
        self.ptrace(PTRACE_DETACH)
        self.gone = True

    def wait_for_death(self) -> None:
        """Collect the dying thread, unless it is a child of ours: somebody else waits for that."""
        self.gone = True
        keep = os.WNOWAIT if is_child(self.tid) else 0
        _collect_others(self.tid)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.tid, os.WEXITED | keep | WALL)

    def get_registers(self) -> list[int]:
        """Return the registers, in the order of `ARCH`."""
        self.ptrace(PTRACE_GETREGSET, NT_PRSTATUS, _buffers.registers.iovec)
        return list(_WORDS.unpack(_buffers.registers.raw))

    def set_registers(self, values: list[int]) -> None:
        """Set the registers."""
        _WORDS.pack_into(_buffers.registers.raw, 0, *values)
        self.ptrace(PTRACE_SETREGSET, NT_PRSTATUS, _buffers.registers.iovec)

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
