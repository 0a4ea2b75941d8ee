"""Request to operation to reply: runs a driver's code for a host, whichever host it is.

`Dispatcher.run` is the one place where driver code is called on behalf of a client. It sets the
context in which the vocabulary of `mapdev.linux` works, turns every failure into an `OSError` with
the errno that the client gets, and reports the call when calls are traced. An operation that has to
wait ends as `WouldWait`; the host keeps that and has the operation go on by `Dispatcher.again`.
This knows nothing of how a request came in, how it is kept or how memory is managed.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any, TypeVar

from mapdev.driver import DEFAULT_POLLMASK
from mapdev.host.device import Device
from mapdev.linux.context import Context, Machine, enter, reset
from mapdev.linux.fs import File, Inode
from mapdev.linux.log import log
from mapdev.linux.mm import TaskStruct
from mapdev.linux.vma import VM_FAULT_OOM, VM_FAULT_SIGBUS, VmAreaStruct

Trace = Callable[[Device, str, str, str, float], None]
"""Called with device, operation, arguments, result and seconds of each operation."""

_T = TypeVar("_T")
_MAY_WAIT = frozenset(("open", "read", "write", "llseek", "ioctl", "fsync"))


class WouldWait(BlockingIOError):  # noqa: N818 - an event, not an error
    """An operation that has begun and has to wait; EAGAIN where nobody can keep it.

    :ivar queue: the wait queue whose wake-up it waits for, None for any of the driver's.
    :ivar coroutine: what the operation returned, if it is ``async def``; to be run to its end.
    :ivar context: the context in which the coroutine runs.
    :ivar outcome: returns the coroutine's result or raises its exception, once it has ended.
    :ivar repeated: the operation was run again, to no avail.
    """

    def __init__(self, device: Device, operation: str, arguments: str, began: float) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.device = device
        self.operation = operation
        self.arguments = arguments
        self.began = began
        self.queue: Any = None
        self.blocking = True
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.context: Context | None = None
        self.outcome: Callable[[], Any] | None = None
        self.repeated = False


class Dispatcher:
    """Calls the operations of drivers.

    :param machine: the kernel that the vocabulary asks.
    :param trace: where each call is reported, or None.
    """

    def __init__(self, machine: Machine, trace: Trace | None = None) -> None:
        self.machine = machine
        self.trace = trace
        self._again: WouldWait | None = None
        self._bad_polls: set[Device] = set()

    def again(self, wait: WouldWait, function: Callable[[], _T]) -> _T:
        """Call `function`; the first operation that it runs is the one that had to wait."""
        self._again = wait
        try:
            return function()
        finally:
            self._again = None

    def interrupted(self, wait: WouldWait) -> None:
        """Report that a signal ended the call whose operation waited."""
        if self.trace:
            seconds = time.perf_counter() - wait.began
            result = "? ERESTARTSYS (a signal came)"
            self.trace(wait.device, wait.operation, wait.arguments, result, seconds)

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
        return self.checked_read(device, data, count)

    def checked_read(self, device: Device, data: Any, count: int) -> Any:
        """Return what a read operation returned, if it makes sense."""
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
        return self.checked_write(device, taken, len(data))

    def checked_write(self, device: Device, taken: Any, size: int) -> int:
        """Return how many bytes a write operation has taken of `size`, if that makes sense."""
        if taken is None:
            return size
        if not isinstance(taken, int) or not 0 <= taken <= size:
            raise self._nonsense(device, "write", taken, f"0 to {size} or None")
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
        return self.checked_ioctl(device, result)

    def checked_ioctl(self, device: Device, result: Any) -> int:
        """Return what an ioctl operation returned, if it makes sense."""
        if result is None:
            return 0
        if not isinstance(result, int) or not 0 <= result < 1 << 31:
            raise self._nonsense(device, "ioctl", result, "a non-negative int or None")
        return result

    def poll(self, device: Device, file: File, before: int | None) -> int:
        """Run the poll operation; it is reported if it differs from `before`.

        In the kernel poll can't fail. One that does counts as none: always ready, so that a
        program goes on to an operation whose error it can see.
        """
        token = enter(Context(self.machine, device.driver))
        try:
            mask = device.driver.poll(file)
            if not isinstance(mask, int):
                raise TypeError(f"poll returned {mask!r}, not a mask")
        except Exception as error:
            if device not in self._bad_polls:
                self._bad_polls.add(device)
                log.exception("%s: poll failed: %r; it counts as ready", device.node, error)
            mask = DEFAULT_POLLMASK
        finally:
            reset(token)
        if self.trace and mask != before:
            self.trace(device, "poll", "", _brief(mask), 0.0)
        return mask

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

    def access(
        self, device: Device, task: TaskStruct, function: Any, vma: VmAreaStruct, addr: int,
        data: memoryview, write: int,
    ) -> int:  # fmt: skip
        """Run an area's access operation; the result is how many bytes of `data` it did."""
        count = self.run(device, task, "vm_access", function, vma, addr, data, len(data), write)
        if not isinstance(count, int) or not 0 <= count <= len(data):
            raise self._nonsense(device, "vm_access", count, f"0 to {len(data)}")
        return count

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

        :raises WouldWait: it has to wait, and the file allows that.
        :raises OSError: whatever the driver raised; EIO for any other exception, which is logged.
        """
        before = self._again
        if self.trace or before is not None:
            return self._run_traced(before, device, task, operation, method, args)
        context = Context(self.machine, device.driver, task)
        token = enter(context)
        try:
            result = method(*args)
            if type(result) is CoroutineType:
                raise self.begin(result, device, operation, args, context)
        except Exception as error:
            raise self.failure(error, device, operation, args) from None
        finally:
            reset(token)
        return result

    def _run_traced(
        self,
        before: WouldWait | None,
        device: Device,
        task: TaskStruct | None,
        operation: str,
        method: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> Any:
        """Do the same for an operation that is reported, or that had to wait before."""
        self._again = None
        began = 0.0
        if self.trace:
            began = time.perf_counter() if before is None else before.began
        result: Any = None
        context = Context(self.machine, device.driver, task)
        token = enter(context)
        try:
            result = method(*args) if before is None or before.outcome is None else before.outcome()
            if type(result) is CoroutineType:
                raise self.begin(result, device, operation, args, context, began)
        except Exception as error:
            result = self.failure(error, device, operation, args, before, began)
            raise result from None
        finally:
            reset(token)
            if self.trace and not isinstance(result, WouldWait):
                seconds = time.perf_counter() - began
                self.trace(device, operation, _arguments(args), _brief(result), seconds)
        return result

    def failure(
        self,
        error: Exception,
        device: Device,
        operation: str,
        args: tuple[Any, ...],
        before: WouldWait | None = None,
        began: float = 0.0,
    ) -> OSError:
        """Return what becomes of an operation that raised `error`; called where it is handled."""
        if isinstance(error, WouldWait):
            return error
        if isinstance(error, BlockingIOError):
            return self._must_wait(error, before, device, operation, args, began)
        if isinstance(error, OSError):
            return _with_errno(device, operation, error)
        log.exception("%s: %s failed: %r; the client gets EIO", device.node, operation, error)
        return OSError(errno.EIO, os.strerror(errno.EIO))

    def _must_wait(
        self,
        error: BlockingIOError,
        before: WouldWait | None,
        device: Device,
        operation: str,
        args: tuple[Any, ...],
        began: float,
    ) -> OSError:
        """Return what becomes of an operation that would block."""
        blocking = _is_blocking(operation, args) if before is None else before.blocking
        if not blocking:
            return OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        wait = WouldWait(device, operation, _arguments(args) if self.trace else "", began)
        wait.queue = getattr(error, "queue", None)
        wait.repeated = before is not None and before.coroutine is None
        return wait

    def begin(
        self,
        coroutine: Coroutine[Any, Any, Any],
        device: Device,
        operation: str,
        args: tuple[Any, ...],
        context: Context,
        began: float = 0.0,
    ) -> WouldWait:
        """Return what keeps an ``async def`` operation."""
        if operation not in _MAY_WAIT:
            coroutine.close()
            raise TypeError(f"{operation} can't be async")
        wait = WouldWait(device, operation, _arguments(args) if self.trace else "", began)
        wait.blocking = _is_blocking(operation, args)
        wait.coroutine = coroutine
        wait.context = context
        return wait

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


def _is_blocking(operation: str, args: tuple[Any, ...]) -> bool:
    """Say whether the operation may wait: the kernel looks at the file when the call begins."""
    files = (argument for argument in args if isinstance(argument, File))
    return operation in _MAY_WAIT and not any(file.f_flags & os.O_NONBLOCK for file in files)


def _arguments(args: tuple[Any, ...]) -> str:
    return ", ".join(
        _brief(argument) for argument in args if not isinstance(argument, File | Inode)
    )


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
