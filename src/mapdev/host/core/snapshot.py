"""Describes a host at one moment, in plain values that JSON can carry.

`describe` lists devices, what drivers have allocated, and clients with their areas; `frames` lists
page frames with their state. Both only read, under the host's lock. The names of the fields of
areas are the kernel's; addresses are bytes, frame numbers and lengths of runs are pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mapdev.host.allocation import Allocation
from mapdev.linux import numbers
from mapdev.linux import page as pages
from mapdev.linux.context import FrameState
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE
from mapdev.linux.vma import VmAreaStruct

if TYPE_CHECKING:
    from mapdev.host.core.device import Device
    from mapdev.host.core.host import Host
    from mapdev.host.core.machine import HostMachine

__all__ = [
    "allocation_of", "area_of", "cache_name", "comm_of", "describe", "device_of", "frames",
    "page_flags", "vm_flags",
]  # fmt: skip

Described = dict[str, Any]

_AREA_FLAGS = {
    getattr(numbers, name): name
    for name in (
        "VM_READ", "VM_WRITE", "VM_EXEC", "VM_SHARED", "VM_MAYREAD", "VM_MAYWRITE", "VM_MAYEXEC",
        "VM_MAYSHARE", "VM_GROWSDOWN", "VM_PFNMAP", "VM_LOCKED", "VM_IO", "VM_SEQ_READ",
        "VM_RAND_READ", "VM_DONTCOPY", "VM_DONTEXPAND", "VM_ACCOUNT", "VM_NORESERVE",
        "VM_HUGETLB", "VM_SYNC", "VM_WIPEONFORK", "VM_DONTDUMP", "VM_MIXEDMAP",
    )
}  # fmt: skip
_FRAME_FLAGS = {
    getattr(pages, name): name
    for name in ("PG_reserved", "PG_head", "PG_tail", "PG_slab", "PG_buddy", "PG_held")
}


def vm_flags(bits: int) -> list[str]:
    """Spell out ``vm_flags``; bits without a name are left out."""
    return [name for bit, name in _AREA_FLAGS.items() if bits & bit]


def page_flags(bits: int) -> list[str]:
    """Spell out ``page->flags``."""
    return [name for bit, name in _FRAME_FLAGS.items() if bits & 1 << bit]


def cache_name(size: int) -> str:
    """Name the cache of kmalloc'ed objects of `size` bytes as the kernel does: ``kmalloc-1k``.

    Source: mm/slab_common.c (kmalloc_info)
    """
    if size < 1024:
        return f"kmalloc-{size}"
    return f"kmalloc-{size >> 10}k" if size < 1 << 20 else f"kmalloc-{size >> 20}M"


def comm_of(pid: int) -> str:
    """Return the name of a process's command, "" when it has ended."""
    try:
        with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:  # noqa: PTH123 - imports much
            return file.read().decode(errors="replace").rstrip("\n")
    except OSError:
        return ""


def device_of(device: Device) -> Described:
    """Describe a device: its node, its driver and its numbers, ``major:minor``."""
    number = device.inode.i_rdev
    return {
        "node": device.node, "driver": device.driver.name,
        "numbers": f"{number >> 20}:{number & 0xFFFFF}",
    }  # fmt: skip


def area_of(node: str, vma: VmAreaStruct) -> Described:
    """Describe an area; ``runs`` are [user address, first frame, number of frames, kind]."""
    ops = vma.vm_ops
    return {
        "node": node, "vm_start": vma.vm_start, "vm_end": vma.vm_end, "vm_pgoff": vma.vm_pgoff,
        "vm_flags": vma.vm_flags,
        "vm_ops": [] if ops is None else [
            name for name in sorted(ops.__slots__) if getattr(ops, name) is not None
        ],
        "runs": [[run.addr, run.pfn, run.nr_pages, run.kind] for run in vma.mapped],
    }  # fmt: skip


def allocation_of(machine: HostMachine, owner: str, allocation: Allocation) -> Described:
    """Describe memory that a driver has; ``runs`` are [first frame, number of frames]."""
    kind, addr, size, pfn = allocation
    nr_pages = max(1, size + addr % PAGE_SIZE + PAGE_SIZE - 1 >> PAGE_SHIFT)
    runs = [[pfn, nr_pages]]
    slab = None
    if kind == "vmalloc":
        runs = _vmalloc_runs(machine, addr)
    elif kind == "kmalloc" and size < PAGE_SIZE:
        slab = cache_name(machine.ksize(addr))
    return {"owner": owner, "kind": kind, "addr": addr, "size": size, "slab": slab, "runs": runs}


def _vmalloc_runs(machine: HostMachine, addr: int) -> list[list[int]]:
    nr_pages = machine.vmalloc_size(addr) >> PAGE_SHIFT
    kind, runs = machine.vmalloc_runs(addr, 0, nr_pages)
    if kind != "vmalloc":
        return [list(run) for run in runs]
    found: list[list[int]] = []
    for page in range(nr_pages):  # the kernel host's runs are of addresses, not of frames
        pfn = machine.vmalloc_to_pfn(addr + (page << PAGE_SHIFT))
        if found and sum(found[-1]) == pfn:
            found[-1][1] += 1
        else:
            found.append([pfn, 1])
    return found


def describe(host: Host) -> Described:
    """Describe `host`, whose lock the caller holds."""
    import os

    return {
        "host": type(host).__name__, "pid": os.getpid(), "page_size": PAGE_SIZE,
        "nr_frames": host.machine.nr_frames,
        "devices": [device_of(device) for device in host.devices],
        "allocations": _allocations(host),
        "processes": _processes(host),
    }  # fmt: skip


def _allocations(host: Host) -> list[Described]:
    owners: dict[Any, str] = {device.driver: device.driver.name for device in host.devices}
    owners[None] = "mapdev.alloc"
    return [
        allocation_of(host.machine, name, allocation)
        for owner, name in owners.items()
        for allocation in host.machine.owned_by(owner)
    ]


def _processes(host: Host) -> list[Described]:
    found: dict[int, Described] = {}
    for pid, device, vma in host.mapped_areas():
        process = found.setdefault(pid, {"pid": pid, "comm": comm_of(pid), "areas": []})
        process["areas"].append(area_of(device.node, vma))
    return list(found.values())


def frames(host: Host) -> list[Described]:
    """List the frames that drivers have or clients map, neighbours of one state together.

    ``mapped`` are [process, user address of the first frame] of each mapping.
    """
    found: list[Described] = []
    where = _mapped(host)
    seen: set[int] = set()
    owners: dict[int, Described] = {}
    for allocation in _allocations(host):
        for first, count in allocation["runs"]:
            for pfn in range(first, first + count):
                owners.setdefault(pfn, allocation)
    for pfn in sorted({*owners, *where}):
        if pfn not in seen:
            seen.add(pfn)
            _add(found, host.machine.frame(pfn), pfn, owners.get(pfn), where.get(pfn, []))
    return found


def _mapped(host: Host) -> dict[int, list[tuple[int, int]]]:
    where: dict[int, list[tuple[int, int]]] = {}
    for pid, _, vma in host.mapped_areas():
        for addr, pfn, nr_pages, kind, _ in vma.mapped:
            if kind != "vmalloc":
                for page in range(nr_pages):
                    where.setdefault(pfn + page, []).append((pid, addr + (page << PAGE_SHIFT)))
    return where


def _add(
    found: list[Described], state: FrameState, pfn: int, allocation: Described | None,
    mapped: Iterable[tuple[int, int]],
) -> None:  # fmt: skip
    fields = {
        "driver": getattr(state.owner, "name", None), "order": state.order, "head": state.head,
        "flags": page_flags(state.flags), "refcount": state.refcount, "mapcount": state.mapcount,
        "allocation": allocation and allocation["addr"], "kind": allocation and allocation["kind"],
        "slab": allocation and allocation["slab"],
    }  # fmt: skip
    here = [list(place) for place in mapped]
    if found and _goes_on(found[-1], fields, pfn, here):
        found[-1]["nr_pages"] += 1
    else:
        found.append({"pfn": pfn, "nr_pages": 1, **fields, "mapped": here})


_OF_BLOCKS = ("flags", "head")  # which differ within what is one row all the same


def _goes_on(last: Described, fields: Described, pfn: int, mapped: list[list[int]]) -> bool:
    distance = last["nr_pages"] << PAGE_SHIFT
    return (
        last["pfn"] + last["nr_pages"] == pfn
        and all(last[name] == value for name, value in fields.items() if name not in _OF_BLOCKS)
        and (last["head"] == fields["head"] or not fields["order"])
        and (last["flags"] == fields["flags"] or "PG_tail" in fields["flags"])
        and [[pid, addr + distance] for pid, addr in last["mapped"]] == mapped
    )
