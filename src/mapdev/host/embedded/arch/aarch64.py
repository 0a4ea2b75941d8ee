"""aarch64: registers, system call numbers and structures that the embedded host needs."""

from __future__ import annotations

import struct
from collections.abc import Sequence

AUDIT_ARCH = 0xC00000B7
SYSCALL_INSTRUCTION_SIZE = 4  # bytes: svc #0
HAS_GATE = False  # see syscalls/gate.py

# struct user_pt_regs, as words of 8 bytes (arch/arm64/include/uapi/asm/ptrace.h): x0 to x30, sp,
# pc, pstate.
REGISTERS = 34
PC, RESULT, NUMBER = 32, 0, 8
ARGUMENTS = (0, 1, 2, 3, 4, 5)
NO_RESTART: int | None = None  # the kernel decides on a restart before the stop

# The code of a worker, made of aarch64_worker.S, and which registers hold what it works with.
WORKER = bytes.fromhex(
    "e81980d2e00314aae10313aa020082d2e3031faae4031faae5031faa010000d41f0000f12d030054"
    "f50313aa7602008ba80240f9a08640a9a28e41a9a49642a9010000d4a08603f81f0440b1c8000054"
    "a0e200911f0016ebc9feff54bf0216eb03fdff54c81980d2e00314aae10313aaa20213cb030088d2"
    "e4031faae5031faa010000d4dfffff17a80b80d2e0031faae50317aa010000d4"
)
WORKER_PAGE, WORKER_SOCKET, WORKER_MARK = 19, 20, 23  # x19, x20, x23

# The code of a batch, made of aarch64_batch.S; where in it the program counter is at its trap.
BATCH = bytes.fromhex(
    "680240f9608640a9628e41a9649642a9010000d473e200911f0440b1680000547f0214ebe3feff54000020d4"
)
BATCH_END = 40
BATCH_FIRST, BATCH_LAST = 19, 20  # x19, x20


def clone_and_repeat(
    flags: int, helpers_call: int, number: int, args: Sequence[int], blocked: int
) -> bytes:
    """Return code to follow an `svc` instruction: start a thread and make the call again.

    Parameters as for x86-64.
    """
    code: list[int] = []
    masks = []  # where the address of a mask is taken

    def block() -> None:  # rt_sigprocmask(SIG_SETMASK, a mask, 0, 8)
        code.extend([*_load(0, 2), *_load(2, 0), *_load(3, 8), *_load(8, 135)])
        masks.append(len(code))
        code.extend([0x10000001, 0xD4000001])  # adr x1; svc

    def call_again(number: int) -> None:
        code.extend(_load(8, number))
        code.append(0x14000000 | -1 - len(code) & 0x3FFFFFF)  # b

    block()
    code += _load(0, flags)
    for register in range(1, 5):
        code += _load(register, 0)
    code += [*_load(8, 220), 0xD4000001]  # clone
    jump = len(code)
    code.append(0xB4000000)  # cbz x0
    block()
    for register, value in enumerate(args):
        code += _load(register, value)
    call_again(number)
    code[jump] |= len(code) - jump << 5
    call_again(helpers_call)
    for at, mask in zip(masks, ((1 << 64) - 1, blocked), strict=True):
        code[at] |= len(code) - at << 5  # in words: two lower bits of the distance are 0
        code += [mask & 0xFFFFFFFF, mask >> 32]
    return struct.pack(f"<{len(code)}I", *code)


def _load(register: int, value: int) -> list[int]:
    """Return instructions that load a number: movz and movk."""
    words = [0xD2800000 | (value & 0xFFFF) << 5 | register]
    for shift in range(1, 4):
        if part := value >> 16 * shift & 0xFFFF:
            words.append(0xF2800000 | shift << 21 | part << 5 | register)
    return words


MAP_32BIT = 0
CLONE_CHILD_TID = 4  # which argument of clone is the address of child_tid
EPOLL_EVENT_SIZE = 16  # struct epoll_event, which is aligned here
O_LARGEFILE = 0o400000  # what fcntl(F_GETFL) shows of every file; Python's os.O_LARGEFILE is 0

# Programs of another architecture that this kernel runs: how they open files. Values are the
# index of the argument that holds the path.
FOREIGN_ARCHES = {0x40000028: ("arm", {5: 0, 8: 0, 322: 1, 437: 1})}
FOREIGN_NUMBERS: dict[int, int] = {}

_STAT = struct.Struct("<QQIIIIQ8xqi4xqQQQQQQ8x")


def pack_stat(
    dev: int, ino: int, mode: int, uid: int, gid: int, rdev: int, times: tuple[int, int, int],
    size: int = 0, links: int = 1,
) -> bytes:  # fmt: skip
    """Return a ``struct stat``; times are nanoseconds, the size is bytes."""
    atime, mtime, ctime = (divmod(time, 1_000_000_000) for time in times)
    return _STAT.pack(dev, ino, mode, links, uid, gid, rdev, size, 4096, 0, *atime, *mtime, *ctime)


SYSCALLS = {
    "io_submit": 2,
    "setxattr": 5,
    "lsetxattr": 6,
    "fsetxattr": 7,
    "getxattr": 8,
    "lgetxattr": 9,
    "fgetxattr": 10,
    "listxattr": 11,
    "llistxattr": 12,
    "flistxattr": 13,
    "removexattr": 14,
    "lremovexattr": 15,
    "fremovexattr": 16,
    "getcwd": 17,
    "epoll_ctl": 21,
    "epoll_pwait": 22,
    "epoll_pwait2": 441,
    "dup": 23,
    "dup3": 24,
    "fcntl": 25,
    "inotify_add_watch": 27,
    "ioctl": 29,
    "flock": 32,
    "mknodat": 33,
    "mkdirat": 34,
    "unlinkat": 35,
    "symlinkat": 36,
    "linkat": 37,
    "renameat": 38,
    "pivot_root": 41,
    "statfs": 43,
    "fstatfs": 44,
    "truncate": 45,
    "ftruncate": 46,
    "fallocate": 47,
    "faccessat": 48,
    "chdir": 49,
    "fchdir": 50,
    "chroot": 51,
    "fchmod": 52,
    "fchmodat": 53,
    "fchownat": 54,
    "fchown": 55,
    "openat": 56,
    "close": 57,
    "getdents64": 61,
    "lseek": 62,
    "read": 63,
    "write": 64,
    "readv": 65,
    "writev": 66,
    "pread64": 67,
    "pwrite64": 68,
    "preadv": 69,
    "pwritev": 70,
    "sendfile": 71,
    "vmsplice": 75,
    "splice": 76,
    "tee": 77,
    "readlinkat": 78,
    "newfstatat": 79,
    "fstat": 80,
    "fsync": 82,
    "fdatasync": 83,
    "utimensat": 88,
    "exit": 93,
    "exit_group": 94,
    "set_tid_address": 96,
    "unshare": 97,
    "futex": 98,
    "set_robust_list": 99,
    "ptrace": 117,
    "shmat": 196,
    "socket": 198,
    "bind": 200,
    "listen": 201,
    "accept": 202,
    "connect": 203,
    "getsockname": 204,
    "getpeername": 205,
    "sendto": 206,
    "recvfrom": 207,
    "setsockopt": 208,
    "getsockopt": 209,
    "shutdown": 210,
    "sendmsg": 211,
    "recvmsg": 212,
    "readahead": 213,
    "sync_file_range": 84,
    "munmap": 215,
    "mremap": 216,
    "clone": 220,
    "execve": 221,
    "mmap": 222,
    "fadvise64": 223,
    "mprotect": 226,
    "msync": 227,
    "mlock": 228,
    "munlock": 229,
    "mlockall": 230,
    "munlockall": 231,
    "mincore": 232,
    "madvise": 233,
    "remap_file_pages": 234,
    "mbind": 235,
    "get_mempolicy": 236,
    "move_pages": 239,
    "accept4": 242,
    "recvmmsg": 243,
    "syncfs": 267,
    "setns": 268,
    "sendmmsg": 269,
    "process_vm_writev": 271,
    "kcmp": 272,
    "renameat2": 276,
    "seccomp": 277,
    "execveat": 281,
    "userfaultfd": 282,
    "mlock2": 284,
    "copy_file_range": 285,
    "preadv2": 286,
    "pwritev2": 287,
    "pkey_mprotect": 288,
    "statx": 291,
    "rseq": 293,
    "io_uring_setup": 425,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "faccessat2": 439,
    "process_madvise": 440,
    "futex_waitv": 449,
    "fchmodat2": 452,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "mseal": 462,
}
