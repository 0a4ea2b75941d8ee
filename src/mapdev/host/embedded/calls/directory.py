"""Opens directories that have names of ours in them, and makes them the working directory.

Imported when the first such directory is opened.

Source: fs/namei.c (do_open), fs/open.c (chdir)
"""

from __future__ import annotations

import errno
import os
import stat

from mapdev.host.embedded.calls.open_how import OpenHow
from mapdev.host.embedded.calls.verdict import ANSWERED, PASS_ON, Result
from mapdev.host.embedded.files.node import X_OK, may_access
from mapdev.host.embedded.files.paths import Found
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call

_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def open_directory(
    kernel: Subsystems, call: Call, found: Found, how: OpenHow, failure: OSError | None
) -> Result:
    """Open a directory with names of ours in it so that listing it is handed over.

    :param failure: why `how` makes no sense.

    Source: fs/namei.c (do_open)
    """
    node = found.directory
    assert node is not None
    flags = how.flags
    lists = not flags & (os.O_ACCMODE | os.O_CREAT | os.O_PATH | _TMPFILE)
    if kernel.paths.overlay.is_merged(node) and not found.leaves:
        if failure is not None or how.resolve or not lists:
            return PASS_ON  # the kernel has all that it needs to know
        try:
            return kernel.directories.open(call, node, found.path, flags)
        except OSError as error:
            if error.errno == errno.EMFILE:
                raise
            return PASS_ON  # it says the same, or it knows better
    if failure is not None:
        raise failure
    how.check()
    if how.is_new_only and not found.has_slash:
        raise _error(errno.EEXIST)
    if flags & _TMPFILE:
        raise _error(errno.EOPNOTSUPP)
    if not lists and not flags & os.O_PATH:
        raise _error(errno.EISDIR)
    return kernel.directories.open(call, node, found.path, flags)


def open_real(call: Call, found: Found, how: OpenHow) -> int:
    """Open what exists for real for a client that is in a directory of ours."""
    fd = os.open(found.path, how.flags & ~os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        return call.add_descriptor(fd, None, bool(how.flags & os.O_CLOEXEC))
    finally:
        os.close(fd)


def change_directory(kernel: Subsystems, call: Call, found: Found) -> Result:
    """Make what was found the working directory of the client, by a descriptor of it.

    :raises OSError: ENOTDIR it is none, EACCES.
    """
    if not stat.S_ISDIR(found.device.inode.i_mode):
        raise _error(errno.ENOTDIR)
    if not may_access(found.device, call.tid, X_OK):
        raise _error(errno.EACCES)
    if found.is_real:
        own = os.open(found.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            number = call.add_descriptor(own, None, cloexec=True)
        finally:
            os.close(own)
    else:
        assert found.directory is not None
        number = call.add_descriptor(kernel.directories.own(found.directory), None, cloexec=True)
    with Injection(
        kernel.injector, call, "it can't go to a directory of mapdev's", own=True
    ) as injection:
        try:
            injection.result = injection.thread.syscall("fchdir", number, descriptor=0)
        finally:
            injection.thread.syscall("close", number)
    return ANSWERED
