"""Writes the ioctl commands of a driver and their ctypes structures as C, for its header."""

from __future__ import annotations

import ctypes
from typing import Any

from mapdev.commands import Command
from mapdev.linux.ioctl_numbers import _IOC_DIR, _IOC_NR, _IOC_SIZE, _IOC_TYPE

__all__ = ["command_name", "commands", "structures"]

_PLAIN: dict[Any, str] = {
    ctypes.c_int8: "__s8", ctypes.c_uint8: "__u8", ctypes.c_int16: "__s16",
    ctypes.c_uint16: "__u16", ctypes.c_int32: "__s32", ctypes.c_uint32: "__u32",
    ctypes.c_int64: "__s64", ctypes.c_uint64: "__u64", ctypes.c_char: "char",
    ctypes.c_bool: "_Bool", ctypes.c_float: "float", ctypes.c_double: "double",
    ctypes.c_longlong: "__s64", ctypes.c_ulonglong: "__u64",
}  # fmt: skip


def _declare(kind: Any, name: str) -> str:
    """Declare `name` of a ctypes type."""
    if issubclass(kind, ctypes.Array):
        return _declare(kind._type_, f"{name}[{kind._length_}]")
    if issubclass(kind, ctypes.Structure):
        return f"struct {structure_name(kind)} {name}"
    if issubclass(kind, ctypes.Union):
        return f"union {structure_name(kind)} {name}"
    plain = _PLAIN.get(kind)
    return f"{plain} {name}" if plain else f"__u8 {name}[{ctypes.sizeof(kind)}]"


def structure_name(kind: Any) -> str:
    """Name a structure in C: ``FbFixScreeninfo`` is ``fb_fix_screeninfo``."""
    words = ""
    for letter in kind.__name__.lstrip("_"):
        words += f"_{letter.lower()}" if letter.isupper() and words else letter.lower()
    return words


def _needed(kind: Any, found: dict[Any, None]) -> None:
    """Add a type and those in it, the inner ones first."""
    if issubclass(kind, ctypes.Array):
        _needed(kind._type_, found)
    elif issubclass(kind, ctypes.Structure | ctypes.Union):
        for field in getattr(kind, "_fields_", ()):
            _needed(field[1], found)
        found[kind] = None


def structures(known: list[Command]) -> list[str]:
    """Define the structures that commands carry."""
    needed: dict[Any, None] = {}
    for command in known:
        if command.type is not None:
            _needed(command.type, needed)
    lines = []
    for kind in needed:
        word = "struct" if issubclass(kind, ctypes.Structure) else "union"
        lines.append(f"{word} {structure_name(kind)} {{")
        for field in getattr(kind, "_fields_", ()):
            bits = f" : {field[2]}" if len(field) > 2 else ""
            lines.append(f"\t{_declare(field[1], field[0])}{bits};")
        packed = " __attribute__((packed))" if getattr(kind, "_pack_", 0) == 1 else ""
        lines += [f"}}{packed};", ""]
    return lines


def command_name(name: str, command: Command) -> str:
    """Name an ioctl command in C."""
    return f"{name}_{command.method}".upper()


def commands(name: str, known: list[Command]) -> list[str]:
    """Define the numbers of the commands: by the macros that made them, where they did."""
    lines = []
    for command in known:
        number = command.cmd
        kind, direction = _IOC_TYPE(number), _IOC_DIR(number)
        macro = ("_IO", "_IOW", "_IOR", "_IOWR")[direction]
        how = f"{number:#x}"
        if (
            chr(kind).isprintable()
            and chr(kind).isascii()
            and bool(direction) == bool(_IOC_SIZE(number))
        ):
            size = ""
            if direction and command.type is not None:
                size = ", " + _declare(command.type, "").strip()
            if not direction or command.type is not None:
                how = f"{macro}({chr(kind)!r}, {_IOC_NR(number)}{size})"
        lines.append(f"#define {command_name(name, command)} {how}")
    return lines
