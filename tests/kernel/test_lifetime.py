"""Ends of all kinds: of a client, of the daemon, in each state that a call can be in."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.buffers import _map as mapped_here
from mapdev.host.kernel.uapi import PAGE

from .daemon import Client, Daemon, answer, counters, faults, maps, mmap_answer, not_in_uml, opened
from .test_mmap import SIGBUS, mapped

PATH = "/dev/mapdev-test"
_DELETE_MODULE = {"x86_64": 176, "aarch64": 106}[os.uname().machine]


def read_one() -> bytes:
    with opened() as fd:
        return os.read(fd, 1)


def accept(daemon: Daemon, op: int, *before: int) -> uapi.Request:
    """Answer OPEN and `before`, return the request of this kind, unanswered."""
    while True:
        request, _ = daemon.next(timeout_ms=20000)
        if request.op == op:
            return request
        assert request.op in (uapi.OPEN, *before), request.op
        if request.op == uapi.MMAP:
            reply = mmap_answer(request, vm_ops=uapi.VMOP_FAULT | uapi.VMOP_PAGE_MKWRITE)
        else:
            reply = answer(request)
        daemon.next(reply, flags=uapi.NEXT_REPLY)


@contextlib.contextmanager
def interrupting(restart: bool = False) -> Iterator[None]:
    """SIGUSR1 has a handler; with or without SA_RESTART."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, not restart)
    yield


def raw_read(fd: int) -> int:
    """read() once: Python would do it again after EINTR."""
    libc = ctypes.CDLL(None, use_errno=True)
    text = ctypes.create_string_buffer(8)
    return ctypes.get_errno() if libc.read(fd, text, 8) < 0 else 0


# ---- clients that are killed


def test_killed_while_queued(daemon: Daemon) -> None:
    daemon.create()
    client = Client(read_one)
    client.asleep()
    time.sleep(0.05)
    client.kill()
    assert client.wait() == 9
    assert daemon.next()[0].op == uapi.NONE, "the daemon never hears of it"


@pytest.mark.parametrize("state", ["taken", "parked", "read", "mmap", "fault"])
def test_killed(daemon: Daemon, state: str) -> None:
    """The daemon is told, a reply that comes too late is ENOENT, and files are released."""
    daemon.create()
    client = Client({"mmap": mapped, "fault": lambda: mapped()[0]}.get(state, read_one))
    op = {"taken": uapi.OPEN, "mmap": uapi.MMAP, "fault": uapi.FAULT}.get(state, uapi.READ)
    request = accept(daemon, op, uapi.MMAP)
    if state == "parked":
        assert daemon.reply(request, kind=uapi.REPLY_WAIT) == 0
    time.sleep(0.05)
    assert daemon.alive(request)
    client.kill()
    client.wait()
    assert not daemon.alive(request)
    gone = daemon.get(uapi.GONE)
    assert gone.arg[0] == request.id and gone.file == request.file
    assert daemon.reply(request) == errno.ENOENT
    if state != "taken":
        daemon.get(uapi.RELEASE)


def test_killed_while_it_carries_out_a_command(daemon: Daemon) -> None:
    """The copy waits for a page that the daemon does not bring: nothing hangs."""
    daemon.create()

    def client() -> None:
        with opened() as fd:
            area = mmap.mmap(fd, PAGE)
            address = ctypes.addressof(ctypes.c_char.from_buffer(area))
            ctypes.CDLL(None).ioctl(fd, 5, ctypes.c_void_p(address))

    process = Client(client)
    request = accept(daemon, uapi.IOCTL, uapi.MMAP)
    reply = uapi.Reply(
        id=request.id, kind=uapi.COPY_FROM, slot=uapi.NO_SLOT, addr=request.arg[1], len=8
    )
    fault, error = daemon.next(reply, timeout_ms=20000)
    assert (fault.op, error) == (uapi.FAULT, 0)
    process.kill()
    process.wait()
    result, _ = daemon.next(flags=uapi.NEXT_URGENT, only=request.id, timeout_ms=20000)
    assert result.op == uapi.RESULT and result.arg[0] == 0
    again, _ = daemon.next(flags=uapi.NEXT_URGENT, only=request.id, timeout_ms=20000)
    assert again.op == uapi.NONE, "returns at once: there is no other result to come"
    assert {daemon.get(uapi.GONE).arg[0] for _ in range(2)} == {fault.id, request.id}


# ---- signals


def test_signal_takes_a_queued_call_out(daemon: Daemon) -> None:
    daemon.create()

    def client() -> int:
        with opened() as fd, interrupting():
            return raw_read(fd)

    process = Client(client)
    accept_open = daemon.get(uapi.OPEN)
    daemon.reply(accept_open)
    process.asleep()
    time.sleep(0.1)
    process.kill(signal.SIGUSR1)
    end = time.monotonic() + 20
    while not process.ended() and time.monotonic() < end:
        time.sleep(0.01)
    assert process.result() == errno.EINTR
    assert daemon.next()[0].op == uapi.RELEASE


@pytest.mark.parametrize("restart", [False, True])
def test_signal_to_a_parked_call(daemon: Daemon, restart: bool) -> None:
    daemon.create()

    def client() -> int:
        with opened() as fd, interrupting(restart):
            return raw_read(fd)

    process = Client(client)
    request = accept(daemon, uapi.READ)
    daemon.reply(request, kind=uapi.REPLY_WAIT)
    time.sleep(0.05)
    process.kill(signal.SIGUSR1)
    notice = daemon.get(uapi.INTERRUPT)
    assert notice.arg[0] == request.id and daemon.alive(request)
    assert daemon.reply(request, -uapi.ERESTARTSYS) == 0
    if restart:
        again = accept(daemon, uapi.READ)
        assert again.id != request.id
        assert daemon.reply(again, 1, b"x") == 0
    daemon.serve({}, process)
    assert process.result() == (0 if restart else errno.EINTR)


def test_result_beats_the_signal(daemon: Daemon) -> None:
    """What took effect is delivered, though a signal came."""
    daemon.create()

    def client() -> int:
        with opened() as fd, interrupting():
            return raw_read(fd)

    process = Client(client)
    request = accept(daemon, uapi.READ)
    daemon.reply(request, kind=uapi.REPLY_WAIT)
    time.sleep(0.05)
    process.kill(signal.SIGUSR1)
    daemon.get(uapi.INTERRUPT)
    assert daemon.reply(request, kind=uapi.REPLY_WAIT) == 0, "no second INTERRUPT for that"
    assert daemon.next()[0].op == uapi.NONE
    assert daemon.reply(request, 1, b"x") == 0
    daemon.serve({}, process)
    assert process.result() == 0


def test_signal_does_not_disturb_a_taken_call(daemon: Daemon) -> None:
    daemon.create()

    def client() -> int:
        with opened() as fd, interrupting():
            return raw_read(fd)

    process = Client(client)
    request = accept(daemon, uapi.READ)
    process.kill(signal.SIGUSR1)
    time.sleep(0.1)
    assert daemon.alive(request)
    assert daemon.next()[0].op == uapi.NONE
    assert daemon.reply(request, 1, b"x") == 0
    daemon.serve({}, process)
    assert process.result() == 0


# ---- a daemon that does not answer


@pytest.mark.parametrize("state", ["queued", "taken", "mmap", "fault"])
def test_time_runs_out(state: str) -> None:
    with Daemon(timeout_ms=300) as daemon:
        daemon.create()
        client = Client({"mmap": mapped, "fault": lambda: mapped()[0]}.get(state, read_one))
        if state != "queued":
            op = {"mmap": uapi.MMAP, "fault": uapi.FAULT}.get(state, uapi.READ)
            request = accept(daemon, op, uapi.MMAP)
        while not client.ended():
            time.sleep(0.01)
        if state == "fault":
            assert client.status == SIGBUS
        else:
            with pytest.raises(OSError) as caught:
                client.result()
            assert caught.value.errno == errno.ETIMEDOUT
        if state != "queued":
            assert daemon.get(uapi.GONE).arg[0] == request.id


def test_parked_calls_have_no_time_limit() -> None:
    with Daemon(timeout_ms=200) as daemon:
        daemon.create()
        client = Client(read_one)
        request = accept(daemon, uapi.READ)
        daemon.reply(request, kind=uapi.REPLY_WAIT)
        time.sleep(0.6)
        assert daemon.alive(request)
        daemon.reply(request, 1, b"x")
        daemon.serve({}, client)
        assert client.result() == b"x"


# ---- the end of the daemon


def daemon_in_a_child(work: Callable[[Daemon], None]) -> Client:
    """Run a daemon in a process of its own, which can be killed."""

    def child() -> None:
        daemon = Daemon()
        daemon.create()
        work(daemon)

    client = Client(child)
    end = time.monotonic() + 20
    while not os.path.exists(PATH):
        assert time.monotonic() < end and not client.ended()
        time.sleep(0.005)
    return client


def stuck(op: int, *before: int, park: bool = False) -> Callable[[Daemon], None]:
    def work(daemon: Daemon) -> None:
        request = accept(daemon, op, *before)
        if park:
            daemon.reply(request, kind=uapi.REPLY_WAIT)
        signal.pause()

    return work


@pytest.mark.parametrize("state", ["queued", "taken", "parked", "mmap", "fault"])
def test_daemon_is_killed(state: str) -> None:
    """Whatever waits for it fails with EIO; nobody hangs; the node is gone."""
    op = {"mmap": uapi.MMAP, "fault": uapi.FAULT}.get(state, uapi.READ)
    server = daemon_in_a_child(
        (lambda _: signal.pause()) if state == "queued"
        else stuck(op, uapi.MMAP, park=state == "parked")
    )  # fmt: skip
    client = Client({"mmap": mapped, "fault": lambda: mapped()[0]}.get(state, read_one))
    client.asleep()
    time.sleep(0.3)
    assert not client.ended()
    server.kill()
    server.wait()
    client.wait()
    if state == "fault":
        assert client.status == SIGBUS
    else:
        with pytest.raises(OSError) as caught:
            client.result()
        assert caught.value.errno == errno.EIO
    assert not os.path.exists(PATH)


def test_daemon_that_leaves_a_fork_behind() -> None:
    """The session belongs to the process, not to the descriptor that a child has too."""

    def work(daemon: Daemon) -> None:
        if not os.fork():
            time.sleep(3)
            os._exit(0)
        signal.pause()

    server = daemon_in_a_child(work)
    server.kill()
    server.wait()
    assert not os.path.exists(PATH)
    time.sleep(3)


def test_forks_may_not_use_the_session(daemon: Daemon) -> None:
    def client() -> list[int | None]:
        codes = []
        for call in (
            lambda: uapi.ioctl(daemon.fd, uapi.IOC_KICK),
            lambda: daemon.next(),
            lambda: mmap.mmap(daemon.fd, PAGE),
        ):
            try:
                call()
                codes.append(None)
            except OSError as error:
                codes.append(error.errno)
        return codes

    assert Client(client).result() == [errno.EPERM] * 3
    daemon.create()
    assert os.path.exists(PATH), "the child's end did not end the session"


def test_a_view_of_a_buffer_keeps_that_buffer_alone() -> None:
    """Not the payload, megabytes for each session: a view may be kept for long by mistake."""
    before = counters()
    with Daemon() as daemon:
        payload = daemon.init.payload_size // PAGE
        buffer = daemon.alloc(2)
        view = memoryview(mapped_here(daemon.fd, 2 * PAGE, buffer.offset))
        view[:2] = b"ab"
        assert counters()["payload"] == before["payload"] + payload
    assert view[:2] == b"ab"
    left = counters()
    assert left["payload"] == before["payload"]
    assert (left["pages"], left["sessions"]) == (before["pages"] + 2, before["sessions"] + 1)
    del view
    assert counters() == before


def test_the_payload_of_a_daemon_that_dies_in_the_middle_of_large_calls() -> None:
    """Slots that clients use, of requests and of replies, keep it no longer than they copy."""
    size = 1 << 20

    def work(daemon: Daemon) -> None:
        first, behind = daemon.init.nr_slots, daemon.slot(daemon.command_slot).stop

        def read(request: uapi.Request) -> uapi.Reply:
            for number in range(daemon.init.nr_reply_slots):
                if not any(daemon.payload[behind + 4 * number : behind + 4 * number + 4]):
                    return answer(request, size, len=size, slot=first + number)
            return answer(request, 1, b"x")

        daemon.serve({uapi.READ: read, uapi.WRITE: lambda _: size})

    def client() -> int | None:
        try:
            with opened() as fd:
                while True:
                    os.read(fd, size)
                    os.write(fd, bytes(size))
        except OSError as error:
            return error.errno

    for _ in range(3):
        server = daemon_in_a_child(work)
        clients = [Client(client) for _ in range(6)]
        time.sleep(0.3)
        server.kill()
        server.wait()
        assert {client.result() for client in clients} <= {errno.EIO, errno.ENODEV, errno.ENOENT}
        assert not counters()["payload"]


def test_what_is_mapped_survives_the_daemon() -> None:
    """Memory stays; what is not there yet is SIGBUS; calls fail; poll says so."""
    ready, tell = os.pipe()

    def work(daemon: Daemon) -> None:
        buffer = daemon.alloc(2)
        buffer.memory[:2] = b"ab"
        handlers = {
            uapi.MMAP: lambda r: (
                mmap_answer(r, vm_ops=uapi.VMOP_FAULT) if r.vma.vm_pgoff else maps(buffer)(r)
            ),
            uapi.POLL: lambda _: 0,
        }
        while True:
            request, _ = daemon.next(timeout_ms=-1)
            outcome = handlers.get(request.op, lambda _: 0)(request)
            if request.op < uapi.RELEASE:
                reply = answer(request, outcome) if isinstance(outcome, int) else outcome
                daemon.next(reply, flags=uapi.NEXT_REPLY)

    server = daemon_in_a_child(work)

    def client() -> tuple[object, ...]:
        with opened() as fd:
            area, empty = mmap.mmap(fd, PAGE), mmap.mmap(fd, PAGE, offset=PAGE)
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            os.write(tell, b"x")
            ((_, mask),) = poller.poll()
            codes = []
            for call in (os.read, os.pwrite, os.lseek):
                try:
                    call(fd, *{os.read: (1,), os.pwrite: (b"x", 0)}.get(call, (0, 0)))
                except OSError as error:
                    codes.append(error.errno)
            try:
                # Not offset 0: new kernels would make that one with the area behind it, unasked.
                mmap.mmap(fd, PAGE, offset=5 * PAGE)
            except OSError as error:
                codes.append(error.errno)
            area[1] = ord("B")
            text = area[:2]
            child = os.fork()
            if not child:
                empty[0]
            status = os.waitpid(child, 0)[1]
            return mask, codes, text, status

    process = Client(client)
    os.read(ready, 1)
    time.sleep(0.2)
    server.kill()
    server.wait()
    assert process.result() == (
        select.POLLERR | select.POLLHUP, [errno.EIO] * 4, b"aB", SIGBUS,
    )  # fmt: skip


def test_destroyed_device(daemon: Daemon) -> None:
    device = daemon.create()
    read, write = os.pipe()

    def client() -> int:
        with opened() as fd:
            os.write(write, b"x")
            try:
                os.read(fd, 1)
            except OSError as error:
                return error.errno
            return 0

    process = Client(client)
    daemon.reply(daemon.get(uapi.OPEN))
    os.read(read, 1)
    request = accept(daemon, uapi.READ)
    daemon.destroy(device.id)
    assert process.result() == errno.ENODEV
    assert daemon.reply(request) == errno.ENOENT
    daemon.get(uapi.RELEASE)
    assert not os.path.exists(PATH)
    daemon.create()
    with pytest.raises(FileNotFoundError):
        daemon.destroy(device.id)


def test_module_stays_while_anything_is_left(daemon: Daemon) -> None:
    """A mapping, a file and a session each keep the module in use."""

    def references() -> int:
        with open("/sys/module/mapdev/refcnt") as file:
            return int(file.read())

    def unloads() -> bool:
        libc = ctypes.CDLL(None, use_errno=True)
        return not libc.syscall(_DELETE_MODULE, b"mapdev", os.O_NONBLOCK)

    read, write = os.pipe()
    again, go = os.pipe()
    before = references()
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> bytes:
        area = mapped(1)
        os.write(write, b"x")
        os.read(again, 1)
        return area[:1]

    process = Client(client)
    for _ in range(2):
        request, _ = daemon.next(timeout_ms=20000)
        reply = maps(buffer)(request) if request.op == uapi.MMAP else answer(request)
        daemon.next(reply, flags=uapi.NEXT_REPLY)
    os.read(read, 1)
    assert references() > before
    assert not unloads()
    daemon.close()
    assert not unloads(), "a client has a mapping"
    assert counters()["areas"] == 1
    os.write(go, b"x")
    assert process.result() == b"\0"


# ---- names, numbers, limits


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a!b", "a b", "x" * 128, "a\nb", "null/x"],
)
def test_names_that_are_none(daemon: Daemon, name: str) -> None:
    with pytest.raises((OSError, ValueError)) as caught:
        daemon.create(name)
    if isinstance(caught.value, OSError):
        assert caught.value.errno in (errno.EINVAL, errno.ENOTDIR)


def test_names_in_use(daemon: Daemon) -> None:
    daemon.create("mapdev-test")
    with Daemon() as other:
        for name in "mapdev-test", "null", "mapdev", "shm":
            with pytest.raises(FileExistsError):
                other.create(name)
        other.create("mapdev-dir/other")
        assert os.path.exists("/dev/mapdev-dir/other")
    assert not os.path.exists("/dev/mapdev-dir/other")


def test_node(daemon: Daemon) -> None:
    device = daemon.create(mode=0o640, uid=1234, gid=4321)
    status = os.stat(PATH)
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 1234, 4321)
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (device.major, device.minor)
    assert os.stat("/dev/mapdev").st_mode & 0o777 == 0o600
    none = daemon.create("mapdev-none", mode=0)
    assert os.stat("/dev/mapdev-none").st_mode & 0o777 == 0
    for fields in ({"major": device.major, "minor": device.minor}, {"major": 1, "minor": 3}):
        with pytest.raises(OSError) as caught:
            daemon.create("mapdev-number", **fields)
        assert caught.value.errno == errno.EBUSY
    for fields in (
        {"major": 5000},
        {"minor": 3},
        {"major": 1 << 20},
        {"has": uapi.HAS_ALL + 1},
        {"flags": 2},
    ):
        with pytest.raises(OSError) as caught:
            daemon.create("mapdev-number", **fields)
        assert caught.value.errno == errno.EINVAL, fields
    wished = daemon.create("mapdev-number", major=240, minor=77)
    assert os.stat("/dev/mapdev-number").st_rdev == os.makedev(240, 77)
    daemon.destroy(wished.id)
    daemon.create("mapdev-number", major=240, minor=77)
    daemon.destroy(none.id)


def test_limits_of_buffers(daemon: Daemon) -> None:
    limit = daemon.init.max_pages
    for fields, code in (
        ({"pages": limit + 1, "kind": uapi.BUF_VMALLOC}, errno.EDQUOT),
        ({"pages": 0}, errno.EINVAL),
        ({"pages": 3}, errno.EINVAL),
        ({"pages": 1 << 40}, errno.EINVAL),
        ({"pages": 1 << 13}, errno.ENOMEM),
        ({"pages": 1, "kind": 4}, errno.EINVAL),
        ({"pages": 1, "flags": 4}, errno.EINVAL),
        ({"pages": 1, "cache": 3}, errno.EINVAL),
        ({"pages": 1, "kind": uapi.BUF_PHYS, "phys": 0xFED00000}, errno.EPERM),
        ({"pages": 1 << 11, "kind": uapi.BUF_CONTIG}, errno.EOPNOTSUPP),
    ):
        with pytest.raises(OSError) as caught:
            daemon.alloc(**fields)
        assert caught.value.errno == code, fields
    assert counters()["pages"] == 0
    half = daemon.alloc(1000, uapi.BUF_VMALLOC)
    assert counters()["pages"] == 1000
    half.free()
    assert counters()["pages"] == 0
    with pytest.raises(FileNotFoundError):
        half.free()


def test_physical_memory() -> None:
    """What the parameter allows, and no more; never what the kernel has for itself."""
    allowed = Path("/sys/module/mapdev/parameters/raw").read_text().strip()
    if "0xfed00000+8K" not in allowed:
        pytest.skip("the module is not loaded with raw=0xfed00000+8K,0x100000+4K")
    with Daemon(features=uapi.FEATURE_PHYS) as daemon:
        daemon.create()
        buffer = daemon.alloc(1, uapi.BUF_PHYS, phys=0xFED00000, cache=uapi.UNCACHED)
        assert (buffer.pfn, buffer.address, counters()["pages"]) == (0xFED00, 0, 0)
        registers = buffer.memory[:8]

        def client() -> bytes:
            return mapped(1)[:8]

        assert daemon.run({uapi.MMAP: maps(buffer)}, client) == registers
        with pytest.raises(OSError) as caught:
            daemon.run({uapi.MMAP: maps(buffer, uapi.MAP_PAGE)}, client)
        assert caught.value.errno == errno.EINVAL
        for phys, pages, code in (
            (0xFED01000, 2, errno.EPERM), (0xFECFF000, 1, errno.EPERM), (0x100000, 1, errno.EPERM),
            (0xFED00800, 1, errno.EINVAL), (1 << 63, 1, errno.EPERM),
            ((1 << 64) - PAGE, 2, errno.EINVAL),
        ):  # fmt: skip
            with pytest.raises(OSError) as caught:
                daemon.alloc(pages, uapi.BUF_PHYS, phys=phys)
            assert caught.value.errno == code, hex(phys)


@not_in_uml("alloc_contig_pages")
def test_more_pages_in_a_row_than_the_largest_order() -> None:
    with Daemon(features=uapi.FEATURE_CONTIG) as daemon:
        assert daemon.init.features & uapi.FEATURE_CONTIG
        daemon.create()
        pages = 5000
        buffer = daemon.alloc(pages, uapi.BUF_CONTIG)
        assert not any(buffer.memory[:: PAGE // 2])
        buffer.memory[(pages - 1) * PAGE] = 7

        def client() -> int:
            return mapped(pages)[(pages - 1) * PAGE]

        assert daemon.run({uapi.MMAP: maps(buffer)}, client) == 7
        assert daemon.run({uapi.MMAP: maps(buffer, uapi.MAP_PAGE)}, client) == 7


def test_init() -> None:
    fd = os.open("/dev/mapdev", os.O_RDWR)
    try:
        with pytest.raises(OSError) as caught:
            uapi.ioctl(fd, uapi.IOC_KICK)
        assert caught.value.errno == errno.EINVAL
        init = uapi.Init(size=ctypes.sizeof(uapi.Init), abi=2 << 16)
        with pytest.raises(OSError) as caught:
            uapi.ioctl(fd, uapi.IOC_INIT, init)
        assert caught.value.errno == errno.EPROTONOSUPPORT
        assert init.abi == uapi.ABI
        init.size -= 8
        with pytest.raises(OSError):
            uapi.ioctl(fd, uapi.IOC_INIT, init)
        init.size += 8
        init.reserved[3] = 1
        with pytest.raises(OSError):
            uapi.ioctl(fd, uapi.IOC_INIT, init)
        init.reserved[3] = 0
        uapi.ioctl(fd, uapi.IOC_INIT, init)
        with pytest.raises(OSError) as caught:
            uapi.ioctl(fd, uapi.IOC_INIT, init)
        assert caught.value.errno == errno.EBUSY
    finally:
        os.close(fd)


def test_kick_and_poll(daemon: Daemon) -> None:
    poller = select.poll()
    poller.register(daemon.fd, select.POLLIN)
    assert poller.poll(0) == []
    uapi.ioctl(daemon.fd, uapi.IOC_KICK)
    assert poller.poll(0) == [(daemon.fd, select.POLLIN)]
    start = time.monotonic()
    assert daemon.next(timeout_ms=10000)[0].op == uapi.NONE
    assert time.monotonic() - start < 5
    daemon.create()
    client = Client(read_one)
    assert poller.poll(20000) == [(daemon.fd, select.POLLIN)]
    daemon.serve({uapi.READ: lambda _: 0}, client)


def test_next_is_interrupted(daemon: Daemon) -> None:
    """Once, with EINTR, whatever the handler's flags: a reply must not be given twice."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(InterruptedError):
        daemon.next(timeout_ms=10000)


def test_faults_wait_for_a_slow_daemon(daemon: Daemon) -> None:
    """Threads of one process fault at the same time, and another unmaps meanwhile."""
    daemon.create()
    buffer = daemon.alloc(16, uapi.BUF_VMALLOC)

    def client() -> int:
        area = mapped(16)
        threads = [
            threading.Thread(target=area.__getitem__, args=(page * PAGE,)) for page in range(16)
        ]
        for thread in threads:
            thread.start()
        for _ in range(10):
            mmap.mmap(-1, PAGE).close()
        for thread in threads:
            thread.join()
        return 16

    handlers = {
        uapi.MMAP: lambda r: mmap_answer(r, vm_ops=uapi.VMOP_FAULT), uapi.FAULT: faults(buffer),
    }  # fmt: skip
    assert daemon.run(handlers, client) == 16


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (uapi.IOC_CREATE, uapi.Create(name=b"mapdev-test", has=uapi.HAS_ALL, mode=0o600)),
        (uapi.IOC_ALLOC, uapi.Alloc(kind=uapi.BUF_PAGES, nr_pages=1)),
    ],
    ids=["device", "buffer"],
)
def test_what_the_daemon_can_not_be_told_of(
    daemon: Daemon, command: int, what: ctypes.Structure
) -> None:
    """Its number can't be written to where the request was: there is none of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    area = mmap.mmap(-1, PAGE)
    area[: ctypes.sizeof(what)] = bytes(what)
    at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(area)))
    assert libc.mprotect(at, PAGE, mmap.PROT_READ) == 0
    assert libc.ioctl(daemon.fd, ctypes.c_ulong(command), at) == -1
    assert ctypes.get_errno() == errno.EFAULT
    assert counters()["pages"] == 0
    assert not Path("/dev/mapdev-test").exists()
    daemon.create()
