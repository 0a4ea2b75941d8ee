"""`Operations` calls the methods of drivers, checks their results and turns exceptions into errnos.

`Operations` sets the context in which the vocabulary of `mapdev.linux` works, hands over the
client's data, checks what a method returned, and turns whatever it raised into an `OSError` with
the errno that the client gets. As in C, a negative number is that errno. An operation that has to
wait raises `WouldWait`. Whatever a driver raises, ``SystemExit`` included, never leaves as anything
else. Used under the host's lock. `TracedOperations` reports each call besides.

Source: include/linux/fs.h (struct file_operations), fs/read_write.c, fs/ioctl.c
"""

from __future__ import annotations

import contextlib
import errno
import operator
import os
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import Any, NoReturn, TypeVar

from mapdev.driver import DEFAULT_POLLMASK
from mapdev.host.core.call import Call
from mapdev.host.core.device import Device
from mapdev.host.core.files import OpenFile
from mapdev.host.core.machine import HostMachine
from mapdev.host.core.waiting import WouldWait
from mapdev.linux.context import Context, Progress, WouldBlock, as_bytes, enter, must_fail, reset
from mapdev.linux.errnos import (
    ENOIOCTLCMD,
    ERESTART_RESTARTBLOCK,
    ERESTARTNOHAND,
    ERESTARTNOINTR,
    ERESTARTSYS,
)
from mapdev.linux.fs import FMODE_STREAM
from mapdev.linux.log import log
from mapdev.linux.mm import TaskStruct
from mapdev.linux.numbers import EPOLLERR, EPOLLHUP, O_ASYNC
from mapdev.linux.vma import VM_FAULT_OOM, VM_FAULT_SIGBUS, VmAreaStruct

__all__ = ["OperationTimeout", "Operations"]

_T = TypeVar("_T")
_MAX_ERRNO = 4095
_LLONG_MAX = (1 << 63) - 1
_INT_MAX = (1 << 31) - 1
_RESTARTS = (ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK)


# What comes of an operation that can't give an errno; all others give EIO.
_OUTCOMES = {
    **dict.fromkeys(("release", "vm_open", "vm_close"), "no program can be told"),
    **dict.fromkeys(
        ("vm_fault", "vm_map_pages", "vm_page_mkwrite", "vm_pfn_mkwrite"), "the client gets SIGBUS"
    ),
}


class _LoggedError(OSError):
    """A failure of a driver that has been logged with its cause: EIO."""


class OperationTimeout(BaseException):
    """Raised in an operation that has run for too long: its client gets ETIMEDOUT."""


class Operations:
    """Calls the operations of drivers.

    :param machine: the kernel that the vocabulary asks.
    """

    def __init__(self, machine: HostMachine) -> None:
        self.machine = machine
        self._bad_polls: set[Device] = set()

    # --- operations that may wait -----------------------------------------------------------

    def open(self, call: Call) -> int:
        """Run the open operation for `call.file`; the result is 0."""
        of = call.file
        result = self._run(
            call, "open", partial(self.open, call), of.driver.open, of.device.inode, of.file
        )
        number = self._number(of.device, "open", result, 0)
        of.device.open_files += 1
        return number

    def read(self, call: Call, addr: int, count: int, pos: int) -> int:
        """Run the read operation, give the client its data, and return how many bytes arrived.

        :param addr: where the client wants up to `count` bytes.
        :raises OSError: EFAULT `addr` is not writable; of a stream, or not all of it.
        """
        of = call.file
        data = self._run(
            call, "read", partial(self.read, call, addr, count, pos),
            of.driver.read, of.file, count, pos,
        )  # fmt: skip
        if type(data) is not bytes:
            data = self._bytes(of.device, data)
        length = len(data)
        if length > count:
            self._nonsense(of.device, "read", data, f"at most {count} bytes")
        if length:
            arrived = call.put_data(addr, data)
            if arrived < length:
                return self.cut(of, arrived)
        return length

    def write(self, call: Call, addr: int, count: int, pos: int) -> int:
        """Run the write operation with the client's data; return how many bytes were taken.

        The driver is asked even if nothing is readable, as in C, where it would find that out.

        :raises OSError: EFAULT `addr` is not readable; of a stream, or not all that it would take.
        """
        of = call.file
        data = call.take_data(addr, count) if count else b""
        taken = self._run(
            call, "write", partial(self.write, call, addr, count, pos),
            of.driver.write, of.file, data, pos,
        )  # fmt: skip
        length = len(data)
        taken = length if taken is None else self._number(of.device, "write", taken, length)
        return taken if taken < length or length == count else self.cut(of, taken)

    def write_data(self, call: Call, data: bytes, pos: int) -> int:
        """Run the write operation with data that were collected; return how many were taken."""
        of = call.file
        taken = self._run(
            call, "write", partial(self.write_data, call, data, pos), of.driver.write, of.file,
            data, pos,
        )  # fmt: skip
        return len(data) if taken is None else self._number(of.device, "write", taken, len(data))

    def call_method(self, call: Call, name: str, method: Callable[..., _T], *args: Any) -> _T:
        """Run a method that is no operation of drivers but of a file of the host's own.

        :raises WouldWait: it has to wait, and the file allows that.
        """
        again = partial(self.call_method, call, name, method, *args)
        result: _T = self._run(call, name, again, method, *args)
        return result

    def number(self, call: Call, operation: str, result: Any, most: int) -> int:
        """Return what a method of `call_method` gave, a number from 0 to `most`.

        :raises OSError: it is -errno; EIO anything else.
        """
        return self._number(call.file.device, operation, result, most)

    def data(self, call: Call, operation: str, result: Any, most: int) -> bytes:
        """Return what a method of `call_method` gave, `most` bytes at most.

        :raises OSError: it is -errno; EIO anything else.
        """
        data = bytes(self._bytes(call.file.device, result))
        if len(data) > most:
            self._nonsense(call.file.device, operation, data, f"at most {most} bytes")
        return data

    def cut(self, of: OpenFile, done: int) -> int:
        """Return what a transfer gives that came to an address that is not there.

        In C the driver decides that. Those with a position mostly count what was copied, as
        simple_read_from_buffer does; those without can't be asked for the rest again, and fail.
        """
        if not done or of.file.f_mode & FMODE_STREAM:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return done

    def llseek(self, call: Call, offset: int, whence: int) -> int:
        """Run the llseek operation; return the new offset in bytes."""
        of = call.file
        again = partial(self.llseek, call, offset, whence)
        result = self._run(call, "llseek", again, of.driver.llseek, of.file, offset, whence)
        if result is None:
            self._nonsense(of.device, "llseek", result, "an offset")
        return self._number(of.device, "llseek", result, _LLONG_MAX)

    def ioctl(self, call: Call, cmd: int, arg: int) -> int:
        """Run the ioctl operation; return its result, which is not negative.

        :raises OSError: ENOTTY for ENOIOCTLCMD, too.
        """
        of = call.file
        if "ioctl" not in of.device.has:  # of a device that is gone, too
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        again = partial(self.ioctl, call, cmd, arg)
        try:
            result = self._run(call, "ioctl", again, of.driver.ioctl, of.file, cmd, arg)
            if result is None:
                return 0
            if type(result) is int and 0 <= result <= _INT_MAX:
                return result
            return self._number(of.device, "ioctl", result, _INT_MAX)
        except OSError as error:
            if error.errno != ENOIOCTLCMD:
                raise
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY)) from None

    def fsync(self, call: Call, datasync: bool, start: int = 0, end: int = _LLONG_MAX) -> int:
        """Run the fsync operation for bytes `start` to `end`, the whole file unless given."""
        of = call.file
        again = partial(self.fsync, call, datasync, start, end)
        result = self._run(call, "fsync", again, of.driver.fsync, of.file, start, end, datasync)
        return self._number(of.device, "fsync", result, _INT_MAX)

    # --- operations that may not ------------------------------------------------------------

    def mmap(self, task: TaskStruct, of: OpenFile, vma: VmAreaStruct) -> None:
        """Run the mmap operation; what it mapped is in ``vma.mapped``."""
        if of.device.is_gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self.check(of.device, task, "mmap", of.driver.mmap, of.file, vma)

    def fasync(self, task: TaskStruct | None, of: OpenFile, fd: int, on: int) -> int:
        """Run the fasync operation: O_ASYNC is to be set, or not; gives a number >= 0."""
        if of.device.is_gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        result = self.run(of.device, task, "fasync", of.driver.fasync, fd, of.file, on)
        return self._number(of.device, "fasync", result, _INT_MAX)

    def _end_fasync(self, of: OpenFile) -> None:
        try:
            self.run(of.device, None, "fasync", of.driver.fasync, -1, of.file, 0)
        except OSError as error:
            log.debug("%s: fasync failed at release: %s", of.device.node, error)

    def release(self, of: OpenFile) -> None:
        """Run the release operation, for nobody: the last user of the file is gone."""
        of.device.open_files -= 1
        if of.file.f_flags & O_ASYNC and "fasync" in of.device.has:
            self._end_fasync(of)
        try:
            self.run(of.device, None, "release", of.driver.release, of.device.inode, of.file)
        except _LoggedError:
            pass
        except OSError as error:
            log.warning("%s: release failed, and no program can be told: %s",
                        of.device.node, error)  # fmt: skip

    def flush(self, task: TaskStruct | None, of: OpenFile) -> None:
        """Run the flush operation: a descriptor of the file is closed.

        :raises OSError: what close returns. ERESTARTSYS and its like are EINTR: a close is never
            begun again.

        Source: fs/open.c (filp_flush, close)
        """
        if of.device.is_gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        try:
            self.check(of.device, task, "flush", of.driver.flush, of.file)
        except OSError as error:
            if error.errno not in _RESTARTS:
                raise
            raise OSError(errno.EINTR, os.strerror(errno.EINTR)) from None

    def poll(self, of: OpenFile) -> int:
        """Run the poll operation.

        In the kernel poll can't fail. One that does counts as none: always ready, so that a
        program goes on to an operation whose error it can see. A device that was removed says that
        it has hung up, as drivers do for one that was pulled out.
        """
        if of.device.is_gone:
            return EPOLLERR | EPOLLHUP
        token = enter(Context(self.machine, of.device.owner))
        try:
            mask = of.driver.poll(of.file)
            if not isinstance(mask, int) or mask < 0:
                raise TypeError(f"poll returned {mask!r}, not a mask")
        except BaseException as error:
            mask = DEFAULT_POLLMASK
            if of.device not in self._bad_polls:
                self._bad_polls.add(of.device)
                log.exception("%s: poll failed: %r; it counts as ready", of.device.node, error)
            if must_fail(error) and not isinstance(error, OperationTimeout):
                self.machine.failures.append(error)
        finally:
            reset(token)
        return mask & 0xFFFFFFFF

    def fault(
        self, device: Device, task: TaskStruct, operation: str, function: Callable[..., Any],
        *args: Any,
    ) -> int:  # fmt: skip
        """Run an operation that answers a page fault; a failure is one of the VM_FAULT_* bits."""
        try:
            answer = self.run(device, task, operation, function, *args, errnos=False)
            if answer is None:
                return 0
            if not isinstance(answer, int) or not 0 <= answer < 1 << 32:
                self._nonsense(device, operation, answer, "VM_FAULT_* bits")
        except OSError as error:
            return VM_FAULT_OOM if error.errno == errno.ENOMEM else VM_FAULT_SIGBUS
        return answer

    def access(
        self, device: Device, task: TaskStruct, function: Any, vma: VmAreaStruct, addr: int,
        data: memoryview, write: int,
    ) -> int:  # fmt: skip
        """Run an area's access operation; the result is how many bytes of `data` it did."""
        count = self.run(device, task, "vm_access", function, vma, addr, data, len(data), write)
        return self._number(device, "vm_access", count, len(data))

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
        except _LoggedError:
            pass
        except OSError as error:
            log.warning("%s: %s failed, which it can't: %s", device.node, operation, error)

    def check(
        self, device: Device, task: TaskStruct | None, operation: str,
        method: Callable[..., Any], *args: Any,
    ) -> None:  # fmt: skip
        """Run an operation that only fails or does not: mmap, and vm_ops such as may_split.

        :raises OSError: as for `run`; EIO it returned neither None, 0 nor a negative errno. In the
            kernel such a number is taken for a failure, and a program for an address.
        """
        self._number(device, operation, self.run(device, task, operation, method, *args), 0)

    def run(
        self,
        device: Device,
        task: TaskStruct | None,
        operation: str,
        method: Callable[..., Any],
        *args: Any,
        errnos: bool = True,
    ) -> Any:
        """Call `method` of the driver of `device` in the context of `task`.

        :param errnos: a negative result is an errno.
        :raises OSError: whatever the driver raised; EAGAIN it has to wait, which it can't here; EIO
            for any other exception, which is logged.
        """
        token = enter(Context(self.machine, device.owner, task))
        try:
            result = method(*args)
            if type(result) is CoroutineType:
                result.close()
                raise TypeError(f"{operation} can't be async")
        except BaseException as error:
            if isinstance(error, BlockingIOError):
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            raise self._failure(error, device, operation) from None
        finally:
            reset(token)
        if errnos and type(result) is int and -_MAX_ERRNO <= result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    # --- one call of a method ---------------------------------------------------------------

    def _run(
        self, call: Call, operation: str, again: Callable[[], Any], method: Callable[..., Any],
        *args: Any,
    ) -> Any:  # fmt: skip
        """Call `method`, or take the result of its coroutine if that has ended by now.

        :raises WouldWait: it has to wait, and the file allows that.
        :raises OSError: as for `run`.
        """
        if call.file.device.is_gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        resumed, call.resumed = call.resumed, None
        call.progress = None if resumed is None else resumed.progress
        token = enter(call)
        try:
            if resumed is None or resumed.outcome is None:
                result = method(*args)
            else:
                result = resumed.outcome()
            if type(result) is CoroutineType:
                raise _started(result)
        except BaseException as error:
            if isinstance(error, BlockingIOError):
                if call.progress is not None:
                    _let_go(call.progress)
                raise _must_wait(error, call, resumed, again) from None
            raise self._failure(error, call.file.device, operation) from None
        finally:
            reset(token)
        return result

    def interrupted(self, call: Call) -> None:
        """Know that a signal ended `call`, whose operation waited."""

    def _failure(self, error: BaseException, device: Device, operation: str) -> OSError:
        """Return what a client gets of an operation that raised `error`; called in its handler."""
        if isinstance(error, OSError):
            code = error.errno
            if type(code) is int and 0 < code <= _MAX_ERRNO:
                return error
            log.exception("%s: %s raised %r, whose first argument is no errno; %s. Write "
                          "OSError(errno.EINVAL, 'why')",
                          device.node, operation, error, _outcome(operation))  # fmt: skip
        elif isinstance(error, OperationTimeout):
            return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        else:
            log.exception("%s: %s failed: %r; %s", device.node, operation, error,
                          _outcome(operation))  # fmt: skip
            if must_fail(error):
                self.machine.failures.append(error)
        return _LoggedError(errno.EIO, os.strerror(errno.EIO))

    # --- what methods return ----------------------------------------------------------------

    def _number(self, device: Device, operation: str, result: Any, most: int) -> int:
        """Return a result that is a number from 0 to `most`; None is 0."""
        if result is None:
            return 0
        if not isinstance(result, int):  # a number of NumPy's, which is no int
            with contextlib.suppress(TypeError):
                result = operator.index(result)
        if isinstance(result, int):
            if 0 <= result <= most:
                return int(result)
            if -_MAX_ERRNO <= result < 0:
                raise OSError(-result, os.strerror(-result))
        wanted = f"0 to {most}" if most else "0"
        return self._nonsense(device, operation, result, f"{wanted}, -errno or None")

    def _bytes(self, device: Device, data: Any) -> Any:
        """Return the bytes of an object with the buffer protocol, without a copy if it can be."""
        if type(data) is int and -_MAX_ERRNO <= data < 0:
            raise OSError(-data, os.strerror(-data))
        if type(data) is int and not data:
            return b""  # the habit of C: the end of the file
        try:
            return as_bytes(data)
        except (TypeError, ValueError):  # no buffer, one that is released, one without a format
            self._nonsense(device, "read", data, "bytes")

    def _nonsense(self, device: Device, operation: str, result: object, wanted: str) -> NoReturn:
        shown = f"{result!r:.100}"
        log.error("%s: %s returned %s, not %s; %s",
                  device.node, operation, shown, wanted, _outcome(operation))  # fmt: skip
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _outcome(operation: str) -> str:
    """Say what a client sees of an operation that failed by a mistake in the driver."""
    return _OUTCOMES.get(operation, "the client gets EIO")


def _started(coroutine: Any) -> WouldWait:
    """Return what keeps an ``async def`` operation, which may wait whatever its file's flags."""
    wait = WouldWait()
    wait.coroutine = coroutine
    return wait


def _let_go(progress: Progress) -> None:
    """Have an operation that waits hold no lock: it is run again, and takes it again."""
    while progress.held:
        progress.held.pop().release()
    progress.rewind()


def _must_wait(
    error: BlockingIOError, call: Call, resumed: WouldWait | None, again: Callable[[], Any]
) -> OSError:
    """Return why an operation waits; EAGAIN if its file was opened so that nothing may."""
    if isinstance(error, WouldWait):
        error.again = again
        return error
    # The kernel looks at the flags when the call begins: later changes don't matter to it.
    is_first = resumed is None or resumed.coroutine is not None
    if is_first and call.file.file.f_flags & os.O_NONBLOCK:
        return OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    wait = WouldWait(getattr(error, "queue", None))
    if isinstance(error, WouldBlock):
        wait.deadline = error.deadline
        wait.is_exclusive = error.is_exclusive
        wait.is_interruptible = error.is_interruptible
    wait.progress = call.progress
    wait.again = again
    wait.is_repeated = not is_first
    return wait
