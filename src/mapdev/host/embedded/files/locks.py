"""The file locks of all nodes, and when their owners are gone.

An open file's locks end with its last descriptor. A process's locks on a node end when it closes
any descriptor of the node, and when it ends, which a pidfd tells. Used in the host's thread only.

Source: fs/locks.c (locks_remove_file, locks_remove_posix)
Fidelity: a close is seen only if nobody else has the open file. So a process that closes one that
it shares with another by fork keeps its record locks until it, or the other, closes the last.
"""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial
from typing import TYPE_CHECKING

from mapdev.host.core.device import Device
from mapdev.host.core.locks import NodeLocks
from mapdev.host.embedded.processes import tgid_of

if TYPE_CHECKING:
    from mapdev.host.embedded.files.open_file import OpenFile
    from mapdev.host.embedded.machine import EmbeddedMachine

_LONGEST_CHAIN = 10  # as in the kernel: MAX_DEADLK_ITERATIONS


class Locks:
    """The locks of all nodes.

    :param machine: wakes who waits for a lock: `NodeLocks` is the wait queue.
    :ivar waits_for: which process a process waits for, both by number.
    """

    def __init__(self, machine: EmbeddedMachine) -> None:
        self._machine = machine
        self._nodes: dict[Device, NodeLocks] = {}
        self._watched: dict[int, int] = {}  # pidfds of processes that have locks
        self.waits_for: dict[int, int] = {}

    def of(self, device: Device) -> NodeLocks:
        """Return the locks of a node."""
        return self._nodes.setdefault(device, NodeLocks())

    def wake(self, device: Device) -> None:
        """Have those look again who wait for a lock of the node."""
        node = self._nodes[device]
        self._machine.wake_up(node, node)  # it is nobody else's: no driver need be asked again

    def watch(self, process: int) -> None:
        """Release the locks of a process when it ends.

        :raises OSError: ENOLCK it can't be watched.
        """
        if process in self._watched:
            return
        try:
            pidfd = os.pidfd_open(process)
        except OSError as error:
            raise OSError(errno.ENOLCK, f"{process} can't be watched: {error.strerror}") from None
        self._watched[process] = pidfd
        self._machine.watcher.watch(pidfd, partial(self._ended, process))

    def _ended(self, process: int) -> None:
        pidfd = self._watched.pop(process)
        self._machine.watcher.unwatch(pidfd)
        os.close(pidfd)
        for device in self._nodes:
            self._release(device, process)

    def closed(self, open_file: OpenFile) -> None:
        """Release what goes with the last descriptor of `open_file`."""
        device = open_file.device
        if device not in self._nodes:
            return
        self._release(device, open_file)
        if open_file.seen is not None:
            self._release(device, tgid_of(open_file.seen[0]))

    def _release(self, device: Device, owner: object) -> None:
        if self._nodes[device].release(owner):
            self.wake(device)

    def waits_no_more(self, process: int) -> None:
        """Forget for whom a process waits."""
        self.waits_for.pop(process, None)

    def is_deadlock(self, process: int, blocker: int) -> bool:
        """Say whether `blocker` waits for `process`, itself or by others.

        Source: fs/locks.c (posix_locks_deadlock)
        """
        for _ in range(_LONGEST_CHAIN):
            if blocker == process:
                return True
            if blocker not in self.waits_for:
                break
            blocker = self.waits_for[blocker]
        return False

    def close(self) -> None:
        """Watch nobody any more."""
        for pidfd in self._watched.values():
            with contextlib.suppress(OSError):
                self._machine.watcher.unwatch(pidfd)
            os.close(pidfd)
        self._watched.clear()
