"""`video_ioctl2`: from the number of a command and a program's address to the driver's operation.

The order is the kernel's. The structure is copied in (EFAULT), as far as the program fills it in,
and the rest is zeroed; then the array that it points to (EINVAL for a wrong length, EFAULT); then
come whether the driver has the command (ENOTTY), the file's priority (EBUSY), and the command
itself. What it has changed is copied out if it succeeded, or if there was an array.

Source: drivers/media/v4l2-core/v4l2-ioctl.c (video_usercopy, __video_do_ioctl)
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

from mapdev.linux import File, copy_from_user, copy_to_user, printk
from mapdev.linux.ioctl_numbers import _IOC_DIR, _IOC_READ, _IOC_SIZE, _IOC_WRITE
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2 import structures as s
from mapdev.subsystems.v4l2.dev import VideoDevice, video_devdata, video_device_node_name
from mapdev.subsystems.v4l2.ioctl_table import COMMANDS, CTRL, PRIO, Info
from mapdev.subsystems.v4l2.macros import V4L2_TYPE_IS_MULTIPLANAR
from mapdev.subsystems.v4l2.prio import v4l2_prio_check, v4l2_prio_max
from mapdev.subsystems.v4l2.valid_ioctls import valid_ioctls

__all__ = ["video_ioctl2"]

_BUFFER_COMMANDS = {c.VIDIOC_PREPARE_BUF, c.VIDIOC_QUERYBUF, c.VIDIOC_QBUF, c.VIDIOC_DQBUF}
_CONTROL_COMMANDS = {c.VIDIOC_S_EXT_CTRLS, c.VIDIOC_G_EXT_CTRLS, c.VIDIOC_TRY_EXT_CTRLS}
_EDID_COMMANDS = {c.VIDIOC_G_EDID, c.VIDIOC_S_EDID}
_FORMAT_COMMANDS = {c.VIDIOC_G_FMT, c.VIDIOC_S_FMT, c.VIDIOC_TRY_FMT}
_OVERLAYS = (c.V4L2_BUF_TYPE_VIDEO_OVERLAY, c.V4L2_BUF_TYPE_VIDEO_OUTPUT_OVERLAY)
_EDID_BLOCK = 128  # bytes
# V4L2_DEV_DEBUG_* of include/media/v4l2-ioctl.h
_DEBUG_IOCTL, _DEBUG_ARG, _DEBUG_STREAMING = 0x01, 0x02, 0x08


def _array(cmd: int, arg: Any) -> tuple[int, Any] | None:
    """Return where the array is that a structure points to, and its type; None if there is none.

    :raises OSError: EINVAL, it is too long

    Source: drivers/media/v4l2-core/v4l2-ioctl.c (check_array_args)
    """
    kind: Any
    if cmd in _BUFFER_COMMANDS:
        if not V4L2_TYPE_IS_MULTIPLANAR(arg.type):
            return None
        where, count, most, kind = arg.m.planes, arg.length, c.VIDEO_MAX_PLANES, s.V4l2Plane
    elif cmd in _CONTROL_COMMANDS:
        where, count = arg.controls, arg.count
        most, kind = c.V4L2_CID_MAX_CTRLS, s.V4l2ExtControl
    elif cmd in _EDID_COMMANDS:
        where, count, most, kind = arg.edid, arg.blocks, 256, ctypes.c_uint8 * _EDID_BLOCK
    elif cmd in _FORMAT_COMMANDS and arg.type in _OVERLAYS:
        window = arg.fmt.win
        where, count, most, kind = window.clips, window.clipcount, 2048, s.V4l2Clip
    else:
        return None
    if not count:
        return None
    if count > most:
        raise OSError(errno.EINVAL, f"{count} entries, at most {most} are possible")
    return where, kind * count


def video_ioctl2(file: File, cmd: int, arg: int) -> int:
    """Carry out a command of V4L2; for use as a node's ioctl operation.

    :raises OSError: ENOTTY, the node does not have the command; EFAULT; EBUSY, another file has a
        higher priority; else what the command's own page in the documentation says

    Source: drivers/media/v4l2-core/v4l2-ioctl.c
    """
    info = COMMANDS.get(cmd)
    direction, size = _IOC_DIR(cmd), _IOC_SIZE(cmd)
    value: Any = None
    if direction & _IOC_WRITE:
        kept = info.kept if info is not None and info.kept else size
        data = copy_from_user(arg, kept)
        data += bytes(size - kept)
        value = bytearray(data) if info is None else info.type.from_buffer_copy(data)
    elif direction:
        value = bytearray(size) if info is None else info.type()
    if info is None:
        return _unknown(file, cmd, arg, value)
    found = _array(cmd, value)
    if found is None:
        result = _do(file, info, value)
        if info.type is not None and direction & _IOC_READ:
            copy_to_user(arg, bytes(value))
        return result
    where, kind = found
    array = value.array = kind.from_buffer_copy(copy_from_user(where, ctypes.sizeof(kind)))
    failure: OSError | None = None
    try:
        result = _do(file, info, value)
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno == errno.ENOTTY:
            raise
        failure = error
    copy_to_user(where, bytes(array))
    if direction & _IOC_READ:
        copy_to_user(arg, bytes(value))
    if failure is not None:
        raise failure
    return result


def _do(file: File, info: Info, arg: Any) -> int:
    """Run a command that the core knows.

    Source: drivers/media/v4l2-core/v4l2-ioctl.c (__video_do_ioctl)
    """
    vdev = video_devdata(file)
    ops = vdev.ioctl_ops
    fh = file.private_data
    if ops is None:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    vfh = fh if vdev.uses_fh else None
    try:
        if info.cmd not in valid_ioctls(vdev) and not (
            info.flags & CTRL and vfh is not None and vfh.ctrl_handler is not None
        ):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        if vfh is not None and info.flags & PRIO:
            v4l2_prio_check(vdev.prio, vfh.prio)
        result = info.function(ops, file, fh, arg)
    except OSError as error:
        _debug(vdev, info, arg, error)
        raise
    _debug(vdev, info, arg, None)
    return result or 0


def _unknown(file: File, cmd: int, where: int, data: bytearray | None) -> int:
    """Run a command that the core does not know, if the driver does."""
    vdev = video_devdata(file)
    op = vdev.ioctl_ops.vidioc_default if vdev.ioctl_ops is not None else None
    if op is None:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
    fh = file.private_data
    is_valid = vdev.uses_fh and fh.prio >= v4l2_prio_max(vdev.prio)
    result = op(file, fh, is_valid, cmd, data)
    if _IOC_DIR(cmd) & _IOC_READ and data is not None:
        copy_to_user(where, data)
    return result or 0


def _debug(vdev: VideoDevice, info: Info, arg: Any, error: OSError | None) -> None:
    """Log a command, as the node's ``dev_debug`` says."""
    wanted = vdev.dev_debug
    if not wanted & (_DEBUG_IOCTL | _DEBUG_ARG) or isinstance(error, BlockingIOError):
        return
    if info.cmd in (c.VIDIOC_QBUF, c.VIDIOC_DQBUF) and not wanted & _DEBUG_STREAMING:
        return
    failed = f": error -{error.errno}" if error is not None else ""
    values = f": {bytes(arg).hex()}" if wanted & _DEBUG_ARG and arg is not None else ""
    printk(f"{video_device_node_name(vdev)}: {info.name}{failed}{values}\n")
