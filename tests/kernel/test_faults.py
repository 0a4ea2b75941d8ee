"""Pages that come when they are touched."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import time

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE
from mapdev.linux.vma import (
    VM_FAULT_LOCKED,
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
)

from .daemon import Client, Daemon, answer, faults, mapping, mmap_answer, opened
from .test_mmap import mapped

SIGBUS, SIGSEGV = 7, 11


def _area(vm_ops: int = uapi.VMOP_FAULT, **fields: int) -> object:
    return lambda request: mmap_answer(request, vm_ops=vm_ops, **fields)


PFN = {"set_flags": uapi.VM_PFNMAP | uapi.VM_IO | uapi.VM_DONTEXPAND | uapi.VM_DONTDUMP}


@pytest.mark.parametrize("buffer_kind", [uapi.BUF_CONTIG, uapi.BUF_VMALLOC])
@pytest.mark.parametrize("kind", [uapi.MAP_PAGE, uapi.MAP_PFN])
def test_page_by_page(daemon: Daemon, kind: int, buffer_kind: int) -> None:
    daemon.create()
    buffer = daemon.alloc(4, buffer_kind)
    for page in range(4):
        buffer.memory[page * PAGE] = 65 + page

    def client() -> bytes:
        area = mapped(3, offset=1)
        text = bytes([area[2 * PAGE], area[0], area[0]])
        area[PAGE + 1] = 33
        return text

    fields = PFN if kind == uapi.MAP_PFN else {}
    handlers = {uapi.MMAP: _area(**fields), uapi.FAULT: faults(buffer, kind)}
    assert daemon.run(handlers, client) == b"DBB"
    assert buffer.memory[2 * PAGE + 1] == 33
    came = [one for one in daemon.seen if one.op == uapi.FAULT]
    assert [one.arg[2] for one in came] == [3, 1, 2]
    assert [one.arg[1] & 0x41 for one in came] == [0x40, 0x40, 0x41]
    assert came[0].arg[0] - came[0].vma.vm_start == 2 * PAGE


def test_private_copy(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(1)
    buffer.memory[:2] = b"ab"

    def client() -> bytes:
        area = mapped(1, flags=mmap.MAP_PRIVATE)
        area[0] = 7
        return area[:2]

    assert daemon.run({uapi.MMAP: _area(), uapi.FAULT: faults(buffer)}, client) == b"\x07b"
    assert buffer.memory[:2] == b"ab"


@pytest.mark.parametrize(
    ("result", "status"),
    [(VM_FAULT_SIGBUS, SIGBUS), (VM_FAULT_SIGSEGV, SIGSEGV), (0, SIGBUS),
     (VM_FAULT_RETRY, SIGBUS), (VM_FAULT_LOCKED, SIGBUS)],
)  # fmt: skip
def test_codes(daemon: Daemon, result: int, status: int) -> None:
    """Codes that would need more than a number (RETRY, LOCKED) count as none: there is no page."""
    daemon.create()
    process = Client(lambda: mapped(1)[0])
    daemon.serve({uapi.MMAP: _area(), uapi.FAULT: lambda _: result}, process)
    assert process.status == status


def test_nopage_is_asked_again(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(1)
    left = [3]

    def fault(request: uapi.Request) -> uapi.Reply | int:
        left[0] -= 1
        return VM_FAULT_NOPAGE if left[0] else faults(buffer)(request)  # type: ignore[return-value]

    assert daemon.run({uapi.MMAP: _area(), uapi.FAULT: fault}, lambda: mapped(1)[0]) == 0
    assert daemon.ops().count(uapi.FAULT) == 3


@pytest.mark.parametrize("kind", [uapi.MAP_PAGE, uapi.MAP_PFN])
def test_neighbours(daemon: Daemon, kind: int) -> None:
    daemon.create()
    buffer = daemon.alloc(64, uapi.BUF_VMALLOC)
    for page in range(64):
        buffer.memory[page * PAGE] = page

    def fault(request: uapi.Request) -> uapi.Reply:
        start, end = request.arg[3], request.arg[4]
        assert start <= request.arg[0] < end and end - start <= 16 * PAGE
        one = mapping(
            start, buffer, (start - request.vma.vm_start) // PAGE, (end - start) // PAGE, kind
        )
        return answer(request, 0, bytes(one))

    def client() -> list[int]:
        area = mapped(64)
        area[5 * PAGE] = 5
        return [area[page * PAGE] for page in range(64)]

    fields = PFN if kind == uapi.MAP_PFN else {}
    handlers = {uapi.MMAP: _area(uapi.VMOP_FAULT | uapi.VMOP_AROUND, **fields), uapi.FAULT: fault}
    assert daemon.run(handlers, client) == list(range(64))
    assert 4 <= daemon.ops().count(uapi.FAULT) <= 5


def test_faults_that_make_no_sense(daemon: Daemon) -> None:
    daemon.create()
    buffer, row, block = daemon.alloc(1), daemon.alloc(4, uapi.BUF_CONTIG), daemon.alloc(4)

    def at(request: uapi.Request, *ms: uapi.Mapping) -> uapi.Reply:
        return answer(request, 0, b"".join(map(bytes, ms)))

    page = uapi.MAP_PAGE
    bad = {
        "pfn without PFNMAP": lambda r: at(r, mapping(r.arg[0], buffer)),
        "elsewhere": lambda r: at(r, mapping(r.arg[0] + PAGE, buffer, kind=page)),
        "beyond": lambda r: at(r, mapping(r.vma.vm_end, buffer, kind=page)),
        "far beyond": lambda r: at(r, mapping(r.vma.vm_end + (1 << 30), buffer, kind=page)),
        "before": lambda r: at(r, mapping(r.arg[0] - PAGE, buffer, kind=page)),
        "neighbours unasked": lambda r: at(r, mapping(r.arg[0], row, 0, 2, page)),
        "unaligned": lambda r: at(r, mapping(r.arg[0] + 1, buffer, kind=page)),
        "no buffer": lambda r: at(r, uapi.Mapping(addr=r.arg[0], nr_pages=1, buffer=99, kind=page)),
        "pgoff": lambda r: at(r, mapping(r.arg[0], buffer, 1, 1, page)),
        "twice": lambda r: at(r, *[mapping(r.arg[0], buffer, kind=page)] * 2),
        "uncounted": lambda r: at(r, mapping(r.arg[0], block, 1, 1, page)),
        "length": lambda r: answer(r, 0, b"x" * 41),
        "kind": lambda r: at(r, mapping(r.arg[0], buffer, kind=7)),
    }
    for name, fault in bad.items():
        process = Client(lambda: mapped(4)[PAGE])
        daemon.serve({uapi.MMAP: _area(), uapi.FAULT: fault}, process)
        assert process.status == SIGBUS, name
        assert daemon.page(buffer.pfn).refcount == 1, name
    process = Client(lambda: mapped(4)[PAGE])
    daemon.serve(
        {
            uapi.MMAP: _area(**PFN),
            uapi.FAULT: lambda r: at(r, mapping(r.arg[0], buffer, kind=page)),
        },
        process,
    )
    assert process.status == SIGBUS, "a page in PFNMAP"
    process = Client(lambda: mapped(4)[PAGE])
    daemon.serve(
        {
            uapi.MMAP: _area(set_flags=uapi.VM_MIXEDMAP),
            uapi.FAULT: lambda r: at(r, mapping(r.arg[0], buffer)),
        },
        process,
    )
    assert process.status == SIGBUS, "memory by its number in MIXEDMAP"


def test_page_mkwrite(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> int:
        area = mapped(1)
        value = area[0]
        area[0] = value + 1
        area[1] = 1
        return area[0]

    handlers = {
        uapi.MMAP: _area(uapi.VMOP_FAULT | uapi.VMOP_PAGE_MKWRITE),
        uapi.FAULT: faults(buffer),
        uapi.PAGE_MKWRITE: lambda _: 0,
    }
    assert daemon.run(handlers, client) == 1
    asked = [one for one in daemon.seen if one.op == uapi.PAGE_MKWRITE]
    assert len(asked) == 1 and asked[0].arg[3] == buffer.pfn and asked[0].arg[1] & 3 == 3

    process = Client(client)
    daemon.serve(handlers | {uapi.PAGE_MKWRITE: lambda _: VM_FAULT_SIGBUS}, process)
    assert process.status == SIGBUS


def test_pfn_mkwrite(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> int:
        area = mapped(1)
        value = area[0]
        area[0] = value + 1
        return area[0]

    handlers = {
        uapi.MMAP: _area(uapi.VMOP_FAULT | uapi.VMOP_PFN_MKWRITE, **PFN),
        uapi.FAULT: faults(buffer, uapi.MAP_PFN),
        uapi.PFN_MKWRITE: lambda _: 0,
    }
    assert daemon.run(handlers, client) == 1
    asked = [one for one in daemon.seen if one.op == uapi.PFN_MKWRITE]
    assert len(asked) == 1 and asked[0].arg[3] == buffer.pfn


def test_fault_inside_calls(daemon: Daemon) -> None:
    """read() into a page that is not there, and a command that copies from one."""
    daemon.create()
    buffer = daemon.alloc(2, uapi.BUF_CONTIG)

    def read(request: uapi.Request) -> uapi.Reply:
        return answer(request, 3, b"abc")

    def ioctl(request: uapi.Request) -> uapi.Reply | int:
        reply = uapi.Reply(
            id=request.id, kind=uapi.COPY_FROM, slot=uapi.NO_SLOT, addr=request.arg[1], len=3
        )
        got, _ = daemon.next(reply, flags=uapi.NEXT_URGENT, only=request.id, timeout_ms=20000)
        assert got.op == uapi.FAULT
        got, _ = daemon.next(
            faults(buffer)(got), flags=uapi.NEXT_URGENT, only=request.id, timeout_ms=20000
        )  # type: ignore[arg-type]
        assert got.op == uapi.RESULT and got.arg[0] == 3
        return 0

    def client() -> bytes:
        with opened() as fd:
            area = mmap.mmap(fd, 2 * PAGE)
            address = ctypes.addressof(ctypes.c_char.from_buffer(area))
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.read(fd, ctypes.c_void_p(address), 3) == 3
            assert libc.ioctl(fd, 5, ctypes.c_void_p(address + PAGE)) == 0
            os.write(1, b"")
            text = ctypes.string_at(address, 3)
            del address
            os._exit(0 if text == b"abc" else 1)

    process = Client(client)
    handlers = {
        uapi.MMAP: _area(), uapi.FAULT: faults(buffer), uapi.READ: read, uapi.IOCTL: ioctl,
    }  # fmt: skip
    daemon.serve(handlers, process)
    assert process.status == 0


def test_another_process_looks_at_it(daemon: Daemon) -> None:
    """process_vm_readv() brings pages in, for another's mm; the daemon itself is refused."""
    daemon.create()
    buffer = daemon.alloc(1)
    buffer.memory[:3] = b"abc"
    read, write = os.pipe()
    done, go = os.pipe()

    def owner() -> None:
        area = mapped(1)
        at = ctypes.addressof(ctypes.c_char.from_buffer(area))
        os.write(write, at.to_bytes(8, "little"))
        os.read(done, 1)
        os._exit(0)

    class Iovec(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))

    def peek(pid: int, address: int) -> bytes:
        text = ctypes.create_string_buffer(3)
        local, remote = Iovec(ctypes.addressof(text), 3), Iovec(address, 3)
        libc = ctypes.CDLL(None, use_errno=True)
        got = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
        if got < 0:
            raise OSError(ctypes.get_errno(), "")
        return text.raw

    first = Client(owner)
    for _ in range(2):
        request, _ = daemon.next(timeout_ms=20000)
        reply = _area()(request) if request.op == uapi.MMAP else answer(request)  # type: ignore[operator]
        daemon.next(reply, flags=uapi.NEXT_REPLY)
    address = int.from_bytes(os.read(read, 8), "little")
    with pytest.raises(OSError) as caught:
        peek(first.pid, address)
    assert caught.value.errno == errno.EFAULT
    second = Client(lambda: peek(first.pid, address))
    daemon.serve({uapi.FAULT: faults(buffer)}, second)
    assert second.result() == b"abc"
    assert [one.arg[1] & 0x80 for one in daemon.seen if one.op == uapi.FAULT] == [0x80]
    os.write(go, b"x")
    daemon.serve({}, first)
    time.sleep(0)
