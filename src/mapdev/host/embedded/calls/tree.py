"""Handles calls that matter where the host shows more than nodes: chdir, getcwd, inotify.

A directory that is ours alone is, to the kernel, a removed one of the host: its path and its file
system are told here.

Source: fs/d_path.c (getcwd), fs/statfs.c
"""

from __future__ import annotations

import errno
import os

from mapdev.host.embedded.calls.directory import change_directory
from mapdev.host.embedded.calls.meaning import find
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result
from mapdev.host.embedded.files.node import R_OK, may_access
from mapdev.host.embedded.libc import fetch_descriptor, inotify_add_watch, statfs
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER
from mapdev.host.numbers import AT_FDCWD
from mapdev.linux.kernfs import KernfsNode


def _do_chdir(kernel: Subsystems, call: Call) -> Result:
    found = find(kernel, call, 0, may_have_slash=True, may_be_real=True)
    return PASS_ON if found is None else change_directory(kernel, call, found)


def _do_getcwd(kernel: Subsystems, call: Call) -> Result:
    links = kernel.directories.by_link
    if not links:
        return PASS_ON
    try:
        node = links.get(os.readlink(f"/proc/{call.tid}/cwd"))
    except OSError:
        return PASS_ON
    if node is None:
        return PASS_ON
    if not node.is_active:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    buffer, size = call.args[:2]
    path = os.fsencode(node.path) + b"\0"
    if len(path) > size:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    call.write_user(buffer, path)
    return len(path)


def _put_statfs(call: Call, path: str) -> int:
    """Tell of the file system on which `path` would be: that of the directory in the root."""
    top = "/" + path.split("/")[1]
    call.write_user(call.args[1], statfs(top if os.path.isdir(top) else "/"))
    return 0


def _do_statfs(kernel: Subsystems, call: Call) -> Result:
    found = find(kernel, call)
    if found is None:
        return PASS_ON
    return _put_statfs(call, found.device.node)


def _do_fstatfs(kernel: Subsystems, call: Call) -> Result:
    open_file = kernel.files.of(call)
    if open_file is not None:
        return _put_statfs(call, open_file.device.node)
    node = kernel.directories.ours_at(call.tid, call.args[0] & 0xFFFFFFFF)
    return PASS_ON if node is None else _put_statfs(call, node.path)


def _do_inotify_add_watch(kernel: Subsystems, call: Call) -> Result:
    """Have the client's inotify instance watch a shadow in place of a name of the tree."""
    meaning = BY_NUMBER[call.nr]
    text = kernel.paths.read(call.tid, call.args[1])
    follow = meaning.follows_link(call.args)
    found = kernel.paths.find(call.tid, AT_FDCWD, text, follow, listed=True) if text else None
    if found is None or found.open_file is not None or found.is_real:
        return PASS_ON
    if found.directory is not None and not kernel.paths.overlay.has_tree:
        return PASS_ON  # all that is there for real is told of by the kernel
    node = found.directory or found.device.inode.i_private
    if not isinstance(node, KernfsNode):
        node = kernel.paths.overlay.nodes[found.device.node]
    if not may_access(found.device, call.tid, R_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    number = call.args[0] & 0xFFFFFFFF
    try:
        own = fetch_descriptor(call.tid, number)
    except PermissionError:
        return PASS_ON  # in a container, maybe: the real directory then
    try:
        mask = call.args[2] & 0xFFFFFFFF
        path = kernel.shadows.path(node, kernel.files.table)
        return inotify_add_watch(own, path, mask)
    finally:
        os.close(own)


HANDLERS: dict[str, Handler] = {
    "chdir": _do_chdir,
    "getcwd": _do_getcwd,
    "inotify_add_watch": _do_inotify_add_watch,
    "statfs": _do_statfs,
    "fstatfs": _do_fstatfs,
}
