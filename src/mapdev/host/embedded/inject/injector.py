"""The means to run system calls inside a client, whichever of its threads makes them.

`Injector` is made once and handed to all that change a client from outside: `injection` (in the
thread of a pending call), `memory_fd` (in a helper thread too), `worker` (in a thread that stays).
None of them needs more of the host. Used in the host's thread only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mapdev.host.embedded.inject.batch import Batch
from mapdev.host.embedded.inject.helpers import Helpers
from mapdev.host.embedded.inject.recruit import Recruits
from mapdev.host.embedded.listeners import Listeners
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.mm.mappings import Mappings
from mapdev.host.embedded.syscalls.notify import Call

if TYPE_CHECKING:
    from mapdev.host.embedded.inject.thread import StoppedThread
    from mapdev.host.embedded.inject.tracee import Tracee

_PATIENCE = 0.02  # seconds between two looks whether the helper was killed, or stopped


class Injector:
    """The means by which system calls are injected.

    :param scratch_descriptor: the number at which physical memory is in a client for the moment of
        a mapping.
    :ivar mappings: of all clients; `leases`, `spaces` and `window` are its.
    :ivar secret: 32 bits that mark the host's own calls in clients, see `filter`.
    :ivar batch: makes lists of calls in clients.
    :ivar helpers: threads of clients that have descriptors of their own.
    :ivar recruits: threads in processes that a debugger holds.
    """

    def __init__(
        self, mappings: Mappings, scratch_descriptor: int, listeners: Listeners, messages: Messages
    ) -> None:
        self.mappings = mappings
        self.leases = mappings.leases
        self.spaces = mappings.spaces
        self.window = mappings.window
        self.scratch_descriptor = scratch_descriptor
        self.messages = messages
        self.secret = int.from_bytes(os.urandom(4), "little") | 1
        self.batch = Batch()
        self.helpers = Helpers()
        self.recruits = Recruits(listeners)
        self._listeners = listeners

    def stopped(self, call: Call) -> StoppedThread:
        """Return the thread of `call`, to be stopped and used for calls of ours."""
        from mapdev.host.embedded.inject.thread import StoppedThread  # here, for a quick start

        return StoppedThread(call, self.secret, self.helpers)

    def call_of(self, helper: Tracee) -> Call:
        """Return the call that the helper makes; other clients' calls are kept for later.

        :raises ClientGone: it was killed.
        """
        while True:
            call = self._listeners.next_call(_PATIENCE)
            if call is not None and call.tid == helper.tid:
                return call
            if call is not None:
                self._listeners.postponed.append(call)
            else:
                helper.keep_going()

    def close(self) -> None:
        """Give back what was made here."""
        self.batch.close()
