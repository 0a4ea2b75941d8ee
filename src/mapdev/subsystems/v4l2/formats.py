"""VIDIOC_ENUM_FMT, G_FMT, S_FMT and TRY_FMT: what the core checks and clears around the driver.

Source: drivers/media/v4l2-core/v4l2-ioctl.c
"""

from __future__ import annotations

import ctypes
import errno
from typing import Any, NamedTuple

from mapdev.linux import File
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dev import VideoDevice, video_devdata
from mapdev.subsystems.v4l2.format_names import v4l_fill_fmtdesc
from mapdev.subsystems.v4l2.macros import VFL_DIR_RX, VFL_DIR_TX
from mapdev.subsystems.v4l2.ops import V4l2IoctlOps
from mapdev.subsystems.v4l2.structures import V4l2Format
from mapdev.subsystems.v4l2.uapi_base import clear_after

__all__ = [
    "check_fmt", "is_meta", "is_vbi", "is_video", "v4l_enum_fmt", "v4l_g_fmt", "v4l_s_fmt",
    "v4l_sanitize_format", "v4l_try_fmt",
]  # fmt: skip

_VIDEO_CAPS = (
    c.V4L2_CAP_VIDEO_CAPTURE | c.V4L2_CAP_VIDEO_CAPTURE_MPLANE | c.V4L2_CAP_VIDEO_OUTPUT
    | c.V4L2_CAP_VIDEO_OUTPUT_MPLANE | c.V4L2_CAP_VIDEO_M2M | c.V4L2_CAP_VIDEO_M2M_MPLANE
)  # fmt: skip
_META_CAPS = c.V4L2_CAP_META_CAPTURE | c.V4L2_CAP_META_OUTPUT
_VBI_CAPS = (
    c.V4L2_CAP_VBI_CAPTURE | c.V4L2_CAP_SLICED_VBI_CAPTURE | c.V4L2_CAP_VBI_OUTPUT
    | c.V4L2_CAP_SLICED_VBI_OUTPUT
)  # fmt: skip
_CAP_MPLANE = c.V4L2_CAP_VIDEO_CAPTURE_MPLANE | c.V4L2_CAP_VIDEO_M2M_MPLANE
_OUT_MPLANE = c.V4L2_CAP_VIDEO_OUTPUT_MPLANE | c.V4L2_CAP_VIDEO_M2M_MPLANE


class _Kind(NamedTuple):
    """What one buffer type means: the suffix of its operations and the last field that is kept."""

    suffix: str
    is_tx: bool
    member: str  # of the union
    last: str = ""  # field of the member after which the driver sees zeros; all of it if empty
    caps: int = _VIDEO_CAPS
    enum: str = ""  # suffix of its vidioc_enum_fmt_
    also: str = ""  # an operation that makes the type valid as well


_KINDS = {
    c.V4L2_BUF_TYPE_VIDEO_CAPTURE:
        _Kind("vid_cap", False, "pix", enum="vid_cap", also="vid_cap_mplane"),
    c.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE:
        _Kind("vid_cap_mplane", False, "pix_mp", "xfer_func", enum="vid_cap"),
    c.V4L2_BUF_TYPE_VIDEO_OVERLAY: _Kind("vid_overlay", False, "win", enum="vid_overlay"),
    c.V4L2_BUF_TYPE_VIDEO_OUTPUT:
        _Kind("vid_out", True, "pix", enum="vid_out", also="vid_out_mplane"),
    c.V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE:
        _Kind("vid_out_mplane", True, "pix_mp", "xfer_func", enum="vid_out"),
    c.V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY: _Kind("vid_out_overlay", True, "win"),
    c.V4L2_BUF_TYPE_VBI_CAPTURE: _Kind("vbi_cap", False, "vbi", "flags", _VBI_CAPS),
    c.V4L2_BUF_TYPE_VBI_OUTPUT: _Kind("vbi_out", True, "vbi", "flags", _VBI_CAPS),
    c.V4L2_BUF_TYPE_SLICED_VBI_CAPTURE:
        _Kind("sliced_vbi_cap", False, "sliced", "io_size", _VBI_CAPS),
    c.V4L2_BUF_TYPE_SLICED_VBI_OUTPUT:
        _Kind("sliced_vbi_out", True, "sliced", "io_size", _VBI_CAPS),
    c.V4L2_BUF_TYPE_META_CAPTURE: _Kind("meta_cap", False, "meta", "", _META_CAPS, "meta_cap"),
    c.V4L2_BUF_TYPE_META_OUTPUT: _Kind("meta_out", True, "meta", "", _META_CAPS, "meta_out"),
}  # fmt: skip


def is_video(vdev: VideoDevice) -> bool:
    """Say whether a node is for pictures."""
    return bool(vdev.device_caps & _VIDEO_CAPS)


def is_meta(vdev: VideoDevice) -> bool:
    """Say whether a node is for metadata."""
    return bool(vdev.device_caps & _META_CAPS)


def is_vbi(vdev: VideoDevice) -> bool:
    """Say whether a node is for what comes between pictures."""
    return bool(vdev.device_caps & _VBI_CAPS)


def check_fmt(file: File, type_: int) -> _Kind:
    """Return what a buffer type means for the node of a file.

    :raises OSError: EINVAL, the node has no such buffers

    Source: drivers/media/v4l2-core/v4l2-ioctl.c
    """
    vdev = video_devdata(file)
    kind = _KINDS.get(type_)
    wrong = VFL_DIR_RX if kind is not None and kind.is_tx else VFL_DIR_TX
    if kind is None or vdev.ioctl_ops is None or vdev.vfl_dir == wrong:
        raise OSError(errno.EINVAL, f"no buffers of type {type_}")
    if vdev.device_caps & kind.caps:
        for suffix in (kind.suffix, kind.also):
            if suffix and getattr(vdev.ioctl_ops, f"vidioc_g_fmt_{suffix}") is not None:
                return kind
    raise OSError(errno.EINVAL, f"no buffers of type {type_}")


def v4l_sanitize_format(fmt: V4l2Format) -> None:
    """Limit the number of planes, and clear what programs of old did not know of.

    Source: drivers/media/v4l2-core/v4l2-ioctl.c
    """
    if fmt.type in (c.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, c.V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE):
        mplane = fmt.fmt.pix_mp
        mplane.num_planes = min(mplane.num_planes, c.VIDEO_MAX_PLANES)
    elif fmt.type in (c.V4L2_BUF_TYPE_VIDEO_CAPTURE, c.V4L2_BUF_TYPE_VIDEO_OUTPUT):
        pix = fmt.fmt.pix
        if pix.priv != c.V4L2_PIX_FMT_PRIV_MAGIC:
            pix.priv = c.V4L2_PIX_FMT_PRIV_MAGIC
            clear_after(pix, "priv")


def v4l_enum_fmt(ops: V4l2IoctlOps, file: File, fh: Any, desc: Any) -> Any:
    """VIDIOC_ENUM_FMT."""
    vdev = video_devdata(file)
    kind = check_fmt(file, desc.type)
    mbus_code = desc.mbus_code if vdev.device_caps & c.V4L2_CAP_IO_MC else 0
    clear_after(desc, "type")
    desc.mbus_code = mbus_code
    if kind.member in ("pix", "pix_mp"):
        mplane = _OUT_MPLANE if kind.is_tx else _CAP_MPLANE
        if bool(vdev.device_caps & mplane) != (kind.member == "pix_mp"):
            raise OSError(errno.EINVAL, "the node's buffers are of the other kind")
    op = getattr(ops, f"vidioc_enum_fmt_{kind.enum}") if kind.enum else None
    if op is None:
        raise OSError(errno.EINVAL, "no formats of this type")
    op(file, fh, desc)
    v4l_fill_fmtdesc(desc)


def v4l_g_fmt(ops: V4l2IoctlOps, file: File, fh: Any, fmt: V4l2Format) -> Any:
    """VIDIOC_G_FMT."""
    kind = check_fmt(file, fmt.type)
    if kind.member == "win":
        kept = fmt.fmt.win.clips, fmt.fmt.win.clipcount, fmt.fmt.win.bitmap
        ctypes.memset(ctypes.byref(fmt.fmt), 0, ctypes.sizeof(fmt.fmt))
        fmt.fmt.win.clips, fmt.fmt.win.clipcount, fmt.fmt.win.bitmap = kept
    else:
        ctypes.memset(ctypes.byref(fmt.fmt), 0, ctypes.sizeof(fmt.fmt))
    return _call(ops, "g", kind, file, fh, fmt)


def v4l_s_fmt(ops: V4l2IoctlOps, file: File, fh: Any, fmt: V4l2Format) -> Any:
    """VIDIOC_S_FMT."""
    return _change(ops, "s", file, fh, fmt)


def v4l_try_fmt(ops: V4l2IoctlOps, file: File, fh: Any, fmt: V4l2Format) -> Any:
    """VIDIOC_TRY_FMT."""
    return _change(ops, "try", file, fh, fmt)


def _change(ops: V4l2IoctlOps, verb: str, file: File, fh: Any, fmt: V4l2Format) -> Any:
    kind = check_fmt(file, fmt.type)
    v4l_sanitize_format(fmt)
    if getattr(ops, f"vidioc_{verb}_fmt_{kind.suffix}") is not None:
        _clear(fmt, kind)
    return _call(ops, verb, kind, file, fh, fmt)


def _clear(fmt: V4l2Format, kind: _Kind) -> None:
    """Zero what follows the fields that programs fill in."""
    member = getattr(fmt.fmt, kind.member)
    if kind.last:
        field = getattr(type(member), kind.last)
        kept = field.offset + field.size
    else:
        kept = ctypes.sizeof(member)
    ctypes.memset(ctypes.addressof(fmt.fmt) + kept, 0, ctypes.sizeof(fmt.fmt) - kept)
    if kind.member == "pix_mp":
        for plane in member.plane_fmt[: member.num_planes]:
            clear_after(plane, "bytesperline")


def _call(ops: V4l2IoctlOps, verb: str, kind: _Kind, file: File, fh: Any, fmt: V4l2Format) -> Any:
    op = getattr(ops, f"vidioc_{verb}_fmt_{kind.suffix}")
    if op is None:
        raise OSError(errno.EINVAL, "the driver does not do that for this type")
    if kind.member != "pix":
        return op(file, fh, fmt)
    fmt.fmt.pix.priv = c.V4L2_PIX_FMT_PRIV_MAGIC
    try:
        return op(file, fh, fmt)
    finally:
        fmt.fmt.pix.priv = c.V4L2_PIX_FMT_PRIV_MAGIC
