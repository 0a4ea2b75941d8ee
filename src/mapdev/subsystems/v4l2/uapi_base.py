"""`UapiStructure` and `UapiUnion`: ctypes types that can be assigned and cleared as in C."""

from __future__ import annotations

import ctypes
from typing import Any

__all__ = ["UapiStructure", "UapiUnion", "clear_after"]


class UapiStructure(ctypes.Structure):
    """A structure of the user interface, with the field names of C."""

    def assign(self, other: Any) -> None:
        """Copy all bytes of `other`, which has the same type."""
        ctypes.memmove(ctypes.byref(self), ctypes.byref(other), ctypes.sizeof(self))


class UapiUnion(ctypes.Union):
    """A union of the user interface, with the field names of C."""

    def assign(self, other: Any) -> None:
        """Copy all bytes of `other`, which has the same type."""
        ctypes.memmove(ctypes.byref(self), ctypes.byref(other), ctypes.sizeof(self))


def clear_after(value: Any, field: str) -> None:
    """Zero what follows a field, to the end of its structure.

    Source: drivers/media/v4l2-core/v4l2-ioctl.c (CLEAR_AFTER_FIELD)
    """
    place = getattr(type(value), field)
    end = place.offset + place.size
    ctypes.memset(ctypes.addressof(value) + end, 0, ctypes.sizeof(value) - end)
