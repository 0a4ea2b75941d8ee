"""videobuf2: making buffers, queueing and dequeueing, starting and stopping, mmap and poll.

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
    EPOLLERR,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDNORM,
    EPOLLWRNORM,
    PAGE_ALIGN,
    PAGE_SHIFT,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    File,
    VmAreaStruct,
    poll_requested_events,
    poll_wait,
    wait_event_interruptible,
    wake_up_all,
)
from mapdev.linux.context import context
from mapdev.linux.log import log
from mapdev.linux.wait import _progress_of
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dma_buf import DmaBuf, dma_buf_fd
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_ACTIVE,
    VB2_BUF_STATE_DEQUEUED,
    VB2_BUF_STATE_ERROR,
    VB2_BUF_STATE_QUEUED,
    Vb2Plane,
    Vb2V4l2Buffer,
)
from mapdev.subsystems.v4l2.vb2_prepare import buf_prepare, dmabuf_put, userptr_put
from mapdev.subsystems.v4l2.vb2_queue import (
    VB2_DMABUF,
    VB2_MAX_FRAME,
    VB2_MEMORY_UNKNOWN,
    VB2_MMAP,
    VB2_READ,
    VB2_USERPTR,
    VB2_WRITE,
    Vb2Queue,
    vb2_buffer_done,
)

__all__ = [
    "vb2_core_create_bufs", "vb2_core_dqbuf", "vb2_core_expbuf", "vb2_core_poll",
    "vb2_core_prepare_buf", "vb2_core_qbuf", "vb2_core_reqbufs", "vb2_core_streamoff",
    "vb2_core_streamon", "vb2_mmap", "vb2_queue_release", "vb2_verify_memory_type",
]  # fmt: skip

_IO_MODES = {
    c.V4L2_MEMORY_MMAP: VB2_MMAP,
    c.V4L2_MEMORY_USERPTR: VB2_USERPTR,
    c.V4L2_MEMORY_DMABUF: VB2_DMABUF,
}


def _invalid(why: str, code: int = errno.EINVAL) -> OSError:
    return OSError(code, why)


def vb2_verify_memory_type(q: Vb2Queue, memory: int, type_: int) -> None:
    """Refuse a kind of memory or of buffers that a queue does not have.

    :raises OSError: EINVAL; EBUSY, the queue is in use by read or write

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if memory not in _IO_MODES or type_ != q.type or not q.io_modes & _IO_MODES[memory]:
        raise _invalid(f"no buffers of type {type_} and memory {memory}")
    if q.fileio is not None:
        raise _invalid("read or write is in use", errno.EBUSY)


# --- making buffers -------------------------------------------------------------------------------


def _alloc(q: Vb2Queue, memory: int, count: int, sizes: list[int]) -> int:
    """Make buffers, as many as can be; return how many.

    Source: drivers/media/common/videobuf2/videobuf2-core.c (__vb2_queue_alloc)
    """
    before = len(q.bufs)
    for index in range(before, before + min(count, VB2_MAX_FRAME - before)):
        vb: Vb2V4l2Buffer = q.buf_struct()
        vb.vb2_queue = q
        vb.index, vb.type, vb.memory = index, q.type, memory
        vb.planes = [Vb2Plane(size) for size in sizes]
        try:
            if memory == c.V4L2_MEMORY_MMAP:
                _alloc_memory(q, vb)
        except OSError:
            break
        q.bufs.append(vb)
    return len(q.bufs) - before


def _alloc_memory(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    offset = 0
    if q.bufs:
        last = q.bufs[-1].planes[-1]
        offset = PAGE_ALIGN(last.m + last.length)
    try:
        for plane in vb.planes:
            plane.mem_priv = q.mem_ops.alloc(PAGE_ALIGN(plane.length))
            plane.m = offset
            offset = PAGE_ALIGN(offset + plane.length)
        q.ops.call("buf_init", vb)
    except OSError:
        _free_memory(q, vb)
        raise


def _free_memory(q: Vb2Queue, vb: Vb2V4l2Buffer) -> None:
    if vb.memory == c.V4L2_MEMORY_USERPTR:
        userptr_put(q, vb)
    elif vb.memory == c.V4L2_MEMORY_DMABUF:
        dmabuf_put(q, vb)
    else:
        for plane in vb.planes:
            if plane.mem_priv is not None:
                q.mem_ops.put(plane.mem_priv)
                plane.mem_priv = None


def _free(q: Vb2Queue, count: int) -> None:
    """Free the last buffers of a queue.

    Source: drivers/media/common/videobuf2/videobuf2-core.c (__vb2_queue_free)
    """
    kept = len(q.bufs) - count
    gone = q.bufs[kept:]
    for vb in gone:
        if vb.planes and vb.planes[0].mem_priv is not None:
            q.ops.call("buf_cleanup", vb)
    for vb in gone:
        _free_memory(q, vb)
    del q.bufs[kept:]
    if not q.bufs:
        q.memory = VB2_MEMORY_UNKNOWN
        q.queued_list.clear()


def _setup(q: Vb2Queue, count: int, wanted: list[int]) -> tuple[int, list[int]]:
    """Ask the driver for numbers and sizes."""
    answer = q.ops.queue_setup(q, count, len(wanted), list(wanted))
    if isinstance(answer, int) and answer < 0:
        raise _invalid("queue_setup failed", -answer)
    count, sizes = answer
    if not sizes or not all(sizes) or len(sizes) > c.VIDEO_MAX_PLANES:
        log.warning("queue_setup of %r gave the sizes %r", q.drv_priv, sizes)
        raise _invalid("the driver gave no sizes")
    return count, list(sizes)


def _is_waited_for(q: Vb2Queue) -> bool:
    """Say whether another call waits for a buffer."""
    waiting = q.waiting_in_dqbuf() if q.waiting_in_dqbuf is not None else None
    return waiting is not None and waiting is not context().progress


def vb2_core_reqbufs(q: Vb2Queue, memory: int, count: int) -> int:
    """Make buffers in place of those that there are; 0 frees them. Mapped memory stays mapped.

    :return: how many there are now
    :raises OSError: EBUSY, the queue is streaming, or waited for; ENOMEM; or what the driver raises

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.streaming:
        raise _invalid("the queue is streaming", errno.EBUSY)
    if count and _is_waited_for(q):
        raise _invalid("another call waits for a buffer", errno.EBUSY)
    if not count or q.bufs or q.memory not in (VB2_MEMORY_UNKNOWN, memory):
        _cancel(q)
        _free(q, len(q.bufs))
        if not count:
            return 0
    wanted = min(max(count, q.min_buffers_needed), VB2_MAX_FRAME)
    q.memory = memory
    try:
        wanted, sizes = _setup(q, wanted, [])
        made = _alloc(q, memory, wanted, sizes)
        if not made:
            raise _invalid("no memory for a buffer", errno.ENOMEM)
    except OSError:
        q.memory = VB2_MEMORY_UNKNOWN
        raise
    try:
        if made < q.min_buffers_needed:
            raise _invalid("not enough memory for buffers", errno.ENOMEM)
        if made < wanted and made < _setup(q, made, [])[0]:
            raise _invalid("not enough memory for buffers", errno.ENOMEM)
    except OSError:
        _free(q, made)
        raise
    q.waiting_for_buffers = not q.is_output
    return made


def vb2_core_create_bufs(q: Vb2Queue, memory: int, count: int, sizes: list[int]) -> int:
    """Make further buffers.

    :param sizes: of their planes, in bytes, as the program wants them
    :return: how many were made
    :raises OSError: ENOBUFS, there are 32 already; EINVAL, the others are of another memory;
        ENOMEM; EBUSY, the queue is waited for; or what the driver raises

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if len(q.bufs) == VB2_MAX_FRAME:
        raise _invalid(f"there are {VB2_MAX_FRAME} buffers", errno.ENOBUFS)
    is_first = not q.bufs
    if is_first:
        if count and _is_waited_for(q):
            raise _invalid("another call waits for a buffer", errno.EBUSY)
        q.memory = memory
        q.waiting_for_buffers = not q.is_output
    elif q.memory != memory:
        raise _invalid("the other buffers have another memory")
    made = 0
    try:
        wanted, sizes = _setup(q, min(count, VB2_MAX_FRAME - len(q.bufs)), sizes)
        made = _alloc(q, memory, wanted, sizes)
        if not made:
            raise _invalid("no memory for a buffer", errno.ENOMEM)
    except OSError:
        if is_first:
            q.memory = VB2_MEMORY_UNKNOWN
        raise
    if made < wanted:
        try:
            wanted = _setup(q, made, sizes)[0]
        except OSError:
            wanted = made + 1
        if made < wanted:
            _free(q, made)
            raise _invalid("not enough memory for buffers", errno.ENOMEM)
    return made


# --- queueing and dequeueing ----------------------------------------------------------------------

Fill = Callable[[Vb2V4l2Buffer], None] | None


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
    if q.start_streaming_called:
        _enqueue(q, vb)
    if fill is not None:
        fill(vb)
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
    if _is_waited_for(q):
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


# --- streaming ------------------------------------------------------------------------------------


def _cancel(q: Vb2Queue) -> None:
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
    _cancel(q)
    q.waiting_for_buffers = not q.is_output
    q.last_buffer_dequeued = False


def vb2_queue_release(q: Vb2Queue) -> None:
    """Stop a queue and free its buffers.

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.fileio is not None:
        q.fileio.cleanup()
    _cancel(q)
    _free(q, len(q.bufs))


# --- memory of programs ---------------------------------------------------------------------------


def vb2_core_expbuf(q: Vb2Queue, type_: int, index: int, plane: int, flags: int) -> int:
    """Give the program a descriptor of a plane's memory, a dma-buf.

    :return: the descriptor
    :raises OSError: EINVAL, the memory is not the queue's own, or there is no such plane; EBUSY,
        read or write is in use

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.memory != c.V4L2_MEMORY_MMAP:
        raise _invalid("the queue's memory is not its own")
    if flags & ~(os.O_CLOEXEC | os.O_ACCMODE):
        raise _invalid(f"flags {flags:#x}")
    if type_ != q.type or index >= len(q.bufs) or plane >= q.bufs[index].num_planes:
        raise _invalid(f"no plane {plane} of buffer {index}")
    if q.fileio is not None:
        raise _invalid("read or write is in use", errno.EBUSY)
    memory = q.bufs[index].planes[plane].mem_priv
    return dma_buf_fd(DmaBuf(q.mem_ops, memory), flags)


def vb2_mmap(q: Vb2Queue, vma: VmAreaStruct) -> None:
    """Map the plane whose offset a program has asked for, from its beginning.

    :raises OSError: EINVAL, the mapping is private, not readable (capture) or not writable
        (output), longer than the plane, or there is no such offset; EBUSY, read or write is in use

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    needed = VM_WRITE if q.is_output else VM_READ
    if not vma.vm_flags & VM_SHARED or not vma.vm_flags & needed:
        raise _invalid("a buffer is mapped shared, and as its direction asks for")
    if q.memory != c.V4L2_MEMORY_MMAP:
        raise _invalid("the queue's memory is not its own")
    if q.fileio is not None:
        raise _invalid("read or write is in use", errno.EBUSY)
    offset = vma.vm_pgoff << PAGE_SHIFT
    found = [plane for vb in q.bufs for plane in vb.planes if plane.m == offset]
    if not found or PAGE_ALIGN(found[0].length) < vma.vm_end - vma.vm_start:
        raise _invalid(f"no plane at {offset:#x}, or it is shorter")
    vma.vm_pgoff = 0
    q.mem_ops.mmap(found[0].mem_priv, vma)


def vb2_core_poll(q: Vb2Queue, file: File) -> int:
    """Say whether a buffer is done; start read or write if nothing was started yet.

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    Fidelity: where the host does not know what a program polls for, nothing is started.
    """
    from mapdev.subsystems.v4l2.vb2_fileio import init_fileio

    events = poll_requested_events(file)
    wants = EPOLLOUT | EPOLLWRNORM if q.is_output else EPOLLIN | EPOLLRDNORM
    poll_wait(file, q.done_wq)
    if events is not None and not events & wants:
        return 0
    may_start = q.io_modes & (VB2_WRITE if q.is_output else VB2_READ)
    if not q.bufs and q.fileio is None and events is not None and may_start:
        try:
            init_fileio(q, not q.is_output)
        except OSError:
            return EPOLLERR
        if q.is_output:
            return wants
    if not q.streaming or q.error:
        return EPOLLERR
    if q.waiting_for_buffers and not q.is_output:
        return EPOLLERR
    if q.is_output and q.fileio is not None and q.queued_count < len(q.bufs):
        return wants
    if not q.done_list:
        return EPOLLIN | EPOLLRDNORM if q.last_buffer_dequeued else 0
    return wants
