"""What a driver class declares, as programs see it: numbers, owner, mode, ioctls of any size."""

import ctypes
import grp
import os
import stat
from collections.abc import Callable
from typing import Any

import pytest
from devices import Bare

from mapdev import Driver, ioctl
from mapdev.host.core.host import Host
from mapdev.linux import _IOC, _IOC_READ, _IOC_WRITE, File

Client = Callable[..., str]


def test_numbers_owner_and_mode(mapdev: Host, client: Client) -> None:
    class Card(Bare):
        major, minor, mode = 226, 1128, 0o640
        owner, group = 12345, "tty"

    driver = mapdev.add(Card, "/dev/mapdev-card")
    mapdev.add(driver, "/dev/mapdev-card1")
    out = client(
        """
        for name in 'mapdev-card', 'mapdev-card1':
            s = os.stat('/dev/' + name)
            print(os.major(s.st_rdev), os.minor(s.st_rdev), oct(s.st_mode), s.st_uid, s.st_gid)
        """
    )
    gid = grp.getgrnam("tty").gr_gid
    mode = oct(stat.S_IFCHR | 0o640)
    if os.geteuid():  # pragma: no cover - the same, by another user's host
        pytest.skip("another user's node needs root")
    assert out == f"226 1128 {mode} 12345 {gid}\n226 1129 {mode} 12345 {gid}\n"


class Transfer(ctypes.Structure):
    _fields_ = (("tx", ctypes.c_uint32), ("rx", ctypes.c_uint32))


class Sized(Driver):
    """Commands that carry any size, as those of evdev and spidev."""

    name_ = b"a rather long name\0"

    @ioctl(_IOC(_IOC_READ, "E", 6, 0), any_size=True)
    def get_name(self, file: File, buffer: bytearray) -> int:
        size = len(buffer)
        buffer[: len(self.name_)] = self.name_  # which may be longer than the client wants
        return min(size, len(self.name_))

    @ioctl(_IOC(_IOC_READ | _IOC_WRITE, "k", 0, 0), Transfer, any_size=True)
    def message(self, file: File, transfers: Any) -> int:
        for transfer in transfers:
            transfer.rx = transfer.tx + 1
        return len(transfers)

    @ioctl(_IOC(_IOC_READ, "E", 8, 0), any_size=True)
    async def later(self, file: File, buffer: bytearray) -> int:
        buffer[:] = b"async"
        return 5

    @ioctl(_IOC(_IOC_READ, "E", 7, 4), ctypes.c_uint32)
    def exact(self, file: File, value: Any) -> None:
        value.value = 7


def test_ioctls_of_any_size(mapdev: Host, client: Client) -> None:
    mapdev.add(Sized, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        def call(direction, kind, nr, size, data=None):
            data = bytearray(data or b'#' * (size + 4))
            cmd = direction << 30 | size << 16 | ord(kind) << 8 | nr
            return fcntl.ioctl(fd, cmd, data), bytes(data)
        name = b'a rather long name' + bytes(1)
        assert call(2, 'E', 6, 8) == (8, name[:8] + b'####'), 'clamped'
        count, data = call(2, 'E', 6, 300)
        assert (count, data[:19], data[300:]) == (19, name, b'####')
        assert call(2, 'E', 6, 0) == (0, b'####')
        assert call(2, 'E', 8, 10) == (5, b'async#########')
        assert call(3, 'k', 0, 16, struct.pack('4I', 1, 0, 5, 0)) == (2, struct.pack('4I', 1, 2, 5, 6))
        assert call(3, 'k', 0, 0)[0] == 0
        raises(errno.EINVAL, call, 3, 'k', 0, 12)
        raises(errno.ENOTTY, call, 1, 'k', 0, 8)  # another direction
        raises(errno.ENOTTY, call, 2, 'E', 9, 8)
        assert call(2, 'E', 7, 4) == (0, struct.pack('I', 7) + b'####')
        raises(errno.ENOTTY, call, 2, 'E', 7, 8)  # this one has a size
        raises(errno.EFAULT, fcntl.ioctl, fd, 2 << 30 | 16 << 16 | ord('E') << 8 | 6, 0x10)
        """
    )


def test_a_negative_number(mapdev: Host, client: Client) -> None:
    class Signed(Driver):
        @ioctl(-0x3FFB8AF7)
        def f(self, file: File, arg: int) -> int:
            return 3

    mapdev.add(Signed, "/dev/x")
    client("assert fcntl.ioctl(os.open('/dev/x', 0), 0xC0047509, 0) == 3")
