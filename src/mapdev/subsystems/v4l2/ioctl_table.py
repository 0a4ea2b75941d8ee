"""The commands of V4L2: for each its structure, its function, and what the core does for it.

Source: drivers/media/v4l2-core/v4l2-ioctl.c (v4l2_ioctls)
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_int32, c_uint32, c_uint64
from typing import Any, NamedTuple

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2 import ctrl_ioctls as k
from mapdev.subsystems.v4l2 import formats as f
from mapdev.subsystems.v4l2 import ioctls as v
from mapdev.subsystems.v4l2 import structures as s

__all__ = ["COMMANDS", "CTRL", "PRIO", "Info"]

PRIO = 1 << 0  # refused when another file has a higher priority
CTRL = 1 << 1  # valid if the open file has controls


class Info(NamedTuple):
    """A command: ``struct v4l2_ioctl_info``."""

    cmd: int
    name: str
    type: Any  # of what the argument points to; None for nothing
    function: Callable[[Any, Any, Any, Any], Any]
    flags: int
    kept: int  # bytes that the program fills in, the rest is zeroed; 0 for all


def _info(name: str, type_: Any, function: Any, flags: int = 0, last: str = "") -> Info:
    cmd = getattr(c, f"VIDIOC_{name}")
    if type_ is None:
        return Info(cmd, f"VIDIOC_{name}", None, function, flags, 0)
    kept, at = 0, type_
    for part in last.split(".") if last else ():
        field = getattr(at, part)
        kept += field.offset
        size = field.size
        at = next((kind for field_name, kind in at._fields_ if field_name == part), None)
    return Info(cmd, f"VIDIOC_{name}", type_, function, flags, kept + size if last else 0)


_ALL = [
    _info("QUERYCAP", s.V4l2Capability, v.v4l_querycap),
    _info("ENUM_FMT", s.V4l2Fmtdesc, f.v4l_enum_fmt),
    _info("G_FMT", s.V4l2Format, f.v4l_g_fmt),
    _info("S_FMT", s.V4l2Format, f.v4l_s_fmt, PRIO),
    _info("REQBUFS", s.V4l2Requestbuffers, v.v4l_reqbufs, PRIO),
    _info("QUERYBUF", s.V4l2Buffer, v.v4l_querybuf, last="length"),
    _info("G_FBUF", s.V4l2Framebuffer, v.stub("g_fbuf")),
    _info("S_FBUF", s.V4l2Framebuffer, v.stub("s_fbuf"), PRIO),
    _info("OVERLAY", c_int32, v.v4l_overlay, PRIO),
    _info("QBUF", s.V4l2Buffer, v.v4l_qbuf),
    _info("EXPBUF", s.V4l2Exportbuffer, v.stub("expbuf"), last="flags"),
    _info("DQBUF", s.V4l2Buffer, v.v4l_dqbuf),
    _info("STREAMON", c_uint32, v.v4l_streamon, PRIO),
    _info("STREAMOFF", c_uint32, v.v4l_streamoff, PRIO),
    _info("G_PARM", s.V4l2Streamparm, v.v4l_g_parm, last="type"),
    _info("S_PARM", s.V4l2Streamparm, v.v4l_s_parm, PRIO),
    _info("G_STD", c_uint64, v.v4l_g_std),
    _info("S_STD", c_uint64, v.v4l_s_std, PRIO),
    _info("ENUMINPUT", s.V4l2Input, v.v4l_enuminput, last="index"),
    _info("G_CTRL", s.V4l2Control, k.v4l_g_ctrl, CTRL, "id"),
    _info("S_CTRL", s.V4l2Control, k.v4l_s_ctrl, PRIO | CTRL),
    _info("G_AUDIO", s.V4l2Audio, v.stub("g_audio")),
    _info("S_AUDIO", s.V4l2Audio, v.stub("s_audio"), PRIO),
    _info("QUERYCTRL", s.V4l2Queryctrl, k.v4l_queryctrl, CTRL, "id"),
    _info("QUERYMENU", s.V4l2Querymenu, k.v4l_querymenu, CTRL, "index"),
    _info("G_INPUT", c_int32, v.v4l_g_input),
    _info("S_INPUT", c_uint32, v.v4l_s_input, PRIO),
    _info("G_OUTPUT", c_int32, v.v4l_g_output),
    _info("S_OUTPUT", c_uint32, v.v4l_s_output, PRIO),
    _info("ENUMOUTPUT", s.V4l2Output, v.v4l_enumoutput, last="index"),
    _info("G_AUDOUT", s.V4l2Audioout, v.stub("g_audout")),
    _info("S_AUDOUT", s.V4l2Audioout, v.stub("s_audout"), PRIO),
    _info("CROPCAP", s.V4l2Cropcap, v.v4l_cropcap, last="type"),
    _info("G_CROP", s.V4l2Crop, v.v4l_g_crop, last="type"),
    _info("S_CROP", s.V4l2Crop, v.v4l_s_crop, PRIO),
    _info("G_SELECTION", s.V4l2Selection, v.v4l_g_selection, last="r"),
    _info("S_SELECTION", s.V4l2Selection, v.v4l_s_selection, PRIO, "r"),
    _info("G_JPEGCOMP", s.V4l2Jpegcompression, v.stub("g_jpegcomp")),
    _info("S_JPEGCOMP", s.V4l2Jpegcompression, v.stub("s_jpegcomp"), PRIO),
    _info("QUERYSTD", c_uint64, v.v4l_querystd),
    _info("TRY_FMT", s.V4l2Format, f.v4l_try_fmt),
    _info("ENUMAUDIO", s.V4l2Audio, v.stub("enumaudio"), last="index"),
    _info("ENUMAUDOUT", s.V4l2Audioout, v.stub("enumaudout"), last="index"),
    _info("G_PRIORITY", c_uint32, v.v4l_g_priority),
    _info("S_PRIORITY", c_uint32, v.v4l_s_priority, PRIO),
    _info("LOG_STATUS", None, v.v4l_log_status),
    _info("G_EXT_CTRLS", s.V4l2ExtControls, k.v4l_g_ext_ctrls, CTRL),
    _info("S_EXT_CTRLS", s.V4l2ExtControls, k.v4l_s_ext_ctrls, PRIO | CTRL),
    _info("TRY_EXT_CTRLS", s.V4l2ExtControls, k.v4l_try_ext_ctrls, CTRL),
    _info("ENUM_FRAMESIZES", s.V4l2Frmsizeenum, v.stub("enum_framesizes"), last="pixel_format"),
    _info("ENUM_FRAMEINTERVALS", s.V4l2Frmivalenum, v.stub("enum_frameintervals"), last="height"),
    _info("G_ENC_INDEX", s.V4l2EncIdx, v.stub("g_enc_index")),
    _info("ENCODER_CMD", s.V4l2EncoderCmd, v.stub("encoder_cmd"), PRIO, "flags"),
    _info("TRY_ENCODER_CMD", s.V4l2EncoderCmd, v.stub("try_encoder_cmd"), last="flags"),
    _info("DECODER_CMD", s.V4l2DecoderCmd, v.stub("decoder_cmd"), PRIO),
    _info("TRY_DECODER_CMD", s.V4l2DecoderCmd, v.stub("try_decoder_cmd")),
    _info("DQEVENT", s.V4l2Event, v.v4l_dqevent),
    _info("SUBSCRIBE_EVENT", s.V4l2EventSubscription, v.v4l_subscribe_event),
    _info("UNSUBSCRIBE_EVENT", s.V4l2EventSubscription, v.v4l_unsubscribe_event),
    _info("CREATE_BUFS", s.V4l2CreateBuffers, v.v4l_create_bufs, PRIO),
    _info("PREPARE_BUF", s.V4l2Buffer, v.v4l_prepare_buf),
    _info("QUERY_EXT_CTRL", s.V4l2QueryExtCtrl, k.v4l_query_ext_ctrl, CTRL, "id"),
]

COMMANDS = {info.cmd: info for info in _ALL}
"""What a number means. Tuners, modulators, DV timings and EDIDs are not here: ENOTTY, as for a
driver that does not have them."""
