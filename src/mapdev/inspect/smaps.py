"""The areas of a live process with their flags and sizes, as /proc/PID/smaps lists them.

`read_areas` returns them as the vocabulary's `VmAreaStruct`. It changes nothing in the process.

Source: proc_pid_smaps(5), fs/proc/task_mmu.c (show_smap_vma_flags)
"""

from __future__ import annotations

from collections.abc import Iterable

from mapdev.inspect.maps import MapsLine, parse_line
from mapdev.linux import numbers
from mapdev.linux.numbers import PAGE_SHIFT
from mapdev.linux.vma import VmAreaStruct

__all__ = ["VM_FLAG_NAMES", "LiveArea", "read_areas"]

VM_FLAG_NAMES = {
    "rd": "VM_READ", "wr": "VM_WRITE", "ex": "VM_EXEC", "sh": "VM_SHARED",
    "mr": "VM_MAYREAD", "mw": "VM_MAYWRITE", "me": "VM_MAYEXEC", "ms": "VM_MAYSHARE",
    "gd": "VM_GROWSDOWN", "pf": "VM_PFNMAP", "lo": "VM_LOCKED", "lf": "VM_LOCKONFAULT",
    "io": "VM_IO", "sr": "VM_SEQ_READ", "rr": "VM_RAND_READ", "dc": "VM_DONTCOPY",
    "de": "VM_DONTEXPAND", "ac": "VM_ACCOUNT", "nr": "VM_NORESERVE", "ht": "VM_HUGETLB",
    "sf": "VM_SYNC", "ar": "VM_ARCH_1", "wf": "VM_WIPEONFORK", "dd": "VM_DONTDUMP",
    "bt": "VM_ARM64_BTI", "mt": "VM_MTE", "sd": "VM_SOFTDIRTY", "mm": "VM_MIXEDMAP",
    "hg": "VM_HUGEPAGE", "nh": "VM_NOHUGEPAGE", "mg": "VM_MERGEABLE", "um": "VM_UFFD_MISSING",
    "uw": "VM_UFFD_WP", "ui": "VM_UFFD_MINOR", "ss": "VM_SHADOW_STACK", "sl": "VM_SEALED",
    "dp": "VM_DROPPABLE", "gu": "VM_MAYBE_GUARD",
}  # fmt: skip
"""The kernel's names of the two letters in the line VmFlags."""


class LiveArea(VmAreaStruct):
    """An area of a live process: ``struct vm_area_struct`` and what smaps says of it.

    ``vm_flags`` holds the bits that `mapdev.linux` has numbers for; `flags` names all.

    :ivar line: the area's line in /proc/PID/maps.
    :ivar flags: names of all flags that are set, in the kernel's order; a flag that is not known
        here appears as its two letters.
    :ivar sizes: the counters, such as ``Rss`` and ``Pss``, in bytes.
    """

    __slots__ = ("flags", "line", "sizes")

    def __init__(self, line: MapsLine, letters: Iterable[str], sizes: dict[str, int]) -> None:
        self.line = line
        self.sizes = sizes
        self.flags = tuple(VM_FLAG_NAMES.get(pair, pair) for pair in letters)
        bits = sum({getattr(numbers, name, 0) for name in self.flags})
        super().__init__(line.start, line.end, line.offset >> PAGE_SHIFT, bits)


def read_areas(pid: int | str) -> list[LiveArea]:
    """Return the areas of process or thread `pid` (or ``self``), in the order of their addresses.

    :raises OSError: ESRCH or ENOENT no such process, EACCES not allowed to look.
    """
    with open(f"/proc/{pid}/smaps", "rb", buffering=0) as file:  # noqa: PTH123 - as in maps.py
        text = file.readall().decode(errors="surrogateescape")
    areas: list[LiveArea] = []
    line: MapsLine | None = None
    sizes: dict[str, int] = {}
    for row in text.splitlines():
        name, _, value = row.partition(":")
        if " " in name:  # the range and what follows
            line, sizes = parse_line(row), {}
        elif name == "VmFlags" and line is not None:
            areas.append(LiveArea(line, value.split(), sizes))
        elif value.endswith(" kB"):
            sizes[name] = int(value[:-3]) << 10
    return areas
