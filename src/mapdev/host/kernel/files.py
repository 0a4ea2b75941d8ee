"""Open files of our devices, and the calls on them that are not about memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable
from typing import Any

from mapdev.driver import Driver, commands_of
from mapdev.host.device import Device
from mapdev.host.dispatch import Dispatcher
from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control, Request
from mapdev.host.kernel.tasks import ClientTask
from mapdev.linux.fs import (
    FMODE_LSEEK,
    FMODE_PREAD,
    FMODE_PWRITE,
    FMODE_READ,
    FMODE_STREAM,
    FMODE_WRITE,
    File,
)

Handler = Callable[[Request, ClientTask], None]
"""Carries out a call and notes its answer, or raises what becomes of it."""

ALL_EVENTS = 0x27FF  # MAPDEV_POLL_EVENTS
_ACCESS = 3  # of f_flags


class OpenFile:
    """A `File` and where it belongs.

    :ivar commands: what its driver's ioctl operation does, as far as that is known.
    :ivar mask: what poll said last.
    """

    __slots__ = ("commands", "device", "driver", "file", "id", "mask")

    def __init__(self, number: int, device: Device, file: File) -> None:
        self.id = number
        self.device = device
        self.file = file
        self.driver = device.driver
        self.commands = commands_of(device.driver)
        self.mask: int | None = None


class Files:
    """All open files.

    :ivar by_id: by the module's number.
    """

    def __init__(self, control: Control, dispatch: Dispatcher, devices: dict[int, Device]) -> None:
        self._control = control
        self._dispatch = dispatch
        self._devices = devices
        self.by_id: dict[int, OpenFile] = {}
        self.handlers: dict[int, Handler] = {
            uapi.OPEN: self._open,
            uapi.READ: self._read,
            uapi.WRITE: self._write,
            uapi.LLSEEK: self._llseek,
            uapi.IOCTL: self._ioctl,
            uapi.POLL: self._poll,
            uapi.FSYNC: self._fsync,
            uapi.RELEASE: self._release,
        }

    def __len__(self) -> int:
        return len(self.by_id)

    def of(self, request: Request) -> OpenFile:
        """Return the file that a call is about, its flags being what they are now."""
        open_file = self.by_id[request.file]
        open_file.file.f_flags = request.f_flags
        return open_file

    def add(self, number: int, device: Device, f_flags: int, mode: int) -> OpenFile:
        """Know a new file.

        :param mode: FMODE_READ and FMODE_WRITE bits.
        """
        f_mode = mode & (FMODE_READ | FMODE_WRITE) | FMODE_PREAD | FMODE_PWRITE
        if "llseek" in device.has:
            f_mode |= FMODE_LSEEK
        file = File(device.inode, device.driver, f_flags, f_mode, device.node)
        open_file = self.by_id[number] = OpenFile(number, device, file)
        return open_file

    def _open(self, request: Request, task: ClientTask) -> None:
        open_file = self.by_id.get(request.file)  # it is run again after a wait
        if open_file is None:
            device = self._devices[request.device]
            open_file = self.add(request.file, device, request.f_flags, request.arg[0])
        try:
            self._dispatch.open(open_file.device, task, open_file.file)
        except BlockingIOError:
            raise
        except BaseException:
            self.forget(request)
            raise
        flags = 0
        if open_file.file.f_mode & FMODE_STREAM:
            flags = uapi.REPLY_STREAM
        elif not open_file.file.f_mode & (FMODE_PREAD | FMODE_PWRITE):
            flags = uapi.REPLY_NONSEEKABLE
        self._control.answer(request.id, 0, flags=flags)

    def forget(self, request: Request) -> None:
        """The call ends without its operation: a file that was to be opened is not."""
        if request.op == uapi.OPEN:
            self.by_id.pop(request.file, None)

    def _read(self, request: Request, task: ClientTask) -> None:
        open_file = self.of(request)
        count, pos, address = request.arg[:3]
        data = self._dispatch.read(open_file.device, task, open_file.file, count, pos)
        if type(data) is not bytes:
            data = memoryview(data).cast("B")
        end = pos + len(data)
        if not self._control.answer(request.id, len(data), data, flags=uapi.REPLY_POS, pos=end):
            task.write(address, data)
            self._control.answer(request.id, len(data), flags=uapi.REPLY_POS, pos=end)

    def _write(self, request: Request, task: ClientTask) -> None:
        open_file = self.of(request)
        count, pos, address = request.arg[:3]
        if len(task.payload) < count:  # kept, for when it is run again after a wait
            task.payload = task.read(address, count)
        data = task.payload
        taken = self._dispatch.write(open_file.device, task, open_file.file, data, pos)
        self._control.answer(request.id, taken, flags=uapi.REPLY_POS, pos=pos + taken)

    def _llseek(self, request: Request, task: ClientTask) -> None:
        open_file = self.of(request)
        file = open_file.file
        file.f_pos = request.arg[2]
        offset, whence = uapi.signed(request.arg[0]), request.arg[1]
        result = self._dispatch.llseek(open_file.device, task, file, offset, whence)
        self._control.answer(request.id, result, flags=uapi.REPLY_POS, pos=result)

    def _ioctl(self, request: Request, task: ClientTask) -> None:
        open_file = self.of(request)
        cmd, arg = request.arg[:2]
        result = self._dispatch.ioctl(open_file.device, task, open_file.file, cmd, arg)
        self.answer_ioctl(task, result)

    def answer_ioctl(self, task: ClientTask, result: int) -> None:
        """Note the answer to an ioctl, with what goes out along with it."""
        number = task.request.id
        if task.out is not None:
            addr, data = task.out
            if self._control.answer(number, result, data, addr=addr):
                return
            task.flush()
        self._control.answer(number, result)

    def _poll(self, request: Request, task: ClientTask) -> None:
        open_file = self.of(request)
        mask = self._dispatch.poll(open_file.device, open_file.file, open_file.mask)
        open_file.mask = mask
        self._control.answer(request.id, mask & 0xFFFFFFFF)

    def woken(self, queue: Hashable, driver: Hashable) -> None:
        """Have whoever polls files of `driver` ask again, since a wait queue of it was woken."""
        for open_file in tuple(self.by_id.values()):
            queues = open_file.file.poll_queues
            if open_file.device.driver is driver and (not queues or queue in queues):
                self.wake(open_file.id)

    def wake(self, number: int) -> None:
        """Have whoever polls a file ask again."""
        with contextlib.suppress(FileNotFoundError):  # its release is on the way
            self._control.ioctl(uapi.IOC_WAKE, uapi.Wake(file=number, mask=ALL_EVENTS))

    def _fsync(self, request: Request, task: ClientTask) -> None:
        open_file = self.of(request)
        start, end, datasync = request.arg[:3]
        self._dispatch.fsync(open_file.device, task, open_file.file, bool(datasync), start, end)
        self._control.answer(request.id, 0)

    def _release(self, request: Request, task: ClientTask) -> None:
        open_file = self.by_id.pop(request.file, None)
        if open_file is not None:
            self._dispatch.release(open_file.device, open_file.file)

    def close(self) -> list[str]:
        """Release what is still open; return a line for each."""
        left, self.by_id = self.by_id, {}
        for open_file in left.values():
            self._dispatch.release(open_file.device, open_file.file)
        return [f"{open_file.device.node} was still open or mapped" for open_file in left.values()]


def operations(driver: Driver | Any) -> int:
    """Return the MAPDEV_HAS_ bits of a driver."""
    names = ("read", "write", "llseek", "ioctl", "poll", "mmap", "fsync")
    return sum(1 << bit for bit, name in enumerate(names) if driver.has(name))


def access_mode(f_flags: int) -> int:
    """Return the FMODE_READ and FMODE_WRITE bits that open flags ask for."""
    return (f_flags & _ACCESS) + 1 & (FMODE_READ | FMODE_WRITE)
