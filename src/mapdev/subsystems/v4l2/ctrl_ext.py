"""VIDIOC_G_EXT_CTRLS, S_EXT_CTRLS and TRY_EXT_CTRLS, for any number of controls at once.

``error_idx`` says which control was wrong; it is the number of controls when nothing was changed,
which is what S_EXT_CTRLS says of everything that is found out beforehand.

Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
"""

from __future__ import annotations

import errno
from typing import Any

from mapdev.linux import copy_from_user, copy_to_user
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2Ctrl, V4l2CtrlHandler
from mapdev.subsystems.v4l2.ctrl_cluster import (
    call_op,
    cur_to_new,
    is_cur_manual,
    members,
    try_or_set_cluster,
    update_from_auto_cluster,
)
from mapdev.subsystems.v4l2.ctrl_types import initial, validated
from mapdev.subsystems.v4l2.fh import V4l2Fh
from mapdev.subsystems.v4l2.macros import V4L2_CTRL_ID2WHICH
from mapdev.subsystems.v4l2.structures import V4l2ExtControl, V4l2ExtControls

__all__ = ["v4l2_g_ext_ctrls", "v4l2_s_ext_ctrls", "v4l2_try_ext_ctrls"]

_SPECIAL = (c.V4L2_CTRL_WHICH_DEF_VAL, c.V4L2_CTRL_WHICH_REQUEST_VAL)


def _error(code: int, why: str) -> OSError:
    return OSError(code, why)


def _to_user(entry: V4l2ExtControl, ctrl: V4l2Ctrl, value: Any) -> None:
    """Give a value to the program.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c (ptr_to_user)
    """
    if ctrl.is_string:
        if entry.size < len(value) + 1:
            entry.size = ctrl.elem_size
            raise _error(errno.ENOSPC, f"{ctrl.name} is longer than {entry.size} bytes")
        copy_to_user(entry.string, bytes(value) + b"\0")
    elif ctrl.is_ptr:
        copy_to_user(entry.ptr, bytes(value)[: entry.size])
    elif ctrl.type == c.V4L2_CTRL_TYPE_INTEGER64:
        entry.value64 = value
    else:
        entry.value = value


def _from_user(entry: V4l2ExtControl, ctrl: V4l2Ctrl) -> None:
    """Take the new value from the program.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c (user_to_new)
    """
    ctrl.is_new = False
    if ctrl.is_string:
        size = entry.size
        if size == 0:
            raise _error(errno.ERANGE, "no string")
        size = min(size, ctrl.maximum + 1)
        data = copy_from_user(entry.string, size)
        text = data[:-1].split(b"\0")[0]
        ctrl.val = text
        if len(text) == ctrl.maximum and data[-1]:
            raise _error(errno.ERANGE, f"{ctrl.name} takes {ctrl.maximum} characters")
        ctrl.is_new = True
        return
    if ctrl.is_ptr:
        data = copy_from_user(entry.ptr, entry.size)
        if not ctrl.is_dyn_array and ctrl.is_array:
            data += initial(ctrl)[len(data) :]
        ctrl.val = data
    elif ctrl.type == c.V4L2_CTRL_TYPE_INTEGER64:
        ctrl.val = entry.value64
    else:
        ctrl.val = entry.value
    ctrl.is_new = True


def _check_size(entry: V4l2ExtControl, ctrl: V4l2Ctrl, get: bool) -> None:
    """Check how long the program's memory for an array or a structure is."""
    if ctrl.is_string or not ctrl.is_ptr:
        return
    total = ctrl.elems * ctrl.elem_size
    if ctrl.is_dyn_array:
        entry.size = entry.size // ctrl.elem_size * ctrl.elem_size
        longest = ctrl.dims[0] * ctrl.elem_size
        if not get and entry.size > longest:
            entry.size = longest
            raise _error(errno.ENOSPC, f"{ctrl.name} has {longest} bytes at most")
        if not get and not entry.size:
            raise _error(errno.EFAULT, f"no elements of {ctrl.name}")
        if not get:
            return
    if entry.size < total:
        if get:
            entry.size = total
            raise _error(errno.ENOSPC, f"{ctrl.name} has {total} bytes")
        raise _error(errno.EFAULT, f"{ctrl.name} has {total} bytes")
    entry.size = total


def _prepare(hdl: V4l2CtrlHandler, cs: V4l2ExtControls, get: bool) -> list[V4l2Ctrl]:
    """Find the controls and check what a program asks of each.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c (prepare_ext_ctrls)
    """
    found = []
    for index in range(cs.count):
        entry = cs.array[index]
        number = entry.id & c.V4L2_CTRL_ID_MASK
        cs.error_idx = index
        if cs.which and cs.which not in _SPECIAL and V4L2_CTRL_ID2WHICH(number) != cs.which:
            raise _error(errno.EINVAL, f"the control {number:#x} is of another class")
        if number >= c.V4L2_CID_PRIVATE_BASE:
            raise _error(errno.EINVAL, "numbers of old are for the simple commands only")
        ctrl = hdl.find(number)
        if ctrl is None or ctrl.flags & c.V4L2_CTRL_FLAG_DISABLED:
            raise _error(errno.EINVAL, f"no control {number:#x}")
        _check_size(entry, ctrl, get)
        found.append(ctrl)
    return found


def _class_check(hdl: V4l2CtrlHandler, which: int) -> None:
    """Refuse an empty list of a class that there is not."""
    if which and which not in _SPECIAL and hdl.find(which | 1) is None:
        raise _error(errno.EINVAL, f"no controls of class {which:#x}")


def _by_cluster(found: list[V4l2Ctrl]) -> list[list[int]]:
    """Return the places of controls, those of one cluster together, in the order of the first."""
    clusters: dict[V4l2Ctrl, list[int]] = {}
    for index, ctrl in enumerate(found):
        clusters.setdefault(ctrl.master, []).append(index)
    return list(clusters.values())


def _no_requests(cs: V4l2ExtControls) -> None:
    """Refuse values of a request: there are none.

    Source: drivers/media/v4l2-core/v4l2-ctrls-request.c: EINVAL without a media device
    """
    if cs.which == c.V4L2_CTRL_WHICH_REQUEST_VAL:
        raise _error(errno.EINVAL, "there are no requests")


def v4l2_g_ext_ctrls(hdl: V4l2CtrlHandler, cs: V4l2ExtControls) -> None:
    """VIDIOC_G_EXT_CTRLS.

    :raises OSError: EINVAL, a control that there is not or of another class; EACCES, one that can't
        be read; ENOSPC, the memory is too short; or what the driver raises

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    """
    _no_requests(cs)
    is_default = cs.which == c.V4L2_CTRL_WHICH_DEF_VAL
    cs.error_idx = cs.count
    cs.which = V4L2_CTRL_ID2WHICH(cs.which)
    if cs.count == 0:
        _class_check(hdl, cs.which)
        return
    try:
        found = _prepare(hdl, cs, True)
    finally:
        cs.error_idx = cs.count
    if any(ctrl.flags & c.V4L2_CTRL_FLAG_WRITE_ONLY for ctrl in found):
        raise _error(errno.EACCES, "a control that can't be read")
    for places in _by_cluster(found):
        master = found[places[0]].master
        cs.error_idx = places[0]
        with master.handler.lock:
            is_volatile = not is_default and bool(
                master.flags & c.V4L2_CTRL_FLAG_VOLATILE
                or (master.has_volatiles and not is_cur_manual(master))
            )
            if is_volatile:
                for ctrl in members(master):
                    cur_to_new(ctrl)
                call_op(master, "g_volatile_ctrl")
            for place in places:
                ctrl = found[place]
                value = ctrl.val if is_volatile else ctrl.cur.val
                _to_user(cs.array[place], ctrl, initial(ctrl) if is_default else value)


def v4l2_try_ext_ctrls(hdl: V4l2CtrlHandler, cs: V4l2ExtControls) -> None:
    """VIDIOC_TRY_EXT_CTRLS; errors as for `v4l2_s_ext_ctrls`.

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    """
    _try_or_set(None, hdl, cs, False)


def v4l2_s_ext_ctrls(fh: V4l2Fh | None, hdl: V4l2CtrlHandler, cs: V4l2ExtControls) -> None:
    """VIDIOC_S_EXT_CTRLS.

    :raises OSError: EINVAL, a control that there is not or of another class, or a default value is
        to be changed; EACCES, it can't be set; EBUSY, it is in use; ERANGE, EINVAL, no value of it;
        EFAULT, ENOSPC, memory that is too short, or too long

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    """
    _try_or_set(fh, hdl, cs, True)


def _check_values(cs: V4l2ExtControls, found: list[V4l2Ctrl], set_: bool) -> None:
    """Check flags and simple values before anything is changed (validate_ctrls)."""
    cs.error_idx = cs.count
    for index, ctrl in enumerate(found):
        cs.error_idx = index
        if ctrl.flags & c.V4L2_CTRL_FLAG_READ_ONLY:
            raise _error(errno.EACCES, f"{ctrl.name} can't be set")
        if set_ and ctrl.flags & c.V4L2_CTRL_FLAG_GRABBED:
            raise _error(errno.EBUSY, f"{ctrl.name} is in use")
        entry = cs.array[index]
        if ctrl.is_ptr:
            continue
        if ctrl.type == c.V4L2_CTRL_TYPE_INTEGER64:
            entry.value64 = validated(ctrl, entry.value64)
        else:
            entry.value = validated(ctrl, entry.value)


def _try_or_set(fh: V4l2Fh | None, hdl: V4l2CtrlHandler, cs: V4l2ExtControls, set_: bool) -> None:
    _no_requests(cs)
    cs.error_idx = cs.count
    if cs.which == c.V4L2_CTRL_WHICH_DEF_VAL:
        raise _error(errno.EINVAL, "default values can't be changed")
    cs.which = V4L2_CTRL_ID2WHICH(cs.which)
    if cs.count == 0:
        _class_check(hdl, cs.which)
        return
    try:
        found = _prepare(hdl, cs, False)
        _check_values(cs, found, set_)
    except OSError:
        if set_:
            cs.error_idx = cs.count
        raise
    for places in _by_cluster(found):
        master = found[places[0]].master
        cs.error_idx = places[0]
        with master.handler.lock:
            for ctrl in members(master):
                ctrl.is_new = False
            if master.is_auto and master.has_volatiles and not is_cur_manual(master):
                mode = [cs.array[place].value for place in places if found[place] is master]
                if mode and mode[-1] == master.manual_mode_value:
                    update_from_auto_cluster(master)
            for place in places:
                ctrl = found[place]
                _from_user(cs.array[place], ctrl)
                if ctrl.is_ptr:
                    ctrl.val = validated(ctrl, ctrl.val)
            try_or_set_cluster(fh, master, set_)
            for place in places:
                _to_user(cs.array[place], found[place], found[place].val)
