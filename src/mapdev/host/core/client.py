"""`Client` is the base class of a thread that made a call: what `current()` gives to drivers."""

from __future__ import annotations

import abc
from typing import Any

from mapdev.linux.eventfd import EventfdCtx
from mapdev.linux.mm import TaskStruct
from mapdev.linux.vma import VmAreaStruct

__all__ = ["Client"]


class Client(TaskStruct):
    """The thread that made a call; each host subclasses it.

    Addresses are the client's, sizes are bytes. Every access of a driver to a program's memory goes
    through `read` and `write`.
    """

    __slots__ = ()

    @abc.abstractmethod
    def read(self, addr: int, size: int) -> bytes:
        """Return `size` bytes at `addr`.

        :raises OSError: EFAULT not all of it is readable.
        """

    @abc.abstractmethod
    def write(self, addr: int, data: Any) -> None:
        """Write `data`, bytes or a memoryview of bytes, at `addr`; it may travel with the answer.

        :raises OSError: EFAULT not all of it is writable.
        """

    @abc.abstractmethod
    def areas(self) -> list[VmAreaStruct]:
        """Return the process's areas as they are now, sorted by address and linked."""

    def get_eventfd(self, fd: int) -> EventfdCtx:
        """Return the eventfd that the process has at `fd`.

        :raises OSError: EBADF there is none, EINVAL it is no eventfd, EPERM it may not be had.
        """
        from mapdev.host.core.eventfd import take  # for a quick start

        return take(self.tgid, fd)

    @abc.abstractmethod
    def install_file(self, name: str, driver: Any, private_data: Any, flags: int) -> int:
        """Open a file without a node in the process; return its descriptor there.

        :raises OSError: EMFILE there are too many.
        """
