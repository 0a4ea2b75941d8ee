"""x86-64: registers, system call numbers and structures that the embedded host needs."""

from __future__ import annotations

import struct
from collections.abc import Sequence

AUDIT_ARCH = 0xC000003E
SYSCALL_INSTRUCTION_SIZE = 2  # bytes: 0f 05
HAS_GATE = True  # see syscalls/gate.py

# struct user_regs_struct, as words of 8 bytes (arch/x86/include/uapi/asm/ptrace.h).
REGISTERS = 27
PC, RESULT, NUMBER = 16, 10, 10  # rip, rax, rax
ARGUMENTS = (14, 13, 12, 7, 9, 8)  # rdi, rsi, rdx, r10, r8, r9
NO_RESTART: int | None = 15  # orig_rax: -1 tells the kernel that no system call is to be restarted

# The code of a worker, made of x86_64_worker.S, and which registers hold what it works with.
WORKER = bytes.fromhex(
    "b82d0000004489e74889deba001000004531d24531c04531c90f054885c07e674889dd4c8d2c0348"
    "8b4500488b7d08488b7510488b55184c8b55204c8b45284c8b4d300f05488945004883c538483d00"
    "f0ffff770e488d45384c39e876c94c39ed729db82c0000004489e74889de4889ea4829da41ba0040"
    "00004531c04531c90f05e979ffffffb83c00000031ff4d89f10f05"
)
WORKER_PAGE, WORKER_SOCKET, WORKER_MARK = 5, 3, 1  # rbx, r12, r14

# The code of a batch, made of x86_64_batch.S; where in it the program counter is at its trap.
BATCH = bytes.fromhex(
    "488b03488b7b08488b7310488b53184c8b53204c8b43284c8b4b300f054883c338483d00f0ffff77054c39eb72d2cc"
)
BATCH_END = 47
BATCH_FIRST, BATCH_LAST = 5, 2  # rbx, r13


def clone_and_repeat(
    flags: int, helpers_call: int, number: int, args: Sequence[int], blocked: int
) -> bytes:
    """Return code to follow a `syscall` instruction: start a thread and make the call again.

    The thread goes back to that instruction too, with another call. It has all signals blocked,
    since it must run no handler: it uses no stack, for that is the other thread's.

    :param flags: of clone(2).
    :param helpers_call: the number of the thread's call.
    :param number: that of the call which is repeated, with `args`.
    :param blocked: the signals that are blocked.
    """
    code = bytearray()
    masks = []  # where the distance to a mask belongs

    def block() -> None:  # rt_sigprocmask(SIG_SETMASK, a mask, 0, 8)
        code.extend(bytes.fromhex("b80e000000 bf02000000 488d35"))
        masks.append(len(code))
        code.extend(bytes.fromhex("00000000 31d2 41ba08000000 0f05"))

    def call_again(number: int) -> None:
        code.extend(b"\xb8" + number.to_bytes(4, "little") + b"\xe9")  # mov eax; jmp
        code.extend((-2 - len(code) - 4).to_bytes(4, "little", signed=True))

    block()
    code += b"\xbf" + flags.to_bytes(4, "little")  # mov edi
    code += bytes.fromhex("31f6 31d2 4531d2 4531c0 b838000000 0f05 85c0 0f84")  # clone; jz
    jump = len(code)
    code += bytes(4)
    block()
    for opcode, value in zip(("48bf", "48be", "48ba", "49ba", "49b8", "49b9"), args, strict=True):
        code += bytes.fromhex(opcode) + value.to_bytes(8, "little")  # mov rdi, ..., mov r9
    call_again(number)
    code[jump : jump + 4] = (len(code) - jump - 4).to_bytes(4, "little")
    call_again(helpers_call)
    for at, mask in zip(masks, ((1 << 64) - 1, blocked), strict=True):
        code[at : at + 4] = (len(code) - at - 4).to_bytes(4, "little")
        code += mask.to_bytes(8, "little")
    return bytes(code)


MAP_32BIT = 0x40
CLONE_CHILD_TID = 3  # which argument of clone is the address of child_tid
EPOLL_EVENT_SIZE = 12  # struct epoll_event, which is packed here
O_LARGEFILE = 0o100000  # what fcntl(F_GETFL) shows of every file; Python's os.O_LARGEFILE is 0

# Programs of another architecture that this kernel runs: how they open files. Values are the
# index of the argument that holds the path. x32 uses the native audit number with bit 30 set.
FOREIGN_ARCHES = {0x40000003: ("i386", {5: 0, 8: 0, 295: 1, 437: 1})}
FOREIGN_NUMBERS = {
    0x40000000 | 2: 0,
    0x40000000 | 85: 0,
    0x40000000 | 257: 1,
    0x40000000 | 437: 1,
}

_STAT = struct.Struct("<QQQIIIIQqqqQQQQQQ24x")


def pack_stat(
    dev: int, ino: int, mode: int, uid: int, gid: int, rdev: int, times: tuple[int, int, int],
    size: int = 0, links: int = 1,
) -> bytes:  # fmt: skip
    """Return a ``struct stat``; times are nanoseconds, the size is bytes."""
    atime, mtime, ctime = (divmod(time, 1_000_000_000) for time in times)
    return _STAT.pack(
        dev, ino, links, mode, uid, gid, 0, rdev, size, 4096, 0, *atime, *mtime, *ctime
    )


SYSCALLS = {
    "read": 0,
    "write": 1,
    "open": 2,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "ioctl": 16,
    "pread64": 17,
    "pwrite64": 18,
    "readv": 19,
    "writev": 20,
    "access": 21,
    "mremap": 25,
    "msync": 26,
    "mincore": 27,
    "madvise": 28,
    "shmat": 30,
    "dup": 32,
    "dup2": 33,
    "sendfile": 40,
    "socket": 41,
    "connect": 42,
    "accept": 43,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "shutdown": 48,
    "bind": 49,
    "listen": 50,
    "getsockname": 51,
    "getpeername": 52,
    "setsockopt": 54,
    "getsockopt": 55,
    "clone": 56,
    "fork": 57,
    "vfork": 58,
    "execve": 59,
    "exit": 60,
    "fcntl": 72,
    "flock": 73,
    "fsync": 74,
    "fdatasync": 75,
    "truncate": 76,
    "ftruncate": 77,
    "getdents": 78,
    "getcwd": 79,
    "chdir": 80,
    "fchdir": 81,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "creat": 85,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "readlink": 89,
    "chmod": 90,
    "fchmod": 91,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "ptrace": 101,
    "prctl": 157,
    "utime": 132,
    "mknod": 133,
    "statfs": 137,
    "fstatfs": 138,
    "mlock": 149,
    "munlock": 150,
    "mlockall": 151,
    "munlockall": 152,
    "pivot_root": 155,
    "chroot": 161,
    "readahead": 187,
    "sync_file_range": 277,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "getxattr": 191,
    "lgetxattr": 192,
    "fgetxattr": 193,
    "listxattr": 194,
    "llistxattr": 195,
    "flistxattr": 196,
    "removexattr": 197,
    "lremovexattr": 198,
    "fremovexattr": 199,
    "futex": 202,
    "io_submit": 209,
    "remap_file_pages": 216,
    "getdents64": 217,
    "set_tid_address": 218,
    "fadvise64": 221,
    "exit_group": 231,
    "epoll_ctl": 233,
    "epoll_wait": 232,
    "epoll_pwait": 281,
    "epoll_pwait2": 441,
    "utimes": 235,
    "mbind": 237,
    "get_mempolicy": 239,
    "inotify_add_watch": 254,
    "openat": 257,
    "mkdirat": 258,
    "mknodat": 259,
    "fchownat": 260,
    "futimesat": 261,
    "newfstatat": 262,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "symlinkat": 266,
    "readlinkat": 267,
    "fchmodat": 268,
    "faccessat": 269,
    "unshare": 272,
    "set_robust_list": 273,
    "splice": 275,
    "tee": 276,
    "vmsplice": 278,
    "move_pages": 279,
    "utimensat": 280,
    "fallocate": 285,
    "accept4": 288,
    "dup3": 292,
    "preadv": 295,
    "pwritev": 296,
    "recvmmsg": 299,
    "syncfs": 306,
    "sendmmsg": 307,
    "setns": 308,
    "process_vm_writev": 311,
    "kcmp": 312,
    "renameat2": 316,
    "seccomp": 317,
    "execveat": 322,
    "userfaultfd": 323,
    "mlock2": 325,
    "copy_file_range": 326,
    "preadv2": 327,
    "pwritev2": 328,
    "pkey_mprotect": 329,
    "statx": 332,
    "rseq": 334,
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
