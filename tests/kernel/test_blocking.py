"""Memory that nobody brings in, daemons that do not answer: who has to wait for that, and who has not.

The memory that blocks is an area of a device of another daemon, which takes the request about the
fault and never answers it.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import Client, Daemon, answer, faults, mmap_answer, opened
from .test_mmap import mapped

SIZE = 5000  # more than a request has in itself
SLOW = "/dev/mapdev-slow"
TIMEOUT = Path("/sys/module/mapdev/parameters/timeout_ms")


@pytest.fixture
def slow() -> Iterator[Daemon]:
    """Yield a session whose device's areas have pages that never come."""
    with Daemon(timeout_ms=0xFFFFFFFF) as it:
        it.create("mapdev-slow")
        yield it
        Client.kill_all()


@pytest.fixture
def short_limit() -> Iterator[None]:
    """Have the module wait for half a second, whatever a session asks for."""
    before = TIMEOUT.read_text()
    TIMEOUT.write_text("500")
    yield
    TIMEOUT.write_text(before)


def _blocked(slow: Daemon, use: Callable[[int, int], object]) -> Client:
    """Start a client that uses memory which is not there; return it when it waits for that."""

    def client() -> None:
        with opened(SLOW) as there:
            area = mmap.mmap(there, 2 * PAGE)
        with opened() as fd:
            use(fd, ctypes.addressof(ctypes.c_char.from_buffer(area)))
            os._exit(0)

    process = Client(client)
    while True:
        request, _ = slow.next(timeout_ms=20000)
        assert request.op in (uapi.OPEN, uapi.MMAP)
        if request.op == uapi.MMAP:
            slow.next(mmap_answer(request, vm_ops=uapi.VMOP_FAULT), flags=uapi.NEXT_REPLY)
            return process
        slow.reply(request)


def _libc_write(fd: int, address: int) -> int:
    return int(ctypes.CDLL(None).write(fd, ctypes.c_void_p(address), SIZE))


def _libc_read(fd: int, address: int) -> int:
    return int(ctypes.CDLL(None).read(fd, ctypes.c_void_p(address), SIZE))


def _libc_ioctl(fd: int, address: int) -> int:
    return int(ctypes.CDLL(None).ioctl(fd, 5, ctypes.c_void_p(address)))


def test_who_waits_for_its_memory_has_no_slot(daemon: Daemon, slow: Daemon) -> None:
    """More clients than there are slots write from memory that is not there; another one can."""
    daemon.create()
    clients = []
    for _ in range(daemon.init.nr_slots):
        clients.append(_blocked(slow, _libc_write))
        daemon.reply(daemon.get(uapi.OPEN))
        assert slow.get(uapi.FAULT)

    def client() -> int:
        with opened() as fd:
            return os.write(fd, bytes(SIZE))

    assert daemon.run({uapi.WRITE: lambda _: SIZE}, client) == SIZE
    for one in clients:
        one.kill()
        one.wait()


def test_who_waits_for_its_memory_has_no_reply_slot(daemon: Daemon, slow: Daemon) -> None:
    """The answer to a read is taken along: its slot is free, though it can't be stored yet."""
    daemon.create()
    client = _blocked(slow, _libc_read)
    daemon.reply(daemon.get(uapi.OPEN))
    request = daemon.get(uapi.READ)
    slot = daemon.init.nr_slots
    start = daemon.slot(slot).start
    daemon.payload[start : start + SIZE] = b"x" * SIZE
    assert daemon.reply(request, SIZE, slot=slot, len=SIZE) == 0
    assert slow.get(uapi.FAULT)
    busy = (daemon.command_slot + 1) * daemon.init.slot_size
    assert daemon.payload[busy : busy + 4] == bytes(4)
    client.kill()
    client.wait()


def test_commands_of_several_clients(daemon: Daemon, slow: Daemon) -> None:
    """One waits for its memory; another one's command goes on."""
    daemon.create()
    first = _blocked(slow, _libc_ioctl)
    daemon.reply(daemon.get(uapi.OPEN))
    stuck = daemon.get(uapi.IOCTL)
    copy = uapi.Reply(id=stuck.id, kind=uapi.COPY_FROM, slot=uapi.NO_SLOT, addr=stuck.arg[1], len=8)
    assert daemon.next(copy, flags=uapi.NEXT_REPLY)[1] == 0
    assert slow.get(uapi.FAULT)

    def ioctl(request: uapi.Request) -> int:
        got = daemon.command(request, uapi.COPY_FROM, addr=request.arg[1], len=SIZE)
        assert got.arg[0] == SIZE and daemon.data(got) == b"y" * SIZE
        return 7

    def client() -> int:
        text = ctypes.create_string_buffer(b"y" * SIZE)
        with opened() as fd:
            return _libc_ioctl(fd, ctypes.addressof(text))

    assert daemon.run({uapi.IOCTL: ioctl}, client) == 7
    assert daemon.alive(stuck)
    assert daemon.reply(stuck, -errno.EFAULT) == 0, "a command can be given up"
    request, _ = daemon.next(flags=uapi.NEXT_URGENT, only=stuck.id, timeout_ms=20000)
    assert request.op == uapi.NONE, "it has no result then"
    first.kill()
    first.wait()


def test_a_command_has_a_time_limit(slow: Daemon) -> None:
    """Its RESULT is ETIMEDOUT, and the call goes on; the client may come back or not."""
    with Daemon(timeout_ms=300) as daemon:
        daemon.create()
        client = _blocked(slow, _libc_ioctl)
        daemon.reply(daemon.get(uapi.OPEN))
        request = daemon.get(uapi.IOCTL)
        result = daemon.command(request, uapi.COPY_FROM, addr=request.arg[1], len=8)
        assert uapi.signed(result.arg[0]) == -errno.ETIMEDOUT
        again = daemon.command(request, uapi.AREAS)
        assert uapi.signed(again.arg[0]) == -errno.ETIMEDOUT, "it is not back yet"
        assert daemon.reply(request, -errno.EFAULT) == 0
        buffer = slow.alloc(2, uapi.BUF_CONTIG)
        fault = slow.get(uapi.FAULT)
        assert slow.next(faults(buffer)(fault), flags=uapi.NEXT_REPLY)[1] == 0  # type: ignore[arg-type]
        daemon.serve({}, client)
        assert client.status == 0
        buffer.free()


# ---- the mmap_lock


def _area(request: uapi.Request) -> uapi.Reply:
    return mmap_answer(request, vm_ops=uapi.VMOP_FAULT)


def _touch(area: mmap.mmap) -> int:
    """Return the first byte; other threads run meanwhile, which mmap's own operators don't let."""
    byte = ctypes.create_string_buffer(1)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    ctypes.CDLL(None).memcpy(byte, ctypes.c_void_p(address), ctypes.c_size_t(1))
    return byte.raw[0]


def _fault_of(daemon: Daemon) -> uapi.Request:
    """Answer OPEN and MMAP, return FAULT."""
    daemon.reply(daemon.get(uapi.OPEN))
    request = daemon.get(uapi.MMAP)
    daemon.next(_area(request), flags=uapi.NEXT_REPLY)
    return daemon.get(uapi.FAULT)


@pytest.mark.parametrize("park", [False, True])
def test_others_map_while_a_fault_waits(daemon: Daemon, park: bool) -> None:
    """mmap, munmap and /proc/PID/smaps of a process do not wait for the answer to its fault."""
    daemon.create()
    buffer = daemon.alloc(1)
    buffer.memory[0] = 7
    read, write = os.pipe()

    def client() -> int:
        area = mapped(1)
        values: list[int] = []
        thread = threading.Thread(target=lambda: values.append(_touch(area)))
        thread.start()
        os.read(begin, 1)
        mmap.mmap(-1, PAGE).close()
        os.write(write, b"x")
        thread.join()
        return values[0]

    begin, go = os.pipe()
    process = Client(client)
    fault = _fault_of(daemon)
    if park:
        assert daemon.reply(fault, kind=uapi.REPLY_WAIT) == 0
    os.write(go, b"x")
    assert select.select([read], [], [], 20)[0], "it waits for the answer"
    assert Path(f"/proc/{process.pid}/smaps").read_text()
    assert daemon.next(faults(buffer)(fault), flags=uapi.NEXT_REPLY)[1] == 0  # type: ignore[arg-type]
    daemon.serve({}, process)
    assert process.result() == 7
    assert daemon.count[uapi.FAULT] == 1, "the answer was taken when the fault was made again"


def test_an_area_is_unmapped_while_its_fault_waits(daemon: Daemon) -> None:
    """The answer comes too late: the touch is one of an address where there is nothing."""
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> None:
        area = mapped(1)
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        threading.Thread(target=_touch, args=(area,)).start()
        os.read(begin, 1)
        ctypes.CDLL(None).munmap(ctypes.c_void_p(address), ctypes.c_size_t(PAGE))
        os.write(write, b"x")
        time.sleep(20)

    read, write = os.pipe()
    begin, go = os.pipe()
    process = Client(client)
    fault = _fault_of(daemon)
    os.write(go, b"x")
    assert select.select([read], [], [], 20)[0], "it waits for the answer"
    assert daemon.next(faults(buffer)(fault), flags=uapi.NEXT_REPLY)[1] == 0  # type: ignore[arg-type]
    daemon.serve({}, process)
    assert process.status == 11, "SIGSEGV"
    assert daemon.ops().count(uapi.RELEASE) == 1


def test_an_answer_is_asked_for_again_after_an_unmap(daemon: Daemon) -> None:
    """What a reply maps is not mapped behind the back of an unmap that came after it."""
    device = daemon.create()
    old, new = daemon.alloc(1), daemon.alloc(1)
    old.memory[0], new.memory[0] = 1, 2
    seen = []

    def client() -> int:
        return mapped(1)[0]

    process = Client(client)
    fault = _fault_of(daemon)
    process.kill(19)  # SIGSTOP: it does not take the answer yet
    assert daemon.next(faults(old)(fault), flags=uapi.NEXT_REPLY)[1] == 0  # type: ignore[arg-type]
    daemon.unmap(device.id)
    process.kill(18)

    def again(request: uapi.Request) -> uapi.Reply:
        seen.append(request.id)
        return faults(new)(request)  # type: ignore[return-value]

    daemon.serve({uapi.FAULT: again}, process)
    assert process.result() in (1, 2)
    if seen:
        assert process.result() == 2


def test_a_signal_ends_a_fault_that_waits(daemon: Daemon) -> None:
    """The handler runs, and the page is touched anew."""
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> int:
        import signal

        hits: list[int] = []
        signal.signal(signal.SIGUSR1, lambda *_: hits.append(1))
        value = mapped(1)[0]
        time.sleep(0)  # where the interpreter runs the handler
        return value + len(hits)

    process = Client(client)
    fault = _fault_of(daemon)
    assert daemon.reply(fault, kind=uapi.REPLY_WAIT) == 0
    process.kill(10)
    assert daemon.get(uapi.INTERRUPT).arg[0] == fault.id
    assert daemon.reply(fault, -uapi.ERESTARTSYS) == 0
    again = daemon.get(uapi.FAULT)
    assert again.id != fault.id and again.arg[0] == fault.arg[0]
    assert daemon.next(faults(buffer)(again), flags=uapi.NEXT_REPLY)[1] == 0  # type: ignore[arg-type]
    daemon.serve({}, process)
    assert process.result() == 1


def test_who_holds_an_mmap_lock_can_not_be_parked(daemon: Daemon) -> None:
    daemon.create()
    process = Client(lambda: mapped(1) and None)
    daemon.reply(daemon.get(uapi.OPEN))
    request = daemon.get(uapi.MMAP)
    assert daemon.reply(request, kind=uapi.REPLY_WAIT) == errno.EOPNOTSUPP
    assert daemon.alive(request)
    assert daemon.reply(request, -errno.EBUSY) == 0
    daemon.serve({}, process)
    with pytest.raises(OSError) as caught:
        process.result()
    assert caught.value.errno == errno.EBUSY


@pytest.mark.usefixtures("short_limit")
def test_an_mmap_lock_is_held_for_a_limited_time() -> None:
    """Though the session has asked for none."""
    with Daemon(timeout_ms=0xFFFFFFFF) as daemon:
        daemon.create()
        process = Client(lambda: mapped(1) and None)
        daemon.reply(daemon.get(uapi.OPEN))
        request = daemon.get(uapi.MMAP)
        process.wait()
        assert daemon.get(uapi.GONE).arg[0] == request.id
        with pytest.raises(OSError) as caught:
            process.result()
        assert caught.value.errno == errno.ETIMEDOUT


# ---- payload


def test_a_request_has_its_slot_until_the_reply(daemon: Daemon) -> None:
    """Its payload stays, whatever is fetched and replied to meanwhile."""
    daemon.create()

    def client(text: bytes) -> int:
        with opened() as fd:
            return os.write(fd, text * SIZE)

    texts = [b"a", b"b", b"c"]
    clients = [Client(lambda text=text: client(text)) for text in texts]  # type: ignore[misc]
    requests = []
    while len(requests) < len(clients):
        request, _ = daemon.next(timeout_ms=20000)
        if request.op == uapi.OPEN:
            daemon.reply(request)
        elif request.op == uapi.WRITE:
            requests.append(request)
    assert len({one.slot for one in requests}) == len(requests)
    assert sorted(daemon.data(one) for one in requests) == [text * SIZE for text in texts]
    for one in requests:
        assert daemon.next(answer(one, SIZE), flags=uapi.NEXT_REPLY)[1] == 0
    daemon.serve({}, *clients)
    assert [one.result() for one in clients] == [SIZE] * len(clients)


def test_a_killed_clients_slot_is_kept_until_the_daemon_knows(daemon: Daemon) -> None:
    daemon.create()

    def client(text: bytes) -> int:
        with opened() as fd:
            return os.write(fd, text * SIZE)

    first = Client(lambda: client(b"a"))
    daemon.reply(daemon.get(uapi.OPEN))
    request = daemon.get(uapi.WRITE)
    first.kill()
    first.wait()
    others = [Client(lambda: client(b"b")) for _ in range(daemon.init.nr_slots)]
    for one in others:
        one.asleep()
    time.sleep(0.2)
    assert daemon.data(request) == b"a" * SIZE
    assert daemon.reply(request) == errno.ENOENT
    daemon.serve({uapi.WRITE: lambda _: SIZE}, *others)
    assert [one.result() for one in others] == [SIZE] * len(others)
