"""Reading, writing and seeking, in all their forms, with the kernel's answers."""

import errno
import logging
import os
from collections.abc import Callable

import pytest
from devices import Bare, Buffer, Failing

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import File, Inode, stream_open

Client = Callable[..., str]


def test_read_and_write_move_the_position(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        assert os.write(fd, b'hello ') == 6
        assert os.write(fd, b'world') == 5
        assert os.lseek(fd, 0, os.SEEK_CUR) == 11
        assert os.lseek(fd, 6, os.SEEK_SET) == 6
        assert os.read(fd, 5) == b'world'
        assert os.lseek(fd, -3, os.SEEK_END) == 65533
        assert os.read(fd, 100) == bytes(3)
        assert os.read(fd, 100) == b''
        raises(errno.ENOSPC, os.write, fd, b'x')
        raises(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
        raises(errno.EINVAL, os.lseek, fd, 1, os.SEEK_END)
        assert os.read(fd, 0) == b''
        """
    )
    assert driver.text() == b"hello world"


def test_position_belongs_to_the_open_file(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); again = os.dup(fd); other = os.open('/dev/x', os.O_RDWR)
        os.write(fd, b'abc')
        assert os.lseek(again, 0, os.SEEK_CUR) == 3
        assert os.lseek(other, 0, os.SEEK_CUR) == 0
        if os.fork() == 0:
            os.lseek(fd, 10, os.SEEK_SET); os._exit(0)
        os.wait()
        assert os.lseek(again, 0, os.SEEK_CUR) == 10
        """
    )


def test_positional(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        assert os.pwrite(fd, b'there', 5000) == 5
        assert os.pread(fd, 5, 5000) == b'there'
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
        raises(errno.EINVAL, os.pread, fd, 1, -1)
        """
    )
    assert driver.text(5, 5000) == b"there"


def test_vectors(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        assert os.writev(fd, [b'one ', b'', b'two ', b'three']) == 13
        os.lseek(fd, 4, os.SEEK_SET)
        a, b = bytearray(4), bytearray(5)
        assert os.readv(fd, [a, b]) == 9 and (a, b) == (b'two ', b'three')
        assert os.preadv(fd, [a], 0) == 4 and a == b'one '
        assert os.pwritev(fd, [b'x', b'y'], 100) == 2
        assert os.lseek(fd, 0, os.SEEK_CUR) == 13
        # at the end of the device the transfer stops in the middle of the vector
        assert os.preadv(fd, [bytearray(10), bytearray(10)], 65536 - 14) == 14
        """
    )
    assert driver.text(2, 100) == b"xy"


def test_vectors_with_flags(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        libc.pwritev2.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_int]
        data = ctypes.create_string_buffer(b'v2'); vector = struct.pack('QQ', ctypes.addressof(data), 2)
        keep = ctypes.create_string_buffer(vector)
        assert libc.pwritev2(fd, keep, 1, 7, 0) == 2
        assert libc.pwritev2(fd, keep, 1, -1, 0) == 2      # -1: at the position, which moves
        assert os.lseek(fd, 0, os.SEEK_CUR) == 2
        assert libc.pwritev2(fd, keep, 1, 0, 16) == -1 and ctypes.get_errno() == errno.EOPNOTSUPP
        assert libc.preadv2(fd, keep, 1, ctypes.c_long(7), 0) == 2
        assert os.pread(fd, 9, 0) == b'v2' + bytes(5) + b'v2'
        """
    )


def test_large_transfers(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x", size="4M")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        data = os.urandom(4 << 20)
        assert os.write(fd, data) == len(data)
        assert os.pread(fd, len(data), 0) == data
        print(data[-8:].hex())
        """
    )
    assert driver.calls.count("write") == 1


def test_bad_addresses(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        def call(name, *args):
            if getattr(libc, name)(*args) < 0:
                raise OSError(ctypes.get_errno(), '')
        readonly = mmap.mmap(-1, P, PRIVATE | ANON, R)
        hole = raw_mmap(None, 2 * P, R | W, PRIVATE | ANON, -1); libc.munmap(hole + P, P)
        bad = ctypes.c_void_p(0x10)
        raises(errno.EFAULT, call, 'read', fd, bad, 10)
        raises(errno.EFAULT, call, 'write', fd, bad, 10)
        raises(errno.EFAULT, call, 'read', fd, ctypes.c_void_p(-8), 10)
        raises(errno.EFAULT, call, 'write', fd, ctypes.c_void_p(-8), 0)
        raises(errno.EFAULT, call, 'readv', fd, bad, 1)
        raises(errno.EINVAL, call, 'readv', fd, bad, 5000)
        raises(errno.EFAULT, call, 'fstat', fd, bad)
        assert libc.write(fd, ctypes.c_void_p(hole + P - 4), 4) == 4
        """
    )


_EDGE = """
    fd = os.open('/dev/x', os.O_RDWR)
    hole = raw_mmap(None, 2 * P, R | W, PRIVATE | ANON, -1); libc.munmap(hole + P, P)
    edge = ctypes.c_void_p(hole + P - 4)
"""


def test_read_to_the_end_of_memory(mapdev: Host, client: Client) -> None:
    buffer = mapdev.add(Buffer, "/dev/x")
    buffer.bytes[:10] = b"0123456789"
    client(
        _EDGE
        + """
    assert libc.read(fd, edge, 10) == 4
    assert ctypes.string_at(hole + P - 4, 4) == b'0123'
    assert os.lseek(fd, 0, os.SEEK_CUR) == 4
    """
    )


def test_write_to_the_end_of_memory(mapdev: Host, client: Client) -> None:
    buffer = mapdev.add(Buffer, "/dev/x")
    client(
        _EDGE
        + """
    ctypes.memmove(hole + P - 4, b'abcd', 4)
    assert libc.write(fd, edge, 10) == 4
    assert os.lseek(fd, 0, os.SEEK_CUR) == 4
    assert libc.write(fd, ctypes.c_void_p(hole), ctypes.c_size_t(1 << 40)) == P
    """
    )
    assert bytes(buffer.bytes[:4]) == b"abcd"
    assert buffer.calls.count("write") == 2


_SIZES = [1, 200, 300, 5000, (1 << 20) - 1, 1 << 20, 5 << 19]


@pytest.mark.parametrize("there", _SIZES)
def test_transfers_of_any_size_to_the_end_of_memory(
    mapdev: Host, client: Client, there: int
) -> None:
    buffer = mapdev.add(Buffer, "/dev/x", size="4M")
    client(
        """
        there = int(sys.argv[1])
        fd = os.open('/dev/x', os.O_RDWR)
        size = (there + P - 1) // P * P
        hole = raw_mmap(None, size + P, R | W, PRIVATE | ANON, -1); libc.munmap(hole + size, P)
        edge = ctypes.c_void_p(hole + size - there)
        data = os.urandom(there)
        ctypes.memmove(edge, data, there)
        for more in 1, 100, P, 1 << 20, 3 << 20:
            assert libc.pwrite(fd, edge, there + more, 0) == there, more
            ctypes.memset(edge, 0, there)
            assert libc.pread(fd, edge, there + more, 0) == there, more
            assert ctypes.string_at(edge, there) == data
        """,
        str(there),
    )
    assert buffer.calls.count("write") == 5


class Stream(Bare):
    """Has no position; keeps what comes, gives as much as is asked for."""

    def open(self, inode: Inode, file: File) -> None:
        stream_open(inode, file)

    def read(self, file: File, count: int, pos: int) -> bytes:
        return b"x" * count

    def write(self, file: File, data: bytes, pos: int) -> int:
        return len(data)


@pytest.mark.parametrize("there", _SIZES)
def test_a_stream_to_the_end_of_memory(mapdev: Host, client: Client, there: int) -> None:
    """The rest could not be had by another call: it fails, as with copy_to_user in C."""
    mapdev.add(Stream, "/dev/x")
    client(
        """
        there = int(sys.argv[1])
        fd = os.open('/dev/x', os.O_RDWR)
        size = (there + P - 1) // P * P
        hole = raw_mmap(None, size + P, R | W, PRIVATE | ANON, -1); libc.munmap(hole + size, P)
        edge = ctypes.c_void_p(hole + size - there)
        for more in 1, P, 1 << 20:
            assert libc.write(fd, edge, there + more) == -1, more
            assert ctypes.get_errno() == errno.EFAULT
            assert libc.read(fd, edge, there + more) == -1, more
            assert ctypes.get_errno() == errno.EFAULT
        assert libc.write(fd, edge, there) == there == libc.read(fd, edge, there)
        """,
        str(there),
    )


def test_missing_operations(mapdev: Host, client: Client) -> None:
    mapdev.add(Bare, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        raises(errno.EINVAL, os.read, fd, 1)
        raises(errno.EINVAL, os.write, fd, b'x')
        raises(errno.EINVAL, os.readv, fd, [bytearray(1)])
        raises(errno.ESPIPE, os.lseek, fd, 0, os.SEEK_SET)
        raises(errno.ENOTTY, fcntl.ioctl, fd, 0x1234)
        raises(errno.ENODEV, mmap.mmap, fd, P)
        raises(errno.EINVAL, os.fsync, fd)
        raises(errno.EINVAL, os.fdatasync, fd)
        raises(errno.EINVAL, os.ftruncate, fd, 0)
        raises(errno.ENODEV, os.posix_fallocate, fd, 0, 1)
        raises(errno.ENOTDIR, os.listdir, fd)
        raises(errno.EINVAL, os.sendfile, 1, fd, 0, 10)
        raises(errno.EINVAL, os.copy_file_range, fd, 1, 10)
        raises(errno.ENOTSOCK, libc_call, 'send', fd, b'x', 1, 0)
        """.replace("libc_call", "lambda name, *a: check(getattr(libc, name)(*a))").replace(
            "check(",
            "(lambda r: (_ for _ in ()).throw(OSError(ctypes.get_errno(), '')) if r < 0 else r)(",
        )
    )


def test_a_stream_has_no_position(mapdev: Host, client: Client) -> None:
    class Stream(Bare):
        def open(self, inode: Inode, file: File) -> None:
            stream_open(inode, file)

        def read(self, file: File, count: int, pos: int) -> bytes:
            return b"stream"[:count]

    mapdev.add(Stream, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDONLY)
        assert os.read(fd, 3) == b'str'
        raises(errno.ESPIPE, os.pread, fd, 1, 0)
        raises(errno.ESPIPE, os.lseek, fd, 0, os.SEEK_SET)
        """
    )


def test_errors_of_a_driver(mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    driver = mapdev.add(Failing, "/dev/x")
    code = """
        fd = os.open('/dev/x', os.O_RDWR); code = int(sys.argv[1])
        raises(code, os.read, fd, 1)
        raises(code, os.write, fd, b'x')
        raises(code, fcntl.ioctl, fd, 1)
        raises(code, mmap.mmap, fd, P)
        """
    client(code, "6")  # ENXIO
    assert not caplog.records
    for failure in ZeroDivisionError("bug"), OSError("no errno"), OSError(0, "zero"), KeyError(1):
        driver.failure = failure
        client(code, "5")  # EIO
    assert "ZeroDivisionError" in caplog.text
    assert all(record.levelno >= logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("nonsense", [None, 5, "text", b"x" * 100, [1]])
def test_a_driver_that_returns_nonsense(
    mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture, nonsense: object
) -> None:
    class Nonsense(Bare):
        def read(self, file: File, count: int, pos: int) -> bytes:
            return nonsense  # type: ignore[return-value]

        def write(self, file: File, data: bytes, pos: int) -> int:
            return 1000

        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            return 1 << 31

        def llseek(self, file: File, offset: int, whence: int) -> int:
            return -4096

    mapdev.add(Nonsense, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        raises(errno.EIO, os.read, fd, 10)
        raises(errno.EIO, os.write, fd, b'x')
        raises(errno.EIO, fcntl.ioctl, fd, 1)
        raises(errno.EIO, os.lseek, fd, 0, 0)
        """
    )
    assert "returned" in caplog.text


def test_a_negative_number_is_an_errno_as_in_c(mapdev: Host, client: Client) -> None:
    class Minus(Driver):
        def open(self, inode: Inode, file: File) -> int:  # type: ignore[override]
            return -errno.EBUSY if file.f_flags & os.O_APPEND else 0

        def read(self, file: File, count: int, pos: int) -> int:  # type: ignore[override]
            return -errno.EPIPE

        def write(self, file: File, data: bytes, pos: int) -> int:
            return -errno.ENOSPC

        def llseek(self, file: File, offset: int, whence: int) -> int:
            return -errno.EOVERFLOW

        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            return -errno.ENODATA

        def mmap(self, file: File, vma: object) -> int:  # type: ignore[override]
            return -errno.ENXIO

        def fsync(self, file: File, start: int, end: int, datasync: bool) -> int:  # type: ignore[override]
            return -errno.EDQUOT

    mapdev.add(Minus, "/dev/x")
    client(
        """
        raises(errno.EBUSY, os.open, '/dev/x', os.O_RDWR | os.O_APPEND)
        fd = os.open('/dev/x', os.O_RDWR)
        raises(errno.EPIPE, os.read, fd, 10)
        raises(errno.ENOSPC, os.write, fd, b'x')
        raises(errno.EOVERFLOW, os.lseek, fd, 0, 0)
        raises(errno.ENODATA, fcntl.ioctl, fd, 1)
        raises(errno.ENXIO, raw_mmap, None, P, R, SHARED, fd)
        raises(errno.EDQUOT, os.fsync, fd)
        """
    )


def test_fsync(mapdev: Host, client: Client) -> None:
    seen: list[bool] = []

    class Synced(Bare):
        def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
            seen.append(datasync)

    mapdev.add(Synced, "/dev/x")
    client("fd = os.open('/dev/x', os.O_RDWR); os.fsync(fd); os.fdatasync(fd)")
    assert seen == [False, True]


def test_poll_without_a_poll_operation(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        import select
        fd = os.open('/dev/x', os.O_RDWR)
        poll = select.poll(); poll.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
        assert poll.poll(0) == [(fd, select.POLLIN | select.POLLOUT)]
        assert select.select([fd], [fd], [fd], 0) == ([fd], [fd], [])
        os.read(fd, 10)
        assert poll.poll(0) == [(fd, select.POLLIN | select.POLLOUT)]
        """
    )


def test_poll_operation(mapdev: Host, client: Client) -> None:
    class Urgent(Bare):
        mask = 0

        def poll(self, file: File) -> int:
            return self.mask

        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            self.mask = arg
            return 0

    mapdev.add(Urgent, "/dev/x")
    client(
        """
        import select
        fd = os.open('/dev/x', os.O_RDWR)
        poll = select.poll(); poll.register(fd, select.POLLIN | select.POLLPRI)
        assert poll.poll(0) == []
        fcntl.ioctl(fd, 1, select.POLLIN)
        assert poll.poll(0) == [(fd, select.POLLIN)]
        """
    )
