"""`EmbeddedHost` serves devices in user space, to the programs that it starts.

`EmbeddedHost` makes the parts, hands each what it needs, and owns them: machine (physical memory),
`Subsystems` (what handlers of system calls work on), `Server` (the thread). Needs Linux 5.14, no
privilege.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mapdev.driver import parse_size
from mapdev.host.core.coroutines import Coroutines
from mapdev.host.core.device import Device
from mapdev.host.core.host import PATIENCE, Host
from mapdev.host.core.loop import Jobs
from mapdev.host.core.sysfs import serve_attribute
from mapdev.host.core.trace import Trace, make_operations
from mapdev.host.core.udev import Udev
from mapdev.host.core.uevent_socket import UeventSockets
from mapdev.host.core.waiting import Waiting
from mapdev.host.embedded import limits
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.descendants import Descendants
from mapdev.host.embedded.files.descriptors import FdAllocator
from mapdev.host.embedded.files.directories import Directories
from mapdev.host.embedded.files.locks import Locks
from mapdev.host.embedded.files.lookups import Lookups
from mapdev.host.embedded.files.open_file import FileTable
from mapdev.host.embedded.files.open_files import OpenFiles
from mapdev.host.embedded.files.overlay import Overlay
from mapdev.host.embedded.files.paths import Paths
from mapdev.host.embedded.files.shadows import Shadows
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.listeners import Listeners
from mapdev.host.embedded.machine import EmbeddedMachine
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.mm.window import Window
from mapdev.host.embedded.processes import comm_of, has_memory
from mapdev.host.embedded.server import Server
from mapdev.host.embedded.signals import SignalWatch
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls import filter as seccomp
from mapdev.host.embedded.syscalls.gate import END as GATE_END
from mapdev.host.embedded.syscalls.gate import FILES, VISITORS, make_gate
from mapdev.host.embedded.syscalls.gate import START as GATE_START
from mapdev.host.embedded.syscalls.launch import ClientProcess
from mapdev.host.embedded.watcher import Watcher
from mapdev.host.loading import DriverError
from mapdev.linux.kernfs import KernfsNode

if TYPE_CHECKING:
    from mapdev.host.core.events import Recorder
    from mapdev.linux import device as model
    from mapdev.linux.vma import VmAreaStruct

__all__ = ["EmbeddedHost"]


class EmbeddedHost(Host):
    """Serves devices to the programs that it starts and to all that they start.

    :param memory: physical memory of the machine, in bytes or as ``512M``; it is taken from the
        real machine only as it is used.
    :param trace: called after each operation, see `mapdev.host.core.trace.Trace`.
    :param descriptors: device descriptors are served at numbers below this one too (and always in
        the device range): more is slower for programs that use no device. None means all.
    :param prepare: get ready for open files and mappings now, so that nothing is left to be made
        when the first one comes. If not, and if none comes, `close` takes 10 ms less.
    :param timeout: seconds after which an operation of a driver is ended, see `Host`.
    :param hotplug: programs may look for class devices before the first is there. If not, those
        that were started before it miss its uevents, getcwd in its directories and the like.
    :param preload: have clients pass on calls that concern no device themselves, where that is
        possible: see `mapdev.host.embedded.syscalls.gate`. Without it, programs that look at many
        files are much slower.
    :raises OSError: there is not enough memory or there are not enough descriptors.
    """

    def __init__(
        self,
        memory: int | str = "1G",
        trace: Trace | None = None,
        descriptors: int | None = 10,
        prepare: bool = True,
        timeout: float | None = None,
        hotplug: bool = False,
        preload: bool = True,
    ) -> None:
        self._hotplug = hotplug
        super().__init__(timeout, verbose=trace is not None)
        limit = limits.soft_limit_of_clients()
        limits.raise_limit()
        try:
            self._begin(
                memory, trace, limit if descriptors is None else descriptors, limit, prepare,
                preload,
            )  # fmt: skip
        except BaseException:
            limits.restore_limit()
            raise

    def _begin(
        self, memory: int | str, trace: Trace | None, low: int, limit: int, prepare: bool,
        preload: bool,
    ) -> None:  # fmt: skip
        watcher = Watcher()
        listeners = Listeners(watcher)
        jobs = Jobs(self.lock, watcher.kick)
        self._coroutines = Coroutines(self.lock)
        waiting = Waiting(self._coroutines, self.clock, watcher.kick)
        window = Window.of_this_machine()
        self.machine: EmbeddedMachine = EmbeddedMachine(
            parse_size(memory, "memory"), waiting.wake, self.clock, window, watcher, jobs.in_thread
        )
        mappings = self.machine.mappings
        operations = self.operations = make_operations(self.machine, trace)
        descriptors = seccomp.Descriptors.below(limit, low)
        fd_allocator = FdAllocator(descriptors)
        messages = Messages()
        locks = Locks(self.machine)
        overlay = Overlay(self.machine.device_tree.root, serve_attribute)
        injector = Injector(mappings, fd_allocator.scratch, listeners, messages)
        gate = make_gate(overlay.native, descriptors.base, injector.secret) if preload else None

        def hand_over(why: int) -> None:
            if gate is not None:
                gate.add_state(why, False)

        table = FileTable(lambda: hand_over(FILES))
        directories = Directories(overlay, fd_allocator, lambda: hand_over(VISITORS))
        shadows = Shadows(overlay, watcher)
        self.subsystems = Subsystems(
            machine=self.machine,
            operations=operations,
            files=OpenFiles(
                table,
                fd_allocator,
                self.machine,
                operations,
                mappings,
                locks,
                shadows,
                waiting,
                watcher,
                messages,
                injector.helpers,
            ),
            paths=Paths(
                table,
                mappings,
                self.machine.read_user,
                messages,
                overlay,
                directories,
                Lookups(watcher),
            ),
            directories=directories,
            shadows=shadows,
            locks=locks,
            descriptors=descriptors,
            fd_allocator=fd_allocator,
            window=window,
            mappings=mappings,
            spaces=mappings.spaces,
            uevents=UeventSockets(),
            injector=injector,
            signals=SignalWatch(waiting.interrupt, waiting.forget),
            messages=messages,
            gate=gate,
        )
        self._udev = Udev(self.machine.device_tree, self.subsystems.uevents.deliver)
        self._server = Server(self.subsystems, jobs, waiting, watcher, listeners)
        self.machine.device_tree.root.watchers.append(self._name_changed)
        if prepare:
            self.machine.leases.begin()
            self.subsystems.files.begin()
        self._server.start()
        self._descendants = Descendants()

    @property
    def memory(self) -> EmbeddedMachine:
        """The physical memory: its frames, their counts and owners."""
        return self.machine

    def mapped_areas(self) -> list[tuple[int, Device, VmAreaStruct]]:
        """Return the areas of devices in clients, with their process; under the lock."""
        spaces = self.machine.spaces
        return [(space.tgid, area.open_file.device, area) for space in spaces for area in space]

    def watch_areas(self, recorder: Recorder) -> None:
        """Tell `recorder` of changes to areas that are no operation of a driver; under the lock."""
        from mapdev.host.embedded.mm.watched import watch

        watch(self.machine.spaces, recorder)

    def unwatch_areas(self) -> None:
        """End what `watch_areas` began; under the lock."""
        from mapdev.host.embedded.mm.watched import unwatch

        unwatch(self.machine.spaces)

    def appear(self, device: Device, dev: model.Device | None = None) -> None:
        """Make `device` openable by clients."""
        root = self.machine.device_tree.root
        directory, _, name = device.node.rpartition("/")
        try:
            above = root.directory(directory)
            root.add(above, KernfsNode(name, device.inode.i_mode, priv=device))
        except FileExistsError:
            raise DriverError(f"{device.node} is there already") from None

    def vanish(self, device: Device) -> None:
        """Take the node of `device` away, and the directories that were there for it alone."""
        root = self.machine.device_tree.root
        root.prune(root.find(device.node))
        device.is_gone = True
        self._server.jobs.submit(lambda: self._hang_up(device))

    def _name_changed(self, node: KernfsNode, is_new: bool) -> None:
        """End the calls that wait in the functions of an attribute that goes."""
        if not is_new and node.host is not None and node.host.open_files:
            self._server.jobs.submit(partial(self._server.waiting.device_gone, node.host))

    def _hang_up(self, device: Device) -> None:
        self._server.waiting.device_gone(device)
        self._server.polling.refresh(device.driver)

    def popen(self, args: Sequence[Any], **options: Any) -> ClientProcess:
        """Start a program as a client; used like `subprocess.Popen`.

        :raises OSError: EMFILE no descriptors are left for one more client; or the program can't be
            executed, or the kernel refuses the filter.
        """
        self.check_open()
        self._descendants.adopt()
        parts = self.subsystems
        program = seccomp.build(
            ARCH, parts.descriptors, parts.window, parts.injector.secret,
            self._hotplug or parts.paths.overlay.has_tree,
            None if parts.gate is None else range(GATE_START, GATE_END),
        )  # fmt: skip
        ours, theirs = socket.socketpair()
        try:
            base, number = parts.descriptors.base, ours.fileno()
            arrival = self._server.expect(ours)
            signalled = self._server.look_for_signals
            process = ClientProcess(
                args, program, base, theirs, number, arrival, signalled, **options
            )
            self._descendants.started.add(process.pid)
            return process
        except subprocess.SubprocessError as error:
            self._server.settle()  # what the child sent before it ended is read
            if arrival.error is None:
                raise  # of the caller's preexec_fn
            raise OSError(
                errno.EBUSY,
                "a client can't be started here: its seccomp filter was refused. Is this process "
                "a client of mapdev itself, or in a sandbox? See `mapdev doctor`",
            ) from error
        finally:
            theirs.close()  # a child that could not start hangs up by this

    def kill_clients(self) -> None:
        """Send SIGKILL to all clients."""
        self._descendants.kill()

    def settle(self) -> None:
        """Return when all that clients have done so far is handled."""
        self._server.settle()

    @property
    def has_clients(self) -> bool:
        """Whether any client, or a process that one started, still lives."""
        return self._server.has_clients and bool(self._descendants.clients())

    def shut_down(self) -> None:
        """Kill the clients that are left, which `leaks` then names, and stop serving."""
        self._server.settle()
        if self._server.has_clients:
            for pid in sorted(filter(has_memory, self._descendants.clients())):  # not about to end
                self.leaks.append(f"process {pid} ({comm_of(pid)}) had not ended")
        deadline = time.monotonic() + PATIENCE
        while self._server.has_clients and self._descendants.kill():
            if time.monotonic() > deadline:
                self.leaks.append("there are clients that could not be killed")
                break
            time.sleep(0.002)
        self._server.settle()
        self._server.stop()
        self._coroutines.stop()
        if self._descendants.started:
            self._descendants.clients()  # collects the last that were adopted
        self._descendants.disown()
        with self.lock:
            self.subsystems.spaces.close()
            self.subsystems.injector.close()
            self.subsystems.locks.close()
            self.leaks.extend(self.subsystems.files.close())
            self.subsystems.directories.close()
            self.subsystems.shadows.close()
            if self.subsystems.uevents.real is not None:
                self.subsystems.uevents.real.close()

    def close(self) -> None:
        """End clients and devices, and give everything back; see `leaks`. May be called twice."""
        already = self._closed
        super().close()
        if already:
            return
        counts = self.machine.counts()
        if counts.used or counts.held:
            self.leaks.append(f"{counts.used} frames are still in use and {counts.held} held back")
        self.machine.close()
        limits.restore_limit()
