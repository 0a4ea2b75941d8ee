"""videobuf2: making and freeing the buffers of a queue.

Source: drivers/media/common/videobuf2/videobuf2-core.c
"""

from __future__ import annotations

import errno

from mapdev.linux import (
    PAGE_ALIGN,
)
from mapdev.linux.log import log
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.vb2_buffer import (
    Vb2Plane,
    Vb2V4l2Buffer,
)
from mapdev.subsystems.v4l2.vb2_core import cancel, is_waited_for
from mapdev.subsystems.v4l2.vb2_prepare import dmabuf_put, userptr_put
from mapdev.subsystems.v4l2.vb2_queue import (
    VB2_DMABUF,
    VB2_MAX_FRAME,
    VB2_MEMORY_UNKNOWN,
    VB2_MMAP,
    VB2_USERPTR,
    Vb2Queue,
)

__all__ = [
    "vb2_core_create_bufs", "vb2_core_reqbufs", "vb2_queue_release", "vb2_verify_memory_type",
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


def vb2_core_reqbufs(q: Vb2Queue, memory: int, count: int) -> int:
    """Make buffers in place of those that there are; 0 frees them. Mapped memory stays mapped.

    :return: how many there are now
    :raises OSError: EBUSY, the queue is streaming, or waited for; ENOMEM; or what the driver raises

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.streaming:
        raise _invalid("the queue is streaming", errno.EBUSY)
    if count and is_waited_for(q):
        raise _invalid("another call waits for a buffer", errno.EBUSY)
    if not count or q.bufs or q.memory not in (VB2_MEMORY_UNKNOWN, memory):
        cancel(q)
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
        if count and is_waited_for(q):
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


def vb2_queue_release(q: Vb2Queue) -> None:
    """Stop a queue and free its buffers.

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.fileio is not None:
        q.fileio.cleanup()
    cancel(q)
    _free(q, len(q.bufs))
