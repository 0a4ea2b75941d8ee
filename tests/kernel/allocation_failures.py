"""Each allocation of each call of the module fails once: an errno for who called, and nothing lost.

Not collected with the other tests: it needs a kernel that makes allocations fail when it is told to,
as the debug kernel does (`module/debug-kernel run`, which has this among its tests).

Source: Documentation/fault-injection/fault-injection.rst, fail-nth
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import gc
import mmap
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import Client, Daemon, answer, counters, faults, maps

DEBUG = Path("/sys/kernel/debug")
FAILURES = ("failslab", "fail_page_alloc", "fail_usercopy")
NODE = "/dev/mapdev-test"
MOST = 200  # places to fail at, in one call
# For want of memory, and where a copy to or from user memory failed.
CLEAN = {errno.ENOMEM, errno.EFAULT, errno.EAGAIN, errno.ENOBUFS}


@pytest.fixture(autouse=True, scope="module")
def failures() -> None:
    """Have all kinds of allocations fail, quietly."""
    for name in FAILURES:
        place = DEBUG / name
        assert place.exists(), f"this kernel can't have {name}: module/debug-kernel run"
        (place / "verbose").write_text("0")
        for option, value in (("ignore-gfp-wait", "N"), ("min-order", "0")):
            if (place / option).exists():
                (place / option).write_text(value)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test after which the module has anything; that memory ran out may be in the log."""
    yield
    Client.kill_all()
    gc.collect()
    end = time.monotonic() + 10
    while any(counters().values()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(counters().values()), counters()


def outcomes(call: Callable[[], None]) -> list[int]:
    """Make a call again and again, each time failing one allocation later; return the errnos.

    0 where it succeeded all the same. The last one is that of a call in which nothing failed.
    """
    nth = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    found = []
    try:
        for number in range(1, MOST):
            os.pwrite(nth, b"%d" % number, 0)
            code = 0
            try:
                call()
            except OSError as error:
                code = error.errno or -1
            found.append(code)
            try:
                if int(os.pread(nth, 20, 0)):
                    os.pwrite(nth, b"0", 0)
                    return found
            except OSError:  # the one that failed was this
                return found
    finally:
        os.close(nth)
    raise AssertionError(f"more than {MOST} allocations fail in one call: {found}")


def check(found: list[int], least: int) -> None:
    """See that something failed, that each failure was told as one, and that the last call worked.

    :param least: how many failures there must have been at least.
    """
    assert found[-1] == 0, found
    assert set(found) <= CLEAN | {0}, found
    assert sum(map(bool, found)) >= least, found


def test_a_session() -> None:
    def begin() -> None:
        fd = os.open("/dev/mapdev", os.O_RDWR)
        try:
            init = uapi.Init(size=ctypes.sizeof(uapi.Init), abi=uapi.ABI)
            uapi.ioctl(fd, uapi.IOC_INIT, init)
            mmap.mmap(fd, init.payload_size, offset=init.payload_offset).close()
        finally:
            os.close(fd)

    check(outcomes(begin), least=2)


def test_devices(daemon: Daemon) -> None:
    def create() -> None:
        device = daemon.create().id
        while True:
            with contextlib.suppress(OSError):  # what fails by itself was not done
                return daemon.destroy(device)

    check(outcomes(create), least=4)


@pytest.mark.parametrize(
    ("kind", "pages"),
    [(uapi.BUF_PAGES, 4), (uapi.BUF_CONTIG, 3), (uapi.BUF_VMALLOC, 4)],
    ids=["pages", "contig", "vmalloc"],
)
def test_buffers(daemon: Daemon, kind: int, pages: int) -> None:
    def alloc() -> None:
        buffer = daemon.alloc(pages, kind)
        try:
            buffer.memory[:5] = b"hello"
        finally:
            buffer.unmap()
            try:
                buffer.free()
            except OSError:
                buffer.free()  # at the first time its number could not be read

    check(outcomes(alloc), least=2)


def in_client(daemon: Daemon, handlers: dict, call: Callable[[], None]) -> list[int]:  # type: ignore[type-arg]
    process = Client(lambda: outcomes(call))
    daemon.serve(handlers, process)
    found: list[int] = process.result()
    return found


def test_open(daemon: Daemon) -> None:
    daemon.create()
    check(in_client(daemon, {}, lambda: os.close(os.open(NODE, os.O_RDWR))), least=3)


@contextlib.contextmanager
def opened() -> Iterator[int]:
    fd = os.open(NODE, os.O_RDWR)
    try:
        yield fd
    finally:
        os.close(fd)


def test_read_and_write(daemon: Daemon) -> None:
    daemon.create()

    def call() -> None:
        with opened() as fd:
            os.read(fd, 100)
            os.write(fd, bytes(5000))

    def read(request: uapi.Request) -> uapi.Reply:
        return answer(request, 5, b"hello", flags=uapi.REPLY_POS, pos=5)

    handlers = {uapi.READ: read, uapi.WRITE: lambda request: int(request.arg[0])}
    check(in_client(daemon, handlers, call), least=5)


def test_ioctl(daemon: Daemon) -> None:
    daemon.create()
    command = 3 << 30 | 16 << 16 | ord("x") << 8

    def call() -> None:
        with opened() as fd:
            fcntl.ioctl(fd, command, bytearray(16))

    handlers = {uapi.IOCTL: lambda request: answer(request, 0, bytes(16), addr=request.arg[1])}
    check(in_client(daemon, handlers, call), least=4)


@pytest.mark.parametrize("kind", [uapi.BUF_PAGES, uapi.BUF_VMALLOC], ids=["pages", "vmalloc"])
def test_mmap(daemon: Daemon, kind: int) -> None:
    daemon.create()
    buffer = daemon.alloc(4, kind)

    def call() -> None:
        with opened() as fd:
            mmap.mmap(fd, 4 * PAGE).close()

    handlers = {uapi.MMAP: maps(buffer, vm_ops=uapi.VMOP_NOTICES)}
    check(in_client(daemon, handlers, call), least=6)


def test_faults(daemon: Daemon) -> None:
    """A fault for which there is no memory is tried again by the kernel."""
    daemon.create()
    buffer = daemon.alloc(4, flags=uapi.ALLOC_COMP)

    def call() -> None:
        with opened() as fd:
            area = mmap.mmap(fd, 4 * PAGE)
            seen = [area[page * PAGE] for page in range(4)]
            area.close()
            assert seen == [0] * 4

    handlers = {
        uapi.MMAP: lambda request: maps_nothing(request),
        uapi.FAULT: faults(buffer),
    }
    check(in_client(daemon, handlers, call), least=6)


def maps_nothing(request: uapi.Request) -> uapi.Reply:
    return answer(request, 0, bytes(uapi.Mmap(vm_ops=uapi.VMOP_FAULT | uapi.VMOP_NOTICES)))


def test_areas_that_are_split(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(4)
    libc = ctypes.CDLL(None, use_errno=True)

    def call() -> None:
        with opened() as fd:
            area = mmap.mmap(fd, 4 * PAGE)
            at = ctypes.addressof(ctypes.c_char.from_buffer(area))
            try:
                if libc.mprotect(ctypes.c_void_p(at + PAGE), PAGE, 1):
                    raise OSError(ctypes.get_errno(), "mprotect")
            finally:
                libc.munmap(ctypes.c_void_p(at), 4 * PAGE)

    handlers = {uapi.MMAP: maps(buffer, vm_ops=uapi.VMOP_NOTICES)}
    check(in_client(daemon, handlers, call), least=6)


def test_poll(daemon: Daemon) -> None:

    daemon.create()

    def call() -> None:
        with opened() as fd:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.poll(1000)

    check(in_client(daemon, {uapi.POLL: lambda _: 1}, call), least=3)
