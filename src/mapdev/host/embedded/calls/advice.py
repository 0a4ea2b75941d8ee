"""What madvise(2) answers on a device's area, by advice and by kind of area; no action.

Source: mm/madvise.c
"""

from __future__ import annotations

import errno
from collections.abc import Callable

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

(NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED) = range(5)
(FREE, REMOVE, DONTFORK, DOFORK, MERGEABLE, UNMERGEABLE, HUGEPAGE, NOHUGEPAGE) = range(8, 16)
(DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK, COLD, PAGEOUT, POPULATE_READ, POPULATE_WRITE,
 DONTNEED_LOCKED, COLLAPSE) = range(16, 26)  # fmt: skip

_READING = VM_RAND_READ | VM_SEQ_READ

# The bits of vm_flags with which an advice is EINVAL.
_INVALID_WITH = {
    **dict.fromkeys((NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTFORK, MERGEABLE, UNMERGEABLE,
                     HUGEPAGE, NOHUGEPAGE, DONTDUMP, KEEPONFORK), 0),
    **dict.fromkeys((DONTNEED, COLD, PAGEOUT), VM_LOCKED | VM_PFNMAP),
    DONTNEED_LOCKED: VM_PFNMAP,
    DOFORK: VM_IO,
    DODUMP: VM_SPECIAL,
    **dict.fromkeys((POPULATE_READ, POPULATE_WRITE), VM_IO | VM_PFNMAP),
}  # fmt: skip
_NEVER = (FREE, WIPEONFORK, COLLAPSE)  # for anonymous memory, or for files with huge pages

_CHANGES: dict[int, Callable[[int], int]] = {
    NORMAL: lambda flags: flags & ~_READING,
    RANDOM: lambda flags: flags & ~_READING | VM_RAND_READ,
    SEQUENTIAL: lambda flags: flags & ~_READING | VM_SEQ_READ,
    DONTFORK: lambda flags: flags | VM_DONTCOPY,
    DOFORK: lambda flags: flags & ~VM_DONTCOPY,
    DONTDUMP: lambda flags: flags | VM_DONTDUMP,
    DODUMP: lambda flags: flags & ~VM_DONTDUMP,
}


def answer_of(advice: int, vm_flags: int) -> int | None:
    """Return the errno of `advice` on an area with `vm_flags`; 0: taken; None: unknown."""
    if advice in _NEVER:
        return errno.EINVAL
    if advice == REMOVE:
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
    return advice in (DONTNEED, DONTNEED_LOCKED)
