"""Many of everything, at random: kills, hostile daemons and clients, and what is left afterwards.

A seed is printed; MAPDEV_KERNEL_SEED=N uses it again, MAPDEV_KERNEL_TESTS=N does N times as much.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import random
import select
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import Client, Daemon, answer, counters, faults, mapping, maps, mmap_answer, opened

PATH = "/dev/mapdev-test"
_IOWR_600 = 3 << 30 | 600 << 16 | ord("x") << 8 | 1


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("MAPDEV_KERNEL_SEED", random.randrange(1 << 32)))
    print(f"MAPDEV_KERNEL_SEED={seed}")
    return random.Random(seed)


def free_pages() -> int:
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) // 4
    raise AssertionError


def test_files_and_areas_come_and_go(daemon: Daemon, times: int) -> None:
    """In several processes; they leave neither objects nor memory. MAPDEV_KERNEL_TESTS=4: 10,000."""
    daemon.create()
    buffer = daemon.alloc(4)
    rounds = 626 * times

    def client() -> None:
        libc = ctypes.CDLL(None)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (
            (ctypes.c_void_p, ctypes.c_size_t) + (ctypes.c_int,) * 3 + (ctypes.c_long,)
        )
        for _ in range(rounds // 2):
            fd = os.open(PATH, os.O_RDWR)
            at = libc.mmap(None, 4 * PAGE, 3, 1, fd, 0)
            os.close(fd)
            ctypes.memset(at, 1, 4 * PAGE)
            libc.munmap(ctypes.c_void_p(at), 2 * PAGE)
            libc.munmap(ctypes.c_void_p(at + 2 * PAGE), 2 * PAGE)

    handlers = {uapi.MMAP: maps(buffer, vm_ops=uapi.VMOP_NOTICES)}
    daemon.keep = False
    missing = []
    while len(missing) < 4 and (not missing or min(missing) >= rounds):
        # The first time all kinds of caches are filled, and others use memory as well; what is
        # lost is lost each time.
        before = free_pages()
        daemon.count.clear()
        clients = [Client(client) for _ in range(4)]
        daemon.serve(handlers, *clients)
        assert [one.status for one in clients] == [0] * 4
        count = daemon.count
        assert count[uapi.OPEN] == count[uapi.RELEASE] == count[uapi.MMAP] == 2 * rounds
        assert count[uapi.VMA_CLOSE] == count[uapi.VMA_OPEN] + 2 * rounds
        left = counters()
        assert (left["files"], left["areas"], left["pages"]) == (0, 0, 4)
        missing.append(before - free_pages())
    assert min(missing) < rounds, f"a page for each area, or more, is missing: {missing}"


def _busy(chance: random.Random) -> None:
    """Use the device in all ways, until somebody ends it."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    while True:
        with contextlib.suppress(OSError, ValueError), opened() as fd:
            for _ in range(chance.randrange(4)):
                with contextlib.suppress(OSError, ValueError):
                    _use(chance, fd)


def _use(chance: random.Random, fd: int) -> None:
    what = chance.randrange(9)
    if what == 0:
        os.read(fd, chance.choice((1, 300, 1 << 20)))
    elif what == 1:
        os.write(fd, bytes(chance.choice((1, 300, 1 << 20, (1 << 20) + 1))))
    elif what == 2:
        fcntl.ioctl(fd, _IOWR_600, bytearray(600))
    elif what == 3:
        poller = select.poll()
        poller.register(fd, 1)
        poller.poll(chance.randrange(10))
    elif what == 4:
        os.fsync(fd)
    elif what == 5 and not os.fork():
        os._exit(0)
    else:
        flags = chance.choice((mmap.MAP_SHARED, mmap.MAP_SHARED, mmap.MAP_PRIVATE))
        area = mmap.mmap(fd, 4 * PAGE, flags=flags, offset=chance.randrange(2) * 8 * PAGE)
        at = ctypes.addressof(ctypes.c_char.from_buffer(area))
        libc = ctypes.CDLL(None)
        if chance.randrange(2):
            libc.mprotect(ctypes.c_void_p(at + PAGE), PAGE, 1)
        if chance.randrange(2):
            libc.madvise(ctypes.c_void_p(at), 4 * PAGE, 4)
        child = os.fork()
        if not child:
            for page in range(4):
                ctypes.memset(at + page * PAGE, page, 1)
            os._exit(0)
        os.waitpid(child, 0)


def _lazily(daemon: Daemon, buffer: object, chance: random.Random) -> None:
    """Serve one request, in one of the ways that a daemon may."""
    request, _ = daemon.next(timeout_ms=2)
    if request.op == uapi.INTERRUPT:
        daemon.next(uapi.Reply(id=request.arg[0], result=-4, slot=uapi.NO_SLOT),
                    flags=uapi.NEXT_REPLY)  # fmt: skip
    if request.op in (uapi.NONE, uapi.RESULT) or request.op >= uapi.RELEASE:
        return
    if request.op == uapi.MMAP:
        vm_ops = chance.randrange(512)
        if request.vma.vm_pgoff:
            reply = mmap_answer(request, vm_ops=vm_ops | uapi.VMOP_FAULT)
        else:
            reply = maps(buffer, chance.randrange(2), vm_ops=vm_ops)(request)  # type: ignore[arg-type]
    elif request.op == uapi.FAULT:
        reply = faults(buffer)(request)  # type: ignore[arg-type,assignment]
    else:
        reply = answer(request, 0)
    if request.op < uapi.MMAP and request.op != uapi.OPEN:
        kind = chance.choice((0, 0, 0, uapi.REPLY_WAIT, uapi.COPY_FROM, uapi.AREAS))
        if kind:
            reply = uapi.Reply(id=request.id, kind=kind, slot=uapi.NO_SLOT, len=64,
                               addr=chance.choice((0, request.arg[1], request.arg[2])))  # fmt: skip
    if isinstance(reply, int):
        reply = answer(request, reply)
    if chance.randrange(50):
        daemon.next(reply, flags=uapi.NEXT_REPLY)
    if not chance.randrange(20):
        daemon.unmap(request.device)
        daemon.wake(1, device=request.device)


def test_clients_are_killed_at_random(chance: random.Random, times: int) -> None:
    with Daemon(timeout_ms=1000) as daemon:
        daemon.create()
        buffer = daemon.alloc(16, uapi.BUF_VMALLOC)
        end = time.monotonic() + 6 * times
        clients: list[Client] = []
        while time.monotonic() < end:
            while len(clients) < 6:
                clients.append(Client(partial(_busy, random.Random(chance.random()))))
            for _ in range(chance.randrange(40)):
                _lazily(daemon, buffer, chance)
            victim = chance.choice(clients)
            if chance.randrange(3):
                with contextlib.suppress(ProcessLookupError):
                    victim.kill(signal.SIGUSR1)
            else:
                clients.remove(victim)
                victim.kill()
                victim.wait()
        for client in clients:
            client.kill()
            client.wait()


def test_daemons_are_killed_at_random(chance: random.Random, times: int) -> None:
    def serve(seed: int) -> None:
        mine = random.Random(seed)
        daemon = Daemon(timeout_ms=1000)
        with contextlib.suppress(FileExistsError):
            daemon.create(mode=0o666)
            buffer = daemon.alloc(16, uapi.BUF_VMALLOC)
            while True:
                with contextlib.suppress(InterruptedError):
                    _lazily(daemon, buffer, mine)

    clients = [Client(partial(_busy, random.Random(chance.random()))) for _ in range(4)]
    for _ in range(12 * times):
        daemon = Client(partial(serve, chance.randrange(1 << 32)))
        time.sleep(chance.uniform(0.05, 0.5))
        daemon.kill()
        daemon.wait()
    for client in clients:
        client.kill()
        client.wait()
    assert not Path(PATH).exists()


_STRUCTURES = {
    uapi.IOC_INIT: uapi.Init, uapi.IOC_NEXT: uapi.Next, uapi.IOC_CREATE: uapi.Create,
    uapi.IOC_DESTROY: uapi.Id, uapi.IOC_ALLOC: uapi.Alloc, uapi.IOC_FREE: uapi.Id,
    uapi.IOC_PFNS: uapi.Pfns, uapi.IOC_PAGE: uapi.Page, uapi.IOC_WAKE: uapi.Wake,
    uapi.IOC_UNMAP: uapi.Unmap, uapi.IOC_ALIVE: uapi.Alive, uapi.IOC_SHOW: uapi.Show,
}  # fmt: skip


def _odd(chance: random.Random) -> int:
    return chance.choice(
        (0, 1, 2, 3, 8, 16, 255, 4096, chance.randrange(64), 1 << chance.randrange(64),
         (1 << chance.randrange(65)) - 1, chance.getrandbits(64))
    )  # fmt: skip


def _fill(chance: random.Random, structure: ctypes.Structure) -> None:
    for name, kind, *_ in structure._fields_:  # type: ignore[misc]
        if isinstance(getattr(structure, name), int) and not chance.randrange(3):
            setattr(structure, name, _odd(chance))
        elif isinstance(getattr(structure, name), ctypes.Structure):
            _fill(chance, getattr(structure, name))
        elif kind is uapi.Create._fields_[8][1]:
            text = bytes(chance.choices(b"a/.!\xff\n mapdev", k=chance.randrange(9)))
            setattr(structure, name, b"zz" + text.replace(b"\0", b""))


def test_random_ioctls(chance: random.Random, times: int) -> None:
    """Arguments of all kinds: each is an error or does something, none is a complaint of the kernel."""
    for _ in range(3 * times):
        with Daemon(timeout_ms=200) as daemon:
            done = 0
            for _ in range(1500):
                command, structure = chance.choice(list(_STRUCTURES.items()))
                argument = structure()
                _fill(chance, argument)
                if command == uapi.IOC_NEXT:
                    argument.flags |= uapi.NEXT_NOWAIT if argument.timeout_ms else 0
                    argument.timeout_ms = 0
                if command == uapi.IOC_ALLOC:
                    argument.nr_pages %= 4096
                if command == uapi.IOC_PFNS:
                    argument.pfns = chance.choice((0, 1 << 63))
                with contextlib.suppress(OSError):
                    uapi.ioctl(daemon.fd, command, argument)
                    done += 1
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    offset = _odd(chance) & ~(PAGE - 1) & ((1 << 63) - 1)
                    mmap.mmap(daemon.fd, PAGE * (1 + chance.randrange(4)), offset=offset).close()
            assert done > 20
            for command in (_odd(chance) & 0xFFFFFFFF for _ in range(200)):
                with contextlib.suppress(OSError):
                    uapi.ioctl(daemon.fd, command, 0)


def test_random_replies(chance: random.Random, times: int) -> None:
    """A daemon that replies anything, with a sound structure now and then."""
    with Daemon(timeout_ms=100) as daemon:
        daemon.create()
        buffers = [daemon.alloc(4), daemon.alloc(4, uapi.BUF_VMALLOC), daemon.alloc(4, uapi.BUF_CONTIG),
                   daemon.alloc(4, flags=uapi.ALLOC_COMP)]  # fmt: skip
        end = time.monotonic() + 6 * times
        clients: list[Client] = []
        replies = 0
        while time.monotonic() < end or replies <= 100:  # a debug kernel takes its time
            assert time.monotonic() < end + 60, f"{replies} replies in all"
            clients = [one for one in clients if not one.ended()]
            while len(clients) < 4:
                clients.append(Client(partial(_busy, random.Random(chance.random()))))
            request, _ = daemon.next(timeout_ms=5)
            if request.op == uapi.NONE or request.op >= uapi.RELEASE:
                continue
            reply = answer(request)
            start, extent = request.vma.vm_start, request.vma.vm_end - request.vma.vm_start
            ms = []
            for _ in range(chance.randrange(4)):
                one = mapping(
                    start + chance.randrange(-1, 6) * PAGE, chance.choice(buffers),
                    chance.randrange(5), chance.randrange(5), chance.randrange(2),
                )  # fmt: skip
                if not chance.randrange(8):
                    _fill(chance, one)
                ms.append(one)
            if request.op == uapi.MMAP and chance.randrange(8):
                head = uapi.Mmap(nr_mappings=len(ms), vm_ops=chance.randrange(512))
                head.set_flags = chance.choice(
                    (0, 0, uapi.VM_PFNMAP, uapi.VM_MIXEDMAP, uapi.VM_IO | uapi.VM_DONTCOPY)
                )
                if chance.randrange(2) and extent == 4 * PAGE:
                    ms = [mapping(start, chance.choice(buffers), 0, 4, chance.randrange(2))]
                    head.nr_mappings = 1
                reply = answer(request, 0, (bytes(head) + b"".join(map(bytes, ms)))[:256])
            elif request.op == uapi.FAULT and chance.randrange(8):
                ms = [
                    *ms[:2],
                    mapping(request.arg[0], chance.choice(buffers), chance.randrange(4), 1,
                            chance.randrange(2))
                ]  # fmt: skip
                reply = answer(request, chance.choice((0, 0, 0, 4, 0x100, 0x200, 0x400, 0xFFFF)),
                               b"".join(map(bytes, ms)))  # fmt: skip
            elif request.op != uapi.OPEN or not chance.randrange(8):
                _fill(chance, reply)
                reply.id = request.id
            with contextlib.suppress(OSError):
                daemon.next(reply, flags=uapi.NEXT_REPLY)
                replies += 1
        assert replies > 100
        for client in clients:
            client.kill()
            client.wait()


def test_clients_and_threads_of_one_daemon(daemon: Daemon, times: int) -> None:
    """Several threads of the daemon fetch and reply: each request goes to one of them."""
    import threading

    daemon.create()
    rounds = 100 * times

    def client() -> int:
        with opened() as fd:
            return sum(len(os.read(fd, 8)) for _ in range(rounds))

    done = threading.Event()
    served: list[int] = []

    def serve() -> None:
        reply = None
        while not done.is_set():
            request, error = daemon.next(reply, timeout_ms=50)
            assert not error
            reply = None
            if request.op == uapi.READ:
                served.append(request.id)
                reply = answer(request, 3, b"abc")
            elif request.op == uapi.OPEN:
                reply = answer(request)

    threads = [threading.Thread(target=serve) for _ in range(3)]
    for thread in threads:
        thread.start()
    clients = [Client(client) for _ in range(4)]
    results = [one.result() for one in clients]
    done.set()
    for thread in threads:
        thread.join()
    assert results == [3 * rounds] * 4
    assert len(served) == len(set(served)) == 4 * rounds
