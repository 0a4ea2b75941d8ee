"""Ready-made operations for memory-to-memory nodes: ``v4l2_m2m_ioctl_*`` and ``v4l2_m2m_fop_*``.

The offsets of destination buffers for mmap are counted from 1 GiB on, since both queues have the
same.

Source: drivers/media/v4l2-core/v4l2-mem2mem.c
"""

from __future__ import annotations

import errno
import os
from typing import Any

from mapdev.linux import (
    EPOLLERR,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDNORM,
    EPOLLWRNORM,
    PAGE_SHIFT,
    File,
    VmAreaStruct,
    poll_requested_events,
    poll_wait,
)
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dev import video_devdata
from mapdev.subsystems.v4l2.event import v4l2_event_pending
from mapdev.subsystems.v4l2.mem2mem import (
    V4l2M2mCtx,
    cancel_job,
    v4l2_m2m_get_vq,
    v4l2_m2m_try_schedule,
)
from mapdev.subsystems.v4l2.vb2_access import vb2_mmap
from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue
from mapdev.subsystems.v4l2.vb2_v4l2 import (
    vb2_create_bufs,
    vb2_dqbuf,
    vb2_expbuf,
    vb2_prepare_buf,
    vb2_qbuf,
    vb2_querybuf,
    vb2_reqbufs,
    vb2_streamoff,
    vb2_streamon,
)

__all__ = [
    "v4l2_m2m_fop_mmap",
    "v4l2_m2m_fop_poll",
    "v4l2_m2m_ioctl_create_bufs",
    "v4l2_m2m_ioctl_dqbuf",
    "v4l2_m2m_ioctl_expbuf",
    "v4l2_m2m_ioctl_prepare_buf",
    "v4l2_m2m_ioctl_qbuf",
    "v4l2_m2m_ioctl_querybuf",
    "v4l2_m2m_ioctl_reqbufs",
    "v4l2_m2m_ioctl_streamoff",
    "v4l2_m2m_ioctl_streamon",
]

_DST_OFFSET = 1 << 30  # bytes: DST_QUEUE_OFF_BASE
_IN, _OUT = EPOLLIN | EPOLLRDNORM, EPOLLOUT | EPOLLWRNORM


def _ctx(file: File) -> V4l2M2mCtx:
    ctx: V4l2M2mCtx = file.private_data.m2m_ctx
    return ctx


def _queue(file: File, type_: int) -> Vb2Queue:
    return v4l2_m2m_get_vq(_ctx(file), type_)


def _adjust_offset(q: Vb2Queue, b: Any) -> None:
    """Tell destination buffers' offsets from those of source buffers."""
    if b.memory != c.V4L2_MEMORY_MMAP or q.is_output:
        return
    if q.is_multiplanar:
        for plane in b.array[: b.length]:
            plane.m.mem_offset += _DST_OFFSET
    else:
        b.m.offset += _DST_OFFSET


def v4l2_m2m_ioctl_reqbufs(file: File, fh: Any, rb: Any) -> None:
    """VIDIOC_REQBUFS.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    q = _queue(file, rb.type)
    vb2_reqbufs(q, rb)
    q.owner = file.private_data if rb.count else None


def v4l2_m2m_ioctl_create_bufs(file: File, fh: Any, create: Any) -> None:
    """VIDIOC_CREATE_BUFS.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    vb2_create_bufs(_queue(file, create.format.type), create)


def v4l2_m2m_ioctl_querybuf(file: File, fh: Any, b: Any) -> None:
    """VIDIOC_QUERYBUF.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    q = _queue(file, b.type)
    vb2_querybuf(q, b)
    _adjust_offset(q, b)


def v4l2_m2m_ioctl_qbuf(file: File, fh: Any, b: Any) -> None:
    """VIDIOC_QBUF, after which a job may begin.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    q = _queue(file, b.type)
    if not q.is_output and b.flags & c.V4L2_BUF_FLAG_REQUEST_FD:
        raise OSError(errno.EPERM, "requests are for source buffers")
    vb2_qbuf(q, b)
    _adjust_offset(q, b)
    v4l2_m2m_try_schedule(_ctx(file))


def v4l2_m2m_ioctl_dqbuf(file: File, fh: Any, b: Any) -> None:
    """VIDIOC_DQBUF.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    q = _queue(file, b.type)
    vb2_dqbuf(q, b, bool(file.f_flags & os.O_NONBLOCK))
    _adjust_offset(q, b)


def v4l2_m2m_ioctl_prepare_buf(file: File, fh: Any, b: Any) -> None:
    """VIDIOC_PREPARE_BUF.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    q = _queue(file, b.type)
    vb2_prepare_buf(q, b)
    _adjust_offset(q, b)


def v4l2_m2m_ioctl_expbuf(file: File, fh: Any, eb: Any) -> None:
    """VIDIOC_EXPBUF.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    vb2_expbuf(_queue(file, eb.type), eb)


def v4l2_m2m_ioctl_streamon(file: File, fh: Any, type_: int) -> None:
    """VIDIOC_STREAMON, after which a job may begin.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    vb2_streamon(_queue(file, type_), type_)
    v4l2_m2m_try_schedule(_ctx(file))


def v4l2_m2m_ioctl_streamoff(file: File, fh: Any, type_: int) -> None:
    """VIDIOC_STREAMOFF, which waits for a job that runs.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    ctx = _ctx(file)
    cancel_job(ctx)
    try:
        vb2_streamoff(v4l2_m2m_get_vq(ctx, type_), type_)
    except OSError:
        ctx.is_aborting = False
        raise
    with ctx.m2m_dev.lock:
        ctx.is_aborting = False
        ctx.ready(v4l2_m2m_get_vq(ctx, type_)).clear()


def _poll_for_data(ctx: V4l2M2mCtx) -> int:
    src, dst = ctx.src_vq, ctx.dst_vq
    src_is_idle = not src.streaming or src.error or not src.queued_list
    dst_is_idle = (
        not dst.streaming or dst.error or (not dst.queued_list and not dst.last_buffer_dequeued)
    )
    if src_is_idle and dst_is_idle:
        return EPOLLERR
    mask = _OUT if src.done_list else 0
    return mask | (_IN if dst.done_list or dst.last_buffer_dequeued else 0)


def v4l2_m2m_fop_poll(file: File) -> int:
    """Say what a file is ready for; for use as a node's poll operation.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    ctx = _ctx(file)
    events = poll_requested_events(file)
    poll_wait(file, ctx.src_vq.done_wq)
    poll_wait(file, ctx.dst_vq.done_wq)
    mask = 0
    if events is None or events & (_IN | _OUT):
        mask = _poll_for_data(ctx)
        if mask == EPOLLERR and events is None:  # as vb2_core_poll
            mask |= _IN | _OUT
    if video_devdata(file).uses_fh:
        poll_wait(file, file.private_data.wait)
        if v4l2_event_pending(file.private_data):
            mask |= EPOLLPRI
    return mask


def v4l2_m2m_fop_mmap(file: File, vma: VmAreaStruct) -> None:
    """Map a buffer; for use as a node's mmap operation.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    ctx = _ctx(file)
    first = _DST_OFFSET >> PAGE_SHIFT
    if vma.vm_pgoff < first:
        vb2_mmap(ctx.src_vq, vma)
        return
    vma.vm_pgoff -= first
    vb2_mmap(ctx.dst_vq, vma)
