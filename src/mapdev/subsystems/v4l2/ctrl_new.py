"""Making controls: standard ones, menus, and those of a driver's own.

Source: drivers/media/v4l2-core/v4l2-ctrls-core.c
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl_names import FIXED_RANGES, flags_of, menu_of, name_of, type_of
from mapdev.subsystems.v4l2.ctrl_types import check_range, elem_size_of
from mapdev.subsystems.v4l2.macros import V4L2_CTRL_ID2WHICH

if TYPE_CHECKING:
    pass

from mapdev.subsystems.v4l2.ctrl import V4l2Ctrl, V4l2CtrlConfig, V4l2CtrlHandler, V4l2CtrlOps

__all__ = [
    "v4l2_ctrl_add_handler", "v4l2_ctrl_new_custom", "v4l2_ctrl_new_int_menu", "v4l2_ctrl_new_std",
    "v4l2_ctrl_new_std_menu", "v4l2_ctrl_new_std_menu_items",
]  # fmt: skip

_MENUS = (c.V4L2_CTRL_TYPE_MENU, c.V4L2_CTRL_TYPE_INTEGER_MENU)


def _add(hdl: V4l2CtrlHandler, ctrl: V4l2Ctrl) -> None:
    """Take a control in, and its class before it.

    Source: drivers/media/v4l2-core/v4l2-ctrls-core.c (handler_new_ref)
    """
    class_ctrl = V4L2_CTRL_ID2WHICH(ctrl.id) | 1
    is_simple = ctrl.type < c.V4L2_CTRL_COMPOUND_TYPES
    if is_simple and ctrl.id != class_ctrl and hdl.find(class_ctrl) is None:
        v4l2_ctrl_new_std(hdl, None, class_ctrl, 0, 0, 0, 0)
    hdl.add(ctrl)


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
    _add(hdl, ctrl)
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
            _add(hdl, ctrl)
    return 0
