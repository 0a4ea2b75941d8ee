"""Calls that name a file: open, stat, access, readlink and exec, in all their forms.

Each looks whether the path means a device (`Paths.find`); if not, the real kernel goes on with it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result, Verdict, signed32
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.node import may_access, pack_stat, pack_statx
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.paths import AT_FDCWD, Found

AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
_OPEN_HOW = struct.Struct("<QQQ")  # flags, mode, resolve
_S_PRIVILEGED = stat.S_ISUID | stat.S_ISGID


def _find(kernel: Kernel, call: Call, dirfd: int, path: int, follow: bool = True) -> Found | None:
    text = kernel.read_path(call, path)
    return kernel.paths.find(call.tid, dirfd, text, follow) if text else None


def _open(kernel: Kernel, call: Call, dirfd: int, path: int, flags: int) -> Result:
    text = kernel.read_path(call, path)
    if not text:
        return PASS_ON
    found = kernel.paths.find(call.tid, dirfd, text, not flags & os.O_NOFOLLOW)
    if found is not None:
        return kernel.open(call, found.device, flags)
    if not text.startswith("/proc/"):
        return PASS_ON
    from mapdev.host.embedded.calls.procfs import open_view  # here, for a quick start

    descriptor = open_view(kernel, call, text, flags)
    return PASS_ON if descriptor is None else descriptor


def _do_open(kernel: Kernel, call: Call) -> Result:
    return _open(kernel, call, AT_FDCWD, call.args[0], call.args[1])


def _do_creat(kernel: Kernel, call: Call) -> Result:
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    return _open(kernel, call, AT_FDCWD, call.args[0], flags)


def _do_openat(kernel: Kernel, call: Call) -> Result:
    return _open(kernel, call, signed32(call.args[0]), call.args[1], call.args[2])


def _do_openat2(kernel: Kernel, call: Call) -> Result:
    try:
        how = kernel.machine.read_user(call.tid, call.args[2], _OPEN_HOW.size)
        flags = _OPEN_HOW.unpack(how)[0]
    except (OSError, struct.error):
        return PASS_ON
    return _open(kernel, call, signed32(call.args[0]), call.args[1], flags)


def foreign_open(kernel: Kernel, call: Call) -> Verdict:
    """Tell the user when a program of another architecture opens a device; it can't be served."""
    name, calls = ARCH.FOREIGN_ARCHES.get(call.arch, ("x32", ARCH.FOREIGN_NUMBERS))
    path = calls[call.nr]
    dirfd = signed32(call.args[0]) if path else AT_FDCWD
    found = _find(kernel, call, dirfd, call.args[path])
    if found is None:
        return PASS_ON
    kernel.messages.say_once(
        "arch", call.tid,
        f"is a program for {name}; mapdev serves only programs of this machine's own "
        f"architecture, so {found.device.node} can't be opened",
    )  # fmt: skip
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def _put(kernel: Kernel, call: Call, addr: int, data: bytes) -> int:
    if kernel.machine.write_user(call.tid, addr, data) < len(data):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return 0


def _stat(kernel: Kernel, call: Call, dirfd: int, follow: bool, buffer: int) -> int | Verdict:
    path = call.args[0] if dirfd == AT_FDCWD and call.nr != _NEWFSTATAT else call.args[1]
    found = _find(kernel, call, dirfd, path, follow)
    if found is None or (found.open_file and not follow):
        return PASS_ON
    return _put(kernel, call, buffer, pack_stat(found.device))


_NEWFSTATAT = ARCH.SYSCALLS["newfstatat"]


def _do_stat(kernel: Kernel, call: Call) -> int | Verdict:
    return _stat(kernel, call, AT_FDCWD, True, call.args[1])


def _do_lstat(kernel: Kernel, call: Call) -> int | Verdict:
    return _stat(kernel, call, AT_FDCWD, False, call.args[1])


def _do_newfstatat(kernel: Kernel, call: Call) -> int | Verdict:
    dirfd, path, buffer, flags = call.args[:4]
    if flags & AT_EMPTY_PATH and not kernel.read_path(call, path):
        open_file = kernel.file(call)
        return (
            PASS_ON
            if open_file is None
            else _put(kernel, call, buffer, pack_stat(open_file.device))
        )
    return _stat(kernel, call, signed32(dirfd), not flags & AT_SYMLINK_NOFOLLOW, buffer)


def _do_statx(kernel: Kernel, call: Call) -> int | Verdict:
    dirfd, path, flags, _, buffer, _ = call.args
    if flags & AT_EMPTY_PATH and not kernel.read_path(call, path):
        open_file = kernel.file(call)
        return (
            PASS_ON
            if open_file is None
            else _put(kernel, call, buffer, pack_statx(open_file.device))
        )
    follow = not flags & AT_SYMLINK_NOFOLLOW
    found = _find(kernel, call, signed32(dirfd), path, follow)
    if found is None or (found.open_file and not follow):
        return PASS_ON
    return _put(kernel, call, buffer, pack_statx(found.device))


def _access(kernel: Kernel, call: Call, dirfd: int, path: int, mode: int) -> int | Verdict:
    found = _find(kernel, call, dirfd, path)
    if found is None:
        return PASS_ON
    if mode & ~7:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if not may_access(found.device, call.tid, mode):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return 0


def _do_access(kernel: Kernel, call: Call) -> int | Verdict:
    return _access(kernel, call, AT_FDCWD, call.args[0], call.args[1])


def _do_faccessat(kernel: Kernel, call: Call) -> int | Verdict:
    return _access(kernel, call, signed32(call.args[0]), call.args[1], call.args[2])


def _readlink(
    kernel: Kernel, call: Call, dirfd: int, path: int, buffer: int, size: int
) -> int | Verdict:
    found = _find(kernel, call, dirfd, path, follow=False)
    if found is None:
        return PASS_ON
    if found.open_file is None or signed32(size) <= 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    target = os.fsencode(found.device.node)[: signed32(size)]
    _put(kernel, call, buffer, target)
    return len(target)


def _do_readlink(kernel: Kernel, call: Call) -> int | Verdict:
    return _readlink(kernel, call, AT_FDCWD, *call.args[:3])


def _do_readlinkat(kernel: Kernel, call: Call) -> int | Verdict:
    return _readlink(kernel, call, signed32(call.args[0]), *call.args[1:4])


def _exec(kernel: Kernel, call: Call, dirfd: int, path: int) -> Verdict:
    """Say when a program is executed that would have got privileges without us.

    :raises OSError: EACCES it is a device.
    """
    text = kernel.read_path(call, path)
    if text and kernel.paths.find(call.tid, dirfd, text):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    try:
        mode = os.stat(text).st_mode if text and text.startswith("/") else 0
    except OSError:
        mode = 0
    if stat.S_ISREG(mode) and mode & _S_PRIVILEGED:
        kernel.messages.say_once(
            f"setuid {text}", call.tid,
            f"{text} is set-user-ID or set-group-ID; programs under mapdev get no new privileges, "
            "so it runs as the user who calls it",
        )  # fmt: skip
    kernel.spaces.about_to_exec(call.tid)
    return PASS_ON


def _do_execve(kernel: Kernel, call: Call) -> Verdict:
    return _exec(kernel, call, AT_FDCWD, call.args[0])


def _do_execveat(kernel: Kernel, call: Call) -> Verdict:
    return _exec(kernel, call, signed32(call.args[0]), call.args[1])


def _refuse(code: int, *paths: int | tuple[int, int], follow: bool = True) -> Handler:
    """Make a handler of a call that fails when one of its `paths` is a device's node.

    :param paths: for each path, the index of its argument, or of its directory's descriptor and
        its own.
    """

    def handle(kernel: Kernel, call: Call) -> int | Verdict:
        for where in paths:
            directory, path = where if isinstance(where, tuple) else (None, where)
            dirfd = AT_FDCWD if directory is None else signed32(call.args[directory])
            if _find(kernel, call, dirfd, call.args[path], follow):
                raise OSError(code, os.strerror(code))
        return PASS_ON

    return handle


def _listxattr(kernel: Kernel, call: Call) -> int | Verdict:
    return PASS_ON if _find(kernel, call, AT_FDCWD, call.args[0]) is None else 0


HANDLERS: dict[str, Handler] = {
    "open": _do_open,
    "creat": _do_creat,
    "openat": _do_openat,
    "openat2": _do_openat2,
    "stat": _do_stat,
    "lstat": _do_lstat,
    "newfstatat": _do_newfstatat,
    "statx": _do_statx,
    "access": _do_access,
    "faccessat": _do_faccessat,
    "faccessat2": _do_faccessat,
    "readlink": _do_readlink,
    "readlinkat": _do_readlinkat,
    "execve": _do_execve,
    "execveat": _do_execveat,
    "getxattr": _refuse(errno.ENODATA, 0),
    "lgetxattr": _refuse(errno.ENODATA, 0, follow=False),
    "listxattr": _listxattr,
    "llistxattr": _listxattr,
    "truncate": _refuse(errno.EINVAL, 0),
    # A node is there for as long as its host: nobody can change, remove or replace it.
    "chmod": _refuse(errno.EPERM, 0),
    "chown": _refuse(errno.EPERM, 0),
    "lchown": _refuse(errno.EPERM, 0, follow=False),
    "fchmodat": _refuse(errno.EPERM, (0, 1)),
    "fchmodat2": _refuse(errno.EPERM, (0, 1)),
    "fchownat": _refuse(errno.EPERM, (0, 1)),
    "utimensat": _refuse(errno.EPERM, (0, 1)),
    "unlink": _refuse(errno.EPERM, 0, follow=False),
    "unlinkat": _refuse(errno.EPERM, (0, 1), follow=False),
    "rename": _refuse(errno.EPERM, 0, 1, follow=False),
    "renameat": _refuse(errno.EPERM, (0, 1), (2, 3), follow=False),
    "renameat2": _refuse(errno.EPERM, (0, 1), (2, 3), follow=False),
    "mkdir": _refuse(errno.EEXIST, 0, follow=False),
    "mkdirat": _refuse(errno.EEXIST, (0, 1), follow=False),
    "mknod": _refuse(errno.EEXIST, 0, follow=False),
    "mknodat": _refuse(errno.EEXIST, (0, 1), follow=False),
    "symlink": _refuse(errno.EEXIST, 1, follow=False),
    "symlinkat": _refuse(errno.EEXIST, (1, 2), follow=False),
    "link": _refuse(errno.EPERM, 0, 1, follow=False),
    "linkat": _refuse(errno.EPERM, (0, 1), (2, 3), follow=False),
}
