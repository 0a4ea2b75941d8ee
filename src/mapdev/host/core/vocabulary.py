"""Notes which kernel functions drivers call, with arguments and results, while somebody watches.

A driver has the functions of `mapdev.linux` under names in its module. `Calls.install` puts others
in their place there, which note the call and make it; `remove` puts the first ones back. So there
is no cost while nobody watches. A call that one function of the vocabulary makes of another is not
noted, as C would not show it either. Fidelity: nor is one by a name that is in no module, such as a
default value of a parameter.

State: what was replaced is kept here for all hosts of the process, with those who watch. `_lock` is
held while functions are replaced; to note a call needs none.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from functools import wraps
from types import FunctionType
from typing import Any

import mapdev.linux
from mapdev.driver import Driver
from mapdev.linux.fs import File, Inode
from mapdev.linux.mm import MmStruct, TaskStruct
from mapdev.linux.page import Page
from mapdev.linux.vma import VmAreaStruct, VmFault

__all__ = ["MOST_CALLS", "Calls", "Made", "made"]

MOST_CALLS = 64  # that are kept of one operation; one that maps a page at a time makes thousands

_LEFT_OUT = ("numbers", "ioctl_numbers", "context", "log")  # macros, and what is not the kernel's
_NO_CALLS = {"memory", "vma_pages", "is_cow_mapping", "vm_get_page_prot"}
_Call = tuple[str, tuple[Any, ...], Any]


class Made:
    """The calls that one operation has made: the first `MOST_CALLS`, and how many in all."""

    calls: list[_Call] | None = None  # one is made for each operation: nothing is done for most
    count = 0

    def add(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Keep a call."""
        if self.calls is None:
            self.calls = []
        self.calls.append((name, arguments, result))

    def all(self) -> tuple[Any, ...]:
        """Return the calls: (name, arguments, result); last how many are left out, if any are."""
        if self.calls is None:
            return ()
        left_out = self.count - len(self.calls)
        return (*self.calls, left_out) if left_out > 0 else tuple(self.calls)


made: ContextVar[Made | None] = ContextVar("mapdev.made", default=None)
"""Where the calls of the operation that runs are kept."""
_lock = threading.Lock()
_watchers: set[object] = set()
_noting: dict[int, Callable[..., Any]] = {}  # by the identity of the function that each stands for
_noted: dict[int, Callable[..., Any]] = {}  # the other way
_of_drivers: dict[int, dict[str, Any]] = {}  # where drivers look up names, modules or not


def _functions() -> dict[int, Callable[..., Any]]:
    """Return what stands for each function of the vocabulary."""
    if not _noting:
        for name in mapdev.linux.__all__:
            function = getattr(mapdev.linux, name)
            if type(function) is FunctionType and name not in _NO_CALLS:
                module = function.__module__.removeprefix("mapdev.linux.")
                if module not in _LEFT_OUT:
                    noter = _noting[id(function)] = _noter(name, function)
                    _noted[id(noter)] = function
    return _noting


def _noter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    code = function.__code__ if isinstance(function, FunctionType) else None
    names = code.co_varnames[: code.co_argcount] if code is not None else ()

    @wraps(function)
    def noted(*args: Any, **options: Any) -> Any:
        kept = made.get()
        if kept is None:
            return function(*args, **options)
        kept.count += 1
        if kept.count > MOST_CALLS:
            return function(*args, **options)
        given = [*args, *(options[name] for name in names[len(args) :] if name in options)]
        shown = tuple(map(_shown, given))
        try:
            result = function(*args, **options)
        except OSError as error:
            kept.add(name, shown, -(error.errno or 0))
            raise
        kept.add(name, shown, _shown(result))
        return result

    return noted


def _shown(value: Any) -> Any:
    """Return what an event keeps of an argument: nothing that changes, and no driver's object."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if kind is Page:
        return ["page", value.pfn]
    if isinstance(value, VmAreaStruct):
        return ["vma", value.vm_start]
    if kind is VmFault:
        return ["vmf", value.address]
    for other, name in (File, "filp"), (Inode, "inode"), (TaskStruct, "current"), (MmStruct, "mm"):
        if isinstance(value, other):
            return [name, None]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return ["bytes", len(value)]
    return [kind.__name__, None]


class Calls:
    """One watcher's interest in the calls of drivers."""

    def install(self, drivers: Iterable[Driver]) -> None:
        """Begin to note calls from all modules that are loaded now, and those of `drivers`."""
        with _lock:
            _watchers.add(self)
            for driver in drivers:
                _of_drivers.update((id(space), space) for space in _of_driver(driver))
            _replace(_functions())

    def remove(self) -> None:
        """Note no more; the last watcher puts all functions back."""
        with _lock:
            _watchers.discard(self)
            if not _watchers:
                _replace(_noted)  # also where a module was loaded meanwhile
                _of_drivers.clear()

    def begin(self) -> Token[Made | None]:
        """An operation begins; give what is returned to `end`."""
        return made.set(Made())

    def end(self, token: Token[Made | None]) -> tuple[Any, ...]:
        """The operation has ended; return its calls: (name, arguments, result), and the rest.

        If there were too many, the last entry is how many are left out.
        """
        kept = made.get()
        made.reset(token)
        return () if kept is None else kept.all()


def _replace(others: dict[int, Callable[..., Any]]) -> None:
    """Put in each module's place of a function the other one that `others` has for it."""
    spaces = dict(_of_drivers)
    for name, module in list(sys.modules.items()):
        inside = name.startswith(("mapdev.linux.", "mapdev.host."))
        if not inside and module is not None and hasattr(module, "__dict__"):
            spaces[id(module.__dict__)] = module.__dict__
    for space in spaces.values():
        for name, value in list(space.items()):
            if type(value) is FunctionType and id(value) in others:
                space[name] = others[id(value)]


def _of_driver(driver: Driver) -> Iterable[dict[str, Any]]:
    """Yield where the methods of `driver` look up names: a file's module may not be known."""
    for cls in type(driver).__mro__:
        for function in vars(cls).values():
            if isinstance(function, FunctionType):
                yield function.__globals__
