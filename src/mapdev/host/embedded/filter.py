"""The seccomp filter: which system calls of a client are handed to the host.

A BPF program sees the number of a call and its arguments, not what they point to nor what a
descriptor is. So calls with a path are all handed over, and calls on a descriptor only where its
number is one that a device can have: at or above `Descriptors.base`, or below `Descriptors.low`,
where shells put redirections. Calls on areas are handed over where the address is one at which
devices are mapped (`Window`). All else runs at full speed. The program is immutable once
installed and is inherited by fork and exec; what it hands over in vain costs a round trip, what
it lets pass by mistake would reach the socket that stands for a device, so the rules err on the
side of the host.

Calls that the host itself re-runs inside a client carry a random secret in the unused upper half of
their descriptor argument (the kernel looks at 32 bits) or in the sixth argument, which they do not
have, and pass.

Source: Documentation/userspace-api/seccomp_filter.rst, linux/filter.h
"""

from __future__ import annotations

import struct
from fcntl import F_GETFD, F_SETFD
from types import ModuleType
from typing import ClassVar, NamedTuple

from mapdev.host.embedded.window import Window
from mapdev.host.numbers import AT_EMPTY_PATH, CLONE_VM
from mapdev.linux.numbers import MAP_ANONYMOUS, MAP_DENYWRITE, MAP_FIXED

ALLOW = 0x7FFF0000
USER_NOTIF = 0x7FC00000

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]. Both architectures
# are little-endian.
_NR, _ARCH = 0, 4

PATH = (
    "open", "openat", "openat2", "creat", "stat", "lstat", "access", "faccessat", "faccessat2",
    "readlink", "readlinkat", "execve", "execveat", "getxattr", "lgetxattr", "listxattr",
    "llistxattr", "chmod", "chown", "lchown", "fchmodat", "fchmodat2", "fchownat", "unlink",
    "unlinkat", "utimensat", "truncate", "mkdir", "mkdirat", "mknod", "mknodat", "symlink",
    "symlinkat", "link", "linkat", "rename", "renameat", "renameat2",
)  # fmt: skip
ALWAYS = (
    "remap_file_pages", "io_uring_setup", "chroot", "pivot_root", "setns", "unshare",
)  # fmt: skip
UNLESS_OURS = ("mremap", "fork", "clone3", "exit")  # clone too, unless it starts a thread
ON_DESCRIPTOR = (
    "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2",
    "pwritev2", "ioctl", "lseek", "fstat", "dup", "dup2", "dup3", "fsync", "fdatasync",
    "ftruncate", "fallocate", "fadvise64", "fgetxattr", "flistxattr", "vmsplice",
)  # fmt: skip
# What says the same of a socket as of a device, so that low numbers need not be handed over. (Of a
# device opened with O_PATH it should say EBADF, and says ENOTDIR: see docs/fidelity.md.)
ON_HIGH_DESCRIPTOR = ("getdents", "getdents64")
ON_TWO_DESCRIPTORS = {
    "sendfile": (0, 1), "tee": (0, 1), "splice": (0, 2), "copy_file_range": (0, 2),
}  # fmt: skip
SOCKET_CALLS = (
    "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "getsockopt",
    "setsockopt", "getsockname", "getpeername", "connect", "bind", "listen", "accept", "accept4",
    "shutdown",
)  # fmt: skip
ON_AREA = (
    "munmap", "mprotect", "pkey_mprotect", "madvise", "msync", "mlock", "mlock2", "munlock",
)  # fmt: skip
STAT_FLAGS = {"newfstatat": 3, "statx": 2}  # which argument holds AT_EMPTY_PATH


class Descriptors(NamedTuple):
    """The descriptor numbers that devices may have in a client.

    `open` puts a device at `base` or above; `dup2` may put it below `low`. select(2) ends at 1023
    and the usual limit is 1024, so `base` lies below that with room for `room` devices.
    """

    base: int
    room: int
    low: int

    @classmethod
    def below(cls, limit: int, low: int = 10) -> Descriptors:
        """Choose the range for clients that may have `limit` descriptors."""
        top = min(limit, 1024)
        room = min(512, top // 2)
        return cls(base=top - room, room=room, low=min(low, top - room))

    def __contains__(self, fd: object) -> bool:
        return isinstance(fd, int) and (0 <= fd < self.low or self.base <= fd < 1 << 31)


def build(arch: ModuleType, descriptors: Descriptors, window: Window, secret: int) -> bytes:
    """Return the filter as an array of ``struct sock_filter``.

    :param secret: 32-bit number that marks the host's own calls.
    """
    program = _Assembler(descriptors, secret)
    numbers: dict[str, int] = arch.SYSCALLS
    program.load(_ARCH)
    program.jump("jeq", arch.AUDIT_ARCH, yes="native")
    for audit_arch, (_, calls) in arch.FOREIGN_ARCHES.items():
        skip = f"not {audit_arch}"
        program.jump("jeq", audit_arch, no=skip)
        program.load(_NR)
        for number in calls:
            program.jump("jeq", number, yes="notify")
        program.label(skip)
    program.ret(ALLOW)
    program.label("native")
    program.load(_NR)
    groups = {
        **dict.fromkeys(ON_DESCRIPTOR, "fd"),
        "fcntl": "fcntl",
        **dict.fromkeys(ON_HIGH_DESCRIPTOR, "high"),
        "mmap": "mmap",
        **dict.fromkeys(PATH, "notify"),
        **STAT_FLAGS,
        **ON_TWO_DESCRIPTORS,
        "pidfd_getfd": "pidfd_getfd",
        **dict.fromkeys(ON_AREA, "area"),
        **dict.fromkeys(UNLESS_OURS, "unless ours"),
        "clone": "clone",
        "epoll_ctl": "epoll_ctl",
        **dict.fromkeys(SOCKET_CALLS, "high"),
        **dict.fromkeys(ALWAYS, "notify"),
    }
    for name, group in groups.items():
        if name in numbers:
            program.jump("jeq", numbers[name], yes=str(group))
    for number in arch.FOREIGN_NUMBERS:
        program.jump("jeq", number, yes="notify")
    program.ret(ALLOW)
    program.label("mmap")
    program.load_argument(4, high=True)
    program.jump("jeq", secret, yes="allow")
    program.load_argument(3)
    program.jump("jset", MAP_FIXED, no="anywhere")
    program.load_argument(1, high=True)
    program.jump("jge", 1, yes="notify")  # so long that it may reach in from anywhere
    program.load_argument(0, high=True)
    program.jump("jge", window.end >> 32, yes="elsewhere")
    program.jump("jge", window.start >> 32, yes="notify")
    program.label("elsewhere")
    program.load_argument(3)
    program.label("anywhere")
    # The dynamic linker maps every library with MAP_DENYWRITE, which nothing else has used since
    # Linux 2.6: not asking about those keeps the start of programs fast.
    program.jump("jset", MAP_ANONYMOUS | MAP_DENYWRITE, yes="allow")
    program.visible(4)
    program.label("fcntl")
    program.load_argument(0)
    program.jump("jge", descriptors.base, yes="fd")
    program.load_argument(1)
    program.jump("jeq", F_GETFD, yes="allow")
    program.jump("jeq", F_SETFD, yes="allow")
    program.label("fd")
    program.visible(0)
    for first, second in sorted(set(ON_TWO_DESCRIPTORS.values())):
        program.label(str((first, second)))
        program.visible(first, otherwise=f"second {second}")
        program.label(f"second {second}")
        program.visible(second)
    for argument in sorted(set(STAT_FLAGS.values())):
        program.label(str(argument))
        program.load_argument(argument)
        program.jump("jset", AT_EMPTY_PATH, no="notify")
        program.load_argument(0)
        program.jump("jge", 1 << 31, yes="notify")  # AT_FDCWD
        program.visible(0)
    program.label("pidfd_getfd")
    program.visible(1)
    program.label("area")
    program.unmarked()
    program.load_argument(1, high=True)
    program.jump("jge", 1, yes="notify")  # so long that it may reach in from anywhere
    program.load_argument(0, high=True)
    program.jump("jge", window.end >> 32, yes="allow")
    program.jump("jge", window.start >> 32, yes="notify", no="allow")
    program.label("clone")
    program.load_argument(0)
    program.jump("jset", CLONE_VM, yes="allow")
    program.label("unless ours")
    program.unmarked()
    program.ret(USER_NOTIF)
    program.label("high")
    program.high(0)
    program.label("epoll_ctl")
    program.high(2)
    program.label("notify")
    program.ret(USER_NOTIF)
    program.label("allow")
    program.ret(ALLOW)
    return program.assemble()


class _Assembler:
    """Just enough of an assembler for classic BPF: loads, jumps to labels, returns."""

    OPCODES: ClassVar = {"jeq": 0x15, "jge": 0x35, "jset": 0x45}

    def __init__(self, descriptors: Descriptors, secret: int) -> None:
        self._descriptors = descriptors
        self._secret = secret
        self._code: list[tuple[int, str, str, int]] = []
        self._labels: dict[str, int] = {}

    def load(self, offset: int) -> None:
        self._code.append((0x20, "", "", offset))

    def load_argument(self, index: int, high: bool = False) -> None:
        self.load(16 + 8 * index + 4 * high)

    def jump(self, kind: str, value: int, yes: str = "", no: str = "") -> None:
        self._code.append((self.OPCODES[kind], yes, no, value))

    def ret(self, value: int) -> None:
        self._code.append((0x06, "", "", value))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def visible(self, argument: int, otherwise: str = "allow") -> None:
        """Notify when `argument` may be a device's descriptor, else go on at `otherwise`."""
        self.load_argument(argument, high=True)
        self.jump("jeq", self._secret, yes="allow")
        self.load_argument(argument)
        self.jump("jge", 1 << 31, yes=otherwise)
        self.jump("jge", self._descriptors.base, yes="notify")
        self.jump("jge", self._descriptors.low, yes=otherwise, no="notify")

    def unmarked(self) -> None:
        """Go on if the call is not one of the host's own, which are allowed."""
        self.load_argument(5, high=True)
        self.jump("jeq", self._secret, yes="allow")

    def high(self, argument: int) -> None:
        """Notify when `argument` lies in the device range; lower numbers stay fast."""
        self.load_argument(argument)
        self.jump("jge", 1 << 31, yes="allow")
        self.jump("jge", self._descriptors.base, yes="notify", no="allow")

    def assemble(self) -> bytes:
        return b"".join(
            struct.pack("<HBBI", code, self._distance(at, yes), self._distance(at, no), value)
            for at, (code, yes, no, value) in enumerate(self._code)
        )

    def _distance(self, at: int, label: str) -> int:
        return self._labels[label] - at - 1 if label else 0
