"""Handles calls that make, link, rename and remove names where some of them are ours.

A name of ours lives as long as the host: nobody can make, change or remove one. What the kernel
would say comes first: each call makes the kernel's checks in the kernel's order. Calls of which
neither directory nor name is ours are passed on.

Source: fs/namei.c (do_mkdirat, do_mknodat, do_symlinkat, do_linkat, do_renameat2, do_unlinkat,
do_rmdir), fs/kernfs/dir.c
Fidelity: of a node, and in a directory outside of /sys that is ours alone, EPERM (EACCES for a new
file) where nothing else is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import NamedTuple

from mapdev.host.core.device import Device
from mapdev.host.embedded.calls.meaning import check_flags, directory_of, find
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result
from mapdev.host.embedded.files.node import W_OK, X_OK, filesystem, may_access, owns
from mapdev.host.embedded.files.paths import Found
from mapdev.host.embedded.processes import read_file
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER
from mapdev.host.numbers import (
    AT_EMPTY_PATH,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
)
from mapdev.linux.kernfs import KernfsNode

_SPECIAL = ("", ".", "..")  # of the root, and of what is no name of its own
_UMODE = 0xFFFF  # what of a mode the kernel looks at: umode_t
_TYPES = (0, stat.S_IFREG, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


class _Entry(NamedTuple):
    """The last place of a path.

    :ivar concerns_us: the directory is ours alone, the name is ours, or the kernel can't go there.
    :ivar directory: what describes the directory.
    :ivar path: of the directory, without links.
    :ivar name: "" of the root.
    :ivar identity: says whether two entries are the same file; None if nothing is there.
    :ivar mode: of what is there, 0 if nothing is.
    :ivar has_slash: a slash is behind the name.
    """

    concerns_us: bool
    directory: Device
    path: str
    name: str
    identity: object
    mode: int
    has_slash: bool

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def mount(self) -> int:
        """The number of the file system that it is on."""
        status = self.directory.inode.i_private
        if isinstance(status, os.stat_result):
            return status.st_dev
        return filesystem(f"{self.directory.node}/")

    @property
    def full_path(self) -> str:
        return f"{self.path.rstrip('/')}/{self.name}"

    def check_writable(self) -> None:
        """Check that the file system is not read-only, as mnt_want_write does.

        :raises OSError: EROFS.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.statvfs("/" + self.path.split("/")[1]).f_flag & os.ST_RDONLY:
                raise _error(errno.EROFS)

    def check_permission(self, tid: int) -> None:
        """Check that thread `tid` may change the directory.

        :raises OSError: EACCES.
        """
        if not may_access(self.directory, tid, W_OK | X_OK):
            raise _error(errno.EACCES)

    def check_removal(self, tid: int, of_directory: bool) -> None:
        """Check what the kernel does in may_delete.

        :raises OSError: EACCES, ENOTDIR, EISDIR.
        """
        self.check_permission(tid)
        if of_directory and not self.is_directory:
            raise _error(errno.ENOTDIR)
        if self.is_directory and not of_directory:
            raise _error(errno.EISDIR)


def _look(kernel: Subsystems, call: Call, which: int = 0) -> _Entry | None:
    """Return the last place of a path of `call`, or None when the path can't be one of ours.

    :raises OSError: ENOENT, ENOTDIR or whatever the kernel says of its directory.
    """
    directory, path = BY_NUMBER[call.nr].paths[which]
    text = kernel.paths.read(call.tid, call.args[path])
    if not text:
        return None
    above, name, has_slash = _split(text)
    found = kernel.paths.find(call.tid, directory_of(call, directory), above, listed=True)
    if found is not None and found.directory is not None:
        return _in_tree(kernel, call, found, found.directory, name, has_slash)
    if found is None:
        return None
    if not stat.S_ISDIR(found.device.inode.i_mode):
        raise _error(errno.ENOTDIR)
    return _real(kernel, call, found.device, found.path, name, has_slash, True)


def _look_outside(kernel: Subsystems, call: Call, which: int) -> _Entry:
    """Return the last place of a path that has nothing to do with us, for a call that has.

    :raises OSError: what the kernel would say of its directory.
    """
    directory, path = BY_NUMBER[call.nr].paths[which]
    text = kernel.paths.read(call.tid, call.args[path])
    if not text:
        raise _error(errno.EFAULT if text is None else errno.ENOENT)
    above, name, has_slash = _split(text)
    real = kernel.paths.reach(call.tid, directory_of(call, directory), above)
    status = kernel.paths.look(call.tid, os.stat, f"{real}/.")
    described = Device.of_status(status, kernel.paths.look(call.tid, os.path.realpath, real))
    return _real(kernel, call, described, real, name, has_slash, False)


def _split(text: str) -> tuple[str, str, bool]:
    """Return the path of the directory, the last name, and whether a slash is behind that."""
    stripped = text.rstrip("/")
    above, _, name = stripped.rpartition("/")
    above = above + "/" if "/" in stripped else "/" if not stripped else "."
    return above, name, len(stripped) < len(text)


def _in_tree(
    kernel: Subsystems, call: Call, found: Found, directory: KernfsNode, name: str, has_slash: bool
) -> _Entry:
    """Return a place in a directory of the tree, which may exist for real as well."""
    overlay = kernel.paths.overlay
    is_merged = overlay.is_merged(directory)
    child = directory.children.get(name)
    if child is not None and not overlay.is_merged(child):
        described = overlay.device(directory)
        if is_merged:
            described = Device.of_status(os.stat(found.path), directory.path)
        mode = overlay.device(child).inode.i_mode
        return _Entry(True, described, directory.path, name, child, mode, has_slash)
    if is_merged:
        described = Device.of_status(os.stat(found.path), directory.path)
        return _real(kernel, call, described, found.path, name, has_slash, found.leaves)
    described = overlay.device(directory)
    identity, mode = (None, 0) if name not in _SPECIAL else (directory, stat.S_IFDIR)
    return _Entry(True, described, directory.path, name, identity, mode, has_slash)


def _real(
    kernel: Subsystems, call: Call, directory: Device, path: str, name: str, has_slash: bool,
    leaves: bool,
) -> _Entry:  # fmt: skip
    """Return a place in a directory that exists for real.

    :param path: by which *we* reach the directory.
    :param leaves: the client can't reach it without us.
    """
    try:
        status = kernel.paths.look(call.tid, os.lstat, f"{path.rstrip('/')}/{name}")
    except OSError:  # the file system refuses even the name
        return _Entry(leaves, directory, directory.node, name, None, 0, has_slash)
    identity = status.st_dev, status.st_ino
    return _Entry(leaves, directory, directory.node, name, identity, status.st_mode, has_slash)


# --- new names ----------------------------------------------------------------------------


def _check_new(call: Call, entry: _Entry, of_directory: bool = False) -> None:
    """Check what the kernel does before it makes a name (filename_create, may_create).

    :raises OSError: EEXIST, ENOENT a slash is behind what is to be no directory, EROFS, EACCES.
    """
    if entry.name in _SPECIAL or entry.mode:
        raise _error(errno.EEXIST)
    if entry.has_slash and not of_directory:
        raise _error(errno.ENOENT)
    entry.check_writable()
    entry.check_permission(call.tid)


def _do_mkdir(kernel: Subsystems, call: Call) -> Result:
    entry = _look(kernel, call)
    if entry is None or not entry.concerns_us:
        return PASS_ON
    _check_new(call, entry, of_directory=True)
    raise _error(errno.EPERM)


def _do_symlink(kernel: Subsystems, call: Call) -> Result:
    if not kernel.paths.read(call.tid, call.args[0]):
        return PASS_ON  # ENOENT or EFAULT, whatever the path is
    entry = _look(kernel, call)
    if entry is None or not entry.concerns_us:
        return PASS_ON
    _check_new(call, entry)
    raise _error(errno.EPERM)


def _do_mknod(kernel: Subsystems, call: Call) -> Result:
    kind = stat.S_IFMT(call.args[BY_NUMBER[call.nr].paths[0][1] + 1] & _UMODE)
    if kind not in _TYPES:
        return PASS_ON  # EPERM or EINVAL, whatever the path is
    entry = _look(kernel, call)
    if entry is None or not entry.concerns_us:
        return PASS_ON
    _check_new(call, entry)
    raise _error(errno.EACCES if kind in (0, stat.S_IFREG) else errno.EPERM)


def check_create(kernel: Subsystems, call: Call) -> None:
    """Check an open with O_CREAT of what is not there, if that would be in a directory of ours.

    :raises OSError: EISDIR a slash is behind the name; EROFS, EACCES it would be.

    Source: fs/namei.c (open_last_lookups, lookup_open)
    """
    entry = _look(kernel, call)
    if entry is None or not entry.concerns_us or entry.mode:
        return
    if entry.has_slash:
        raise _error(errno.EISDIR)
    entry.check_writable()
    raise _error(errno.EACCES)


def _do_link(kernel: Subsystems, call: Call) -> Result:
    """Refuse other names of a node, and names that are ours.

    Source: fs/namei.c (do_linkat, vfs_link)
    """
    flags = call.args[4] if BY_NUMBER[call.nr].flags >= 0 else 0
    new = _look_if_there(kernel, call, 1)
    try:
        old = find(kernel, call, 0, may_be_real=True, follow=bool(flags & AT_SYMLINK_FOLLOW))
    except OSError:
        check_flags(call, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)
        raise
    if old is None and not isinstance(new, OSError) and not (new and new.concerns_us):
        return PASS_ON
    check_flags(call, AT_SYMLINK_FOLLOW | AT_EMPTY_PATH)
    mount = _status(kernel, call).st_dev if old is None else _mount_of(old)
    if isinstance(new, OSError):
        raise new
    if new is None:
        new = _look_outside(kernel, call, 1)
    if not new.mode and new.mount == os.stat("/proc").st_dev:
        raise _error(errno.ENOENT)  # it knows no names but its own
    if new.name in _SPECIAL or new.mode:
        raise _error(errno.EEXIST)
    if new.has_slash:
        raise _error(errno.ENOENT)
    new.check_writable()
    if mount != new.mount:
        raise _error(errno.EXDEV)
    if old is None or owns(old.device, call.tid) or not _links_are_protected():
        new.check_permission(call.tid)
    raise _error(errno.EPERM)


def _links_are_protected() -> bool:
    """Say whether only who owns a file may link to it (fs/namei.c, may_linkat)."""
    return read_file("/proc/sys/fs/protected_hardlinks").strip() != b"0"


def _look_if_there(kernel: Subsystems, call: Call, which: int) -> _Entry | OSError | None:
    """Return the last place of a path, or the error to which a name of ours on the way leads."""
    try:
        return _look(kernel, call, which)
    except OSError as error:
        return error


def _mount_of(found: Found) -> int:
    status = found.device.inode.i_private
    if isinstance(status, os.stat_result):
        return status.st_dev
    return filesystem(found.device.node)


def _status(kernel: Subsystems, call: Call) -> os.stat_result:
    """Return the status of a file of the client's own that the first path of `call` names.

    :raises OSError: ENOENT or whatever else the kernel would say of it.
    """
    directory, path = BY_NUMBER[call.nr].paths[0]
    text = kernel.paths.read(call.tid, call.args[path])
    if not text:
        raise _error(errno.EFAULT if text is None else errno.ENOENT)
    ours = kernel.paths.reach(call.tid, directory_of(call, directory), text)
    status: os.stat_result = kernel.paths.look(call.tid, os.lstat, ours)
    return status


# --- renaming and removing ----------------------------------------------------------------


def _do_rename(kernel: Subsystems, call: Call) -> Result:
    """Rename a name of ours to itself; refuse to move or to replace it.

    Source: fs/namei.c (do_renameat2, vfs_rename), fs/kernfs/dir.c (kernfs_iop_rename)
    """
    flags = call.args[4] if BY_NUMBER[call.nr].flags >= 0 else 0
    old, new = (_look_if_there(kernel, call, which) for which in (0, 1))
    if not any(place and (isinstance(place, OSError) or place.concerns_us) for place in (old, new)):
        return PASS_ON
    check_flags(call, RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)
    exchanges = flags & RENAME_EXCHANGE
    if exchanges and flags & (RENAME_NOREPLACE | RENAME_WHITEOUT):
        raise _error(errno.EINVAL)
    if isinstance(old, OSError):
        raise old
    old = old or _look_outside(kernel, call, 0)
    if isinstance(new, OSError):
        raise new
    new = new or _look_outside(kernel, call, 1)
    if old.mount != new.mount:
        raise _error(errno.EXDEV)
    if old.name in _SPECIAL:
        raise _error(errno.EBUSY)
    if new.name in _SPECIAL:
        raise _error(errno.EEXIST if flags & RENAME_NOREPLACE else errno.EBUSY)
    old.check_writable()
    if not old.mode:
        raise _error(errno.ENOENT)
    if new.mode and flags & RENAME_NOREPLACE:
        raise _error(errno.EEXIST)
    if exchanges and not new.mode:
        raise _error(errno.ENOENT)
    if exchanges and new.has_slash and not new.is_directory:
        raise _error(errno.ENOTDIR)
    if not old.is_directory and (old.has_slash or (new.has_slash and not exchanges)):
        raise _error(errno.ENOTDIR)
    _check_ancestors(old, new, bool(exchanges))
    if old.identity == new.identity:
        return 0
    old.check_removal(call.tid, old.is_directory)
    if new.mode:
        new.check_removal(call.tid, new.is_directory if exchanges else old.is_directory)
    else:
        new.check_permission(call.tid)
    raise _error(errno.EINVAL if flags and old.path.startswith("/sys") else errno.EPERM)


def _check_ancestors(old: _Entry, new: _Entry, exchanges: bool) -> None:
    """Check that neither is above the other's directory.

    :raises OSError: EINVAL, or ENOTEMPTY if what would be replaced is.
    """
    if f"{new.path}/".startswith(f"{old.full_path}/"):
        raise _error(errno.EINVAL)
    if f"{old.path}/".startswith(f"{new.full_path}/"):
        raise _error(errno.EINVAL if exchanges else errno.ENOTEMPTY)


def _unlink(call: Call, entry: _Entry) -> Result:
    if entry.name in _SPECIAL:
        raise _error(errno.EISDIR)
    entry.check_writable()
    if not entry.mode:
        raise _error(errno.ENOENT)
    if entry.has_slash:
        raise _error(errno.EISDIR if entry.is_directory else errno.ENOTDIR)
    entry.check_removal(call.tid, of_directory=False)
    raise _error(errno.EPERM)


def _rmdir(call: Call, entry: _Entry) -> Result:
    wrong = {"": errno.EBUSY, ".": errno.EINVAL, "..": errno.ENOTEMPTY}.get(entry.name)
    if wrong is not None:
        raise _error(wrong)
    entry.check_writable()
    if not entry.mode:
        raise _error(errno.ENOENT)
    entry.check_removal(call.tid, of_directory=True)
    raise _error(errno.EPERM)


def _do_unlink(kernel: Subsystems, call: Call) -> Result:
    entry = _look(kernel, call)
    if entry is None or not entry.concerns_us:
        return PASS_ON
    return _unlink(call, entry)


def _do_rmdir(kernel: Subsystems, call: Call) -> Result:
    entry = _look(kernel, call)
    if entry is None or not entry.concerns_us:
        return PASS_ON
    return _rmdir(call, entry)


def _do_unlinkat(kernel: Subsystems, call: Call) -> Result:
    entry = _look(kernel, call)
    if entry is None or not entry.concerns_us:
        return PASS_ON
    check_flags(call, AT_REMOVEDIR)
    return (_rmdir if call.args[2] & AT_REMOVEDIR else _unlink)(call, entry)


# --- links that lead to us ----------------------------------------------------------------


def _notes(handler: Handler, is_link: bool = False) -> Handler:
    """Have paths through a link be ours that leads to one of our names, whatever it is called.

    :param is_link: the call makes such a link, of which the first argument is what it contains;
        else it gives a file another name.
    """

    def handle(kernel: Subsystems, call: Call) -> Result:
        result = handler(kernel, call)
        if result is PASS_ON:
            where = [path for _, path in BY_NUMBER[call.nr].paths]
            before, after = (
                kernel.paths.read(call.tid, call.args[at])
                for at in ((0, where[0]) if is_link else where)
            )
            if before and after and is_link:
                kernel.paths.note_link(after.rstrip("/").rpartition("/")[2], before)
            elif before and after:
                kernel.paths.note_moved(before, after)
        return result

    return handle


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("mkdir", "mkdirat"), _do_mkdir),
    **dict.fromkeys(("symlink", "symlinkat"), _notes(_do_symlink, is_link=True)),
    **dict.fromkeys(("mknod", "mknodat"), _do_mknod),
    **dict.fromkeys(("link", "linkat"), _notes(_do_link)),
    **dict.fromkeys(("rename", "renameat", "renameat2"), _notes(_do_rename)),
    "unlink": _do_unlink,
    "unlinkat": _do_unlinkat,
    "rmdir": _do_rmdir,
}
