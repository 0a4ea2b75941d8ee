"""Memory to memory: two queues of an open file, and the jobs that go from one to the other.

A job takes buffers from the source (output) and the destination (capture) queue. A context is put
on the device's list of jobs when both queues stream and have buffers; the first of the list runs.
`V4l2M2mOps.device_run` begins a job and may do it at once; whoever ends it, in any thread, calls
`v4l2_m2m_job_finish`.

Objects: a `V4l2M2mDev` belongs to the driver, a `V4l2M2mCtx` to an open file. Lists are changed
under the device's lock; ``device_run`` is called without.

Source: drivers/media/v4l2-core/v4l2-mem2mem.c
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mapdev.linux import WaitQueueHead, wait_event, wake_up_all
from mapdev.linux.context import context
from mapdev.linux.log import log
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.macros import V4L2_TYPE_IS_OUTPUT
from mapdev.subsystems.v4l2.vb2_alloc import vb2_queue_release
from mapdev.subsystems.v4l2.vb2_buffer import VB2_BUF_STATE_DONE, Vb2V4l2Buffer
from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue, vb2_buffer_done

__all__ = [
    "V4l2M2mCtx", "V4l2M2mDev", "V4l2M2mOps", "v4l2_m2m_buf_copy_metadata", "v4l2_m2m_buf_done",
    "v4l2_m2m_buf_queue", "v4l2_m2m_ctx_init", "v4l2_m2m_ctx_release", "v4l2_m2m_dst_buf_remove",
    "v4l2_m2m_get_curr_priv", "v4l2_m2m_get_dst_vq", "v4l2_m2m_get_src_vq", "v4l2_m2m_get_vq",
    "v4l2_m2m_init", "v4l2_m2m_job_finish", "v4l2_m2m_next_dst_buf", "v4l2_m2m_next_src_buf",
    "v4l2_m2m_num_dst_bufs_ready", "v4l2_m2m_num_src_bufs_ready", "v4l2_m2m_release",
    "v4l2_m2m_src_buf_remove", "v4l2_m2m_try_schedule",
]  # fmt: skip

_STOP_SECONDS = 5.0  # how long the last close waits for a job that was told to stop
_COPIED = (
    c.V4L2_BUF_FLAG_TIMECODE | c.V4L2_BUF_FLAG_KEYFRAME | c.V4L2_BUF_FLAG_PFRAME
    | c.V4L2_BUF_FLAG_BFRAME | c.V4L2_BUF_FLAG_TSTAMP_SRC_MASK
)  # fmt: skip


class V4l2M2mOps:
    """What a driver does with jobs: ``struct v4l2_m2m_ops``.

    ``device_run(priv)`` begins a job; ``job_ready(priv)`` says whether one can begin;
    ``job_abort(priv)`` asks the job that runs to end soon.

    Source: include/media/v4l2-mem2mem.h
    """

    def __init__(
        self,
        *,
        device_run: Callable[[Any], object],
        job_ready: Callable[[Any], object] | None = None,
        job_abort: Callable[[Any], object] | None = None,
    ) -> None:
        """Take the operations by name."""
        self.device_run = device_run
        self.job_ready = job_ready
        self.job_abort = job_abort


class V4l2M2mDev:
    """The jobs of a device: ``struct v4l2_m2m_dev``.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """

    def __init__(self, ops: V4l2M2mOps) -> None:
        """Make one without jobs."""
        self.ops = ops
        self.lock = threading.RLock()
        self.job_queue: list[V4l2M2mCtx] = []
        self.curr_ctx: V4l2M2mCtx | None = None


class V4l2M2mCtx:
    """The two queues of an open file: ``struct v4l2_m2m_ctx``.

    :ivar buffered: of each queue, whether jobs may begin without a buffer of it.
    :ivar is_draining: the codec was told to stop, and has buffers left.
    :ivar has_stopped: it has done the last of them.
    :ivar next_buf_last: the next destination buffer is the last one, and empty.

    Source: include/media/v4l2-mem2mem.h
    """

    def __init__(self, m2m_dev: V4l2M2mDev, priv: Any) -> None:
        """Make one whose queues are to be set up."""
        self.m2m_dev = m2m_dev
        self.priv = priv
        self.src_vq = Vb2Queue()
        self.dst_vq = Vb2Queue()
        self.src_ready: list[Any] = []
        self.dst_ready: list[Any] = []
        self.src_buffered = self.dst_buffered = False
        self.is_queued = self.is_running = self.is_aborting = False
        self.finished = WaitQueueHead()
        self.idle = threading.Event()
        self.idle.set()
        self.last_src_buf: Any = None
        self.is_draining = self.has_stopped = self.next_buf_last = False

    def ready(self, q: Vb2Queue) -> list[Any]:
        """Return the buffers of a queue that wait for a job."""
        return self.src_ready if q is self.src_vq else self.dst_ready


def v4l2_m2m_init(m2m_ops: V4l2M2mOps) -> V4l2M2mDev:
    """Make the jobs of a device.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    return V4l2M2mDev(m2m_ops)


def v4l2_m2m_release(m2m_dev: V4l2M2mDev) -> None:
    """Let go of the jobs of a device.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    m2m_dev.job_queue.clear()


def v4l2_m2m_ctx_init(
    m2m_dev: V4l2M2mDev, drv_priv: Any,
    queue_init: Callable[[Any, Vb2Queue, Vb2Queue], object],
) -> V4l2M2mCtx:  # fmt: skip
    """Make the queues of an open file.

    :param queue_init: sets the fields of both, source first, and calls `vb2_queue_init`
    :raises OSError: what it raises

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    ctx = V4l2M2mCtx(m2m_dev, drv_priv)
    queue_init(drv_priv, ctx.src_vq, ctx.dst_vq)
    return ctx


def v4l2_m2m_ctx_release(m2m_ctx: V4l2M2mCtx) -> None:
    """Stop the jobs of an open file that is closed, and free its buffers.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    cancel_job(m2m_ctx, can_wait=False)
    vb2_queue_release(m2m_ctx.dst_vq)
    vb2_queue_release(m2m_ctx.src_vq)


def v4l2_m2m_get_vq(m2m_ctx: V4l2M2mCtx, type_: int) -> Vb2Queue:
    """Give the queue for a type of buffers.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    return m2m_ctx.src_vq if V4L2_TYPE_IS_OUTPUT(type_) else m2m_ctx.dst_vq


def v4l2_m2m_get_src_vq(m2m_ctx: V4l2M2mCtx) -> Vb2Queue:
    """Give the queue that programs fill.

    Source: include/media/v4l2-mem2mem.h
    """
    return m2m_ctx.src_vq


def v4l2_m2m_get_dst_vq(m2m_ctx: V4l2M2mCtx) -> Vb2Queue:
    """Give the queue that the device fills.

    Source: include/media/v4l2-mem2mem.h
    """
    return m2m_ctx.dst_vq


# --- buffers that wait for a job ------------------------------------------------------------------


def v4l2_m2m_buf_queue(m2m_ctx: V4l2M2mCtx, vbuf: Vb2V4l2Buffer) -> None:
    """Have a buffer wait for a job; for use as the ``buf_queue`` operation.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    with m2m_ctx.m2m_dev.lock:
        m2m_ctx.ready(vbuf.vb2_queue).append(vbuf)


def _first(ctx: V4l2M2mCtx, buffers: list[Any], remove: bool) -> Any:
    with ctx.m2m_dev.lock:
        if not buffers:
            return None
        return buffers.pop(0) if remove else buffers[0]


def v4l2_m2m_next_src_buf(m2m_ctx: V4l2M2mCtx) -> Any:
    """Give the next source buffer; None if there is none.

    Source: include/media/v4l2-mem2mem.h
    """
    return _first(m2m_ctx, m2m_ctx.src_ready, False)


def v4l2_m2m_next_dst_buf(m2m_ctx: V4l2M2mCtx) -> Any:
    """Give the next destination buffer; None if there is none.

    Source: include/media/v4l2-mem2mem.h
    """
    return _first(m2m_ctx, m2m_ctx.dst_ready, False)


def v4l2_m2m_src_buf_remove(m2m_ctx: V4l2M2mCtx) -> Any:
    """Take the next source buffer; None if there is none.

    Source: include/media/v4l2-mem2mem.h
    """
    return _first(m2m_ctx, m2m_ctx.src_ready, True)


def v4l2_m2m_dst_buf_remove(m2m_ctx: V4l2M2mCtx) -> Any:
    """Take the next destination buffer; None if there is none.

    Source: include/media/v4l2-mem2mem.h
    """
    return _first(m2m_ctx, m2m_ctx.dst_ready, True)


def v4l2_m2m_num_src_bufs_ready(m2m_ctx: V4l2M2mCtx) -> int:
    """Give how many source buffers wait for a job.

    Source: include/media/v4l2-mem2mem.h
    """
    return len(m2m_ctx.src_ready)


def v4l2_m2m_num_dst_bufs_ready(m2m_ctx: V4l2M2mCtx) -> int:
    """Give how many destination buffers wait for a job.

    Source: include/media/v4l2-mem2mem.h
    """
    return len(m2m_ctx.dst_ready)


def v4l2_m2m_buf_done(buf: Vb2V4l2Buffer, state: int) -> None:
    """Give a buffer back that a job has used: `vb2_buffer_done`.

    Source: include/media/v4l2-mem2mem.h
    """
    vb2_buffer_done(buf, state)


def v4l2_m2m_buf_copy_metadata(
    out_vb: Vb2V4l2Buffer, cap_vb: Vb2V4l2Buffer, copy_frame_flags: bool = False
) -> None:
    """Give a destination buffer the time and the field of its source.

    :param copy_frame_flags: whether it is a key frame, too

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    mask = _COPIED
    if not copy_frame_flags:
        mask = c.V4L2_BUF_FLAG_TIMECODE | c.V4L2_BUF_FLAG_TSTAMP_SRC_MASK
    cap_vb.timestamp = out_vb.timestamp
    if out_vb.flags & c.V4L2_BUF_FLAG_TIMECODE:
        cap_vb.timecode.assign(out_vb.timecode)
    cap_vb.field = out_vb.field
    cap_vb.flags = cap_vb.flags & ~mask | out_vb.flags & mask


# --- jobs -----------------------------------------------------------------------------------------


def v4l2_m2m_get_curr_priv(m2m_dev: V4l2M2mDev) -> Any:
    """Give what belongs to the job that runs; None if none does.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    with m2m_dev.lock:
        return m2m_dev.curr_ctx.priv if m2m_dev.curr_ctx is not None else None


def _can_run(ctx: V4l2M2mCtx) -> bool:
    """Say whether a job of a context can be put on the list (__v4l2_m2m_try_queue)."""
    if not (ctx.src_vq.streaming and ctx.dst_vq.streaming):
        return False
    if ctx.is_aborting or ctx.is_queued:
        return False
    if not (ctx.src_ready or ctx.src_buffered) or not (ctx.dst_ready or ctx.dst_buffered):
        return False
    if ctx.has_stopped:
        return False
    job_ready = ctx.m2m_dev.ops.job_ready
    return job_ready is None or bool(job_ready(ctx.priv))


def _try_run(m2m_dev: V4l2M2mDev) -> None:
    with m2m_dev.lock:
        if m2m_dev.curr_ctx is not None or not m2m_dev.job_queue:
            return
        ctx = m2m_dev.curr_ctx = m2m_dev.job_queue[0]
        ctx.is_running = True
        ctx.idle.clear()
    m2m_dev.ops.device_run(ctx.priv)


def v4l2_m2m_try_schedule(m2m_ctx: V4l2M2mCtx) -> None:
    """Put a job on the list if there is one to do, and run the first of the list.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    m2m_dev = m2m_ctx.m2m_dev
    with m2m_dev.lock:
        if _can_run(m2m_ctx):
            m2m_dev.job_queue.append(m2m_ctx)
            m2m_ctx.is_queued = True
    _try_run(m2m_dev)


def v4l2_m2m_job_finish(m2m_dev: V4l2M2mDev, m2m_ctx: V4l2M2mCtx) -> None:
    """End the job that runs, and begin the next; in any thread.

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c
    """
    with m2m_dev.lock:
        if m2m_dev.curr_ctx is not m2m_ctx:
            return
        m2m_dev.job_queue.remove(m2m_ctx)
        m2m_ctx.is_queued = m2m_ctx.is_running = False
        m2m_dev.curr_ctx = None
    m2m_ctx.idle.set()
    wake_up_all(m2m_ctx.finished)
    v4l2_m2m_try_schedule(m2m_ctx)


def cancel_job(ctx: V4l2M2mCtx, can_wait: bool = True) -> None:
    """Take a context off the list of jobs; wait for its job if it runs.

    :raises BlockingIOError: it has to wait; see `wait_event`

    Source: drivers/media/v4l2-core/v4l2-mem2mem.c (v4l2_m2m_cancel_job)
    """
    m2m_dev = ctx.m2m_dev
    with m2m_dev.lock:
        is_first = not ctx.is_aborting
        ctx.is_aborting = True
        is_running = ctx.is_running
        if not is_running and ctx.is_queued:
            m2m_dev.job_queue.remove(ctx)
            ctx.is_queued = False
    if not is_running:
        return
    if is_first and m2m_dev.ops.job_abort is not None:
        m2m_dev.ops.job_abort(ctx.priv)
    if can_wait and context().task is not None:
        wait_event(ctx.finished, lambda: not ctx.is_running)
    elif not ctx.idle.wait(_STOP_SECONDS):
        # The kernel would wait for ever. A timer can't end it: it waits for this operation.
        log.warning("a job of %r does not end when its file is closed", ctx.priv)
        v4l2_m2m_job_finish(m2m_dev, ctx)


def mark_stopped(ctx: V4l2M2mCtx) -> None:
    """Know that a codec has done its last buffer (v4l2_m2m_mark_stopped)."""
    ctx.is_draining = False
    ctx.has_stopped = True


def last_buffer_done(ctx: V4l2M2mCtx, vbuf: Vb2V4l2Buffer) -> None:
    """Give back the last destination buffer, marked as such (v4l2_m2m_last_buffer_done)."""
    vbuf.flags |= c.V4L2_BUF_FLAG_LAST
    vb2_buffer_done(vbuf, VB2_BUF_STATE_DONE)
    mark_stopped(ctx)
