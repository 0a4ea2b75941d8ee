"""`EmbeddedClient` is a client's thread as drivers see it: its memory, areas and descriptors."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Protocol

from mapdev.host.core.client import Client
from mapdev.host.core.files import OpenFile
from mapdev.host.core.machine import HostMachine
from mapdev.host.embedded.processes import comm_of, tgid_of
from mapdev.linux.fs import File
from mapdev.linux.mm import TaskStruct
from mapdev.linux.vma import VmAreaStruct


class ClientMachine(HostMachine, Protocol):
    """A machine that reaches the memory of other processes."""

    def read_user(self, tid: int, addr: int, size: int) -> bytes:
        """Read up to `size` bytes at `addr` of thread `tid`."""

    def write_user(self, tid: int, addr: int, data: Any) -> int:
        """Write `data` at `addr` of thread `tid`; gives how many bytes it wrote."""

    def areas(self, task: TaskStruct) -> list[VmAreaStruct]:
        """Give the task's areas."""


Install = Callable[[str, Any, Any, int], int]
"""Opens a file without a node in the client: name, driver, private data, flags; its descriptor."""


class EmbeddedClient(Client):
    """A thread of a client, which reads its name and process from /proc when they are asked for.

    :param install: see `Install`; None while no call of the thread is being handled.
    :param open_at: returns the open file that a descriptor means, None if it is no device's.
    """

    __slots__ = ("_install", "_machine", "_open_at")

    def __init__(
        self, machine: ClientMachine, tid: int, tgid: int = 0, install: Install | None = None,
        open_at: Callable[[int], OpenFile | None] | None = None,
    ) -> None:  # fmt: skip
        # Without the constructor of TaskStruct: one is made for each call.
        self.pid = tid
        self.flags = 0
        self._mm = None
        self._tgid = tgid
        self._machine = machine
        self._install = install
        self._open_at = open_at

    @property
    def tgid(self) -> int:
        """The process that the thread belongs to."""
        if not self._tgid:
            self._tgid = tgid_of(self.pid)
        return self._tgid  # type: ignore[return-value]

    @property
    def comm(self) -> str:
        """The command's name."""
        return comm_of(self.pid)

    def read(self, addr: int, size: int) -> bytes:
        """Return `size` bytes at `addr`; EFAULT when not all of it is there."""
        data = self._machine.read_user(self.pid, addr, size)
        if len(data) < size:
            raise OSError(errno.EFAULT, f"{addr + len(data):#x} is not readable in the client")
        return data

    def write(self, addr: int, data: Any) -> None:
        """Write `data` at `addr`; EFAULT when not all of it could be written."""
        count = self._machine.write_user(self.pid, addr, data)
        if count < len(data):
            raise OSError(errno.EFAULT, f"{addr + count:#x} is not writable in the client")

    def areas(self) -> list[VmAreaStruct]:
        """Return the areas of its process, as /proc shows them now."""
        return self._machine.areas(self)

    def get_file(self, fd: int) -> File:
        """Return the open file of a driver at `fd`."""
        found = self._open_at(fd) if self._open_at is not None else None
        if found is None or found.device.is_gone:
            raise OSError(errno.EBADF, f"no file of a driver is at {fd}")
        return found.file

    def install_file(self, name: str, driver: Any, private_data: Any, flags: int) -> int:
        """Open a file without a node in the process."""
        if self._install is None:
            return super(Client, self).install_file(name, driver, private_data, flags)
        return self._install(name, driver, private_data, flags)
