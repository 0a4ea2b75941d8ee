"""madvise(2): computes the kernel's answer on a device's area, by advice and kind; changes nothing.

Source: mm/madvise.c
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from mapdev.host.numbers import (
    MADV_COLD,
    MADV_COLLAPSE,
    MADV_DODUMP,
    MADV_DOFORK,
    MADV_DONTDUMP,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_DONTNEED_LOCKED,
    MADV_FREE,
    MADV_HUGEPAGE,
    MADV_KEEPONFORK,
    MADV_MERGEABLE,
    MADV_NOHUGEPAGE,
    MADV_NORMAL,
    MADV_PAGEOUT,
    MADV_POPULATE_READ,
    MADV_POPULATE_WRITE,
    MADV_RANDOM,
    MADV_REMOVE,
    MADV_SEQUENTIAL,
    MADV_UNMERGEABLE,
    MADV_WILLNEED,
    MADV_WIPEONFORK,
)
from mapdev.linux.numbers import (
    VM_DONTCOPY,
    VM_DONTDUMP,
    VM_IO,
    VM_LOCKED,
    VM_PFNMAP,
    VM_RAND_READ,
    VM_SEQ_READ,
    VM_SHARED,
    VM_SPECIAL,
    VM_WRITE,
)

_READING = VM_RAND_READ | VM_SEQ_READ

# The bits of vm_flags with which an advice is EINVAL.
_INVALID_WITH = {
    **dict.fromkeys((MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTFORK,
                     MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
                     MADV_DONTDUMP, MADV_KEEPONFORK), 0),
    **dict.fromkeys((MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT), VM_LOCKED | VM_PFNMAP),
    MADV_DONTNEED_LOCKED: VM_PFNMAP,
    MADV_DOFORK: VM_IO,
    MADV_DODUMP: VM_SPECIAL,
    **dict.fromkeys((MADV_POPULATE_READ, MADV_POPULATE_WRITE), VM_IO | VM_PFNMAP),
}  # fmt: skip
# For anonymous memory, or for files with huge pages.
_NEVER = (MADV_FREE, MADV_WIPEONFORK, MADV_COLLAPSE)

_CHANGES: dict[int, Callable[[int], int]] = {
    MADV_NORMAL: lambda flags: flags & ~_READING,
    MADV_RANDOM: lambda flags: flags & ~_READING | VM_RAND_READ,
    MADV_SEQUENTIAL: lambda flags: flags & ~_READING | VM_SEQ_READ,
    MADV_DONTFORK: lambda flags: flags | VM_DONTCOPY,
    MADV_DOFORK: lambda flags: flags & ~VM_DONTCOPY,
    MADV_DONTDUMP: lambda flags: flags | VM_DONTDUMP,
    MADV_DODUMP: lambda flags: flags & ~VM_DONTDUMP,
}


def answer_of(advice: int, vm_flags: int) -> int | None:
    """Return the errno of `advice` on an area with `vm_flags`; 0: taken; None: unknown."""
    if advice in _NEVER:
        return errno.EINVAL
    if advice == MADV_REMOVE:
        if vm_flags & VM_LOCKED:
            return errno.EINVAL
        both = VM_SHARED | VM_WRITE
        return errno.ENODEV if vm_flags & both == both else errno.EACCES
    invalid_with = _INVALID_WITH.get(advice)
    if invalid_with is None:
        return None
    return errno.EINVAL if vm_flags & invalid_with else 0


def flags_after(advice: int) -> Callable[[int], int] | None:
    """Return how `advice` changes vm_flags, None if it does not."""
    return _CHANGES.get(advice)


def is_zap(advice: int) -> bool:
    """Say whether `advice` takes pages away."""
    return advice in (MADV_DONTNEED, MADV_DONTNEED_LOCKED)
