"""`Server` is the embedded host's event loop: it waits in epoll for calls, hang-ups and faults.

It owns the epoll instance, the listeners and all that `Subsystems` holds. It is also the tracer of
every client thread that is stopped, so ptrace must be called nowhere else.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from mapdev.host.core.call import Call as CoreCall
from mapdev.host.core.loop import OWN_ERROR, Jobs, Loop
from mapdev.host.core.waiting import Waiting
from mapdev.host.embedded.arch import ARCH, NAME_OF
from mapdev.host.embedded.calls import HANDLERS
from mapdev.host.embedded.calls.path import foreign_open
from mapdev.host.embedded.files.lookups import LookedUpElsewhere
from mapdev.host.embedded.inject.tracee import ClientGone
from mapdev.host.embedded.listeners import Listeners
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.launch import Arrival, confirm, receive_listener
from mapdev.host.embedded.syscalls.notify import Call, Listener
from mapdev.host.embedded.syscalls.quick import Events, Waits, waiting_for_calls
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.log import log

_HANG_UP = select.EPOLLHUP | select.EPOLLERR
_SWEEP_AGAIN = 0.002  # seconds, see Leases.sweep and AddressSpaces.tick
_MANY = 64  # events at a time
_ENOUGH_PASSES = 20  # what had ended when settle was called is handled by then


class Server(Loop):
    """Serves clients by their listeners.

    :param watcher: watches descriptors; it is what the thread waits for.
    """

    def __init__(
        self,
        kernel: Subsystems,
        jobs: Jobs,
        waiting: Waiting,
        watcher: Watcher,
        listeners: Listeners,
    ) -> None:
        super().__init__(jobs, waiting, kernel.files.polling, kernel.operations)
        self._kernel = kernel
        self._signals = kernel.signals
        self._watcher = watcher
        self._epoll = watcher.epoll
        self._watched = watcher.handlers
        self._listeners = listeners.by_fd
        self._postponed = listeners.postponed
        self._expected: dict[socket.socket, Arrival] = {}  # of clients that are being started
        self._passes = 0  # how often a look has found more, while somebody waits for `settle`
        self._events = self._waits()

    # --- from other threads -----------------------------------------------------------------

    def stop(self) -> None:
        """End the thread; parked calls fail with ENODEV, all other and later ones with ENOSYS."""
        self.end_thread()
        self.abandon()
        self._kernel.paths.lookups.close()
        self._watcher.close()

    def expect(self, channel: socket.socket) -> Arrival:
        """Serve the client that will send its listener through `channel`, which is ours now."""
        arrival = Arrival()
        self.jobs.in_thread(lambda: self._expect(channel, arrival))
        return arrival

    def look_for_signals(self) -> None:
        """See at once what a signal that was just sent means to parked calls; does not wait."""
        if self._is_running:
            self.jobs.submit(self._signals.look)

    @property
    def has_clients(self) -> bool:
        """Whether any client still lives."""
        return bool(self._listeners)

    # --- in the host's thread ---------------------------------------------------------------

    def serve(self, is_busy: bool) -> bool:
        """Wait for what clients do, pass on what concerns no device, and handle the rest."""
        leases, spaces = self._kernel.machine.leases, self._kernel.spaces
        if (leases.due and leases.needs_sweep) or (spaces.by_tgid and spaces.needs_tick):
            self._once(0.0 if is_busy else _SWEEP_AGAIN)
            return True
        if is_busy:
            more = self._once(0.0) or leases.needs_sweep
            self._passes = self._passes + 1 if more else 0
            if self._passes <= _ENOUGH_PASSES:
                return more
            self._passes = 0
            return False
        try:
            self._serve_calls()
        except BaseException:
            self._events = self._waits()  # an exception has ended it
            raise
        return True

    def _serve_calls(self) -> None:
        """Handle calls of clients, until there is anything else to do."""
        jobs, waiting, signals = self.jobs, self.waiting, self._signals
        leases, spaces = self._kernel.machine.leases, self._kernel.spaces
        while True:
            events, taken = self._events.send(signals.due)
            with self.lock:
                if taken is None:
                    self._handle_batch(events)
                else:
                    self._handle(self._listeners[events[0][0]].call(taken))
                if self._postponed:
                    self._handle_postponed()
                if signals.due is not None:
                    signals.look_if_due()
            if jobs.pending or jobs.settling or waiting.is_due or leases.due or spaces.by_tgid:
                return
            if not self._is_running:
                return

    def _waits(self) -> Waits:
        return waiting_for_calls(self._kernel, self._epoll, self._listeners)

    def _once(self, timeout: float) -> bool:
        """Do chores and handle what is there; False when that was nothing but calls of clients."""
        due = self._signals.due
        if due is not None:
            timeout = min(timeout, max(0.0, due - time.monotonic()))
        events = self._epoll.poll(timeout, _MANY)
        with self.lock:
            self._handle_batch(events, chores=True)
            self._try(self._signals.look_if_due)
        return any(fd not in self._listeners for fd, _ in events)

    def _handle_batch(self, events: Events, chores: bool = False) -> None:
        # Hang-ups before calls: a client's close comes before what it does next, so release
        # must have run when an open that follows is handled.
        if len(events) > 1:
            events.sort(key=lambda event: event[0] in self._listeners)
        batch = self._watcher.events = dict(events)
        if chores:
            self._try(self._do_chores)
        while batch:
            fd = next(iter(batch))
            event = batch.pop(fd)
            self._try(self._watched[fd], event)
            self._handle_postponed()

    def _do_chores(self) -> None:
        machine = self._kernel.machine
        if machine.leases.needs_sweep and machine.leases.events not in self._watcher.events:
            self._kernel.mappings.sweep()
        if self._kernel.spaces.needs_tick:
            self._kernel.spaces.tick()

    def _try(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function`; whatever happens, the thread goes on: all clients depend on it."""
        try:
            function(*args)
        except BaseException:
            log.exception(OWN_ERROR)

    def _handle_postponed(self) -> None:
        while self._postponed:
            call = self._postponed.popleft()
            if call.is_waited_for():  # its thread may have been killed meanwhile
                self._handle(call)

    def _watch(self, fd: int, events: int, handle: Callable[[int], object]) -> None:
        self._watcher.register(fd, events, handle)

    def _unwatch(self, fd: int) -> None:
        self._watcher.unwatch(fd)

    def _expect(self, channel: socket.socket, arrival: Arrival) -> None:
        self._watch(channel.fileno(), select.EPOLLIN, lambda _: self._accept(channel))
        self._expected[channel] = arrival

    def _accept(self, channel: socket.socket) -> None:
        self._unwatch(channel.fileno())
        arrival = self._expected.pop(channel)
        fd = None
        try:
            fd = receive_listener(channel)
            if fd is not None:
                self._serve_listener(fd)
        except OSError as error:
            log.error("a client can't be served: %s", error.strerror or error)
            arrival.error = error
            fd = None
        confirm(channel, fd is not None)
        channel.close()

    def _serve_listener(self, fd: int) -> None:
        try:
            listener = Listener(fd, self._kernel)
            self._watch(fd, select.EPOLLIN, lambda event: self._notified(listener, event))
        except BaseException:
            os.close(fd)
            raise
        self._listeners[fd] = listener

    def _notified(self, listener: Listener, event: int) -> None:
        if event & select.EPOLLIN:
            call = listener.receive()
            if call is not None:
                self._handle(call)
        elif event & _HANG_UP:
            self._unwatch(listener.fd)
            del self._listeners[listener.fd]
            listener.close()

    def _handle(self, call: Call) -> None:
        """Carry out one call and answer or park it, whatever happens."""
        kernel = self._kernel
        if kernel.files.flushed.is_made:
            kernel.files.flushed.catch_up()
        if kernel.spaces.by_tgid:
            kernel.spaces.calls(call.tid)
        if call.tid in kernel.injector.recruits.pending:
            from mapdev.host.embedded.faults.start import take_in  # here, for a quick start

            self._try(take_in, kernel.injector, kernel.operations, call)
        if kernel.spaces.to_hide or kernel.spaces.orphans:
            from mapdev.host.embedded.faults.hide import hide_before, revive  # for a quick start

            if hide_before(kernel, call) or revive(kernel, call):
                return
        native = call.arch == ARCH.AUDIT_ARCH and call.nr in HANDLERS
        handler = HANDLERS[call.nr] if native else foreign_open
        wait = self.carry_out(call, handler, kernel, call)
        if wait is not None:
            self.waiting.keep(call, wait)

    def before_answer(self, call: CoreCall, result: Any) -> Any:
        """Take pages out of the client's areas that its call has taken away; tell who watches."""
        if self._kernel.shadows.opened and isinstance(call, Call):
            from mapdev.host.embedded.calls.transfer import tell_watchers  # for a quick start

            tell_watchers(self._kernel.shadows, call, result)
        if not self._kernel.spaces.to_hide or not isinstance(call, Call):
            return result
        from mapdev.host.embedded.faults.hide import hide_after  # here, for a quick start

        return hide_after(self._kernel, call, result)

    def show_changes(self, call: CoreCall) -> None:
        """Have poll see what the call changed, and bring in pages that it took away."""
        super().show_changes(call)
        if self._kernel.spaces.needs_tick:
            self._kernel.spaces.tick()

    def failed(self, call: CoreCall, error: BaseException) -> None:
        """Answer a call whose handler failed by a mistake of the host, or whose client is gone.

        One that needs to know a link first is not answered yet.
        """
        if isinstance(error, LookedUpElsewhere) and isinstance(call, Call):
            lookups = self._kernel.paths.lookups
            lookups.start(error, lambda: self._handle_again(call))
            return
        if isinstance(error, ClientGone):
            call.fail(errno.ESRCH)  # nobody should be left to read it
            return
        nr = call.nr if isinstance(call, Call) else -1
        log.exception("mapdev: %s failed in the host itself; please report it. "
                      "The client gets EIO", NAME_OF.get(nr, nr))  # fmt: skip
        call.fail(errno.EIO)

    def _handle_again(self, call: Call) -> None:
        if call.is_waited_for():
            self._handle(call)

    def abandon(self) -> None:
        """Close all listeners: calls of clients fail from now on."""
        super().abandon()
        for channel, arrival in self._expected.items():
            arrival.error = OSError(errno.ENODEV, "the host has ended")
            confirm(channel, False)
            channel.close()
        self._expected.clear()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
