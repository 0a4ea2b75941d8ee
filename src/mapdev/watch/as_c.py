"""Writes the calls that an operation made of kernel functions as the C that would do the same.

An argument that is a field of the operation's area is written as that field; the values it had are
in a comment. Calls that repeat, as when pages are mapped one by one, are written once.
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import mapdev.linux
from mapdev.host.core.snapshot import vm_flags
from mapdev.linux import gfp as gfp_module
from mapdev.linux import numbers
from mapdev.linux.mapping import CACHE_MASK, CACHE_UNCACHED, CACHE_WRITECOMBINE
from mapdev.linux.numbers import PAGE_SIZE

__all__ = ["Line", "as_c", "lines"]

_Area = Sequence[int] | None  # vm_start, vm_end, vm_pgoff, vm_flags, vm_page_prot
_Call = Sequence[Any]  # name, arguments, result
_LONGEST_CYCLE = 3  # calls that repeat together
_OFTEN = 3

# Where C passes what Python gives back, or has as the length of a list.
_ARGUMENTS = {
    "copy_from_user": "buf, (void __user *){0}, {1}",
    "copy_to_user": "(void __user *){0}, buf, {1}",
    "vm_insert_pages": "vma, {1}, pages, &num",
    "vm_map_pages": "vma, pages, num",
    "wait_event_interruptible": "wq, condition",
    "poll_wait": "filp, wq, wait",
    "anon_inode_getfd": "name, &fops, priv, {3}",
    "kthread_run": "threadfn, data, name",
}
_RESULTS = {
    "alloc_page": "page", "alloc_pages": "page", "virt_to_page": "page", "pfn_to_page": "page",
    "vmalloc_to_page": "page", "vmalloc_to_pfn": "pfn", "page_to_pfn": "pfn",
    "virt_to_phys": "phys", "page_to_phys": "phys", "page_address": "addr",
    "kmalloc": "addr", "kzalloc": "addr", "vmalloc": "addr", "vzalloc": "addr",
    "vmalloc_user": "addr", "vmalloc_32_user": "addr", "__get_free_pages": "addr",
    "get_zeroed_page": "addr", "dma_alloc_coherent": "cpu_addr", "copy_from_user": "left",
}  # fmt: skip


class Line(NamedTuple):
    """One call in C.

    :ivar code: the statement.
    :ivar values: the values behind it, "" if it needs none.
    :ivar times: how often it was made, together with those around it that have the same number.
    """

    code: str
    values: str
    times: int = 1

    def __str__(self) -> str:
        """Return the statement with its values in a comment."""
        times = f"{self.times} times; " if self.times > 1 else ""
        comment = f"{times}{self.values}".rstrip("; ")
        return f"{self.code}  /* {comment} */" if comment else self.code


def lines(calls: Sequence[Any], area: _Area) -> list[Line]:
    """Write the calls of a "call" event as C; repetitions are joined."""
    left_out = calls[-1] if calls and isinstance(calls[-1], int) else 0
    made: list[_Call] = [call for call in calls if not isinstance(call, int)]
    found: list[Line] = []
    at = 0
    while at < len(made):
        period, times = _cycle(made, at)
        reaches_end = at + period * times >= len(made) - period
        extra = left_out // period if left_out and times > 1 and reaches_end else 0
        for call in made[at : at + period]:
            found.append(as_c(call, area, times > 1)._replace(times=times + extra))
        at += period * times
        if extra:
            left_out = 0
            break
    if left_out:
        found.append(Line(f"/* and {left_out} more calls */", ""))
    return found


def _cycle(calls: list[_Call], at: int) -> tuple[int, int]:
    """Return how many calls from `at` on repeat together, and how often they are made."""
    names = [call[0] for call in calls]
    for period in range(1, _LONGEST_CYCLE + 1):
        pattern = names[at : at + period]
        times = 1
        while names[at + period * times : at + period * (times + 1)] == pattern:
            times += 1
        if times >= _OFTEN:
            return period, times
    return 1, 1


def as_c(call: _Call, area: _Area, is_repeated: bool = False) -> Line:
    """Write one call as C.

    :param call: name, arguments and result, as in a "call" event.
    :param area: (vm_start, vm_end, vm_pgoff, vm_flags, vm_page_prot) of its operation, or None.
    :param is_repeated: its address is another one each time.
    """
    name, arguments, result = call
    names = _parameters(name)
    if name.startswith("vm_flags_"):
        names = tuple("vm_flags" if one == "flags" else one for one in names)
    written, values = [], []
    for index, value in enumerate(arguments):
        parameter = names[index] if index < len(names) else f"arg{index}"
        code, shown = _argument(parameter, value, area)
        if is_repeated and code.startswith("vma->vm_start"):
            code = parameter
        written.append(code)
        values += [shown] if shown else []
    template = _ARGUMENTS.get(name)
    if template is not None:
        padded = written + [f"arg{index}" for index in range(len(written), 6)]
        inside = template.format(*padded)
    else:
        inside = ", ".join(written)
    left = _RESULTS.get(name)
    failed = isinstance(result, int) and -4096 < result < 0
    if failed:
        values.append(f"= -{errno.errorcode.get(-result, -result)}")
    elif left is not None and result is not None:
        values.append(f"{left} = {_value(result)}")
    elif result is not None:
        values.append(f"= {_value(result)}")
    return Line(f"{f'{left} = ' if left else ''}{name}({inside});", ", ".join(values))


@cache
def _parameters(name: str) -> tuple[str, ...]:
    function = getattr(mapdev.linux, name, None)
    return () if function is None else tuple(inspect.signature(function).parameters)


def _argument(parameter: str, value: Any, area: _Area) -> tuple[str, str]:
    """Return an argument in C, and its value where that does not say it."""
    if isinstance(value, list):
        kind, what = value
        if kind == "vma" or what is None:
            return kind, ""
        return kind, f"{_STRUCTURES.get(kind, kind)}={what:#x}"
    if not isinstance(value, int):
        return parameter, "" if value is None else f"{parameter}={value!r}"
    if parameter == "vm_flags":
        return " | ".join(vm_flags(value)) or f"{value:#x}", ""
    if parameter in ("gfp", "flags", "gfp_mask") and value:
        return _gfp(value), ""
    if area is not None:
        code = _field(parameter, value, area)
        if code:
            return code, "" if "prot" in parameter else f"{parameter}={_number(value)}"
    if parameter in ("size", "length") and value == PAGE_SIZE:
        return "PAGE_SIZE", ""
    return parameter, f"{parameter}={_number(value)}"


_STRUCTURES = {"page": "pfn", "vmf": "vmf->address", "bytes": "length"}


def _field(parameter: str, value: int, area: Sequence[int]) -> str:
    start, end, pgoff, _, prot = area
    if parameter == "prot":
        if value == prot:
            return "vma->vm_page_prot"
        if value & ~CACHE_MASK == prot & ~CACHE_MASK:
            how = {CACHE_UNCACHED: "noncached", CACHE_WRITECOMBINE: "writecombine"}
            return f"pgprot_{how.get(value & CACHE_MASK, 'cached')}(vma->vm_page_prot)"
    elif parameter == "addr" and start <= value < end:
        offset = value - start
        return f"vma->vm_start + {offset:#x}" if offset else "vma->vm_start"
    elif parameter in ("size", "length") and value == end - start != PAGE_SIZE:
        return "vma->vm_end - vma->vm_start"
    elif parameter == "pgoff" and value == pgoff:
        return "vma->vm_pgoff"
    return ""


@cache
def _gfp_names() -> list[tuple[int, str]]:
    module = {**vars(numbers), **vars(gfp_module)}
    found = [(value, name) for name, value in module.items()
             if name.startswith(("GFP_", "__GFP_")) and isinstance(value, int) and value
             and name not in ("GFP_ZERO", "GFP_COMP")]  # fmt: skip
    return sorted(found, key=lambda pair: (-pair[0].bit_count(), pair[1]))


def _gfp(value: int) -> str:
    """Spell out allocation flags with the fewest names: ``GFP_KERNEL | __GFP_ZERO``."""
    words, left = [], value
    for bits, name in _gfp_names():
        if left & bits == bits:
            words.append(name)
            left &= ~bits
    return " | ".join([*words, *([f"{left:#x}"] if left else [])])


def _number(value: int) -> str:
    return str(value) if -1 <= value < 10 else f"{value:#x}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        kind, what = value
        return f"{_STRUCTURES.get(kind, kind)} {what:#x}" if isinstance(what, int) else str(kind)
    return _number(value) if isinstance(value, int) else repr(value)
