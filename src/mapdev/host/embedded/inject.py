"""System calls made inside a client: stop the thread, re-run its own `syscall` instruction, let go.

`StoppedThread` is a context manager around one thread that waits in a notified call. While it is
held, its registers are ours; at the end they are as they were, with the result of the call in
place. Signals are kept blocked meanwhile, so none is lost or mistaken for one of our stops: the
kernel delivers them when the thread is let go. SIGKILL ends it at any point: `ClientGone`.

Each injected call is one PTRACE_SINGLESTEP over the instruction. The thread must be in the call
that `Call.ip` belongs to; that address is where the instruction is.

Source: ptrace(2)
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable
from types import TracebackType

from mapdev.host.embedded.arch import ARCH, NUMBER_OF
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.syscalls import ptrace

PTRACE_CONT = 7
PTRACE_SINGLESTEP = 9
PTRACE_DETACH = 17
PTRACE_GETREGSET, PTRACE_SETREGSET = 0x4204, 0x4205
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
PTRACE_GETSIGMASK, PTRACE_SETSIGMASK = 0x420A, 0x420B
PTRACE_O_EXITKILL = 1 << 20
PTRACE_EVENT_STOP = 128
NT_PRSTATUS = 1
WALL = 0x40000000

_WORDS = struct.Struct(f"<{ARCH.REGISTERS}Q")
_ALL_SIGNALS_BUT_TRAP = (1 << 64) - 1 & ~(1 << (signal.SIGTRAP - 1))
_MASK64 = (1 << 64) - 1


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


class StoppedThread:
    """A client's thread under our control, from ``with`` to the end of its block.

    :param call: the call in which the thread waits; entering answers it.
    :param reap: called with a thread id when a thread that is no child of ours has died, since
        its tracer has to wait for it.
    """

    _registers = _Buffer(_WORDS.size)
    _sigmask = _Buffer(8)

    def __init__(self, call: Call, secret: int, reap: Callable[[int], None]) -> None:
        self.tid = call.tid
        self.result = 0
        self._call = call
        self._secret = secret << 32
        self._reap = reap
        self._saved: list[int] = []
        self._saved_mask = b""
        self._stopped_by_signal = False
        self._stale_trap = False
        self.gone = False

    def __enter__(self) -> StoppedThread:
        try:
            ptrace(PTRACE_SEIZE, self.tid, 0, PTRACE_O_EXITKILL)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise NotStoppable(str(error)) from None
            raise ClientGone from None
        return self

    def stop(self) -> None:
        """Bring the thread to a stop at the end of its call; descriptors must be in it by now."""
        self._ptrace(PTRACE_INTERRUPT)
        self._call.answer(0)
        self._wait()
        registers = self._get_registers()
        if registers[ARCH.PC] not in (self._call.ip, self._call.ip - ARCH.SYSCALL_INSTRUCTION_SIZE):
            # Before Linux 5.19 a signal may have cancelled the call; it will be made again.
            self.gone = True
            self._ptrace(PTRACE_DETACH)
            raise ClientGone
        self._saved = registers
        self._ptrace(PTRACE_GETSIGMASK, 8, self._sigmask.address)
        self._saved_mask = bytes(self._sigmask.raw)
        self._set_mask(_ALL_SIGNALS_BUT_TRAP.to_bytes(8, "little"))

    def syscall(self, name: str, *args: int, descriptor: int | None = None) -> int:
        """Make the thread carry out system call `name` and return its result.

        :param descriptor: index of an argument that is a descriptor the filter would see: it is
            marked as ours.
        :raises OSError: the errno of the call.
        :raises ClientGone: the thread was killed.
        """
        registers = self._saved.copy()
        target = self._call.ip - ARCH.SYSCALL_INSTRUCTION_SIZE
        registers[ARCH.PC] = target
        if ARCH.NO_RESTART is not None:
            registers[ARCH.NO_RESTART] = _MASK64
        for index, value in enumerate(args):
            if index == descriptor:
                value |= self._secret
            registers[ARCH.ARGUMENTS[index]] = value & _MASK64
        registers[ARCH.NUMBER] = NUMBER_OF[name]
        self._set_registers(registers)
        self._step_over(target)
        result: int = self._get_registers()[ARCH.RESULT]
        if result > _MASK64 - 4096:
            code = (1 << 64) - result
            raise OSError(code, f"{name} in the client: {os.strerror(code)}")
        return result

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.gone:
            return
        try:
            if self._saved:
                self._restore()
            else:  # never stopped: a stop is due before a thread can be let go
                self._ptrace(PTRACE_INTERRUPT)
                self._call.fail(errno.EIO)
                self._wait()
            self._ptrace(PTRACE_DETACH)
        except ClientGone:
            if error is None:
                raise

    def _restore(self) -> None:
        if self._stale_trap:
            self._ptrace(PTRACE_SINGLESTEP)
            self._wait()
        registers = self._saved
        registers[ARCH.PC] = self._call.ip
        registers[ARCH.RESULT] = self.result & _MASK64
        if ARCH.NO_RESTART is not None:
            registers[ARCH.NO_RESTART] = _MASK64
        self._set_registers(registers)
        self._set_mask(self._saved_mask)
        if self._stopped_by_signal:
            os.kill(self.tid, signal.SIGSTOP)

    def _step_over(self, target: int) -> None:
        """Single-step until the instruction at `target` has been carried out."""
        while True:
            self._ptrace(PTRACE_SINGLESTEP)
            status = self._wait()
            if status == signal.SIGTRAP:
                if self._get_registers()[ARCH.PC] != target:
                    self._stale_trap = False
                    return
                self._stale_trap = False  # it belonged to the step before
            elif status == signal.SIGSTOP:
                self._stopped_by_signal = True
            elif status >> 8 == PTRACE_EVENT_STOP and self._get_registers()[ARCH.PC] != target:
                # A group stop began around us. The call is done, its trap is still to come.
                self._stale_trap = True
                return

    def _wait(self) -> int:
        """Wait for the next stop; return the signal, with the event in the bits above 8."""
        # WNOWAIT: the death of our own child is for subprocess.Popen to collect.
        flags = os.WSTOPPED | os.WEXITED | os.WNOWAIT | WALL
        try:
            status = os.waitid(os.P_PID, self.tid, flags)
        except ChildProcessError:
            self.gone = True
            raise ClientGone from None
        if status is None or status.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
            self.gone = True
            self._reap(self.tid)
            raise ClientGone
        return status.si_status

    def _ptrace(self, request: int, addr: int = 0, data: int = 0) -> None:
        try:
            ptrace(request, self.tid, addr, data)
        except OSError as error:
            if error.errno != errno.ESRCH:
                raise
            self.gone = True
            self._wait_for_death()
            raise ClientGone from None

    def _wait_for_death(self) -> None:
        try:
            flags = os.WEXITED | os.WNOWAIT | WALL
            if os.waitid(os.P_PID, self.tid, flags):
                self._reap(self.tid)
        except ChildProcessError:
            pass

    def _get_registers(self) -> list[int]:
        self._ptrace(PTRACE_GETREGSET, NT_PRSTATUS, self._registers.iovec)
        return list(_WORDS.unpack(self._registers.raw))

    def _set_registers(self, values: list[int]) -> None:
        _WORDS.pack_into(self._registers.raw, 0, *values)
        self._ptrace(PTRACE_SETREGSET, NT_PRSTATUS, self._registers.iovec)

    def _set_mask(self, mask: bytes) -> None:
        self._sigmask.raw[:] = mask
        self._ptrace(PTRACE_SETSIGMASK, 8, self._sigmask.address)
