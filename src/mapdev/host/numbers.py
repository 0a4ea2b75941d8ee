"""Defines constants of Linux's system calls that hosts need and drivers don't, under their names.

What drivers need too is in `mapdev.linux.numbers`; ``F_*`` is in Python's `fcntl`. They are the
same on x86-64 and aarch64; what differs between processors is in `mapdev.host.embedded.arch`.

Source: include/uapi/linux/fcntl.h, openat2.h, sched.h, mman.h, fs.h, uio.h, capability.h,
include/uapi/asm-generic/mman-common.h
"""

from __future__ import annotations

ULONG_MAX = (1 << 64) - 1
UINT_MAX = (1 << 32) - 1

# Paths
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = AT_REMOVEDIR = 0x200
AT_SYMLINK_FOLLOW = 0x400
AT_NO_AUTOMOUNT = 0x800
AT_EMPTY_PATH = 0x1000
AT_STATX_DONT_SYNC = 0x4000
AT_STATX_SYNC_TYPE = 0x6000
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 1, 2, 4
RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_CACHED = 8, 0x10, 0x20
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4

# Reading and writing
MAX_RW_COUNT = 0x7FFFF000
UIO_MAXIOV = 1024
RWF_HIPRI = 1

# Areas
MS_ASYNC, MS_INVALIDATE, MS_SYNC = 1, 2, 4
MLOCK_ONFAULT = 1
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4
MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED = range(5)
(MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK, MADV_MERGEABLE, MADV_UNMERGEABLE,
 MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_DODUMP, MADV_WIPEONFORK, MADV_KEEPONFORK,
 MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_DONTNEED_LOCKED,
 MADV_COLLAPSE) = range(8, 26)  # fmt: skip

# Processes
MCL_FUTURE, MCL_ONFAULT = 2, 4
CLONE_CHILD_CLEARTID = 0x200000
CLONE_VM, CLONE_FS, CLONE_FILES, CLONE_SIGHAND, CLONE_VFORK = 0x100, 0x200, 0x400, 0x800, 0x4000
CLONE_PIDFD, CLONE_PARENT_SETTID = 0x1000, 0x100000
CLONE_CHILD_SETTID, CLONE_NEWPID = 0x1000000, 0x20000000
CLONE_THREAD, CLONE_NEWNS, CLONE_SYSVSEM, CLONE_UNTRACED = 0x10000, 0x20000, 0x40000, 0x800000
CAP_FOWNER, CAP_IPC_LOCK, CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_SYS_ADMIN = 3, 14, 16, 19, 21
CAP_CHOWN, CAP_FSETID, CAP_LEASE = 0, 4, 28


def numbers_in_use() -> tuple[set[int], set[int]]:
    """Return the majors, and the minors of major 10 (misc), that the real machine uses."""
    used: list[set[int]] = []
    for path in ("/proc/devices", "/proc/misc"):
        numbers: set[int] = set()
        try:
            with open(path) as file:  # noqa: PTH123 - pathlib takes long to import
                for line in file:
                    if line.startswith("Block"):
                        break
                    first = line.split(None, 1)[0] if line.strip() else ""
                    if first.isdigit():
                        numbers.add(int(first))
        except OSError:
            pass
        used.append(numbers)
    return used[0], used[1]


F_SETOWN_EX = 15
