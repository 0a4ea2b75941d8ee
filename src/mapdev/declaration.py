"""Checks a driver class when it is made: what it declares is had, or refused with what there is.

A misspelt or unknown operation would never be called, and a driver that lacks an operation without
a word is hard to debug. What is refused raises `TypeError` where the class is made. Nothing here is
used once a driver serves.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["DriverType", "check", "operations", "takes", "where"]

_CO_VARARGS, _CO_COROUTINE = 0x04, 0x80  # of co_flags; `inspect` takes long to import
_CO_GENERATOR, _CO_ASYNC_GENERATOR = 0x20, 0x200
_NEVER_ASYNC = ("probe", "remove", "release", "flush", "fasync", "poll", "mmap")
_DATA = ("name", "major", "minor", "mode", "owner", "group")
_WORDS = ("map", "mod")  # that lack a letter of ours, and yet are what they seem

_KERNELS = {  # struct file_operations, of Linux 2.6 to now, and what to write for it here
    "read_iter": "read", "write_iter": "write", "aio_read": "read", "aio_write": "write",
    "unlocked_ioctl": "ioctl", "compat_ioctl": "ioctl", "mmap_prepare": "mmap",
    **dict.fromkeys(
        ("lock", "flock", "setlease", "check_flags", "get_unmapped_area",
         "mmap_capabilities", "splice_read", "splice_write", "splice_eof", "sendpage", "sendfile",
         "fallocate", "fadvise", "copy_file_range", "remap_file_range", "clone_file_range",
         "dedupe_file_range", "iopoll", "uring_cmd", "uring_cmd_iopoll", "iterate",
         "iterate_shared", "readdir", "show_fdinfo"), ""
    ),
}  # fmt: skip
_HABITS = {"close": "release", "lseek": "llseek", "seek": "llseek", "init": "probe",
           "exit": "remove"}  # fmt: skip
MAJORS, MINORS = 512, 1 << 20  # CHRDEV_MAJOR_MAX, and the bits of a minor number


class _OwnIoctl:
    """Stands for a class's own ioctl operation while its body runs, where `@ioctl` means it."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"ioctl is this class's own operation from {where(self.function)} on, so @ioctl can't "
            "be used below it: move `def ioctl` to the end of the class, or write @mapdev.ioctl"
        )


class _Body(dict[str, Any]):
    """The names in the body of a driver class."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return _OwnIoctl(value) if name == "ioctl" and type(value) is FunctionType else value


class DriverType(abc.ABCMeta):
    """The type of driver classes: it sees in which order a class's names are made."""

    @classmethod
    def __prepare__(cls, name: str, bases: tuple[type, ...], /, **kwargs: Any) -> _Body:
        return _Body()

    def __new__(
        cls, name: str, bases: tuple[type, ...], body: dict[str, Any], /, **kwargs: Any
    ) -> DriverType:
        """Make a class of what its body has named."""
        names = {
            key: value.function if isinstance(value, _OwnIoctl) else value
            for key, value in body.items()
        }
        return super().__new__(cls, name, bases, names, **kwargs)


def where(thing: Any) -> str:
    """Return the file and the line of a function."""
    code = getattr(thing, "__code__", None)
    if code is None:
        return "elsewhere"
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"  # noqa: PTH119


def operations(driver: type[Any]) -> dict[str, FunctionType]:
    """Return the operations that there are, from the base class of all drivers."""
    return {
        name: value
        for name, value in vars(driver).items()
        if type(value) is FunctionType and not name.startswith("_")  # `has` is no function
    }


def own_attributes(cls: type[Any], driver: type[Any]) -> Iterator[tuple[str, Any]]:
    """Go through what a class itself declares, and what its bases do that are no drivers."""
    for base in cls.__mro__:
        if base is cls or not (issubclass(base, driver) or base in (object, abc.ABC)):
            yield from tuple(vars(base).items())


def check(cls: type[Any], driver: type[Any]) -> None:
    """Check what a driver class declares.

    :param driver: the base class of all drivers.
    :raises TypeError: see the texts below.
    """
    there = operations(driver)
    for name, value in own_attributes(cls, driver):
        if name in there:
            _check_operation(cls, name, value, there)
        elif hasattr(value, "__ioctl__"):
            _check_arity(cls, name, value, ("file", "arg"), "an ioctl handler")
        elif name not in _DATA and not name.startswith("_") and not name.endswith("_"):
            _check_unknown(cls, name, value, there)
    _check_data(cls)


def _check_operation(
    cls: type[Any], name: str, value: Any, there: dict[str, FunctionType]
) -> None:  # fmt: skip
    at = f"{cls.__name__}.{name}"
    if value is None and name in vars(cls):
        setattr(cls, name, there[name])  # NULL, as in C: the operation is not there
        return
    function = getattr(value, "__func__", value)  # of a static method
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"{at} is {value!r:.60}, but {name} is an operation: "
            f"def {name}({_form(there[name])}). Call the attribute something else"
        )
    if hasattr(value, "__ioctl__"):
        raise TypeError(
            f"{where(value)}: the @ioctl handler {at} has the name of an operation: "
            "call it something else"
        )
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if name in _NEVER_ASYNC and flags & _CO_COROUTINE:
        raise TypeError(f"{at} can't be async: nobody waits for it")
    if flags & (_CO_GENERATOR | _CO_ASYNC_GENERATOR):
        raise TypeError(f"{where(function)}: {at} has a yield: an operation returns its result")
    if name != "probe":
        arguments = there[name].__code__.co_varnames[1 : there[name].__code__.co_argcount]
        _check_arity(cls, name, value, arguments, "the operation")


def _form(operation: FunctionType) -> str:
    code = operation.__code__
    return ", ".join(code.co_varnames[: code.co_argcount])


def takes(function: Any, count: int) -> bool:
    """Say whether a function can be called with `count` plain arguments, as far as can be seen."""
    if type(function) is not FunctionType or hasattr(function, "__wrapped__"):
        return True
    code = function.__code__
    required = code.co_argcount - len(function.__defaults__ or ())
    needs_names = code.co_kwonlyargcount - len(function.__kwdefaults__ or ())
    fits = required <= count <= code.co_argcount or (
        bool(code.co_flags & _CO_VARARGS) and required <= count
    )
    return fits and not needs_names


def _check_arity(
    cls: type[Any], name: str, value: Any, arguments: tuple[str, ...], what: str
) -> None:
    is_static = isinstance(value, staticmethod)
    function = getattr(value, "__func__", value)
    count = len(arguments) + (not is_static)
    if not takes(function, count):
        code = function.__code__
        given = ", ".join(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        right = ", ".join((*(() if is_static else ("self",)), *arguments))
        raise TypeError(
            f"{where(function)}: {cls.__name__}.{name}({given}) can't be called as {what} is: "
            f"write def {name}({right})"
        )


# --- names that no operation has ------------------------------------------------------------------


def _check_unknown(
    cls: type[Any], name: str, value: Any, there: dict[str, FunctionType]
) -> None:  # fmt: skip
    at = f"{cls.__name__}.{name}"
    if not callable(getattr(value, "__func__", value)) or isinstance(value, type):
        meant = next((of for of in _DATA if _is_slip(name, of)), None)
        if meant is not None:
            raise TypeError(f"{at}: is that {meant}? A driver's attributes are {', '.join(_DATA)}")
        return
    known = ", ".join(there)
    if name in _KERNELS:
        instead = f"write {_KERNELS[name]}; " if _KERNELS[name] else ""
        raise TypeError(
            f"{where(value)}: {at} would never be called: mapdev has no {name} operation; {instead}"
            f"there are {known}. Call a method of your own something else"
        )
    for operation, function in there.items():
        is_missing = getattr(cls, operation) is function
        if _means(name, value, operation, function.__code__, is_missing):
            raise TypeError(
                f"{where(value)}: {at} would never be called: is that {operation}? "
                f"The operations are {known}"
            )


def _means(name: str, value: Any, operation: str, of: CodeType, is_missing: bool) -> bool:
    """Say whether a method called `name` was meant to be an operation.

    :param of: the code of the operation, as the base class has it.
    :param is_missing: the driver has no such operation of its own.
    """
    function = getattr(value, "__func__", value)
    if type(function) is not FunctionType:
        return False
    is_probe = operation in ("probe", "remove")  # takes anything, or nothing: that says little
    fits = not is_probe and takes(function, of.co_argcount)
    if _HABITS.get(name) == operation:
        return fits
    if _is_slip(name, operation):
        return fits or name not in _WORDS
    code = function.__code__
    begins_so = code.co_argcount > 1 and code.co_varnames[1:2] == of.co_varnames[1:2]
    return (fits or (is_missing and begins_so)) and _is_near(name, operation)


def _is_slip(name: str, right: str) -> bool:
    """Say whether `name` is `right` with a letter left out, typed twice, or two exchanged."""
    if name.lower() == right:
        return name != right
    if len(name) == len(right) - 1:
        return len(name) > 2 and any(
            right[:at] + right[at + 1 :] == name for at in range(len(right))
        )
    if len(name) == len(right) + 1:
        return any(right[:at] + right[at - 1] + right[at:] == name for at in range(1, len(name)))
    swapped = (
        right[:at] + right[at + 1] + right[at] + right[at + 2 :] for at in range(len(right) - 1)
    )
    return name != right and name in swapped


def _is_near(name: str, right: str) -> bool:
    """Say whether `name` is `right` with one letter more, or another one in its place."""
    if len(name) == len(right):
        return sum(a != b for a, b in zip(name, right, strict=True)) == 1
    return len(name) == len(right) + 1 and any(
        name[:at] + name[at + 1 :] == right for at in range(len(name))
    )


# --- numbers --------------------------------------------------------------------------------------


def _check_data(cls: type[Any]) -> None:
    """Check the attributes that are no operations: whose values are wrong would be told late."""
    _check_number(cls, "major", MAJORS)
    if cls.minor is not None:
        _check_number(cls, "minor", MINORS)
    hint = f": is 0o{cls.mode} meant?" if type(cls.mode) is int and cls.mode > 0o777 else ""
    _check_number(cls, "mode", 0o1000, hint)
    for name in ("owner", "group"):
        value = getattr(cls, name)
        if value is not None and not isinstance(value, str):
            _check_number(cls, name, (1 << 32) - 1)
    if not isinstance(cls.name, str):
        raise TypeError(f"{cls.__name__}.name is text, not {cls.name!r}")


def _check_number(cls: type[Any], name: str, end: int, hint: str = "") -> None:
    value = getattr(cls, name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < end:
        raise TypeError(
            f"{cls.__name__}.{name} is a number from 0 to {end - 1}, not {value!r:.60}{hint}"
        )
