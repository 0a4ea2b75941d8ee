"""videobuf2: queueing and dequeueing buffers, starting and stopping.

Nothing here knows ``struct v4l2_buffer``: `vb2_v4l2` translates. The order of the checks is the
kernel's.

Source: drivers/media/common/videobuf2/videobuf2-core.c
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable

from mapdev.linux import (
    wait_event_interruptible,
    wake_up_all,
)
from mapdev.linux.context import context
from mapdev.linux.log import log
from mapdev.linux.wait import _progress_of
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_ACTIVE,
    VB2_BUF_STATE_DEQUEUED,
    VB2_BUF_STATE_ERROR,
    VB2_BUF_STATE_QUEUED,
    Vb2V4l2Buffer,
)
from mapdev.subsystems.v4l2.vb2_prepare import buf_prepare
from mapdev.subsystems.v4l2.vb2_queue import (
    Vb2Queue,
    vb2_buffer_done,
)

__all__ = [
    "vb2_core_dqbuf", "vb2_core_prepare_buf", "vb2_core_qbuf",
    "vb2_core_streamoff", "vb2_core_streamon",
]  # fmt: skip

Fill = Callable[[Vb2V4l2Buffer], None] | None


def _invalid(why: str, code: int = errno.EINVAL) -> OSError:
    return OSError(code, why)


def is_waited_for(q: Vb2Queue) -> bool:
    """Say whether another call waits for a buffer."""
    waiting = q.waiting_in_dqbuf() if q.waiting_in_dqbuf is not None else None
    return waiting is not None and waiting is not context().progress


def vb2_core_prepare_buf(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    """Prepare a buffer before it is queued.

    :raises OSError: EINVAL, it is queued or prepared; else as for `vb2_core_qbuf`

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if vb.state != VB2_BUF_STATE_DEQUEUED or vb.prepared:
        raise _invalid(f"{vb!r} is queued or prepared")
    buf_prepare(q, vb)


def _enqueue(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    with q.done_lock:
        vb.state = VB2_BUF_STATE_ACTIVE
        q.owned_by_drv_count += 1
    q.ops.call("buf_queue", vb)


def _start(q: Vb2Queue) -> None:
    """Start the driver.

    Source: drivers/media/common/videobuf2/videobuf2-core.c (vb2_start_streaming)
    """
    for vb in q.queued_list:
        _enqueue(q, vb)
    q.start_streaming_called = True
    try:
        q.ops.call("start_streaming", q, q.owned_by_drv_count)
    except BaseException:
        q.start_streaming_called = False
        for vb in q.bufs:  # those that the driver should have given back
            if vb.state == VB2_BUF_STATE_ACTIVE:
                vb2_buffer_done(vb, VB2_BUF_STATE_QUEUED)
        raise


def vb2_core_qbuf(
    q: Vb2Queue, vb: Vb2V4l2Buffer, copy_timestamp: Fill = None, fill: Fill = None
) -> None:
    """Queue a buffer; start the driver when it was waited for.

    :param copy_timestamp: takes in what the program says of its time
    :param fill: tells the program what the buffer is like now
    :raises OSError: EIO, the queue has failed; EINVAL, the buffer is queued; EFAULT, no memory
        there; or what the driver raises

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.error:
        raise _invalid("the queue has failed", errno.EIO)
    if vb.state != VB2_BUF_STATE_DEQUEUED:
        raise _invalid(f"{vb!r} is queued")
    if not vb.prepared:
        buf_prepare(q, vb)
    q.queued_list.append(vb)
    q.waiting_for_buffers = False
    vb.state = VB2_BUF_STATE_QUEUED
    if copy_timestamp is not None:
        copy_timestamp(vb)
    # Before the driver gets it, which may have it done at once: a program is told "queued" by what
    # the kernel does in the other order, since hardware is slower than that.
    if fill is not None:
        fill(vb)
    if q.start_streaming_called:
        _enqueue(q, vb)
    if q.streaming and not q.start_streaming_called and q.queued_count >= q.min_buffers_needed:
        try:
            _start(q)
        except BaseException:
            q.queued_list.remove(vb)
            vb.state = VB2_BUF_STATE_DEQUEUED
            raise


def _wait(q: Vb2Queue, nonblocking: bool) -> None:
    """Wait until a buffer is done.

    Source: drivers/media/common/videobuf2/videobuf2-core.c (__vb2_wait_for_done_vb)
    """
    if is_waited_for(q):
        raise _invalid("another call waits for a buffer", errno.EBUSY)
    q.waiting_in_dqbuf = None
    if not q.streaming:
        raise _invalid("the queue is not streaming")
    if q.error:
        raise _invalid("the queue has failed", errno.EIO)
    if q.last_buffer_dequeued:
        raise _invalid("that was the last buffer", errno.EPIPE)
    if q.done_list:
        return
    if nonblocking:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    # What waits is known by its progress, which is gone when a signal has ended the call.
    q.waiting_in_dqbuf = weakref.ref(_progress_of(context()))
    wait_event_interruptible(q.done_wq, lambda: q.done_list or not q.streaming or q.error)
    q.waiting_in_dqbuf = None
    _wait(q, nonblocking)  # a buffer was done in between


def vb2_core_dqbuf(
    q: Vb2Queue, nonblocking: bool, verify: Fill = None, fill: Fill = None
) -> Vb2V4l2Buffer:
    """Dequeue a buffer that is done; wait for one unless told not to.

    :param verify: checks that the program has room for it (it stays queued if not)
    :param fill: tells the program what the buffer is like, done
    :raises OSError: EBUSY, another call waits; EINVAL, the queue is not streaming; EIO, it has
        failed; EPIPE, the last buffer was dequeued; EAGAIN, none is done

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    _wait(q, nonblocking)
    with q.done_lock:
        vb = q.done_list[0]
        if verify is not None:
            verify(vb)
        del q.done_list[0]
    for plane in vb.planes:
        q.mem_ops.to_user(plane.mem_priv, plane.bytesused)
    q.ops.call("buf_finish", vb)
    vb.prepared = False
    if fill is not None:
        fill(vb)
    if vb in q.queued_list:
        q.queued_list.remove(vb)
    vb.state = VB2_BUF_STATE_DEQUEUED
    return vb


def cancel(q: Vb2Queue) -> None:
    """Stop the driver and take all buffers back.

    Source: drivers/media/common/videobuf2/videobuf2-core.c (__vb2_queue_cancel)
    """
    if q.start_streaming_called:
        q.ops.call("stop_streaming", q)
    if q.streaming:
        q.ops.call("unprepare_streaming", q)
    for vb in q.bufs:
        if vb.state == VB2_BUF_STATE_ACTIVE:
            if q.start_streaming_called:
                log.warning("stop_streaming of %r has kept %r", q.drv_priv, vb)
            vb2_buffer_done(vb, VB2_BUF_STATE_ERROR)
    q.streaming = q.start_streaming_called = q.error = False
    q.waiting_in_dqbuf = None
    q.queued_list.clear()
    with q.done_lock:
        q.done_list.clear()
        q.owned_by_drv_count = 0
    wake_up_all(q.done_wq)
    for vb in q.bufs:
        vb.synced = False
        if vb.prepared:
            q.ops.call("buf_finish", vb)
            vb.prepared = False
        vb.state = VB2_BUF_STATE_DEQUEUED


def vb2_core_streamon(q: Vb2Queue, type_: int) -> None:
    """Start a queue, and its driver if enough buffers are queued; once more does nothing.

    :raises OSError: EINVAL, another type, or not enough buffers; or what the driver raises

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if type_ != q.type:
        raise _invalid("another type of buffers")
    if q.streaming:
        return
    if not q.bufs or len(q.bufs) < q.min_buffers_needed:
        raise _invalid(f"{len(q.bufs)} buffers are not enough")
    q.ops.call("prepare_streaming", q)
    q.streaming = True
    if q.queued_count >= q.min_buffers_needed:
        try:
            _start(q)
        except BaseException:
            q.ops.call("unprepare_streaming", q)
            q.streaming = False
            raise


def vb2_core_streamoff(q: Vb2Queue, type_: int) -> None:
    """Stop a queue: all buffers are as if they had never been queued.

    :raises OSError: EINVAL, another type

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if type_ != q.type:
        raise _invalid("another type of buffers")
    cancel(q)
    q.waiting_for_buffers = not q.is_output
    q.last_buffer_dequeued = False
