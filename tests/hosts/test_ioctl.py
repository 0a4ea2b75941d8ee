"""ioctl: numbers, structures, directions, nested pointers, results, new descriptors."""

import ctypes
import errno
import os
from collections.abc import Callable

import pytest
from devices import Bare

from mapdev import Driver, ioctl
from mapdev.host.core.host import Host
from mapdev.linux import (
    _IO,
    _IOC,
    _IOC_READ,
    _IOC_WRITE,
    _IOR,
    _IOW,
    _IOWR,
    File,
    Inode,
    anon_inode_getfd,
    copy_from_user,
    copy_to_user,
)

Client = Callable[..., str]


class Pair(ctypes.Structure):
    _fields_ = (("a", ctypes.c_uint32), ("b", ctypes.c_uint32))


class Message(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint64), ("data", ctypes.c_uint64))


class Commands(Driver):
    def probe(self) -> None:
        self.seen: list[object] = []

    @ioctl(_IO("t", 1))
    def plain(self, file: File, arg: int) -> int:
        self.seen.append(arg)
        return 7

    @ioctl(_IOR("t", 2, Pair), Pair)
    def get(self, file: File, pair: Pair) -> None:
        assert (pair.a, pair.b) == (0, 0)
        pair.a, pair.b = 1, 2

    @ioctl(_IOW("t", 3, Pair), Pair)
    def put(self, file: File, pair: Pair) -> None:
        self.seen.append((pair.a, pair.b))
        pair.a = 99

    @ioctl(_IOWR("t", 4, Pair), Pair)
    def swap(self, file: File, pair: Pair) -> int:
        pair.a, pair.b = pair.b, pair.a
        return 3

    @ioctl(_IOC(_IOC_READ | _IOC_WRITE, "t", 9, 8))
    def say_why(self, file: File, arg: int) -> int:
        copy_to_user(arg, b"because")
        raise OSError(errno.EXDEV, "as it said")

    @ioctl(0x4601, Pair, direction="rw")
    def old(self, file: File, pair: Pair) -> None:
        pair.a += 1

    @ioctl(_IOWR("t", 5, Message), Message)
    def nested(self, file: File, message: Message) -> None:
        text = copy_from_user(message.data, message.length)
        copy_to_user(message.data, text.upper())

    @ioctl(_IOWR("t", 6, Pair), Pair)
    def refused(self, file: File, pair: Pair) -> None:
        pair.a = 1
        raise OSError(errno.EPERM, "refused")


class Exporter(Driver):
    """Hands out descriptors of a second kind of file, as a dma-buf exporter does."""

    class Exported(Driver):
        def __init__(self, exporter: "Exporter") -> None:
            self.exporter = exporter

        def read(self, file: File, count: int, pos: int) -> bytes:
            data: bytes = file.private_data
            return data[:count]

        def release(self, inode: Inode, file: File) -> None:
            self.exporter.released += 1

    def probe(self) -> None:
        self.released = 0
        self.files = self.Exported(self)

    @ioctl(_IO("x", 1))
    def export(self, file: File, arg: int) -> int:
        return anon_inode_getfd("exported", self.files, b"exported", os.O_RDONLY)

    @ioctl(_IOR("x", 2, ctypes.c_int), ctypes.c_int)
    def export_in_structure(self, file: File, number: ctypes.c_int) -> None:
        number.value = anon_inode_getfd("e", self.files, b"exported", os.O_RDWR | os.O_CLOEXEC)


def test_what_was_written_before_a_failure_stays(mapdev: Host, client: Client) -> None:
    """As V4L2's VIDIOC_S_EXT_CTRLS says which control was wrong."""
    mapdev.add(Commands, "/dev/commands")
    number = _IOC(_IOC_READ | _IOC_WRITE, "t", 9, 8)
    client(f"""
        fd = os.open("/dev/commands", os.O_RDWR)
        data = bytearray(8)
        raises(errno.EXDEV, fcntl.ioctl, fd, {number}, data, True)
        memory = ctypes.create_string_buffer(8)
        assert libc.ioctl(fd, ctypes.c_ulong({number}), memory) == -1
        assert memory.value == b"because", memory.value
    """)


def test_structures(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Commands, "/dev/x")
    client(
        """
        def IOC(dir, nr, size): return dir << 30 | size << 16 | ord('t') << 8 | nr
        fd = os.open('/dev/x', os.O_RDONLY)
        pair = lambda a, b: bytearray(struct.pack('II', a, b))
        assert fcntl.ioctl(fd, IOC(0, 1, 0), 5) == 7
        b = pair(8, 9); fcntl.ioctl(fd, IOC(2, 2, 8), b); assert b == pair(1, 2)
        b = pair(8, 9); fcntl.ioctl(fd, IOC(1, 3, 8), b); assert b == pair(8, 9)
        b = pair(8, 9); assert fcntl.ioctl(fd, IOC(3, 4, 8), b) == 3; assert b == pair(9, 8)
        b = pair(8, 9); fcntl.ioctl(fd, 0x4601, b); assert b == pair(9, 9)
        b = pair(8, 9); raises(errno.EPERM, fcntl.ioctl, fd, IOC(3, 6, 8), b); assert b == pair(8, 9)
        raises(errno.ENOTTY, fcntl.ioctl, fd, IOC(3, 7, 8), b)
        text = ctypes.create_string_buffer(b'nested pointer')
        fcntl.ioctl(fd, IOC(3, 5, 16), bytearray(struct.pack('QQ', 14, ctypes.addressof(text))))
        assert text.value == b'NESTED POINTER'
        """
    )
    assert driver.seen == [5, (8, 9)]


def test_bad_pointers(mapdev: Host, client: Client) -> None:
    mapdev.add(Commands, "/dev/x")
    client(
        """
        def call(cmd, arg):
            if libc.ioctl(fd, ctypes.c_ulong(cmd), ctypes.c_void_p(arg)) < 0:
                raise OSError(ctypes.get_errno(), '')
        fd = os.open('/dev/x', os.O_RDONLY)
        readonly = raw_mmap(None, P, R, PRIVATE | ANON, -1)
        for cmd in 0x80087402, 0x40087403, 0xc0087404:
            raises(errno.EFAULT, call, cmd, 0x10)
            raises(errno.EFAULT, call, cmd, 2**64 - 4)
        raises(errno.EFAULT, call, 0x80087402, readonly)
        call(0x40087403, readonly)
        raises(errno.EFAULT, fcntl.ioctl, fd, 0xc0107405, bytearray(struct.pack('QQ', 14, 0x10)))
        """
    )


def test_close_on_exec_and_nonblocking_by_ioctl(mapdev: Host, client: Client) -> None:
    mapdev.add(Bare, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDONLY)
        FIONCLEX, FIOCLEX, FIONBIO = 0x5450, 0x5451, 0x5421
        fcntl.ioctl(fd, FIONCLEX); assert os.get_inheritable(fd)
        fcntl.ioctl(fd, FIOCLEX); assert not os.get_inheritable(fd)
        os.set_blocking(fd, False); assert not os.get_blocking(fd)
        fcntl.ioctl(fd, FIONBIO, struct.pack('i', 0)); assert os.get_blocking(fd)
        """
    )


def test_declarations_are_checked() -> None:
    with pytest.raises(ValueError, match="size of 4 bytes, Pair has 8"):
        ioctl(_IOR("t", 1, ctypes.c_int), Pair)
    with pytest.raises(ValueError, match="says no direction"):
        ioctl(0x4600, Pair)
    with pytest.raises(ValueError, match="not 'x'"):
        ioctl(0x4600, Pair, direction="x")


def test_a_subclass_adds_and_replaces_commands(mapdev: Host, client: Client) -> None:
    class More(Commands):
        @ioctl(_IO("t", 1))
        def plain(self, file: File, arg: int) -> int:
            return 70

        @ioctl(_IO("t", 8))
        def another(self, file: File, arg: int) -> int:
            return 80

    mapdev.add(More, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDONLY)
        assert fcntl.ioctl(fd, 0x7401, 0) == 70 and fcntl.ioctl(fd, 0x7408, 0) == 80
        assert fcntl.ioctl(fd, 0x80087402, bytearray(8)) == 0
        """
    )
