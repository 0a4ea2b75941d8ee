"""The commands of V4L2 other than formats: what the core does before and after the driver.

Each function has the arguments of the kernel's: the driver's operations, the file, what the file
has in ``private_data``, and the structure that the program gave.

Source: drivers/media/v4l2-core/v4l2-ioctl.c
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

from mapdev.linux import File, printk
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dev import VideoDevice, video_devdata
from mapdev.subsystems.v4l2.event import v4l2_event_dequeue
from mapdev.subsystems.v4l2.formats import check_fmt, v4l_sanitize_format
from mapdev.subsystems.v4l2.macros import V4L2_TYPE_IS_OUTPUT
from mapdev.subsystems.v4l2.ops import V4l2IoctlOps
from mapdev.subsystems.v4l2.prio import v4l2_prio_change, v4l2_prio_max
from mapdev.subsystems.v4l2.structures import V4l2Selection
from mapdev.subsystems.v4l2.uapi_base import clear_after

_SINGLE = {
    c.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE: c.V4L2_BUF_TYPE_VIDEO_CAPTURE,
    c.V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE: c.V4L2_BUF_TYPE_VIDEO_OUTPUT,
}


def _version() -> int:
    """Return the version of the running kernel as LINUX_VERSION_CODE has it."""
    parts = [*os.uname().release.split("-")[0].split("."), "0", "0"][:3]
    major, minor, patch = (int(part) if part.isdecimal() else 0 for part in parts)
    return major << 16 | minor << 8 | min(patch, 255)


def _bus_info(file: File) -> bytes:
    """Return where a device is, if the driver does not say it itself.

    Source: include/media/media-device.h (media_set_bus_info)
    """
    dev = video_devdata(file).dev or file.f_op.dev
    parent = dev.parent if dev is not None else None
    if parent is not None and parent.bus is not None and parent.bus.name == "platform":
        return f"platform:{parent.name}".encode()[:31]
    return b"" if parent is not None else b"no bus info"


def v4l_querycap(ops: Any, file: File, fh: Any, cap: Any) -> Any:
    """VIDIOC_QUERYCAP."""
    vdev = video_devdata(file)
    cap.bus_info = _bus_info(file)
    cap.version = _version()
    cap.device_caps = vdev.device_caps
    cap.capabilities = vdev.device_caps | c.V4L2_CAP_DEVICE_CAPS
    ops.vidioc_querycap(file, fh, cap)
    cap.capabilities |= c.V4L2_CAP_EXT_PIX_FORMAT
    cap.device_caps |= c.V4L2_CAP_EXT_PIX_FORMAT


def _g_number(name: str) -> Any:
    def get(ops: Any, file: File, fh: Any, arg: Any) -> Any:
        if name in ("input", "output") and video_devdata(file).device_caps & c.V4L2_CAP_IO_MC:
            arg.value = 0
            return
        arg.value = getattr(ops, f"vidioc_g_{name}")(file, fh) or 0

    return get


def _s_number(name: str) -> Any:
    def put(ops: Any, file: File, fh: Any, arg: Any) -> Any:
        if name in ("s_input", "s_output") and video_devdata(file).device_caps & c.V4L2_CAP_IO_MC:
            if arg.value:
                raise OSError(errno.EINVAL, "there is one only")
            return None
        return getattr(ops, f"vidioc_{name}")(file, fh, arg.value)

    return put


v4l_g_input, v4l_g_output = _g_number("input"), _g_number("output")
v4l_g_std = _g_number("std")
v4l_s_input, v4l_s_output = _s_number("s_input"), _s_number("s_output")
v4l_streamon, v4l_streamoff = _s_number("streamon"), _s_number("streamoff")
v4l_overlay = _s_number("overlay")


def v4l_s_std(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_S_STD."""
    tvnorms = video_devdata(file).tvnorms
    norm = arg.value & tvnorms
    if tvnorms and not norm:
        raise OSError(errno.EINVAL, f"no standard {arg.value:#x}")
    return ops.vidioc_s_std(file, fh, norm)


def v4l_querystd(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_QUERYSTD."""
    arg.value = video_devdata(file).tvnorms
    found = ops.vidioc_querystd(file, fh)
    if found is not None:
        arg.value = found


def v4l_g_priority(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_G_PRIORITY."""
    arg.value = v4l2_prio_max(video_devdata(file).prio)


def v4l_s_priority(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_S_PRIORITY."""
    vdev = video_devdata(file)
    if not vdev.uses_fh:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    fh.prio = v4l2_prio_change(vdev.prio, fh.prio, arg.value)


def _enum_io(vdev: VideoDevice, arg: Any, std: int, kind: int) -> bool:
    """Fill in what the core knows of an input or output; say whether that is all."""
    if vdev.ioctl_ops is not None and vdev.ioctl_ops.vidioc_s_std is not None:
        arg.capabilities |= std
    if not vdev.device_caps & c.V4L2_CAP_IO_MC:
        return False
    if arg.index:
        raise OSError(errno.EINVAL, "there is one only")
    arg.name = vdev.name.encode()[:31]
    arg.type = kind
    return True


def v4l_enuminput(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_ENUMINPUT."""
    vdev = video_devdata(file)
    if not _enum_io(vdev, arg, c.V4L2_IN_CAP_STD, c.V4L2_INPUT_TYPE_CAMERA):
        return ops.vidioc_enum_input(file, fh, arg)
    return None


def v4l_enumoutput(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_ENUMOUTPUT."""
    vdev = video_devdata(file)
    if not _enum_io(vdev, arg, c.V4L2_OUT_CAP_STD, c.V4L2_OUTPUT_TYPE_ANALOG):
        return ops.vidioc_enum_output(file, fh, arg)
    return None


def v4l_reqbufs(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_REQBUFS."""
    check_fmt(file, arg.type)
    clear_after(arg, "flags")
    return ops.vidioc_reqbufs(file, fh, arg)


def _buffer(name: str) -> Any:
    def run(ops: Any, file: File, fh: Any, arg: Any) -> Any:
        check_fmt(file, arg.type)
        return getattr(ops, f"vidioc_{name}")(file, fh, arg)

    return run


v4l_querybuf, v4l_qbuf, v4l_dqbuf = _buffer("querybuf"), _buffer("qbuf"), _buffer("dqbuf")
v4l_prepare_buf = _buffer("prepare_buf")


def v4l_create_bufs(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_CREATE_BUFS."""
    check_fmt(file, arg.format.type)
    clear_after(arg, "flags")
    v4l_sanitize_format(arg.format)
    try:
        return ops.vidioc_create_bufs(file, fh, arg)
    finally:
        if arg.format.type in _SINGLE.values():
            arg.format.fmt.pix.priv = c.V4L2_PIX_FMT_PRIV_MAGIC


def v4l_g_parm(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_G_PARM."""
    check_fmt(file, arg.type)
    if ops.vidioc_g_parm is not None:
        return ops.vidioc_g_parm(file, fh, arg)
    if V4L2_TYPE_IS_OUTPUT(arg.type) or _SINGLE.get(arg.type, arg.type) not in _SINGLE.values():
        raise OSError(errno.EINVAL, "no parameters of this type")
    arg.parm.capture.readbuffers = 2
    std = ops.vidioc_g_std(file, fh)
    is_525 = bool(std & c.V4L2_STD_525_60)
    period = arg.parm.capture.timeperframe
    period.numerator, period.denominator = (1001, 30000) if is_525 else (1, 25)
    return None


def v4l_s_parm(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_S_PARM."""
    check_fmt(file, arg.type)
    if V4L2_TYPE_IS_OUTPUT(arg.type):
        parm = arg.parm.output
        parm.outputmode &= c.V4L2_MODE_HIGHQUALITY
    else:
        parm = arg.parm.capture
        parm.capturemode &= c.V4L2_MODE_HIGHQUALITY
    ctypes.memset(ctypes.byref(parm.reserved), 0, ctypes.sizeof(parm.reserved))
    parm.extendedmode = 0
    return ops.vidioc_s_parm(file, fh, arg)


def _selection(name: str) -> Any:
    def run(ops: Any, file: File, fh: Any, arg: Any) -> Any:
        given = arg.type
        arg.type = _SINGLE.get(given, given)
        try:
            return getattr(ops, f"vidioc_{name}_selection")(file, fh, arg)
        finally:
            arg.type = given

    return run


v4l_g_selection, v4l_s_selection = _selection("g"), _selection("s")


def _crop(type_: int, crop: int, compose: int) -> V4l2Selection:
    """Return the selection that an old command means: for output devices crop means compose."""
    target = compose if V4L2_TYPE_IS_OUTPUT(type_) else crop
    return V4l2Selection(type=type_, target=target)


def v4l_g_crop(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_G_CROP."""
    selection = _crop(arg.type, c.V4L2_SEL_TGT_CROP, c.V4L2_SEL_TGT_COMPOSE)
    v4l_g_selection(ops, file, fh, selection)
    arg.c = selection.r


def v4l_s_crop(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_S_CROP."""
    selection = _crop(arg.type, c.V4L2_SEL_TGT_CROP, c.V4L2_SEL_TGT_COMPOSE)
    selection.r = arg.c
    return v4l_s_selection(ops, file, fh, selection)


def v4l_cropcap(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_CROPCAP."""
    arg.pixelaspect.numerator = arg.pixelaspect.denominator = 1
    if ops.vidioc_g_pixelaspect is not None:
        try:
            ops.vidioc_g_pixelaspect(file, fh, _SINGLE.get(arg.type, arg.type), arg.pixelaspect)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
    for field, crop, compose in (
        ("bounds", c.V4L2_SEL_TGT_CROP_BOUNDS, c.V4L2_SEL_TGT_COMPOSE_BOUNDS),
        ("defrect", c.V4L2_SEL_TGT_CROP_DEFAULT, c.V4L2_SEL_TGT_COMPOSE_DEFAULT),
    ):
        selection = _crop(arg.type, crop, compose)
        v4l_g_selection(ops, file, fh, selection)
        setattr(arg, field, selection.r)


def v4l_log_status(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_LOG_STATUS."""
    name = video_devdata(file).v4l2_dev.name
    printk(f"{name}: =================  START STATUS  =================\n")
    try:
        return ops.vidioc_log_status(file, fh)
    finally:
        printk(f"{name}: ==================  END STATUS  ==================\n")


def v4l_dqevent(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_DQEVENT."""
    v4l2_event_dequeue(fh, arg, bool(file.f_flags & os.O_NONBLOCK))


def v4l_subscribe_event(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_SUBSCRIBE_EVENT."""
    return ops.vidioc_subscribe_event(fh, arg)


def v4l_unsubscribe_event(ops: Any, file: File, fh: Any, arg: Any) -> Any:
    """VIDIOC_UNSUBSCRIBE_EVENT."""
    return ops.vidioc_unsubscribe_event(fh, arg)


def stub(name: str) -> Any:
    """Return a command that is the driver's alone."""

    def run(ops: V4l2IoctlOps, file: File, fh: Any, arg: Any) -> Any:
        return getattr(ops, f"vidioc_{name}")(file, fh, arg)

    return run
