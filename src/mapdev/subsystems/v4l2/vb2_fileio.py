"""read and write on a queue: the core itself requests, queues and dequeues buffers.

It begins with the first read or write, or poll for one, of a queue without buffers, and ends when
the file is closed. Buffers are the core's then: commands for them fail (EBUSY).

Source: drivers/media/common/videobuf2/videobuf2-core.c (__vb2_init_fileio,
__vb2_perform_fileio)
"""

from __future__ import annotations

import errno
import time

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.vb2_alloc import vb2_core_reqbufs
from mapdev.subsystems.v4l2.vb2_buffer import (
    Vb2Plane,
    Vb2V4l2Buffer,
    vb2_get_plane_payload,
    vb2_plane_size,
    vb2_plane_vaddr,
)
from mapdev.subsystems.v4l2.vb2_core import (
    vb2_core_dqbuf,
    vb2_core_qbuf,
    vb2_core_streamoff,
    vb2_core_streamon,
)
from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue

__all__ = ["Vb2Fileio", "init_fileio", "vb2_read", "vb2_write"]


class Vb2Fileio:
    """Where reading or writing is: ``struct vb2_fileio_data``.

    :ivar current: the buffer that is being read or filled; None before one is dequeued.
    :ivar pos: where in it.
    :ivar size: where its data, or its room, ends.
    :ivar initial: how many buffers were filled for the first time; writing begins with these.

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """

    def __init__(self, q: Vb2Queue) -> None:
        self.q = q
        self.current: Vb2V4l2Buffer | None = None
        self.pos = 0
        self.size = 0
        self.initial = 0
        self.dq_count = 0

    def next_to_fill(self) -> None:
        """Go on with the next buffer that was never filled, if there is one left."""
        self.current = None
        if self.initial < len(self.q.bufs):
            self.current = self.q.bufs[self.initial]
            self.pos, self.size = 0, vb2_plane_size(self.current)

    def cleanup(self) -> None:
        """End it: the queue is as if it had never begun."""
        q = self.q
        vb2_core_streamoff(q, q.type)
        q.fileio = None
        vb2_core_reqbufs(q, c.V4L2_MEMORY_MMAP, 0)


def init_fileio(q: Vb2Queue, is_read: bool) -> Vb2Fileio:
    """Begin reading or writing.

    :raises OSError: EBUSY, the queue is in use, or its buffers have several planes; ENOMEM; or what
        the driver raises

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    if q.streaming or q.bufs:
        raise OSError(errno.EBUSY, "buffers are in use")
    vb2_core_reqbufs(q, c.V4L2_MEMORY_MMAP, 1)
    fileio = Vb2Fileio(q)
    try:
        if q.bufs[0].num_planes != 1:
            raise OSError(errno.EBUSY, "buffers of several planes can't be read or written")
        if is_read:
            for vb in q.bufs:
                _queue(q, vb, 0)
            fileio.initial = len(q.bufs)
        q.fileio = fileio
        fileio.next_to_fill()
        vb2_core_streamon(q, q.type)
    except OSError:
        q.fileio = None
        vb2_core_reqbufs(q, c.V4L2_MEMORY_MMAP, 0)
        raise
    return fileio


def _queue(q: Vb2Queue, vb: Vb2V4l2Buffer, bytesused: int) -> None:
    wanted = Vb2Plane(vb.planes[0].length)
    wanted.bytesused = bytesused
    vb.wanted = [wanted]
    vb2_core_qbuf(q, vb)


def _begin(q: Vb2Queue, is_read: bool, nonblocking: bool) -> tuple[Vb2Fileio, Vb2V4l2Buffer]:
    """Return the buffer to go on with, which is dequeued if need be."""
    fileio = q.fileio or init_fileio(q, is_read)
    if fileio.current is None:
        vb = fileio.current = vb2_core_dqbuf(q, nonblocking)
        fileio.dq_count += 1
        fileio.pos = 0
        fileio.size = vb2_get_plane_payload(vb) if is_read else vb2_plane_size(vb)
        offset = vb.planes[0].data_offset
        if q.is_multiplanar and is_read and offset < fileio.size:
            fileio.pos = offset
    return fileio, fileio.current


def vb2_read(q: Vb2Queue, count: int, nonblocking: bool) -> bytes:
    """Give bytes of the current buffer; wait for one unless told not to.

    :raises OSError: EBUSY, another call waits; else as for `init_fileio` and `vb2_core_dqbuf`

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    fileio, vb = _begin(q, True, nonblocking)
    end = min(fileio.pos + count, fileio.size)
    data = bytes(vb2_plane_vaddr(vb)[fileio.pos : end])
    fileio.pos = max(end, fileio.pos)
    if fileio.pos >= fileio.size:
        if q.fileio_read_once and fileio.dq_count == 1:
            fileio.cleanup()
            return data
        fileio.current = None
        _queue(q, vb, fileio.pos)
    return data


def vb2_write(q: Vb2Queue, data: bytes, nonblocking: bool) -> int:
    """Take bytes into the current buffer, which is queued when it is full.

    :return: how many were taken
    :raises OSError: as for `vb2_read`

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    fileio, vb = _begin(q, False, nonblocking)
    taken = min(len(data), fileio.size - fileio.pos)
    vb2_plane_vaddr(vb)[fileio.pos : fileio.pos + taken] = data[:taken]
    fileio.pos += taken
    if fileio.pos >= fileio.size or q.fileio_write_immediately:
        filled = fileio.pos
        if fileio.initial < len(q.bufs):
            fileio.initial += 1
        fileio.next_to_fill()
        if q.copy_timestamp:
            vb.timestamp = time.monotonic_ns()
        _queue(q, vb, filled)
    return taken
