"""Stateful codecs on memory-to-memory queues: stopping, draining and the last buffer.

The states are in `V4l2M2mCtx`: a codec that was told to stop drains what is queued, marks the last
buffer, and has stopped then.

Source: drivers/media/v4l2-core/v4l2-mem2mem.c
"""

from __future__ import annotations

import errno
from typing import Any

from mapdev.linux import (
    File,
)
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.mem2mem import (
    V4l2M2mCtx,
    last_buffer_done,
    mark_stopped,
    v4l2_m2m_dst_buf_remove,
)
from mapdev.subsystems.v4l2.vb2_buffer import Vb2V4l2Buffer
from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue, vb2_clear_last_buffer_dequeued

__all__ = [
    "v4l2_m2m_clear_state",
    "v4l2_m2m_dst_buf_is_last",
    "v4l2_m2m_has_stopped",
    "v4l2_m2m_ioctl_decoder_cmd",
    "v4l2_m2m_ioctl_encoder_cmd",
    "v4l2_m2m_ioctl_try_decoder_cmd",
    "v4l2_m2m_ioctl_try_encoder_cmd",
    "v4l2_m2m_is_last_draining_src_buf",
    "v4l2_m2m_last_buffer_done",
    "v4l2_m2m_mark_stopped",
    "v4l2_m2m_update_start_streaming_state",
    "v4l2_m2m_update_stop_streaming_state",
]

v4l2_m2m_last_buffer_done = last_buffer_done
v4l2_m2m_mark_stopped = mark_stopped


def v4l2_m2m_clear_state(m2m_ctx: V4l2M2mCtx) -> None:
    """Have a codec begin anew.

    Source: include/media/v4l2-mem2mem.h
    """
    m2m_ctx.next_buf_last = m2m_ctx.is_draining = m2m_ctx.has_stopped = False


def v4l2_m2m_has_stopped(m2m_ctx: V4l2M2mCtx) -> bool:
    """Say whether a codec has done its last buffer.

    Source: include/media/v4l2-mem2mem.h
    """
    return m2m_ctx.has_stopped


def v4l2_m2m_dst_buf_is_last(m2m_ctx: V4l2M2mCtx) -> bool:
    """Say whether the next destination buffer is the last, and empty.

    Source: include/media/v4l2-mem2mem.h
    """
    return m2m_ctx.is_draining and m2m_ctx.next_buf_last


def v4l2_m2m_is_last_draining_src_buf(m2m_ctx: V4l2M2mCtx, vbuf: Vb2V4l2Buffer) -> bool:
    """Say whether a source buffer is the last before a stop.

    Source: include/media/v4l2-mem2mem.h
    """
    return m2m_ctx.is_draining and vbuf is m2m_ctx.last_src_buf


def _end_or_mark_next(ctx: V4l2M2mCtx) -> None:
    """Give back an empty last buffer, now or when there is one."""
    vbuf = v4l2_m2m_dst_buf_remove(ctx)
    if vbuf is None:
        ctx.next_buf_last = True
        return
    for plane in vbuf.planes:
        plane.bytesused = 0
    last_buffer_done(ctx, vbuf)


def v4l2_m2m_update_start_streaming_state(m2m_ctx: V4l2M2mCtx, q: Vb2Queue) -> None:
    """Know that a queue of a codec starts; for use in ``start_streaming``.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    if q.is_output:
        m2m_ctx.last_src_buf = None


def v4l2_m2m_update_stop_streaming_state(m2m_ctx: V4l2M2mCtx, q: Vb2Queue) -> None:
    """Know that a queue of a codec stops; for use in ``stop_streaming``.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    if not q.is_output:
        v4l2_m2m_clear_state(m2m_ctx)
    elif m2m_ctx.is_draining:
        _end_or_mark_next(m2m_ctx)


def _stop(ctx: V4l2M2mCtx) -> None:
    if ctx.is_draining:
        raise OSError(errno.EBUSY, "the codec is stopping")
    if ctx.has_stopped:
        return
    ctx.last_src_buf = ctx.src_ready[-1] if ctx.src_ready else None
    ctx.is_draining = True
    if ctx.last_src_buf is None:
        _end_or_mark_next(ctx)


def _start(ctx: V4l2M2mCtx) -> None:
    if ctx.is_draining:
        raise OSError(errno.EBUSY, "the codec is stopping")
    if ctx.has_stopped:
        ctx.has_stopped = False
        vb2_clear_last_buffer_dequeued(ctx.dst_vq)


def v4l2_m2m_ioctl_try_encoder_cmd(file: File, fh: Any, ec: Any) -> None:
    """VIDIOC_TRY_ENCODER_CMD: start and stop, without flags.

    :raises OSError: EINVAL, another command

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    if ec.cmd not in (c.V4L2_ENC_CMD_STOP, c.V4L2_ENC_CMD_START):
        raise OSError(errno.EINVAL, f"no command {ec.cmd}")
    ec.flags = 0


def v4l2_m2m_ioctl_try_decoder_cmd(file: File, fh: Any, dc: Any) -> None:
    """VIDIOC_TRY_DECODER_CMD: start and stop, without flags.

    :raises OSError: EINVAL, another command

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    if dc.cmd == c.V4L2_DEC_CMD_STOP:
        dc.stop.pts = 0
    elif dc.cmd == c.V4L2_DEC_CMD_START:
        dc.start.speed = 0
        dc.start.format = c.V4L2_DEC_START_FMT_NONE
    else:
        raise OSError(errno.EINVAL, f"no command {dc.cmd}")
    dc.flags = 0


def v4l2_m2m_ioctl_encoder_cmd(file: File, fh: Any, ec: Any) -> None:
    """VIDIOC_ENCODER_CMD: after stop, what is queued is done, and the last buffer marked.

    :raises OSError: EINVAL, another command; EBUSY, the codec is stopping

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    v4l2_m2m_ioctl_try_encoder_cmd(file, fh, ec)
    (_stop if ec.cmd == c.V4L2_ENC_CMD_STOP else _start)(file.private_data.m2m_ctx)


def v4l2_m2m_ioctl_decoder_cmd(file: File, fh: Any, dc: Any) -> None:
    """VIDIOC_DECODER_CMD: as `v4l2_m2m_ioctl_encoder_cmd`.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    v4l2_m2m_ioctl_try_decoder_cmd(file, fh, dc)
    (_stop if dc.cmd == c.V4L2_DEC_CMD_STOP else _start)(file.private_data.m2m_ctx)
