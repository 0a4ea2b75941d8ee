"""The table of system calls that the filter hands to the host: conditions, arguments, handlers.

All that is known of a call before its handler runs is here, once. From it derive the filter
(`filter.build`), the fast path (`quick`), which file in `calls` is imported for a call, and where
handlers of paths find directory, path and flags. To add a call: its number in the modules of
`arch`, a line here, and a handler in its family's file. `docs/syscalls.md` shows the table, with
the calls that are not handed over.

The order is that in which the filter compares numbers: what is frequent comes first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mapdev.host.embedded.arch import NUMBER_OF
from mapdev.host.numbers import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
from mapdev.linux.numbers import MAP_FIXED

if TYPE_CHECKING:
    from typing import Literal

    When = Literal[
        "always",  # each call
        "path",  # each call too: the filter does not see where its path leads
        "descriptor",  # it may be a device's: a low number, or one in the device range
        "high descriptor",  # one in the device range; of lower ones the kernel says what is right
        "two descriptors",  # either may be a device's
        "path or descriptor",  # with AT_EMPTY_PATH as for "descriptor", else as for "path"
        "area",  # its range has a part in the `Window`
        "address",  # one of its addresses lies in the `Window`
        "unless ours",  # each call but those that the host makes in a client
        "program",  # the filter has a piece for this call alone
    ]

CWD: Final = None  # the directory of a path that starts from the working directory
NO_FLAGS: Final = -1


class Syscall:
    """One system call; arguments are counted from 0.

    :ivar family: the file in `calls` with its handler.
    :ivar when: when the filter hands it over.
    :ivar fds: which arguments are descriptors that may be a device's.
    :ivar paths: for each path, the argument with the descriptor of its directory, and its own.
    :ivar flags: which argument has the flags.
    :ivar follows: a symbolic link in the last place is followed, unless flags say no.
    :ivar nofollow: the flag that says no.
    :ivar empty: the flag with which an empty path means the directory's descriptor itself.
    :ivar addresses: which arguments are addresses, of which one may lie in a device's area.
    :ivar areas: it concerns the caller's areas if it has one of these flags.
    :ivar is_quick: its handler does nothing but pass on a call that is on no device, so that
        `quick` may do it.
    :ivar of_tree: it is handed over only where a host shows more than nodes: directories that are
        not there for real, or a part of sysfs.
    :ivar of_gate: it is handed over only where a host has a gate.
    """

    __slots__ = (
        "addresses", "areas", "empty", "family", "fds", "flags", "follows", "is_quick", "name",
        "nofollow", "of_gate", "of_tree", "paths", "when",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        family: str,
        when: When,
        *,
        fds: tuple[int, ...] = (),
        paths: tuple[tuple[int | None, int], ...] = (),
        flags: int = NO_FLAGS,
        follows: bool = True,
        nofollow: int = 0,
        empty: int = 0,
        areas: int = 0,
        addresses: tuple[int, ...] = (),
        is_quick: bool = True,
        of_tree: bool = False,
        of_gate: bool = False,
    ) -> None:
        self.name = name
        self.family = family
        self.when = when
        self.fds = fds
        self.paths = paths
        self.flags = flags
        self.follows = follows
        self.nofollow = nofollow
        self.empty = empty
        self.areas = areas
        self.addresses = addresses
        self.is_quick = is_quick
        self.of_tree = of_tree
        self.of_gate = of_gate

    @property
    def is_listing(self) -> bool:
        """Whether it may open a directory to know its names."""
        return self.name in _OPENS

    def follows_link(self, args: Sequence[int]) -> bool:
        """Say whether a call with `args` follows a symbolic link in the last place of a path."""
        return self.follows and not (self.nofollow and args[self.flags] & self.nofollow)

    def takes_empty_path(self, args: Sequence[int]) -> bool:
        """Say whether an empty path means, in a call with `args`, the directory's descriptor."""
        return bool(self.empty and args[self.flags] & self.empty)


_OPENS = ("open", "openat", "openat2", "inotify_add_watch")

_S = Syscall
_FD = (0,)
_PATH = ((CWD, 0),)
_AT = ((0, 1),)
_DONT_FOLLOW = 0x02000000  # IN_DONT_FOLLOW
_NOFOLLOW, _EMPTY = AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH

SYSCALLS: tuple[Syscall, ...] = (
    _S("read", "file", "descriptor", fds=_FD),
    _S("write", "file", "descriptor", fds=_FD),
    _S("pread64", "file", "descriptor", fds=_FD),
    _S("pwrite64", "file", "descriptor", fds=_FD),
    _S("readv", "file", "descriptor", fds=_FD),
    _S("writev", "file", "descriptor", fds=_FD),
    _S("preadv", "file", "descriptor", fds=_FD),
    _S("pwritev", "file", "descriptor", fds=_FD),
    _S("preadv2", "file", "descriptor", fds=_FD),
    _S("pwritev2", "file", "descriptor", fds=_FD),
    # Those of a userfaultfd, of type 0xAA, are about the caller's areas.
    _S("ioctl", "file", "program", fds=_FD, flags=1, areas=0xAA00),
    _S("lseek", "file", "descriptor", fds=_FD),
    _S("fstat", "file", "descriptor", fds=_FD),
    _S("futex", "futexes", "address", addresses=(0, 4), is_quick=False),
    _S("dup", "descriptor", "descriptor", fds=_FD),
    _S("dup2", "descriptor", "descriptor", fds=_FD),
    _S("dup3", "descriptor", "descriptor", fds=_FD),
    _S("fsync", "file", "descriptor", fds=_FD),
    _S("fdatasync", "file", "descriptor", fds=_FD),
    _S("ftruncate", "file", "descriptor", fds=_FD),
    _S("fallocate", "file", "descriptor", fds=_FD),
    _S("fadvise64", "file", "descriptor", fds=_FD),
    _S("readahead", "file", "descriptor", fds=_FD),
    _S("sync_file_range", "file", "descriptor", fds=_FD),
    _S("fgetxattr", "attributes", "descriptor", fds=_FD),
    _S("flistxattr", "file", "descriptor", fds=_FD),
    _S("vmsplice", "file", "descriptor", fds=_FD, is_quick=False),
    _S("fcntl", "descriptor", "program", fds=_FD),
    # Of a device opened with O_PATH these should say EBADF, and say ENOTDIR: docs/fidelity.md.
    _S("getdents", "file", "high descriptor", fds=_FD),
    _S("getdents64", "file", "high descriptor", fds=_FD),
    _S("fchmod", "attributes", "high descriptor", fds=_FD),
    _S("fchown", "attributes", "high descriptor", fds=_FD),
    _S("fsetxattr", "attributes", "high descriptor", fds=_FD),
    _S("fremovexattr", "attributes", "high descriptor", fds=_FD),
    _S("flock", "locks", "descriptor", fds=_FD),
    _S("syncfs", "descriptor", "high descriptor", fds=_FD),
    _S("mmap", "mapping", "program", fds=(4,), flags=3, areas=MAP_FIXED),
    _S("open", "path", "path", paths=_PATH, flags=1, nofollow=os.O_NOFOLLOW),
    _S("openat", "path", "path", paths=_AT, flags=2, nofollow=os.O_NOFOLLOW),
    _S("openat2", "path", "path", paths=_AT),  # its flags are in the client's memory
    _S("creat", "path", "path", paths=_PATH),
    _S("stat", "path", "path", paths=_PATH),
    _S("lstat", "path", "path", paths=_PATH, follows=False),
    _S("access", "path", "path", paths=_PATH),
    _S("faccessat", "path", "path", paths=_AT),
    _S("faccessat2", "path", "path", paths=_AT, flags=3, nofollow=_NOFOLLOW, empty=_EMPTY),
    _S("readlink", "path", "path", paths=_PATH, follows=False),
    _S("readlinkat", "path", "path", paths=_AT, follows=False),
    _S("execve", "path", "path", paths=_PATH, is_quick=False),
    _S("execveat", "path", "path", paths=_AT, flags=4, nofollow=_NOFOLLOW, empty=_EMPTY,
       is_quick=False),
    _S("getxattr", "attributes", "path", paths=_PATH),
    _S("lgetxattr", "attributes", "path", paths=_PATH, follows=False),
    _S("setxattr", "attributes", "path", paths=_PATH),
    _S("lsetxattr", "attributes", "path", paths=_PATH, follows=False),
    _S("removexattr", "attributes", "path", paths=_PATH),
    _S("lremovexattr", "attributes", "path", paths=_PATH, follows=False),
    _S("listxattr", "path", "path", paths=_PATH),
    _S("llistxattr", "path", "path", paths=_PATH, follows=False),
    _S("chmod", "attributes", "path", paths=_PATH),
    _S("chown", "attributes", "path", paths=_PATH),
    _S("lchown", "attributes", "path", paths=_PATH, follows=False),
    _S("fchmodat", "attributes", "path", paths=_AT),
    _S("fchmodat2", "attributes", "path", paths=_AT, flags=3, nofollow=_NOFOLLOW, empty=_EMPTY),
    _S("fchownat", "attributes", "path", paths=_AT, flags=4, nofollow=_NOFOLLOW, empty=_EMPTY),
    _S("unlink", "names", "path", paths=_PATH, follows=False),
    _S("unlinkat", "names", "path", paths=_AT, flags=2, follows=False),
    _S("rmdir", "names", "path", paths=_PATH, follows=False),
    _S("chdir", "tree", "path", paths=_PATH),
    _S("utime", "attributes", "path", paths=_PATH),
    _S("utimes", "attributes", "path", paths=_PATH),
    _S("futimesat", "attributes", "path", paths=_AT),
    _S("utimensat", "attributes", "path", paths=_AT, flags=3, nofollow=_NOFOLLOW, empty=_EMPTY),
    _S("truncate", "path", "path", paths=_PATH),
    _S("mkdir", "names", "path", paths=_PATH, follows=False),
    _S("mkdirat", "names", "path", paths=_AT, follows=False),
    _S("mknod", "names", "path", paths=_PATH, follows=False),
    _S("mknodat", "names", "path", paths=_AT, follows=False),
    # What a symbolic link contains is no path yet, but may become one to a device.
    _S("symlink", "names", "path", paths=((CWD, 1),), follows=False, is_quick=False),
    _S("symlinkat", "names", "path", paths=((1, 2),), follows=False, is_quick=False),
    _S("link", "names", "path", paths=((CWD, 0), (CWD, 1)), follows=False),
    _S("linkat", "names", "path", paths=((0, 1), (2, 3)), flags=4, follows=False, empty=_EMPTY),
    _S("rename", "names", "path", paths=((CWD, 0), (CWD, 1)), follows=False),
    _S("renameat", "names", "path", paths=((0, 1), (2, 3)), follows=False),
    _S("renameat2", "names", "path", paths=((0, 1), (2, 3)), flags=4, follows=False),
    _S("newfstatat", "path", "path or descriptor", paths=_AT, flags=3, nofollow=_NOFOLLOW,
       empty=_EMPTY),
    _S("statx", "path", "path or descriptor", paths=_AT, flags=2, nofollow=_NOFOLLOW,
       empty=_EMPTY),
    _S("sendfile", "splice", "two descriptors", fds=(0, 1)),
    _S("tee", "splice", "two descriptors", fds=(0, 1)),
    _S("splice", "splice", "two descriptors", fds=(0, 2)),
    _S("copy_file_range", "splice", "two descriptors", fds=(0, 2)),
    _S("pidfd_getfd", "descriptor", "descriptor", fds=(1,), is_quick=False),
    _S("munmap", "area", "area", is_quick=False),
    _S("mprotect", "area", "area", is_quick=False),
    _S("pkey_mprotect", "area", "area", is_quick=False),
    _S("madvise", "area", "area", is_quick=False),
    _S("msync", "area", "area", is_quick=False),
    _S("mlock", "area", "area", is_quick=False),
    _S("mlock2", "area", "area", is_quick=False),
    _S("munlock", "area", "area", is_quick=False),
    _S("futex_wake", "futexes", "address", addresses=(0,), is_quick=False),
    _S("futex_wait", "futexes", "address", addresses=(0,), is_quick=False),
    # Their addresses are in the client's memory.
    _S("futex_waitv", "futexes", "always"),
    _S("futex_requeue", "futexes", "always"),
    _S("mincore", "pages", "address", addresses=(0,), is_quick=False),
    _S("get_mempolicy", "pages", "address", addresses=(3,), is_quick=False),
    _S("mbind", "pages", "address", addresses=(0,), is_quick=False),
    _S("move_pages", "pages", "always"),
    _S("mlockall", "locked_memory", "always", is_quick=False),
    _S("munlockall", "locked_memory", "always"),
    _S("mseal", "sealing", "always"),
    _S("shmat", "sealing", "always"),
    # Not process_vm_readv: strace and its kin make that at each stop of a program, which would then
    # take twice as long.
    _S("process_vm_writev", "other_processes", "always"),
    _S("process_madvise", "other_processes", "always"),
    _S("ptrace", "other_processes", "program"),
    # The kernel writes there when nobody can answer a fault any more, or before.
    _S("set_tid_address", "registered", "address", addresses=(0,), is_quick=False),
    _S("set_robust_list", "registered", "address", addresses=(0,), is_quick=False),
    _S("rseq", "registered", "address", addresses=(0,), is_quick=False),
    # In a process whose areas are not known mremap still looks for those of its parent.
    _S("mremap", "remap", "unless ours", is_quick=False),
    # The descriptors that it is about are in the client's memory.
    _S("io_submit", "aio", "unless ours", is_quick=False),
    _S("fork", "process", "unless ours"),
    _S("vfork", "process", "unless ours"),
    _S("clone3", "process", "unless ours"),
    _S("exit", "process", "unless ours"),
    _S("clone", "process", "program"),
    _S("epoll_ctl", "descriptor", "high descriptor", fds=(2,)),
    _S("epoll_wait", "descriptor", "high descriptor", fds=_FD),
    _S("epoll_pwait", "descriptor", "high descriptor", fds=_FD),
    _S("epoll_pwait2", "descriptor", "high descriptor", fds=_FD),
    _S("sendto", "sockets", "high descriptor", fds=_FD),
    _S("recvfrom", "sockets", "high descriptor", fds=_FD),
    _S("sendmsg", "sockets", "high descriptor", fds=_FD),
    _S("recvmsg", "sockets", "high descriptor", fds=_FD),
    _S("sendmmsg", "sockets", "high descriptor", fds=_FD),
    _S("recvmmsg", "sockets", "high descriptor", fds=_FD),
    _S("getsockopt", "sockets", "high descriptor", fds=_FD),
    _S("setsockopt", "sockets", "high descriptor", fds=_FD),
    _S("getsockname", "sockets", "high descriptor", fds=_FD),
    _S("getpeername", "sockets", "high descriptor", fds=_FD),
    _S("connect", "sockets", "program", fds=_FD, is_quick=False),
    _S("bind", "sockets", "always", fds=_FD, is_quick=False),  # its path is in the client's memory
    _S("listen", "sockets", "high descriptor", fds=_FD),
    _S("accept", "sockets", "high descriptor", fds=_FD),
    _S("accept4", "sockets", "high descriptor", fds=_FD),
    _S("shutdown", "sockets", "high descriptor", fds=_FD),
    _S("remap_file_pages", "mapping", "always", is_quick=False),
    _S("io_uring_setup", "mapping", "always", is_quick=False),
    _S("chroot", "path", "path", paths=_PATH, is_quick=False),
    _S("pivot_root", "mapping", "always", is_quick=False),
    _S("setns", "mapping", "always", is_quick=False),
    _S("unshare", "mapping", "always", is_quick=False),
    _S("getcwd", "tree", "always", is_quick=False, of_tree=True),
    _S("statfs", "tree", "path", paths=_PATH),
    _S("inotify_add_watch", "tree", "path", paths=((CWD, 1),), flags=2, nofollow=_DONT_FOLLOW),
    _S("socket", "netlink", "program", is_quick=False, of_tree=True),
    _S("fstatfs", "tree", "descriptor", fds=_FD, is_quick=False),
    _S("seccomp", "own_filters", "always", is_quick=False, of_gate=True),
    _S("prctl", "own_filters", "program", is_quick=False, of_gate=True),
)  # fmt: skip

BY_NUMBER = {NUMBER_OF[call.name]: call for call in SYSCALLS if call.name in NUMBER_OF}
"""Those that this processor has."""

_LOOK, _OPEN, _FILE, _WAIT, _READ, _MAP = range(1, 7)
GATE_RULES = {
    **dict.fromkeys(("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2",
                     "readlink", "readlinkat"), _LOOK),
    **dict.fromkeys(("open", "openat"), _OPEN),
    **dict.fromkeys(("fstat", "lseek", "ioctl", "dup", "dup2", "dup3"), _FILE),
    **dict.fromkeys(("fcntl", "pread64", "write"), _WAIT),
    "read": _READ,
    "mmap": _MAP,
}  # fmt: skip
"""How the gate treats calls; others are always handed over. See enum gate_rule in native/gate.h."""
