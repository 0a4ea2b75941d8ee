"""Request to operation to reply: runs a driver's code for a host, whichever host it is.

`Dispatcher.run` is the one place where driver code is called on behalf of a client. It sets the
context in which the vocabulary of `mapdev.linux` works, turns every failure into an `OSError` with
the errno that the client gets, and reports the call when calls are traced. It knows nothing of how
a request came in or how memory is managed.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from mapdev.host.device import Device
from mapdev.linux.context import Context, Machine, enter, reset
from mapdev.linux.fs import File, Inode
from mapdev.linux.mm import TaskStruct
from mapdev.linux.vma import VM_FAULT_OOM, VM_FAULT_SIGBUS, VmAreaStruct

log = logging.getLogger("mapdev")

Trace = Callable[[Device, str, str, str, float], None]
"""Called with device, operation, arguments, result and seconds of each operation."""


class Dispatcher:
    """Calls the operations of drivers.

    :param machine: the kernel that the vocabulary asks.
    :param trace: where each call is reported, or None.
    """

    def __init__(self, machine: Machine, trace: Trace | None = None) -> None:
        self.machine = machine
        self.trace = trace

    def open(self, device: Device, task: TaskStruct, file: File) -> None:
        """Run the open operation."""
        self.run(device, task, "open", device.driver.open, device.inode, file)

    def release(self, device: Device, file: File) -> None:
        """Run the release operation, for nobody: the last user of `file` is gone."""
        try:
            self.run(device, None, "release", device.driver.release, device.inode, file)
        except OSError as error:
            log.warning("%s: release failed and nobody is there to be told: %s", device.node, error)

    def read(self, device: Device, task: TaskStruct, file: File, count: int, pos: int) -> Any:
        """Run the read operation; the result is bytes-like and at most `count` bytes."""
        data = self.run(device, task, "read", device.driver.read, file, count, pos)
        try:
            length = memoryview(data).nbytes
        except TypeError:
            raise self._nonsense(device, "read", data, "bytes") from None
        if length > count:
            raise self._nonsense(device, "read", data, f"at most {count} bytes")
        return data

    def write(self, device: Device, task: TaskStruct, file: File, data: bytes, pos: int) -> int:
        """Run the write operation; the result is how many bytes were taken."""
        taken = self.run(device, task, "write", device.driver.write, file, data, pos)
        if taken is None:
            return len(data)
        if not isinstance(taken, int) or not 0 <= taken <= len(data):
            raise self._nonsense(device, "write", taken, f"0 to {len(data)} or None")
        return taken

    def llseek(self, device: Device, task: TaskStruct, file: File, offset: int, whence: int) -> int:
        """Run the llseek operation; the result is the new offset in bytes."""
        result = self.run(device, task, "llseek", device.driver.llseek, file, offset, whence)
        if not isinstance(result, int) or not 0 <= result < 1 << 63:
            raise self._nonsense(device, "llseek", result, "an offset")
        return result

    def ioctl(self, device: Device, task: TaskStruct, file: File, cmd: int, arg: int) -> int:
        """Run the ioctl operation; the result is a non-negative int."""
        result = self.run(device, task, "ioctl", device.driver.ioctl, file, cmd, arg)
        if result is None:
            return 0
        if not isinstance(result, int) or not 0 <= result < 1 << 31:
            raise self._nonsense(device, "ioctl", result, "a non-negative int or None")
        return result

    def poll(self, device: Device, file: File) -> int:
        """Run the poll operation; in the kernel it can't fail, so a failure reads as EPOLLERR."""
        try:
            mask = self.run(device, None, "poll", device.driver.poll, file)
        except OSError:
            return 0x008
        return mask if isinstance(mask, int) else 0x008

    def fsync(
        self,
        device: Device,
        task: TaskStruct,
        file: File,
        datasync: bool,
        start: int = 0,
        end: int = (1 << 63) - 1,
    ) -> None:
        """Run the fsync operation for bytes `start` to `end`, the whole file unless given."""
        self.run(device, task, "fsync", device.driver.fsync, file, start, end, datasync)

    def mmap(self, device: Device, task: TaskStruct, file: File, vma: VmAreaStruct) -> None:
        """Run the mmap operation; what it mapped is in ``vma.mapped``."""
        self.run(device, task, "mmap", device.driver.mmap, file, vma)

    def fault(
        self, device: Device, task: TaskStruct, operation: str, function: Callable[..., Any],
        *args: Any,
    ) -> int:  # fmt: skip
        """Run an operation that answers a page fault; a failure is one of the VM_FAULT_* bits."""
        try:
            answer = self.run(device, task, operation, function, *args)
        except OSError as error:
            return VM_FAULT_OOM if error.errno == errno.ENOMEM else VM_FAULT_SIGBUS
        if answer is not None and not isinstance(answer, int):
            self._nonsense(device, operation, answer, "VM_FAULT_* bits")
            return VM_FAULT_SIGBUS
        return answer or 0

    def notify_area(
        self,
        device: Device,
        task: TaskStruct | None,
        operation: str,
        function: Callable[[VmAreaStruct], None],
        vma: VmAreaStruct,
    ) -> None:
        """Run open or close of a `vm_operations_struct`, which can't fail."""
        try:
            self.run(device, task, operation, function, vma)
        except OSError as error:
            log.warning("%s: %s failed, which it can't: %s", device.node, operation, error)

    def run(
        self,
        device: Device,
        task: TaskStruct | None,
        operation: str,
        method: Callable[..., Any],
        *args: Any,
    ) -> Any:
        """Call `method` of the driver of `device` in the context of `task`.

        :raises OSError: whatever the driver raised; EIO for any other exception, which is logged.
        """
        began = time.perf_counter() if self.trace else 0.0
        result: Any = None
        token = enter(Context(self.machine, device.driver, task))
        try:
            result = method(*args)
        except OSError as error:
            result = error = _with_errno(device, operation, error)
            raise error from None
        except Exception as error:
            log.exception("%s: %s failed: %r; the client gets EIO", device.node, operation, error)
            result = OSError(errno.EIO, os.strerror(errno.EIO))
            raise result from None
        finally:
            reset(token)
            if self.trace:
                seconds = time.perf_counter() - began
                arguments = ", ".join(
                    _brief(argument) for argument in args if not isinstance(argument, File | Inode)
                )
                self.trace(device, operation, arguments, _brief(result), seconds)
        return result

    def _nonsense(self, device: Device, operation: str, result: object, wanted: str) -> OSError:
        log.error("%s: %s returned %r, not %s; the client gets EIO",
                  device.node, operation, result, wanted)  # fmt: skip
        return OSError(errno.EIO, os.strerror(errno.EIO))


def _with_errno(device: Device, operation: str, error: OSError) -> OSError:
    """Return an error that has an errno that a system call can return."""
    if error.errno is not None and 0 < error.errno < 4096:
        return error
    log.error("%s: %s raised %r without an errno; the client gets EIO",
              device.node, operation, error)  # fmt: skip
    return OSError(errno.EIO, str(error))


def _brief(value: object) -> str:
    """Show an argument or a result on one line, as strace would."""
    if isinstance(value, OSError):
        return f"-1 {errno.errorcode.get(value.errno or 0, value.errno)} ({value.strerror})"
    if isinstance(value, bytes | bytearray | memoryview):
        head = bytes(value[:32])
        return f"{head!r}{'...' if len(value) > 32 else ''} ({len(value)} bytes)"
    if isinstance(value, bool) or value is None:
        return "0" if value is None else str(int(value))
    if isinstance(value, int):
        return str(value) if -1 <= value < 4096 else f"{value:#x}"
    return str(value) if isinstance(value, VmAreaStruct) else type(value).__name__
