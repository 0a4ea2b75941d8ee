"""`MemoryFd` lends a client's thread, or a helper, a descriptor of physical memory while it maps.

Only a descriptor can be mapped, so the client has to have one. In a process with one thread that
thread gets it, stopped as it is. In any other, a fork or an open of /proc/self/fd by a sibling
could carry it off, so there a helper thread with a table of descriptors of its own gets it, maps,
and ends. No other code of the client ever runs with the descriptor in reach.
"""

from __future__ import annotations

import contextlib
import errno
import os

from mapdev.host.embedded.inject.batch import Request
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.inject.recruit import HELPERS_CALL
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.inject.tracee import ClientGone
from mapdev.host.embedded.syscalls.notify import Call


class MemoryFd:
    """A descriptor of physical memory: `number` in `thread`, until `give_back`.

    :ivar index: the index of the description, see `Leases`.
    :ivar writable: whether what is mapped with it can be made writable.
    :ivar batch: a descriptor of the host's `Batch`, or None.
    :ivar is_over: the descriptors are out of the client again.
    """

    def __init__(
        self, thread: StoppedThread, lent: tuple[int, int, int | None], writable: bool,
        is_helper: bool
    ) -> None:  # fmt: skip
        self.thread = thread
        self.number, self.index, self.batch = lent
        self.writable = writable
        self.is_over = False
        self._is_helper = is_helper

    def closing(self) -> list[Request]:
        """Return the calls that take the descriptors out of the client."""
        numbers = [self.number] if self.batch is None else [self.batch, self.number]
        return [] if self._is_helper else [("close", (number,), None) for number in numbers]

    def give_back(self) -> None:
        """Take the descriptors out of the client; a helper ends."""
        if self.thread.gone:
            return
        if self._is_helper:
            self.thread.leave()
        elif not self.is_over:
            for name, args, _ in self.closing():
                self.thread.syscall(name, *args)


def lend_to_caller(
    injector: Injector, call: Call, thread: StoppedThread, writable: bool, with_batch: bool
) -> MemoryFd | None:
    """Lend memory to the thread of `call`, which is stopped as `thread` by that.

    :return: None if its call was cancelled by the stop, as before Linux 5.19.
    :raises OSError: EMFILE it may have no more descriptors; it is stopped all the same.
    """
    batch = _add_batch(injector, call) if with_batch else None
    description, index = injector.leases.open_description(writable)
    lent: list[int | OSError] = []

    def answer() -> None:
        # The descriptor is the answer: the thread wakes up once for both.
        try:
            lent.append(_add(injector, call, description, answer=True))
        except ClientGone:
            pass  # or cancelled: the stop will tell
        except OSError as error:
            lent.append(error)
            call.answer(0)

    try:
        thread.stop(answer)
    finally:
        os.close(description)
    if lent and isinstance(lent[0], int):
        return MemoryFd(thread, (lent[0], index, batch), writable, is_helper=False)
    if batch is not None:
        thread.syscall("close", batch)
    if lent and isinstance(lent[0], OSError):
        raise lent[0]
    return None


def lend_to_helper(
    injector: Injector, thread: StoppedThread, writable: bool, with_batch: bool
) -> MemoryFd:
    """Lend memory to a helper of the stopped `thread`."""
    started = thread.start_helper(HELPERS_CALL)
    call = injector.call_of(started)
    helper = injector.stopped(call)
    try:
        lent = _put(injector, call, writable, with_batch)
        helper.stop()
    except ClientGone:
        if not helper.gone:
            helper.wait_for_death()
        raise
    except OSError:
        helper.stop()
        helper.leave()
        raise
    return MemoryFd(helper, lent, writable, is_helper=True)


def _put(
    injector: Injector, call: Call, writable: bool, with_batch: bool
) -> tuple[int, int, int | None]:
    """Put a new description of memory into the client, and the batch if that is wanted.

    Returns the descriptor, the index of the description, and the batch's descriptor.
    """
    description, index = injector.leases.open_description(writable)
    try:
        number = _add(injector, call, description)
    finally:
        os.close(description)
    return number, index, _add_batch(injector, call) if with_batch else None


def _add_batch(injector: Injector, call: Call) -> int | None:
    with contextlib.suppress(OSError):  # none is free, or the client is about to be found dead
        return call.add_descriptor(injector.batch.fd, None, cloexec=True)
    return None


def _add(injector: Injector, call: Call, description: int, answer: bool = False) -> int:
    wanted = injector.scratch_descriptor
    try:
        if not os.path.lexists(f"/proc/{call.tid}/fd/{wanted}"):
            try:
                return call.add_descriptor(description, wanted, True, answer)
            except OSError as error:
                if error.errno != errno.EBADF:  # beyond the client's limit
                    raise
        return call.add_descriptor(description, None, True, answer)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise ClientGone from None
        raise
