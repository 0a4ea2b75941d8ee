"""Checks a path that leads to a device by the ``RESOLVE_*`` flags of openat2(2).

The directory that the node is in is real, so the kernel itself is asked for that part of the path;
symbolic links to the node in the last place are followed here.

Source: fs/namei.c (nd_jump_link, step_into), Documentation/filesystems/path-lookup.rst
Fidelity: RESOLVE_CACHED is as if all were cached.
"""

from __future__ import annotations

import errno
import os

from mapdev.host.embedded.files.paths import MAX_LINKS, Found, Paths
from mapdev.host.embedded.libc import openat2
from mapdev.host.numbers import (
    AT_FDCWD,
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
)

_SCOPED = RESOLVE_BENEATH | RESOLVE_IN_ROOT


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def check_resolve(
    paths: Paths, tid: int, dirfd: int, path: str, resolve: int, found: Found
) -> None:
    """Check that thread `tid` may go to the device that was `found` by `path`.

    :param dirfd: what a relative path starts from, or AT_FDCWD.
    :raises OSError: ELOOP it has links that are not allowed; EXDEV it leaves the directory or the
        mount.
    """
    start = "cwd" if dirfd == AT_FDCWD else f"fd/{dirfd}"
    try:
        directory = os.open(f"/proc/{tid}/{start}", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        directory = AT_FDCWD  # of no use to an absolute path
    is_link = False
    try:
        for _ in range(MAX_LINKS):
            head, slash, _ = path.rstrip("/").rpartition("/")
            try:
                _walk(directory, head + slash or ".", resolve & ~RESOLVE_CACHED)
            except FileNotFoundError:  # a node may be put where there is no directory
                if is_link and resolve & RESOLVE_IN_ROOT:
                    raise  # the link leads to another place then
            target = _link(paths, tid, dirfd, path.rstrip("/"))
            if target is None:
                break
            if resolve & RESOLVE_NO_SYMLINKS:
                raise _error(errno.ELOOP)
            is_link = True
            path = target if target.startswith("/") else f"{head}{slash}{target}"
    finally:
        if directory >= 0:
            os.close(directory)
    if found.open_file is not None:  # a link in /proc
        if resolve & (RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS):
            raise _error(errno.ELOOP)
        if resolve & _SCOPED:
            raise _error(errno.EXDEV)


def _walk(directory: int, path: str, resolve: int) -> None:
    """Have the kernel walk to the directory of a node."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    os.close(openat2(directory, os.fsencode(path), flags, resolve))


def _link(paths: Paths, tid: int, dirfd: int, path: str) -> str | None:
    """Return the target of a symbolic link; None for the node itself and for a link in /proc."""
    if path.startswith("/proc/"):
        return None
    try:
        return os.readlink(paths.reach(tid, dirfd, path))
    except OSError:
        return None
