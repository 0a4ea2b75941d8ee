"""mmap: what a reply may map, and what it may not, down to what would be a BUG in the kernel."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import (
    Buffer,
    Client,
    Daemon,
    answer,
    counters,
    default,
    mapping,
    maps,
    mmap_answer,
    not_in_uml,
    opened,
)

PATH = "/dev/mapdev-test"
SIGBUS = 7
MAYEXEC = 0x40
# How x86 marks areas whose cache mode it has to remember: up to 6.15 (arch/x86/mm/pat/memtype.c).
_X86 = os.uname().machine == "x86_64"
AR = " ar" if _X86 and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 16) else ""
SD = " sd" if _X86 else ""  # soft-dirty bits, which arm64 has not
KINDS = {
    "pages": (uapi.BUF_PAGES, 0),
    "compound": (uapi.BUF_PAGES, uapi.ALLOC_COMP),
    "contig": (uapi.BUF_CONTIG, 0),
    "vmalloc": (uapi.BUF_VMALLOC, 0),
}


def mapped(pages: int = 4, offset: int = 0, flags: int = mmap.MAP_SHARED) -> mmap.mmap:
    with opened() as fd:
        return mmap.mmap(fd, pages * PAGE, flags=flags, offset=offset * PAGE)


def vm_flags(name: str = PATH) -> str:
    """Return VmFlags of this process's area of a device."""
    area = Path("/proc/self/smaps").read_text().split(name, 1)[1]
    return re.search(r"VmFlags: (.*?) *\n", area)[1]  # type: ignore[index]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", [uapi.MAP_PFN, uapi.MAP_PAGE])
def test_memory_is_shared(daemon: Daemon, name: str, kind: int) -> None:
    daemon.create()
    buffer = daemon.alloc(4, KINDS[name][0], flags=KINDS[name][1])
    buffer.memory[:] = bytes(4 * PAGE)
    buffer.memory[PAGE : PAGE + 5] = b"hello"

    def client() -> bytes:
        area = mapped(3, offset=1)
        text = area[:5]
        area[2 * PAGE : 2 * PAGE + 3] = b"bye"
        return text

    if name == "pages" and kind == uapi.MAP_PAGE:  # only the first page is counted
        with pytest.raises(OSError) as caught:
            daemon.run({uapi.MMAP: maps(buffer, kind)}, client)
        assert caught.value.errno == errno.EINVAL
        assert uapi.VMA_ABORT in daemon.ops()
        return
    assert daemon.run({uapi.MMAP: maps(buffer, kind)}, client) == b"hello"
    assert buffer.memory[3 * PAGE : 3 * PAGE + 3] == b"bye"
    assert daemon.ops() == [uapi.OPEN, uapi.MMAP, uapi.RELEASE]


def test_request_describes_the_area(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(4)

    def client() -> None:
        mapped(2, offset=1)

    daemon.run({uapi.MMAP: maps(buffer, vm_ops=uapi.VMOP_NOTICES)}, client)
    request = next(one for one in daemon.seen if one.op == uapi.MMAP)
    assert request.vma.vm_end - request.vma.vm_start == 2 * PAGE
    assert request.vma.vm_pgoff == 1
    assert request.vma.vm_flags & uapi.VM_SHARED
    assert request.arg[0] > 10 and request.arg[1] > 100 and request.area
    close = next(one for one in daemon.seen if one.op == uapi.VMA_CLOSE)
    assert (close.area, close.vma.vm_start) == (request.area, request.vma.vm_start)
    assert daemon.ops() == [uapi.OPEN, uapi.MMAP, uapi.VMA_CLOSE, uapi.RELEASE]


@not_in_uml("soft-dirty bits")
def test_flags_are_as_a_driver_in_c_would_have_them(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> str:
        area = mapped(1)
        return vm_flags() if area else ""

    shown = daemon.run({uapi.MMAP: maps(buffer)}, client)
    assert shown == f"rd wr sh mr mw me ms pf io de{AR} dd{SD}"
    shown = daemon.run({uapi.MMAP: maps(buffer, uapi.MAP_PAGE)}, client)
    assert shown == f"rd wr sh mr mw me ms{SD} mm"
    shown = daemon.run(
        {uapi.MMAP: maps(buffer, set_flags=uapi.VM_DONTCOPY, clear_flags=MAYEXEC)}, client
    )
    assert shown == f"rd wr sh mr mw ms pf io dc de{AR} dd{SD}"


def test_private_mappings(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(2)

    def client() -> bytes:
        area = mapped(2, flags=mmap.MAP_PRIVATE)
        area[0] = 7
        return area[:2]

    buffer.memory[:2] = b"ab"
    assert daemon.run({uapi.MMAP: maps(buffer)}, client) == b"\x07b"
    assert buffer.memory[:2] == b"ab"

    def by_pages(request: uapi.Request) -> uapi.Reply:
        start = request.vma.vm_start
        return mmap_answer(
            request, mapping(start, buffer, 0, 1), mapping(start + PAGE, buffer, 1, 1)
        )

    with pytest.raises(OSError) as caught:
        daemon.run({uapi.MMAP: by_pages}, client)
    assert caught.value.errno == errno.EINVAL


def test_an_mmap_that_maps_nothing(daemon: Daemon) -> None:
    """As with a driver in C: there is an area, and a touch is SIGBUS. It has no notices of its own."""
    daemon.create()
    for flags in mmap.MAP_PRIVATE, mmap.MAP_SHARED:
        process = Client(partial(lambda flags: mapped(1, flags=flags)[0], flags))
        daemon.serve({uapi.MMAP: mmap_answer}, process)
        assert process.status == SIGBUS
        assert daemon.ops() == [uapi.OPEN, uapi.MMAP, uapi.RELEASE]
    process = Client(lambda: mapped(1)[0])
    daemon.serve({uapi.MMAP: lambda r: mmap_answer(r, vm_ops=uapi.VMOP_NOTICES)}, process)
    assert process.status == SIGBUS
    assert daemon.ops() == [uapi.OPEN, uapi.MMAP, uapi.VMA_CLOSE, uapi.RELEASE]


def test_hole(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(1)
    process = Client(lambda: mapped(2)[PAGE])
    daemon.serve({uapi.MMAP: lambda r: mmap_answer(r, mapping(r.vma.vm_start, buffer))}, process)
    assert process.status == SIGBUS


def _bad(daemon: Daemon) -> dict[str, Callable[[uapi.Request], uapi.Reply]]:
    one, four = daemon.alloc(1), daemon.alloc(4)

    def a(r: uapi.Request) -> int:
        return int(r.vma.vm_start)

    def raw(**fields: int) -> Callable[[uapi.Request], uapi.Reply]:
        def make(r: uapi.Request) -> uapi.Reply:
            m = mapping(a(r), four)
            for name, value in fields.items():
                setattr(m, name, value)
            return mmap_answer(r, m)

        return make

    def head(**fields: int) -> Callable[[uapi.Request], uapi.Reply]:
        return lambda r: mmap_answer(r, mapping(a(r), four), **fields)

    big = 1 << 63
    return {
        "beyond the end": lambda r: mmap_answer(r, mapping(a(r) + PAGE, four)),
        "before the begin": lambda r: mmap_answer(r, mapping(a(r) - PAGE, four)),
        "address 0": raw(addr=0),
        "unaligned": raw(addr=0x1001),
        "unaligned inside": lambda r: mmap_answer(r, mapping(a(r) + 8, one)),
        "at the end": lambda r: mmap_answer(r, mapping(int(r.vma.vm_end), one)),
        "no pages": raw(nr_pages=0),
        "too many pages": raw(nr_pages=5),
        "pages overflow": raw(nr_pages=1 << 52),
        "pages overflow more": raw(nr_pages=(1 << 64) - 1),
        "pgoff beyond": raw(pgoff=1),
        "pgoff overflow": raw(pgoff=(1 << 64) - 3),
        "no buffer": raw(buffer=0),
        "another's buffer": raw(buffer=77777),
        "kind": raw(kind=2),
        "cache": raw(cache=3),
        "twice": lambda r: mmap_answer(r, mapping(a(r), four), mapping(a(r), one)),
        "overlap": lambda r: mmap_answer(r, mapping(a(r), four, 0, 2), mapping(a(r) + PAGE, one)),
        "descending": lambda r: mmap_answer(r, mapping(a(r) + PAGE, one), mapping(a(r), one)),
        "pfn and page": lambda r: mmap_answer(
            r, mapping(a(r), one), mapping(a(r) + PAGE, one, kind=uapi.MAP_PAGE)
        ),
        "page in PFNMAP": lambda r: mmap_answer(
            r, mapping(a(r), one, kind=uapi.MAP_PAGE), set_flags=uapi.VM_PFNMAP
        ),
        "pfn in MIXEDMAP": head(set_flags=uapi.VM_MIXEDMAP),
        "PFNMAP and MIXEDMAP": lambda r: mmap_answer(
            r, set_flags=uapi.VM_MIXEDMAP | uapi.VM_PFNMAP, vm_ops=uapi.VMOP_FAULT
        ),
        "uncounted page": lambda r: mmap_answer(r, mapping(a(r), four, 1, 1, uapi.MAP_PAGE)),
        "set_flags": head(set_flags=uapi.VM_SHARED),
        "set_flags, unknown": head(set_flags=big),
        "clear_flags": head(clear_flags=uapi.VM_SHARED),
        "vm_ops": head(vm_ops=512),
        "cache of the area": head(cache=3),
        "reserved": head(reserved=1),
        "length": lambda r: answer(r, 0, b"x"),
        "no payload": lambda r: answer(r, 0),
        "number": lambda r: answer(r, 0, bytes(uapi.Mmap(nr_mappings=0xFFFFFFFF))),
        "length and number": lambda r: answer(r, 0, bytes(uapi.Mmap(nr_mappings=1)) + bytes(39)),
    }


def test_what_can_not_be_mapped(daemon: Daemon) -> None:
    """Each is EINVAL for the client, VMA_ABORT for the daemon, and nothing for the kernel's log."""
    daemon.create()

    def client() -> int | None:
        try:
            mapped(4)
        except OSError as error:
            return error.errno
        return None

    for name, handler in _bad(daemon).items():
        assert daemon.run({uapi.MMAP: handler}, client) == errno.EINVAL, name
        assert daemon.ops() == [uapi.OPEN, uapi.MMAP, uapi.VMA_ABORT, uapi.RELEASE], name
        assert daemon.seen[2].arg[0] == errno.EINVAL
        assert daemon.seen[2].area == daemon.seen[1].area


def test_private_area_of_pfn_faults(daemon: Daemon) -> None:
    """vmf_insert_pfn() would BUG() on it."""
    daemon.create()

    def client() -> None:
        mapped(1, flags=mmap.MAP_PRIVATE)

    with pytest.raises(OSError) as caught:
        daemon.run(
            {uapi.MMAP: lambda r: mmap_answer(r, set_flags=uapi.VM_PFNMAP, vm_ops=uapi.VMOP_FAULT)},
            client,
        )
    assert caught.value.errno == errno.EINVAL


def test_mmap_that_fails_leaves_nothing(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(4)
    held = daemon.page(buffer.pfn).refcount

    def handler(r: uapi.Request) -> uapi.Reply:
        return mmap_answer(
            r,
            mapping(r.vma.vm_start, buffer, 0, 1, uapi.MAP_PAGE),
            mapping(r.vma.vm_start + PAGE, buffer, 1, 1, uapi.MAP_PAGE),
        )

    with pytest.raises(OSError):
        daemon.run({uapi.MMAP: handler}, lambda: mapped(4))
    assert daemon.page(buffer.pfn).refcount == held
    with pytest.raises(OSError) as caught:
        daemon.run({uapi.MMAP: lambda _: -errno.EACCES}, lambda: mapped(4))
    assert caught.value.errno == errno.EACCES
    assert uapi.VMA_ABORT not in daemon.ops()


def test_large_reply_in_a_slot(daemon: Daemon) -> None:
    daemon.create()
    pages = 600
    buffer = daemon.alloc(pages, uapi.BUF_VMALLOC)
    for page in range(pages):
        buffer.memory[page * PAGE] = page % 251

    def handler(r: uapi.Request) -> uapi.Reply:
        each = [
            mapping(r.vma.vm_start + page * PAGE, buffer, page, 1, uapi.MAP_PAGE)
            for page in range(pages)
        ]
        data = bytes(uapi.Mmap(nr_mappings=pages)) + b"".join(map(bytes, each))
        start = 9 * daemon.init.slot_size
        daemon.payload[start : start + len(data)] = data
        return answer(r, 0, slot=9, len=len(data))

    def client() -> list[int]:
        area = mapped(pages)
        return [area[page * PAGE] for page in range(pages)]

    assert daemon.run({uapi.MMAP: handler}, client) == [page % 251 for page in range(pages)]


def test_copies_of_an_area(daemon: Daemon) -> None:
    """Fork, split, mremap: who is a copy of whom."""
    daemon.create()
    buffer = daemon.alloc(4)

    def client() -> None:
        libc = ctypes.CDLL(None)
        area = mapped(4)
        address = ctypes.addressof(ctypes.c_char.from_buffer(area))
        libc.mprotect(ctypes.c_void_p(address + PAGE), PAGE, 1)
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        os._exit(0)

    process = Client(client)
    seen = daemon.serve({uapi.MMAP: maps(buffer, vm_ops=uapi.VMOP_NOTICES)}, process)
    assert process.status == 0
    opened_areas = [one for one in seen if one.op == uapi.VMA_OPEN]
    closed = [one for one in seen if one.op == uapi.VMA_CLOSE]
    assert [one.arg[1] for one in opened_areas] == [0, 0, 1, 1, 1]
    first = next(one for one in seen if one.op == uapi.MMAP).area
    areas = {first, *(one.area for one in opened_areas)}
    assert len(areas) == 6
    assert {one.area for one in closed} == areas and len(closed) == 6
    assert all(one.arg[0] in areas for one in opened_areas)
    assert seen[-1].op == uapi.RELEASE


@pytest.mark.parametrize("kind", [uapi.MAP_PFN, uapi.MAP_PAGE])
def test_buffer_lives_as_long_as_it_is_mapped(daemon: Daemon, kind: int) -> None:
    daemon.create()
    buffer = daemon.alloc(1)
    buffer.memory[:4] = b"data"
    read, write = os.pipe()
    again, go = os.pipe()

    def client() -> bytes:
        area = mapped(1)
        os.write(write, b"x")
        os.read(again, 1)
        return area[:4]

    process = Client(client)

    for _ in range(2):
        request, _ = daemon.next(timeout_ms=20000)
        reply = maps(buffer, kind)(request) if request.op == uapi.MMAP else answer(request)
        daemon.next(reply, flags=uapi.NEXT_REPLY)
    os.read(read, 1)
    buffer.unmap()
    buffer.free()
    assert counters()["pages"] == 1
    spare = [daemon.alloc(1) for _ in range(50)]
    assert buffer.pfn not in [one.pfn for one in spare]
    os.write(go, b"x")
    daemon.serve({}, process)
    assert process.result() == b"data"
    assert counters()["pages"] == 50


@pytest.mark.parametrize("name", ["compound", "contig", "vmalloc"])
def test_pages_that_are_pinned_for_longer(daemon: Daemon, name: str) -> None:
    """A pipe keeps pages of an area that is gone: they are no one else's until it lets go."""
    daemon.create()
    buffer = daemon.alloc(2, KINDS[name][0], flags=KINDS[name][1])
    pfns = daemon.pfns(buffer)
    for page in range(2):
        buffer.memory[page * PAGE : page * PAGE + 4] = b"pin%d" % page
    read, write = os.pipe()

    def client() -> None:
        area = mapped(2)
        at = ctypes.addressof(ctypes.c_char.from_buffer(area))
        iovec = (ctypes.c_size_t * 2)(at, 2 * PAGE)
        libc = ctypes.CDLL(None, use_errno=True)
        os._exit(libc.vmsplice(write, iovec, ctypes.c_ulong(1), 0) != 2 * PAGE)

    process = Client(client)
    daemon.serve({uapi.MMAP: maps(buffer, uapi.MAP_PAGE)}, process)
    assert process.status == 0
    buffer.unmap()
    buffer.free()
    assert counters()["pages"] == 0
    others = [daemon.alloc(1) for _ in range(200)]
    assert not {one.pfn for one in others} & set(pfns)
    text = os.read(read, 2 * PAGE)
    assert (text[:4], text[PAGE : PAGE + 4]) == (b"pin0", b"pin1")
    os.close(read)
    os.close(write)


def test_unmap_of_a_device(daemon: Daemon) -> None:
    device = daemon.create()
    buffer = daemon.alloc(2)

    def unmap(_: uapi.Request) -> int:
        daemon.unmap(device.id, PAGE, PAGE)
        return 0

    def client() -> int:
        with opened() as fd:
            area = mmap.mmap(fd, 2 * PAGE)
            area[PAGE]
            os.fsync(fd)
            return area[0] + area[PAGE]

    process = Client(client)
    daemon.serve({uapi.MMAP: maps(buffer), uapi.FSYNC: unmap}, process)
    assert process.status == SIGBUS, "the second page is gone"


@pytest.mark.parametrize("op", ["may_split", "mremap", "mprotect"])
@pytest.mark.parametrize("result", [0, -errno.EPERM])
def test_calls_about_an_area(daemon: Daemon, op: str, result: int) -> None:
    daemon.create()
    buffer = daemon.alloc(4)
    number = {"may_split": uapi.MAY_SPLIT, "mremap": uapi.MREMAP, "mprotect": uapi.MPROTECT}[op]
    bit = {
        "may_split": uapi.VMOP_MAY_SPLIT, "mremap": uapi.VMOP_MREMAP,
        "mprotect": uapi.VMOP_MPROTECT,
    }[op]  # fmt: skip

    def client() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mremap.restype = ctypes.c_void_p
        area = mapped(4)
        at = ctypes.addressof(ctypes.c_char.from_buffer(area))
        if op == "mremap":
            room = mmap.mmap(-1, 4 * PAGE)
            to = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(room)))
            done = libc.mremap(ctypes.c_void_p(at), 4 * PAGE, 4 * PAGE, 3, to)
            code = ctypes.get_errno() if done == ctypes.c_void_p(-1).value else 0
        else:
            done = libc.mprotect(ctypes.c_void_p(at + PAGE), PAGE, 1)
            code = ctypes.get_errno() if done else 0
        os._exit(code)

    process = Client(client)
    daemon.serve({uapi.MMAP: maps(buffer, vm_ops=bit), number: lambda _: result}, process)
    assert process.status is not None and process.status >> 8 == -result
    (request, *_) = [one for one in daemon.seen if one.op == number]
    assert request.area
    if op == "mprotect":
        assert request.arg[1] - request.arg[0] == PAGE
        assert not request.arg[2] & uapi.VM_WRITE


@not_in_uml("HAVE_IOREMAP_PROT")
@pytest.mark.parametrize(
    ("vm_ops", "reply", "expected"),
    [
        (uapi.VMOP_ACCESS, (6, b"hello!"), b"hello!"),
        (uapi.VMOP_ACCESS, (3, b"hel"), b"hel"),
        (uapi.VMOP_ACCESS, (-errno.EPERM, b""), errno.EIO),
        (0, (6, b"hello!"), errno.EIO),
    ],
    ids=["all", "part", "error", "no operation"],
)
def test_memory_without_struct_page_is_read_from_outside(
    daemon: Daemon, vm_ops: int, reply: tuple[int, bytes], expected: bytes | int
) -> None:
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> int:
        area = mapped(1)
        at = ctypes.addressof(ctypes.c_char.from_buffer(area)) + 8
        memory = os.open("/proc/self/mem", os.O_RDWR)
        try:
            seen: bytes | int = os.pread(memory, 6, at)
        except OSError as error:
            seen = error.errno or 0
        os._exit(seen != expected)

    times = iter([reply])  # then it is asked for the rest
    handlers = {
        uapi.MMAP: maps(buffer, vm_ops=vm_ops),
        uapi.ACCESS: lambda request: answer(request, *next(times, (0, b""))),
    }
    process = Client(client)
    daemon.serve(handlers, process)
    assert process.status == 0
    asked = [request for request in daemon.seen if request.op == uapi.ACCESS]
    assert bool(asked) == bool(vm_ops)
    for request in asked[:1]:
        assert request.arg[0] == request.vma.vm_start + 8
        assert list(request.arg[1:3]) == [6, 0]


@not_in_uml("HAVE_IOREMAP_PROT")
@pytest.mark.parametrize("reply", [(6, b"hel"), (7, b"hello!!"), (1, b"")])
def test_more_than_there_is_or_was_asked_for(daemon: Daemon, reply: tuple[int, bytes]) -> None:
    daemon.create()
    buffer = daemon.alloc(1)

    def client() -> int | None:
        area = mapped(1)
        memory = os.open("/proc/self/mem", os.O_RDWR)
        try:
            os.pread(memory, 6, ctypes.addressof(ctypes.c_char.from_buffer(area)))
        except OSError as error:
            os._exit(error.errno or 0)
        os._exit(0)

    process = Client(client)
    daemon.next(answer(daemon.get(uapi.OPEN)), flags=uapi.NEXT_REPLY)
    ours = maps(buffer, vm_ops=uapi.VMOP_ACCESS)(daemon.get(uapi.MMAP))
    daemon.next(ours, flags=uapi.NEXT_REPLY)  # type: ignore[arg-type]
    _, error = daemon.next(answer(daemon.get(uapi.ACCESS), *reply), flags=uapi.NEXT_REPLY)
    assert error == errno.EINVAL
    daemon.serve({}, process)
    assert process.status == errno.EIO << 8


@not_in_uml("HAVE_IOREMAP_PROT")
def test_memory_without_struct_page_is_written_from_outside(daemon: Daemon) -> None:
    daemon.create()
    buffer = daemon.alloc(1)
    written = []

    def access(request: uapi.Request) -> int:
        written.append((request.arg[0] - request.vma.vm_start, daemon.data(request)))
        return int(request.arg[1])

    def client() -> int:
        area = mapped(1)
        at = ctypes.addressof(ctypes.c_char.from_buffer(area))
        memory = os.open("/proc/self/mem", os.O_RDWR)
        os._exit(os.pwrite(memory, bytes(range(256)) + b"more", at) != 260)

    process = Client(client)
    handlers = {uapi.MMAP: maps(buffer, vm_ops=uapi.VMOP_ACCESS), uapi.ACCESS: access}
    daemon.serve(handlers, process)
    assert process.status == 0
    assert written == [(0, bytes(range(256))), (256, b"more")]


def test_areas_are_listed_during_mmap(daemon: Daemon) -> None:
    """The client holds its mmap_lock then, and its memory can't be copied."""
    daemon.create()
    buffer = daemon.alloc(1)
    found = []

    def handler(request: uapi.Request) -> uapi.Reply:
        got = daemon.command(request, uapi.AREAS)
        start = daemon.slot(daemon.command_slot).start
        for index in range(got.arg[0]):
            info = uapi.AreaInfo.from_buffer_copy(daemon.payload, start + index * 64)
            if info.area:
                found.append((info.area, info.file))
        got = daemon.command(request, uapi.COPY_FROM, addr=request.vma.vm_start, len=8)
        assert got.arg[0] == (1 << 64) - errno.EFAULT
        return maps(buffer)(request)

    def client() -> None:
        with opened() as fd:
            first = mmap.mmap(fd, PAGE)
            second = mmap.mmap(fd, PAGE)
            assert first and second

    daemon.run({uapi.MMAP: handler}, client)
    request = next(one for one in daemon.seen if one.op == uapi.MMAP)
    assert found == [(request.area, request.file)]


def test_owner_is_refused(daemon: Daemon) -> None:
    daemon.create()
    with pytest.raises(OSError) as caught:
        os.open(PATH, os.O_RDWR)
    assert caught.value.errno == errno.EDEADLK
    assert default(uapi.Request(op=uapi.OPEN)) == 0


def test_buffers_of_the_daemon(daemon: Daemon) -> None:
    buffer: Buffer = daemon.alloc(4, uapi.BUF_VMALLOC)
    pfns = daemon.pfns(buffer)
    assert pfns[0] == buffer.pfn and len(set(pfns)) == 4
    for offset, length in ((PAGE, 4 * PAGE), (4 * PAGE, PAGE), (1 << 39, PAGE)):
        with pytest.raises(OSError) as caught:
            mmap.mmap(daemon.fd, length, offset=buffer.offset + offset)
        assert caught.value.errno == errno.EINVAL
    page = daemon.page(pfns[2])
    assert page.flags & 0x20 and page.buffer == buffer.id and page.refcount == 1
    with pytest.raises(OSError):
        daemon.page(page.nr_frames)
