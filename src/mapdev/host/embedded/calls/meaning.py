"""Says which device the path of a system call means, as the table of system calls reads it.

Where a call has its path, and if it follows links, is in `syscalls.table`.
"""

from __future__ import annotations

import errno
import os

from mapdev.host.embedded.calls.verdict import signed32
from mapdev.host.embedded.files.paths import Found
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER
from mapdev.host.numbers import AT_FDCWD, UINT_MAX


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def find(
    kernel: Subsystems,
    call: Call,
    which: int = 0,
    may_have_slash: bool = False,
    may_be_real: bool = False,
    follow: bool = False,
) -> Found | None:
    """Return the device that a path of `call` means, as the table of system calls reads it.

    :param which: which path, if there are two.
    :param may_have_slash: a slash behind the node's name is not wrong.
    :param may_be_real: the caller can do with `Found.is_real`; else the kernel finds nothing.
    :param follow: follow a link in the last place, whatever the table says.
    :raises OSError: ENOTDIR there is one, or the path goes on below a device.
    """
    meaning = BY_NUMBER[call.nr]
    directory, path = meaning.paths[which]
    text = kernel.paths.read(call.tid, call.args[path])
    if text:
        dirfd = directory_of(call, directory)
        follow = follow or meaning.follows_link(call.args)
        found = kernel.paths.find(call.tid, dirfd, text, follow)
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


def directory_of(call: Call, argument: int | None) -> int:
    """Return what a relative path of `call` starts from: a descriptor, or AT_FDCWD."""
    return AT_FDCWD if argument is None else signed32(call.args[argument])


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
