"""Areas in bulk and of all kinds of flags: what they cost who ends, and what is left of them."""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import Client, Daemon, counters, faults, maps, mmap_answer, opened
from .test_mmap import mapped

MAYREAD, MAYEXEC = 0x10, 0x40
MAP_FIXED = 0x10


def test_an_area_that_is_merged_is_not_left_over(daemon: Daemon) -> None:
    """Flags that a reply sets have the kernel continue the area before; it frees the new one.

    Source: mm/mmap.c, mmap_region, "If vm_flags changed after mmap_file()"
    """
    daemon.create()
    buffer = daemon.alloc(2, uapi.BUF_CONTIG)
    buffer.memory[0], buffer.memory[PAGE] = 1, 2

    def client() -> tuple[int, ...]:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        room = mmap.mmap(-1, 4 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(room)) + PAGE
        with opened() as fd:
            for page in range(2):
                place = ctypes.c_void_p(start + page * PAGE)
                size, offset = ctypes.c_size_t(PAGE), ctypes.c_long(page * PAGE)
                libc.mmap(place, size, 3, mmap.MAP_SHARED | MAP_FIXED, fd, offset)
        values = tuple(ctypes.string_at(start + page * PAGE, 1)[0] for page in range(2))
        libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(2 * PAGE))
        return values

    handlers = {
        uapi.MMAP: lambda r: mmap_answer(
            r, vm_ops=uapi.VMOP_FAULT | uapi.VMOP_NOTICES, set_flags=uapi.VM_DONTDUMP
        ),
        uapi.FAULT: faults(buffer),
    }
    assert daemon.run(handlers, client) == (1, 2)
    made = {one.area for one in daemon.seen if one.op == uapi.MMAP}
    closed = [one.area for one in daemon.seen if one.op == uapi.VMA_CLOSE]
    assert len(made) == 2 and sorted(closed) == sorted(made)
    assert daemon.seen[-1].op == uapi.RELEASE
    assert counters()["areas"] == 0


def test_who_ends_does_not_wait_for_a_slow_daemon() -> None:
    """Thousands of notices are left behind at once, though nobody fetches them."""
    with Daemon(timeout_ms=3000) as daemon:
        daemon.create(has=uapi.HAS_MMAP)
        buffer = daemon.alloc(1)

        def client() -> None:
            """Each move is an area that opens and one that closes."""
            libc = ctypes.CDLL(None)
            area, room = mapped(1), mmap.mmap(-1, 2 * PAGE)
            at = ctypes.addressof(ctypes.c_char.from_buffer(area))
            there = ctypes.addressof(ctypes.c_char.from_buffer(room))
            for turn in range(2060):
                to = there + (turn & 1) * PAGE
                libc.mremap(ctypes.c_void_p(at), PAGE, PAGE, 3, ctypes.c_void_p(to))
                at = to
            os._exit(0)

        process = Client(client)
        daemon.reply(daemon.get(uapi.OPEN))
        request, _ = daemon.next(timeout_ms=20000)
        daemon.next(maps(buffer, vm_ops=uapi.VMOP_NOTICES)(request), flags=uapi.NEXT_REPLY)
        process.wait(20)  # by itself each of the last 24 would have waited for 3 s
        daemon.serve({}, process)
        assert daemon.ops().count(uapi.VMA_OPEN) == 2060
        assert daemon.ops().count(uapi.VMA_CLOSE) == 2061


@pytest.mark.parametrize("kind", ["pages", "frames", "faults"])
@pytest.mark.parametrize("flags", [mmap.MAP_SHARED, mmap.MAP_PRIVATE], ids=["shared", "private"])
def test_all_rights_that_a_reply_may_take_away(daemon: Daemon, flags: int, kind: str) -> None:
    """A right that is in use can't be taken away: EACCES. All others can, and the kernel agrees.

    The kernel is silent, and a private page stays private: a child's write is not the parent's.
    """
    daemon.create()
    buffer = daemon.alloc(1)
    current = [0]

    def handle(request: uapi.Request) -> uapi.Reply:
        if kind == "faults":
            return mmap_answer(request, clear_flags=current[0], vm_ops=uapi.VMOP_FAULT)
        one = uapi.MAP_PAGE if kind == "pages" else uapi.MAP_PFN
        return maps(buffer, one, clear_flags=current[0])(request)  # type: ignore[return-value]

    def client(prot: int) -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        with opened() as fd:
            got = libc.mmap(None, ctypes.c_size_t(PAGE), prot, flags, fd, ctypes.c_long(0))
        at = ctypes.c_void_p(got)
        if at.value == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        child = os.fork()
        if not child:
            if prot & mmap.PROT_WRITE:
                ctypes.memset(at, 7, 1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        value = ctypes.string_at(at, 1)[0] if prot & mmap.PROT_READ else 0
        libc.mprotect(at, PAGE, 0)
        libc.mprotect(at, PAGE, prot)
        return value

    for prot, *cleared in itertools.product(range(1, 8), *[(0, 1)] * 3):
        rights = zip(cleared, (MAYREAD, uapi.VM_MAYWRITE, MAYEXEC), strict=True)
        current[0] = sum(bit for is_cleared, bit in rights if is_cleared)
        in_use = prot & sum(1 << n for n, is_cleared in enumerate(cleared) if is_cleared)
        buffer.memory[0] = 0
        try:
            value = daemon.run(
                {uapi.MMAP: handle, uapi.FAULT: faults(buffer)},
                lambda prot=prot: client(prot),  # type: ignore[misc]
            )
        except OSError as error:
            assert error.errno == errno.EACCES and in_use, (prot, cleared)
            continue
        assert not in_use, (prot, cleared)
        if prot & 3 == 3:
            assert value == (7 if flags == mmap.MAP_SHARED else 0), (prot, cleared)
