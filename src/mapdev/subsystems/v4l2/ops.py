"""`V4l2IoctlOps`: the commands that a driver of V4L2 has, by the kernel's names.

Source: include/media/v4l2-ioctl.h
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["IOCTL_OPS", "V4l2IoctlOps"]

_FORMATS = (
    "vid_cap", "vid_cap_mplane", "vid_out", "vid_out_mplane", "vid_overlay", "vid_out_overlay",
    "vbi_cap", "vbi_out", "sliced_vbi_cap", "sliced_vbi_out", "sdr_cap", "sdr_out", "meta_cap",
    "meta_out",
)  # fmt: skip

IOCTL_OPS = frozenset(
    f"vidioc_{name}"
    for name in (
        "querycap", "enum_fmt_vid_cap", "enum_fmt_vid_overlay", "enum_fmt_vid_out",
        "enum_fmt_sdr_cap", "enum_fmt_sdr_out", "enum_fmt_meta_cap", "enum_fmt_meta_out",
        *(f"{verb}_fmt_{kind}" for verb in ("g", "s", "try") for kind in _FORMATS),
        "reqbufs", "querybuf", "qbuf", "expbuf", "dqbuf", "create_bufs", "prepare_buf",
        "streamon", "streamoff", "overlay", "g_fbuf", "s_fbuf", "g_std", "s_std", "querystd",
        "enum_input", "g_input", "s_input", "enum_output", "g_output", "s_output",
        "queryctrl", "query_ext_ctrl", "g_ctrl", "s_ctrl", "g_ext_ctrls", "s_ext_ctrls",
        "try_ext_ctrls", "querymenu", "enumaudio", "g_audio", "s_audio", "enumaudout", "g_audout",
        "s_audout", "g_modulator", "s_modulator", "g_pixelaspect", "g_selection", "s_selection",
        "g_jpegcomp", "s_jpegcomp", "g_enc_index", "encoder_cmd", "try_encoder_cmd",
        "decoder_cmd", "try_decoder_cmd", "g_parm", "s_parm", "g_tuner", "s_tuner",
        "g_frequency", "s_frequency", "enum_freq_bands", "g_sliced_vbi_cap", "log_status",
        "s_hw_freq_seek", "enum_framesizes", "enum_frameintervals", "s_dv_timings",
        "g_dv_timings", "query_dv_timings", "enum_dv_timings", "dv_timings_cap", "g_edid",
        "s_edid", "subscribe_event", "unsubscribe_event", "default",
    )
)  # fmt: skip


class V4l2IoctlOps:
    """The commands of a driver: ``struct v4l2_ioctl_ops``. What is left out is None.

    An operation is called as in C: ``vidioc_g_fmt_vid_cap(file, fh, f)`` changes the structure in
    place; it returns 0 or None, or raises `OSError`. ``vidioc_subscribe_event(fh, sub)`` and its
    opposite have no file. The numbers that VIDIOC_S_INPUT, STREAMON and their like carry are passed
    as numbers; VIDIOC_G_INPUT and VIDIOC_G_OUTPUT return the number. ``vidioc_g_pixelaspect(file,
    fh, type, fract)``, ``vidioc_default(file, fh, valid_prio, cmd, data)``, whose data is a
    bytearray.

    Source: include/media/v4l2-ioctl.h
    Fidelity: ``vidioc_g_input``, ``vidioc_g_output``, ``vidioc_g_std`` and ``vidioc_querystd``
    return what C stores at a pointer.
    """

    def __init__(self, **ops: Callable[..., Any] | None) -> None:
        """Take the operations by name.

        :raises TypeError: there is no operation of that name.
        """
        for name in ops:
            if name not in IOCTL_OPS:
                raise TypeError(f"V4l2IoctlOps has no operation {name}")
        self._ops = {name: op for name, op in ops.items() if op is not None}

    def __getattr__(self, name: str) -> Callable[..., Any] | None:
        if name.startswith("_") or name not in IOCTL_OPS:
            raise AttributeError(name)
        return self._ops.get(name)
