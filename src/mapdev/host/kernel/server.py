"""The loop: fetch a request, run the driver's operation, have the reply sent with the next fetch.

A `Server` is one thread and a session. It holds the host's lock while it handles a request.
Whatever a driver does, the loop goes on: all clients depend on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from mapdev.driver import Driver
from mapdev.host.coroutines import Coroutines
from mapdev.host.device import Device
from mapdev.host.dispatch import Dispatcher, WouldWait
from mapdev.host.kernel import uapi
from mapdev.host.kernel.areas import Areas
from mapdev.host.kernel.commands import Commands
from mapdev.host.kernel.control import Control, Request
from mapdev.host.kernel.files import Files, access_mode, operations
from mapdev.host.kernel.machine import KernelMachine
from mapdev.host.kernel.quick import Quick
from mapdev.host.kernel.tasks import ClientTask
from mapdev.host.kernel.waits import Waits
from mapdev.linux.fs import MAJOR, MINOR, MKDEV, Inode
from mapdev.linux.log import log


class Server:
    """Serves the devices of a session, in a thread of its own.

    :param lock: the host's.
    """

    def __init__(
        self, control: Control, machine: KernelMachine, dispatch: Dispatcher, lock: threading.RLock
    ) -> None:
        self._control = control
        self._lock = lock
        self.devices: dict[int, Device] = {}
        self._anonymous: dict[Any, int] = {}  # devices without a node, by driver
        self.commands = Commands(control, lock, self._handle)
        self.files = Files(control, dispatch, self.devices)
        self.areas = Areas(control, dispatch, machine, self.files)
        self._coroutines = Coroutines(lock)
        self._waits = Waits(control, dispatch, self._coroutines, self._carry_out,
                            self.files.woken, self.files.forget)  # fmt: skip
        machine.woken = self._waits.wake
        machine.unmap = self._unmap
        machine.install = self._install
        self._quick = Quick(control, dispatch, lock, self.files, self._waits,
                            self._task_of, self._failed)  # fmt: skip
        self._handlers = {**self.files.handlers, **self.areas.handlers}
        self._running = True
        self._settling: list[threading.Event] = []
        self._thread = threading.Thread(target=self._run, name="mapdev", daemon=True)

    # --- devices ----------------------------------------------------------------------------

    def create(self, device: Device, name: str) -> None:
        """Have a device, whose node is /dev/`name`; an empty name: none.

        :raises OSError: EEXIST there is such a device; as the module says.
        """
        status = device.inode
        create = uapi.Create(
            flags=0 if name else uapi.CREATE_ANON, has=operations(device.driver),
            mode=status.i_mode & 0o777, uid=status.i_uid, gid=status.i_gid, name=name.encode(),
            major=MAJOR(status.i_rdev) if name else 0, minor=MINOR(status.i_rdev) if name else 0,
        )  # fmt: skip
        try:
            self._control.ioctl(uapi.IOC_CREATE, create)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            create.major = create.minor = 0  # somebody has that number
            self._control.ioctl(uapi.IOC_CREATE, create)
        if name:
            status.i_rdev = MKDEV(create.major, create.minor)
        self.devices[create.id] = device

    def _id_of(self, inode: Inode) -> int | None:
        for number, device in self.devices.items():
            if device.inode is inode:
                return number
        return None

    def _unmap(self, inode: Inode, start: int, size: int) -> None:
        number = self._id_of(inode)
        if number is not None:
            unmap = uapi.Unmap(device=number, start=start, len=size, even_cows=1)
            self._control.ioctl(uapi.IOC_UNMAP, unmap)

    def _install(
        self, task: ClientTask, name: str, driver: Driver, private_data: Any, flags: int
    ) -> int:
        number = self._anonymous.get(driver)
        if number is None:
            self.create(Device(driver, f"anon_inode:{name}", 0), "")
            number = self._anonymous[driver] = next(reversed(self.devices))
        task.flush()
        outcome = self.commands.run(task.request.id, uapi.INSTALL, flags, number,
                                    name.encode() + b"\0")  # fmt: skip
        open_file = self.files.add(outcome.arg[1], self.devices[number], flags, access_mode(flags))
        open_file.file.private_data = private_data
        return outcome.result

    # --- from other threads -----------------------------------------------------------------

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def settle(self) -> None:
        """Return when all that clients have done so far is handled."""
        done = threading.Event()
        self._settling.append(done)
        self._control.kick()
        done.wait()

    def stop(self) -> list[str]:
        """End the devices and stop serving; return a line for each file that was open."""
        for number in self.devices:
            with contextlib.suppress(FileNotFoundError):
                self._control.ioctl(uapi.IOC_DESTROY, uapi.Id(id=number))
        self.settle()
        self._running = False
        self._control.kick()
        self._thread.join()
        self._coroutines.stop()
        with self._lock:
            self._waits.close()
            self._control.send()
            return self.files.close()

    # --- in the server's thread -------------------------------------------------------------

    def _run(self) -> None:
        self.commands.begin()
        self._waits.begin()
        control, waits, commands, quick = self._control, self._waits, self.commands, self._quick
        while self._running:
            try:
                settling = tuple(self._settling)
                if settling or waits.busy:
                    request = control.fetch(uapi.NEXT_NOWAIT)
                else:
                    request = quick.serve()
                if request is not None:
                    with self._lock:
                        self._handle(request)
                        while waits.busy:
                            waits.tend()
                    continue
                with self._lock:
                    if commands.busy:
                        commands.tend()
                    if waits.busy:
                        waits.tend()
                    elif settling:
                        self._settled(settling)
            except Exception:
                log.exception("a request was lost; the others go on")

    def _settled(self, settling: tuple[threading.Event, ...]) -> None:
        """Nothing is queued: what had happened when these were noted is handled."""
        self._control.send()
        for done in settling:
            self._settling.remove(done)
            done.set()

    def _handle(self, request: Request) -> None:
        op = request.op
        if op == uapi.INTERRUPT:
            self._waits.interrupt(request.arg[0])
        elif op == uapi.GONE:
            self._waits.gone(request.arg[0])
        elif op != uapi.RESULT:  # one that nobody waits for any more
            payload = self._control.payload(request.slot, request.len) if request.len else b""
            task = self._task_of(request, payload)
            handler = self._handlers[op]
            wait = self._carry_out(request, partial(handler, request, task))
            if wait is not None:
                self._keep(request, task, wait)

    def _task_of(self, request: Request, payload: bytes) -> ClientTask:
        at_a_time = self._control.slot_size
        return ClientTask(request, payload, self.commands, at_a_time, self.areas.known)

    def _keep(self, request: Request, task: ClientTask, wait: WouldWait) -> None:
        self._waits.keep(request, wait, partial(self._handlers[request.op], request, task))

    def _carry_out(self, request: Request, work: Callable[[], None]) -> WouldWait | None:
        """Run a call; its answer is noted, unless it has to wait."""
        self._waits.current = request.id
        try:
            work()
            return None
        except WouldWait as wait:
            if request.op != uapi.MMAP:
                return wait
            error = errno.EAGAIN
        except OSError as failure:
            error = failure.errno or errno.EIO
        except Exception:
            log.exception("operation %d failed; the client gets EIO", request.op)
            error = errno.EIO
        finally:
            self._waits.current = 0
        if request.id:
            self._control.answer(request.id, -error)
        return None

    def _failed(self, request: Request, task: ClientTask, failure: OSError) -> None:
        """Note what becomes of a call whose operation ended so, elsewhere."""
        if isinstance(failure, WouldWait):
            self._keep(request, task, failure)
        else:
            self._control.answer(request.id, -(failure.errno or errno.EIO))


def node_name(node: str) -> str | None:
    """Return the name of a node below /dev, None for one that is elsewhere."""
    return os.path.relpath(node, "/dev") if node.startswith("/dev/") else None
