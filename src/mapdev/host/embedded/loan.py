"""Physical memory lent to a client for the moment of a mapping: a descriptor, and who maps with it.

Only a descriptor can be mapped, so the client has to have one. In a process with one thread that
thread gets it, stopped as it is. In any other, a fork or an open of /proc/self/fd by a sibling
could carry it off, so there a helper thread with a table of descriptors of its own gets it, maps,
and ends. No other code of the client ever runs with the descriptor in reach.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from mapdev.host.embedded.inject import StoppedThread
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.tracee import ClientGone

T = TypeVar("T")

# A call that the filter always hands over and that has no effect before we answer it.
HELPERS_CALL = "remap_file_pages"
_PATIENCE = 0.1  # seconds between two looks what has become of the helper


class Loan:
    """Physical memory as descriptor `number` of `thread`, until `give_back`.

    :ivar index: the index of the description, see `Leases`.
    :ivar writable: whether what is mapped with it can be made writable.
    """

    def __init__(
        self, thread: StoppedThread, number: int, index: int, writable: bool, is_helper: bool
    ) -> None:
        self.thread = thread
        self.number = number
        self.index = index
        self.writable = writable
        self._is_helper = is_helper

    def give_back(self) -> None:
        """Take the descriptor out of the client; a helper ends."""
        if self.thread.gone:
            return
        if self._is_helper:
            self.thread.leave()
        else:
            self.thread.syscall("close", self.number)


def lend_to_caller(kernel: Kernel, call: Call, thread: StoppedThread, writable: bool) -> Loan:
    """Lend memory to the thread of `call`, which is about to be stopped as `thread`."""
    number, index = _put(kernel, call, writable)
    return Loan(thread, number, index, writable, is_helper=False)


def lend_to_helper(kernel: Kernel, thread: StoppedThread, writable: bool) -> Loan:
    """Lend memory to a helper of the stopped `thread`."""
    helper, (number, index) = stopped_helper(
        kernel, thread, lambda call: _put(kernel, call, writable)
    )
    return Loan(helper, number, index, writable, is_helper=True)


def stopped_helper(
    kernel: Kernel, thread: StoppedThread, give: Callable[[Call], T]
) -> tuple[StoppedThread, T]:
    """Start a helper of the stopped `thread`; return it, stopped too, and what `give` returned.

    :param give: puts descriptors into the helper while its call is pending.
    :raises OSError: what `give` raised, or EAGAIN: there may be no more threads.
    """
    started = thread.start_helper(HELPERS_CALL)
    call = call_of(kernel, started.tid, started.keep_running)
    helper = kernel.stopped(call)
    try:
        given = give(call)
        helper.stop()
    except ClientGone:
        if not helper.gone:
            helper.wait_for_death()
        raise
    except OSError:
        helper.stop()
        helper.leave()
        raise
    return helper, given


def call_of(kernel: Kernel, tid: int, keep_running: Callable[[], None]) -> Call:
    """Return the call that helper `tid` makes; other clients' calls are kept for later.

    :param keep_running: called when it takes long: lets the helper go on if it was stopped.
    :raises ClientGone: what `keep_running` raised.
    """
    while True:
        call = kernel.next_call(_PATIENCE)
        if call is not None and call.tid == tid:
            return call
        if call is not None:
            kernel.postponed.append(call)
        else:
            keep_running()


def _put(kernel: Kernel, call: Call, writable: bool) -> tuple[int, int]:
    """Put a new description of memory into the client; return the descriptor and its index."""
    description, index = kernel.machine.leases.open_description(writable)
    try:
        return _add(kernel, call, description), index
    finally:
        os.close(description)


def _add(kernel: Kernel, call: Call, description: int) -> int:
    wanted = kernel.scratch_descriptor
    if not os.path.lexists(f"/proc/{call.tid}/fd/{wanted}"):
        try:
            return add_descriptor(call, description, wanted)
        except OSError as error:
            if error.errno != errno.EBADF:  # beyond the client's limit
                raise
    return add_descriptor(call, description, None)


def add_descriptor(call: Call, description: int, at: int | None) -> int:
    """Put a copy of our descriptor into the client, as `Call.add_descriptor` does.

    :raises ClientGone: the client is gone.
    """
    try:
        return call.add_descriptor(description, at, cloexec=True)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise ClientGone from None
        raise
