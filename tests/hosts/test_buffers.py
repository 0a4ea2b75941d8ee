"""Whatever has the buffer protocol is data for programs: its bytes, not its items."""

from __future__ import annotations

import array
import asyncio
import ctypes
from collections.abc import Callable
from typing import Any

import pytest
from devices import Bare

from mapdev import ioctl
from mapdev.host.core.host import Host
from mapdev.linux import _IO, _IOR, File, copy_from_user, copy_to_user, default_llseek

numpy = pytest.importorskip("numpy", reason="NumPy is not in every machine that runs these")

Client = Callable[..., str]


class Sample(ctypes.Structure):
    _fields_ = (("time", ctypes.c_uint32), ("values", ctypes.c_uint16 * 6))


SIXTEEN = bytes(range(16))
NUMBERS = numpy.frombuffer(SIXTEEN, "u2")
# Each is sixteen bytes, 0 to 15, in an order that C has them in.
OBJECTS: dict[str, Any] = {
    "bytes": SIXTEEN,
    "bytearray": bytearray(SIXTEEN),
    "memoryview": memoryview(SIXTEEN),
    "memoryview-typed": memoryview(SIXTEEN).cast("H"),
    "memoryview-2d": memoryview(SIXTEEN).cast("B", (4, 4)),
    "memoryview-2d-typed": memoryview(SIXTEEN).cast("B").cast("I", (2, 2)),
    "array": array.array("I", SIXTEEN),
    "ctypes-array": (ctypes.c_uint32 * 4).from_buffer_copy(SIXTEEN),
    "ctypes-structure": Sample.from_buffer_copy(SIXTEEN),
    "ctypes-structures": (Sample * 1).from_buffer_copy(SIXTEEN),
    "numpy-bytes": numpy.frombuffer(SIXTEEN, "u1"),
    "numpy": NUMBERS,
    "numpy-2d": NUMBERS.reshape(2, 4),
    "numpy-records": numpy.frombuffer(SIXTEEN, [("time", "u4"), ("values", "u2", 6)]),
    "numpy-signed": numpy.frombuffer(SIXTEEN, "i1"),
    "memoryview-chars": memoryview(SIXTEEN).cast("c"),
    "numpy-complex": numpy.frombuffer(SIXTEEN, "c16"),
}
# Memory in another order, or with gaps: the bytes that are seen through it, as bytes() says.
SCATTERED: dict[str, Any] = {
    "memoryview-every-other": memoryview(bytes(n // 2 for n in range(32)))[::2],
    "memoryview-reversed": memoryview(SIXTEEN[::-1])[::-1],
    "numpy-every-other": numpy.repeat(NUMBERS, 2)[::2],
    "numpy-transposed": numpy.ascontiguousarray(NUMBERS.reshape(2, 4).T).T,
    "numpy-columns": numpy.pad(NUMBERS.reshape(4, 2), ((0, 0), (0, 3)))[:, :2],
}
ALL = OBJECTS | SCATTERED


class Gives(Bare):
    """Gives the object that a program chose by its number."""

    def probe(self) -> None:
        self.current: Any = b""
        self.objects = [*ALL.values()]

    def llseek(self, file: File, offset: int, whence: int) -> int:
        return default_llseek(file, offset, whence)

    def read(self, file: File, count: int, pos: int) -> Any:
        return self.current if not pos else b""

    @ioctl(_IO("b", 1))
    def choose(self, file: File, arg: int) -> None:
        self.current = self.objects[arg]

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Write the object to where the data, a pointer, says."""
        copy_to_user(int.from_bytes(data, "little"), self.current)
        return len(data)


class GivesLater(Gives):
    """Does so after a while."""

    async def read(self, file: File, count: int, pos: int) -> Any:
        await asyncio.sleep(0)
        return super().read(file, count, pos)


# Prints the names of what does not come as it should.
CHECK = f"""
names, chosen = {[*ALL]!r}, sys.argv[1].split()
wanted = bytes(range(16))
fd = os.open('/dev/x', os.O_RDWR)
def look(get):
    for number, name in enumerate(names):
        if name not in chosen: continue
        fcntl.ioctl(fd, 0x6201, number)
        try: got = get()
        except OSError as error: got = errno.errorcode[error.errno]
        if got != wanted: print(name)
"""
CONTIGUOUS, GAPS = " ".join(OBJECTS), " ".join(SCATTERED)


on_all = pytest.mark.parametrize("chosen", [CONTIGUOUS, GAPS], ids=["contiguous", "scattered"])


def test_the_objects_are_what_they_should_be() -> None:
    assert {name: bytes(value) if name.startswith("ctypes") else memoryview(value).tobytes()
            for name, value in ALL.items()} == dict.fromkeys(ALL, SIXTEEN)  # fmt: skip
    assert not any(memoryview(value).c_contiguous for value in SCATTERED.values())


@on_all
@pytest.mark.parametrize("driver", [Gives, GivesLater], ids=["sync", "async"])
def test_read(mapdev: Host, client: Client, driver: type[Gives], chosen: str) -> None:
    mapdev.add(driver, "/dev/x")
    assert client(CHECK + "look(lambda: os.pread(fd, 4096, 0))", chosen).split() == []


@on_all
def test_read_of_just_as_much(mapdev: Host, client: Client, chosen: str) -> None:
    mapdev.add(Gives, "/dev/x")
    assert client(CHECK + "look(lambda: os.pread(fd, 16, 0))", chosen).split() == []


@on_all
def test_read_into_a_vector(mapdev: Host, client: Client, chosen: str) -> None:
    """As any read: what does not fit into the first piece is more than was asked for."""
    mapdev.add(Gives, "/dev/x")
    failed = client(
        CHECK
        + """
def get():
    pieces = bytearray(7), bytearray(100)
    os.preadv(fd, pieces, 0)
    return b''.join(pieces)
look(get)
""",
        chosen,
    ).split()
    assert failed == chosen.split()


@on_all
@pytest.mark.parametrize("count", [1, 5, 8, 15])
def test_more_bytes_than_were_asked_for_are_refused(
    mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture, count: int, chosen: str
) -> None:
    """Though there may be fewer items: nothing of them gets into the program."""
    mapdev.add(Gives, "/dev/x")
    failed = client(
        CHECK
        + f"""
wanted = 'EIO'
def get():
    buffer = bytearray(b'x' * 64)
    try: os.preadv(fd, [memoryview(buffer)[:{count}]], 0)
    finally: assert buffer == b'x' * 64, buffer
look(get)
""",
        chosen,
    ).split()
    assert failed == []
    assert "at most" in caplog.text


@on_all
def test_copy_to_user(mapdev: Host, client: Client, chosen: str) -> None:
    mapdev.add(Gives, "/dev/x")
    failed = client(
        CHECK
        + """
def get():
    buffer = ctypes.create_string_buffer(64)
    os.write(fd, struct.pack('Q', ctypes.addressof(buffer)))
    assert buffer.raw[16:] == bytes(48), buffer.raw
    return buffer.raw[:16]
look(get)
""",
        chosen,
    ).split()
    assert failed == []


@on_all
def test_the_position_moves_by_bytes(mapdev: Host, client: Client, chosen: str) -> None:
    mapdev.add(Gives, "/dev/x")
    failed = client(
        CHECK
        + """
wanted = (16, b'')
def get():
    os.lseek(fd, 0, os.SEEK_SET)
    return len(os.read(fd, 4096)), os.read(fd, 4096)
look(get)
""",
        chosen,
    ).split()
    assert failed == []


@pytest.mark.parametrize("count", [300, 600, 4096, 1 << 20])
def test_much(mapdev: Host, client: Client, count: int) -> None:
    """More than travels with a reply, and than there is in a page."""

    class Much(Bare):
        def read(self, file: File, count: int, pos: int) -> Any:
            return numpy.arange(count // 4, dtype="u4")

    mapdev.add(Much, "/dev/x")
    client(
        """
        count = int(sys.argv[1])
        wanted = b''.join(number.to_bytes(4, 'little') for number in range(count // 4))
        assert os.read(os.open('/dev/x', os.O_RDONLY), count) == wanted
        """,
        str(count),
    )


class Structures(Bare):
    """ioctls whose arguments are structures and arrays."""

    def probe(self) -> None:
        self.seen: list[bytes] = []

    @ioctl(_IOR("b", 2, ctypes.c_uint16 * 8), ctypes.c_uint16 * 8)
    def numbers(self, file: File, numbers: Any) -> None:
        numbers[:] = NUMBERS.tolist()

    @ioctl(_IOR("b", 3, Sample), Sample)
    def sample(self, file: File, sample: Sample) -> None:
        sample.time = int.from_bytes(SIXTEEN[:4], "little")
        sample.values[:] = NUMBERS[2:].tolist()

    @ioctl(_IO("b", 4))
    def pointed_to(self, file: File, arg: int) -> None:
        text = copy_from_user(arg, 16)
        copy_to_user(arg, numpy.frombuffer(text, "u2")[::-1])


def test_ioctl_structures(mapdev: Host, client: Client) -> None:
    mapdev.add(Structures, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        for number in 2, 3:
            buffer = bytearray(32)
            fcntl.ioctl(fd, 2 << 30 | 16 << 16 | ord('b') << 8 | number, buffer)
            assert buffer == bytes(range(16)) + bytes(16), (number, buffer)
        """
    )


def test_copy_to_user_in_an_ioctl(mapdev: Host, client: Client) -> None:
    mapdev.add(Structures, "/dev/x")
    client(
        """
        buffer = ctypes.create_string_buffer(bytes(range(16)), 32)
        assert libc.ioctl(os.open('/dev/x', os.O_RDWR), ctypes.c_ulong(0x6204), buffer) == 0
        pairs = zip(range(14, -2, -2), range(15, -1, -2))
        assert buffer.raw == bytes(n for pair in pairs for n in pair) + bytes(16), buffer.raw
        """
    )
