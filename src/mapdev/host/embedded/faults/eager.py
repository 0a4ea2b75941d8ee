"""`EagerHandler` brings in all pages of an area when it is mapped, where no userfaultfd is allowed.

Docker's and Podman's default profiles refuse userfaultfd(2). A touch can't be noticed there, so the
driver is asked for each page before the client can touch it: at mmap, after fork, and again when
pages were taken away. A page that the driver refuses is one beyond the end of memory: SIGBUS.

Fidelity: fault and map_pages are called for pages that nobody touches; page_mkwrite and pfn_mkwrite
at once for each page that may be written; every refusal is SIGBUS with BUS_ADRERR. Pages that are
taken away stay until the operation that did so has ended. An area has at most `MOST_PAGES` pages.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from mapdev.host.embedded.faults.handler import UserfaultHandler
from mapdev.host.embedded.faults.userfault import Fault
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.linux.log import log
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE, VM_SHARED, VM_WRITE

MOST_PAGES = 1 << 14  # 64 MiB: some seconds


class NoUserfault:
    """Takes the place of a userfaultfd, and tells of nothing.

    :ivar fd: a descriptor on which nothing ever comes.
    """

    kernel_too = True  # nothing is missing, inside system calls neither
    can_protect = False

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def register(self, start: int, end: int, mode: int) -> None:
        """Do nothing."""

    def write_protect(self, start: int, end: int, on: bool) -> None:
        """Do nothing."""

    def wake(self, start: int, end: int) -> None:
        """Do nothing: nobody waits."""

    def unregister(self, start: int, end: int) -> None:
        """Do nothing."""

    def is_told_of(self, page: int) -> bool:
        """Say that no touch is reported."""
        return False

    def read(self) -> list[Fault]:
        """Return that nothing was touched."""
        return []

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


class EagerHandler(UserfaultHandler):
    """Asks the driver for all pages of an area at once."""

    def reserve(self, area: DeviceArea, holes: Iterable[tuple[int, int]]) -> None:
        """Bring in the pages of `holes`; what the driver refuses is SIGBUS.

        :raises OSError: ENOMEM there are more than `MOST_PAGES`.
        """
        holes = list(holes)
        count = sum(end - start >> PAGE_SHIFT for start, end in holes)
        if count > MOST_PAGES:
            log.error(
                "%s can't be mapped: its %d pages would have to be brought in at once, %d at most, "
                "since no userfaultfd is allowed here; see `mapdev doctor`",
                area.open_file.device.node, count, MOST_PAGES,
            )  # fmt: skip
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        task = self._mappings.client(self._space.tgid, self._space.tgid)
        is_write = area.vm_flags & (VM_SHARED | VM_WRITE) == VM_SHARED | VM_WRITE
        for start, end in holes:
            for page in range(start, end, PAGE_SIZE):
                if not self._bring_now(area, page, is_write, task):
                    self._hide(area, page, page + PAGE_SIZE)

    def _wake(self, start: int, end: int) -> None:
        """Do nothing: nobody waits."""

    def _hide(self, area: DeviceArea, start: int, end: int) -> None:
        """Have touches of [`start`, `end`) be SIGBUS, as they are beyond the end of memory."""
        self.worker.run([self._mmap(area, start, end, self._mappings.nr_frames)])

    def _zap(self, area: DeviceArea, start: int, end: int) -> None:
        """Ask for pages again when the operation that takes them away has ended.

        Only then the driver has done all that its next answer depends on. Until that answer they
        stay: who touches them can't be made to wait.
        """
        gone = area.piece(start, end).mapped
        area.forget(start, end)
        for run in gone:
            self.stale.extend((page, 0.0) for page in range(run.addr, run.end, PAGE_SIZE))
        self._space.note_stale()
        if gone:  # have the host look before it answers a call
            self._operations.machine.wake_up(self, area.open_file.driver)
