"""Clients and daemons of ill will: each call, argument and reply is chosen by a seed.

A client uses whatever an ordinary program may: wrong addresses and lengths, memory that is not
there, parts of areas, signals, forks. It may end itself. A daemon says what it likes, now and then
something sound, without which nothing would ever be mapped.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import select
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE, Reply, Request

from .daemon import Buffer, Daemon, answer, mapping, mmap_answer

PATH = "/dev/mapdev-test"
_libc = ctypes.CDLL(None, use_errno=True)
_ERRNOS = (1, 4, 5, 11, 12, 14, 22, 110, 512, 513, 516, 4095, 4096)
_REFUSED_ADVICE = 100  # MADV_HWPOISON and MADV_SOFT_OFFLINE take real memory out of use


def odd(chance: random.Random, bits: int = 64) -> int:
    """Choose a number, mostly one at which something begins or ends."""
    number = chance.choice(
        (0, 1, 2, 3, 8, 16, 255, 4096, chance.randrange(64), 1 << chance.randrange(bits),
         (1 << chance.randrange(bits + 1)) - 1, chance.getrandbits(bits))
    )  # fmt: skip
    return number & (1 << bits) - 1


class Client:
    """A program that does everything, until somebody ends it."""

    def __init__(self, seed: float) -> None:
        self.chance = random.Random(seed)
        self.fds: list[int] = []
        self.areas: list[tuple[int, int]] = []
        self.memory = ctypes.create_string_buffer(1 << 16)
        self.pipe = os.pipe()
        for end in self.pipe:
            fcntl.fcntl(end, fcntl.F_SETFL, os.O_NONBLOCK)

    def run(self) -> None:
        """Do one thing after another, for ever."""
        signal.signal(signal.SIGUSR1, lambda *_: None)
        allocations_fail_now_and_then()
        actions: list[Callable[[], object]] = [
            self.open, self.open, self.close, self.transfer, self.transfer, self.ioctl, self.other,
            self.wait, self.map, self.map, self.change, self.change, self.advise, self.touch,
            self.touch, self.look, self.pass_on, self.fork,
        ]  # fmt: skip
        while True:
            with contextlib.suppress(OSError, ValueError, OverflowError):
                self.chance.choice(actions)()

    # --- what is chosen

    def fd(self) -> int:
        return self.chance.choice(self.fds) if self.fds else -1

    def count(self) -> int:
        return self.chance.choice(
            (0, 1, 255, 256, 257, PAGE, 5000, 1 << 16, 1 << 20, odd(self.chance))
        )

    def address(self) -> int:
        """Choose where to have data: memory, the last bytes of an area, nowhere."""
        choices = [ctypes.addressof(self.memory), 0, 8, odd(self.chance)]
        for start, size in self.areas[-2:]:
            choices += [start, start + size - self.chance.randrange(300)]
        return self.chance.choice(choices)

    def part(self) -> tuple[int, int]:
        """Choose some pages of an area, or about there."""
        start, size = self.chance.choice(self.areas)
        pages = size // PAGE
        first = self.chance.randrange(-1, pages + 1)
        return start + first * PAGE, self.chance.randrange(0, pages + 2) * PAGE

    # --- files

    def open(self) -> None:
        flags = self.chance.choice((os.O_RDWR, os.O_RDWR, os.O_RDONLY, os.O_WRONLY | os.O_NONBLOCK))
        if len(self.fds) < 8:
            self.fds.append(os.open(PATH, flags))
        else:
            os.dup2(self.fds[0], self.fds[-1])

    def close(self) -> None:
        if self.fds:
            os.close(self.fds.pop(self.chance.randrange(len(self.fds))))

    def transfer(self) -> None:
        name = self.chance.choice(("read", "write", "pread64", "pwrite64", "readv", "writev"))
        second, third = self.address(), self.count()
        if name.endswith("v"):
            vector = (ctypes.c_size_t * 6)()
            for at in range(3):
                vector[2 * at], vector[2 * at + 1] = self.address(), self.count()
            second, third = ctypes.addressof(vector), self.chance.randrange(5)
        getattr(_libc, name)(self.fd(), ctypes.c_void_p(second), ctypes.c_size_t(third),
                             ctypes.c_long(self.chance.choice((0, 1, PAGE, -1))))  # fmt: skip

    def ioctl(self) -> None:
        size = self.chance.choice((0, 4, 8, 256, 257, 600, 16383))
        command = self.chance.randrange(4) << 30 | size << 16 | self.chance.randrange(1 << 16)
        _libc.ioctl(self.fd(), ctypes.c_ulong(command), ctypes.c_void_p(self.address()))

    def other(self) -> None:
        what = self.chance.randrange(4)
        if what == 0:
            os.lseek(self.fd(), self.chance.choice((0, 1, -1, 1 << 62)), self.chance.randrange(5))
        elif what == 1:
            os.fsync(self.fd())
        elif what == 2:
            flags = self.chance.choice((0, os.O_NONBLOCK, os.O_APPEND, os.O_ASYNC))
            fcntl.fcntl(self.fd(), fcntl.F_SETFL, flags)
        else:
            os.kill(os.getpid(), signal.SIGUSR1)

    def wait(self) -> None:
        if self.chance.randrange(2):
            poller = select.poll()
            poller.register(self.fd(), odd(self.chance, 15))
            poller.poll(self.chance.randrange(5))
            return
        with select.epoll() as epoll:
            epoll.register(self.fd(), odd(self.chance, 32) & ~select.EPOLLEXCLUSIVE)
            epoll.poll(self.chance.randrange(5) / 1000)

    # --- areas

    def map(self) -> None:
        size = self.chance.choice((1, 2, 4, 4, 4, 17)) * PAGE
        flags = self.chance.choice((1, 1, 2, 1 | 0x8000, 1 | 0x2000))  # POPULATE, LOCKED
        offset = self.chance.choice((0, 0, 1, 8, 1 << 40)) * PAGE
        _libc.mmap.restype = ctypes.c_void_p
        at = _libc.mmap(None, ctypes.c_size_t(size), self.chance.randrange(8), flags, self.fd(),
                        ctypes.c_long(offset))  # fmt: skip
        if at not in (None, (1 << 64) - 1):
            self.areas.append((at, size))
        if len(self.areas) > 8:
            start, size = self.areas.pop(0)
            _libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(size))

    def change(self) -> None:
        start, size = self.part()
        at, length = ctypes.c_void_p(start), ctypes.c_size_t(size)
        what = self.chance.randrange(6)
        if what == 0:
            _libc.munmap(at, length)
        elif what == 1:
            _libc.mprotect(at, length, self.chance.randrange(8))
        elif what == 2:
            moved = ctypes.c_size_t(self.chance.randrange(1, 20) * PAGE)
            _libc.mremap.restype = ctypes.c_void_p
            _libc.mremap(at, length, moved, self.chance.choice((0, 1, 1, 1 | 4)), None)
        elif what == 3:
            _libc.msync(at, length, self.chance.choice((1, 2, 4)))
        elif what == 4:
            _libc.mlock(at, length)
        else:
            _libc.munlock(at, length)

    def advise(self) -> None:
        start, size = self.part()
        advice = self.chance.randrange(_REFUSED_ADVICE)
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice)

    def touch(self) -> None:
        """Have the kernel touch pages, which gives an error where a program would get a signal."""
        start, size = self.chance.choice(self.areas)
        at = start + self.chance.randrange(size)
        if self.chance.randrange(2):
            _libc.write(self.pipe[1], ctypes.c_void_p(at), ctypes.c_size_t(64))
        else:
            _libc.read(self.pipe[0], ctypes.c_void_p(at), ctypes.c_size_t(64))

    def look(self) -> None:
        """Use an area from outside: as a debugger, ps, or direct I/O do."""
        start, size = self.chance.choice(self.areas)
        what = self.chance.randrange(4)
        if what == 0:
            Path("/proc/self/" + self.chance.choice(("maps", "smaps", "numa_maps"))).read_bytes()
        elif what == 1:
            with open("/proc/self/mem", "r+b", buffering=0) as file:
                os.pread(file.fileno(), 5000, start)
                os.pwrite(file.fileno(), b"outside", start + size - 7)
        else:
            vector = (ctypes.c_size_t * 2)(start, size)
            _libc.vmsplice(self.pipe[1], vector, ctypes.c_size_t(1), self.chance.choice((0, 2, 8)))

    def pass_on(self) -> None:
        length, fd = ctypes.c_size_t(self.count() & 0xFFFFF), self.fd()
        one, other = (self.pipe[0], fd) if self.chance.randrange(2) else (fd, self.pipe[1])
        _libc.splice(one, None, other, None, length, 2)
        with contextlib.suppress(BlockingIOError):
            os.read(self.pipe[0], 1 << 16)

    def fork(self) -> None:
        child = os.fork()
        if not child:
            signal.alarm(5)
            for start, size in self.areas:
                ctypes.memset(start, 1, min(size, self.chance.choice((1, PAGE, size))))
            os._exit(0)
        os.waitpid(child, 0)


def allocations_fail_now_and_then() -> None:
    """Have one of a hundred allocations of this process fail, on a kernel that can do that."""
    switch = Path("/proc/self/make-it-fail")
    if switch.exists():
        for kind in ("failslab", "fail_page_alloc", "fail_usercopy"):
            directory = Path("/sys/kernel/debug") / kind
            if directory.exists():
                for name, value in (("task-filter", "Y"), ("probability", "1"), ("times", "-1"),
                                    ("verbose", "0")):  # fmt: skip
                    (directory / name).write_text(value)
        switch.write_text("1")


# --- daemons ----------------------------------------------------------------------------------------


def reply_to(chance: random.Random, request: Request, buffers: list[Buffer]) -> Reply:
    """Make a reply: sound, or with any of its fields changed."""
    start, pages = request.vma.vm_start, (request.vma.vm_end - request.vma.vm_start) // PAGE
    buffer, kind = chance.choice(buffers), chance.randrange(2)
    if request.op == uapi.MMAP:
        flags = uapi.VM_PFNMAP if not kind and chance.randrange(2) else 0
        head = {"vm_ops": chance.randrange(512), "set_flags": flags, "cache": chance.randrange(3)}
        whole = mapping(start, buffer, 0, min(pages, buffer.pages), kind, chance.randrange(3))
        reply = mmap_answer(request, *([whole] if chance.randrange(2) else []), **head)
    elif request.op == uapi.FAULT:
        page = mapping(request.arg[0], buffer, chance.randrange(buffer.pages), 1, kind)
        reply = answer(request, chance.choice((0, 0, 0, 4, 0x100, 0x400)), bytes(page))
    elif request.op == uapi.READ:
        reply = answer(request, 0, bytes(min(request.arg[0], 200)), flags=uapi.REPLY_POS)
        reply.result = reply.len
    else:
        reply = answer(request, chance.choice((0, 0, 1, *(-code for code in _ERRNOS))))
    if not chance.randrange(4):
        reply.kind = chance.choice(
            (uapi.REPLY_WAIT, uapi.COPY_FROM, uapi.COPY_TO, uapi.AREAS, 7, 11)
        )
        reply.addr, reply.len = chance.choice((request.arg[1], request.arg[2])), odd(chance, 21)
    if not chance.randrange(4):
        spoil(chance, reply)
    return reply


def spoil(chance: random.Random, structure: ctypes.Structure) -> None:
    """Change a number of a structure, or of its payload."""
    names = [field[0] for field in structure._fields_]  # type: ignore[misc]
    name = chance.choice(names)
    if isinstance(getattr(structure, name), int):
        setattr(structure, name, odd(chance))
    elif isinstance(getattr(structure, name), ctypes.Array):
        data = getattr(structure, name)
        data[chance.randrange(min(len(data), 64))] = odd(chance, 7)


def serve(seed: float) -> None:
    """Be a daemon, of one thread or more, until somebody ends it."""
    chance = random.Random(seed)
    with Daemon(timeout_ms=chance.choice((50, 500))) as daemon:
        device = daemon.create(mode=0o666).id
        buffers = [daemon.alloc(4), daemon.alloc(4, uapi.BUF_VMALLOC),
                   daemon.alloc(4, uapi.BUF_CONTIG), daemon.alloc(4, flags=uapi.ALLOC_COMP)]  # fmt: skip
        for number in range(chance.randrange(3)):
            mine = random.Random(seed + number)
            threading.Thread(
                target=_loop, args=(mine, daemon, device, buffers), daemon=True
            ).start()
        _loop(chance, daemon, device, buffers)


def _loop(chance: random.Random, daemon: Daemon, device: int, buffers: list[Buffer]) -> None:
    daemon.keep = False
    while True:
        with contextlib.suppress(OSError):
            request, _ = daemon.next(timeout_ms=5)
            if request.op == uapi.INTERRUPT:
                late = Reply(id=request.arg[0], result=-4, slot=uapi.NO_SLOT)
                daemon.next(late, flags=uapi.NEXT_REPLY)
            elif request.op != uapi.NONE and request.op < uapi.RELEASE and chance.randrange(50):
                daemon.next(reply_to(chance, request, buffers), flags=uapi.NEXT_REPLY)
            if not chance.randrange(20):
                daemon.unmap(device, chance.randrange(8) * PAGE, chance.randrange(8) * PAGE)
                daemon.wake(odd(chance, 32), device=device)
            if not chance.randrange(50):
                at = chance.randrange(len(buffers))
                buffers[at].unmap()
                buffers[at].free()
                kind = chance.choice((uapi.BUF_PAGES, uapi.BUF_VMALLOC, uapi.BUF_CONTIG))
                buffers[at] = daemon.alloc(4, kind)
            if not chance.randrange(100):
                daemon.payload[: 1 << 12] = chance.randbytes(1 << 12)
