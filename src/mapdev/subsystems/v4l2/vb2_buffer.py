"""`Vb2V4l2Buffer`: a buffer of a queue, its planes, and what a driver does with it.

Source: include/media/videobuf2-core.h, include/media/videobuf2-v4l2.h
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mapdev.subsystems.v4l2.structures import V4l2Timecode

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.dma_buf import DmaBuf
    from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue

__all__ = [
    "VB2_BUF_STATE_ACTIVE", "VB2_BUF_STATE_DEQUEUED", "VB2_BUF_STATE_DONE", "VB2_BUF_STATE_ERROR",
    "VB2_BUF_STATE_PREPARING", "VB2_BUF_STATE_QUEUED", "Vb2Plane", "Vb2V4l2Buffer",
    "to_vb2_v4l2_buffer", "vb2_buffer_in_use", "vb2_get_plane_payload", "vb2_plane_cookie",
    "vb2_plane_size", "vb2_plane_vaddr", "vb2_set_plane_payload",
]  # fmt: skip

VB2_BUF_STATE_DEQUEUED = 0
VB2_BUF_STATE_PREPARING = 2
VB2_BUF_STATE_QUEUED = 3
VB2_BUF_STATE_ACTIVE = 4
VB2_BUF_STATE_DONE = 5
VB2_BUF_STATE_ERROR = 6


class Vb2Plane:
    """A plane of a buffer: ``struct vb2_plane``.

    :ivar bytesused: how much of it holds data, ``data_offset`` included.
    :ivar length: its size in bytes.
    :ivar m: the offset for mmap, the program's address, or its descriptor: as the memory is.
    :ivar mem_priv: what the queue's ``mem_ops`` know of its memory; None if it has none.

    Source: include/media/videobuf2-core.h
    Fidelity: ``m`` is one number, in C a union.
    """

    __slots__ = ("bytesused", "data_offset", "dbuf", "length", "m", "mem_priv", "min_length")

    def __init__(self, length: int = 0) -> None:
        """Describe a plane without memory."""
        self.mem_priv: Any = None
        self.dbuf: DmaBuf | None = None
        self.bytesused = 0
        self.length = length
        self.min_length = length
        self.m = 0
        self.data_offset = 0


class Vb2V4l2Buffer:
    """A buffer of a queue: ``struct vb2_buffer`` and ``struct vb2_v4l2_buffer``.

    A driver may subclass it, and names the class as the queue's ``buf_struct``; the constructor has
    no arguments.

    :ivar timestamp: nanoseconds.
    :ivar sequence: the number of the frame.
    :ivar state: ``VB2_BUF_STATE_*``, which the core alone changes.

    Source: include/media/videobuf2-core.h, include/media/videobuf2-v4l2.h
    Fidelity: one object, where C has one structure inside of the other.
    """

    vb2_queue: Vb2Queue

    def __init__(self) -> None:
        """Make one that belongs to no queue."""
        self.index = 0
        self.type = 0
        self.memory = 0
        self.planes: list[Vb2Plane] = []
        self.wanted: list[Vb2Plane] = []  # what the program says of them: vbuf->planes
        self.timestamp = 0
        self.flags = 0
        self.field = 0
        self.timecode = V4l2Timecode()
        self.sequence = 0
        self.state = VB2_BUF_STATE_DEQUEUED
        self.prepared = False
        self.synced = False

    @property
    def num_planes(self) -> int:
        """How many planes it has."""
        return len(self.planes)

    def __repr__(self) -> str:
        """Show index and state."""
        return f"<{type(self).__name__} {self.index} state={self.state}>"


def to_vb2_v4l2_buffer(vb: Vb2V4l2Buffer) -> Vb2V4l2Buffer:
    """Give the buffer.

    Source: include/media/videobuf2-v4l2.h
    Fidelity: both are one object here.
    """
    return vb


def vb2_plane_vaddr(vb: Vb2V4l2Buffer, plane_no: int = 0) -> memoryview:
    """Give a writable view of the memory of a plane, which NumPy takes without a copy.

    :raises OSError: EFAULT, it has none

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    Fidelity: a view of its length, where C has an address, and raises where C gives NULL.
    """
    plane = vb.planes[plane_no]
    view: memoryview = vb.vb2_queue.mem_ops.vaddr(plane.mem_priv)
    return view[: plane.length]


def vb2_plane_cookie(vb: Vb2V4l2Buffer, plane_no: int = 0) -> Any:
    """Give what the memory's kind says of a plane: of ``vb2_dma_contig_memops`` its DMA address.

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    return vb.vb2_queue.mem_ops.cookie(vb.planes[plane_no].mem_priv)


def vb2_plane_size(vb: Vb2V4l2Buffer, plane_no: int = 0) -> int:
    """Give the size of a plane in bytes; 0 if there is no such plane.

    Source: include/media/videobuf2-core.h
    """
    return vb.planes[plane_no].length if plane_no < len(vb.planes) else 0


def vb2_set_plane_payload(vb: Vb2V4l2Buffer, plane_no: int, size: int) -> None:
    """Say how many bytes of a plane hold data, at most its size.

    Source: include/media/videobuf2-core.h
    """
    if plane_no < len(vb.planes):
        plane = vb.planes[plane_no]
        plane.bytesused = min(size, plane.length)


def vb2_get_plane_payload(vb: Vb2V4l2Buffer, plane_no: int = 0) -> int:
    """Give how many bytes of a plane hold data.

    Source: include/media/videobuf2-core.h
    """
    return vb.planes[plane_no].bytesused if plane_no < len(vb.planes) else 0


def vb2_buffer_in_use(q: Vb2Queue, vb: Vb2V4l2Buffer) -> bool:
    """Say whether others than the queue use the memory of a buffer: it is mapped, or exported.

    Source: drivers/media/common/videobuf2/videobuf2-core.c
    """
    return any(
        plane.mem_priv is not None and q.mem_ops.num_users(plane.mem_priv) > 1
        for plane in vb.planes
    )
