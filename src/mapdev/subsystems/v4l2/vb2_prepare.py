"""Preparing a buffer: what the program says of its planes, and memory that is the program's.

Memory that the program gives (USERPTR, DMABUF) is acquired when it is first queued, and again only
when it differs from the last time.

Source: drivers/media/common/videobuf2/videobuf2-core.c (__buf_prepare and what it calls)
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dma_buf import dma_buf_get
from mapdev.subsystems.v4l2.vb2_buffer import VB2_BUF_STATE_PREPARING, Vb2Plane, Vb2V4l2Buffer

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue

__all__ = ["buf_prepare", "dmabuf_put", "userptr_put"]


def userptr_put(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    """Let go of a program's memory.

    Source: drivers/media/common/videobuf2/videobuf2-core.c (__vb2_buf_userptr_put)
    """
    for plane in vb.planes:
        if plane.mem_priv is not None:
            q.mem_ops.put(plane.mem_priv)
            plane.mem_priv = None


def _plane_put(q: Vb2Queue, plane: Vb2Plane) -> None:
    if plane.mem_priv is not None:
        q.mem_ops.detach(plane.mem_priv)
        plane.mem_priv = plane.dbuf = None


def dmabuf_put(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    """Let go of the memory of dma-bufs.

    Source: drivers/media/common/videobuf2/videobuf2-core.c (__vb2_buf_dmabuf_put)
    """
    for plane in vb.planes:
        _plane_put(q, plane)


def buf_prepare(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    """Prepare a buffer to be queued.

    :raises OSError: EIO, the queue has failed; EINVAL, EFAULT: no memory of the program's; or what
        the driver raises

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.error:
        raise OSError(errno.EIO, "the queue has failed")
    if vb.prepared:
        return
    if q.is_output:
        q.ops.call("buf_out_validate", vb)
    before = vb.state
    vb.state = VB2_BUF_STATE_PREPARING
    try:
        if not q.copy_timestamp:
            vb.timestamp = 0
        if q.memory == c.V4L2_MEMORY_MMAP:
            for plane, wanted in zip(vb.planes, vb.wanted, strict=False):
                plane.bytesused, plane.data_offset = wanted.bytesused, wanted.data_offset
            q.ops.call("buf_prepare", vb)
        elif q.memory == c.V4L2_MEMORY_USERPTR:
            _prepare_userptr(q, vb)
        else:
            _prepare_dmabuf(q, vb)
    finally:
        vb.state = before
    vb.prepared = vb.synced = True


def _take(q: Vb2Queue, vb: Vb2V4l2Buffer, reacquired: bool) -> None:
    """Take over what the program says of planes whose memory is there; ask the driver."""
    for plane, wanted in zip(vb.planes, vb.wanted, strict=True):
        plane.bytesused, plane.length = wanted.bytesused, wanted.length
        plane.m, plane.data_offset = wanted.m, wanted.data_offset
        q.mem_ops.prepare(plane.mem_priv, plane.bytesused)
    if reacquired:
        q.ops.call("buf_init", vb)
    try:
        q.ops.call("buf_prepare", vb)
    except OSError:
        q.ops.call("buf_cleanup", vb)
        raise


def _forget(plane: Vb2Plane) -> None:
    plane.mem_priv = None
    plane.bytesused = plane.length = plane.m = plane.data_offset = 0


def _prepare_userptr(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    reacquired = vb.planes[0].mem_priv is None
    try:
        for plane, wanted in zip(vb.planes, vb.wanted, strict=True):
            if plane.m and plane.m == wanted.m and plane.length == wanted.length:
                continue
            if wanted.length < plane.min_length:
                raise OSError(errno.EINVAL, f"{wanted.length} bytes are too few")
            if plane.mem_priv is not None:
                if not reacquired:
                    reacquired = True
                    q.ops.call("buf_cleanup", vb)
                q.mem_ops.put(plane.mem_priv)
            _forget(plane)
            plane.mem_priv = q.mem_ops.get_userptr(wanted.m, wanted.length, q.is_output)
            reacquired = True
        _take(q, vb, reacquired)
    except OSError:
        userptr_put(q, vb)
        for plane in vb.planes:
            plane.m = plane.length = 0
        raise


def _prepare_dmabuf(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    reacquired = vb.planes[0].mem_priv is None
    try:
        for plane, wanted in zip(vb.planes, vb.wanted, strict=True):
            dbuf = dma_buf_get(wanted.m)
            wanted.length = wanted.length or dbuf.size
            if wanted.length < plane.min_length:
                raise OSError(errno.EINVAL, f"{wanted.length} bytes are too few")
            if dbuf is plane.dbuf and plane.length == wanted.length:
                continue
            if not reacquired:
                reacquired = True
                q.ops.call("buf_cleanup", vb)
            _plane_put(q, plane)
            _forget(plane)
            plane.mem_priv = q.mem_ops.attach(dbuf.memory)
            plane.dbuf = dbuf
        _take(q, vb, reacquired)
    except OSError:
        dmabuf_put(q, vb)
        raise
