"""A system call of a client, while a driver's operation runs for it: what each host subclasses.

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

    :ivar file: the open file that the call is about; set before an operation of it runs.
    :ivar resumed: why the call waited, while its operation is run again; None the first time.
    :ivar begun: the operation that waits, if operations are traced; unset if they are not.
    """

    __slots__ = ("_client", "begun", "file", "resumed")

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
