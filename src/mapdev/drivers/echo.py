"""Echo: a FIFO, and with it all that waiting is made of.

What is written can be read, once and in its order, by whichever program comes first. A reader waits
while there is nothing, a writer while there is no room. Each kind waits in a queue of its own, and
each operation wakes the other kind: that is the whole scheme, and every driver with a buffer
between interrupt and program has it.

`wait_event_interruptible` comes before anything is touched. The host does not keep the operation
while the program waits; it runs it again from its first line, and the line that waits then passes.
With O_NONBLOCK the program gets EAGAIN there, and a signal ends its call, neither of which is for
the driver to see to.

`poll` must agree with the operations: readable when read would not wait. It names both queues,
since a wake-up of either may change what it says.

Compare with `ticker`, where it is time that readers wait for.
"""

from __future__ import annotations

from mapdev.driver import Driver, parse_size
from mapdev.linux import (
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDNORM,
    EPOLLWRNORM,
    File,
    Inode,
    WaitQueueHead,
    poll_wait,
    stream_open,
    wait_event_interruptible,
    wake_up_interruptible,
)


class Echo(Driver):
    """A first-in, first-out buffer that all its users share."""

    def probe(self, size: int | str = "4K") -> None:
        """Set up an empty buffer.

        :param size: how much it holds, in bytes.
        """
        self.size = parse_size(size, "size")
        self.fifo = bytearray()
        self.readers = WaitQueueHead()
        self.writers = WaitQueueHead()

    def open(self, inode: Inode, file: File) -> None:
        """Make the file a stream: there is nowhere to seek to."""
        stream_open(inode, file)

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Take out what is there, `count` bytes at most; wait while there is nothing."""
        wait_event_interruptible(self.readers, lambda: self.fifo or not count)
        data = bytes(self.fifo[:count])
        del self.fifo[:count]
        wake_up_interruptible(self.writers)
        return data

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Put in what fits; wait while nothing does."""
        wait_event_interruptible(self.writers, lambda: len(self.fifo) < self.size or not data)
        data = data[: self.size - len(self.fifo)]
        self.fifo += data
        wake_up_interruptible(self.readers)
        return len(data)

    def poll(self, file: File) -> int:
        """Say what can be done without waiting."""
        poll_wait(file, self.readers)
        poll_wait(file, self.writers)
        mask = 0
        if self.fifo:
            mask |= EPOLLIN | EPOLLRDNORM
        if len(self.fifo) < self.size:
            mask |= EPOLLOUT | EPOLLWRNORM
        return mask
