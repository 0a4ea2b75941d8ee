"""The function-like macros of the headers, and constants of the kernel's that they don't have."""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

from __future__ import annotations

from typing import Any

from mapdev.subsystems.v4l2 import constants as c

__all__ = [
    "V4L2_CTRL_ID2WHICH", "V4L2_CTRL_MAX_DIMS", "V4L2_TYPE_IS_CAPTURE",
    "V4L2_TYPE_IS_MULTIPLANAR", "V4L2_TYPE_IS_OUTPUT", "VFL_DIR_M2M", "VFL_DIR_RX", "VFL_DIR_TX",
    "VFL_TYPE_META", "VFL_TYPE_VIDEO", "VIDEO_MAJOR", "ns_to_timeval", "timeval_to_ns",
    "v4l2_fourcc",
]  # fmt: skip

VIDEO_MAJOR = 81
VFL_TYPE_VIDEO = 0
VFL_TYPE_META = 6  # a video node for metadata: told by its capabilities
VFL_DIR_RX = 0
VFL_DIR_TX = 1
VFL_DIR_M2M = 2
V4L2_CTRL_MAX_DIMS = c.V4L2_CTRL_MAX_DIMS

_MULTIPLANAR = {c.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, c.V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE}
_OUTPUT = {
    c.V4L2_BUF_TYPE_VIDEO_OUTPUT, c.V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
    c.V4L2_BUF_TYPE_VIDEO_OVERLAY, c.V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY,
    c.V4L2_BUF_TYPE_VBI_OUTPUT, c.V4L2_BUF_TYPE_SLICED_VBI_OUTPUT, c.V4L2_BUF_TYPE_SDR_OUTPUT,
    c.V4L2_BUF_TYPE_META_OUTPUT,
}  # fmt: skip


def v4l2_fourcc(a: str, b: str, c: str, d: str) -> int:
    """Make the number of a pixel format of its four characters.

    Source: include/uapi/linux/videodev2.h
    """
    return ord(a) | ord(b) << 8 | ord(c) << 16 | ord(d) << 24


def V4L2_TYPE_IS_MULTIPLANAR(type_: int) -> bool:
    """Say whether buffers of a type have planes of their own memory.

    Source: include/uapi/linux/videodev2.h
    """
    return type_ in _MULTIPLANAR


def V4L2_TYPE_IS_OUTPUT(type_: int) -> bool:
    """Say whether programs fill buffers of a type.

    Source: include/uapi/linux/videodev2.h
    """
    return type_ in _OUTPUT


def V4L2_TYPE_IS_CAPTURE(type_: int) -> bool:
    """Say whether the device fills buffers of a type.

    Source: include/uapi/linux/videodev2.h
    """
    return type_ not in _OUTPUT


def V4L2_CTRL_ID2WHICH(id_: int) -> int:
    """Give the class of a control's number.

    Source: include/uapi/linux/videodev2.h
    """
    return id_ & 0x0FFF0000


def timeval_to_ns(tv: Any) -> int:
    """Give the nanoseconds of a ``struct timeval``.

    Source: include/linux/time.h
    """
    nanoseconds: int = tv.tv_sec * 1_000_000_000 + tv.tv_usec * 1000
    return nanoseconds


def ns_to_timeval(tv: Any, nanoseconds: int) -> None:
    """Fill a ``struct timeval`` with a number of nanoseconds.

    Source: kernel/time/time.c
    Fidelity: fills the structure, which C returns.
    """
    tv.tv_sec, rest = divmod(nanoseconds, 1_000_000_000)
    tv.tv_usec = rest // 1000
