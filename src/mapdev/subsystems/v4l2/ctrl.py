"""`V4l2Ctrl` and `V4l2CtrlHandler`: the controls of a device, made by a driver in its probe.

A handler holds controls sorted by their numbers; a class (``V4L2_CID_USER_CLASS`` and the like)
comes by itself with its first control. Controls of a cluster are set together, by the operations of
the first. Values change in operations and in kernel threads of the driver, under the handler's
lock, which the core takes.

Source: drivers/media/v4l2-core/v4l2-ctrls-core.c, include/media/v4l2-ctrls.h
"""

from __future__ import annotations

import errno
import math
import threading
from bisect import insort
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl_names import FIXED_RANGES, flags_of, menu_of, name_of, type_of
from mapdev.subsystems.v4l2.ctrl_types import check_range, elem_size_of, initial
from mapdev.subsystems.v4l2.macros import V4L2_CTRL_ID2WHICH

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.event import SubscribedEvent

__all__ = [
    "V4l2Ctrl", "V4l2CtrlConfig", "V4l2CtrlHandler", "V4l2CtrlOps", "v4l2_ctrl_add_handler",
    "v4l2_ctrl_find", "v4l2_ctrl_new_custom", "v4l2_ctrl_new_int_menu", "v4l2_ctrl_new_std",
    "v4l2_ctrl_new_std_menu", "v4l2_ctrl_new_std_menu_items",
]  # fmt: skip

_ID_MASK = c.V4L2_CTRL_ID_MASK
_MENUS = (c.V4L2_CTRL_TYPE_MENU, c.V4L2_CTRL_TYPE_INTEGER_MENU)


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
        """Take a control in, and its class; one whose number is there already is left out."""
        class_ctrl = V4L2_CTRL_ID2WHICH(ctrl.id) | 1
        if (
            ctrl.type < c.V4L2_CTRL_COMPOUND_TYPES
            and ctrl.id != class_ctrl
            and self.find(class_ctrl) is None
        ):
            v4l2_ctrl_new_std(self, None, class_ctrl, 0, 0, 0, 0)
        with self.lock:
            if self.find(ctrl.id) is None:
                insort(self.refs, ctrl, key=lambda one: one.id)


def v4l2_ctrl_find(hdl: V4l2CtrlHandler | None, id_: int) -> V4l2Ctrl | None:
    """Find a control by its number; None if there is none.

    Numbers from V4L2_CID_PRIVATE_BASE on count the driver's own controls of the user class.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    return None if hdl is None else hdl.find(id_)


def _new(
    hdl: V4l2CtrlHandler, config: V4l2CtrlConfig, name: str | None, priv: Any = None
) -> V4l2Ctrl:
    """Make a control.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (v4l2_ctrl_new)
    """
    elem_size = elem_size_of(config.type, config.max, config.elem_size)
    if (
        not 0 < config.id < c.V4L2_CID_PRIVATE_BASE
        or name is None
        or not elem_size
        or (config.type == c.V4L2_CTRL_TYPE_MENU and config.qmenu is None)
        or (config.type == c.V4L2_CTRL_TYPE_INTEGER_MENU and config.qmenu_int is None)
    ):
        raise OSError(errno.ERANGE, f"the control {config.id:#x} lacks a name, a size or a menu")
    is_menu = config.type in _MENUS
    step = config.menu_skip_mask if is_menu else config.step
    check_range(config.type, config.min, config.max, step, config.def_)
    if config.type == c.V4L2_CTRL_TYPE_BUTTON:
        config.flags |= c.V4L2_CTRL_FLAG_WRITE_ONLY | c.V4L2_CTRL_FLAG_EXECUTE_ON_WRITE
    elif config.type == c.V4L2_CTRL_TYPE_CTRL_CLASS:
        config.flags |= c.V4L2_CTRL_FLAG_READ_ONLY
    if config.dims and config.type in (c.V4L2_CTRL_TYPE_BUTTON, c.V4L2_CTRL_TYPE_CTRL_CLASS):
        raise OSError(errno.EINVAL, f"an array of controls of type {config.type}")
    ctrl = V4l2Ctrl(hdl, config, name, priv)
    hdl.add(ctrl)
    hdl.ctrls.append(ctrl)
    return ctrl


def v4l2_ctrl_new_custom(hdl: V4l2CtrlHandler, cfg: V4l2CtrlConfig, priv: Any = None) -> V4l2Ctrl:
    """Make a control of the driver's own, or a standard one if it has no name.

    :param priv: kept with it
    :raises OSError: ERANGE, it has no name, size or menu, or its limits make no sense; EINVAL, a
        menu of numbers without these

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    Fidelity: raises, as all functions that make controls do; in C the handler remembers the error.
    """
    name = cfg.name
    if name is None:
        name = name_of(cfg.id)
        cfg.type = type_of(cfg.id)
        cfg.flags = flags_of(cfg.id)
        low, high, step, default = FIXED_RANGES.get(cfg.id, (cfg.min, cfg.max, cfg.step, None))
        cfg.min, cfg.max, cfg.step = low, high, step
        cfg.def_ = cfg.def_ if default is None else default
    if cfg.type == c.V4L2_CTRL_TYPE_MENU and cfg.qmenu is None:
        cfg.qmenu = menu_of(cfg.id)
    elif cfg.type == c.V4L2_CTRL_TYPE_INTEGER_MENU and cfg.qmenu_int is None:
        raise OSError(errno.EINVAL, "a menu of numbers without them")
    return _new(hdl, cfg, name, priv)


def v4l2_ctrl_new_std(
    hdl: V4l2CtrlHandler, ops: V4l2CtrlOps | None, id_: int, min_: int, max_: int, step: int,
    def_: int,
) -> V4l2Ctrl:  # fmt: skip
    """Make a standard control that is no menu.

    :raises OSError: EINVAL, it is one; else as for `v4l2_ctrl_new_custom`

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    kind = type_of(id_)
    if kind in _MENUS or (
        kind >= c.V4L2_CTRL_COMPOUND_TYPES
        and kind not in (c.V4L2_CTRL_TYPE_U8, c.V4L2_CTRL_TYPE_U16, c.V4L2_CTRL_TYPE_U32)
    ):
        raise OSError(errno.EINVAL, f"{name_of(id_)} is a menu or a structure")
    low, high, by, default = FIXED_RANGES.get(id_, (min_, max_, step, None))
    config = V4l2CtrlConfig(
        ops=ops, id=id_, type=kind, min=low, max=high, step=by,
        def_=def_ if default is None else default, flags=flags_of(id_),
    )  # fmt: skip
    return _new(hdl, config, name_of(id_))


def v4l2_ctrl_new_std_menu(
    hdl: V4l2CtrlHandler, ops: V4l2CtrlOps | None, id_: int, max_: int, mask: int, def_: int
) -> V4l2Ctrl:
    """Make a standard menu.

    :param max_: the last entry
    :param mask: a bit for each entry that is left out
    :param def_: the entry at first
    :raises OSError: EINVAL, there is no such menu; else as for `v4l2_ctrl_new_custom`

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    menu = menu_of(id_)
    if menu is None:
        raise OSError(errno.EINVAL, f"no standard menu {id_:#x}")
    return _menu(hdl, ops, id_, max_, mask, def_, menu)


def _menu(
    hdl: V4l2CtrlHandler, ops: V4l2CtrlOps | None, id_: int, max_: int, mask: int, def_: int,
    qmenu: Sequence[str],
) -> V4l2Ctrl:  # fmt: skip
    config = V4l2CtrlConfig(
        ops=ops, id=id_, type=c.V4L2_CTRL_TYPE_MENU, max=max_, def_=def_, menu_skip_mask=mask,
        flags=flags_of(id_), qmenu=qmenu,
    )  # fmt: skip
    return _new(hdl, config, name_of(id_))


def v4l2_ctrl_new_std_menu_items(
    hdl: V4l2CtrlHandler, ops: V4l2CtrlOps | None, id_: int, max_: int, mask: int, def_: int,
    qmenu: Sequence[str],
) -> V4l2Ctrl:  # fmt: skip
    """Make a standard control whose menu is the driver's, such as a test pattern.

    :raises OSError: EINVAL, its menu is a standard one, or it is no menu

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    if menu_of(id_) is not None or type_of(id_) != c.V4L2_CTRL_TYPE_MENU:
        raise OSError(errno.EINVAL, f"{name_of(id_)} has no menu for a driver to choose")
    return _menu(hdl, ops, id_, max_, mask, def_, qmenu)


def v4l2_ctrl_new_int_menu(
    hdl: V4l2CtrlHandler, ops: V4l2CtrlOps | None, id_: int, max_: int, def_: int,
    qmenu_int: Sequence[int],
) -> V4l2Ctrl:  # fmt: skip
    """Make a standard menu of numbers.

    :raises OSError: EINVAL, it is none

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    if type_of(id_) != c.V4L2_CTRL_TYPE_INTEGER_MENU:
        raise OSError(errno.EINVAL, f"{name_of(id_)} is no menu of numbers")
    config = V4l2CtrlConfig(
        ops=ops, id=id_, type=c.V4L2_CTRL_TYPE_INTEGER_MENU, max=max_, def_=def_,
        flags=flags_of(id_), qmenu_int=qmenu_int,
    )  # fmt: skip
    return _new(hdl, config, name_of(id_))


def v4l2_ctrl_add_handler(
    hdl: V4l2CtrlHandler, add: V4l2CtrlHandler,
    filter: Callable[[V4l2Ctrl], bool] | None = None, from_other_dev: bool = False,
) -> int:  # fmt: skip
    """Have a handler show the controls of another one too.

    :return: 0

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
    """
    for ctrl in add.refs if hdl is not add else ():
        if ctrl.type != c.V4L2_CTRL_TYPE_CTRL_CLASS and (filter is None or filter(ctrl)):
            hdl.add(ctrl)
    return 0
