"""The commands for controls: VIDIOC_QUERYCTRL, QUERYMENU, G_CTRL, S_CTRL; from which handler.

An open file may have controls of its own; else those of the node are meant; else the driver's own
operations.

Source: drivers/media/v4l2-core/v4l2-ioctl.c, drivers/media/v4l2-core/v4l2-ctrls-api.c
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any

from mapdev.linux import File, printk
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2Ctrl, V4l2CtrlHandler
from mapdev.subsystems.v4l2.ctrl_cluster import (
    call_op,
    cur_to_new,
    is_cur_manual,
    members,
    send_event,
    try_or_set_cluster,
    update_from_auto_cluster,
    user_flags,
)
from mapdev.subsystems.v4l2.ctrl_ext import (
    v4l2_g_ext_ctrls,
    v4l2_s_ext_ctrls,
    v4l2_try_ext_ctrls,
)
from mapdev.subsystems.v4l2.ctrl_types import check_range, text_of, validated
from mapdev.subsystems.v4l2.dev import video_devdata
from mapdev.subsystems.v4l2.fh import V4l2Fh
from mapdev.subsystems.v4l2.structures import V4l2QueryExtCtrl

__all__ = [
    "v4l2_ctrl_g_ctrl", "v4l2_ctrl_log_status", "v4l2_ctrl_modify_range", "v4l2_ctrl_s_ctrl",
]  # fmt: skip

_NEXT = c.V4L2_CTRL_FLAG_NEXT_CTRL | c.V4L2_CTRL_FLAG_NEXT_COMPOUND
_MENUS = (c.V4L2_CTRL_TYPE_MENU, c.V4L2_CTRL_TYPE_INTEGER_MENU)
_SIMPLE = (
    c.V4L2_CTRL_TYPE_INTEGER, c.V4L2_CTRL_TYPE_BOOLEAN, c.V4L2_CTRL_TYPE_MENU,
    c.V4L2_CTRL_TYPE_INTEGER_MENU, c.V4L2_CTRL_TYPE_STRING, c.V4L2_CTRL_TYPE_BITMASK,
)  # fmt: skip


def _invalid(number: int) -> OSError:
    return OSError(errno.EINVAL, f"no control {number:#x}")


# --- one control, for drivers and for the simple commands -----------------------------------------


def _get(ctrl: V4l2Ctrl) -> Any:
    """Return the value of a control.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c (get_ctrl)
    """
    if not ctrl.is_int and ctrl.type != c.V4L2_CTRL_TYPE_INTEGER64:
        raise _invalid(ctrl.id)
    if ctrl.flags & c.V4L2_CTRL_FLAG_WRITE_ONLY:
        raise OSError(errno.EACCES, f"{ctrl.name} can't be read")
    with ctrl.master.handler.lock:
        if not ctrl.flags & c.V4L2_CTRL_FLAG_VOLATILE:
            return ctrl.cur.val
        for member in members(ctrl.master):
            cur_to_new(member)
        call_op(ctrl.master, "g_volatile_ctrl")
        return ctrl.val


def _set(fh: V4l2Fh | None, ctrl: V4l2Ctrl, value: Any, ch_flags: int = 0) -> None:
    """Give a control a value.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c (set_ctrl)
    """
    master = ctrl.master
    with master.handler.lock:
        for member in members(master):
            member.is_new = False
        ctrl.val = validated(ctrl, value)
        if (
            master.is_auto and master.has_volatiles and ctrl is master
            and not is_cur_manual(master) and ctrl.val == master.manual_mode_value
        ):  # fmt: skip
            update_from_auto_cluster(master)
        ctrl.is_new = True
        try_or_set_cluster(fh, master, True, ch_flags)


def v4l2_ctrl_g_ctrl(ctrl: V4l2Ctrl) -> Any:
    """Give a driver the value of a control.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    """
    return _get(ctrl)


def v4l2_ctrl_s_ctrl(ctrl: V4l2Ctrl, val: Any) -> int:
    """Set a control on behalf of the driver; programs that have subscribed to it are told.

    :return: 0
    :raises OSError: as a program would get it

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    Fidelity: also for strings and structures, for which C has functions of their own.
    """
    _set(None, ctrl, val)
    return 0


def v4l2_ctrl_modify_range(ctrl: V4l2Ctrl, min_: int, max_: int, step: int, def_: int) -> int:
    """Change the limits of a control; a value outside becomes the default, rounded.

    :return: 0
    :raises OSError: ERANGE, EINVAL: they make no sense, or the control has none

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    """
    if ctrl.is_array or ctrl.is_string or ctrl.type == c.V4L2_CTRL_TYPE_BUTTON:
        raise OSError(errno.EINVAL, f"{ctrl.name} has no limits")
    check_range(ctrl.type, min_, max_, step, def_)
    with ctrl.handler.lock:
        before = (ctrl.minimum, ctrl.maximum, ctrl.step, ctrl.default_value)
        ctrl.minimum, ctrl.maximum, ctrl.step, ctrl.default_value = min_, max_, step, def_
        if ctrl.type in _MENUS:
            ctrl.menu_skip_mask = step
        try:
            value = validated(ctrl, ctrl.cur.val)
        except OSError:
            value = def_
        if value != ctrl.cur.val:
            _set(None, ctrl, value, c.V4L2_EVENT_CTRL_CH_RANGE)
        elif before != (min_, max_, step, def_):
            send_event(None, ctrl, c.V4L2_EVENT_CTRL_CH_RANGE)
    return 0


def v4l2_ctrl_log_status(file: File, fh: Any) -> int:
    """Log the values of all controls of a file; for use as the ``vidioc_log_status`` operation.

    :return: 0

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    """
    vdev = video_devdata(file)
    if not vdev.uses_fh or fh.ctrl_handler is None:
        return 0
    hidden = c.V4L2_CTRL_FLAG_DISABLED | c.V4L2_CTRL_FLAG_WRITE_ONLY
    shown = (
        (c.V4L2_CTRL_FLAG_INACTIVE, " inactive"), (c.V4L2_CTRL_FLAG_GRABBED, " grabbed"),
        (c.V4L2_CTRL_FLAG_VOLATILE, " volatile"),
    )  # fmt: skip
    for ctrl in fh.ctrl_handler.ctrls:
        if ctrl.flags & hidden or ctrl.type == c.V4L2_CTRL_TYPE_CTRL_CLASS:
            continue
        flags = "".join(text for flag, text in shown if ctrl.flags & flag)
        printk(f"{vdev.v4l2_dev.name}: {ctrl.name}: {text_of(ctrl)}{flags}\n")
    return 0


# --- queries --------------------------------------------------------------------------------------


def _next(hdl: V4l2CtrlHandler, number: int, flags: int) -> V4l2Ctrl | None:
    """Return the first control after a number that is of the wanted kind."""
    for ctrl in hdl.refs:
        is_compound = ctrl.is_array or ctrl.type >= c.V4L2_CTRL_COMPOUND_TYPES
        is_wanted = flags == _NEXT or is_compound == (flags == c.V4L2_CTRL_FLAG_NEXT_COMPOUND)
        if ctrl.id > number and is_wanted:
            return ctrl
    return None


def _query_ext(hdl: V4l2CtrlHandler, qc: V4l2QueryExtCtrl) -> None:
    """VIDIOC_QUERY_EXT_CTRL.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c (v4l2_query_ext_ctrl)
    """
    number = qc.id & c.V4L2_CTRL_ID_MASK
    flags = qc.id & _NEXT
    ctrl = _next(hdl, number, flags) if flags and hdl.refs else hdl.find(number)
    if ctrl is None:
        raise _invalid(number)
    ctypes.memset(ctypes.byref(qc), 0, ctypes.sizeof(qc))
    qc.id = number if number >= c.V4L2_CID_PRIVATE_BASE else ctrl.id
    qc.name = ctrl.name.encode()[:31]
    qc.flags = user_flags(ctrl)
    qc.type = ctrl.type
    qc.elem_size, qc.elems, qc.nr_of_dims = ctrl.elem_size, ctrl.elems, len(ctrl.dims)
    for index, dim in enumerate(ctrl.dims):
        qc.dims[index] = dim
    qc.minimum, qc.maximum, qc.default_value = ctrl.minimum, ctrl.maximum, ctrl.default_value
    qc.step = 1 if ctrl.type in _MENUS else ctrl.step


def _query(hdl: V4l2CtrlHandler, qc: Any) -> None:
    """VIDIOC_QUERYCTRL."""
    found = V4l2QueryExtCtrl(id=qc.id)
    _query_ext(hdl, found)
    qc.id, qc.type, qc.flags, qc.name = found.id, found.type, found.flags, found.name
    for field in ("minimum", "maximum", "step", "default_value"):
        setattr(qc, field, getattr(found, field) if found.type in _SIMPLE else 0)


def _query_menu(hdl: V4l2CtrlHandler, qm: Any) -> None:
    """VIDIOC_QUERYMENU."""
    ctrl = hdl.find(qm.id)
    if ctrl is None or ctrl.type not in _MENUS:
        raise _invalid(qm.id)
    qm.reserved = 0
    index = qm.index
    menu: Any = ctrl.qmenu if ctrl.type == c.V4L2_CTRL_TYPE_MENU else ctrl.qmenu_int
    if not ctrl.minimum <= index <= ctrl.maximum or ctrl.menu_skip_mask & 1 << index:
        raise OSError(errno.EINVAL, f"{ctrl.name} has no entry {index}")
    if ctrl.type == c.V4L2_CTRL_TYPE_INTEGER_MENU:
        qm.value = menu[index]
        return
    if index >= len(menu) or not menu[index]:
        raise OSError(errno.EINVAL, f"{ctrl.name} has no entry {index}")
    qm.name = menu[index].encode()[:31]


def _g_ctrl(hdl: V4l2CtrlHandler, control: Any) -> None:
    """VIDIOC_G_CTRL."""
    ctrl = hdl.find(control.id)
    if ctrl is None or not ctrl.is_int:
        raise _invalid(control.id)
    control.value = _get(ctrl)


def _s_ctrl(fh: V4l2Fh | None, hdl: V4l2CtrlHandler, control: Any) -> None:
    """VIDIOC_S_CTRL."""
    ctrl = hdl.find(control.id)
    if ctrl is None or not ctrl.is_int:
        raise _invalid(control.id)
    if ctrl.flags & c.V4L2_CTRL_FLAG_READ_ONLY:
        raise OSError(errno.EACCES, f"{ctrl.name} can't be set")
    _set(fh, ctrl, control.value)
    control.value = ctrl.cur.val


# --- which handler --------------------------------------------------------------------------------


def _handler(file: File, fh: Any) -> tuple[V4l2Fh | None, V4l2CtrlHandler | None]:
    """Return the controls that a file means, and the file if they are its own."""
    vdev = video_devdata(file)
    if vdev.uses_fh and fh.ctrl_handler is not None:
        return fh, fh.ctrl_handler
    return None, vdev.ctrl_handler


def _command(name: str, own: Callable[..., None], is_set: bool = False) -> Any:
    def run(ops: Any, file: File, fh: Any, arg: Any) -> Any:
        owner, handler = _handler(file, fh)
        if handler is not None:
            return own(owner, handler, arg) if is_set else own(handler, arg)
        op = getattr(ops, f"vidioc_{name}")
        if op is None:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return op(file, fh, arg)

    return run


v4l_queryctrl = _command("queryctrl", _query)
v4l_query_ext_ctrl = _command("query_ext_ctrl", _query_ext)
v4l_querymenu = _command("querymenu", _query_menu)
v4l_g_ctrl = _command("g_ctrl", _g_ctrl)
v4l_s_ctrl = _command("s_ctrl", _s_ctrl, is_set=True)


def _extended(name: str, own: Callable[..., None], is_set: bool = False) -> Any:
    command = _command(name, own, is_set)

    def run(ops: Any, file: File, fh: Any, arg: Any) -> Any:
        arg.error_idx = arg.count
        return command(ops, file, fh, arg)

    return run


v4l_g_ext_ctrls = _extended("g_ext_ctrls", v4l2_g_ext_ctrls)
v4l_s_ext_ctrls = _extended("s_ext_ctrls", v4l2_s_ext_ctrls, is_set=True)
v4l_try_ext_ctrls = _extended("try_ext_ctrls", v4l2_try_ext_ctrls)
