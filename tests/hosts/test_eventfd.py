"""eventfds of programs that drivers signal."""

import errno
from collections.abc import Callable

import pytest

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    EventfdCtx,
    File,
    TimerList,
    eventfd_ctx_do_read,
    eventfd_ctx_fdget,
    eventfd_ctx_put,
    eventfd_signal,
    jiffies,
    mod_timer,
    timer_delete_sync,
)

Client = Callable[..., str]


class Signals(Driver):
    """ioctl 100 takes an eventfd, 101 signals it so often, 102 does so later, 103 reads it."""

    def probe(self) -> None:
        self.ctx: EventfdCtx | None = None
        self.timer = TimerList(self.ring)

    def remove(self) -> None:
        timer_delete_sync(self.timer)
        if self.ctx is not None:
            eventfd_ctx_put(self.ctx)
            eventfd_ctx_put(self.ctx)  # again

    def ring(self, timer: TimerList) -> None:
        assert self.ctx is not None
        eventfd_signal(self.ctx)

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        if cmd == 100:
            self.ctx = eventfd_ctx_fdget(arg - (1 << 64) if arg >> 63 else arg)
            return 0
        assert self.ctx is not None
        if cmd == 102:
            mod_timer(self.timer, jiffies() + 1)
            return 0
        return eventfd_ctx_do_read(self.ctx) if cmd == 103 else eventfd_signal(self.ctx, arg)


def test_a_program_is_signalled(mapdev: Host, client: Client) -> None:
    mapdev.add(Signals, "/dev/x")
    client(
        """
        import select
        fd, event = os.open('/dev/x', os.O_RDWR), os.eventfd(0, os.EFD_NONBLOCK)
        fcntl.ioctl(fd, 100, event)
        poll = select.poll(); poll.register(event, select.POLLIN)
        assert poll.poll(0) == []
        assert fcntl.ioctl(fd, 101, 3) == 3 and fcntl.ioctl(fd, 101, 1) == 1
        assert poll.poll(0) and os.eventfd_read(event) == 4 and poll.poll(0) == []
        fcntl.ioctl(fd, 102)
        assert poll.poll(60_000) and os.eventfd_read(event) == 1
        assert fcntl.ioctl(fd, 103) == 0
        os.eventfd_write(event, 9)
        assert fcntl.ioctl(fd, 103) == 9 and fcntl.ioctl(fd, 103) == 0
        os.eventfd_write(event, 2 ** 64 - 3)
        assert fcntl.ioctl(fd, 101, 5) == 1 and fcntl.ioctl(fd, 101, 5) == 0  # full: it waits for no one
        """
    )


def test_what_is_no_eventfd(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Signals, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        raises(errno.EBADF, fcntl.ioctl, fd, 100, 999)
        libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_long]
        assert libc.ioctl(fd, 100, -1) == -1 and ctypes.get_errno() == errno.EBADF
        raises(errno.EINVAL, fcntl.ioctl, fd, 100, 2)
        raises(errno.EINVAL, fcntl.ioctl, fd, 100, fd)
        """
    )
    assert driver.ctx is None
    with mapdev, pytest.raises(OSError) as failure:
        eventfd_ctx_fdget(0)
    assert failure.value.errno == errno.ESRCH
