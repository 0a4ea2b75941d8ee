"""`Recorder` notes what happens on a host while somebody watches it: operations, areas, memory.

It keeps the last 10,000 events; each is a tuple of plain values, see `EVENTS`. While nobody watches
there is no recorder, and no code asks whether there is one: `Recorder.attach` replaces functions of
the host's objects by functions that note what the first ones did, and `detach` takes those away.

Both run under the host's lock, and so does what they put in place, but for the vocabulary's
functions in kernel threads. Reading (`since`) needs no lock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from mapdev.driver import Driver
from mapdev.host.core.call import Call
from mapdev.host.core.device import Device
from mapdev.host.core.memory_events import MemoryEvents
from mapdev.host.core.snapshot import area_of, comm_of, device_of
from mapdev.host.core.trace import brief_arguments, brief_value
from mapdev.host.core.vocabulary import Calls, Made, made
from mapdev.host.core.waiting import WouldWait
from mapdev.linux.mm import TaskStruct
from mapdev.linux.vma import VmAreaStruct, VmFault

if TYPE_CHECKING:
    from mapdev.host.core.host import Host

__all__ = ["EVENTS", "KEPT", "Event", "Recorder"]

KEPT = 10_000
_IOCTL = "ioctl"  # how an ioctl is kept until somebody reads it, see `Recorder._calls`
_REMEMBERED = 1_000_000_000  # ns in which no other process gets the number of a thread
Event = tuple[Any, ...]

EVENTS = {
    "call": ("node", "operation", "arguments", "result", "seconds", "area", "calls"),
    "areas": ("comm", "verb", "gone", "new"),
    "pages": ("node", "verb", "vm_start", "runs"),
    "alloc": ("allocation",),
    "free": ("addr",),
    "device": ("device",),
}
"""The fields of each kind of event, after number, time (ns since the epoch), kind, process (or 0).

- call: an operation of a driver. `area` is (vm_start, vm_end, vm_pgoff, vm_flags, vm_page_prot) of
  the area that it was given, or None; `calls` are those of kernel functions, see `vocabulary`.
- areas: the process's areas changed, by `verb` (mmap, split, munmap, mprotect, merge, mremap, fork,
  exit): those that began at the addresses `gone` are no more, those in `new` are, as `area_of`
  describes them.
- pages: a fault has mapped `runs` into the area at `vm_start`, or zap has emptied it.
- alloc, free: memory of a driver, as `allocation_of` describes it.
- device: there is one more, as `device_of` describes it.
"""


class Recorder:
    """Notes events of `host` from `attach` to `detach`.

    :param host: what is watched.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._events: deque[Event] = deque(maxlen=KEPT)
        self.calls = Calls()
        self._number = count(1).__next__
        self._clock = time.time_ns() - time.monotonic_ns()
        self._processes: dict[int, int] = {}  # of threads, for a moment: to find it out takes long
        self._found_out = 0
        self._commands: dict[tuple[Device, int], str] = {}  # names of ioctls
        self._replaced: list[tuple[Any, str]] = []
        self._known: dict[int, dict[int, tuple[Any, ...]]] = {}

    @property
    def last(self) -> int:
        """The number of the last event; 0 before the first."""
        return self._events[-1][0] if self._events else 0

    def since(self, number: int) -> list[Event]:
        """Return the events that are kept and come after event `number`; from any thread."""
        while True:
            try:
                newer: list[Event] = []
                for event in reversed(self._events):
                    if event[0] <= number:
                        break
                    newer.append(self._written_out(event) if event[2] is _IOCTL else event)
            except RuntimeError:  # one more came meanwhile
                continue
            return newer[::-1]

    def note(self, kind: str, pid: int, *rest: Any) -> None:
        """Keep an event of now."""
        self._events.append((self._number(), time.time_ns(), kind, pid, *rest))

    # --- beginning and end ------------------------------------------------------------------

    def attach(self) -> None:
        """Begin; the host's lock is held."""
        host, operations = self.host, self.host.operations
        self.calls.install(device.driver for device in host.devices)
        self.replace(host, "run_for", self._run_for)
        self.replace(host, "appear", self._appear)
        self.replace(operations, "run", self._run)
        self._put(operations, "_run", self._calls(operations._run))
        self.replace(operations, "fault", self._fault)
        MemoryEvents(self.host, self.note).install(self.replace)
        for pid, _, vma in host.mapped_areas():
            self._known.setdefault(pid, {})[vma.vm_start] = _state(vma)
        host.watch_areas(self)

    def detach(self) -> None:
        """End, and leave the host as it was; the host's lock is held."""
        self.host.unwatch_areas()
        for thing, name in self._replaced:
            delattr(thing, name)
        self._replaced.clear()
        self.calls.remove()

    def replace(self, thing: Any, name: str, by: Callable[..., Any]) -> None:
        """Have `by` called in place of a method, with the method as its first argument."""
        method = getattr(thing, name)

        def instead(*args: Any, **options: Any) -> Any:
            return by(method, *args, **options)

        self._put(thing, name, instead)

    def _put(self, thing: Any, name: str, instead: Callable[..., Any]) -> None:
        setattr(thing, name, instead)
        self._replaced.append((thing, name))

    # --- operations -------------------------------------------------------------------------

    def _run_for(self, method: Callable[..., Any], driver: Driver, function: Any, *args: Any,
                 **params: Any) -> Any:  # fmt: skip
        name = getattr(function, "__name__", str(function))
        self.calls.install([driver])
        shown = ", ".join([*map(str, args), *(f"{key}={value}" for key, value in params.items())])
        result: Any = None
        token = self.calls.begin()
        began = time.perf_counter()
        try:
            result = method(driver, function, *args, **params)
        except Exception as error:
            result = error
            raise
        finally:
            seconds = time.perf_counter() - began
            made = self.calls.end(token)
            self.note("call", 0, driver.name, name, shown, brief_value(result), seconds, None,
                      made)  # fmt: skip
        return result

    def _appear(self, method: Callable[..., None], device: Device, *rest: Any) -> None:
        method(device, *rest)
        self.note("device", 0, device_of(device))

    def _run(
        self, method: Callable[..., Any], device: Device, task: TaskStruct | None, operation: str,
        function: Callable[..., Any], *args: Any, errnos: bool = True,
    ) -> Any:  # fmt: skip
        result: Any = None
        token = self.calls.begin()
        began = time.perf_counter()
        try:
            result = method(device, task, operation, function, *args, errnos=errnos)
        except OSError as error:
            result = error
            raise
        finally:
            seconds = time.perf_counter() - began
            self._note_call(device, task, operation, args, result, seconds, self.calls.end(token))
        return result

    def _calls(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return what runs operations of programs, in place of `method`.

        It adds little to the shortest operation there is, an ioctl with a number: numbers and
        names are kept of it, until somebody reads the event (`_written_out`). Python's collector of
        garbage does not look at tuples of those.
        """
        begin, end, now = made.set, made.reset, time.monotonic_ns
        commands = self._commands
        keep, next_number, process_of = self._events.append, self._number, self._process_of_thread

        def run(call: Call, operation: str, again: Any, function: Any, *args: Any) -> Any:
            kept = Made()
            token = begin(kept)
            began = now()
            try:
                result = method(call, operation, again, function, *args)
            except BaseException as error:
                failed = error if isinstance(error, OSError) else None
                self._note_call(call.file.device, call.task, operation, args, failed,
                                (now() - began) / 1e9, kept.all())  # fmt: skip
                raise
            finally:
                end(token)
            ended = now()
            if operation == "ioctl" and (result is None or type(result) is int):
                _, command, arg = args
                if type(arg) is int:
                    process = process_of(call.tid, ended)
                    if process is None:
                        process = self._found(call.task)  # which takes long to make
                    device = call.file.device
                    name = commands.get((device, command)) or self._command(device, args)
                    made_calls = () if kept.calls is None else kept.all()
                    keep((next_number(), ended, _IOCTL, process, device.node, name, arg, result,
                          began, made_calls))  # fmt: skip
                    return result
            self._note_call(call.file.device, call.task, operation, args, result,
                            (ended - began) / 1e9, kept.all())  # fmt: skip
            return result

        return run

    def _written_out(self, event: Event) -> Event:
        number, ended, _, process, node, name, arg, result, began, calls = event
        return (
            number, ended + self._clock, "call", process, node, "ioctl",
            f"{name}, {brief_value(arg)}", brief_value(result), (ended - began) / 1e9, None, calls,
        )  # fmt: skip

    def _note_call(
        self, device: Device, task: TaskStruct | None, operation: str, args: tuple[Any, ...],
        result: Any, seconds: float, made: Any,
    ) -> None:  # fmt: skip
        vma = args[-1] if operation == "mmap" else args[0] if args else None
        if isinstance(vma, VmFault):
            vma = vma.vma
        process = 0 if task is None else self._process_of(task)
        self.note(
            "call", process, device.node, operation,
            self._arguments(device, operation, args),
            "waits" if isinstance(result, WouldWait) else brief_value(result), seconds,
            (vma.vm_start, vma.vm_end, vma.vm_pgoff, vma.vm_flags, vma.vm_page_prot)
            if isinstance(vma, VmAreaStruct) else None,
            made,
        )  # fmt: skip

    def _arguments(self, device: Device, operation: str, args: tuple[Any, ...]) -> str:
        if operation != "ioctl":
            return brief_arguments(device, operation, args)
        name = self._commands.get((device, args[1])) or self._command(device, args)
        return f"{name}, {brief_value(args[2])}"

    def _command(self, device: Device, args: tuple[Any, ...]) -> str:
        """Name an ioctl, the most frequent operation of all: names are looked up once."""
        name, _, _ = brief_arguments(device, "ioctl", args).rpartition(", ")
        self._commands[device, args[1]] = name
        return name

    def _process_of(self, task: TaskStruct) -> int:
        found = self._process_of_thread(task.pid, time.monotonic_ns())
        return self._found(task) if found is None else found

    def _process_of_thread(self, tid: int, now: int) -> int | None:
        if now - self._found_out > _REMEMBERED:
            self._processes.clear()
            self._found_out = now
        return self._processes.get(tid)

    def _found(self, task: TaskStruct) -> int:
        process = self._processes[task.pid] = task.tgid
        return process

    def _fault(
        self, method: Callable[..., Any], device: Device, task: TaskStruct, operation: str,
        function: Any, vmf: VmFault, *args: Any,
    ) -> int:  # fmt: skip
        before = len(_fresh(vmf.vma))
        answer: int = method(device, task, operation, function, vmf, *args)
        runs = _fresh(vmf.vma)[before:]
        if runs:
            shown = [[run.addr, run.pfn, run.nr_pages, run.kind] for run in runs]
            self.note("pages", task.tgid, device.node, "fault", vmf.vma.vm_start, shown)
            areas = self._known.setdefault(task.tgid, {})
            areas[vmf.vma.vm_start] = _state(vmf.vma)
        return answer

    # --- areas ------------------------------------------------------------------------------

    def areas_changed(self, pid: int, verb: str, areas: Sequence[tuple[str, VmAreaStruct]]) -> None:
        """Compare the areas of process `pid`, with their nodes, to what was last known of them."""
        known = self._known.get(pid, {})
        now = {vma.vm_start: _state(vma) for _, vma in areas}
        gone = [start for start, state in known.items() if now.get(start) != state]
        new = [area_of(node, vma) for node, vma in areas
               if known.get(vma.vm_start) != now[vma.vm_start]]  # fmt: skip
        if gone or new:
            self._known[pid] = now
            self.note("areas", pid, comm_of(pid), verb, gone, new)
        if not now:
            self._known.pop(pid, None)


def _fresh(vma: VmAreaStruct) -> list[Any]:
    """Return the runs that a fault has brought so far."""
    fresh = getattr(vma, "fresh", None)
    return vma.mapped if fresh is None else fresh


def _state(vma: VmAreaStruct) -> tuple[Any, ...]:
    """Return all of an area that a watcher sees, to tell whether it has changed."""
    return vma.vm_end, vma.vm_pgoff, vma.vm_flags, tuple(vma._starts), tuple(vma._ends)
