"""What each type of controls is: its values, which of them are valid, and how they are logged.

A value is a number, or bytes: a string without its zero byte, or the elements of an array or of a
structure one after the other.

Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (std_validate, std_init, std_equal, std_log)
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import TYPE_CHECKING, Any

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2 import structures as s

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.ctrl import V4l2Ctrl

__all__ = ["check_range", "elem_size_of", "initial", "is_equal", "text_of", "validated"]

_FORMS = {  # struct's letter for one element
    c.V4L2_CTRL_TYPE_INTEGER64: "q",
    c.V4L2_CTRL_TYPE_U8: "B",
    c.V4L2_CTRL_TYPE_U16: "H",
    c.V4L2_CTRL_TYPE_U32: "I",
}
_STRUCTURES: dict[int, Any] = {
    c.V4L2_CTRL_TYPE_AREA: s.V4l2Area,
    c.V4L2_CTRL_TYPE_HDR10_CLL_INFO: s.V4l2CtrlHdr10CllInfo,
    c.V4L2_CTRL_TYPE_HDR10_MASTERING_DISPLAY: s.V4l2CtrlHdr10MasteringDisplay,
}
_MENUS = (c.V4L2_CTRL_TYPE_MENU, c.V4L2_CTRL_TYPE_INTEGER_MENU)
_NUMBERS = (
    c.V4L2_CTRL_TYPE_INTEGER, c.V4L2_CTRL_TYPE_INTEGER64, c.V4L2_CTRL_TYPE_U8,
    c.V4L2_CTRL_TYPE_U16, c.V4L2_CTRL_TYPE_U32,
)  # fmt: skip


def elem_size_of(type_: int, maximum: int, given: int) -> int:
    """Return the bytes that one element of a control has.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (v4l2_ctrl_new)
    """
    if type_ == c.V4L2_CTRL_TYPE_STRING:
        return maximum + 1
    if type_ in _FORMS:
        return struct.calcsize(_FORMS[type_])
    if type_ in _STRUCTURES:
        return ctypes.sizeof(_STRUCTURES[type_])
    return 4 if type_ < c.V4L2_CTRL_COMPOUND_TYPES else given


def check_range(type_: int, minimum: int, maximum: int, step: int, default: int) -> None:
    """Refuse limits that make no sense for a type.

    :raises OSError: ERANGE; EINVAL, the default entry of a menu is skipped

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    is_wrong = False
    if type_ == c.V4L2_CTRL_TYPE_BOOLEAN and (step != 1 or maximum > 1 or minimum < 0):
        is_wrong = True
    elif type_ in _NUMBERS or type_ == c.V4L2_CTRL_TYPE_BOOLEAN:
        is_wrong = step == 0 or not minimum <= default <= maximum
    elif type_ == c.V4L2_CTRL_TYPE_BITMASK:
        is_wrong = bool(step or minimum or not maximum or default & ~maximum)
    elif type_ in _MENUS:
        is_wrong = not minimum <= default <= maximum
        if not is_wrong and step & 1 << default:
            raise OSError(errno.EINVAL, f"the default entry {default} is skipped")
    elif type_ == c.V4L2_CTRL_TYPE_STRING:
        is_wrong = minimum > maximum or minimum < 0 or step < 1 or default != 0
    if is_wrong:
        raise OSError(
            errno.ERANGE, f"a control of type {type_} can't go from {minimum} to {maximum} by "
            f"{step}, {default} at first",
        )  # fmt: skip


def _elements(ctrl: V4l2Ctrl, data: bytes) -> list[int]:
    form = _FORMS.get(ctrl.type, "i")
    return list(struct.unpack(f"<{len(data) // ctrl.elem_size}{form}", data))


def _joined(ctrl: V4l2Ctrl, values: list[int]) -> bytes:
    return struct.pack(f"<{len(values)}{_FORMS.get(ctrl.type, 'i')}", *values)


def initial(ctrl: V4l2Ctrl) -> Any:
    """Return the value that a control has at first.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (std_init)
    """
    if ctrl.type == c.V4L2_CTRL_TYPE_STRING:
        one = b" " * ctrl.minimum
        return one.ljust(ctrl.elem_size, b"\0") * ctrl.elems if ctrl.is_array else one
    if ctrl.type >= c.V4L2_CTRL_COMPOUND_TYPES and ctrl.type not in _FORMS:
        start = ctrl.p_def if ctrl.p_def is not None else bytes(ctrl.elem_size)
        return bytes(start) * ctrl.elems
    has_default = ctrl.type not in (c.V4L2_CTRL_TYPE_BUTTON, c.V4L2_CTRL_TYPE_CTRL_CLASS)
    default = ctrl.default_value if has_default else 0
    return _joined(ctrl, [default] * ctrl.elems) if ctrl.is_ptr else default


def _rounded(ctrl: V4l2Ctrl, value: int) -> int:
    """Return the valid value that is nearest to a number."""
    half = ctrl.step // 2
    if ctrl.maximum >= 0 and value >= ctrl.maximum - half:
        value = ctrl.maximum
    else:
        value += half
    value = min(max(value, ctrl.minimum), ctrl.maximum)
    return ctrl.minimum + (value - ctrl.minimum) // ctrl.step * ctrl.step


def _valid(ctrl: V4l2Ctrl, value: int) -> int:
    """Return what is made of one element.

    :raises OSError: ERANGE, EINVAL: it is no entry of the menu
    """
    if ctrl.type in _NUMBERS:
        return _rounded(ctrl, value)
    if ctrl.type == c.V4L2_CTRL_TYPE_BOOLEAN:
        return int(bool(value))
    if ctrl.type in _MENUS:
        if not ctrl.minimum <= value <= ctrl.maximum:
            raise OSError(errno.ERANGE, f"{ctrl.name} has no entry {value}")
        skipped = value < 64 and ctrl.menu_skip_mask & 1 << value
        if skipped or (ctrl.qmenu is not None and not ctrl.qmenu[value]):
            raise OSError(errno.EINVAL, f"{ctrl.name} has no entry {value}")
        return value
    if ctrl.type == c.V4L2_CTRL_TYPE_BITMASK:
        return ctypes.c_int32(value & ctrl.maximum).value
    return 0  # a button, a class


def validated(ctrl: V4l2Ctrl, value: Any) -> Any:
    """Return what is made of a value that a program gave: rounded, or as it is.

    :raises OSError: ERANGE, it is too short a string or out of a menu's range; EINVAL, no entry

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (std_validate)
    """
    if ctrl.type == c.V4L2_CTRL_TYPE_STRING:
        for at in range(0, len(value), ctrl.elem_size) if ctrl.is_array else (0,):
            one = value[at : at + ctrl.elem_size] if ctrl.is_array else value
            length = len(one.split(b"\0")[0])
            if length < ctrl.minimum or (length - ctrl.minimum) % ctrl.step:
                raise OSError(errno.ERANGE, f"{length} characters are no length of {ctrl.name}")
        return value
    if not ctrl.is_ptr:
        return _valid(ctrl, value)
    if ctrl.type < c.V4L2_CTRL_COMPOUND_TYPES or ctrl.type in _FORMS:
        return _joined(ctrl, [_valid(ctrl, one) for one in _elements(ctrl, value)])
    if ctrl.type == c.V4L2_CTRL_TYPE_AREA:
        for at in range(0, len(value), ctrl.elem_size):
            area = s.V4l2Area.from_buffer_copy(value, at)
            if not area.width or not area.height:
                raise OSError(errno.EINVAL, "an area of nothing")
    return value


def is_equal(ctrl: V4l2Ctrl, one: Any, other: Any) -> bool:
    """Say whether two values are the same; of a button no two are.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (std_equal)
    """
    return bool(ctrl.type != c.V4L2_CTRL_TYPE_BUTTON and one == other)


def text_of(ctrl: V4l2Ctrl) -> str:
    """Return the current value as VIDIOC_LOG_STATUS shows it.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (std_log)
    """
    value = ctrl.cur.val
    dims = "".join(f"[{dim}]" for dim in ctrl.dims) + " " if ctrl.is_array else ""
    if ctrl.is_array and ctrl.type != c.V4L2_CTRL_TYPE_STRING:
        whole = ctrl.type < c.V4L2_CTRL_COMPOUND_TYPES or ctrl.type in _FORMS
        value = _elements(ctrl, value)[0] if whole else value
    if ctrl.type == c.V4L2_CTRL_TYPE_BOOLEAN:
        return dims + ("true" if value else "false")
    if ctrl.type == c.V4L2_CTRL_TYPE_MENU and ctrl.qmenu is not None:
        return f"{dims}{ctrl.qmenu[value]}"
    if ctrl.type == c.V4L2_CTRL_TYPE_INTEGER_MENU and ctrl.qmenu_int is not None:
        return dims + str(ctrl.qmenu_int[value])
    if ctrl.type == c.V4L2_CTRL_TYPE_BITMASK:
        return f"{dims}{value & 0xFFFFFFFF:#010x}"
    if ctrl.type == c.V4L2_CTRL_TYPE_STRING:
        return f"{dims}{value.split(bytes(1))[0].decode(errors='replace')}"
    return dims + (str(value) if isinstance(value, int) else f"unknown type {ctrl.type}")
