"""A daemon in a few lines, and clients to try it with.

The test's own process is the daemon: `Daemon.serve` answers requests by a table of handlers until the
clients have ended. A client is a forked child that runs a function and hands back what it returned,
or the OSError that it raised. The module's counters say what is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import mmap
import os
import pickle
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from ctypes import sizeof
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import Alloc, Create, Init, Mapping, Mmap, Next, Reply, Request
from mapdev.linux.vma import VM_FAULT_SIGBUS

ALL_BUT_FLUSH = uapi.HAS_ALL & ~uapi.HAS_FLUSH  # of which each close would wait for the daemon
CONTROL = "/dev/mapdev"
COUNTERS = Path("/sys/kernel/debug/mapdev")

Handler = Callable[[Request], "Reply | int | None"]


def not_in_uml(what: str) -> pytest.MarkDecorator:
    """Skip a test in the debug kernel, which is a User Mode Linux and lacks something."""
    is_uml = "MAPDEV_DEBUG_KERNEL" in os.environ
    return pytest.mark.skipif(is_uml, reason=f"User Mode Linux has no {what}")


def counters() -> dict[str, int]:
    """Return what the module has: sessions, files, areas, pages."""
    return {path.name: int(path.read_text()) for path in COUNTERS.iterdir()}


class Client:
    """A child process that runs `function`."""

    running: ClassVar[list[Client]] = []

    def __init__(self, function: Callable[[], Any]) -> None:
        self._outcome = os.memfd_create("outcome")
        self.status: int | None = None
        self.pid = os.fork()
        if not self.pid:
            self._child(function, self._outcome)
        self.running.append(self)

    @staticmethod
    def _child(function: Callable[[], Any], to: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        faulthandler.disable()  # a client that gets SIGBUS is what the test wants
        try:
            try:
                outcome = function()
            except OSError as error:
                outcome = OSError(error.errno, error.strerror)
            os.write(to, pickle.dumps(outcome))
        except BaseException:
            traceback.print_exc()
            os._exit(99)
        os._exit(0)

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                self.running.remove(self)
        return self.status is not None

    def wait(self, seconds: float = 30) -> int:
        """Return the wait status; the client must end by itself."""
        end = time.monotonic() + seconds
        while not self.ended():
            assert time.monotonic() < end, "the client does not end"
            time.sleep(0.001)
        assert self.status is not None
        return self.status

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def result(self) -> Any:
        """Return what the function returned, or raise its OSError."""
        self.wait()
        assert self.status == 0, f"the client ended with status {self.status:#x}"
        with open(self._outcome, "rb", closefd=False) as file:
            file.seek(0)
            outcome = pickle.loads(file.read())
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def __del__(self) -> None:
        os.close(self._outcome)

    @classmethod
    def kill_all(cls) -> None:
        """End those that a test has left."""
        for client in list(cls.running):
            client.kill()
            client.wait()

    def state(self) -> str:
        """Return the process's state: S, D, Z..."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def asleep(self) -> None:
        """Wait until the client waits."""
        for _ in range(5000):
            if self.state() in "SD":
                return
            time.sleep(0.001)
        raise AssertionError("the client does not wait")


class Buffer:
    """A buffer, mapped when it is looked at."""

    def __init__(self, daemon: Daemon, alloc: Alloc) -> None:
        self._daemon = daemon
        self._view: mmap.mmap | None = None
        self.id, self.pfn, self.pages = alloc.id, alloc.pfn, alloc.nr_pages
        self.address, self.offset = alloc.address, alloc.mmap_offset

    @property
    def memory(self) -> mmap.mmap:
        if self._view is None:
            self._view = mmap.mmap(self._daemon.fd, self.pages * uapi.PAGE, offset=self.offset)
        return self._view

    def unmap(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None

    def free(self) -> None:
        uapi.ioctl(self._daemon.fd, uapi.IOC_FREE, uapi.Id(id=self.id))


class Daemon:
    """A session, and the loop that serves it."""

    keep = True  # what came

    def __init__(self, timeout_ms: int = 0, features: int = 0) -> None:
        self.fd = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
        self.init = Init(size=sizeof(Init), abi=uapi.ABI, features=features, timeout_ms=timeout_ms)
        uapi.ioctl(self.fd, uapi.IOC_INIT, self.init)
        self.payload = mmap.mmap(self.fd, self.init.payload_size, offset=self.init.payload_offset)
        self.seen: list[Request] = []
        self.count: Counter[int] = Counter()  # of requests, by operation
        self._buffers: list[Buffer] = []

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for buffer in self._buffers:
            buffer.unmap()
        self._buffers.clear()
        self.payload.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # ---- management

    def create(self, name: str = "mapdev-test", has: int = ALL_BUT_FLUSH, **fields: Any) -> Create:
        fields.setdefault("mode", 0o600)
        create = Create(name=name.encode(), has=has, **fields)
        uapi.ioctl(self.fd, uapi.IOC_CREATE, create)
        return create

    def destroy(self, device: int) -> None:
        uapi.ioctl(self.fd, uapi.IOC_DESTROY, uapi.Id(id=device))

    def alloc(self, pages: int = 1, kind: int = uapi.BUF_PAGES, **fields: Any) -> Buffer:
        alloc = Alloc(kind=kind, nr_pages=pages, **fields)
        uapi.ioctl(self.fd, uapi.IOC_ALLOC, alloc)
        buffer = Buffer(self, alloc)
        self._buffers.append(buffer)
        return buffer

    def pfns(self, buffer: Buffer) -> list[int]:
        """Return the frames of a buffer."""
        pfns = (uapi.c_uint64 * buffer.pages)()
        query = uapi.Pfns(id=buffer.id, count=buffer.pages, pfns=ctypes.addressof(pfns))
        uapi.ioctl(self.fd, uapi.IOC_PFNS, query)
        return [*pfns]

    def page(self, pfn: int) -> uapi.Page:
        page = uapi.Page(pfn=pfn)
        uapi.ioctl(self.fd, uapi.IOC_PAGE, page)
        return page

    def wake(self, mask: int, file: int = 0, device: int = 0) -> None:
        uapi.ioctl(self.fd, uapi.IOC_WAKE, uapi.Wake(file=file, device=device, mask=mask))

    def show(self, file: int, mask: int, woken: int | None = None, *, keep: bool = True) -> None:
        """Have poll say `mask` of a file, and wake who waits for `woken`."""
        flags = (uapi.SHOW_KEEP if keep else 0) | (0 if woken is None else uapi.SHOW_WAKE)
        show = uapi.Show(file=file, flags=flags, mask=mask, woken=woken or 0)
        uapi.ioctl(self.fd, uapi.IOC_SHOW, show)

    def unmap(self, device: int, start: int = 0, length: int = 0) -> None:
        uapi.ioctl(
            self.fd, uapi.IOC_UNMAP, uapi.Unmap(device=device, start=start, len=length, even_cows=1)
        )

    def alive(self, request: Request) -> bool:
        try:
            uapi.ioctl(self.fd, uapi.IOC_ALIVE, uapi.Alive(id=request.id))
        except FileNotFoundError:
            return False
        return True

    # ---- the loop

    def next(
        self, reply: Reply | None = None, *, flags: int = 0, timeout_ms: int = 20, only: int = 0
    ) -> tuple[Request, int]:
        """Reply, fetch; return the request, and what was wrong with the reply."""
        say = Next(flags=flags, timeout_ms=timeout_ms, only=only)
        if reply is not None:
            say.reply = reply
        uapi.ioctl(self.fd, uapi.IOC_NEXT, say)
        if say.request.op != uapi.NONE:
            self.count[say.request.op] += 1
            if self.keep:
                self.seen.append(say.request)
        return say.request, say.reply.error

    def get(self, op: int, seconds: float = 20) -> Request:
        """Fetch until a request of this kind comes; others must not need an answer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            request, _ = self.next()
            if request.op == op:
                return request
            assert request.op in (uapi.NONE, *range(32, 38)), f"operation {request.op} came"
        raise AssertionError(f"no request {op} came")

    def reply(self, request: Request, result: int = 0, data: bytes = b"", **fields: Any) -> int:
        """Reply, fetch nothing; return what was wrong with the reply."""
        return self.next(answer(request, result, data, **fields), flags=uapi.NEXT_REPLY)[1]

    def command(self, request: Request, kind: int, **fields: Any) -> Request:
        """Have the client do something; return the RESULT."""
        reply = Reply(id=request.id, kind=kind, slot=uapi.NO_SLOT, **fields)
        result, error = self.next(reply, flags=uapi.NEXT_URGENT, only=request.id, timeout_ms=20000)
        assert not error, os.strerror(error)
        assert result.op == uapi.RESULT and result.id == request.id
        return result

    def slot(self, number: int) -> slice:
        size = self.init.slot_size
        return slice(number * size, (number + 1) * size)

    @property
    def command_slot(self) -> int:
        return int(self.init.nr_slots + self.init.nr_reply_slots)

    def data(self, request: Request) -> bytes:
        if request.slot == uapi.NO_SLOT:
            return bytes(request.data[: request.len])
        start = request.slot * self.init.slot_size
        return self.payload[start : start + request.len]

    def serve(self, handlers: dict[int, Handler], *clients: Client) -> list[Request]:
        """Answer requests until the clients have ended and nothing is queued; return what came."""
        self.seen = []
        reply = None
        end = time.monotonic() + 60
        while True:
            assert time.monotonic() < end, "the clients do not end"
            request, error = self.next(reply)
            assert not error, f"a reply was refused: {os.strerror(error)}"
            reply = None
            if request.op == uapi.NONE:
                if all(client.ended() for client in clients):
                    return self.seen
                continue
            handler = handlers.get(request.op, default)
            outcome = handler(request)
            if isinstance(outcome, int):
                outcome = answer(request, outcome)
            reply = outcome

    def run(self, handlers: dict[int, Handler], function: Callable[[], Any]) -> Any:
        """Run `function` in a client and serve it; return what it returned."""
        client = Client(function)
        self.serve(handlers, client)
        return client.result()

    def ops(self) -> list[int]:
        return [request.op for request in self.seen]


def answer(request: Request, result: int = 0, data: bytes = b"", **fields: Any) -> Reply:
    """Make a reply; data that is not longer than INLINE."""
    fields.setdefault("slot", uapi.NO_SLOT)
    fields.setdefault("len", len(data))
    reply = Reply(id=request.id, result=result, **fields)
    reply.data[: len(data)] = data
    return reply


def default(request: Request) -> int | None:
    """Succeed; notices need no answer."""
    return None if request.op >= uapi.RELEASE else 0


def mapping(
    addr: int,
    buffer: Buffer,
    pgoff: int = 0,
    pages: int | None = None,
    kind: int = 0,
    cache: int = 0,
) -> Mapping:
    pages = buffer.pages - pgoff if pages is None else pages
    return Mapping(addr=addr, pgoff=pgoff, nr_pages=pages, buffer=buffer.id, kind=kind, cache=cache)


def mmap_answer(request: Request, *mappings: Mapping, **fields: Any) -> Reply:
    head = Mmap(nr_mappings=len(mappings), **fields)
    return answer(request, 0, bytes(head) + b"".join(map(bytes, mappings)))


def maps(buffer: Buffer, kind: int = uapi.MAP_PFN, **fields: Any) -> Handler:
    """Make a handler of MMAP that maps all of a buffer from vm_pgoff on."""

    def handle(request: Request) -> Reply:
        vma = request.vma
        pages = (vma.vm_end - vma.vm_start) // uapi.PAGE
        one = mapping(vma.vm_start, buffer, vma.vm_pgoff, pages, kind)
        return mmap_answer(request, one, **fields)

    return handle


def faults(buffer: Buffer, kind: int = uapi.MAP_PAGE) -> Handler:
    """Make a handler of FAULT that gives the buffer's page at pgoff."""

    def handle(request: Request) -> Reply | int:
        if request.arg[2] >= buffer.pages:
            return VM_FAULT_SIGBUS
        return answer(request, 0, bytes(mapping(request.arg[0], buffer, request.arg[2], 1, kind)))

    return handle


@contextlib.contextmanager
def opened(path: str = "/dev/mapdev-test", flags: int = os.O_RDWR) -> Iterable[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)
