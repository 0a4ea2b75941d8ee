"""`Descendants` finds, kills and reaps clients that outlive the program that the host started.

While `Descendants` is adopting, orphaned descendants become children of this process (a
subreaper, prctl(2)), so that a search from here finds them all. A client is known by having more
seccomp filters than we have. Children that are not clients, or that a `ClientProcess` waits for,
are left to whoever started them.
"""

from __future__ import annotations

import contextlib
import os
import signal
from weakref import WeakSet

from mapdev.host.embedded.libc import PR_SET_CHILD_SUBREAPER, get_child_subreaper, prctl
from mapdev.host.embedded.processes import read_file

_hosts: WeakSet[Descendants] = WeakSet()  # of this process


class Descendants:
    """The clients among the descendants of this process.

    :ivar started: processes that somebody waits for.
    """

    def __init__(self) -> None:
        self.started: set[int] = set()
        self._before: int | None = None
        _hosts.add(self)

    def adopt(self) -> None:
        """Become the parent of orphaned descendants from now on."""
        if self._before is None:
            self._before = get_child_subreaper()
            prctl(PR_SET_CHILD_SUBREAPER, 1)

    def disown(self) -> None:
        """Undo `adopt`."""
        if self._before is not None:
            prctl(PR_SET_CHILD_SUBREAPER, self._before)
            self._before = None

    def clients(self) -> set[int]:
        """Return the clients that live now; those that we adopted and that died are collected."""
        if not _have_children():
            return set()
        statuses = {int(name): _status(int(name)) for name in os.listdir("/proc") if name.isdigit()}
        me = os.getpid()
        others = {pid for host in _hosts if host is not self for pid in host.started}
        own_filters = int(statuses[me].get("Seccomp_filters", 0))
        clients = {
            pid
            for pid, status in statuses.items()
            if int(status.get("Seccomp_filters", 0)) > own_filters
            and _descends(pid, me, statuses, others)
        }
        dead = {pid for pid in clients if statuses[pid]["State"].startswith("Z")}
        for pid in dead - self.started:
            if int(statuses[pid]["PPid"]) == me:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return clients - dead

    def kill(self) -> bool:
        """Send SIGKILL to all clients that live; say whether there were any."""
        alive = self.clients()
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        return bool(alive)


def _have_children() -> bool:
    """Say whether there can be descendants, whose orphans would be our children; this is quick."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descends(
    pid: int, ancestor: int, statuses: dict[int, dict[str, str]], others: set[int]
) -> bool:
    """Say whether `pid` descends from `ancestor`, and that not by way of one of `others`."""
    while statuses.get(pid) and pid not in others:
        pid = int(statuses[pid]["PPid"])
        if pid == ancestor:
            return True
    return False


def _status(pid: int) -> dict[str, str]:
    try:
        text = read_file(f"/proc/{pid}/status").decode(errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.splitlines())
    return {key: value.strip() for key, _, value in lines}
