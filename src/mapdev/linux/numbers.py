"""The kernel's numbers: page size, flag bits and masks, under the kernel's names.

Values that user space sees (``PROT_*``, ``MAP_*``, ``O_*``, ``EPOLL*``) are those of the running
machine. Values inside the kernel (``VM_*``, ``GFP_*``) are those of Linux 6.1, which a driver
must treat as opaque, as in C. Nothing here may do a system call or hold state.
"""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

import errno as _errno
import mmap as _mmap
import os as _os

__all__ = [
    "EPOLLERR", "EPOLLET", "EPOLLEXCLUSIVE", "EPOLLHUP", "EPOLLIN", "EPOLLMSG", "EPOLLNVAL",
    "EPOLLONESHOT", "EPOLLOUT", "EPOLLPRI", "EPOLLRDBAND", "EPOLLRDHUP", "EPOLLRDNORM",
    "EPOLLWAKEUP", "EPOLLWRBAND", "EPOLLWRNORM", "GFP_ATOMIC", "GFP_COMP", "GFP_DMA", "GFP_DMA32",
    "GFP_HIGHUSER", "GFP_KERNEL", "GFP_NOFS", "GFP_NOIO", "GFP_NOWAIT", "GFP_USER", "GFP_ZERO",
    "HZ", "MAP_ANONYMOUS", "MAP_DENYWRITE", "MAP_EXECUTABLE", "MAP_FIXED", "MAP_FIXED_NOREPLACE",
    "MAP_GROWSDOWN", "MAP_HUGETLB", "MAP_LOCKED", "MAP_NONBLOCK", "MAP_NORESERVE", "MAP_POPULATE",
    "MAP_PRIVATE", "MAP_SHARED", "MAP_SHARED_VALIDATE", "MAP_STACK", "MAP_SYNC", "MAP_TYPE",
    "MAX_ORDER", "MAX_SCHEDULE_TIMEOUT", "O_ACCMODE", "O_APPEND", "O_ASYNC", "O_CLOEXEC", "O_CREAT",
    "O_DIRECT", "O_DIRECTORY", "O_DSYNC", "O_EXCL", "O_NOATIME", "O_NOCTTY", "O_NOFOLLOW",
    "O_NONBLOCK", "O_PATH", "O_RDONLY", "O_RDWR", "O_SYNC", "O_TMPFILE", "O_TRUNC", "O_WRONLY",
    "PAGE_ALIGN", "PAGE_MASK", "PAGE_READONLY", "PAGE_SHARED", "PAGE_SHIFT", "PAGE_SIZE",
    "PF_KTHREAD", "POLLERR", "POLLHUP", "POLLIN", "POLLMSG", "POLLNVAL", "POLLOUT", "POLLPRI",
    "POLLRDBAND", "POLLRDHUP", "POLLRDNORM", "POLLWRBAND", "POLLWRNORM", "PROT_EXEC",
    "PROT_GROWSDOWN", "PROT_GROWSUP", "PROT_NONE", "PROT_READ", "PROT_SEM", "PROT_WRITE",
    "SEEK_CUR", "SEEK_DATA", "SEEK_END", "SEEK_HOLE", "SEEK_SET", "VM_ACCOUNT", "VM_ALLOC",
    "VM_DONTCOPY", "VM_DONTDUMP", "VM_DONTEXPAND", "VM_EXEC", "VM_GROWSDOWN", "VM_HUGETLB", "VM_IO",
    "VM_LOCKED", "VM_MAYEXEC", "VM_MAYREAD", "VM_MAYSHARE", "VM_MAYWRITE", "VM_MIXEDMAP", "VM_NONE",
    "VM_NORESERVE", "VM_PFNMAP", "VM_RAND_READ", "VM_READ", "VM_SEQ_READ", "VM_SHARED",
    "VM_SPECIAL", "VM_SYNC", "VM_USERMAP", "VM_WIPEONFORK", "VM_WRITE", "__GFP_COMP",
    "__GFP_DIRECT_RECLAIM", "__GFP_DMA", "__GFP_DMA32", "__GFP_FS", "__GFP_HARDWALL", "__GFP_HIGH",
    "__GFP_HIGHMEM", "__GFP_IO", "__GFP_KSWAPD_RECLAIM", "__GFP_MOVABLE", "__GFP_NOFAIL",
    "__GFP_NORETRY", "__GFP_NOWARN", "__GFP_RECLAIM", "__GFP_RETRY_MAYFAIL", "__GFP_ZERO",
    "get_order", "offset_in_page",
]  # fmt: skip

# Pages (asm/page.h). The frame size of the machine that runs us: 4 KiB on x86-64, and 4, 16 or
# 64 KiB on aarch64.
PAGE_SIZE: int = _mmap.PAGESIZE
PAGE_SHIFT: int = PAGE_SIZE.bit_length() - 1
PAGE_MASK: int = ~(PAGE_SIZE - 1)
MAX_ORDER: int = 10  # inclusive, as since 6.4: the largest block is PAGE_SIZE << MAX_ORDER


def PAGE_ALIGN(size: int) -> int:
    """Round a size or an address up to a whole number of pages.

    :param size: bytes
    :return: bytes, a multiple of ``PAGE_SIZE``

    Source: include/linux/mm.h
    """
    return (size + PAGE_SIZE - 1) & PAGE_MASK


def offset_in_page(addr: int) -> int:
    """Give the distance of an address from the start of its page.

    :param addr: bytes, an address or an offset
    :return: bytes, 0 to ``PAGE_SIZE - 1``

    Source: include/linux/mm.h
    """
    return addr & ~PAGE_MASK


def get_order(size: int) -> int:
    """Give the smallest order whose block holds ``size`` bytes.

    :param size: bytes, more than 0
    :return: an order: the block has ``1 << order`` pages
    :raises OSError: EINVAL, the size is 0 or negative (the kernel's answer is undefined)

    Source: include/asm-generic/getorder.h
    """
    if size <= 0:
        raise OSError(_errno.EINVAL, f"get_order of {size} bytes")
    return ((size - 1) >> PAGE_SHIFT).bit_length()


# vm_area_struct.vm_flags (include/linux/mm.h)
VM_NONE = 0x00000000
VM_READ = 0x00000001
VM_WRITE = 0x00000002
VM_EXEC = 0x00000004
VM_SHARED = 0x00000008
VM_MAYREAD = 0x00000010
VM_MAYWRITE = 0x00000020
VM_MAYEXEC = 0x00000040
VM_MAYSHARE = 0x00000080
VM_GROWSDOWN = 0x00000100
VM_PFNMAP = 0x00000400
VM_LOCKED = 0x00002000
VM_IO = 0x00004000
VM_SEQ_READ = 0x00008000
VM_RAND_READ = 0x00010000
VM_DONTCOPY = 0x00020000
VM_DONTEXPAND = 0x00040000
VM_ACCOUNT = 0x00100000
VM_NORESERVE = 0x00200000
VM_HUGETLB = 0x00400000
VM_SYNC = 0x00800000
VM_WIPEONFORK = 0x02000000
VM_DONTDUMP = 0x04000000
VM_MIXEDMAP = 0x10000000
VM_SPECIAL = VM_IO | VM_DONTEXPAND | VM_PFNMAP | VM_MIXEDMAP

# vm_struct.flags of vmalloc areas (include/linux/vmalloc.h)
VM_ALLOC = 0x00000002
VM_USERMAP = 0x00000008

# mmap(2)
PROT_NONE = 0x0
PROT_READ = 0x1
PROT_WRITE = 0x2
PROT_EXEC = 0x4
PROT_SEM = 0x8
PROT_GROWSDOWN = 0x01000000
PROT_GROWSUP = 0x02000000

# Of areas (asm/pgtable_types.h): what `remap_pfn_range` takes in place of vm_page_prot
PAGE_SHARED = PROT_READ | PROT_WRITE
PAGE_READONLY = PROT_READ

MAP_SHARED = 0x01
MAP_PRIVATE = 0x02
MAP_SHARED_VALIDATE = 0x03
MAP_TYPE = 0x0F
MAP_FIXED = 0x10
MAP_ANONYMOUS = 0x20
MAP_GROWSDOWN = 0x0100
MAP_DENYWRITE = 0x0800
MAP_EXECUTABLE = 0x1000
MAP_LOCKED = 0x2000
MAP_NORESERVE = 0x4000
MAP_POPULATE = 0x8000
MAP_NONBLOCK = 0x10000
MAP_STACK = 0x20000
MAP_HUGETLB = 0x40000
MAP_SYNC = 0x80000
MAP_FIXED_NOREPLACE = 0x100000

# poll(2), epoll(7)
EPOLLIN = 0x0001
EPOLLPRI = 0x0002
EPOLLOUT = 0x0004
EPOLLERR = 0x0008
EPOLLHUP = 0x0010
EPOLLNVAL = 0x0020
EPOLLRDNORM = 0x0040
EPOLLRDBAND = 0x0080
EPOLLWRNORM = 0x0100
EPOLLWRBAND = 0x0200
EPOLLMSG = 0x0400
EPOLLRDHUP = 0x2000
EPOLLEXCLUSIVE = 1 << 28
EPOLLWAKEUP = 1 << 29
EPOLLONESHOT = 1 << 30
EPOLLET = 1 << 31
POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
POLLRDNORM, POLLRDBAND, POLLWRNORM, POLLWRBAND = 0x040, 0x080, 0x100, 0x200
POLLMSG, POLLRDHUP = 0x0400, 0x2000

# Allocation flags (include/linux/gfp_types.h)
__GFP_DMA = 0x01
__GFP_HIGHMEM = 0x02
__GFP_DMA32 = 0x04
__GFP_MOVABLE = 0x08
__GFP_HIGH = 0x20
__GFP_IO = 0x40
__GFP_FS = 0x80
__GFP_ZERO = 0x100
__GFP_DIRECT_RECLAIM = 0x400
__GFP_KSWAPD_RECLAIM = 0x800
__GFP_RECLAIM = __GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM
__GFP_NOWARN = 0x2000
__GFP_RETRY_MAYFAIL = 0x4000
__GFP_NOFAIL = 0x8000
__GFP_NORETRY = 0x10000
__GFP_COMP = 0x40000
__GFP_HARDWALL = 0x100000
GFP_ATOMIC = __GFP_HIGH | __GFP_KSWAPD_RECLAIM
GFP_KERNEL = __GFP_RECLAIM | __GFP_IO | __GFP_FS
GFP_NOWAIT = __GFP_KSWAPD_RECLAIM
GFP_NOIO = __GFP_RECLAIM
GFP_NOFS = __GFP_RECLAIM | __GFP_IO
GFP_USER = GFP_KERNEL | __GFP_HARDWALL
GFP_HIGHUSER = GFP_USER | __GFP_HIGHMEM
GFP_DMA = __GFP_DMA
GFP_DMA32 = __GFP_DMA32
# Python mangles names that begin with two underscores inside a class body, where drivers live.
# These two are mapdev's spelling of __GFP_ZERO and __GFP_COMP for use there.
GFP_ZERO = __GFP_ZERO
GFP_COMP = __GFP_COMP

# file.f_flags (open(2)); some differ between x86-64 and aarch64
O_RDONLY = _os.O_RDONLY
O_WRONLY = _os.O_WRONLY
O_RDWR = _os.O_RDWR
O_ACCMODE = _os.O_ACCMODE
O_CREAT = _os.O_CREAT
O_EXCL = _os.O_EXCL
O_NOCTTY = _os.O_NOCTTY
O_TRUNC = _os.O_TRUNC
O_APPEND = _os.O_APPEND
O_NONBLOCK = _os.O_NONBLOCK
O_DSYNC = _os.O_DSYNC
O_SYNC = _os.O_SYNC
O_ASYNC = _os.O_ASYNC
O_DIRECT = _os.O_DIRECT
O_DIRECTORY = _os.O_DIRECTORY
O_NOFOLLOW = _os.O_NOFOLLOW
O_NOATIME = _os.O_NOATIME
O_CLOEXEC = _os.O_CLOEXEC
O_PATH = _os.O_PATH
O_TMPFILE = _os.O_TMPFILE

# lseek(2)
SEEK_SET = 0
SEEK_CUR = 1
SEEK_END = 2
SEEK_DATA = 3
SEEK_HOLE = 4

# tasks (include/linux/sched.h) and time
PF_KTHREAD = 0x00200000
HZ = 1000  # jiffies a second
MAX_SCHEDULE_TIMEOUT = (1 << 63) - 1  # jiffies: for ever
