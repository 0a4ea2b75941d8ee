"""Which commands a node has, by its kind, its direction and the driver's operations.

Source: drivers/media/v4l2-core/v4l2-dev.c (determine_valid_ioctls)
"""

from __future__ import annotations

from typing import Any

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dev import VideoDevice
from mapdev.subsystems.v4l2.formats import is_meta, is_vbi, is_video
from mapdev.subsystems.v4l2.macros import VFL_DIR_RX, VFL_DIR_TX

__all__ = ["v4l2_disable_ioctl", "valid_ioctls"]

_VIDEO = (
    "OVERLAY", "G_FBUF", "S_FBUF", "G_JPEGCOMP", "S_JPEGCOMP", "G_ENC_INDEX", "ENCODER_CMD",
    "TRY_ENCODER_CMD", "DECODER_CMD", "TRY_DECODER_CMD", "ENUM_FRAMESIZES", "ENUM_FRAMEINTERVALS",
    "G_SELECTION", "S_SELECTION",
)  # fmt: skip
_QUEUE = (
    "REQBUFS", "QUERYBUF", "QBUF", "EXPBUF", "DQBUF", "CREATE_BUFS", "PREPARE_BUF", "STREAMON",
    "STREAMOFF",
)  # fmt: skip
_RX = ("QUERYSTD", "ENUMAUDIO", "G_AUDIO", "S_AUDIO", "S_EDID")
_TX = ("ENUMAUDOUT", "G_AUDOUT", "S_AUDOUT")
_CAPTURE = ("vid_cap", "vid_cap_mplane", "vid_overlay")
_OUTPUT = ("vid_out", "vid_out_mplane", "vid_out_overlay")


def v4l2_disable_ioctl(vdev: VideoDevice, cmd: int) -> None:
    """Have a node not have a command although the driver does; before it is registered.

    Source: include/media/v4l2-dev.h
    """
    vdev.disabled_ioctls.add(cmd)


def valid_ioctls(vdev: VideoDevice) -> frozenset[int]:
    """Return the numbers of the commands that a node has."""
    known: frozenset[int] | None = getattr(vdev, "_valid_ioctls", None)
    if known is None:
        known = frozenset(_determine(vdev)) - vdev.disabled_ioctls
        vdev._valid_ioctls = known  # type: ignore[attr-defined]
    return known


def _determine(vdev: VideoDevice) -> set[int]:
    ops: Any = vdev.ioctl_ops
    is_rx, is_tx = vdev.vfl_dir != VFL_DIR_TX, vdev.vfl_dir != VFL_DIR_RX
    video, meta, vbi = is_video(vdev), is_meta(vdev), is_vbi(vdev)
    found = {c.VIDIOC_G_PRIORITY, c.VIDIOC_S_PRIORITY}

    def number(name: str) -> int:
        value: int = getattr(c, f"VIDIOC_{name}")
        return value

    def has(*names: str) -> bool:
        return any(getattr(ops, f"vidioc_{name}") is not None for name in names)

    def simple(*names: str) -> None:
        found.update(number(name) for name in names if has(name.lower()))

    def formats(kinds: tuple[str, ...]) -> None:
        for verb in ("G", "S", "TRY"):
            if has(*(f"{verb.lower()}_fmt_{kind}" for kind in kinds)):
                found.add(number(f"{verb}_FMT"))

    simple("QUERYCAP", "LOG_STATUS", "SUBSCRIBE_EVENT", "UNSUBSCRIBE_EVENT")
    if has("subscribe_event"):
        found.add(c.VIDIOC_DQEVENT)
    own = vdev.ctrl_handler is not None
    for name, operations in (
        ("QUERYCTRL", ("queryctrl",)), ("QUERY_EXT_CTRL", ("query_ext_ctrl",)),
        ("G_CTRL", ("g_ctrl", "g_ext_ctrls")), ("S_CTRL", ("s_ctrl", "s_ext_ctrls")),
        ("G_EXT_CTRLS", ("g_ext_ctrls",)), ("S_EXT_CTRLS", ("s_ext_ctrls",)),
        ("TRY_EXT_CTRLS", ("try_ext_ctrls",)), ("QUERYMENU", ("querymenu",)),
    ):  # fmt: skip
        if own or has(*operations):
            found.add(number(name))
    if video:
        if (is_rx and has("enum_fmt_vid_cap", "enum_fmt_vid_overlay")) or (
            is_tx and has("enum_fmt_vid_out")
        ):
            found.add(c.VIDIOC_ENUM_FMT)
        formats((*(_CAPTURE if is_rx else ()), *(_OUTPUT if is_tx else ())))
        simple(*_VIDEO)
        if has("g_selection"):
            found.update((c.VIDIOC_G_CROP, c.VIDIOC_CROPCAP))
        if has("s_selection"):
            found.add(c.VIDIOC_S_CROP)
    if meta:
        kinds = (*(("meta_cap",) if is_rx else ()), *(("meta_out",) if is_tx else ()))
        if has(*(f"enum_fmt_{kind}" for kind in kinds)):
            found.add(c.VIDIOC_ENUM_FMT)
        formats(kinds)
    if vbi:
        formats((
            *(("vbi_cap", "sliced_vbi_cap") if is_rx else ()),
            *(("vbi_out", "sliced_vbi_out") if is_tx else ()),
        ))  # fmt: skip
    if video or vbi or meta:
        simple(*_QUEUE)
    if video or vbi:
        _inputs_and_outputs(vdev, found, simple, has)
    return found


def _inputs_and_outputs(vdev: VideoDevice, found: set[int], simple: Any, has: Any) -> None:
    is_mc = bool(vdev.device_caps & c.V4L2_CAP_IO_MC)
    simple("S_STD", "G_STD", "S_PARM")
    if has("g_parm", "g_std"):
        found.add(c.VIDIOC_G_PARM)
    for wrong, name, audio in ((VFL_DIR_TX, "INPUT", _RX), (VFL_DIR_RX, "OUTPUT", _TX)):
        if vdev.vfl_dir == wrong:
            continue
        simple(*audio)
        for command, operation in (
            (f"ENUM{name}", f"enum_{name.lower()}"), (f"G_{name}", f"g_{name.lower()}"),
            (f"S_{name}", f"s_{name.lower()}"),
        ):  # fmt: skip
            if is_mc or has(operation):
                found.add(getattr(c, f"VIDIOC_{command}"))
