"""Setting controls: a cluster is tried, set, and made current; subscribers get events.

An operation works on the new values of a whole cluster. Controls of it that no program has given a
value have their current one as the new one then. Called with the handler's lock.

Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Sequence
from typing import Any

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2Ctrl, V4l2CtrlHandler
from mapdev.subsystems.v4l2.ctrl_types import is_equal
from mapdev.subsystems.v4l2.event import (
    SubscribedEvent,
    V4l2SubscribedEventOps,
    v4l2_event_queue_fh,
    v4l2_event_subscribe,
)
from mapdev.subsystems.v4l2.fh import V4l2Fh
from mapdev.subsystems.v4l2.structures import V4l2Event, V4l2EventSubscription

__all__ = [
    "v4l2_ctrl_activate", "v4l2_ctrl_auto_cluster", "v4l2_ctrl_cluster", "v4l2_ctrl_grab",
    "v4l2_ctrl_handler_setup", "v4l2_ctrl_subscribe_event",
]  # fmt: skip


def members(master: V4l2Ctrl) -> list[V4l2Ctrl]:
    """Return the controls of a cluster that there are."""
    return [ctrl for ctrl in master.cluster if ctrl is not None]


def call_op(master: V4l2Ctrl, name: str) -> None:
    """Call an operation of a cluster, if the driver has it.

    :raises OSError: whatever it raises, and the errno that it returns, negative as in C.
    """
    op = getattr(master.ops, name) if master.ops is not None else None
    if op is not None:
        result = op(master)
        if isinstance(result, int) and result < 0:
            raise OSError(-result, f"{name} of {master.name}")


def is_cur_manual(master: V4l2Ctrl) -> bool:
    """Say whether a cluster is in manual mode."""
    return master.is_auto and master.cur.val == master.manual_mode_value


def is_new_manual(master: V4l2Ctrl) -> bool:
    """Say whether a cluster will be in manual mode."""
    return master.is_auto and master.val == master.manual_mode_value


def user_flags(ctrl: V4l2Ctrl) -> int:
    """Return the flags that programs see."""
    return ctrl.flags | (c.V4L2_CTRL_FLAG_HAS_PAYLOAD if ctrl.is_ptr else 0)


def cur_to_new(ctrl: V4l2Ctrl) -> None:
    """Make the current value the new one."""
    ctrl.val = ctrl.cur.val


# --- events -------------------------------------------------------------------------------------


def _event(ctrl: V4l2Ctrl, changes: int) -> V4l2Event:
    event = V4l2Event(type=c.V4L2_EVENT_CTRL, id=ctrl.id)
    about = event.u.ctrl
    about.changes, about.type, about.flags = changes, ctrl.type, user_flags(ctrl)
    if not ctrl.is_ptr:
        if ctrl.is_int:
            about.value = ctrl.cur.val
        else:
            about.value64 = ctrl.cur.val
    about.minimum, about.maximum = ctrl.minimum, ctrl.maximum
    about.step, about.default_value = _step(ctrl), ctrl.default_value
    return event


def _step(ctrl: V4l2Ctrl) -> int:
    is_menu = ctrl.type in (c.V4L2_CTRL_TYPE_MENU, c.V4L2_CTRL_TYPE_INTEGER_MENU)
    return 1 if is_menu else ctrl.step


def send_event(fh: V4l2Fh | None, ctrl: V4l2Ctrl, changes: int) -> None:
    """Tell the files that have subscribed to a control, but for `fh`, which has changed it."""
    if not ctrl.subscriptions:
        return
    event = _event(ctrl, changes)
    for sev in ctrl.subscriptions:
        if sev.fh is not fh or sev.flags & c.V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK:
            v4l2_event_queue_fh(sev.fh, event)


def _add_event(sev: SubscribedEvent, elems: int) -> None:
    handler = sev.fh.ctrl_handler
    ctrl = handler.find(sev.id) if handler is not None else None
    if ctrl is None:
        raise OSError(errno.EINVAL, f"no control {sev.id:#x}")
    with ctrl.handler.lock:
        ctrl.subscriptions.append(sev)
        initial = sev.flags & c.V4L2_EVENT_SUB_FL_SEND_INITIAL
        if ctrl.type != c.V4L2_CTRL_TYPE_CTRL_CLASS and initial:
            changes = c.V4L2_EVENT_CTRL_CH_FLAGS
            if not ctrl.flags & c.V4L2_CTRL_FLAG_WRITE_ONLY:
                changes |= c.V4L2_EVENT_CTRL_CH_VALUE
            v4l2_event_queue_fh(sev.fh, _event(ctrl, changes))


def _del_event(sev: SubscribedEvent) -> None:
    handler = sev.fh.ctrl_handler
    ctrl = handler.find(sev.id) if handler is not None else None
    if ctrl is not None and sev in ctrl.subscriptions:
        with ctrl.handler.lock:
            ctrl.subscriptions.remove(sev)


def _replace(old: Any, new: Any) -> None:
    changes = old.u.ctrl.changes
    ctypes.memmove(ctypes.byref(old.u), ctypes.byref(new.u), ctypes.sizeof(old.u))
    old.u.ctrl.changes |= changes


def _merge(old: Any, new: Any) -> None:
    new.u.ctrl.changes |= old.u.ctrl.changes


_SUBSCRIPTION = V4l2SubscribedEventOps(
    add=_add_event, del_=_del_event, replace=_replace, merge=_merge
)


def v4l2_ctrl_subscribe_event(fh: V4l2Fh, sub: V4l2EventSubscription) -> int:
    """Subscribe a file to changes of a control, and to nothing else.

    :return: 0
    :raises OSError: EINVAL, it asks for other events, or there is no such control

    Source: drivers/media/v4l2-core/v4l2-ctrls-api.c
    """
    if sub.type != c.V4L2_EVENT_CTRL:
        raise OSError(errno.EINVAL, f"no events of type {sub.type}")
    return v4l2_event_subscribe(fh, sub, 0, _SUBSCRIPTION)


# --- setting ------------------------------------------------------------------------------------


def _cluster_changed(master: V4l2Ctrl) -> bool:
    """Note which controls of a cluster change, and say whether one does."""
    changed = False
    for ctrl in members(master):
        differs = bool(ctrl.flags & c.V4L2_CTRL_FLAG_EXECUTE_ON_WRITE)
        changed |= differs
        if ctrl.flags & c.V4L2_CTRL_FLAG_VOLATILE:
            ctrl.has_changed = False  # no event says so
            continue
        ctrl.has_changed = differs or not is_equal(ctrl, ctrl.cur.val, ctrl.val)
        changed |= ctrl.has_changed
    return changed


def _new_to_cur(fh: V4l2Fh | None, ctrl: V4l2Ctrl, ch_flags: int) -> None:
    """Make the new value the current one, and send the event."""
    changed = ctrl.has_changed
    if changed:
        ctrl.cur.val = ctrl.val
        if ctrl.is_dyn_array:
            ctrl.elems = len(ctrl.val) // ctrl.elem_size
    if ch_flags & c.V4L2_EVENT_CTRL_CH_FLAGS:  # of a cluster with an automatic
        ctrl.flags &= ~(c.V4L2_CTRL_FLAG_INACTIVE | c.V4L2_CTRL_FLAG_VOLATILE)
        if not is_cur_manual(ctrl.master):
            ctrl.flags |= c.V4L2_CTRL_FLAG_INACTIVE
            if ctrl.master.has_volatiles:
                ctrl.flags |= c.V4L2_CTRL_FLAG_VOLATILE
        fh = None
    if changed or ch_flags:
        value = c.V4L2_EVENT_CTRL_CH_VALUE if changed else 0
        send_event(fh if ctrl.is_new else None, ctrl, value | ch_flags)


def try_or_set_cluster(fh: V4l2Fh | None, master: V4l2Ctrl, set_: bool, ch_flags: int = 0) -> None:
    """Have the driver try, and set, the new values of a cluster; make them the current ones.

    :raises OSError: EBUSY, one is grabbed; or what the driver raises

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    for ctrl in members(master):
        if not ctrl.is_new:
            cur_to_new(ctrl)
        elif set_ and ctrl.flags & c.V4L2_CTRL_FLAG_GRABBED:
            raise OSError(errno.EBUSY, f"{ctrl.name} is in use")
    call_op(master, "try_ctrl")
    if not set_ or not _cluster_changed(master):
        return
    call_op(master, "s_ctrl")
    is_switched = is_cur_manual(master) != is_new_manual(master)
    to_manual = is_switched and is_new_manual(master) and master.has_volatiles
    for ctrl in members(master):
        flags = ch_flags
        if ctrl is not master and is_switched:
            # The new value is what the automatic had come to.
            ctrl.has_changed |= to_manual
            flags |= c.V4L2_EVENT_CTRL_CH_FLAGS
        _new_to_cur(fh, ctrl, flags)


def update_from_auto_cluster(master: V4l2Ctrl) -> None:
    """Make what the automatic has come to the new values of a cluster.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    others = [ctrl for ctrl in members(master) if ctrl is not master]
    for ctrl in others:
        cur_to_new(ctrl)
    try:
        call_op(master, "g_volatile_ctrl")
    except OSError:
        return
    for ctrl in others:
        ctrl.is_new = True


# --- for drivers --------------------------------------------------------------------------------


def v4l2_ctrl_cluster(controls: Sequence[V4l2Ctrl | None]) -> None:
    """Have controls be set together, by the operations of the first.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    Fidelity: without their number as the first argument.
    """
    cluster = list(controls)
    present = [ctrl for ctrl in cluster if ctrl is not None]
    for ctrl in present:
        ctrl.cluster = cluster
    present[0].has_volatiles = any(ctrl.flags & c.V4L2_CTRL_FLAG_VOLATILE for ctrl in present)


def v4l2_ctrl_auto_cluster(
    controls: Sequence[V4l2Ctrl | None], manual_val: int, set_volatile: bool
) -> None:
    """Have a control switch others between automatic and manual.

    :param controls: the switch, then the others
    :param manual_val: the value of the switch that means manual
    :param set_volatile: the automatic's values are to be had, by ``g_volatile_ctrl``

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    v4l2_ctrl_cluster(controls)
    master = controls[0]
    assert master is not None
    master.is_auto = True
    master.has_volatiles = set_volatile
    master.manual_mode_value = manual_val
    master.flags |= c.V4L2_CTRL_FLAG_UPDATE
    if not is_cur_manual(master):
        for ctrl in members(master)[1:]:
            ctrl.flags |= c.V4L2_CTRL_FLAG_INACTIVE
            if set_volatile:
                ctrl.flags |= c.V4L2_CTRL_FLAG_VOLATILE


def _set_flag(ctrl: V4l2Ctrl, flag: int, on: bool) -> None:
    with ctrl.handler.lock:
        before = ctrl.flags
        ctrl.flags = before | flag if on else before & ~flag
        if ctrl.flags != before:
            send_event(None, ctrl, c.V4L2_EVENT_CTRL_CH_FLAGS)


def v4l2_ctrl_activate(ctrl: V4l2Ctrl | None, active: bool) -> None:
    """Show a control as one that has, or has not, an effect now.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    if ctrl is not None:
        _set_flag(ctrl, c.V4L2_CTRL_FLAG_INACTIVE, not active)


def v4l2_ctrl_grab(ctrl: V4l2Ctrl | None, grabbed: bool) -> None:
    """Have programs not change a control (EBUSY), or change it again.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    if ctrl is not None:
        _set_flag(ctrl, c.V4L2_CTRL_FLAG_GRABBED, grabbed)


def v4l2_ctrl_handler_setup(hdl: V4l2CtrlHandler | None) -> int:
    """Have the driver set all its controls to the values that they have.

    :return: 0
    :raises OSError: what the driver raises

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    if hdl is None:
        return 0
    with hdl.lock:
        done: set[V4l2Ctrl] = set()
        for ctrl in hdl.ctrls:
            skipped = ctrl.type == c.V4L2_CTRL_TYPE_BUTTON
            if ctrl in done or skipped or ctrl.flags & c.V4L2_CTRL_FLAG_READ_ONLY:
                continue
            for member in members(ctrl.master):
                cur_to_new(member)
                member.is_new = True
                done.add(member)
            call_op(ctrl.master, "s_ctrl")
    return 0
