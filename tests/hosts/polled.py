"""A device that is ready for what it is told, and code for clients that look."""

import errno
import threading
import time

from devices import Bare
from pace import patience

from mapdev.linux import File, Inode, WaitQueueHead, poll_wait, wake_up

POLL = """
import select
ALL = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
def show(fd, timeout=0):
    poll = select.poll(); poll.register(fd, ALL)
    return dict(poll.poll(timeout)).get(fd, 0) & (ALL | select.POLLHUP | select.POLLERR)
"""


class Masked(Bare):
    """Ready for what `mask` says; an ioctl sets it, and `become` does from elsewhere."""

    def probe(self, mask: int = 0) -> None:
        self.mask = mask
        self.asked = 0
        self.queue = WaitQueueHead()
        self.gone = threading.Semaphore(0)

    def poll(self, file: File) -> int:
        self.asked += 1
        poll_wait(file, self.queue)
        return self.mask

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        if cmd != 1:
            raise OSError(errno.ENOTTY, "it is no terminal")
        self.mask = arg
        return 0

    def await_polls(self, count: int = 1) -> None:
        """Return when the driver has been asked `count` times in all."""
        deadline = time.monotonic() + patience(30)
        while self.asked < count:
            assert time.monotonic() < deadline, f"asked {self.asked} times, not {count}"
            time.sleep(0.002)

    def release(self, inode: Inode, file: File) -> None:
        self.gone.release()

    def become(self, mask: int) -> None:
        self.mask = mask
        wake_up(self.queue)
