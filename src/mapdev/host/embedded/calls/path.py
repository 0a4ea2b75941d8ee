"""Handles system calls with a path: open, stat, access, readlink and exec, in all their forms.

Each looks whether the path means a device (`Paths.find`); if not, the real kernel goes on with it.
Where a call has its path, and if it follows links, is in `syscall_table`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from mapdev.host.core.device import Device
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.calls.open_how import OpenHow
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result, Verdict, signed32
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.node import may_access, pack_stat, pack_statx
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.paths import Found
from mapdev.host.embedded.syscall_table import BY_NUMBER
from mapdev.host.numbers import AT_FDCWD

_S_PRIVILEGED = stat.S_ISUID | stat.S_ISGID


def _find(kernel: Kernel, call: Call, which: int = 0) -> Found | None:
    """Return the device that a path of `call` means, as the table of system calls reads it.

    :param which: which path, if there are two.
    """
    meaning = BY_NUMBER[call.nr]
    directory, path = meaning.paths[which]
    text = kernel.read_path(call, call.args[path])
    if text:
        dirfd = _directory(call, directory)
        return kernel.paths.find(call.tid, dirfd, text, meaning.follows_link(call.args))
    if directory is None or not meaning.takes_empty_path(call.args):
        return None
    open_file = kernel.file(call, directory)
    return None if open_file is None else Found(open_file.device)


def _directory(call: Call, argument: int | None) -> int:
    return AT_FDCWD if argument is None else signed32(call.args[argument])


def _open(kernel: Kernel, call: Call, read_how: Callable[[], OpenHow]) -> Result:
    """Open what the path of `call` means, if that is a device or our own view of a file in /proc.

    :param read_how: returns what the call asks for; it fails as the call does.
    """
    ((directory, path),) = BY_NUMBER[call.nr].paths
    text = kernel.read_path(call, call.args[path])
    if not text:
        return PASS_ON
    failure: OSError | None = None  # it counts only if the path means a device
    try:
        how = read_how()
    except OSError as error:
        how, failure = OpenHow(0), error
    dirfd = _directory(call, directory)
    found = kernel.paths.find(call.tid, dirfd, text, how.follows_link)
    if found is not None:
        if failure is not None:
            raise failure
        how.check()
        if found.open_file is not None and not how.follows_link:
            return _open_link_itself(how)
        return kernel.open(call, found.device, how.flags)
    if not text.startswith("/proc/"):
        return PASS_ON
    from mapdev.host.embedded.calls.procfs import open_view  # here, for a quick start

    descriptor = open_view(kernel, call, text, how.flags)
    return PASS_ON if descriptor is None else descriptor


def _open_link_itself(how: OpenHow) -> Verdict:
    """Open a link in /proc/PID/fd without following it: with O_PATH the kernel does so.

    :raises OSError: EEXIST with O_EXCL, else ELOOP.
    """
    if how.flags & os.O_PATH:
        return PASS_ON
    excl = how.flags & os.O_CREAT and how.flags & os.O_EXCL
    code = errno.EEXIST if excl else errno.ELOOP
    raise OSError(code, os.strerror(code))


def _do_open(kernel: Kernel, call: Call) -> Result:
    flags = call.args[BY_NUMBER[call.nr].flags]
    return _open(kernel, call, lambda: OpenHow.of_open(flags))


def _do_creat(kernel: Kernel, call: Call) -> Result:
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    return _open(kernel, call, lambda: OpenHow.of_open(flags))


def _do_openat2(kernel: Kernel, call: Call) -> Result:
    address, size = call.args[2:4]
    return _open(kernel, call, lambda: OpenHow.read(call, address, size))


def foreign_open(kernel: Kernel, call: Call) -> Verdict:
    """Tell the user when a program of another architecture opens a device; it can't be served."""
    name, calls = ARCH.FOREIGN_ARCHES.get(call.arch, ("x32", ARCH.FOREIGN_NUMBERS))
    path = calls[call.nr]
    dirfd = signed32(call.args[0]) if path else AT_FDCWD
    text = kernel.read_path(call, call.args[path])
    found = kernel.paths.find(call.tid, dirfd, text) if text else None
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


def _stat(buffer: int, pack: Callable[[Device], bytes] = pack_stat) -> Handler:
    """Make a handler of a call that writes what `pack` gives to the argument `buffer`."""

    def handle(kernel: Kernel, call: Call) -> int | Verdict:
        found = _find(kernel, call)
        if found is None:
            return PASS_ON
        if found.open_file and not BY_NUMBER[call.nr].follows_link(call.args):
            return PASS_ON  # the link in /proc itself
        return _put(kernel, call, call.args[buffer], pack(found.device))

    return handle


def _access(mode: int) -> Handler:
    def handle(kernel: Kernel, call: Call) -> int | Verdict:
        found = _find(kernel, call)
        if found is None:
            return PASS_ON
        if call.args[mode] & ~7:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if not may_access(found.device, call.tid, call.args[mode]):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return 0

    return handle


def _readlink(buffer: int) -> Handler:
    def handle(kernel: Kernel, call: Call) -> int | Verdict:
        found = _find(kernel, call)
        if found is None:
            return PASS_ON
        size = signed32(call.args[buffer + 1])
        if found.open_file is None or size <= 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        target = os.fsencode(found.device.node)[:size]
        _put(kernel, call, call.args[buffer], target)
        return len(target)

    return handle


def _exec(kernel: Kernel, call: Call) -> Verdict:
    """Say when a program is executed that would have got privileges without us.

    :raises OSError: EACCES it is a device.
    """
    if _find(kernel, call):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    text = kernel.read_path(call, call.args[BY_NUMBER[call.nr].paths[0][1]])
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


def _refuse(code: int) -> Handler:
    """Make a handler of a call that fails when one of its paths is a device's node."""

    def handle(kernel: Kernel, call: Call) -> int | Verdict:
        for which in range(len(BY_NUMBER[call.nr].paths)):
            if _find(kernel, call, which):
                raise OSError(code, os.strerror(code))
        return PASS_ON

    return handle


def _listxattr(kernel: Kernel, call: Call) -> int | Verdict:
    return PASS_ON if _find(kernel, call) is None else 0


HANDLERS: dict[str, Handler] = {
    "open": _do_open,
    "creat": _do_creat,
    "openat": _do_open,
    "openat2": _do_openat2,
    "stat": _stat(1),
    "lstat": _stat(1),
    "newfstatat": _stat(2),
    "statx": _stat(4, pack_statx),
    "access": _access(1),
    "faccessat": _access(2),
    "faccessat2": _access(2),
    "readlink": _readlink(1),
    "readlinkat": _readlink(2),
    "execve": _exec,
    "execveat": _exec,
    **dict.fromkeys(("getxattr", "lgetxattr"), _refuse(errno.ENODATA)),
    **dict.fromkeys(("listxattr", "llistxattr"), _listxattr),
    "truncate": _refuse(errno.EINVAL),
    # A node is there for as long as its host: nobody can change, remove or replace it.
    **dict.fromkeys(
        ("chmod", "chown", "lchown", "fchmodat", "fchmodat2", "fchownat", "utimensat", "unlink",
         "unlinkat", "rename", "renameat", "renameat2", "link", "linkat"),
        _refuse(errno.EPERM),
    ),
    **dict.fromkeys(
        ("mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"), _refuse(errno.EEXIST)
    ),
}  # fmt: skip
