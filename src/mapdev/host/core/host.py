"""`Host` is the base class of both hosts: it adds, probes and removes devices and runs clients.

A `Host` owns devices from `add` to `close`. `close` ends them in reverse order and reports what a
driver left behind. How calls reach a driver, and how memory is mapped, is a host's own business.

Locks: `lock` is held while driver code runs, in whichever thread.
"""

from __future__ import annotations

import abc
import errno
import itertools
import os
import subprocess
import threading
import weakref
from collections.abc import Sequence
from contextvars import Token
from functools import cached_property
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from mapdev.driver import Driver
from mapdev.host.core.clock import Clock
from mapdev.host.core.device import OPERATIONS, Device
from mapdev.host.core.machine import HostMachine
from mapdev.host.core.operations import Operations, OperationTimeout
from mapdev.host.core.watchdog import Operation, Watchdog, operation_of, watched
from mapdev.host.loading import (
    DriverError,
    Node,
    check_parameters,
    load,
    new_driver,
    node_path,
)
from mapdev.host.numbers import numbers_in_use
from mapdev.linux.context import Context, enter, reset
from mapdev.linux.fs import iminor
from mapdev.linux.log import log

if TYPE_CHECKING:
    from mapdev.host.control_socket import ControlSocket
    from mapdev.host.core.events import Recorder
    from mapdev.host.core.registration import Registration
    from mapdev.host.process import Process
    from mapdev.linux import device as model
    from mapdev.linux.vma import VmAreaStruct

__all__ = ["PATIENCE", "Host"]

_MAX_ERRNO = 4095
PATIENCE = 5.0  # seconds that killed clients, and kernel threads, get to disappear

AnyDriver = TypeVar("AnyDriver", bound=Driver)


class Host(abc.ABC):
    """Serves devices to clients; a context manager.

    Inside ``with``, the functions of `mapdev.linux` work for the caller too, on this host's
    machine.

    :param timeout: seconds after which an operation of a driver is ended, whose client gets
        ETIMEDOUT; None for never. See `mapdev.host.core.watchdog` for what can't be interrupted.
    :param verbose: an operation that runs for long is reported with its stack.
    :ivar leaks: after `close`, one line for each thing that a driver or a client left behind.
    """

    machine: HostMachine
    operations: Operations

    def __init__(self, timeout: float | None = None, verbose: bool = False) -> None:
        self.lock = threading.RLock()
        self.clock = Clock(self.lock)
        self.watchdog = Watchdog(self._has_operation, timeout, verbose)
        self.devices: list[Device] = []
        self.leaks: list[str] = []
        self._tokens: list[Token[Context]] = []
        self._managed: dict[Driver, set[Any]] = {}
        self._closed = False
        self._control_socket: ControlSocket | None = None
        self._gone: dict[Driver, list[Device]] = {}  # removed, but maybe with open files

    @overload
    def add(self, driver: type[AnyDriver], node: Node, /, **params: Any) -> AnyDriver: ...
    @overload
    def add(self, driver: AnyDriver, node: Node, /) -> AnyDriver: ...
    @overload
    def add(self, driver: str, node: Node, /, **params: Any) -> Driver: ...
    def add(self, driver: type[Driver] | Driver | str, node: Node, /, **params: Any) -> Driver:
        """Make a device appear at `node` and return its driver.

        :param driver: a class, which is instantiated and probed with `params`; the name of one (see
            `mapdev.host.loading.load`); or a driver that is at another node already, which then
            gets one more minor number.
        :param node: an absolute path; nothing need exist there.
        :raises DriverError: the driver or its parameters can't be had, or the node is taken.
        :raises Exception: whatever the driver's probe raised.
        """
        path = self._check_node(node)
        if isinstance(driver, Driver):
            if params:
                raise DriverError("parameters are for a class; this driver is set up already")
            other = driver._host() if driver._host is not None else None
            if other is not None and other is not self and not other._closed:
                raise DriverError(
                    f"{driver!r} is served by another host: a driver object belongs to one. "
                    "Give the class, or close that host"
                )
            return self._attach(driver, path, probe=not self._knows(driver))
        cls = load(driver) if isinstance(driver, str) else driver
        if not (isinstance(cls, type) and issubclass(cls, Driver)):
            raise DriverError(
                f"a driver is a subclass of mapdev.Driver, an object of one, or a name, not {cls!r}"
            )
        places = check_parameters(cls, params)
        return self._attach(new_driver(cls), path, probe=True, places=places, params=params)

    @property
    def failures(self) -> list[BaseException]:
        """Exceptions of drivers that are no error of a call: failed assertions, ``SystemExit``.

        Their clients got EIO. Whoever runs the host should fail, since nothing else will tell.
        """
        return self.machine.failures

    def _check_node(self, node: Node) -> str:
        path = node_path(node)
        for device in self.devices:
            if device.node == path:
                raise DriverError(f"there is a device at {path} already")
            if path.startswith(f"{device.node}/") or device.node.startswith(f"{path}/"):
                raise DriverError(
                    f"{path} and {device.node} can't be there at once: nodes are files"
                )
        return path

    def check_open(self) -> None:
        """Refuse what a host can't do once it is closed.

        :raises DriverError: it is.
        """
        if self._closed:
            raise DriverError("the host is closed")

    def _knows(self, driver: Driver) -> bool:
        return any(device.driver is driver for device in self.devices)

    def _attach(
        self, driver: Driver, node: str, probe: bool, places: Sequence[Any] = (),
        params: dict[str, Any] | None = None,
    ) -> Driver:  # fmt: skip
        self.check_open()
        self.watchdog.start()
        with self.lock:
            self._watch_tree()
            try:
                device = Device(driver, node, self._minor(driver))
            except LookupError as error:
                raise DriverError(str(error)) from None
            if probe:
                driver._node = device
                try:
                    self._probe(driver, places, params or {})
                except BaseException:
                    self._reclaim(driver)
                    raise
                self._keep(driver)
            self.devices.append(device)
            driver._host = weakref.ref(self)
            try:
                self._show(driver, device)
            except BaseException:
                self.devices.remove(device)
                if probe:
                    self._remove(driver)
                raise
        return driver

    def _show(self, driver: Driver, device: Device) -> None:
        """Make a device appear: its node alone, or a place in the device model as well."""
        if driver.dev_class is None:
            self.appear(device)
        else:
            self.run_for(driver, self._registration.register, driver, device)

    @cached_property
    def _registration(self) -> Registration:
        from mapdev.host.core.registration import Registration  # for a quick start

        return Registration(self.machine.device_tree, self.appear, self.vanish)

    def _watch_tree(self) -> None:
        """Make nodes for the devices that drivers add themselves, from the first device on."""
        tree = self.machine.device_tree
        if not tree.node_listeners:
            tree.taken = numbers_in_use
            tree.node_listeners.append(
                lambda dev, is_new: self._registration.node_changed(dev, is_new)
            )

    def remove(self, what: Driver | Node) -> None:
        """Take a device away while programs run, as when it is pulled out.

        Its node goes, and its place in the device model. What is done with files of it that are
        still open fails with ENODEV; mappings stay as they are. With the last node of a driver its
        `Driver.remove` is called, before `release` of those files; what it allocated in probe is
        given back when the last of them is gone.

        :param what: a driver, with all its nodes, or one node.
        :raises DriverError: there is no such device.
        """
        self.check_open()
        node = None if isinstance(what, Driver) else node_path(what)
        with self.lock:
            gone = [
                device for device in self.devices
                if device.driver is what or (node is not None and device.node == node)
            ]  # fmt: skip
            if not gone:
                raise DriverError(f"there is no device {what!r}")
            driver = gone[0].driver
            for device in reversed(gone):
                self.devices.remove(device)
                device.is_gone = True
                if not self.run_for(driver, self._registration.unregister, device):
                    self.vanish(device)
            if not self._knows(driver):
                self._gone[driver] = gone
                self._call_remove(driver)
        self.settle()
        self._reclaim_gone()

    def add_tree(self, text: str) -> None:
        """Add the devices that a text in umockdev's format describes, see `core.tree_file`.

        A node for which the host has a driver already is that driver's.

        :raises DriverError: the text has another form, or a name in it is taken.
        """
        from mapdev.host.core.tree_file import add_devices, parse

        descriptions = parse(text)
        with self.lock:
            self._watch_tree()
            token = enter(Context(self.machine, None, None))
            try:
                add_devices(
                    descriptions, self.machine.device_tree, self._registration, self.devices
                )
            finally:
                reset(token)

    def _reclaim_gone(self) -> None:
        """Take back what drivers have of which no file is open any more."""
        with self.lock:
            for driver, devices in list(self._gone.items()):
                if not any(device.open_files for device in devices):
                    del self._gone[driver]
                    self.leaks.extend(self._reclaim(driver))
                    driver._host = None

    def _minor(self, driver: Driver) -> int:
        """Return the minor number of a driver's next node: the first that is free.

        :raises DriverError: the driver's own minor number is taken.
        """
        taken = {iminor(device.inode): device for device in self.devices
                 if device.driver.major == driver.major}  # fmt: skip
        first = driver.minor or 0
        if first in taken and driver.minor is not None and not self._knows(driver):
            raise DriverError(
                f"{taken[first].node} has the number {driver.major}:{first} that "
                f"{type(driver).__name__}.minor asks for"
            )
        # A driver that is there already may have taken numbers for its next nodes itself.
        regions = [] if self._knows(driver) else self.machine.device_tree.chrdevs
        return next(
            number for number in itertools.count(first)
            if number not in taken and not any(
                major == driver.major and at <= number < at + count
                for major, at, count, _ in regions
            )
        )  # fmt: skip

    def _probe(self, driver: Driver, places: Sequence[Any], params: dict[str, Any]) -> None:
        result = self.run_for(driver, driver.probe, *places, **params)
        if type(result) is int and -_MAX_ERRNO <= result < 0:  # the habit of C
            raise OSError(-result, os.strerror(-result))
        if result is not None and result != 0:
            raise DriverError(
                f"{type(driver).__name__}.probe returned {result!r:.60}, not None, 0 or -errno"
            )
        for name, value in vars(driver).items():
            if not callable(value) and name in OPERATIONS:
                raise DriverError(
                    f"{type(driver).__name__} sets self.{name} to {value!r:.60}, but {name} is an "
                    "operation: call the attribute something else"
                )

    def run_for(self, driver: Driver, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call `function` as code of `driver`, outside of any client's call."""
        token = enter(Context(self.machine, driver, None))
        try:
            return function(*args, **kwargs)
        except OperationTimeout:
            raise TimeoutError(errno.ETIMEDOUT, f"{function.__name__} took too long") from None
        finally:
            reset(token)

    def _has_operation(self, operation: Operation) -> bool:
        return any(operation.owner is own for own in (self, self.machine, self.lock))

    def run(
        self,
        args: Sequence[Any],
        *,
        input: Any = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program as a client and wait for it, as `subprocess.run` does.

        When it returns, all that the program did is handled: what it alone held is released.
        """
        if input is not None:
            options["stdin"] = subprocess.PIPE
        if capture_output:
            options["stdout"] = options["stderr"] = subprocess.PIPE
        process = self.popen(args, **options)
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            self.settle()
        result = subprocess.CompletedProcess(process.args, process.returncode, output, errors)
        if check:
            result.check_returncode()
        return result

    def close(self) -> None:
        """End clients and devices, and give everything back; see `leaks`. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self.shut_down()
        self.clock.stop()
        with self.lock:
            for driver in dict.fromkeys(device.driver for device in reversed(self.devices)):
                self._remove(driver)
            self._reclaim_gone()
        self.watchdog.stop()
        if self._control_socket is not None:
            self._control_socket.close()

    def listen(self) -> str:
        """Let `mapdev watch`, `mapdev frames` and others of this user's look at this host.

        :return: what they call it.
        :raises OSError: there is no place for its socket, see `mapdev.host.place`.
        """
        self.control.listen()
        return self.control.name

    @property
    def control(self) -> ControlSocket:
        """Who watches this host; its socket is made by `listen`."""
        if self._control_socket is None:
            from mapdev.host.control_socket import ControlSocket

            self._control_socket = ControlSocket(self)
        return self._control_socket

    def _remove(self, driver: Driver) -> None:
        self._call_remove(driver)
        for line in self._reclaim(driver):
            self.leaks.append(line)

    def _call_remove(self, driver: Driver) -> None:
        try:
            self.run_for(driver, driver.remove)
        except BaseException as error:
            log.exception("%s: remove failed: %r", driver.name, error)
            if isinstance(error, Exception):
                self.leaks.append(f"{driver.name}: remove failed: {error!r}")
            else:
                self.failures.append(error)

    def __enter__(self) -> Self:
        self.check_open()
        self._tokens.append(enter(Context(self.machine, None, None)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        reset(self._tokens.pop())
        self.close()

    @abc.abstractmethod
    def appear(self, device: Device, dev: model.Device | None = None) -> None:
        """Make `device` openable by clients.

        :param dev: it in the device model, if it has a place there.
        """

    @abc.abstractmethod
    def vanish(self, device: Device) -> None:
        """Take the node of `device` away; calls that wait on files of it fail with ENODEV."""

    @abc.abstractmethod
    def popen(self, args: Sequence[Any], **options: Any) -> Process:
        """Start a program as a client; used like `subprocess.Popen`."""

    @property
    @abc.abstractmethod
    def has_clients(self) -> bool:
        """Whether anybody is left to be served."""

    @abc.abstractmethod
    def kill_clients(self) -> None:
        """Send SIGKILL to the programs that were started; needs neither the thread nor the lock."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Return when all that clients have done so far is handled."""

    @abc.abstractmethod
    def shut_down(self) -> None:
        """End all clients and stop serving."""

    @abc.abstractmethod
    def mapped_areas(self) -> list[tuple[int, Device, VmAreaStruct]]:
        """Return the areas of devices in clients, with their process; under the lock."""

    @abc.abstractmethod
    def watch_areas(self, recorder: Recorder) -> None:
        """Tell `recorder` of changes to areas that are no operation of a driver; under the lock."""

    @abc.abstractmethod
    def unwatch_areas(self) -> None:
        """End what `watch_areas` began; under the lock."""

    def _keep(self, driver: Driver) -> None:
        """Note what `driver` allocated in probe: it is given back after remove, and no leak."""
        self._managed[driver] = set(self.machine.owned_by(driver))

    def _reclaim(self, driver: Driver) -> list[str]:
        """Take back all that `driver` owns; return a line for each leak."""
        leaks = [
            f"{driver.name}: the kernel thread {kthread.comm} does not stop"
            for kthread in self.machine.kthreads.pop(driver, ())
            if not kthread.stop(PATIENCE)
        ]
        managed = self._managed.pop(driver, set())
        leaks += [
            f"{driver.name}: never freed: {allocation}"
            for allocation in self.machine.owned_by(driver)
            if allocation not in managed
        ]
        self.machine.reclaim(driver)
        return leaks


def _of_host(frame: FrameType) -> Operation:
    at = frame.f_locals
    return operation_of(at["self"], at["function"].__name__, at["driver"])


watched(Host.run_for, _of_host)
