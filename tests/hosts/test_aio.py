"""Linux AIO: io_submit with requests that name a device, alone and among others."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from devices import Buffer

from mapdev.host.core.host import Host
from mapdev.linux import File, WaitQueueHead, wait_event_interruptible, wake_up

Client = Callable[..., str]

_AIO = """
import platform
SETUP, DESTROY, GETEVENTS, SUBMIT = {
    'x86_64': (206, 207, 208, 209), 'aarch64': (0, 1, 4, 2)}[platform.machine()]
PREAD, PWRITE, FSYNC, FDSYNC = range(4)
libc.syscall.restype = ctypes.c_long
def check(result):
    if result < 0: raise OSError(ctypes.get_errno(), '')
    return result
def aio(number, *args):
    return check(libc.syscall(ctypes.c_long(number), *map(ctypes.c_void_p, args)))
context = ctypes.c_ulong(0)
aio(SETUP, 8, ctypes.addressof(context))
def iocb(fd, opcode, buf=0, nbytes=0, tag=0, reserved=0):
    raw = struct.pack('<QIiHhIQQqQII', tag, 7, 0, opcode, 0, fd, buf, nbytes, 0, reserved, 0, 0)
    return ctypes.create_string_buffer(raw, 64)
def submit(*iocbs, context_id=None):
    list_ = (ctypes.c_void_p * len(iocbs))(*map(ctypes.addressof, iocbs))
    return aio(SUBMIT, context.value if context_id is None else context_id, len(iocbs),
               ctypes.addressof(list_))
def events(count):
    raw = ctypes.create_string_buffer(32 * count)
    limit = ctypes.create_string_buffer(struct.pack('qq', 20, 0), 16)
    got = aio(GETEVENTS, context.value, count, count, ctypes.addressof(raw),
              ctypes.addressof(limit))
    return sorted((tag, result) for tag, _, result, _ in
                  struct.iter_unpack('<QQqq', raw.raw[:32 * got]))
file = os.memfd_create('other')
data = ctypes.create_string_buffer(b'abcd', 4)
fd = os.open('/dev/x', os.O_RDWR)
"""


class Syncing(Buffer):
    """Counts fsync, which returns what it is told."""

    def probe(self, **arguments: Any) -> None:
        super().probe(**arguments)
        self.synced: list[bool] = []
        self.error = 0

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        self.synced.append(datasync)
        if self.error:
            raise OSError(self.error, "as told")


class Slow(Syncing):
    """An fsync that has to be waited for: until the next write."""

    def probe(self, **arguments: Any) -> None:
        super().probe(**arguments)
        self.queue = WaitQueueHead()
        self.is_done = False

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.is_done = True
        wake_up(self.queue)
        return len(data)

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        wait_event_interruptible(self.queue, lambda: self.is_done)
        super().fsync(file, start, end, datasync)


def test_what_comes_before_a_refused_request_is_done(mapdev: Host, client: Client) -> None:
    device = mapdev.add(Syncing, "/dev/x")
    client(
        _AIO
        + """
write = iocb(file, PWRITE, ctypes.addressof(data), 4, tag=1)
read = iocb(fd, PREAD, ctypes.addressof(data), 4, tag=2)
assert submit(write, read, write) == 1
assert events(1) == [(1, 4)]
assert os.pread(file, 9, 0) == b'abcd'
raises(errno.EINVAL, submit, read, write)
raises(errno.EINVAL, submit, iocb(fd, FSYNC, nbytes=1))
raises(errno.EINVAL, submit, iocb(fd, FSYNC, reserved=1))
raises(errno.EBADF, submit, iocb(os.open('/dev/x', os.O_WRONLY), PREAD))
raises(errno.EINVAL, lambda: submit(iocb(fd, FSYNC), context_id=0x1000))
raises(errno.EINVAL, lambda: submit(read, context_id=0x1000))
"""
    )
    assert not device.synced
    assert "read" not in device.calls


def test_fsync_among_others(mapdev: Host, client: Client) -> None:
    device = mapdev.add(Syncing, "/dev/x")
    client(
        _AIO
        + """
first, second = iocb(fd, FSYNC, tag=2), iocb(fd, FDSYNC, tag=3)
before = first.raw[12:]
assert submit(iocb(file, PWRITE, ctypes.addressof(data), 4, tag=1), first, second) == 3
assert events(3) == [(1, 4), (2, 0), (3, 0)]
assert first.raw[12:] == before
"""
    )
    assert sorted(device.synced) == [False, True]


def test_fsync_that_waits(mapdev: Host, client: Client) -> None:
    device = mapdev.add(Slow, "/dev/x")
    client(
        _AIO
        + """
import threading
other = threading.Timer(0.2, os.write, (fd, b'go'))
other.start()
assert submit(iocb(fd, FSYNC, tag=5)) == 1
assert events(1) == [(5, 0)]
other.join()
"""
    )
    assert device.synced == [False]


@pytest.mark.embedded_only("an fsync that fails is refused in place of an event that says so")
def test_fsync_that_fails(mapdev: Host, client: Client) -> None:
    device = mapdev.add(Syncing, "/dev/x")
    device.error = errno.EIO
    client(
        _AIO
        + """
raises(errno.EIO, submit, iocb(fd, FSYNC))
"""
    )
    assert device.synced == [False]
