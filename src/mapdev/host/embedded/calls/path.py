"""Handles system calls with a path: open, stat, access, readlink and exec, in all their forms.

Each looks whether the path means a device (`Paths.find`); if not, the real kernel goes on with it.
Where a call has its path, and if it follows links, is in `syscalls.table`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

from mapdev.host.core.device import Device
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.calls.open_how import RESOLVE_CACHED, RESOLVE_IN_ROOT, OpenHow
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result, Verdict, signed32
from mapdev.host.embedded.files.node import (
    W_OK,
    filesystem,
    may_access,
    pack_stat,
    pack_statx,
)
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
    AT_REMOVEDIR,
    AT_STATX_SYNC_TYPE,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    UINT_MAX,
)
from mapdev.linux.kernfs import KernfsNode

_STAT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE
_ACCESS_FLAGS = AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH
_STATX_RESERVED = 1 << 31
_S_PRIVILEGED = stat.S_ISUID | stat.S_ISGID


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def find(
    kernel: Subsystems,
    call: Call,
    which: int = 0,
    may_have_slash: bool = False,
    may_be_real: bool = False,
) -> Found | None:
    """Return the device that a path of `call` means, as the table of system calls reads it.

    :param which: which path, if there are two.
    :param may_have_slash: a slash behind the node's name is not wrong.
    :param may_be_real: the caller can do with `Found.is_real`; else the kernel finds nothing.
    :raises OSError: ENOTDIR there is one, or the path goes on below a device.
    """
    meaning = BY_NUMBER[call.nr]
    directory, path = meaning.paths[which]
    text = kernel.paths.read(call.tid, call.args[path])
    if text:
        dirfd = _directory(call, directory)
        found = kernel.paths.find(call.tid, dirfd, text, meaning.follows_link(call.args))
        if found is not None and found.has_slash and not may_have_slash:
            raise _error(errno.ENOTDIR)
        return None if found is not None and found.is_real and not may_be_real else found
    if directory is None or not meaning.takes_empty_path(call.args):
        return None
    open_file = kernel.files.of(call, directory)
    if open_file is not None:
        return Found(open_file.device)
    node = kernel.directories.ours_at(call.tid, call.args[directory] & UINT_MAX)
    return None if node is None else Found(kernel.paths.overlay.device(node), directory=node)


def _directory(call: Call, argument: int | None) -> int:
    return AT_FDCWD if argument is None else signed32(call.args[argument])


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
    dirfd = _directory(call, directory)
    meant = text.lstrip("/") if how.resolve & RESOLVE_IN_ROOT else text
    try:
        found = kernel.paths.find(call.tid, dirfd, meant, how.follows_link, listed=True)
    except FileNotFoundError:
        if how.flags & os.O_CREAT and is_new_in_ours(kernel, call):
            raise _error(errno.EACCES) from None
        raise
    except NotADirectoryError:
        if how.resolve & RESOLVE_CACHED:
            raise _error(errno.EAGAIN) from None  # the kernel would have to look again, with locks
        raise
    if found is not None and (found.is_real or found.directory is not None):
        from mapdev.host.embedded.calls.directory import open_directory, open_real

        if found.is_real:
            return open_real(call, found, how)
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


def check_flags(call: Call, known: int) -> None:
    """Check the ``AT_*`` flags of `call`, which has some if its line in the table says so.

    :raises OSError: EINVAL one is not in `known`.
    """
    flags = BY_NUMBER[call.nr].flags
    if flags >= 0 and call.args[flags] & UINT_MAX & ~known:
        raise _error(errno.EINVAL)


def find_checked(kernel: Subsystems, call: Call, known: int) -> Found | None:
    """Return the device that the path of `call` means, after `check_flags` if it is about one."""
    try:
        found = find(kernel, call, may_be_real=True)
    except OSError:
        check_flags(call, known)
        raise
    if found is not None:
        check_flags(call, known)
    return found


def _stat(buffer: int, pack: Callable[[Device], bytes] = pack_stat) -> Handler:
    """Make a handler of a call that writes what `pack` gives to the argument `buffer`.

    Source: fs/stat.c (vfs_statx)
    """

    def handle(kernel: Subsystems, call: Call) -> int | Verdict:
        found = find_checked(kernel, call, _STAT_FLAGS)
        if found is None:
            return PASS_ON
        if found.open_file and not BY_NUMBER[call.nr].follows_link(call.args):
            return PASS_ON  # the link in /proc itself
        return _put(kernel, call, call.args[buffer], pack(found.device))

    return handle


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
    dirfd = _directory(call, directory)
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


def _make(code: int) -> Handler:
    """Make a handler of a call that makes a file: EEXIST if there is something of ours.

    :param code: in a directory that is ours alone, where nobody can make anything.
    """

    def handle(kernel: Subsystems, call: Call) -> int | Verdict:
        try:
            if find(kernel, call, 0, may_have_slash=True, may_be_real=True):
                raise _error(errno.EEXIST)
        except FileNotFoundError:
            raise _error(code if is_new_in_ours(kernel, call) else errno.ENOENT) from None
        return PASS_ON

    return handle


def is_new_in_ours(kernel: Subsystems, call: Call, which: int = 0) -> bool:
    """Say whether a path of `call`, which leads to nothing, is one in a directory of ours alone."""
    directory, path = BY_NUMBER[call.nr].paths[which]
    text = (kernel.paths.read(call.tid, call.args[path]) or "").rstrip("/")
    if not text:
        return False
    above = f"{text.rpartition('/')[0]}/" if "/" in text else "."
    found = kernel.paths.find(call.tid, _directory(call, directory), above)
    return found is not None and found.directory is not None


def _do_unlinkat(kernel: Subsystems, call: Call) -> int | Verdict:
    found = find(kernel, call)
    if found is None:
        return PASS_ON
    check_flags(call, AT_REMOVEDIR)
    is_directory = found.directory is not None
    if call.args[2] & AT_REMOVEDIR:
        raise _error(errno.EPERM if is_directory else errno.ENOTDIR)
    raise _error(errno.EISDIR if is_directory else errno.EPERM)


def _do_unlink(kernel: Subsystems, call: Call) -> int | Verdict:
    found = find(kernel, call)
    if found is None:
        return PASS_ON
    raise _error(errno.EISDIR if found.directory is not None else errno.EPERM)


def _do_rmdir(kernel: Subsystems, call: Call) -> int | Verdict:
    found = find(kernel, call)
    if found is None:
        return PASS_ON
    raise _error(errno.EPERM if found.directory is not None else errno.ENOTDIR)


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


def _status(kernel: Subsystems, call: Call, which: int, parent: bool = False) -> os.stat_result:
    """Return the status of a file of the client's own that `call` names, or of its directory.

    :raises OSError: ENOENT or whatever else the kernel would say of it.
    """
    directory, path = BY_NUMBER[call.nr].paths[which]
    text = kernel.paths.read(call.tid, call.args[path])
    if not text:
        raise _error(errno.EFAULT if text is None else errno.ENOENT)
    if parent:
        text = f"{text.rstrip('/').rpartition('/')[0]}/." if "/" in text else "."
    return os.lstat(kernel.paths.reach(call.tid, _directory(call, directory), text))


def _check_same_mount(kernel: Subsystems, call: Call, which: int) -> None:
    """Check that another name of the node could be where path `which` leads.

    :raises OSError: ENOENT no directory is there; EXDEV it is on another file system.
    """
    directory = _status(kernel, call, which, parent=True)
    if directory.st_dev != filesystem():
        raise _error(errno.EXDEV)


def _find_target(kernel: Subsystems, call: Call, code: int) -> Found | None:
    """Return what the second path of `call` means; `code` if it is new in a directory of ours."""
    try:
        return find(kernel, call, 1, may_have_slash=True)
    except FileNotFoundError:
        raise _error(code if is_new_in_ours(kernel, call, 1) else errno.ENOENT) from None


def _do_link(kernel: Subsystems, call: Call) -> int | Verdict:
    """Refuse other names of a node, and names that are a node's.

    Source: fs/namei.c (do_linkat)
    """
    known = AT_SYMLINK_FOLLOW | AT_EMPTY_PATH
    old, new = find(kernel, call), _find_target(kernel, call, errno.EPERM)
    if old is None and new is None:
        return PASS_ON
    check_flags(call, known)
    if old is None:
        _status(kernel, call, 0)
    if new is not None:
        raise _error(errno.EEXIST)
    with contextlib.suppress(FileNotFoundError):
        _status(kernel, call, 1)
        raise _error(errno.EEXIST)
    if _status(kernel, call, 1, parent=True).st_dev == os.stat("/proc").st_dev:
        raise _error(errno.ENOENT)  # nothing can be made there
    _check_same_mount(kernel, call, 1)
    raise _error(errno.EPERM)


def _do_rename(kernel: Subsystems, call: Call) -> int | Verdict:
    """Rename a node to itself; refuse to move or to replace it.

    Source: fs/namei.c (do_renameat2, vfs_rename)
    """
    flags = call.args[BY_NUMBER[call.nr].flags] if BY_NUMBER[call.nr].flags >= 0 else 0
    old = find(kernel, call, 0, may_have_slash=True)
    new = _find_target(kernel, call, errno.EPERM)
    if old is None and new is None:
        return PASS_ON
    check_flags(call, RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)
    if flags & RENAME_EXCHANGE and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT):
        raise _error(errno.EINVAL)
    for which, found in enumerate((old, new)):
        if found is None:
            _check_same_mount(kernel, call, which)
    is_directory = old is None and stat.S_ISDIR(_status(kernel, call, 0).st_mode)
    if new is not None and flags & RENAME_NOREPLACE:
        raise _error(errno.EEXIST)
    if new is None and flags & RENAME_EXCHANGE:
        _status(kernel, call, 1)
    if (old and old.has_slash) or (new and new.has_slash) or is_directory:
        raise _error(errno.ENOTDIR)
    if old and new and old.device is new.device:
        return 0
    raise _error(errno.EPERM)


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
    # A node is there for as long as its host: nobody can change, remove or replace it.
    "unlink": _do_unlink,
    "unlinkat": _do_unlinkat,
    **dict.fromkeys(("rename", "renameat", "renameat2"), _do_rename),
    **dict.fromkeys(("link", "linkat"), _do_link),
    **dict.fromkeys(("mkdir", "mkdirat", "symlink", "symlinkat"), _make(errno.EPERM)),
    **dict.fromkeys(("mknod", "mknodat"), _make(errno.EACCES)),
    "rmdir": _do_rmdir,
    "chroot": _do_chroot,
}  # fmt: skip
