"""What a driver class declares is had, or refused when the class is made; and so by `add`."""

from __future__ import annotations

import ctypes
import dataclasses
import textwrap
from typing import Any

import pytest

import mapdev
from mapdev import Driver, ioctl
from mapdev.declaration import _KERNELS, operations
from mapdev.host.loading import DriverError, node_path, parse_device
from mapdev.linux import _IO, _IOC, _IOC_READ, _IOR, _IOW

THERE = operations(Driver)
NAMES = {"Driver": Driver, "ioctl": ioctl, "_IO": _IO, "_IOR": _IOR, "ctypes": ctypes}


def make(body: str) -> type[Driver]:
    """Make a class of the lines of its body."""
    names: dict[str, Any] = dict(NAMES)
    exec("class Some(Driver):\n" + textwrap.indent(textwrap.dedent(body), "    "), names)
    some: type[Driver] = names["Some"]
    return some


def test_the_operations_that_there_are() -> None:
    assert {"probe", "remove", "open", "release", "read", "write", "mmap", "fsync"} <= set(THERE)
    assert not {"has", "name", "minor"} & set(THERE)


@pytest.mark.parametrize("name", sorted(set(_KERNELS) - set(THERE)))
def test_an_operation_of_the_kernels_that_is_not_there(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Some.{name} would never be called.*probe, .*, mmap"):
        make(f"def {name}(self, *args): pass")
    make(f"{name} = 5")  # data of the driver's own


@pytest.mark.parametrize(
    ("name", "arguments", "meant"),
    [
        ("prob", "", "probe"), ("relase", "inode, file", "release"), ("mmpa", "file, vma", "mmap"),
        ("raed", "file, count, pos", "read"), ("wirte", "file, data, pos", "write"),
        ("opne", "inode, file", "open"), ("iotcl", "file, cmd, arg", "ioctl"),
        ("pol", "file", "poll"), ("remov", "", "remove"), ("probbe", "size=1", "probe"),
        ("fsnc", "file, start, end, datasync", "fsync"), ("Read", "file, count, pos", "read"),
        ("mmapp", "file, vma", "mmap"), ("writes", "file, data, pos", "write"),
        ("lseek", "file, offset, whence", "llseek"), ("seek", "file, offset, whence", "llseek"),
        ("close", "inode, file", "release"), ("reed", "file, count, pos", "read"),
        ("map", "file, vma", "mmap"), ("relase", "", "release"),
        ("reed", "file, count", "read"), ("reed", "file", "read"), ("mmop", "file", "mmap"),
        ("oben", "inode", "open"), ("writte", "file, data", "write"),
    ],
)  # fmt: skip
def test_a_misspelt_operation(name: str, arguments: str, meant: str) -> None:
    with pytest.raises(TypeError, match=rf"Some.{name} would never be called: is that {meant}\?"):
        make(f"def {name}(self, {arguments}): pass")


def test_methods_that_only_look_alike() -> None:
    make(
        """
        def ready(self): pass
        def head(self, count): pass
        def map(self): pass
        def close(self): pass
        def seek(self, to): pass
        def remote(self): pass
        def reads(self): pass
        def read(self, file, count, pos): pass
        def lead(self, file): pass
        def oven(self, temperature): pass
        def pool(self): file = 1
        def init(self): pass
        def _red(self, file, count, pos): pass
        def lock_registers(self): pass
        lock = object()
        reads = 0
        node = "/dev/x"
        class Read: pass
        """
    )


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("read = 5", "Some.read is 5, but read is an operation"),
        ("poll = 'x'", "Some.poll is 'x', but poll is an operation"),
        ("@property\ndef write(self): return None", "but write is an operation"),
        ("def read(self, file, buf, count, pos): pass", r"write def read\(self, file, count, pos\)"),
        ("def open(self, file): pass", r"write def open\(self, inode, file\)"),
        ("@staticmethod\ndef open(file): pass", r"write def open\(inode, file\)"),
        ("def write(self, file, data, pos, *, must): pass", "can't be called as the operation is"),
        ("def remove(self, device): pass", r"write def remove\(self\)"),
        ("def read(self, file, count, pos):\n yield b''", "has a yield"),
        ("async def read(self, file, count, pos):\n yield b''", "has a yield"),
        ("async def poll(self, file): pass", "can't be async"),
        ("major = -1", "Some.major is a number from 0 to 511, not -1"),
        ("major = 512", "Some.major is a number"),
        ("major = '1'", "Some.major is a number"),
        ("minor = -1", "Some.minor is a number from 0 to 1048575"),
        ("minor = 1 << 20", "Some.minor is a number"),
        ("minor = True", "Some.minor is a number"),
        ("mode = 666", "Some.mode is a number from 0 to 511, not 666: is 0o666 meant"),
        ("mode = 'rw'", "Some.mode is a number"),
        ("owner = -1", "Some.owner is a number"),
        ("group = 1.5", "Some.group is a number"),
        ("name = 5", "Some.name is text"),
        ("majr = 5", "is that major"),
        ("mdoe = 0o600", "is that mode"),
        ("miinor = 1", "is that minor"),
        ("def ioctl(self, file, cmd, arg): pass\n@ioctl(1000)\ndef f(self, file, arg): pass",
         "move `def ioctl` to the end"),
        ("@ioctl\ndef f(self, file, arg): pass", r"says no number for f: write @ioctl\(NUMBER\)"),
        ("@ioctl('x')\ndef f(self, file, arg): pass", "is an int, not 'x'"),
        ("@ioctl(1000)\ndef f(self, file): pass", r"write def f\(self, file, arg\)"),
        ("@ioctl(1000)\ndef read(self, file, arg): pass", "has the name of an operation"),
        ("@ioctl(1000)\ndef ioctl(self, file, arg): pass", "has the name of an operation"),
        ("@ioctl(1000, 'r')\ndef f(self, file, arg): pass", "direction is the third argument"),
        ("@ioctl(1000, 4)\ndef f(self, file, arg): pass", "is a ctypes type, not 4"),
        ("@ioctl(1000)\ndef f(self, file, arg: ctypes.c_int): pass",
         r"arg is to be a c_int and would be the plain number: write @ioctl\(0x3e8, c_int\)"),
        ("@ioctl(1000, ctypes.c_long, 'r')\ndef f(self, file, arg: ctypes.c_int): pass",
         "arg is to be a c_int and would be a c_long"),
        ("@ioctl(1000)\n@property\ndef f(self): pass", "stands above"),
        ("@ioctl(1000)\ndef f(self, file, arg): pass\n@ioctl(1000)\ndef g(self, file, arg): pass",
         "ioctl 0x3e8 has two methods: f and g"),
    ],
)  # fmt: skip
def test_what_is_declared_wrongly(body: str, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        make(body)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1 << 32, "does not fit in 32 bits"), (-(1 << 31) - 1, "does not fit"),
        (2, "FIGETBSZ, which the kernel carries out"), (0x5421, "FIONBIO"), (0x40049409, "FICLONE"),
    ],
)  # fmt: skip
def test_numbers_of_ioctls_that_never_come(number: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ioctl(number)


def test_a_negative_number_is_that_of_c() -> None:
    class Some(Driver):
        @ioctl(-0x3F97A9FC)
        def f(self, file: Any, arg: int) -> int:
            return 0

    assert list(Some._ioctls) == [0xC0685604]


def test_what_may_be_declared() -> None:
    class Mixin:
        def read(self, file: Any, count: int, pos: int) -> bytes:
            return b""

    class Some(Mixin, Driver):  # type: ignore[misc]
        major, minor, mode, owner, group = 1, 128, 0o600, 0, "root"
        write = None
        poll = staticmethod(lambda file: 1)

        def probe(self, **parameters: Any) -> None:
            pass

        def mmap(self, *args: Any) -> None:
            pass

        @ioctl(1000)
        @ioctl(1001)
        def f(self, file: Any, arg: int) -> int:
            return 0

        def ioctl(self, file: Any, cmd: int, arg: int) -> Any:
            return super().ioctl(file, cmd, arg)

    has = [name for name in THERE if Some.has(name)]
    assert has == ["probe", "read", "ioctl", "poll", "mmap"]
    with pytest.raises(TypeError, match=r"Wrong\.mmpa"):
        type("Wrong", (type("Plain", (), {"mmpa": lambda self, file, vma: None}), Driver), {})


def test_an_ioctl_of_any_size_needs_a_direction() -> None:
    ioctl(_IOC(_IOC_READ, "E", 6, 0), any_size=True)
    for number in _IO("E", 6), 1000:
        with pytest.raises(ValueError, match="has to say the direction"):
            ioctl(number, any_size=True)
    with pytest.raises(ValueError, match="has to say the direction"):
        ioctl(_IOW("E", 6, 0), direction="r", any_size=True)
    with pytest.raises(TypeError, match="is a ctypes type"):
        ioctl(_IOW("E", 6, 4), bytearray)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ("/dev/" + "x" * 300, "too long"), ("/dev" + "/x" * 2100, "too long"),
        ("/proc/x", "no node below"), ("/proc/self/x", "no node below"), ("/sys/x", "no node below"),
        ("/dev/../proc/x", "no node below"), ("//proc/x", "no node below"),
        ("/tmp", "is a directory"), ("/dev/x/", "an absolute path"), ("dev/x", "an absolute path"),
        ("", "an absolute path"), ("/dev/a\0b", "an absolute path"), (5, "an absolute path"),
        (b"/dev/x", "an absolute path"), (None, "an absolute path"),
    ],
)  # fmt: skip
def test_nodes_that_can_t_be(node: Any, text: str) -> None:
    with pytest.raises(DriverError, match=text):
        node_path(node)


def test_a_parameter_given_twice() -> None:
    with pytest.raises(DriverError, match="size is given twice"):
        parse_device("/dev/x=contiguous,size=1,size=2")


class Plain(Driver):
    def probe(self, size: int = 1, /, node: str = "", driver: str = "") -> None:
        self.got = size, node, driver


def test_what_add_takes_and_refuses() -> None:
    @dataclasses.dataclass
    class Equal(Driver):
        value: int = 0

    class Wanting(Driver):
        def __init__(self, size: int) -> None:
            self.size = size

    class Shadowing(Driver):
        def probe(self) -> None:
            self.open = 0

    class Nobodys(Driver):
        owner = "nobody called this"

    class Mem(Driver):
        major = minor = 1

    with mapdev.host() as host:
        assert host.add(Plain, "/dev/a", size=2, node="n", driver="d").got == (2, "n", "d")
        wrong: list[tuple[Any, str]] = [
            (Equal, "told apart by identity"), (Wanting, r"probe's, write def probe\(self"),
            (Shadowing, r"sets self.open to 0, but open is an operation"), (5, "is a subclass of"),
            (int, "is a subclass of"), (Nobodys, "nobody here is called"),
        ]  # fmt: skip
        for driver, text in wrong:
            with pytest.raises(DriverError, match=text):
                host.add(driver, "/dev/b")
        for node in "/dev/a", "/dev/a/b":
            with pytest.raises(DriverError, match=r"already|at once"):
                host.add(Plain, node)
        mem = host.add(Mem, "/dev/m1")
        host.add(mem, "/dev/m2")
        with pytest.raises(DriverError, match=r"m1 has the number 1:1 that Mem.minor asks for"):
            host.add(Mem, "/dev/m3")
        minors = {device.node: device.inode.i_rdev & 0xFFFFF for device in host.devices}
        assert minors == {"/dev/a": 0, "/dev/m1": 1, "/dev/m2": 2}


def test_a_driver_belongs_to_one_host() -> None:
    with mapdev.host() as first:
        driver = first.add(Plain, "/dev/a")
        with mapdev.host() as second:
            with pytest.raises(DriverError, match="is served by another host"):
                second.add(driver, "/dev/a")
            first.close()
            second.add(driver, "/dev/a")


def test_a_host_that_is_closed() -> None:
    with mapdev.host() as host:
        driver = host.add(Plain, "/dev/a")
    uses: list[Any] = [
        lambda: host.add(Plain, "/dev/b"), lambda: host.run(["true"]), lambda: host.popen(["true"]),
        lambda: host.remove(driver), host.__enter__,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(DriverError, match="the host is closed"):
            use()
    host.close()
