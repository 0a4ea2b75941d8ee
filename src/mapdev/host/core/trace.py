"""`TracedOperations` reports each call of a driver's method, with its arguments and result.

`mapdev run --verbose` prints these reports. An operation that waits is reported once, when it ends;
poll only when its answer differs from the last one.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any

from mapdev.driver import command_of
from mapdev.host.core.call import Begun, Call
from mapdev.host.core.device import Device
from mapdev.host.core.files import OpenFile
from mapdev.host.core.machine import HostMachine
from mapdev.host.core.operations import Operations
from mapdev.host.core.waiting import WouldWait
from mapdev.linux import vma
from mapdev.linux.fs import File, Inode
from mapdev.linux.ioctl_numbers import _IOC_DIR, _IOC_NR, _IOC_SIZE, _IOC_TYPE
from mapdev.linux.mm import TaskStruct
from mapdev.linux.vma import VmAreaStruct, VmFault

__all__ = ["Trace", "TracedOperations", "brief_arguments", "brief_value", "make_operations"]

Trace = Callable[[Device, str, str, str, float], None]
"""Called with device, operation, arguments, result and seconds of each operation."""


def make_operations(machine: HostMachine, trace: Trace | None) -> Operations:
    """Return operations that are traced if `trace` is given."""
    return Operations(machine) if trace is None else TracedOperations(machine, trace)


class TracedOperations(Operations):
    """Runs operations and reports each to `trace`."""

    def __init__(self, machine: HostMachine, trace: Trace) -> None:
        super().__init__(machine)
        self._trace = trace

    def poll(self, of: OpenFile) -> int:
        """Run the poll operation; report it if the answer is another than the last one."""
        mask = super().poll(of)
        if mask != of.mask:
            self._trace(of.device, "poll", "", brief_value(mask), 0.0)
        return mask

    def run(
        self,
        device: Device,
        task: TaskStruct | None,
        operation: str,
        method: Callable[..., Any],
        *args: Any,
        errnos: bool = True,
    ) -> Any:
        """Call `method`, and report it."""
        began = time.perf_counter()
        result: Any = None
        try:
            result = super().run(device, task, operation, method, *args, errnos=errnos)
        except OSError as error:
            result = error
            raise
        finally:
            seconds = time.perf_counter() - began
            shown = brief_arguments(device, operation, args)
            self._trace(device, operation, shown, _answer(operation, result), seconds)
        return result

    def _run(
        self, call: Call, operation: str, again: Callable[[], Any], method: Callable[..., Any],
        *args: Any,
    ) -> Any:  # fmt: skip
        begun: Begun | None = getattr(call, "begun", None)
        began = time.perf_counter() if begun is None else begun[2]
        call.begun = None
        result: Any = None
        try:
            result = super()._run(call, operation, again, method, *args)
        except OSError as error:
            result = error
            raise
        finally:
            if isinstance(result, WouldWait):
                call.begun = operation, brief_arguments(call.file.device, operation, args), began
            else:
                seconds = time.perf_counter() - began
                shown = brief_arguments(call.file.device, operation, args)
                self._trace(call.file.device, operation, shown, brief_value(result), seconds)
        return result

    def interrupted(self, call: Call) -> None:
        """Report that a signal ended a call that waited."""
        if call.begun is not None:
            operation, arguments, began = call.begun
            seconds = time.perf_counter() - began
            result = "? ERESTARTSYS (a signal came)"
            self._trace(call.file.device, operation, arguments, result, seconds)


def brief_arguments(device: Device, operation: str, args: tuple[Any, ...]) -> str:
    """Show the arguments of an operation on one line."""
    shown = [brief_value(argument) for argument in args if not isinstance(argument, File | Inode)]
    if operation == "ioctl":
        shown[0] = _command(device, args[1])
    elif operation.startswith("vm_"):
        shown = [_fault(argument) if isinstance(argument, VmFault) else of
                 for argument, of in zip(args, shown, strict=False)]  # fmt: skip
    return ", ".join(shown)


def _fault(vmf: VmFault) -> str:
    """Show what was touched, and how."""
    return f"{vmf.address:#x}, page {vmf.pgoff:#x}, {_bits(vmf.flags, _FLAGS)}"


def _answer(operation: str, result: object) -> str:
    """Show a result: those of faults by the names of their bits, none where none is told."""
    if operation in _FAULTS and isinstance(result, OSError):
        out_of_memory = result.errno == errno.ENOMEM
        return "VM_FAULT_OOM" if out_of_memory else f"VM_FAULT_SIGBUS ({result.strerror})"
    if operation in _FAULTS and isinstance(result, int) and result > 0:
        return _bits(result, _ANSWERS)
    if operation in _UNTOLD and isinstance(result, OSError):
        return f"failed ({result.strerror}), which no program is told"
    return brief_value(result)


def _names(prefix: str) -> dict[int, str]:
    return {
        value: name for name, value in vars(vma).items()
        if name.startswith(prefix) and value & value - 1 == 0
    }  # fmt: skip


_FLAGS, _ANSWERS = _names("FAULT_FLAG_"), _names("VM_FAULT_")
_FAULTS = ("vm_fault", "vm_map_pages", "vm_page_mkwrite", "vm_pfn_mkwrite")
_UNTOLD = ("release", "vm_open", "vm_close")


def _bits(value: int, names: dict[int, str]) -> str:
    known = [name for bit, name in names.items() if value & bit]
    rest = value & ~sum(names)
    return "|".join([*known, *([f"{rest:#x}"] if rest or not known else [])])


def _command(device: Device, number: int) -> str:
    """Name an ioctl command: by the method that carries it out, else as C would make it."""
    command = command_of(device.driver, number)
    return _as_in_c(number) if command is None else command.method


def _as_in_c(number: int) -> str:
    """Write the number of an ioctl command as ``_IOR('V', 0, 104)``, if it has such a form."""
    kind, size, direction = chr(_IOC_TYPE(number)), _IOC_SIZE(number), _IOC_DIR(number)
    if not (kind.isascii() and kind.isprintable()) or bool(size) != bool(direction):
        return f"{number:#x}"
    macro = ("_IO", "_IOW", "_IOR", "_IOWR")[direction]
    return f"{macro}({kind!r}, {_IOC_NR(number)}{f', {size}' if size else ''})"


def brief_value(value: object) -> str:
    """Show an argument or a result on one line, as strace would."""
    if type(value) is int:
        return str(value) if -1 <= value < 4096 else f"{value:#x}"
    if isinstance(value, OSError):
        return f"-1 {errno.errorcode.get(value.errno or 0, value.errno)} ({value.strerror})"
    if isinstance(value, bytes | bytearray | memoryview):
        head = bytes(value[:32])
        return f"{head!r}{'...' if len(value) > 32 else ''} ({len(value)} bytes)"
    if isinstance(value, bool) or value is None:
        return "0" if value is None else str(int(value))
    if isinstance(value, int):
        return str(value) if -1 <= value < 4096 else f"{value:#x}"
    return str(value) if isinstance(value, VmAreaStruct | VmFault) else type(value).__name__
