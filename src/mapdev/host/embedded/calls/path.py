"""Handles system calls with a path: open, stat, access, readlink and exec, in all their forms.

Each looks whether the path means a device (`meaning.find`); if not, the real kernel goes on.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from mapdev.host.core.device import Device
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.calls.meaning import directory_of, find, find_checked
from mapdev.host.embedded.calls.open_how import OpenHow
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result, Verdict, signed32
from mapdev.host.embedded.files.node import (
    W_OK,
    may_access,
    pack_stat,
    pack_statx,
)
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.files.paths import Found
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.gate import CAREFUL
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER
from mapdev.host.numbers import (
    AT_EACCESS,
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_NO_AUTOMOUNT,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_NOFOLLOW,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    UINT_MAX,
)
from mapdev.linux.fs import FMODE_READ, FMODE_WRITE
from mapdev.linux.kernfs import KernfsNode

_STAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE
_ACCESS_FLAGS = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
_STATX_RESERVED = 1 << 31
_S_PRIVILEGED = stat.S_ISUID | stat.S_ISGID


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _open(kernel: Subsystems, call: Call, read_how: Callable[[], OpenHow]) -> Result:
    """Open what the path of `call` means, if that is a device or our own view of a file in /proc.

    :param read_how: returns what the call asks for; it fails as the call does.
    """
    ((directory, path),) = BY_NUMBER[call.nr].paths
    text = kernel.paths.read(call.tid, call.args[path])
    if not text:
        return PASS_ON
    failure: OSError | None = None  # it counts only if the path means a device
    try:
        how = read_how()
    except OSError as error:
        how, failure = OpenHow(0), error
    dirfd = directory_of(call, directory)
    meant = text.lstrip("/") if how.resolve & RESOLVE_IN_ROOT else text
    try:
        found = kernel.paths.find(call.tid, dirfd, meant, how.follows_link, listed=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        if failure is not None:
            raise failure from None
        how.check()
        if how.flags & os.O_CREAT and error.errno == errno.ENOENT:
            from mapdev.host.embedded.calls.names import check_create  # for a quick start

            check_create(kernel, call)
        if how.resolve & RESOLVE_CACHED and error.errno == errno.ENOTDIR:
            raise _error(errno.EAGAIN) from None  # the kernel would have to look again, with locks
        raise
    if found is not None and (found.is_real or found.directory is not None):
        from mapdev.host.embedded.calls.directory import open_directory, open_real

        if found.is_real:
            return open_real(call, found, how)
        found = found._replace(has_slash=text.endswith("/"))
        return open_directory(kernel, call, found, how, failure)
    if found is not None:
        if failure is not None:
            raise failure
        how.check()
        if how.resolve:
            from mapdev.host.embedded.calls.resolve import check_resolve  # for a quick start

            check_resolve(kernel.paths, call.tid, dirfd, text, how.resolve, found)
        if found.has_slash:
            raise _error(errno.EISDIR if how.flags & os.O_CREAT else errno.ENOTDIR)
        is_link = found.open_file is not None or stat.S_ISLNK(found.device.inode.i_mode)
        if is_link and not how.follows_link and not (how.flags & os.O_PATH and found.is_name):
            return _open_link_itself(how)
        return kernel.files.open(call, found.device, how.flags)
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


def _do_open(kernel: Subsystems, call: Call) -> Result:
    flags = call.args[BY_NUMBER[call.nr].flags]
    return _open(kernel, call, lambda: OpenHow.of_open(flags))


def _do_creat(kernel: Subsystems, call: Call) -> Result:
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    return _open(kernel, call, lambda: OpenHow.of_open(flags))


def _do_openat2(kernel: Subsystems, call: Call) -> Result:
    address, size = call.args[2:4]
    return _open(kernel, call, lambda: OpenHow.read(call, address, size))


def foreign_open(kernel: Subsystems, call: Call) -> Verdict:
    """Tell the user when a program of another architecture opens a device; it can't be served."""
    name, calls = ARCH.FOREIGN_ARCHES.get(call.arch, ("x32", ARCH.FOREIGN_NUMBERS))
    path = calls[call.nr]
    dirfd = signed32(call.args[0]) if path else AT_FDCWD
    text = kernel.paths.read(call.tid, call.args[path])
    found = kernel.paths.find(call.tid, dirfd, text) if text else None
    if found is None:
        return PASS_ON
    kernel.messages.say_once(
        "arch", call.tid,
        f"is a program for {name}; mapdev serves only programs of this machine's own "
        f"architecture, so {found.device.node} can't be opened",
    )  # fmt: skip
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def _put(kernel: Subsystems, call: Call, addr: int, data: bytes) -> int:
    if kernel.machine.write_user(call.tid, addr, data) < len(data):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return 0


def _stat(buffer: int, pack: Callable[[Device], bytes] = pack_stat) -> Handler:
    """Make a handler of a call that writes what `pack` gives to the argument `buffer`.

    Source: fs/stat.c (vfs_statx)
    """

    def handle(kernel: Subsystems, call: Call) -> int | Verdict:
        found = find_checked(kernel, call, _STAT_FLAGS)
        if found is None:
            return PASS_ON
        if found.open_file and not BY_NUMBER[call.nr].follows_link(call.args):
            device = _link_itself(kernel, call, found.open_file)
            return (
                PASS_ON if device is None else _put(kernel, call, call.args[buffer], pack(device))
            )
        return _put(kernel, call, call.args[buffer], pack(found.device))

    return handle


def _link_itself(kernel: Subsystems, call: Call, open_file: OpenFile) -> Device | None:
    """Describe the link in /proc/PID/fd to an open file, whose mode says how that was opened.

    Source: fs/proc/fd.c (tid_fd_update_inode, proc_fd_link)
    """
    directory, path = BY_NUMBER[call.nr].paths[0]
    text = kernel.paths.read(call.tid, call.args[path])
    if not text or "map_files" in text:
        return None
    try:
        status = os.lstat(kernel.paths.reach(call.tid, directory_of(call, directory), text))
    except OSError:
        return None
    mode = 0o500 if open_file.file.f_mode & FMODE_READ else 0
    mode |= 0o300 if open_file.file.f_mode & FMODE_WRITE else 0
    fields = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
    link = os.stat_result((stat.S_IFLNK | mode, *tuple(status)[1:]), fields)
    return Device.of_status(link, text)


_statx = _stat(4, pack_statx)


def _do_statx(kernel: Subsystems, call: Call) -> int | Verdict:
    """Check the mask besides.

    Source: fs/stat.c (do_statx)
    """
    wrong = call.args[3] & _STATX_RESERVED
    wrong |= call.args[2] & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE
    if wrong:
        raise _error(errno.EINVAL)  # whatever the path means
    return _statx(kernel, call)


def _access(mode: int) -> Handler:
    """Make a handler of a call that has what is wanted as argument `mode`.

    Source: fs/open.c (do_faccessat)
    """

    def handle(kernel: Subsystems, call: Call) -> int | Verdict:
        if call.args[mode] & UINT_MAX & ~7:
            raise _error(errno.EINVAL)  # whatever the path means
        found = find_checked(kernel, call, _ACCESS_FLAGS)
        if found is None:
            return PASS_ON
        if not may_access(found.device, call.tid, call.args[mode]):
            raise _error(errno.EACCES)
        return 0

    return handle


def _readlink(buffer: int) -> Handler:
    def handle(kernel: Subsystems, call: Call) -> int | Verdict:
        size = signed32(call.args[buffer + 1])
        if size <= 0:
            return PASS_ON
        found = find(kernel, call, 0, True, may_be_real=True)
        if found is None:
            found = _link_by_descriptor(kernel, call)
        text = _link_to_removed(kernel, call) if found is None else _text_of_link(found)
        if found is None and text is None:
            return PASS_ON
        if found is not None and text is None:
            code = errno.ENOTDIR if found.has_slash else errno.EINVAL
            raise OSError(code, os.strerror(code))
        assert text is not None
        target = os.fsencode(text)[:size]
        _put(kernel, call, call.args[buffer], target)
        return len(target)

    return handle


def _link_by_descriptor(kernel: Subsystems, call: Call) -> Found | None:
    """Return the link of ours that an empty path means, by a descriptor opened with O_PATH."""
    directory, path = BY_NUMBER[call.nr].paths[0]
    if directory is None or kernel.paths.read(call.tid, call.args[path]) != "":
        return None
    open_file = kernel.files.of(call, directory)
    return None if open_file is None else Found(open_file.device)


def _link_to_removed(kernel: Subsystems, call: Call) -> str | None:
    """Return what a link in /proc to a directory that is ours alone should say."""
    if not kernel.directories.by_link:
        return None
    directory, path = BY_NUMBER[call.nr].paths[0]
    text = kernel.paths.read(call.tid, call.args[path])
    dirfd = directory_of(call, directory)
    return kernel.paths.name_of_removed(call.tid, dirfd, text) if text else None


def _text_of_link(found: Found) -> str | None:
    """Return where a link leads: in /proc to an open file, or one of ours; None if it is none."""
    if found.open_file is not None:
        return found.device.node
    node = found.device.inode.i_private
    if found.is_real and stat.S_ISLNK(found.device.inode.i_mode):
        return os.readlink(found.path)
    if isinstance(node, KernfsNode) and node.is_link:
        return node.link_text()
    return None


def _exec(kernel: Subsystems, call: Call) -> Verdict:
    """Say when a program is executed that would have got privileges without us.

    :raises OSError: EACCES it is a device.
    """
    if find(kernel, call):
        raise _error(errno.EACCES)
    text = kernel.paths.read(call.tid, call.args[BY_NUMBER[call.nr].paths[0][1]])
    mode = kernel.paths.lookups.mode(text) if text and text.startswith("/") else 0
    if stat.S_ISREG(mode) and mode & _S_PRIVILEGED:
        kernel.messages.say_once(
            f"setuid {text}", call.tid,
            f"{text} is set-user-ID or set-group-ID; programs under mapdev get no new privileges, "
            "so it runs as the user who calls it",
        )  # fmt: skip
    kernel.spaces.about_to_exec(call.tid)
    return PASS_ON


def _do_truncate(kernel: Subsystems, call: Call) -> int | Verdict:
    """Refuse devices; the file of an attribute stays as long as it is.

    Source: fs/open.c (vfs_truncate)
    """
    found = find(kernel, call)
    if found is None:
        return PASS_ON
    if found.directory is not None:
        raise _error(errno.EISDIR)
    if found.device.is_character_device:
        raise _error(errno.EINVAL)
    if not may_access(found.device, call.tid, W_OK):
        raise _error(errno.EACCES)
    return 0


def _do_chroot(kernel: Subsystems, call: Call) -> int | Verdict:
    """Look up paths in each client's own root from now on."""
    if find(kernel, call):
        raise _error(errno.ENOTDIR)
    kernel.paths.roots_differ = True
    if kernel.gate is not None:
        kernel.gate.add_state(CAREFUL, False)
    return PASS_ON


def _listxattr(kernel: Subsystems, call: Call) -> int | Verdict:
    return PASS_ON if find(kernel, call) is None else 0


HANDLERS: dict[str, Handler] = {
    "open": _do_open,
    "creat": _do_creat,
    "openat": _do_open,
    "openat2": _do_openat2,
    "stat": _stat(1),
    "lstat": _stat(1),
    "newfstatat": _stat(2),
    "statx": _do_statx,
    "access": _access(1),
    "faccessat": _access(2),
    "faccessat2": _access(2),
    "readlink": _readlink(1),
    "readlinkat": _readlink(2),
    "execve": _exec,
    "execveat": _exec,
    **dict.fromkeys(("listxattr", "llistxattr"), _listxattr),
    "truncate": _do_truncate,
    "chroot": _do_chroot,
}  # fmt: skip
