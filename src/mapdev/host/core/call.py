"""`Call` is the base class of a client's system call; each host answers its calls by a subclass.

A `Call` is the context in which the driver's code runs, so the functions of `mapdev.linux` find it.
It lives from the moment it is received until it is answered, once. All of it is used under the
host's lock.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from mapdev.linux.context import Context

if TYPE_CHECKING:
    from mapdev.host.core.client import Client
    from mapdev.host.core.files import OpenFile
    from mapdev.host.core.waiting import WouldWait

__all__ = ["Begun", "Call"]


Begun = tuple[str, str, float]
"""Name and arguments of an operation that waits, and when it was first run."""


class Call(Context):
    """One call of a client.

    :ivar tid: the number of the thread that made it.
    :ivar file: the open file that the call is about; set before an operation of it runs.
    :ivar resumed: why the call waited, while its operation is run again; None the first time.
    :ivar begun: the operation that waits, if operations are traced; unset if they are not.
    """

    __slots__ = ("_client", "begun", "file", "resumed")

    tid: int
    file: OpenFile
    resumed: WouldWait | None
    begun: Begun | None
    _client: Client | None

    @property
    def task(self) -> Client:  # type: ignore[override]
        """The client, `current()`: made when somebody asks for it."""
        client = self._client
        if client is None:
            client = self._client = self.make_client()
        return client

    @abc.abstractmethod
    def make_client(self) -> Client:
        """Return the process that made the call."""

    def take_data(self, addr: int, count: int) -> bytes:
        """Return what a write hands to the driver: `count` bytes at `addr`.

        A host may return fewer, even none: those before an address that is not readable.

        :raises OSError: EFAULT not all of it is readable.
        """
        return self.read_user(addr, count)

    def put_data(self, addr: int, data: Any) -> int:
        """Copy what a read gave to `addr`; return how many bytes arrived.

        A host may return fewer than there are: those before an address that is not writable.

        :raises OSError: EFAULT not all of it is writable.
        """
        self.write_user(addr, data)
        return len(data)

    @abc.abstractmethod
    def finish(self, result: Any) -> None:
        """Answer the call with what its handler returned."""

    @abc.abstractmethod
    def answer(self, result: int) -> object:
        """Make the call return `result`."""

    @abc.abstractmethod
    def fail(self, code: int) -> object:
        """Make the call fail with errno `code`."""

    def time_out(self) -> None:
        """Make the call fail with ETIMEDOUT although its operation still runs; in any thread."""

    @abc.abstractmethod
    def is_waited_for(self) -> bool:
        """Say whether the client still waits for the answer: it may have been killed."""

    @abc.abstractmethod
    def parked(self) -> None:
        """Note that the call waits from now on, so that signals for its client are looked for."""

    @abc.abstractmethod
    def unparked(self) -> None:
        """Note that the call waits no longer."""

    @abc.abstractmethod
    def interrupt(self) -> None:
        """Answer -ERESTARTSYS: the client goes on with its signal."""
