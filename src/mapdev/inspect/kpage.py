"""What the kernel says of page frames in /proc/kpageflags and /proc/kpagecount; for root only.

Source: Documentation/admin-guide/mm/pagemap.rst, include/uapi/linux/kernel-page-flags.h,
    include/linux/kernel-page-flags.h
"""

from __future__ import annotations

import os
from collections.abc import Iterable

__all__ = ["KPAGEFLAGS", "FrameFiles", "flag_names"]

KPAGEFLAGS = {
    0: "LOCKED", 1: "ERROR", 2: "REFERENCED", 3: "UPTODATE", 4: "DIRTY", 5: "LRU", 6: "ACTIVE",
    7: "SLAB", 8: "WRITEBACK", 9: "RECLAIM", 10: "BUDDY", 11: "MMAP", 12: "ANON",
    13: "SWAPCACHE", 14: "SWAPBACKED", 15: "COMPOUND_HEAD", 16: "COMPOUND_TAIL", 17: "HUGE",
    18: "UNEVICTABLE", 19: "HWPOISON", 20: "NOPAGE", 21: "KSM", 22: "THP", 23: "OFFLINE",
    24: "ZERO_PAGE", 25: "IDLE", 26: "PGTABLE",
    32: "RESERVED", 33: "MLOCKED", 34: "OWNER_2", 35: "PRIVATE", 36: "PRIVATE_2",
    37: "OWNER_PRIVATE", 38: "ARCH", 39: "UNCACHED", 40: "SOFTDIRTY", 41: "ARCH_2", 42: "ARCH_3",
}  # fmt: skip
"""Names of the bits of /proc/kpageflags, without the KPF_ before them."""


def flag_names(flags: int) -> tuple[str, ...]:
    """Name the bits of a number from /proc/kpageflags; an unknown one is ``bit N``."""
    return tuple(
        KPAGEFLAGS.get(bit, f"bit {bit}") for bit in range(flags.bit_length()) if flags & 1 << bit
    )


class FrameFiles:
    """Both files, open; a context manager.

    :raises OSError: EACCES or EPERM without CAP_SYS_ADMIN; ENOENT the kernel was built without
        CONFIG_PROC_PAGE_MONITOR.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        try:
            for name in ("kpageflags", "kpagecount"):
                self._files.append(os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC))
        except BaseException:
            self.close()
            raise

    def of(self, pfns: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Return flags and count of each frame: how often it is mapped, 0 of one without RAM.

        Frames in a row are read at once.
        """
        found: dict[int, tuple[int, int]] = {}
        for first, last in _runs(sorted(set(pfns))):
            flags, counts = (self._numbers(file, first, last) for file in self._files)
            found.update(zip(range(first, last), zip(flags, counts, strict=True), strict=True))
        return found

    def _numbers(self, file: int, first: int, last: int) -> list[int]:
        data = os.pread(file, 8 * (last - first), 8 * first)
        data = data.ljust(8 * (last - first), b"\0")  # there are no frames so high
        return list(memoryview(data).cast("Q"))

    def close(self) -> None:
        """Close both."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> FrameFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _runs(pfns: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for pfn in pfns:
        if runs and runs[-1][1] == pfn:
            runs[-1] = runs[-1][0], pfn + 1
        else:
            runs.append((pfn, pfn + 1))
    return runs
