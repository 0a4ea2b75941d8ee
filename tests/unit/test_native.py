"""The C extension against the Python code that is its reference; bad arguments never crash it."""

from __future__ import annotations

import contextlib
import errno
import gc
import mmap
import os
import select
import shutil
import socket
import stat
import subprocess
import sysconfig
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapdev.host.embedded import libc
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.files.overlay import Overlay
from mapdev.host.embedded.files.paths import Paths
from mapdev.host.embedded.native import NATIVE, WHY_NOT
from mapdev.host.embedded.syscalls import notify
from mapdev.host.embedded.syscalls.gate import make_gate, why_not
from mapdev.host.embedded.syscalls.notify import NOTIFICATION
from mapdev.host.embedded.syscalls.quick import NativeQuick, Quick
from mapdev.host.embedded.syscalls.table import BY_NUMBER, GATE_RULES
from mapdev.host.numbers import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, UINT_MAX
from mapdev.linux.kernfs import KernfsNode, KernfsRoot
from mapdev.linux.numbers import MAP_FIXED, PAGE_SIZE

ROOT = Path(__file__).parents[2]
native = pytest.mark.skipif(NATIVE is None, reason=f"the C extension is not in use: {WHY_NOT}")

BASE = 512
_MANY = int(
    os.environ.get("MAPDEV_FUZZ", "60")
)  # examples, of the quickest test five times as many
NODES = ["/dev/x", "/dev/fb0", "/dev/snd/pcm"]
NAMES = ["x", "fb0", "fb00", "xfb0", "pcm", ".", "..", "", "file", "dir", "link", "dangling", "up",
         "proc", "self", "dev", "std", "fd", "é", "n" * 100, "n" * 200]  # fmt: skip
BITS = [0, 1, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
        os.O_NOFOLLOW, os.O_CREAT | os.O_NOFOLLOW, MAP_FIXED, 1 << 63, (1 << 64) - 1]  # fmt: skip


class World:
    """A directory, descriptors and memory of this process, which plays the client as well."""

    def __init__(self, directory: Path) -> None:
        (directory / "file").touch()
        (directory / "dir").mkdir()
        (directory / "link").symlink_to("file")
        (directory / "dir" / "link").symlink_to("../dir")
        (directory / "dangling").symlink_to("nothing")
        (directory / "up").symlink_to("..")
        self.directory = os.fsencode(directory)
        # A page that can't be touched, two pages of memory, and another such page.
        self._pages = mmap.mmap(-1, 4 * PAGE_SIZE)
        self.memory = memoryview(self._pages)[PAGE_SIZE : 3 * PAGE_SIZE]
        self.hole = libc._address(self._pages) + 3 * PAGE_SIZE
        for page in (self.hole, self.hole - 3 * PAGE_SIZE):
            address, size = libc.ctypes.c_void_p(page), libc.ctypes.c_size_t(PAGE_SIZE)
            assert libc._libc.mprotect(address, size, 0) == 0
        self.device, self.own = socket.socketpair()
        self.dirfd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self.pipe = os.pipe()
        self.fds = [*self.pipe, self.dirfd, self.device.fileno(), self.own.fileno()]
        self.links: dict[str, Any] = {}
        self.spaces = Spaces()
        nothing: Any = SimpleNamespace(dev=0, inode=0, spaces=SimpleNamespace(mapped=None))
        self.tree = KernfsRoot()
        self.overlay = Overlay(self.tree, nothing)
        self.visitors: Any = SimpleNamespace(has_visitors=False)
        self.lookups: Any = SimpleNamespace(may_wait=False)
        self.paths = Paths(
            nothing, nothing, libc.read_memory, nothing, self.overlay, self.visitors, self.lookups
        )  # fmt: skip
        kernel: Any = SimpleNamespace(
            spaces=self.spaces, paths=self.paths, descriptors=SimpleNamespace(base=BASE),
            files=SimpleNamespace(table=SimpleNamespace(by_link=self.links)),
            gate=make_gate(self.overlay.native, BASE, 1),
        )  # fmt: skip
        self.gate = kernel.gate
        self.pure = Quick(kernel)
        self.listeners: dict[Any, Any] = {}
        self.epoll = select.epoll()
        self.native = NativeQuick(kernel, self.epoll.fileno(), self.listeners)

    def close(self) -> None:
        self.epoll.close()
        self.device.close()
        self.own.close()
        for fd in (self.dirfd, *self.pipe):
            os.close(fd)

    def put(self, path: bytes, before_the_hole: int) -> int:
        """Write `path` so that it ends that many bytes before memory ends; return its address."""
        start = max(0, 2 * PAGE_SIZE - before_the_hole - len(path))
        self.memory[start : start + len(path)] = path
        return self.hole - 2 * PAGE_SIZE + start


class Spaces:
    needs_all_calls = False
    count = 0

    def __len__(self) -> int:
        return self.count


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"))
    for path in (*NODES, os.fsdecode(world.directory) + "/dir/pcm", "/dev/gone"):
        directory, _, name = path.rpartition("/")
        node = world.tree.add(world.tree.directory(directory), KernfsNode(name, stat.S_IFCHR))
        if name == "gone":
            world.tree.remove(node)
    here = os.getcwd()
    os.chdir(world.directory)
    yield world
    os.chdir(here)
    world.close()


starts = st.sampled_from([b"", b"/", b"//", b"/proc/self/", b"/dev/fd/", b"/dev/std", b"TMP/"])
paths = st.one_of(
    st.builds(
        lambda start, names, end: start + b"/".join(map(os.fsencode, names)) + end,
        starts, st.lists(st.sampled_from(NAMES), max_size=5), st.sampled_from([b"", b"/", b"//"]),
    ),
    st.binary(max_size=300),
)  # fmt: skip
numbers = st.one_of(
    st.sampled_from(sorted(BY_NUMBER)), st.integers(-(1 << 31), (1 << 31) - 1),
    st.integers(-3, 1100),
)  # fmt: skip
tids = st.sampled_from(["own"] * 8 + ["none", "zero"])
fds = st.one_of(
    st.integers(0, 4), st.sampled_from([BASE - 1, BASE, BASE + 1, AT_FDCWD & UINT_MAX, UINT_MAX,
                                        AT_FDCWD & ((1 << 64) - 1), 3 << 32])
)  # fmt: skip
arguments = st.one_of(
    st.just("path"), st.just("path"), st.builds(lambda fd: ("fd", fd), st.integers(0, 4)), fds,
    st.sampled_from(BITS), st.integers(0, (1 << 64) - 1),
)  # fmt: skip


@native
@settings(
    max_examples=5 * _MANY,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    number=numbers, tid=tids, arch=st.sampled_from([ARCH.AUDIT_ARCH] * 9 + [0x40000003]),
    path=paths, is_ended=st.sampled_from([True] * 9 + [False]),
    before_the_hole=st.one_of(st.just(0), st.integers(0, 700)),
    args=st.lists(arguments, min_size=6, max_size=6),
    spaces=st.integers(0, 2), needs_all=st.sampled_from([False] * 9 + [True]),
    roots_differ=st.booleans(), is_open=st.booleans(), visitors=st.booleans(), may_wait=st.booleans(),
)  # fmt: skip
def test_both_pass_on_the_same_calls(
    world: World, number: int, tid: str, arch: int, path: bytes, is_ended: bool,
    before_the_hole: int, args: list[Any], spaces: int, needs_all: bool, roots_differ: bool,
    is_open: bool, visitors: bool, may_wait: bool,
) -> None:  # fmt: skip
    world.memory[:] = b"\xff" * (2 * PAGE_SIZE)
    path = path.replace(b"TMP", world.directory) + (b"\0" if is_ended else b"")
    address = world.put(path, before_the_hole)
    values = [
        address if arg == "path" else world.fds[arg[1]] if isinstance(arg, tuple) else arg
        for arg in args
    ]
    world.spaces.count = spaces
    world.spaces.needs_all_calls = needs_all
    world.paths.roots_differ, world.visitors.has_visitors = roots_differ, visitors
    world.lookups.may_wait = may_wait
    world.links.clear()
    if is_open:
        link = os.readlink(f"/proc/self/fd/{world.device.fileno()}")
        world.links[link] = None
    who = {"own": os.getpid(), "none": (1 << 22) + 1, "zero": 0}[tid]
    call = NOTIFICATION.unpack(NOTIFICATION.pack(7, who, 0, number, arch, 0x1000, *values))
    assert world.native.is_foreign(call) == world.pure.is_foreign(call)


PASS, LOOK, LOOK_ALWAYS = 1, 2, 3


def _leads_on(call: tuple[int, ...], path: bytes) -> bool:
    """Say whether a call follows a link, by its path."""
    (directory, _) = BY_NUMBER[call[3]].paths[0]
    fd = AT_FDCWD if directory is None else call[6 + directory] & UINT_MAX
    try:
        os.readlink(path, dir_fd=None if fd == AT_FDCWD & UINT_MAX or fd == AT_FDCWD else fd)
    except OSError:
        return False
    return True


@pytest.mark.skipif(bool(why_not()), reason=f"there is no gate: {why_not()}")
@settings(
    max_examples=5 * _MANY,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    number=st.sampled_from([n for n, call in BY_NUMBER.items() if call.name in GATE_RULES]),
    path=paths, before_the_hole=st.one_of(st.just(0), st.integers(0, 700)),
    is_ended=st.sampled_from([True] * 9 + [False]),
    args=st.lists(arguments, min_size=6, max_size=6),
    spaces=st.integers(0, 2), needs_all=st.sampled_from([False] * 9 + [True]),
    roots_differ=st.booleans(), is_open=st.booleans(), visitors=st.booleans(),
)  # fmt: skip
def test_the_gate_passes_on_nothing_that_the_host_would_look_at(
    world: World, number: int, path: bytes, before_the_hole: int, is_ended: bool, args: list[Any],
    spaces: int, needs_all: bool, roots_differ: bool, is_open: bool, visitors: bool,
) -> None:  # fmt: skip
    """It may hand over more; and it reads no memory that is not there."""
    world.memory[:] = b"\xff" * (2 * PAGE_SIZE)
    path = path.replace(b"TMP", world.directory).partition(b"\0")[0]
    address = world.put(path + (b"\0" if is_ended else b""), before_the_hole)
    values = [
        address if arg == "path" else world.fds[arg[1]] if isinstance(arg, tuple) else arg
        for arg in args
    ]
    world.spaces.count = spaces
    world.spaces.needs_all_calls = needs_all
    world.paths.roots_differ, world.visitors.has_visitors = roots_differ, visitors
    world.lookups.may_wait = False
    world.links.clear()
    if is_open:
        world.links[os.readlink(f"/proc/self/fd/{world.device.fileno()}")] = None
    world.native.send(0.0)  # which shows the gate all that
    world.paths.roots_differ = False  # the host need not look; here they don't
    call = (7, os.getpid(), 0, number, ARCH.AUDIT_ARCH, 0x1000, *values)
    verdict = world.gate.check(number, *values)
    if verdict and not world.pure.is_foreign(call):
        assert verdict in (LOOK, LOOK_ALWAYS)
        assert _leads_on(call, path)


@pytest.mark.skipif(bool(why_not()), reason=f"there is no gate: {why_not()}")
def test_the_gate_passes_on_what_is_most_frequent(world: World) -> None:
    world.spaces.count, world.spaces.needs_all_calls = 0, False
    world.paths.roots_differ = world.visitors.has_visitors = world.lookups.may_wait = False
    world.links.clear()
    world.native.send(0.0)
    for name, path, flags, expected in [
        ("openat", b"/dev/x", 0, 0), ("openat", b"dir/x", 0, 0), ("openat", b"/proc/1/maps", 0, 0),
        ("newfstatat", b"/dev/x", 0, 0), ("newfstatat", b"/dev/y", 0, LOOK),
        ("newfstatat", b"file", AT_SYMLINK_NOFOLLOW, PASS), ("newfstatat", b"file/", 0, 0),
        ("newfstatat", b"", AT_EMPTY_PATH, PASS), ("readlink", b"link", 0, PASS),
    ]:  # fmt: skip
        address = world.put(path + b"\0", 0)
        at = 3 if name == "newfstatat" else 2
        args = [address if name == "readlink" else world.dirfd, address, 0, 0, 0, 0]
        args[at] = flags
        assert world.gate.check(ARCH.SYSCALLS[name], *args) == expected, (name, path)
    # Its answers to open depend on whether this process has threads, which may be cancelled.
    address = world.put(b"link\0", 0)
    opened = world.gate.check(ARCH.SYSCALLS["openat"], world.dirfd, address, 0, 0, 0, 0)
    assert opened in (0, LOOK_ALWAYS)
    created = world.gate.check(ARCH.SYSCALLS["openat"], world.dirfd, address, os.O_CREAT, 0, 0, 0)
    assert created == 0


@pytest.mark.skipif(bool(why_not()), reason=f"there is no gate: {why_not()}")
def test_the_gate_hands_over_calls_on_directories_of_the_host(world: World) -> None:
    world.spaces.count, world.spaces.needs_all_calls = 0, False
    world.paths.roots_differ = world.lookups.may_wait = False
    world.links.clear()
    for visitors, expected in ((False, PASS), (True, 0)):
        world.visitors.has_visitors = visitors
        world.native.send(0.0)
        args = [world.dirfd, world.put(b"\0", 0), 0, AT_EMPTY_PATH, 0, 0]
        assert world.gate.check(ARCH.SYSCALLS["newfstatat"], *args) == expected


@native
def test_examples_of_both_kinds(world: World) -> None:
    """Neither says the same of everything, which would satisfy the test before."""
    world.spaces.count, world.spaces.needs_all_calls = 0, False
    world.paths.roots_differ = world.visitors.has_visitors = world.lookups.may_wait = False
    device = os.readlink(f"/proc/self/fd/{world.device.fileno()}")
    world.links[device] = None
    for name, path, fd, expected in [
        ("openat", b"/dev/x", AT_FDCWD, False), ("openat", b"/dev/y", AT_FDCWD, True),
        ("openat", b"link", world.dirfd, False), ("openat", b"file", world.dirfd, True),
        ("openat", b"link", AT_FDCWD, False), ("openat", b"file/", AT_FDCWD, True),
        ("openat", b"dir/x/..", AT_FDCWD, False), ("openat", b"/proc/1", AT_FDCWD, False),
        ("openat", b"up/", AT_FDCWD, False), ("openat", b"..", AT_FDCWD, False),
        ("openat", b"/dev/gone", AT_FDCWD, True), ("openat", b"dir", AT_FDCWD, False),
        ("openat", b"dir/", AT_FDCWD, False), ("faccessat", b"dir", AT_FDCWD, True),
        ("faccessat", b"..", AT_FDCWD, True), ("openat", b"/", AT_FDCWD, False),
        ("read", b"", world.device.fileno(), False), ("read", b"", world.own.fileno(), True),
        ("read", b"", world.pipe[0], True), ("read", b"", BASE, False),
        ("execve", b"/bin/true", 0, False), ("fork", b"", 0, True),
    ]:  # fmt: skip
        address = world.put(path + b"\0", 0)
        number = ARCH.SYSCALLS.get(name, ARCH.SYSCALLS["clone3"])
        fields = (7, os.getpid(), 0, number, ARCH.AUDIT_ARCH, 0, fd & UINT_MAX, address, 0, 0, 0, 0)
        for quick in (world.native, world.pure):
            assert quick.is_foreign(fields) == expected, (quick, name, path, fd)


@native
def test_names_that_change_while_calls_are_looked_at(world: World) -> None:
    """One side or the other, never anything half changed."""
    fields = (7, os.getpid(), 0, ARCH.SYSCALLS["openat"], ARCH.AUDIT_ARCH, 0, AT_FDCWD & UINT_MAX)
    call = (*fields, world.put(b"/nowhere/later\0", 0), 0, 0, 0, 0)
    end = time.monotonic() + 1

    def change() -> None:
        while time.monotonic() < end:
            nodes = [
                world.tree.add(world.tree.directory("/dev"), KernfsNode(name, stat.S_IFCHR))
                for name in ("later", *map(str, range(100)))
            ]
            for node in nodes:
                world.tree.remove(node)

    thread = threading.Thread(target=change)
    thread.start()
    seen = set()
    while time.monotonic() < end:
        seen.add(world.native.is_foreign(call))
    thread.join(60)
    assert seen == {True, False}


# --- waiting -----------------------------------------------------------------------------------


@native
def test_events_of_others_are_handed_over(world: World) -> None:
    read, write = os.pipe()
    with select.epoll() as epoll:
        quick = _quick(epoll.fileno(), {})
        epoll.register(read, select.EPOLLIN)
        assert quick.wait(time.monotonic() - 1, False, False, False, False, False) == ([], None)
        assert quick.wait(time.monotonic() + 0.01, False, False, False, False, False) == ([], None)
        os.write(write, b"x")
        assert quick.wait(None, False, False, False, False, False) == (
            [(read, select.EPOLLIN)],
            None,
        )
        os.close(write)
        both = [(read, select.EPOLLIN | select.EPOLLHUP)], None
        assert quick.wait(float("inf"), False, False, False, False, False) == both
        # What is said to be a listener and is none.
        listeners: dict[Any, Any] = {read: None}
        os.read(read, 1)
        other, _ = pair = os.pipe()
        epoll.unregister(read)
        epoll.register(other, select.EPOLLIN)
        os.write(pair[1], b"x")
        with pytest.raises(OSError) as raised:
            _quick(epoll.fileno(), {**listeners, other: None}).wait(
                None, False, False, False, False, False
            )
        assert raised.value.errno == errno.ENOTTY
    with pytest.raises(OSError) as raised:
        quick.wait(None, False, False, False, False, False)
    assert raised.value.errno == errno.EBADF
    for fd in (read, *pair):
        os.close(fd)


@native
def test_one_thread_waits(world: World) -> None:
    with select.epoll() as epoll:
        quick = _quick(epoll.fileno(), {})
        read, write = os.pipe()
        epoll.register(read, select.EPOLLIN)
        outcome: list[Any] = []
        thread = threading.Thread(
            target=lambda: outcome.append(quick.wait(None, False, False, False, False, False))
        )
        thread.start()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                quick.wait(0.0, False, False, False, False, False)
            except RuntimeError:
                break
        else:
            pytest.fail("two threads could wait")
        os.write(write, b"x")
        thread.join(60)
        assert outcome == [([(read, select.EPOLLIN)], None)]
        os.close(read)
        os.close(write)


def _quick(epoll: int, listeners: dict[Any, Any], *rest: Any) -> Any:
    assert NATIVE is not None
    defaults = ({}, NATIVE.Names(), [], [], BASE, ARCH.AUDIT_ARCH, PAGE_SIZE)
    return NATIVE.Quick(epoll, listeners, *(rest or defaults))


class Kept(dict[Any, Any]):
    """A dict to which weak references may be made."""


@native
def test_cycles_are_collected() -> None:
    listeners = Kept()
    listeners["quick"] = _quick(-1, listeners)
    gone = weakref.ref(listeners)
    del listeners
    gc.collect()
    assert gone() is None


# --- bad arguments -----------------------------------------------------------------------------

anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=100),
        st.text(max_size=20), st.just({}), st.just({"a": 1}), st.just({1: 2}), st.just(object()),
    ),
    lambda inner: st.lists(inner, max_size=6) | st.tuples(inner, inner),
    max_leaves=8,
)  # fmt: skip
WRONG = (TypeError, ValueError, OverflowError, OSError, MemoryError)


@native
@settings(max_examples=_MANY, deadline=None)
@given(st.lists(anything, max_size=9))
def test_any_arguments_at_all(args: list[Any]) -> None:
    assert NATIVE is not None
    names = NATIVE.Names()
    functions: list[Callable[..., Any]] = [
        NATIVE.Names, names.add, names.discard, NATIVE.Quick, _quick(-1, {}).wait, _quick(-1, {}).is_foreign,
        NATIVE.read_memory, NATIVE.pidfd_getfd, NATIVE.link_of, NATIVE.respond,
        lambda *some: _quick(-1, {}, {}, names, *some),
        lambda *some: _quick(-1, {}, {}, names, some, some, 1, 2, 3),
        lambda *some: _quick(-1, dict.fromkeys(some)).wait(0.0, *some[:4]),
        lambda *some: NATIVE.write_memory((1 << 22) + 1, *some),
    ]  # fmt: skip
    for function in functions:
        with contextlib.suppress(*WRONG):
            function(*args)


@native
def test_arguments_that_look_right() -> None:
    assert NATIVE is not None
    names = NATIVE.Names()
    for check in (
        (1024, 0, 0, 0, 0, 0), (1, 12, 0, 0, 0, 0), (1, 0, 255, 0, 0, 0), (0, 0, 0, 99, 0, 0),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            _quick(-1, {}, {}, names, [check], [], 1, 2, PAGE_SIZE)
    for prefixes in ([b""], [b"/"] * 9, [b"n" * 32]):
        with pytest.raises(ValueError):
            _quick(-1, {}, {}, names, [], prefixes, 1, 2, PAGE_SIZE)
    with pytest.raises(ValueError):
        _quick(-1, {}, {}, names, [], [], 1, 2, 0)
    with pytest.raises(TypeError):
        _quick(-1, {}, {}, object(), [], [], 1, 2, PAGE_SIZE)
    with pytest.raises(TypeError):
        _quick(-1, {"a": 1}).wait(0.0, False, False, False, False, False)
    with pytest.raises(ValueError):
        _quick(-1, {}).is_foreign(b"short", False, False, False, False, False)
    with pytest.raises(TypeError):
        NATIVE.ptrace("attach", 1)
    with pytest.raises(OSError) as raised:
        NATIVE.ptrace(16, (1 << 22) + 1)
    assert raised.value.errno == errno.ESRCH
    with pytest.raises(OSError) as raised:
        NATIVE.pidfd_getfd(-1, 0)
    assert raised.value.errno == errno.EBADF


# --- memory ------------------------------------------------------------------------------------


def _outcome(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except OSError as error:
        return error.errno, error.strerror


offsets = st.one_of(
    st.integers(-3 * PAGE_SIZE, PAGE_SIZE - 1), st.integers(-40, 40),
    st.integers(1 << 62, 1 << 70), st.integers(-(1 << 70), -(1 << 62)),
)  # fmt: skip
sizes = st.one_of(st.integers(0, 3 * PAGE_SIZE), st.integers(16000, 17000), st.integers(0, 40))


@native
@settings(max_examples=3 * _MANY, deadline=None)
@given(offset=offsets, size=sizes, pid=st.sampled_from(["own"] * 9 + ["none"]))
def test_memory_is_read_and_written_alike(world: World, offset: int, size: int, pid: str) -> None:
    assert NATIVE is not None
    who = os.getpid() if pid == "own" else (1 << 22) + 1
    world.memory[:] = bytes(range(256)) * (2 * PAGE_SIZE // 256)
    address = world.hole + offset
    ours = _outcome(NATIVE.read_memory, who, address, size)
    assert ours == _outcome(libc._read_by_ctypes, who, address, size)
    data = b"\xa5" * size
    outcomes = []
    for write in (NATIVE.write_memory, libc._write_by_ctypes):
        world.memory[:] = bytes(2 * PAGE_SIZE)
        outcomes.append((_outcome(write, who, address, data), bytes(world.memory)))
    assert outcomes[0] == outcomes[1]


@native
def test_sizes_that_can_be_none(world: World) -> None:
    assert NATIVE is not None
    for size in (-1, -(1 << 62)):
        assert _outcome(NATIVE.read_memory, os.getpid(), world.hole - 1, size)[0] == errno.EFAULT
        assert _outcome(libc._read_by_ctypes, os.getpid(), world.hole - 1, size)[0] == errno.EFAULT
    world.memory[2 * PAGE_SIZE - 1] = 42
    assert libc.read_memory(os.getpid(), world.hole - 1, 1 << 40) == b"*"


@native
def test_links_and_answers_alike(world: World) -> None:
    assert NATIVE is not None
    gone = os.dup(world.pipe[0])
    os.close(gone)
    for fd in (*world.fds, 0, gone, -1, (1 << 31) - 1):
        for tid in (os.getpid(), (1 << 22) + 1, 0, -1):
            assert _outcome(NATIVE.link_of, tid, fd) == _outcome(libc._link_of, tid, fd)
    for answer in ((world.pipe[0], 1, 0, 0, 0), (gone, (1 << 64) - 1, -5, -5, 1)):
        ours = _outcome(NATIVE.respond, *answer)
        assert ours == _outcome(notify._respond_in_python, *answer) and ours[0]


# --- how it is built ---------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_it_compiles_without_a_warning(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        pytest.skip("Python's headers are not installed")
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-c"]
    for source in sorted((ROOT / "native").glob("*.c")):
        done = subprocess.run(
            [*command, f"-I{headers}", source, "-o", tmp_path / "out.o"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_the_version_is_that_of_the_python_code() -> None:
    header = (ROOT / "native/native.h").read_text()
    code = (ROOT / "src/mapdev/host/embedded/native.py").read_text()
    version = header.split("#define MAPDEV_NATIVE_VERSION ")[1].split()[0]
    assert f"_VERSION = {version} " in code
