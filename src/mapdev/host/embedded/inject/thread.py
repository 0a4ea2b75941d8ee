"""Injects system calls by ptrace: stop a thread, re-run its own `syscall` instruction, detach.

`StoppedThread` is a context manager around one thread that waits in a notified call. While it is
held, its registers are ours; at the end they are as they were, with the result of the call in
place. Signals are kept blocked meanwhile, so none is lost or mistaken for one of our stops: the
kernel delivers them when the thread is let go. SIGKILL ends it at any point: `ClientGone`.

An injected call is one PTRACE_SINGLESTEP over the instruction. The thread must be in the call
that `Call.ip` belongs to; that address is where the instruction is. Where the client has a `Batch`,
a whole list of calls is one PTRACE_CONT.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

from mapdev.host.embedded.arch import ARCH, NUMBER_OF
from mapdev.host.embedded.inject.batch import CALL, Batch, CallError, is_error, marked
from mapdev.host.embedded.inject.helpers import Helpers
from mapdev.host.embedded.inject.tracee import (
    PTRACE_CONT,
    PTRACE_DETACH,
    PTRACE_INTERRUPT,
    PTRACE_O_EXITKILL,
    ClientGone,
    Tracee,
)
from mapdev.host.embedded.processes import traced_by_us
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import (
    CLONE_FS,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_VM,
    ULONG_MAX,
)
from mapdev.linux.numbers import PAGE_SIZE

PTRACE_SINGLESTEP = 9
PTRACE_SETOPTIONS = 0x4200
PTRACE_O_TRACEFORK, PTRACE_O_TRACECLONE = 1 << 1, 1 << 3
PTRACE_EVENT_FORK, PTRACE_EVENT_CLONE, PTRACE_EVENT_STOP = 1, 3, 128

# A thread of the same process that shares all but the table of descriptors.
_HELPER = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGSYS)
_ALL_SIGNALS_BUT_TRAP = ULONG_MAX & ~(1 << (signal.SIGTRAP - 1))


class StoppedThread(Tracee):
    """A client's thread that ptrace holds, from ``with`` to the end of its block.

    :param call: the call in which the thread waits.
    :param secret: marks descriptors in our own calls, see `filter`.
    :param helpers: are told of those that it starts.
    :ivar result: what the call shall return to the client.
    :ivar repeats: it shall be made again in place of that.
    """

    def __init__(self, call: Call, secret: int, helpers: Helpers) -> None:
        super().__init__(call.tid)
        self.result = 0
        self.repeats = False
        self._call = call
        self._secret = secret << 32
        self._helpers = helpers
        self._saved: list[int] = []
        self._saved_mask: int | None = None  # None: no signal is blocked for us yet
        self._stopped_by_signal = False
        self._stale_trap = False
        self._new_thread = 0

    def __enter__(self) -> Self:
        if not self._saved:  # else it is a child that was traced from its birth
            self.seize()
        return self

    def stop(self, answer: Callable[[], object] | None = None) -> None:
        """Bring the thread to a stop at the end of its call, which this answers, or `answer`."""
        self.ptrace(PTRACE_INTERRUPT)
        if answer is None:
            self._call.answer(0)
        else:
            answer()
        self.wait()
        registers = self.get_registers()
        if registers[ARCH.PC] not in (self._call.ip, self._call.ip - ARCH.SYSCALL_INSTRUCTION_SIZE):
            # Before Linux 5.19 a signal may have cancelled the call; it will be made again.
            self.ptrace(PTRACE_DETACH)
            self.gone = True
            raise ClientGone
        self._saved = registers

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` has been called."""
        return bool(self._saved)

    def run(
        self, batch: Batch, at: int, calls: bytes, meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Make the thread carry out a list of calls, up to the first that fails.

        :param at: where `batch` is mapped in the client.
        :param calls: made by `pack` and the like.
        :param meanwhile: called once, while the thread is at it.
        :raises CallError: that of the call that failed.
        :raises ClientGone: the thread was killed.
        """
        made = 0
        for part in batch.parts(calls):
            batch.write(part)
            registers = self._saved.copy()
            registers[ARCH.PC] = at
            registers[ARCH.BATCH_FIRST] = at + PAGE_SIZE
            registers[ARCH.BATCH_LAST] = at + PAGE_SIZE + len(part)
            if ARCH.NO_RESTART is not None:
                registers[ARCH.NO_RESTART] = ULONG_MAX
            self.set_registers(registers)
            registers = self._run_to(at + ARCH.BATCH_END, meanwhile)
            meanwhile = None
            made += (registers[ARCH.BATCH_FIRST] - at - PAGE_SIZE) // CALL.size
            if is_error(registers[ARCH.RESULT]):
                number = CALL.unpack_from(calls, (made - 1) * CALL.size)[0]
                raise CallError(registers[ARCH.RESULT], number, made - 1)

    def step(self, calls: bytes) -> None:
        """Do what `run` does, without a batch: call by call."""
        for index, (number, *args) in enumerate(CALL.iter_unpack(calls)):
            result = self._step(self._about_to_call(number, args))
            if is_error(result):
                raise CallError(result, number, index)

    def syscall(self, name: str, *args: int, descriptor: int | None = None) -> int:
        """Make the thread carry out system call `name` and return its result.

        :param descriptor: index of an argument that is a descriptor the filter would see: it is
            marked as ours.
        :raises OSError: the errno of the call.
        :raises ClientGone: the thread was killed.
        """
        result = self._step(self._about_to(name, args, descriptor))
        if is_error(result):
            raise CallError(result, NUMBER_OF[name], 0)
        return result

    def _step(self, registers: list[int]) -> int:
        self._block_signals()
        self.set_registers(registers)
        self._step_over(registers[ARCH.PC])
        result: int = self.get_registers()[ARCH.RESULT]
        return result

    def _block_signals(self) -> None:
        if self._saved_mask is None:
            self._saved_mask = self.get_sigmask()
            self.set_sigmask(_ALL_SIGNALS_BUT_TRAP)

    def _run_to(self, trap: int, meanwhile: Callable[[], None] | None = None) -> list[int]:
        """Let the thread run until it traps at `trap`; return its registers then.

        Signals are blocked when there is one: what is delivered though it is blocked the kernel
        puts back, to be delivered later.
        """
        signal_number = 0
        while True:
            self.ptrace(PTRACE_CONT, 0, signal_number)
            try:
                if meanwhile is not None:
                    meanwhile()
            finally:
                status = self.wait()
            signal_number, meanwhile = 0, None
            registers = self.get_registers()
            if status == signal.SIGTRAP and registers[ARCH.PC] == trap:
                return registers
            if status == signal.SIGSTOP:
                self._stopped_by_signal = True
            elif not status >> 8 and status != signal.SIGTRAP:
                if status in _FAULTS and self._saved_mask is not None:
                    # Blocked, so it is the batch's own: the client has taken it away.
                    raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
                self._block_signals()
                signal_number = status

    def start_helper(self, name: str) -> Tracee:
        """Start another thread in the client, with descriptors of its own, on its way into a call.

        It shares all else with this one, and runs no code of the client.

        :param name: a system call without arguments that the filter hands over; the `Call` that
            arrives is what a `StoppedThread` of the helper is made of.
        :raises OSError: EAGAIN the client may have no more threads.
        """
        self.has_siblings = True
        self._syscall_that_clones("clone", _HELPER, 0, 0, 0, 0)
        self._helpers.add(self._new_thread)
        helper = Tracee(self._new_thread)
        helper.wait()
        helper.set_registers(self._about_to(name, (0,) * 6, None))
        helper.ptrace(PTRACE_CONT)
        return helper

    def fork(self, name: str, *args: int) -> tuple[int, StoppedThread]:
        """Carry out the thread's own fork, clone or clone3; return its result and the child.

        The child is stopped before its first instruction, in a ``with`` block of its own that the
        caller must open and leave.

        :raises OSError: the errno of the call.
        :raises ClientGone: the thread was killed, and there is no child.
        """
        try:
            result = self._syscall_that_clones(name, *args)
        except ClientGone:
            # Killed, maybe before it could tell us of its child, which is stopped and traced by us.
            result = self._new_thread = self._new_thread or next(iter(traced_by_us()), 0)
            if not result:
                raise
        child = StoppedThread(self._call, self._secret >> 32, self._helpers)
        child.tid = self._new_thread
        child.wait()
        child._saved = child.get_registers()  # with a stack of its own, if it was given one
        child._saved[ARCH.ARGUMENTS[-1]] = self._saved[ARCH.ARGUMENTS[-1]]
        child._saved_mask = self._saved_mask
        return result, child

    def _syscall_that_clones(self, name: str, *args: int) -> int:
        options = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK
        self.ptrace(PTRACE_SETOPTIONS, 0, options)
        try:
            return self.syscall(name, *args)
        finally:
            if not self.gone:
                self.ptrace(PTRACE_SETOPTIONS, 0, PTRACE_O_EXITKILL)

    def become_worker(self, page: int, channel: int) -> None:
        """Let the thread, a helper, go on in code of ours, with all signals blocked for good."""
        self._take_trap()
        registers = self._saved
        set_to_work(registers, page, channel, self._secret)
        self.set_registers(registers)
        self.set_sigmask(ULONG_MAX)
        self._pass_stop_on()
        self.ptrace(PTRACE_DETACH)
        self.gone = True

    def leave(self) -> None:
        """End the thread, a helper, instead of letting it go on."""
        if not self.gone:
            self._take_trap()
            self._block_signals()
            self.set_registers(self._about_to("exit", (0,), None))
            self._pass_stop_on()
            self.ptrace(PTRACE_DETACH)
            self.gone = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.gone:
            return
        try:
            self._restore()
            self.ptrace(PTRACE_DETACH)
            self.gone = True
        except ClientGone:
            if error is None:
                raise

    def _about_to(self, name: str, args: tuple[int, ...], descriptor: int | None) -> list[int]:
        """Return the registers with which the thread carries out a system call next."""
        return self._about_to_call(NUMBER_OF[name], marked(args, descriptor, self._secret))

    def _about_to_call(self, number: int, args: list[int]) -> list[int]:
        registers = self._saved.copy()
        registers[ARCH.PC] = self._call.ip - ARCH.SYSCALL_INSTRUCTION_SIZE
        if ARCH.NO_RESTART is not None:
            registers[ARCH.NO_RESTART] = ULONG_MAX
        for register, value in zip(ARCH.ARGUMENTS, args, strict=True):
            registers[register] = value
        registers[ARCH.NUMBER] = number
        return registers

    def _restore(self) -> None:
        """Put the thread back where it was, its call done."""
        self._take_trap()
        registers = self._saved
        if self.repeats:
            registers = self._about_to_call(self._call.nr, list(self._call.args))
        else:
            registers[ARCH.PC] = self._call.ip
            registers[ARCH.RESULT] = self.result & ULONG_MAX
        if ARCH.NO_RESTART is not None:
            registers[ARCH.NO_RESTART] = ULONG_MAX
        self.set_registers(registers)
        if self._saved_mask is not None:
            self.set_sigmask(self._saved_mask)
        self._pass_stop_on()

    def _pass_stop_on(self) -> None:
        if self._stopped_by_signal:
            os.kill(self.tid, signal.SIGSTOP)

    def _take_trap(self) -> None:
        """Take the trap of a step that a group stop preceded: left alone, it ends the process."""
        while self._stale_trap:
            self.ptrace(PTRACE_SINGLESTEP)
            status = self.wait()
            if status == signal.SIGTRAP:
                self._stale_trap = False
            elif status == signal.SIGSTOP:
                self._stopped_by_signal = True

    def _step_over(self, target: int) -> None:
        """Single-step until the instruction at `target` has been carried out."""
        while True:
            self.ptrace(PTRACE_SINGLESTEP)
            status = self.wait()
            if status == signal.SIGTRAP:
                stale, self._stale_trap = self._stale_trap, False
                if not stale or self.get_registers()[ARCH.PC] != target:
                    return
            elif status == signal.SIGSTOP:
                self._stopped_by_signal = True
            elif status >> 8 in (PTRACE_EVENT_CLONE, PTRACE_EVENT_FORK):
                self._new_thread = self.get_event_message()
            elif status >> 8 == PTRACE_EVENT_STOP and self.get_registers()[ARCH.PC] != target:
                # A group stop began around us. The call is done, its trap is still to come.
                self._stale_trap = True
                return


def set_to_work(registers: list[int], page: int, channel: int, mark: int) -> None:
    """Change registers to those of a worker that begins: its page, its code behind, its socket.

    :param mark: the secret, in the upper half.
    """
    registers[ARCH.PC] = page + PAGE_SIZE
    registers[ARCH.WORKER_PAGE], registers[ARCH.WORKER_SOCKET] = page, channel
    registers[ARCH.WORKER_MARK] = mark
    if ARCH.NO_RESTART is not None:
        registers[ARCH.NO_RESTART] = ULONG_MAX
