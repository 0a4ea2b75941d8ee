"""Where a running host's control socket is: a directory of the user's own, one socket a host.

`$XDG_RUNTIME_DIR/mapdev`, or a directory in /tmp that is made, and checked, to be nobody else's.
The name of a host is the number of its process; a second host of one process is called PID.2.
"""

from __future__ import annotations

import contextlib
import os
import stat

__all__ = ["SUFFIX", "directory", "names", "path_of"]

SUFFIX = ".sock"
_LONGEST = 107  # of a socket's path, in bytes: sun_path without the zero


def directory(make: bool = False) -> str:
    """Return the directory of this user's sockets.

    :param make: make it if it is not there.
    :raises OSError: EPERM somebody else can write there; ENOENT, and others, it can't be made.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    path = f"{base}/mapdev" if base.startswith("/") else f"/tmp/mapdev-{os.getuid()}"
    if len(os.fsencode(path)) + len("/4194304.99.sock") > _LONGEST:
        path = f"/tmp/mapdev-{os.getuid()}"
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)  # noqa: PTH102 - pathlib takes long to import
    status = os.lstat(path)
    mine = status.st_uid == os.getuid() and stat.S_ISDIR(status.st_mode)
    if not mine or status.st_mode & 0o077:
        raise PermissionError(1, "it has to be a directory of yours alone (mode 0700)", path)
    return path


def path_of(name: str) -> str:
    """Return where the socket of host `name` is, whether there is one or not.

    :raises OSError: as for `directory`.
    :raises ValueError: `name` is no name of a host.
    """
    if not name.replace(".", "", 1).isdigit():
        raise ValueError(f"{name!r} is no host: the number of its process is")
    return f"{directory()}/{name}{SUFFIX}"


def names() -> list[str]:
    """Return the names of the hosts that have a socket, in the order of their processes."""
    try:
        entries = os.listdir(directory())  # noqa: PTH208
    except OSError:
        return []
    found = [entry.removesuffix(SUFFIX) for entry in entries if entry.endswith(SUFFIX)]
    return sorted(found, key=lambda name: [int(part) for part in name.split(".") if part.isdigit()])
