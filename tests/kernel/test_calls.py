"""Each file operation, from the client to the daemon and back."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import threading
import time

import pytest

from mapdev.host.kernel import uapi

from .daemon import Client, Daemon, answer, not_in_uml, opened

PATH = "/dev/mapdev-test"
_IOWR_8 = 3 << 30 | 8 << 16 | ord("x") << 8 | 1
_IOR_8 = 2 << 30 | 8 << 16 | ord("x") << 8 | 2
_IOW_600 = 1 << 30 | 600 << 16 | ord("x") << 8 | 3
_IO = ord("x") << 8 | 4


def test_open_and_release(daemon: Daemon) -> None:
    device = daemon.create()

    def client() -> None:
        with opened(PATH, os.O_RDONLY | os.O_NONBLOCK):
            pass

    daemon.run({}, client)
    opening, release = daemon.seen
    assert (opening.op, release.op) == (uapi.OPEN, uapi.RELEASE)
    assert opening.device == device.id
    assert opening.file == release.file
    assert opening.arg[0] == 1
    assert opening.f_flags & os.O_NONBLOCK
    assert opening.tgid == release.tgid


def test_open_that_fails(daemon: Daemon) -> None:
    daemon.create()
    with pytest.raises(OSError) as caught:
        daemon.run({uapi.OPEN: lambda _: -errno.ENXIO}, lambda: os.open(PATH, os.O_RDWR))
    assert caught.value.errno == errno.ENXIO
    assert daemon.ops() == [uapi.OPEN]


@pytest.mark.parametrize("flag", [uapi.REPLY_NONSEEKABLE, uapi.REPLY_STREAM])
def test_open_without_a_position(daemon: Daemon, flag: int) -> None:
    daemon.create()

    def client() -> None:
        with opened() as fd:
            os.lseek(fd, 0, os.SEEK_SET)

    with pytest.raises(OSError) as caught:
        daemon.run({uapi.OPEN: lambda request: answer(request, 0, flags=flag)}, client)
    assert caught.value.errno == errno.ESPIPE


@pytest.mark.parametrize("size", [0, 1, 256, 257, 5000, 1 << 20])
def test_read_and_write(daemon: Daemon, size: int) -> None:
    daemon.create()
    text = os.urandom(size)
    wrote = []

    def write(request: uapi.Request) -> uapi.Reply:
        wrote.append(daemon.data(request))
        assert request.arg[0] == size and request.arg[1] == 0
        return answer(request, size, flags=uapi.REPLY_POS, pos=size)

    def read(request: uapi.Request) -> uapi.Reply:
        assert request.arg[1] == size
        if size <= uapi.INLINE:
            return answer(request, size, text, flags=uapi.REPLY_POS, pos=7)
        slot = daemon.init.nr_slots
        start = slot * daemon.init.slot_size
        daemon.payload[start : start + size] = text
        return answer(request, size, flags=uapi.REPLY_POS, pos=7, slot=slot, len=size)

    def client() -> tuple[int, bytes]:
        with opened() as fd:
            assert os.write(fd, text) == size
            return os.read(fd, size) if size else b"", size

    handlers = {uapi.READ: read, uapi.WRITE: write}
    assert daemon.run(handlers, client) == (text, size)
    assert wrote == [text]
    busy = daemon.payload[(daemon.command_slot + 1) * daemon.init.slot_size :][:16]
    assert busy == bytes(16), "reply slots are free again"


def test_pread_has_a_position_of_its_own(daemon: Daemon) -> None:
    daemon.create()

    def client() -> bytes:
        with opened() as fd:
            return os.pread(fd, 4, 12345)

    def read(request: uapi.Request) -> uapi.Reply:
        assert request.arg[1] == 12345
        return answer(request, 2, b"ab")

    assert daemon.run({uapi.READ: read}, client) == b"ab"


def test_read_that_can_not_be_stored(daemon: Daemon) -> None:
    daemon.create()

    def client() -> None:
        with opened() as fd:
            result = ctypes.CDLL(None, use_errno=True).read(fd, 8, 10)
            raise OSError(ctypes.get_errno() if result < 0 else 0, "")

    with pytest.raises(OSError) as caught:
        daemon.run({uapi.READ: lambda request: answer(request, 2, b"ab")}, client)
    assert caught.value.errno == errno.EFAULT


def test_large_write_is_fetched_by_commands(daemon: Daemon) -> None:
    daemon.create()
    size = (1 << 20) + 5000
    text = os.urandom(size)
    parts = []

    def write(request: uapi.Request) -> int:
        assert request.len == 0 and request.arg[0] == size
        for offset in range(0, size, 1 << 20):
            length = min(1 << 20, size - offset)
            result = daemon.command(
                request, uapi.COPY_FROM, addr=request.arg[2] + offset, len=length
            )
            assert result.arg[0] == length == result.len
            parts.append(daemon.data(result))
        return size

    def client() -> int:
        with opened() as fd:
            return os.write(fd, text)

    assert daemon.run({uapi.WRITE: write}, client) == size
    assert b"".join(parts) == text


def test_llseek(daemon: Daemon) -> None:
    daemon.create()

    def llseek(request: uapi.Request) -> uapi.Reply:
        assert tuple(request.arg[:3]) == ((1 << 64) - 5, os.SEEK_END, 0)
        return answer(request, 995, flags=uapi.REPLY_POS, pos=995)

    def read(request: uapi.Request) -> uapi.Reply:
        assert request.arg[1] == 995
        return answer(request, 0)

    def client() -> int:
        with opened() as fd:
            position = os.lseek(fd, -5, os.SEEK_END)
            os.read(fd, 1)
            return position

    assert daemon.run({uapi.LLSEEK: llseek, uapi.READ: read}, client) == 995


def test_ioctl_arguments(daemon: Daemon) -> None:
    daemon.create()
    seen = []

    def ioctl(request: uapi.Request) -> uapi.Reply:
        seen.append((request.arg[0], request.flags, daemon.data(request)))
        if request.arg[0] in (_IOWR_8, _IOR_8):
            return answer(request, 3, b"ABCDEFGH", addr=request.arg[1])
        return answer(request, 4)

    def client() -> list[object]:
        with opened() as fd:
            both, out = bytearray(b"12345678"), bytearray(8)
            values = [fcntl.ioctl(fd, _IOWR_8, both), fcntl.ioctl(fd, _IOR_8, out)]
            values += [fcntl.ioctl(fd, _IOW_600, b"x" * 600)[:1], fcntl.ioctl(fd, _IO, 77)]
            return [*values, bytes(both), bytes(out)]

    result = daemon.run({uapi.IOCTL: ioctl}, client)
    assert result == [3, 3, b"x", 4, b"ABCDEFGH", b"ABCDEFGH"]
    assert seen == [
        (_IOWR_8, uapi.ARG_COPIED | uapi.ARG_WRITABLE, b"12345678"),
        (_IOR_8, uapi.ARG_WRITABLE, b""),
        (_IOW_600, uapi.ARG_COPIED, b"x" * 600),
        (_IO, 0, b""),
    ]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="int 0x80 is of x86")
@not_in_uml("32-bit programs")
def test_ioctl_of_a_32_bit_program(daemon: Daemon) -> None:
    daemon.create()
    seen = []

    def ioctl(request: uapi.Request) -> int:
        seen.append((request.flags, request.arg[0], request.arg[1]))
        return 7

    def client() -> int:
        import ctypes

        code = mmap.mmap(-1, 4096, prot=7)
        # push rbx; mov eax, 54 (ioctl); mov ebx, edi; mov ecx, esi; int 0x80; pop rbx; ret
        code[:14] = bytes.fromhex("53b83600000089fb89f1cd805bc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 3)(address)
        with opened() as fd:
            os._exit(call(fd, _IO, 0xFFFFF000))

    process = Client(client)
    daemon.serve({uapi.IOCTL: ioctl}, process)
    assert process.status == 7 << 8
    assert seen == [(uapi.COMPAT, _IO, 0xFFFFF000)]


def test_ioctl_with_a_bad_pointer(daemon: Daemon) -> None:
    daemon.create()
    seen = []

    def ioctl(request: uapi.Request) -> int:
        seen.append((request.flags, request.len))
        return -errno.EFAULT

    def client() -> None:
        with opened() as fd:
            fcntl.ioctl(fd, _IOWR_8, 8)

    with pytest.raises(OSError) as caught:
        daemon.run({uapi.IOCTL: ioctl}, client)
    assert caught.value.errno == errno.EFAULT
    assert seen == [(0, 0)]


def test_fsync(daemon: Daemon) -> None:
    daemon.create()

    def client() -> None:
        with opened() as fd:
            os.fdatasync(fd)
            os.fsync(fd)

    with pytest.raises(OSError) as caught:
        daemon.run({uapi.FSYNC: lambda request: 0 if request.arg[2] else -errno.EIO}, client)
    assert caught.value.errno == errno.EIO
    assert daemon.ops().count(uapi.FSYNC) == 2


def test_poll_and_wake(daemon: Daemon) -> None:
    device = daemon.create()
    ready = []

    def poll(request: uapi.Request) -> int:
        if not ready:
            ready.append(request.file)
            return 0
        return select.POLLIN

    def read(request: uapi.Request) -> int:
        daemon.wake(select.POLLIN, file=ready[0])
        daemon.wake(select.POLLIN, device=device.id)
        return 0

    def client() -> int:
        with opened() as fd:
            thread = threading.Timer(0.2, os.read, (fd, 1))
            thread.start()
            poller = select.epoll()
            poller.register(fd, select.EPOLLIN)
            ((_, mask),) = poller.poll(20)
            thread.join()
            return mask

    assert daemon.run({uapi.POLL: poll, uapi.READ: read}, client) == select.EPOLLIN
    with pytest.raises(FileNotFoundError):
        daemon.wake(1, file=12345678)


def test_what_a_device_does_not_have(daemon: Daemon) -> None:
    daemon.create(has=0)

    def client() -> list[int | None]:
        def code(call: object, *arguments: object) -> int | None:
            try:
                call(*arguments)  # type: ignore[operator]
            except OSError as error:
                return error.errno
            return None

        with opened() as fd:
            return [
                code(os.read, fd, 1), code(os.write, fd, b"x"), code(os.lseek, fd, 0, 0),
                code(fcntl.ioctl, fd, _IO), code(os.fsync, fd), code(mmap.mmap, fd, 4096),
            ]  # fmt: skip

    assert daemon.run({}, client) == [
        errno.EINVAL, errno.EINVAL, errno.ESPIPE, errno.ENOTTY, errno.EINVAL, errno.ENODEV,
    ]  # fmt: skip


def test_commands_in_an_ioctl(daemon: Daemon) -> None:
    """Memory both ways, the list of areas, and a new descriptor."""
    daemon.create()
    anon = daemon.create(name="", flags=uapi.CREATE_ANON)
    names = []

    def ioctl(request: uapi.Request) -> int:
        got = daemon.command(request, uapi.COPY_FROM, addr=request.arg[1], len=5)
        assert daemon.data(got) == b"hello"
        start = daemon.slot(daemon.command_slot).start
        daemon.payload[start : start + 5] = b"HELLO"
        got = daemon.command(request, uapi.COPY_TO, addr=request.arg[1], len=5)
        assert got.arg[0] == 5
        got = daemon.command(request, uapi.COPY_FROM, addr=16, len=5)
        assert got.arg[0] == 0
        got = daemon.command(request, uapi.AREAS)
        assert got.arg[0] > 10 and got.arg[1] >= got.arg[0] and got.arg[2] > 100
        for index in range(got.arg[0]):
            info = uapi.AreaInfo.from_buffer_copy(daemon.payload, start + index * 64)
            if info.name:
                text = daemon.payload[start + info.name : start + info.name + 4096]
                names.append(text.split(b"\0")[0])
        name = b"thing\0"
        daemon.payload[start : start + len(name)] = name
        got = daemon.command(request, uapi.INSTALL, len=anon.id, addr=os.O_RDWR | os.O_CLOEXEC)
        assert got.arg[1] > 0
        return got.arg[0]

    def read(request: uapi.Request) -> uapi.Reply:
        return answer(request, 2, b"ok")

    def client() -> tuple[bytes, str, bytes]:
        with opened() as fd:
            argument = bytearray(b"hello")
            new = fcntl.ioctl(fd, 5, argument)
            link = os.readlink(f"/proc/self/fd/{new}")
            data = os.read(new, 10)
            os.close(new)
            return bytes(argument), link, data

    result = daemon.run({uapi.IOCTL: ioctl, uapi.READ: read}, client)
    assert result == (b"HELLO", "anon_inode:thing", b"ok")
    assert any(b"python" in name for name in names)
    assert daemon.ops().count(uapi.RELEASE) == 2


def test_a_second_command_before_the_result(daemon: Daemon) -> None:
    daemon.create()
    client = Client(lambda: os.open(PATH, os.O_RDWR))
    request = daemon.get(uapi.OPEN)
    command = uapi.Reply(id=request.id, kind=uapi.AREAS, slot=uapi.NO_SLOT)
    _, error = daemon.next(command, flags=uapi.NEXT_REPLY)
    assert not error
    time.sleep(0.2)
    _, error = daemon.next(command, flags=uapi.NEXT_REPLY)
    assert error == errno.EBUSY
    poller = select.poll()
    poller.register(daemon.fd, select.POLLIN)
    assert poller.poll(0)
    result, _ = daemon.next()
    assert result.op == uapi.RESULT
    assert not poller.poll(0)
    assert daemon.reply(request) == 0
    daemon.serve({}, client)
    assert client.status == 0


def test_order_of_requests(daemon: Daemon) -> None:
    daemon.create()

    def client() -> None:
        for _ in range(3):
            with opened():
                pass

    daemon.run({}, client)
    assert daemon.ops() == [uapi.OPEN, uapi.RELEASE] * 3


def test_results_that_make_no_sense(daemon: Daemon) -> None:
    """The client gets EIO, the daemon EINVAL."""
    daemon.create()

    def client() -> int | None:
        with opened() as fd:
            try:
                os.read(fd, 4)
            except OSError as error:
                return error.errno
            return None

    for fields in (
        {"result": 5}, {"result": -512}, {"result": -513}, {"result": -5000}, {"kind": 3},
        {"kind": 99}, {"result": 2, "len": 3}, {"len": 300}, {"slot": 3}, {"slot": 99},
        {"slot": 8, "len": 2 << 20}, {"mask": 1}, {"flags": 64},
        {"kind": uapi.COPY_FROM, "len": 2 << 20},
    ):  # fmt: skip
        process = Client(client)
        assert daemon.reply(daemon.get(uapi.OPEN)) == 0
        read = daemon.get(uapi.READ)
        reply = answer(read)
        for name, value in fields.items():
            setattr(reply, name, value)
        _, error = daemon.next(reply, flags=uapi.NEXT_REPLY)
        assert error == errno.EINVAL, fields
        daemon.serve({}, process)
        assert process.result() == errno.EIO, fields


def test_position_of_struct_fields() -> None:
    """The binding has the sizes that a C compiler gives to mapdev.h."""
    sizes = {uapi.Next: 720, uapi.Request: 392, uapi.Reply: 312, uapi.Create: 176, uapi.Init: 88}
    for kind, size in sizes.items():
        assert ctypes.sizeof(kind) == size
