"""`Server` is the kernel host's event loop: it fetches the module's requests and runs operations.

A reply is noted, and goes out in the same system call that fetches the next request. Requests about
files are answered here, those about areas in `vm_ops`; `_handlers` has them all.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from mapdev.host.core.call import Call
from mapdev.host.core.device import Device
from mapdev.host.core.files import OpenFile, access_mode, new_file
from mapdev.host.core.loop import Jobs, Loop
from mapdev.host.core.operations import Operations
from mapdev.host.core.polling import Polling
from mapdev.host.core.sysfs import bin_read, bin_write, show, store
from mapdev.host.core.waiting import Waiting, WouldWait
from mapdev.host.kernel import request as at
from mapdev.host.kernel import uapi
from mapdev.host.kernel.call import ANSWERED, KernelCall
from mapdev.host.kernel.commands import Commands
from mapdev.host.kernel.control import Control
from mapdev.host.kernel.devices import Devices
from mapdev.host.kernel.machine import KernelMachine
from mapdev.host.kernel.model import Model
from mapdev.host.kernel.request import Got
from mapdev.host.kernel.vm_ops import Areas
from mapdev.linux.fs import File
from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.log import log


class KernelFile(OpenFile):
    """An open file.

    :ivar id: the module's number for it.
    :ivar opening: the request that opened it; 0 if it came by `Server.install_file`.
    """

    __slots__ = ("id", "opening")

    def __init__(
        self, number: int, device: Device, f_flags: int, mode: int, opening: int = 0
    ) -> None:
        super().__init__(device, new_file(device, f_flags, mode))
        self.id = number
        self.opening = opening


class Server(Loop):
    """Serves the devices of a session."""

    def __init__(
        self,
        control: Control,
        machine: KernelMachine,
        operations: Operations,
        devices: Devices,
        jobs: Jobs,
        waiting: Waiting,
        model: Model,
    ) -> None:
        super().__init__(jobs, waiting, Polling(self._show_ready), operations)
        self.control = control
        self.files: dict[int, KernelFile] = {}
        self._devices = devices
        self._machine = machine
        self._model = model
        self.commands = Commands(control, jobs.in_thread, self._handle)
        self.areas = Areas(control, operations, machine, devices)
        self.known_area = self.areas.known
        self._handlers: dict[int, Callable[[KernelCall], Any]] = {
            uapi.OPEN: self._open,
            uapi.READ: self._read,
            uapi.WRITE: self._write,
            uapi.LLSEEK: self._llseek,
            uapi.IOCTL: self._ioctl,
            uapi.POLL: self._poll,
            uapi.FSYNC: self._fsync,
            uapi.FLUSH: self._flush_file,
            uapi.FASYNC: self._fasync,
            uapi.RELEASE: self._release,
            uapi.ATTR_SHOW: self._attr_show,
            uapi.ATTR_STORE: self._attr_store,
            uapi.BIN_READ: self._bin_read,
            uapi.BIN_WRITE: self._bin_write,
            **self.areas.handlers,
        }

    # --- from other threads -----------------------------------------------------------------

    def stop(self) -> list[str]:
        """End the devices and stop serving; return a line for each file that was open."""
        self._devices.destroy()
        self.settle()
        self.end_thread()
        with self.lock:
            self.control.send()
            left, self.files = self.files, {}
            for open_file in left.values():
                self.operations.release(open_file)
        return [f"{open_file.device.node} was still open or mapped" for open_file in left.values()]

    # --- in the server's thread -------------------------------------------------------------

    def serve(self, is_busy: bool) -> bool:
        """Send the reply that was noted, wait for the next request and handle it."""
        got = self.control.fetch(uapi.NEXT_NOWAIT) if is_busy else self.control.next_request()
        if got is None:
            return not is_busy  # kicked; or nothing is queued
        with self.lock:
            self._handle(got)
        return True

    def _handle(self, got: Got) -> None:
        op = got[at.OP]
        handler = self._handlers.get(op)
        if handler is None:
            if op in (uapi.INTERRUPT, uapi.GONE):  # else a result that nobody waits for any more
                self._handle_news(got)
            return
        payload = self.control.payload(got[at.SLOT], got[at.LEN]) if got[at.LEN] else b""
        call = KernelCall(self, got, payload)
        open_file = self.files.get(got[at.FILE])
        if open_file is not None:
            call.file, call.owner = open_file, open_file.driver
            open_file.file.f_flags = got[at.F_FLAGS]
        self.handle(call, handler, call)

    def _handle_news(self, got: Got) -> None:
        """Handle what the module tells of the client of a call."""
        number, is_gone = got[at.ARG0], got[at.OP] == uapi.GONE
        then = self.waiting.forget if is_gone else self.waiting.interrupt
        for call in self.waiting:
            if isinstance(call, KernelCall) and call.id == number:
                then(call)
        if is_gone:
            left = KernelCall(self, got, b"")
            self.handle(left, self._undo, left, number)

    def _undo(self, call: KernelCall, number: int) -> None:
        """End what a request made whose client had left when the answer came: killed, or late.

        In C the client would have gone on to the end of its call, and ended what it has at exit.
        """
        self.areas.undo(call, number)
        open_file = self.files.get(call.got[at.FILE])
        if open_file is not None and open_file.opening == number:
            self._release(call)

    def flush(self) -> None:
        """Send the reply that was noted."""
        self.control.send()

    def failed(self, call: Call, error: BaseException) -> None:
        """Answer a call whose handler failed by a mistake of the host."""
        op = call.got[at.OP] if isinstance(call, KernelCall) else 0
        log.exception("mapdev: request %d failed in the host itself; please report it. "
                      "The client gets EIO", op)  # fmt: skip
        call.fail(5)

    # --- open files -------------------------------------------------------------------------

    def _open(self, call: KernelCall) -> int:
        got = call.got
        device = self._devices.by_id.get(got[at.DEVICE])
        if device is None:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        open_file = KernelFile(got[at.FILE], device, got[at.F_FLAGS], got[at.ARG0], call.id)
        self.files[open_file.id] = open_file
        call.file, call.owner = open_file, device.driver
        return self._finish_open(call, open_file)

    def _finish_open(self, call: KernelCall, open_file: KernelFile) -> int:
        def forget() -> None:
            self.files.pop(open_file.id, None)

        try:
            self.operations.open(call)
        except WouldWait as wait:
            wait.again = partial(self._finish_open, call, open_file)
            wait.abandon = forget
            raise
        except BaseException:
            forget()
            raise
        return 0

    def install_file(
        self, call: KernelCall, name: str, driver: Any, private_data: Any, flags: int
    ) -> int:
        """Open a file without a node in the client of `call`."""
        number = self._devices.anonymous(driver, name)
        outcome = call.run(uapi.INSTALL, flags, number, name.encode() + b"\0")
        device = self._devices.by_id[number]
        open_file = KernelFile(outcome.arg[1], device, flags, access_mode(flags))
        open_file.file.private_data = private_data
        self.files[open_file.id] = open_file
        return outcome.result

    def file_of(self, number: int) -> File | None:
        """Return an open file by the module's number, if it is one of these devices'."""
        open_file = self.files.get(number)
        return open_file.file if open_file is not None else None

    def _release(self, call: KernelCall) -> None:
        open_file = self.files.pop(call.got[at.FILE], None)
        if open_file is not None:
            self.polling.discard(open_file)
            self.operations.release(open_file)
            self._devices.forget(open_file.device)

    def _read(self, call: KernelCall) -> int:
        count, pos, addr = call.got[at.ARG0], call.got[at.ARG1], call.got[at.ARG2]
        return self.operations.read(call, addr, count, pos)

    def _write(self, call: KernelCall) -> int:
        count, pos, addr = call.got[at.ARG0], call.got[at.ARG1], call.got[at.ARG2]
        return self.operations.write(call, addr, count, pos)

    def _llseek(self, call: KernelCall) -> int:
        call.file.file.f_pos = call.got[at.ARG2]
        offset, whence = uapi.signed(call.got[at.ARG0]), call.got[at.ARG1]
        return self.operations.llseek(call, offset, whence)

    def _ioctl(self, call: KernelCall) -> int:
        return self.operations.ioctl(call, call.got[at.ARG0], call.got[at.ARG1])

    def _fsync(self, call: KernelCall) -> int:
        start, end, datasync = call.got[at.ARG0], call.got[at.ARG1], call.got[at.ARG2]
        return self.operations.fsync(call, bool(datasync), start, end)

    def _flush_file(self, call: KernelCall) -> int:
        self.operations.flush(call.task, call.file)
        return 0

    def _fasync(self, call: KernelCall) -> object:
        """Run the driver's fasync; the module signals the file if it is on the driver's list."""
        assert isinstance(call.file, KernelFile)
        fd, on = uapi.signed(call.got[at.ARG0]), uapi.signed(call.got[at.ARG1])
        file = call.file.file
        self._machine.async_files[file] = call.file.id
        self._machine.told_async.discard(file)
        self.operations.fasync(call.task, call.file, fd, on)
        is_told = file in self._machine.told_async
        self.control.answer(call.id, 0, flags=uapi.REPLY_ASYNC if is_told else 0)
        return ANSWERED

    def hang_up(self, device: Device) -> None:
        """End what waits on files and attributes of a device that was removed."""
        self.waiting.device_gone(device)
        for call in self.waiting:
            if call.file.device.is_gone:
                self.waiting.device_gone(call.file.device)
        self.polling.refresh(device.driver)

    # --- attributes -------------------------------------------------------------------------

    def _about(self, call: KernelCall) -> KernfsNode:
        """Know which attribute a call is about."""
        call.file = self._model.file_of(call.got[at.ARG0])
        call.owner = call.file.device.owner
        node: KernfsNode = call.file.device.inode.i_private
        return node

    def _number(self, call: KernelCall, operation: str, taken: Any, most: int) -> int:
        """Return how many bytes a driver has taken; -EAGAIN is no reason to wait."""
        if taken == -errno.EAGAIN:
            return -errno.EAGAIN
        return self.operations.number(call, operation, taken, most)

    def _attr_show(self, call: KernelCall) -> int:
        node = self._about(call)

        def ask() -> int:
            text = show(node)
            return text if isinstance(text, int) else call.give(text)

        return self.operations.call_method(call, "show", ask)

    def _attr_store(self, call: KernelCall) -> int:
        node, data = self._about(call), call.payload

        def take() -> int:
            return self._number(call, "store", store(node, data), len(data))

        return self.operations.call_method(call, "store", take)

    def _bin_read(self, call: KernelCall) -> int:
        node, count, pos = self._about(call), call.got[at.ARG1], call.got[at.ARG2]

        def read() -> int:
            found = bin_read(node, pos, count)
            if found == -errno.EAGAIN:
                return -errno.EAGAIN
            return call.give(self.operations.data(call, "read", found, count))

        return self.operations.call_method(call, "read", read)

    def _bin_write(self, call: KernelCall) -> int:
        node, data, pos = self._about(call), call.payload, call.got[at.ARG2]

        def take() -> int:
            return self._number(call, "write", bin_write(node, data, pos), len(data))

        return self.operations.call_method(call, "write", take)

    # --- readiness --------------------------------------------------------------------------

    def _poll(self, call: KernelCall) -> int:
        """Answer poll; the module keeps the answer, and this call does not come again."""
        mask = self.operations.poll(call.file)
        call.file.mask = mask
        self.polling.add(call.file)
        self.polling.note_queues(call.file)
        return mask

    def _show_ready(self, open_file: OpenFile, woken: bool) -> None:
        """Ask the driver of a file that somebody has polled, and tell the module its answer."""
        assert isinstance(open_file, KernelFile)
        mask = self.operations.poll(open_file)
        if mask == open_file.mask and not woken:
            return
        open_file.mask = mask
        flags = uapi.SHOW_KEEP | (uapi.SHOW_WAKE if woken else 0)
        with contextlib.suppress(FileNotFoundError):  # its release is on the way
            self.control.ioctl(uapi.IOC_SHOW, uapi.Show(file=open_file.id, flags=flags, mask=mask))


def node_name(node: str) -> str | None:
    """Return the name of a node below /dev, None for one that is elsewhere."""
    return os.path.relpath(node, "/dev") if node.startswith("/dev/") else None
