"""Ready-made operations for nodes with one queue: ``vb2_ioctl_*`` and ``vb2_fop_*``.

The file that makes buffers owns the queue until it frees them or is closed; others get EBUSY.

Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
"""

from __future__ import annotations

import errno
import os
from typing import Any

from mapdev.linux import EPOLLPRI, File, VmAreaStruct, poll_requested_events, poll_wait
from mapdev.subsystems.v4l2.dev import VideoDevice, video_devdata
from mapdev.subsystems.v4l2.event import v4l2_event_pending
from mapdev.subsystems.v4l2.fh import v4l2_fh_release
from mapdev.subsystems.v4l2.vb2_access import vb2_core_poll, vb2_mmap
from mapdev.subsystems.v4l2.vb2_alloc import (
    vb2_core_reqbufs,
    vb2_queue_release,
    vb2_verify_memory_type,
)
from mapdev.subsystems.v4l2.vb2_fileio import vb2_read, vb2_write
from mapdev.subsystems.v4l2.vb2_queue import VB2_READ, VB2_WRITE, Vb2Queue
from mapdev.subsystems.v4l2.vb2_v4l2 import (
    fill_buf_caps,
    vb2_create_bufs,
    vb2_dqbuf,
    vb2_expbuf,
    vb2_prepare_buf,
    vb2_qbuf,
    vb2_querybuf,
    vb2_streamoff,
    vb2_streamon,
)

__all__ = [
    "vb2_fop_mmap", "vb2_fop_poll", "vb2_fop_read", "vb2_fop_release", "vb2_fop_write",
    "vb2_ioctl_create_bufs", "vb2_ioctl_dqbuf", "vb2_ioctl_expbuf", "vb2_ioctl_prepare_buf",
    "vb2_ioctl_qbuf", "vb2_ioctl_querybuf", "vb2_ioctl_reqbufs", "vb2_ioctl_streamoff",
    "vb2_ioctl_streamon", "vb2_poll", "vb2_video_unregister_device",
]  # fmt: skip


def _queue(file: File) -> Vb2Queue:
    """Return the queue of a file's node."""
    q = video_devdata(file).queue
    assert q is not None, "the node has no queue"
    return q


def _own(file: File) -> Vb2Queue:
    """Return the queue of a file's node, unless another file owns it (EBUSY)."""
    q = _queue(file)
    if q.owner is not None and q.owner is not file.private_data:
        raise OSError(errno.EBUSY, "another file has made the buffers")
    return q


def vb2_ioctl_reqbufs(file: File, fh: Any, p: Any) -> None:
    """VIDIOC_REQBUFS: the file owns the queue then, unless it frees the buffers.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    q = _queue(file)
    try:
        vb2_verify_memory_type(q, p.memory, p.type)
    finally:
        p.capabilities = fill_buf_caps(q)
        p.flags = 0
    _own(file)
    p.count = vb2_core_reqbufs(q, p.memory, p.count)
    q.owner = file.private_data if p.count else None


def vb2_ioctl_create_bufs(file: File, fh: Any, p: Any) -> None:
    """VIDIOC_CREATE_BUFS: the file owns the queue then.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    q = _queue(file)
    if p.count:
        p.index, p.capabilities, p.flags = q.num_buffers, fill_buf_caps(q), 0
        vb2_verify_memory_type(q, p.memory, p.format.type)
        _own(file)
    vb2_create_bufs(q, p)
    if p.count:
        q.owner = file.private_data


def vb2_ioctl_querybuf(file: File, fh: Any, p: Any) -> None:
    """VIDIOC_QUERYBUF, for any file.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_querybuf(_queue(file), p)


def vb2_ioctl_prepare_buf(file: File, fh: Any, p: Any) -> None:
    """VIDIOC_PREPARE_BUF.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_prepare_buf(_own(file), p)


def vb2_ioctl_qbuf(file: File, fh: Any, p: Any) -> None:
    """VIDIOC_QBUF.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_qbuf(_own(file), p)


def vb2_ioctl_dqbuf(file: File, fh: Any, p: Any) -> None:
    """VIDIOC_DQBUF.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_dqbuf(_own(file), p, bool(file.f_flags & os.O_NONBLOCK))


def vb2_ioctl_streamon(file: File, fh: Any, i: int) -> None:
    """VIDIOC_STREAMON.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_streamon(_own(file), i)


def vb2_ioctl_streamoff(file: File, fh: Any, i: int) -> None:
    """VIDIOC_STREAMOFF.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_streamoff(_own(file), i)


def vb2_ioctl_expbuf(file: File, fh: Any, p: Any) -> None:
    """VIDIOC_EXPBUF.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_expbuf(_own(file), p)


def vb2_fop_mmap(file: File, vma: VmAreaStruct) -> None:
    """Map a buffer; for use as a node's mmap operation.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb2_mmap(_queue(file), vma)


def vb2_fop_release(file: File) -> int:
    """Stop the queue and free its buffers if the file owns it; then `v4l2_fh_release`.

    :return: 0

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    q = _queue(file)
    if q.owner is not None and q.owner is file.private_data:
        vb2_queue_release(q)
        q.owner = None
    return v4l2_fh_release(file)


def vb2_fop_read(file: File, count: int, pos: int) -> bytes:
    """Read frames, one after the other; for use as a node's read operation.

    :raises OSError: EINVAL, the queue can't; EBUSY, another file owns it, or it streams

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    if not _queue(file).io_modes & VB2_READ:
        raise OSError(errno.EINVAL, "the queue can't be read")
    q = _own(file)
    try:
        return vb2_read(q, count, bool(file.f_flags & os.O_NONBLOCK))
    finally:
        if q.fileio is not None:
            q.owner = file.private_data


def vb2_fop_write(file: File, data: bytes, pos: int) -> int:
    """Write frames, one after the other; for use as a node's write operation.

    :raises OSError: EINVAL, the queue can't; EBUSY, another file owns it, or it streams

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    if not _queue(file).io_modes & VB2_WRITE:
        raise OSError(errno.EINVAL, "the queue can't be written")
    q = _own(file)
    try:
        return vb2_write(q, data, bool(file.f_flags & os.O_NONBLOCK))
    finally:
        if q.fileio is not None:
            q.owner = file.private_data


def vb2_poll(q: Vb2Queue, file: File) -> int:
    """Say whether a buffer is done, and whether an event is pending (EPOLLPRI).

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    mask = 0
    if video_devdata(file).uses_fh:
        fh = file.private_data
        if v4l2_event_pending(fh):
            mask = EPOLLPRI
        events = poll_requested_events(file)
        if events is None or events & EPOLLPRI:
            poll_wait(file, fh.wait)
    return mask | vb2_core_poll(q, file)


def vb2_fop_poll(file: File) -> int:
    """Say what a file is ready for; for use as a node's poll operation.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    q = _queue(file)
    had_fileio = q.fileio is not None
    mask = vb2_poll(q, file)
    if not had_fileio and q.fileio is not None:
        q.owner = file.private_data
    return mask


def vb2_video_unregister_device(vdev: VideoDevice) -> None:
    """Take a node away, and stop its queue: programs that wait fail.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    from mapdev.subsystems.v4l2.registration import video_unregister_device

    video_unregister_device(vdev)
    q = vdev.queue
    if q is not None and q.owner is not None:
        vb2_queue_release(q)
        q.owner = None
