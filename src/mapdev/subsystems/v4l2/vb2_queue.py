"""`Vb2Queue`: a queue of buffers, and `vb2_buffer_done`, by which a driver gives one back.

Objects: a queue belongs to its driver, or to an open file (m2m). Its buffers are made and freed by
VIDIOC_REQBUFS and CREATE_BUFS. ``done_list`` and ``owned_by_drv_count`` are changed under
``done_lock``, by any thread; all else in operations, one at a time.

Source: include/media/videobuf2-core.h, drivers/media/common/videobuf2/videobuf2-core.c
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mapdev.linux import WaitQueueHead, wake_up, wake_up_all
from mapdev.linux.log import log
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.macros import V4L2_TYPE_IS_MULTIPLANAR, V4L2_TYPE_IS_OUTPUT
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_ACTIVE,
    VB2_BUF_STATE_DONE,
    VB2_BUF_STATE_ERROR,
    VB2_BUF_STATE_QUEUED,
    Vb2V4l2Buffer,
)
from mapdev.subsystems.v4l2.vb2_memory import Vb2MemOps

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.vb2_fileio import Vb2Fileio

__all__ = [
    "VB2_DMABUF", "VB2_MAX_FRAME", "VB2_MEMORY_UNKNOWN", "VB2_MMAP", "VB2_READ", "VB2_USERPTR",
    "VB2_WRITE", "Vb2Ops", "Vb2Queue", "vb2_buffer_done", "vb2_clear_last_buffer_dequeued",
    "vb2_is_busy", "vb2_is_streaming", "vb2_queue_error", "vb2_queue_init",
    "vb2_start_streaming_called",
]  # fmt: skip

VB2_MAX_FRAME = 32
VB2_MEMORY_UNKNOWN = 0
VB2_MMAP = 1 << 0
VB2_USERPTR = 1 << 1
VB2_READ = 1 << 2
VB2_WRITE = 1 << 3
VB2_DMABUF = 1 << 4


class Vb2Ops:
    """What a driver does with a queue: ``struct vb2_ops``.

    ``queue_setup(q, nbuffers, nplanes, sizes)`` returns the number of buffers and a list with the
    size of each plane; ``nplanes`` and ``sizes`` are what the program wants when more buffers are
    made, else 0 and empty. ``buf_init(vb)``, ``buf_prepare(vb)``, ``buf_finish(vb)``,
    ``buf_cleanup(vb)``, ``buf_queue(vb)``, ``buf_out_validate(vb)``, ``start_streaming(q, count)``,
    ``stop_streaming(q)``, ``prepare_streaming(q)``, ``unprepare_streaming(q)`` are as in C: they
    return 0 or None, or raise.

    Source: include/media/videobuf2-core.h
    Fidelity: ``queue_setup`` returns what C stores at pointers. There is no ``wait_prepare``: an
    operation that waits holds no lock.
    """

    def __init__(
        self, *,
        queue_setup: Callable[[Vb2Queue, int, int, list[int]], tuple[int, list[int]]],
        buf_queue: Callable[[Any], object],
        buf_init: Callable[[Any], object] | None = None,
        buf_prepare: Callable[[Any], object] | None = None,
        buf_finish: Callable[[Any], object] | None = None,
        buf_cleanup: Callable[[Any], object] | None = None,
        buf_out_validate: Callable[[Any], object] | None = None,
        start_streaming: Callable[[Vb2Queue, int], object] | None = None,
        stop_streaming: Callable[[Vb2Queue], object] | None = None,
        prepare_streaming: Callable[[Vb2Queue], object] | None = None,
        unprepare_streaming: Callable[[Vb2Queue], object] | None = None,
    ) -> None:  # fmt: skip
        """Take the operations by name."""
        self.queue_setup = queue_setup
        self.buf_queue = buf_queue
        self.buf_init = buf_init
        self.buf_prepare = buf_prepare
        self.buf_finish = buf_finish
        self.buf_cleanup = buf_cleanup
        self.buf_out_validate = buf_out_validate
        self.start_streaming = start_streaming
        self.stop_streaming = stop_streaming
        self.prepare_streaming = prepare_streaming
        self.unprepare_streaming = unprepare_streaming

    def call(self, name: str, *args: Any) -> None:
        """Call an operation, if there is one.

        :raises OSError: what it raises, and the errno that it returns, negative as in C.
        """
        op = getattr(self, name)
        if op is not None:
            result = op(*args)
            if isinstance(result, int) and result < 0:
                raise OSError(-result, f"{name} failed")


class Vb2Queue:
    """A queue of buffers: ``struct vb2_queue``. Fields are set before `vb2_queue_init`.

    :ivar type: ``V4L2_BUF_TYPE_*``
    :ivar io_modes: ``VB2_MMAP`` and so on
    :ivar min_buffers_needed: how many are queued before the driver is started
    :ivar owner: the open file that has made the buffers
    :ivar streaming: VIDIOC_STREAMON was done
    :ivar done_wq: is woken when a buffer is done

    Source: include/media/videobuf2-core.h
    """

    def __init__(
        self, *, type: int = 0, io_modes: int = 0, ops: Vb2Ops | None = None,
        mem_ops: Vb2MemOps | None = None, drv_priv: Any = None,
        buf_struct: type[Vb2V4l2Buffer] = Vb2V4l2Buffer, timestamp_flags: int = 0,
        min_buffers_needed: int = 0, allow_zero_bytesused: bool = False, lock: object = None,
    ) -> None:  # fmt: skip
        """Describe a queue.

        :param lock: not used: operations of a driver run one at a time.
        """
        self.type = type
        self.io_modes = io_modes
        self.drv_priv = drv_priv
        self.buf_struct: Any = buf_struct
        self.timestamp_flags = timestamp_flags
        self.min_buffers_needed = min_buffers_needed
        self.allow_zero_bytesused = allow_zero_bytesused
        self.fileio_read_once = False
        self.fileio_write_immediately = False
        if ops is not None:
            self.ops = ops
        if mem_ops is not None:
            self.mem_ops = mem_ops
        self.done_wq = WaitQueueHead()
        self.done_lock = threading.Lock()
        self.done_list: list[Vb2V4l2Buffer] = []
        self.owned_by_drv_count = 0
        self.queued_list: list[Vb2V4l2Buffer] = []
        self.bufs: list[Vb2V4l2Buffer] = []
        self.memory = VB2_MEMORY_UNKNOWN
        self.owner: Any = None
        self.streaming = False
        self.start_streaming_called = False
        self.error = False
        self.waiting_for_buffers = False
        self.waiting_in_dqbuf: Any = None  # a weak reference to what waits
        self.last_buffer_dequeued = False
        self.fileio: Vb2Fileio | None = None
        self.is_output = self.is_multiplanar = self.copy_timestamp = False

    ops: Vb2Ops
    mem_ops: Vb2MemOps

    @property
    def num_buffers(self) -> int:
        """How many buffers there are."""
        return len(self.bufs)

    @property
    def queued_count(self) -> int:
        """How many buffers are queued, with the driver, or done and not dequeued yet."""
        return len(self.queued_list)


def vb2_queue_init(q: Vb2Queue) -> int:
    """Prepare a queue whose fields are set.

    :return: 0
    :raises OSError: EINVAL, a field is missing or makes no sense (the kernel warns, too)

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    known = c.V4L2_BUF_FLAG_TIMESTAMP_MASK | c.V4L2_BUF_FLAG_TSTAMP_SRC_MASK
    if q.timestamp_flags & ~known:
        raise OSError(errno.EINVAL, f"timestamp_flags {q.timestamp_flags:#x}")
    for field in ("ops", "mem_ops", "type", "io_modes"):
        if not getattr(q, field, None):
            raise OSError(errno.EINVAL, f"the queue has no {field}")
    q.is_multiplanar = V4L2_TYPE_IS_MULTIPLANAR(q.type)
    q.is_output = V4L2_TYPE_IS_OUTPUT(q.type)
    source = q.timestamp_flags & c.V4L2_BUF_FLAG_TIMESTAMP_MASK
    q.copy_timestamp = source == c.V4L2_BUF_FLAG_TIMESTAMP_COPY
    return 0


def vb2_is_streaming(q: Vb2Queue) -> bool:
    """Say whether VIDIOC_STREAMON was done.

    Source: include/media/videobuf2-core.h
    """
    return q.streaming


def vb2_start_streaming_called(q: Vb2Queue) -> bool:
    """Say whether the driver was started.

    Source: include/media/videobuf2-core.h
    """
    return q.start_streaming_called


def vb2_is_busy(q: Vb2Queue) -> bool:
    """Say whether a queue has buffers: then its format is not to change.

    Source: include/media/videobuf2-core.h
    """
    return q.num_buffers > 0


def vb2_clear_last_buffer_dequeued(q: Vb2Queue) -> None:
    """Have programs wait for buffers again, after the last one of a stream.

    Source: include/media/videobuf2-core.h
    """
    q.last_buffer_dequeued = False


def vb2_queue_error(q: Vb2Queue) -> None:
    """Say that a queue has failed: programs get EIO until they stop it.

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    q.error = True
    wake_up_all(q.done_wq)


def vb2_buffer_done(vb: Vb2V4l2Buffer, state: int) -> None:
    """Give back a buffer that the driver has; in any thread.

    :param state: VB2_BUF_STATE_DONE, VB2_BUF_STATE_ERROR; VB2_BUF_STATE_QUEUED gives it back
        unused, when start_streaming fails

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    q = vb.vb2_queue
    with q.done_lock:
        if vb.state != VB2_BUF_STATE_ACTIVE:
            log.warning("vb2_buffer_done of a buffer that the driver does not have: %r", vb)
            return
        if state not in (VB2_BUF_STATE_DONE, VB2_BUF_STATE_ERROR, VB2_BUF_STATE_QUEUED):
            state = VB2_BUF_STATE_ERROR
        vb.state = state
        q.owned_by_drv_count -= 1
        if state != VB2_BUF_STATE_QUEUED:
            vb.synced = False
            q.done_list.append(vb)
    if state != VB2_BUF_STATE_QUEUED:
        wake_up(q.done_wq)
