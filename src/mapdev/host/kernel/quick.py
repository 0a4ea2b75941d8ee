"""Calls of read, write and ioctl, answered in as few steps as possible.

What most clients call most: here each step counts, so what other requests have done by many small
functions is done by a few. Only what such a call has is looked at of what was fetched; a `Request`
and a task are made when somebody asks for them, which few do; the structure of an ioctl is what
came with the request and goes out with the reply. Of all that may come, and all that a driver may
return, only the usual is recognised: any other case is handed to those who deal with it for all
requests, the dispatcher, the client's task, the server. What becomes of a call is the same on both
ways. When calls are traced, this one is not used.

Runs in the server's thread.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from mapdev.driver import Command
from mapdev.host.dispatch import Dispatcher
from mapdev.host.kernel import uapi
from mapdev.host.kernel.control import Control, Request
from mapdev.host.kernel.files import Files, OpenFile
from mapdev.host.kernel.tasks import ClientTask
from mapdev.host.kernel.waits import Waits
from mapdev.linux.context import Context, enter, reset
from mapdev.linux.uaccess import copy_to_user

MakeTask = Callable[[Request, bytes], ClientTask]
Fail = Callable[[Request, ClientTask, OSError], None]
"""Notes what becomes of a call that failed, or has to wait."""

# What is looked at of struct mapdev_next, from the reply's error on: id, op, flags, pid, tgid,
# f_flags, file, three arguments, len, slot, data. The gaps: device; area, vma; the other arguments.
_GOT = struct.Struct(f"<i4x{uapi.INLINE}xQII4xIIIQ40x3Q24xII{uapi.INLINE}s")
_GOT_AT = uapi.Next.reply.offset + uapi.Reply.error.offset
_ERROR, _ID, _OP, _FLAGS, _PID, _TGID, _F_FLAGS, _FILE, _ARG0, _ARG1, _ARG2, _LEN, _SLOT, _DATA = (
    range(14))  # fmt: skip
_RESULT = struct.Struct("<QIIqQQII")  # struct mapdev_reply, up to its error
_WITH_DATA = struct.Struct(f"<QIIqQQII8x{uapi.INLINE}s")
_REPLY_AT = uapi.Next.reply.offset
Got = tuple[Any, ...]

_NAMES = {uapi.READ: "read", uapi.WRITE: "write", uapi.IOCTL: "ioctl"}
_INT_MAX = 0x7FFFFFFF


class Call(Context):
    """A call and the context in which its operation runs; its task is made when it is asked for.

    What it has is set by `Quick.serve`, which saves a call of ``__init__``.

    :ivar got: what was fetched.
    :ivar data: the payload of a write.
    :ivar make: makes the task.
    :ivar made: the task, if it was.
    """

    __slots__ = ("data", "got", "made", "make")

    got: Got
    data: bytes
    make: MakeTask
    made: ClientTask | None

    @property
    def task(self) -> ClientTask:  # type: ignore[override]
        """Whose call it is."""
        if self.made is None:
            got = self.got
            request = Request(
                got[_ID], got[_OP], got[_FLAGS], 0, got[_PID], got[_TGID], got[_F_FLAGS],
                got[_FILE], 0, (0, 0, 0, 0), (got[_ARG0], got[_ARG1], got[_ARG2], 0, 0, 0),
                got[_LEN], got[_SLOT],
            )  # fmt: skip
            payload = self.data if got[_OP] == uapi.WRITE else got[_DATA][: got[_LEN]]
            self.made = self.make(request, payload)
        return self.made


class Quick:
    """Answers calls.

    :param make_task: makes the task of a call.
    :param fail: see `Fail`.
    """

    def __init__(
        self,
        control: Control,
        dispatch: Dispatcher,
        lock: threading.RLock,
        files: Files,
        waits: Waits,
        make_task: MakeTask,
        fail: Fail,
    ) -> None:
        self._control = control
        self._dispatch = dispatch
        self._lock = lock
        self._files = files
        self._waits = waits
        self._make_task = make_task
        self._following = control.next
        self._slot, self._slot_size = control.reply_slot, control.slot_size
        self._first_slot, self._busy = control.first_reply, control.busy
        self._operations = {
            uapi.READ: self._read, uapi.WRITE: self._write, uapi.IOCTL: self._ioctl,
        }  # fmt: skip
        self._fail = fail

    def serve(self) -> Request | None:
        """Answer calls until something else comes; return that, or None: it was kicked.

        The context of the last call stays that of the thread until then: what else runs here has
        its own.
        """
        token = enter(Context(self._dispatch.machine))
        try:
            return self._serve()
        finally:
            reset(token)

    def _serve(self) -> Request | None:
        new, machine, make_task = object.__new__, self._dispatch.machine, self._make_task
        control, waits, following = self._control, self._waits, self._following
        fd, unpack, files = control.fd, _GOT.unpack_from, self._files.by_id
        acquire, release = self._lock.acquire, self._lock.release
        ioctl, next_command = uapi.ioctl, uapi.IOC_NEXT
        operations = self._operations if self._dispatch.trace is None else {}
        while True:
            control.noted = False
            try:
                ioctl(fd, next_command, following)
                got = unpack(following, _GOT_AT)
                operation, open_file = operations[got[_OP]], files[got[_FILE]]
            except InterruptedError:
                continue
            except KeyError:
                return control.fetched()
            if got[_ERROR]:
                return control.fetched()
            acquire()
            try:
                call = new(Call)
                call.machine = machine
                call.make = make_task
                call.made = None
                call.got = got
                call.owner = open_file.driver
                enter(call)
                open_file.file.f_flags = got[_F_FLAGS]
                waits.current = got[_ID]
                try:
                    if not operation(call, got, open_file):
                        return control.fetched()
                except Exception as error:
                    self._failed(call, open_file, error)
                finally:
                    waits.current = 0
                while waits.busy:
                    waits.tend()
            finally:
                release()

    def _failed(self, call: Call, open_file: OpenFile, error: Exception) -> None:
        task = call.task
        name, (first, second) = _NAMES[task.request.op], task.request.arg[:2]
        args = open_file.file, task.payload if name == "write" else first, second
        failure = self._dispatch.failure(error, open_file.device, name, args)
        self._fail(task.request, task, failure)

    def _read(self, call: Call, got: Got, open_file: OpenFile) -> bool:
        count, pos, file = got[_ARG0], got[_ARG1], open_file.file
        data: Any = open_file.driver.read(file, count, pos)
        try:
            length = len(data)
            if uapi.INLINE < length <= count and length <= self._slot_size and not self._busy[0]:
                self._slot[:length] = data  # ValueError, unless they are bytes
                _RESULT.pack_into(self._following, _REPLY_AT, got[_ID], 0, uapi.REPLY_POS, length,
                                  0, pos + length, length, self._first_slot)  # fmt: skip
                self._control.noted = True
                return True
        except (TypeError, ValueError):
            pass  # whatever it is
        device = open_file.device
        if type(data) is CoroutineType:
            raise self._dispatch.begin(data, device, "read", (file, count, pos), call)
        data = memoryview(self._dispatch.checked_read(device, data, count)).cast("B")
        length, end = len(data), pos + len(data)
        if not self._control.answer(got[_ID], length, data, uapi.REPLY_POS, 0, end):
            call.task.write(got[_ARG2], data)
            self._control.answer(got[_ID], length, b"", uapi.REPLY_POS, 0, end)
        return True

    def _write(self, call: Call, got: Got, open_file: OpenFile) -> bool:
        size, pos, file = got[_ARG0], got[_ARG1], open_file.file
        if got[_LEN] != size:
            return False
        data = call.data = self._control.payload(got[_SLOT], size)
        taken: Any = open_file.driver.write(file, data, pos)
        if type(taken) is not int or not 0 <= taken <= size:
            if type(taken) is CoroutineType:
                args = file, data, pos
                raise self._dispatch.begin(taken, open_file.device, "write", args, call)
            taken = self._dispatch.checked_write(open_file.device, taken, size)
        _RESULT.pack_into(self._following, _REPLY_AT, got[_ID], 0, uapi.REPLY_POS, taken, 0,
                          pos + taken, 0, uapi.NO_SLOT)  # fmt: skip
        self._control.noted = True
        return True

    def _ioctl(self, call: Call, got: Got, open_file: OpenFile) -> bool:
        if got[_LEN] > uapi.INLINE:
            return False
        cmd, arg, driver = got[_ARG0], got[_ARG1], open_file.driver
        command = open_file.commands.get(cmd)
        result: Any
        if command is None:
            result = driver.ioctl(open_file.file, cmd, arg)
        elif command.type is None:
            result = getattr(driver, command.method)(open_file.file, arg)
        else:
            return self._exchange(call, got, open_file, command, command.type)
        if type(result) is not int or not 0 <= result <= _INT_MAX:
            if type(result) is CoroutineType:
                args = open_file.file, cmd, arg
                raise self._dispatch.begin(result, open_file.device, "ioctl", args, call)
            result = self._dispatch.checked_ioctl(open_file.device, result)
        if call.made is None:
            _RESULT.pack_into(self._following, _REPLY_AT, got[_ID], 0, 0, result, 0, 0, 0,
                              uapi.NO_SLOT)  # fmt: skip
            self._control.noted = True
        else:
            self._files.answer_ioctl(call.made, result)
        return True

    def _exchange(
        self, call: Call, got: Got, open_file: OpenFile, command: Command, structure: type[Any]
    ) -> bool:
        """Carry out an ioctl whose argument points to a structure."""
        arg, file, device, flags = got[_ARG1], open_file.file, open_file.device, got[_FLAGS]
        if command.copy_out and not (flags & uapi.ARG_WRITABLE and command.is_short):
            return False
        if not command.copy_in:
            value = structure()
        elif flags & uapi.ARG_COPIED and got[_LEN] >= command.size:
            value = command.copy(got[_DATA])
        else:
            return False
        result = getattr(device.driver, command.method)(file, value)
        if type(result) is CoroutineType:
            result, args = command.later(result, arg, value), (file, got[_ARG0], arg)
            raise self._dispatch.begin(result, device, "ioctl", args, call)
        data = command.dump(value)[0] if command.copy_out else b""
        if call.made is not None:
            if command.copy_out:
                copy_to_user(arg, data)
            result = self._dispatch.checked_ioctl(device, result)
            self._files.answer_ioctl(call.made, result)
            return True
        result = 0 if result is None else self._dispatch.checked_ioctl(device, result)
        _WITH_DATA.pack_into(self._following, _REPLY_AT, got[_ID], 0, 0, result, arg, 0, len(data),
                             uapi.NO_SLOT, data)  # fmt: skip
        self._control.noted = True
        return True
