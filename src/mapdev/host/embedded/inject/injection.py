"""Injects system calls into the thread of a pending call, which then returns with a result.

An `Injection` is a context manager around a call that waits. Its thread is stopped (ptrace) when it
is first needed, and carries out system calls (`StoppedThread.syscall`). To map physical memory it,
or a helper thread, gets a descriptor of that (`MemoryFd`). At the end of the block the thread
returns from its own call with `result`; an OSError inside the block becomes the call's errno. If
the client dies in the middle, the block is left and nobody is told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable
from functools import cached_property
from types import TracebackType
from typing import Self

from mapdev.host.embedded.inject.batch import SIZE, CallError, pack
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.inject.memory_fd import MemoryFd, lend_to_caller, lend_to_helper
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.inject.tracee import ClientGone, NotStoppable
from mapdev.host.embedded.limits import limit_of
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import is_single_threaded, tracer_of
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import MADV_DONTFORK
from mapdev.linux.numbers import (
    MAP_FIXED_NOREPLACE,
    MAP_SHARED,
    PAGE_SIZE,
    PROT_EXEC,
    PROT_READ,
)


class CalledAgain(Exception):  # noqa: N818 - an event
    """The thread makes its call again, with which all begins anew; this one is answered."""


class Injection:
    """Holds the thread of `call` by ptrace and makes system calls in it.

    If a debugger holds the thread, another thread makes them, where any can (`own`).

    :param why: what can't be done if no thread can be stopped, for the log.
    :param own: the thread's own table of descriptors matters: no other thread will do.
    :param later: trace it when it is needed first: from then on it dies with us, so not while a
        driver takes its time.
    :raises OSError: EPERM another tracer holds the thread; then, if `later`.
    """

    def __init__(
        self, injector: Injector, call: Call, why: str, later: bool = False, own: bool = False
    ) -> None:
        self.result = -errno.EIO  # unless the block says otherwise before it loses the client
        self.repeats = False  # the thread makes its call again in place of a result
        self.injector = injector
        self._call = call
        self._why = why
        self._memory_fd: MemoryFd | None = None
        self._later = later
        self._own = own
        self._is_seized = False
        self._is_stand_in = False
        self._thread: StoppedThread = injector.stopped(call)

    def __enter__(self) -> Self:
        if not self._later:
            self._seize()
        return self

    @cached_property
    def is_alone(self) -> bool:
        """Whether the thread is the only one of its process."""
        return is_single_threaded(self._call.tid)

    @cached_property
    def has_no_limit(self) -> bool:
        """Whether the process has no limit on its address space, which mappings of ours use up."""
        with contextlib.suppress(ProcessLookupError):  # it has been killed
            return limit_of(self._call.tid, resource.RLIMIT_AS) == resource.RLIM_INFINITY
        return False

    @property
    def thread(self) -> StoppedThread:
        """The thread, stopped: its call is answered.

        :raises OSError: EPERM a debugger has it.
        """
        if not self._thread.is_stopped:
            self._seize()
        if not self._thread.is_stopped:
            self._thread.stop()
        return self._thread

    def _seize(self) -> None:
        if self._is_seized:
            return
        try:
            self._thread.seize()
            self._is_seized = True
        except NotStoppable:
            self._take_another_thread()

    def _take_another_thread(self) -> None:
        """Have a thread make the calls that no debugger holds.

        :raises CalledAgain: none is there yet.
        :raises OSError: EPERM there can be none.
        """
        tid, tracer = self._call.tid, tracer_of(self._call.tid)
        space = None if self._own or not tracer else self.injector.spaces.of(tid)
        if space is not None and space.fault_handler is not None:
            with contextlib.suppress(PermissionError):
                self._thread = space.fault_handler.stand_in()
                self._is_seized = self._is_stand_in = True
                return
        elif space is not None and self.injector.recruits.begin(self._call, space.tgid):
            raise CalledAgain
        if not tracer:
            with contextlib.suppress(NotStoppable):
                self._thread.seize()  # the debugger has ended just now
                self._is_seized = True
                return
            text = (
                f"may not be traced by mapdev, so {self._why}: it runs as another user, or Yama "
                "forbids it; see `mapdev doctor`"
            )
        elif self._own:
            text = f"is held by a debugger, so {self._why}; detach the debugger first"
        else:
            text = (
                f"is held by a debugger and had several threads before it mapped a device, so "
                f"{self._why}; map it in a process of one thread, or attach the debugger later"
            )
        self.injector.messages.say_once("traced", tid, text)
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, CalledAgain):
            return True
        if isinstance(error, OSError):
            self.result = -(error.errno or errno.EIO)
        try:
            if self._is_stand_in:
                if self._memory_fd is not None:
                    self._memory_fd.give_back()
                self._thread.leave()
                self._call.answer(self.result)
            elif self._is_seized:
                thread = self.thread  # stopped: a result is nothing but a number then, even -512
                try:
                    if self._memory_fd is not None:
                        self._memory_fd.give_back()
                finally:  # whatever happens, the thread goes on
                    thread.result = self.result
                    thread.repeats = self.repeats
                    thread.__exit__(kind, error, trace)
            elif not self._thread.gone:
                self._call.answer(self.result)
        except ClientGone:
            return True
        return isinstance(error, OSError | ClientGone)

    def memory_fd(self, writable: bool) -> MemoryFd:
        """Return physical memory to map from, writable or not, for the rest of the block.

        If the thread is the only one and not stopped yet, it gets the memory itself.
        """
        memory_fd = self._memory_fd
        if memory_fd is not None and (memory_fd.is_over or memory_fd.writable != writable):
            self.renew_memory_fd()
            memory_fd = None
        if memory_fd is None:
            space = self.injector.spaces.of(self._call.tid)
            with_batch = (
                space is not None and space.takes_batch and not space.batch and self.has_no_limit
            )
            if self.is_alone and not self._thread.is_stopped:
                self._seize()
                memory_fd = lend_to_caller(
                    self.injector, self._call, self._thread, writable, with_batch
                )
            if memory_fd is None:
                memory_fd = lend_to_helper(self.injector, self.thread, writable, with_batch)
            self._memory_fd = memory_fd
            if memory_fd.batch is not None and space is not None:
                self._map_batch(memory_fd.thread, memory_fd.batch, space)
        return memory_fd

    def renew_memory_fd(self) -> None:
        """Let go of the physical memory that there is: `memory_fd` opens a new description."""
        if self._memory_fd is not None:
            self._memory_fd.give_back()
            self._memory_fd = None

    def _map_batch(self, thread: StoppedThread, batch: int, space: MmAreas) -> None:
        """Give the client the pages that make lists of calls, if it can have them."""
        how = PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE
        space.takes_batch = False
        # Behind the place of a worker. Nowhere else: it must not take the room of a device.
        for place in self.injector.window.hidden_places(2 * PAGE_SIZE):
            with contextlib.suppress(OSError):
                thread.syscall("mmap", place, SIZE, *how, batch, 0, descriptor=4)
                space.batch = place
                thread.syscall("madvise", place, SIZE, MADV_DONTFORK)
                space.takes_batch = True
                return

    def run(
        self, memory_fd: MemoryFd, calls: bytes, last: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """Have a list of calls made by the thread that has `memory_fd`.

        :param last: the descriptor is not needed any more, and closed.
        :param meanwhile: called while the calls are being made, where that is possible.
        :raises CallError: that of the call that failed; those after it were not made.
        """
        thread, space = memory_fd.thread, self.injector.spaces.of(self._call.tid)
        if last:
            calls += pack(memory_fd.closing(), self.injector.secret << 32)
        if space is not None and space.batch:
            try:
                thread.run(self.injector.batch, space.batch, calls, meanwhile)
            except CallError:
                raise
            except OSError:  # what was done meanwhile failed: the calls are made all the same
                memory_fd.is_over = last
                raise
        else:
            if meanwhile is not None:
                meanwhile()
            thread.step(calls)
        memory_fd.is_over = last
