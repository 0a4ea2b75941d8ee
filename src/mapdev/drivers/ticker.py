"""Ticker: a clock that programs wait for, driven by a kernel thread.

Nobody calls this device to make it work: a kernel thread sleeps, counts, and wakes whoever waits.
That is the other half of waiting. In `echo` one program wakes another; here, as with hardware and
its interrupts, it is the driver's own doing.

The count is in a page of memory. A read waits for the next tick and returns the count as text; a
program that has mapped the page sees the count there at any time, with no call at all. Which tick
is the next one differs from reader to reader, so each open file remembers in ``private_data`` the
last count that was read through it. poll says readable once there is a newer one.

The thread changes the count while operations may be running: it holds no lock, and needs none,
since it alone writes the number and a store of it is one store. It ends when `kthread_stop` asks it
to, which also wakes it from its sleep.
"""

from __future__ import annotations

import errno

from mapdev.driver import Driver, parse_number
from mapdev.linux import (
    EPOLLIN,
    EPOLLRDNORM,
    GFP_KERNEL,
    HZ,
    PAGE_SIZE,
    VM_MAYWRITE,
    VM_WRITE,
    File,
    Inode,
    VmAreaStruct,
    WaitQueueHead,
    get_zeroed_page,
    kthread_run,
    kthread_should_stop,
    kthread_stop,
    memory,
    poll_wait,
    schedule_timeout_interruptible,
    stream_open,
    virt_to_page,
    vm_flags_clear,
    vm_insert_page,
    vma_pages,
    wait_event_interruptible,
    wake_up_interruptible,
)


class Ticker(Driver):
    """A count that grows by one at each tick."""

    mode = 0o444

    def probe(self, hz: int | str = 10) -> None:
        """Start ticking.

        :param hz: ticks a second, 1 to 1000.
        :raises OSError: EINVAL, `hz` is out of range.
        """
        self.hz = parse_number(hz, "hz")
        if not 1 <= self.hz <= HZ:
            raise OSError(errno.EINVAL, f"hz={self.hz}: 1 to {HZ} ticks a second are possible")
        self.address = get_zeroed_page(GFP_KERNEL)
        self._cell = memory(self.address, 8).cast("Q")
        self.queue = WaitQueueHead()
        self.thread = kthread_run(self._tick, None, "ticker")

    def remove(self) -> None:
        """Stop ticking."""
        kthread_stop(self.thread)

    @property
    def count(self) -> int:
        """How many ticks there have been; what the page shows, in its first 8 bytes."""
        return int(self._cell[0])

    def _tick(self, data: object) -> None:
        """Count, in a thread, until it is to stop."""
        while not kthread_should_stop():
            schedule_timeout_interruptible(HZ // self.hz)
            self._cell[0] += 1
            wake_up_interruptible(self.queue)

    def open(self, inode: Inode, file: File) -> None:
        """Begin with the tick that comes next."""
        stream_open(inode, file)
        file.private_data = self.count

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Wait for a tick that this file has not seen; return the count as a line of text."""
        wait_event_interruptible(self.queue, lambda: self.count != file.private_data)
        file.private_data = self.count
        return f"{file.private_data}\n".encode()[:count]

    def poll(self, file: File) -> int:
        """Say whether there was a tick that this file has not seen."""
        poll_wait(file, self.queue)
        return EPOLLIN | EPOLLRDNORM if self.count != file.private_data else 0

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the page with the count, for looking at only.

        :raises OSError: EINVAL, more than that page; EPERM, it is to be written.
        """
        if vma.vm_pgoff or vma_pages(vma) != 1:
            raise OSError(errno.EINVAL, f"there is one page, of {PAGE_SIZE} bytes")
        if vma.vm_flags & VM_WRITE:
            raise OSError(errno.EPERM, "the count is not for programs to change")
        vm_flags_clear(vma, VM_MAYWRITE)
        vm_insert_page(vma, vma.vm_start, virt_to_page(self.address))
