"""The host's thread: waits for what clients do and has it handled, one thing after another.

It owns all that `Kernel` holds. Other threads reach it only
through `Server.submit`, which runs a function in the host's thread, and through the host's lock,
which the thread holds while it handles something. It is also the tracer of every client thread that
is stopped, so ptrace must be called nowhere else.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mapdev.host.coroutines import Coroutines
from mapdev.host.embedded.arch import ARCH, NAME_OF
from mapdev.host.embedded.calls import HANDLERS
from mapdev.host.embedded.calls.path import foreign_open
from mapdev.host.embedded.calls.verdict import PASS_ON, Result
from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.launch import receive_listener
from mapdev.host.embedded.listeners import Listeners
from mapdev.host.embedded.notify import Call, Listener
from mapdev.host.embedded.parking import Parking
from mapdev.host.embedded.quick import Events, Quick
from mapdev.host.embedded.tracee import ClientGone
from mapdev.host.embedded.waiting import Waiting
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.log import log

_HANG_UP = select.EPOLLHUP | select.EPOLLERR
_SWEEP_AGAIN = 0.002  # seconds, see Leases.sweep and Spaces.tick
_OWN_ERROR = "mapdev: an error of the host itself; please report it"
_MANY = 64  # events at a time
_ENOUGH_PASSES = 20  # what had ended when settle was called is handled by then


class Server:
    """Runs the host's thread from `start` to `stop`."""

    def __init__(
        self, kernel: Kernel, lock: threading.RLock, watcher: Watcher, listeners: Listeners
    ) -> None:
        self._kernel = kernel
        self._lock = lock
        self._watcher = watcher
        self._epoll = watcher.epoll
        self._watched = watcher.handlers
        self._listeners = listeners.by_fd
        self._postponed = listeners.postponed
        self._work: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._running = True
        self._settling: list[threading.Event] = []
        self._passes = 0
        self._thread = threading.Thread(target=self._run, name="mapdev host", daemon=True)
        self._quick = Quick(kernel)
        self._coroutines = Coroutines(lock)
        self._parking = Parking(kernel, self._coroutines, self._carry_out, self._poke)
        kernel.machine.woken = self._parking.wake
        kernel.opened = self._watch_file
        kernel.closed = self._forget_file
        self._watch(self._wake, select.EPOLLIN, lambda _: self._do_work())

    # --- from other threads -----------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; parked calls fail with ENODEV, all other and later ones with ENOSYS."""
        self._running = False
        self._poke()
        self._thread.join()
        # Nothing is watched any more. A process whose filter is gone may be about to end still.
        self._kernel.closed = lambda _: None
        with self._lock:
            self._parking.close()
        self._coroutines.stop()
        for done in self._settling:
            done.set()
        for listener in self._listeners.values():
            listener.close()
        self._watcher.close()
        os.close(self._wake)

    def submit(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the host's thread and return its result or raise its exception."""
        outcome: list[Any] = [None, None]  # result and exception
        done = threading.Event()

        def run() -> None:
            try:
                outcome[0] = work()
            except BaseException as error:
                outcome[1] = error
            done.set()

        self._work.append(run)
        self._poke()
        done.wait()
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def in_thread(self, work: Callable[[], Any]) -> Any:
        """Run `work` in the host's thread, which may be the caller's; here if there is none."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            return work()
        return self.submit(work)

    def expect(self, channel: socket.socket) -> None:
        """Serve the client that will send its listener through `channel`, which is ours now."""
        self.submit(lambda: self._watch(channel.fileno(), select.EPOLLIN,
                                        lambda _: self._accept(channel)))  # fmt: skip

    def settle(self) -> None:
        """Return when what ended before this call is handled: descriptors, mappings, clients.

        Clients that go on making calls don't keep it from returning.
        """
        done = threading.Event()
        self.submit(lambda: self._settling.append(done))
        done.wait()

    def look_for_signals(self) -> None:
        """See at once what a signal that was just sent means to parked calls; does not wait."""
        if self._running:
            self._work.append(self._parking.look)
            self._poke()

    def _poke(self) -> None:
        os.eventfd_write(self._wake, 1)

    @property
    def has_clients(self) -> bool:
        """Whether any client still lives."""
        return bool(self._listeners)

    # --- in the host's thread ---------------------------------------------------------------

    def _run(self) -> None:
        machine, spaces, parking = self._kernel.machine, self._kernel.spaces, self._parking
        parking.begin()
        while self._running:
            if machine.unsettled or spaces.restless:
                self._once(_SWEEP_AGAIN)
            elif self._settling:
                self._settle()
            else:
                self._try(self._wait)

    def _settle(self) -> None:
        """Handle what is there, and tell those who wait for that when it is nothing any more."""
        busy = self._once(0) or self._kernel.machine.unsettled
        self._passes += 1
        if not busy or self._passes > _ENOUGH_PASSES:
            self._passes = 0
            while self._settling:
                self._settling.pop().set()

    def _wait(self) -> None:
        """Handle what comes, as long as there is nothing else to do."""
        kernel, parking = self._kernel, self._parking
        quick = self._quick.events(self._epoll.poll, self._listeners)
        next(quick)
        while not (self._settling or kernel.machine.unsettled or kernel.spaces.restless):
            if not self._running:
                return
            events, taken = quick.send(parking.due if parking.busy else None)
            with self._lock:
                if taken is None:
                    self._handle_batch(events)
                else:
                    self._handle(self._listeners[events[0][0]].call(taken))
                    if self._postponed:
                        self._handle_postponed()
                if parking.busy:
                    parking.tend()

    def _once(self, timeout: float) -> bool:
        """Do chores and handle what is there; False when that was nothing but calls of clients."""
        if self._parking.busy:
            timeout = min(timeout, max(0.0, self._parking.due - time.monotonic()))
        events = self._epoll.poll(timeout, _MANY)
        with self._lock:
            self._handle_batch(events, chores=True)
            if self._parking.busy:
                self._try(self._parking.tend)
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
        if machine.unsettled and machine.leases.events not in self._watcher.events:
            self._kernel.mappings.sweep()
        if self._kernel.spaces.restless:
            self._kernel.spaces.tick()

    def _try(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function`; whatever happens, the thread goes on: all clients depend on it."""
        try:
            function(*args)
        except Exception:
            log.exception(_OWN_ERROR)

    def _handle_postponed(self) -> None:
        while self._postponed:
            call = self._postponed.popleft()
            if call.is_waited_for():  # its thread may have been killed meanwhile
                self._handle(call)

    def _do_work(self) -> None:
        os.eventfd_read(self._wake)
        while self._work:
            self._work.popleft()()

    def _watch(self, fd: int, events: int, handle: Callable[[int], None]) -> None:
        self._watcher.register(fd, events, handle)

    def _unwatch(self, fd: int) -> None:
        self._watcher.unwatch(fd)

    def _accept(self, channel: socket.socket) -> None:
        self._unwatch(channel.fileno())
        try:
            fd = receive_listener(channel)
        except OSError as error:
            log.error("%s", error)
            return
        finally:
            channel.close()
        if fd is None:
            return
        listener = Listener(fd)
        self._listeners[fd] = listener
        self._watch(fd, select.EPOLLIN, lambda event: self._notified(listener, event))

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
        self._kernel.current = call
        self._kernel.spaces.calls(call.tid)
        native = call.arch == ARCH.AUDIT_ARCH and call.nr in HANDLERS
        handler = HANDLERS[call.nr] if native else foreign_open
        waiting = self._carry_out(call, handler, self._kernel, call)
        if waiting is not None:
            self._parking.park(call, waiting)
        self._kernel.current = None  # what a release wakes is not this call's doing

    def _carry_out(self, call: Call, function: Callable[..., Result], *args: Any) -> Waiting | None:
        """Call `function` and answer `call` with what comes of it, or return what it waits for."""
        try:
            result = function(*args)
        except OSError as error:
            call.fail(_client_errno(error))
        except ClientGone:
            call.fail(errno.ESRCH)  # nobody should be left to read it
        except Exception:
            log.exception("mapdev: %s failed in the host itself; please report it. "
                          "The client gets EIO", NAME_OF.get(call.nr, call.nr))  # fmt: skip
            call.fail(errno.EIO)
        else:
            if result is PASS_ON:
                call.pass_on()
            elif isinstance(result, int):
                call.answer(result)
            elif isinstance(result, Waiting):
                return result
        return None

    def _watch_file(self, open_file: OpenFile) -> None:
        def moved(before: Any) -> None:
            self._unwatch(before.fileno())
            watch()

        def watch() -> None:
            # No event is asked for: a hang-up is always reported.
            tracker = open_file.ready.tracker
            self._watch(tracker.fileno(), 0, lambda _: self._hung_up(open_file))

        open_file.ready.moved = moved
        watch()

    def _hung_up(self, open_file: OpenFile) -> None:
        self._unwatch(open_file.ready.tracker.fileno())
        self._parking.check(open_file)
        self._kernel.hung_up(open_file)

    def _forget_file(self, open_file: OpenFile) -> None:
        if open_file.ready.tracker.fileno() in self._watched:
            self._unwatch(open_file.ready.tracker.fileno())


def _client_errno(error: OSError) -> int:
    code = error.errno or 0
    return code if 0 < code < 4096 else errno.EIO
