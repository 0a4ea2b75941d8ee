"""Handles calls about the pages behind addresses: mincore, move_pages, and memory policies.

A device's pages are in no page cache. Pages of a PFN-mapped area are none, for these calls.

Source: mm/mincore.c, mm/migrate.c (do_pages_stat, do_pages_move), mm/mempolicy.c
"""

from __future__ import annotations

import errno
import os
import struct

from mapdev.host.embedded.calls.area import is_all_ours
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict, signed32
from mapdev.host.embedded.libc import move_pages
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import ULONG_MAX
from mapdev.linux.numbers import PAGE_MASK, PAGE_SIZE, VM_PFNMAP

_MPOL_F_NODE, _MPOL_F_ADDR = 1, 2
_MPOL_MF_FLAGS = 0b111  # STRICT, MOVE, MOVE_ALL
_MPOL_MODE_FLAGS = 0xE000
_MOST_NODES = 1 << 15  # bits; a page of them
_MANY = 1 << 16  # pages of one move_pages call


def _do_mincore(kernel: Subsystems, call: Call) -> int | Verdict:
    start, length, vector = call.args[:3]
    end = start + (length + PAGE_SIZE - 1 & PAGE_MASK)
    space = kernel.spaces.of(call.tid)
    if space is None or start % PAGE_SIZE or start == end or end > ULONG_MAX:
        return PASS_ON
    if not is_all_ours(space, start, end):
        return PASS_ON
    there = bytearray()
    for area in space.overlapping(start, end):
        for page in range(max(start, area.vm_start), min(end, area.vm_end), PAGE_SIZE):
            there.append(_is_there(area, page))
    call.write_user(vector, there)
    return 0


def _is_there(area: DeviceArea, page: int) -> bool:
    return not area.vm_flags & VM_PFNMAP and area.is_mapped(page, page + PAGE_SIZE)


def _do_get_mempolicy(kernel: Subsystems, call: Call) -> Verdict:
    addr, flags = call.args[3:5]
    space = kernel.spaces.of(call.tid)
    area = space.find(addr) if space is not None else None
    if area is not None and flags == _MPOL_F_NODE | _MPOL_F_ADDR and area.vm_flags & VM_PFNMAP:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return PASS_ON


def _do_mbind(kernel: Subsystems, call: Call) -> Verdict:
    """Split areas as the kernel does where a policy begins and ends; it keeps the policy."""
    start, length, mode, nodes, max_node, flags = call.args
    end = start + (length + PAGE_SIZE - 1 & PAGE_MASK)
    space = kernel.spaces.of(call.tid)
    if space is None or start % PAGE_SIZE or start == end or flags & ~_MPOL_MF_FLAGS:
        return PASS_ON
    policy: tuple[int, bytes] | None = None
    if mode & ~_MPOL_MODE_FLAGS:  # not MPOL_DEFAULT
        if not 0 < max_node <= _MOST_NODES:
            return PASS_ON
        policy = (mode, call.read_user(nodes, (max_node + 62) // 64 * 8))
    for area in space.overlapping(start, end):
        if area.policy != policy:
            low, high = max(start, area.vm_start), min(end, area.vm_end)
            for part in space.isolate(call.task, low, high):
                part.policy = policy
    space.merge(start, end)
    return PASS_ON


def _do_move_pages(kernel: Subsystems, call: Call) -> int | Verdict:
    pid, count, pages, nodes, status = call.args[:5]
    pid = signed32(pid) or call.tid
    space = kernel.spaces.of(pid)
    if space is None or not 0 < count <= _MANY:
        return PASS_ON
    raw = call.read_user(pages, count * 8)
    addresses = struct.unpack(f"<{len(raw) // 8}Q", raw)
    if not any(space.find(addr) for addr in addresses):
        return PASS_ON
    if nodes:
        call.read_user(nodes, count * 4)
    found = [_node_of(pid, space, addr, bool(nodes)) for addr in addresses]
    call.write_user(status, struct.pack(f"<{len(found)}i", *found))
    return 0


def _node_of(pid: int, space: MmAreas, addr: int, to_move: bool) -> int:
    """Return what move_pages reports of a page: its node, or a negative errno."""
    area = space.find(addr)
    if area is None:
        return move_pages(pid, addr)
    if area.vm_flags & VM_PFNMAP:
        return -errno.EFAULT if to_move else -errno.ENOENT
    page = addr & PAGE_MASK
    if not area.is_mapped(page, page + PAGE_SIZE):
        return -errno.ENOENT
    # A page that a driver has inserted is there for the kernel, whether it was touched or not.
    return max(0, move_pages(pid, addr))


HANDLERS: dict[str, Handler] = {
    "mincore": _do_mincore,
    "get_mempolicy": _do_get_mempolicy,
    "mbind": _do_mbind,
    "move_pages": _do_move_pages,
}
