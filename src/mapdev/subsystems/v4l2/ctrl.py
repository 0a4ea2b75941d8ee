"""`V4l2Ctrl` and `V4l2CtrlHandler`: the controls of a device, made by a driver in its probe.

A handler holds controls sorted by their numbers; a class (``V4L2_CID_USER_CLASS`` and the like)
comes by itself with its first control. Controls of a cluster are set together, by the operations of
the first. Values change in operations and in kernel threads of the driver, under the handler's
lock, which the core takes.

Source: drivers/media/v4l2-core/v4l2-ctrls-core.c, include/media/v4l2-ctrls.h
"""

from __future__ import annotations

import math
import threading
from bisect import insort
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl_types import elem_size_of, initial
from mapdev.subsystems.v4l2.macros import V4L2_CTRL_ID2WHICH

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.event import SubscribedEvent

__all__ = ["V4l2Ctrl", "V4l2CtrlConfig", "V4l2CtrlHandler", "V4l2CtrlOps", "v4l2_ctrl_find"]

_ID_MASK = c.V4L2_CTRL_ID_MASK


class V4l2CtrlOps:
    """What a driver does with its controls: ``struct v4l2_ctrl_ops``.

    ``s_ctrl(ctrl)`` acts on ``ctrl.val``; ``try_ctrl(ctrl)`` may change or refuse it;
    ``g_volatile_ctrl(ctrl)`` sets it to what the hardware says. Of a cluster they get the first
    control.

    Source: include/media/v4l2-ctrls.h
    """

    def __init__(
        self,
        *,
        s_ctrl: Callable[[V4l2Ctrl], object] | None = None,
        try_ctrl: Callable[[V4l2Ctrl], object] | None = None,
        g_volatile_ctrl: Callable[[V4l2Ctrl], object] | None = None,
    ) -> None:
        """Take the operations by name."""
        self.s_ctrl = s_ctrl
        self.try_ctrl = try_ctrl
        self.g_volatile_ctrl = g_volatile_ctrl


class V4l2CtrlConfig:
    """A control to be made by `v4l2_ctrl_new_custom`: ``struct v4l2_ctrl_config``.

    Source: include/media/v4l2-ctrls.h
    Fidelity: ``def_``, since ``def`` is a word of Python's.
    """

    def __init__(
        self, *, ops: V4l2CtrlOps | None = None, id: int, name: str | None = None,
        type: int = c.V4L2_CTRL_TYPE_INTEGER, min: int = 0, max: int = 0, step: int = 0,
        def_: int = 0, p_def: bytes | None = None, dims: Sequence[int] = (), elem_size: int = 0,
        flags: int = 0, menu_skip_mask: int = 0, qmenu: Sequence[str] | None = None,
        qmenu_int: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Describe a control."""
        self.ops = ops
        self.id = id
        self.name = name
        self.type = type
        self.min = min
        self.max = max
        self.step = step
        self.def_ = def_
        self.p_def = p_def
        self.dims = tuple(dims)
        self.elem_size = elem_size
        self.flags = flags
        self.menu_skip_mask = menu_skip_mask
        self.qmenu = qmenu
        self.qmenu_int = qmenu_int


class _Current:
    """The value that a control has now: ``ctrl->cur``."""

    __slots__ = ("val",)

    def __init__(self) -> None:
        self.val: Any = 0


class V4l2Ctrl:
    """A control: ``struct v4l2_ctrl``.

    :ivar val: the new value, inside the driver's operations; see `ctrl_types` for what it is.
    :ivar cur: ``cur.val`` is the value that the control has.
    :ivar cluster: the controls that are set together; the first leads.
    :ivar is_new: a program has given ``val``.

    Source: include/media/v4l2-ctrls.h
    """

    def __init__(
        self, handler: V4l2CtrlHandler, config: V4l2CtrlConfig, name: str, priv: Any
    ) -> None:
        """Make a control of what was checked already; use `v4l2_ctrl_new_std` and the like."""
        self.handler = handler
        self.ops = config.ops
        self.id = config.id
        self.name = name
        self.type = config.type
        self.flags = config.flags
        self.minimum = config.min
        self.maximum = config.max
        self.step = config.step
        self.default_value = config.def_
        self.p_def = config.p_def
        self.menu_skip_mask = config.menu_skip_mask
        self.qmenu = config.qmenu
        self.qmenu_int = config.qmenu_int
        self.priv = priv
        self.dims = config.dims
        self.elems = math.prod(config.dims)
        self.elem_size = elem_size_of(config.type, config.max, config.elem_size)
        self.is_array = bool(config.dims)
        self.is_dyn_array = bool(config.flags & c.V4L2_CTRL_FLAG_DYNAMIC_ARRAY)
        if self.is_dyn_array:
            self.elems = 1
        is_string = not self.is_array and config.type == c.V4L2_CTRL_TYPE_STRING
        self.is_string = is_string
        is_compound = config.type >= c.V4L2_CTRL_COMPOUND_TYPES
        self.is_ptr = self.is_array or is_compound or is_string
        self.is_int = not self.is_ptr and config.type != c.V4L2_CTRL_TYPE_INTEGER64
        self.cluster: list[V4l2Ctrl | None] = [self]
        self.is_new = False
        self.has_changed = False
        self.is_auto = False
        self.has_volatiles = False
        self.manual_mode_value = 0
        self.subscriptions: list[SubscribedEvent] = []
        self.cur = _Current()
        self.val = self.cur.val = initial(self)

    @property
    def p_new(self) -> Any:
        """The new value of a string, an array or a structure, as bytes."""
        return self.val

    @property
    def p_cur(self) -> Any:
        """The current value of a string, an array or a structure, as bytes."""
        return self.cur.val

    @property
    def master(self) -> V4l2Ctrl:
        """The control whose operations set the cluster."""
        first = self.cluster[0]
        assert first is not None
        return first

    def __repr__(self) -> str:
        """Show name and value."""
        return f"<V4l2Ctrl {self.name!r} {self.cur.val!r}>"


class V4l2CtrlHandler:
    """The controls of a device: ``struct v4l2_ctrl_handler``.

    :ivar lock: is held while values change; a driver that sets one in a kernel thread need not.

    Source: include/media/v4l2-ctrls.h
    """

    def __init__(self, nr_of_controls_hint: int = 0) -> None:
        """Make one without controls."""
        self.lock = threading.RLock()
        self.refs: list[V4l2Ctrl] = []  # by number
        self.ctrls: list[V4l2Ctrl] = []  # as they were made here

    def find(self, number: int) -> V4l2Ctrl | None:
        """Return a control by its number, None if there is none; see `v4l2_ctrl_find`."""
        number &= _ID_MASK
        if number < c.V4L2_CID_PRIVATE_BASE:
            return next((ctrl for ctrl in self.refs if ctrl.id == number), None)
        own = [ctrl for ctrl in self.refs if ctrl.is_int
               and V4L2_CTRL_ID2WHICH(ctrl.id) == c.V4L2_CTRL_CLASS_USER
               and ctrl.id & 0xFFFF >= 0x1000]  # fmt: skip
        at = number - c.V4L2_CID_PRIVATE_BASE
        return own[at] if at < len(own) else None

    def add(self, ctrl: V4l2Ctrl) -> None:
        """Take a control in; one whose number is there already is left out."""
        with self.lock:
            if self.find(ctrl.id) is None:
                insort(self.refs, ctrl, key=lambda one: one.id)


def v4l2_ctrl_find(hdl: V4l2CtrlHandler | None, id_: int) -> V4l2Ctrl | None:
    """Find a control by its number; None if there is none.

    Numbers from V4L2_CID_PRIVATE_BASE on count the driver's own controls of the user class.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    return None if hdl is None else hdl.find(id_)
