"""Resource limits: the host uses the hard RLIMIT_NOFILE, its clients keep the soft one from before.

A host has some descriptors for each client and for each of its open files and mappings, all in one
process, so the usual soft limit of 1024 is used up by some 80 clients. Hosts of one process share
its limit: the first raises it, the last puts it back.

Source: getrlimit(2)
"""

from __future__ import annotations

import errno
import os
import resource
import threading

from mapdev.host.embedded.processes import read_file

_NAMES = {
    resource.RLIMIT_AS: b"Max address space",
    resource.RLIMIT_MEMLOCK: b"Max locked memory",
    resource.RLIMIT_NOFILE: b"Max open files",
}
_DEFAULT = 1024  # for clients whose soft limit is "unlimited"

_lock = threading.Lock()
_before: tuple[int, int] | None = None  # the limits that were there before the first host
_hosts = 0


def raise_limit() -> None:
    """Raise this process's soft limit to the hard one, for a host that begins."""
    global _before, _hosts
    with _lock:
        if not _hosts:
            soft, hard = _before = resource.getrlimit(resource.RLIMIT_NOFILE)
            if soft != hard:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        _hosts += 1


def restore_limit() -> None:
    """Undo `raise_limit` when the last host has ended, unless the limit was changed meanwhile."""
    global _hosts
    with _lock:
        _hosts -= 1
        if not _hosts and _before is not None:
            hard = _before[1]
            if resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard):
                resource.setrlimit(resource.RLIMIT_NOFILE, _before)


def limits_of_clients() -> tuple[int, int]:
    """Return soft and hard limit for a client: those of this process without a host."""
    now = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not _hosts or _before is None or now != (_before[1], _before[1]):
        return now  # somebody else has set it since
    return _before


def soft_limit_of_clients() -> int:
    """Return how many descriptors a client may have."""
    soft = limits_of_clients()[0]
    return _DEFAULT if soft == resource.RLIM_INFINITY else soft


def limit_of(tid: int, number: int) -> int:
    """Return the soft limit `number` (RLIMIT_*) of a client's thread; -1: there is none.

    :raises ProcessLookupError: it is gone.

    Source: prlimit(2): without CAP_SYS_RESOURCE only of processes of one's own user; proc(5)
    """
    try:
        return resource.prlimit(tid, number)[0]
    except PermissionError:
        pass
    try:
        rows = read_file(f"/proc/{tid}/limits").splitlines()  # everybody may read it
    except OSError:
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    name = _NAMES[number]
    value = next(row for row in rows if row.startswith(name)).removeprefix(name).split()[0]
    return resource.RLIM_INFINITY if value == b"unlimited" else int(value)
