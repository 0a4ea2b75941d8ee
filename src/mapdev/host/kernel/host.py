"""`KernelHost` serves devices in /dev of this machine from this process.

`KernelHost` puts the parts together and owns them: a session with the module (`Control`), the
machine (memory) and the `Server` (the thread). Needs the module, and the right to use it.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapdev.host.core.coroutines import Coroutines
from mapdev.host.core.device import Device
from mapdev.host.core.events import Recorder
from mapdev.host.core.host import PATIENCE, Host
from mapdev.host.core.loop import Jobs
from mapdev.host.core.trace import Trace, make_operations
from mapdev.host.core.waiting import Waiting
from mapdev.host.kernel.control import Control
from mapdev.host.kernel.devices import Devices
from mapdev.host.kernel.machine import KernelMachine
from mapdev.host.kernel.model import Model
from mapdev.host.kernel.server import Server, node_name
from mapdev.host.loading import DriverError
from mapdev.host.process import Process
from mapdev.linux.vma import VmAreaStruct

if TYPE_CHECKING:
    from mapdev.linux import device as model

__all__ = ["KernelHost"]


class KernelHost(Host):
    """Serves devices to all programs of this machine.

    :param trace: called after each operation, see `mapdev.host.core.trace.Trace`.
    :param timeout: seconds that a client waits for the answer to a call that has begun, unless the
        driver made it wait; 0 for what the module was loaded with. The operation is ended, too.
    :raises OSError: the module is not loaded, is another version's, or may not be used.
    """

    def __init__(self, trace: Trace | None = None, timeout: float = 0) -> None:
        super().__init__(timeout or None, verbose=trace is not None)
        self._control = Control(int(timeout * 1000))
        self._coroutines = Coroutines(self.lock)
        jobs = Jobs(self.lock, self._control.kick)
        waiting = Waiting(self._coroutines, self.clock, self._control.kick)
        self._devices = Devices(self._control)
        self.machine: KernelMachine = KernelMachine(
            self._control, waiting.wake, self._devices.unmap, self.clock
        )
        operations = self.operations = make_operations(self.machine, trace)
        self._model = Model(self._control, self.machine.device_tree)
        self._places: dict[Device, model.Device] = {}
        self._server = Server(
            self._control, self.machine, operations, self._devices, jobs, waiting, self._model
        )
        self._server.start()
        self._nodes: list[Path] = []  # those that we made
        self._started: list[Process] = []

    def appear(self, device: Device, dev: model.Device | None = None) -> None:
        """Make `device` openable.

        Below /dev the kernel makes the node; elsewhere, and where /dev is not the kernel's, we do.
        """
        node = Path(device.node)
        if os.path.lexists(node):
            raise DriverError(f"{node} exists already, and belongs to somebody else")
        name = node_name(device.node) or f"mapdev-{os.getpid()}-{node.name}"
        place = self._model.describe(dev, device.driver.name) if dev is not None else None
        try:
            number = self._devices.create(device, name, place.address if place is not None else 0)
        except FileExistsError:
            raise DriverError(f"the kernel has a device {name} already") from None
        if dev is not None and place is not None:
            dev.devt = device.inode.i_rdev  # another one, if somebody has that which it wished for
            self._places[device] = dev
            self._model.know(dev, number, place)
        if not node.exists():
            self._make_node(node, device)

    def vanish(self, device: Device) -> None:
        """Take the node of `device` away; what is done with its files fails with ENODEV."""
        device.is_gone = True
        dev = self._places.pop(device, None)
        if dev is not None:
            self._model.forget(dev)
        self._devices.remove(device)
        node = Path(device.node)
        if node in self._nodes:
            self._nodes.remove(node)
            node.unlink(missing_ok=True)
        self._server.jobs.submit(lambda: self._server.hang_up(device))

    def add_tree(self, text: str) -> None:
        """Refuse: what is recorded of another machine would be in the way of this one's own.

        :raises DriverError: always.
        """
        raise DriverError("recorded machines are for the embedded host")

    def _make_node(self, node: Path, device: Device) -> None:
        status = device.inode
        mode = stat.S_IFCHR | status.i_mode & 0o777
        number = os.makedev(status.i_rdev >> 20, status.i_rdev & 0xFFFFF)
        try:
            node.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(node, mode, number)
            os.chown(node, status.i_uid, status.i_gid)
            node.chmod(mode & 0o777)
        except OSError as error:
            raise DriverError(f"{node} can't be made: {error.strerror}") from None
        self._nodes.append(node)

    def popen(self, args: Sequence[Any], **options: Any) -> Process:
        """Start a program; used like `subprocess.Popen`. All others may use the devices as well."""
        self.check_open()
        process = Process(args, **options)
        self._started = [other for other in self._started if other.poll() is None]
        self._started.append(process)
        return process

    def mapped_areas(self) -> list[tuple[int, Device, VmAreaStruct]]:
        """Return the areas that have `vm_ops`: of others the module says nothing after their mmap.

        What is mapped in them the kernel knows alone.
        """
        return self._server.areas.mapped()

    def watch_areas(self, recorder: Recorder) -> None:
        """Do nothing: of most areas the module tells only that they are mapped, an operation."""

    def unwatch_areas(self) -> None:
        """Do nothing."""

    def kill_clients(self) -> None:
        """Send SIGKILL to the programs that we started."""
        for process in self._started:
            process.kill()

    def settle(self) -> None:
        """Return when all that clients have done so far is handled."""
        self._server.settle()

    @property
    def has_clients(self) -> bool:
        """Whether any device is open or mapped."""
        return len(self._server.files) > 0

    def shut_down(self) -> None:
        """Kill the programs that we started, which `leaks` then names, and stop serving."""
        for process in self._started:
            if process.poll() is None:
                self.leaks.append(f"process {process.pid} had not ended")
                process.kill()
        for process in self._started:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.leaks.append(f"process {process.pid} could not be killed")
        self.leaks.extend(self._server.stop())
        self._coroutines.stop()
        for node in self._nodes:
            node.unlink(missing_ok=True)

    def close(self) -> None:
        """End the devices and give everything back; see `leaks`. May be called twice."""
        already = self._closed
        super().close()
        if already:
            return
        left = self.machine.buffers.by_id.values()
        if left:
            pages = sum(buffer.nr_pages for buffer in left)
            self.leaks.append(f"{pages} pages are still in use")
            for buffer in left:
                buffer.take_back()
        self._control.close()


def is_available() -> str:
    """Return why the kernel host can't be used here; nothing if it can."""
    try:
        Control().close()
    except OSError as error:
        return error.strerror or errno.errorcode[error.errno or errno.EIO]
    return ""
