"""videobuf2: the memory of buffers in programs, and poll.

Source: drivers/media/common/videobuf2/videobuf2-core.c
"""

from __future__ import annotations

import errno
import os

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
)
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.dma_buf import DmaBuf, dma_buf_fd
from mapdev.subsystems.v4l2.vb2_queue import (
    VB2_READ,
    VB2_WRITE,
    Vb2Queue,
)

__all__ = ["vb2_core_expbuf", "vb2_core_poll", "vb2_mmap"]


def _invalid(why: str, code: int = errno.EINVAL) -> OSError:
    return OSError(code, why)


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
    Fidelity: where the host does not know what a program polls for, nothing is started, and a queue
    that does not stream is shown as ready besides.
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
    if not q.streaming or q.error or (q.waiting_for_buffers and not q.is_output):
        # Where POLLERR can't be shown, a program goes on to VIDIOC_DQBUF, which fails at once.
        return EPOLLERR | (wants if events is None else 0)
    if q.is_output and q.fileio is not None and q.queued_count < len(q.bufs):
        return wants
    if not q.done_list:
        return EPOLLIN | EPOLLRDNORM if q.last_buffer_dequeued else 0
    return wants
