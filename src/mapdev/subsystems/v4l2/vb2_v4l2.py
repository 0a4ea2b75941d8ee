"""Between ``struct v4l2_buffer`` and the buffers of a queue.

Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
"""

from __future__ import annotations

import errno
from typing import Any

from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.macros import (
    V4L2_TYPE_IS_MULTIPLANAR,
    V4L2_TYPE_IS_OUTPUT,
    ns_to_timeval,
    timeval_to_ns,
)
from mapdev.subsystems.v4l2.vb2_access import vb2_core_expbuf
from mapdev.subsystems.v4l2.vb2_alloc import (
    vb2_core_create_bufs,
    vb2_core_reqbufs,
    vb2_verify_memory_type,
)
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_ACTIVE,
    VB2_BUF_STATE_DEQUEUED,
    VB2_BUF_STATE_DONE,
    VB2_BUF_STATE_ERROR,
    VB2_BUF_STATE_QUEUED,
    Vb2Plane,
    Vb2V4l2Buffer,
    vb2_buffer_in_use,
)
from mapdev.subsystems.v4l2.vb2_core import (
    vb2_core_dqbuf,
    vb2_core_prepare_buf,
    vb2_core_qbuf,
    vb2_core_streamoff,
    vb2_core_streamon,
)
from mapdev.subsystems.v4l2.vb2_queue import VB2_DMABUF, VB2_MMAP, VB2_USERPTR, Vb2Queue

__all__ = [
    "fill_buf_caps", "vb2_create_bufs", "vb2_dqbuf", "vb2_expbuf", "vb2_prepare_buf", "vb2_qbuf",
    "vb2_querybuf", "vb2_reqbufs", "vb2_streamoff", "vb2_streamon",
]  # fmt: skip

_CORE_FLAGS = (
    c.V4L2_BUF_FLAG_MAPPED | c.V4L2_BUF_FLAG_QUEUED | c.V4L2_BUF_FLAG_DONE
    | c.V4L2_BUF_FLAG_ERROR | c.V4L2_BUF_FLAG_PREPARED | c.V4L2_BUF_FLAG_IN_REQUEST
    | c.V4L2_BUF_FLAG_REQUEST_FD | c.V4L2_BUF_FLAG_TIMESTAMP_MASK
)  # fmt: skip
_OUT_FLAGS = (
    c.V4L2_BUF_FLAG_PFRAME | c.V4L2_BUF_FLAG_BFRAME | c.V4L2_BUF_FLAG_KEYFRAME
    | c.V4L2_BUF_FLAG_TIMECODE
)  # fmt: skip
_CACHE_HINTS = c.V4L2_BUF_FLAG_NO_CACHE_INVALIDATE | c.V4L2_BUF_FLAG_NO_CACHE_CLEAN
_MODES = (
    (VB2_MMAP, c.V4L2_BUF_CAP_SUPPORTS_MMAP), (VB2_USERPTR, c.V4L2_BUF_CAP_SUPPORTS_USERPTR),
    (VB2_DMABUF, c.V4L2_BUF_CAP_SUPPORTS_DMABUF),
)  # fmt: skip


def _invalid(why: str, code: int = errno.EINVAL) -> OSError:
    return OSError(code, why)


def _no_fileio(q: Vb2Queue) -> None:
    if q.fileio is not None:
        raise _invalid("read or write is in use", errno.EBUSY)


def fill_buf_caps(q: Vb2Queue) -> int:
    """Return what a queue can do: ``V4L2_BUF_CAP_*``.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    return c.V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS | sum(
        cap for mode, cap in _MODES if q.io_modes & mode
    )


def _verify_planes_array(vb: Vb2V4l2Buffer, b: Any) -> None:
    if V4L2_TYPE_IS_MULTIPLANAR(b.type) and (
        not b.m.planes or not vb.num_planes <= b.length <= c.VIDEO_MAX_PLANES
    ):
        raise _invalid(f"{b.length} planes, the buffer has {vb.num_planes}")


def _verify_length(vb: Vb2V4l2Buffer, b: Any) -> None:
    """Check that what a program has filled in fits into the planes."""
    if not V4L2_TYPE_IS_OUTPUT(b.type):
        return
    given = (c.V4L2_MEMORY_USERPTR, c.V4L2_MEMORY_DMABUF)
    if not V4L2_TYPE_IS_MULTIPLANAR(b.type):
        length = b.length if b.memory == c.V4L2_MEMORY_USERPTR else vb.planes[0].length
        if b.bytesused > length:
            raise _invalid(f"{b.bytesused} bytes in a buffer of {length}")
        return
    for plane, said in zip(vb.planes, b.array, strict=False):
        length = said.length if b.memory in given else plane.length
        if said.bytesused > length or (
            said.data_offset and said.data_offset >= (said.bytesused or length)
        ):
            raise _invalid(f"{said.bytesused} bytes from {said.data_offset} in {length}")


def _address(memory: int, m: Any, plane: Vb2Plane) -> int:
    """Return what the program says of where a plane's memory is."""
    if memory == c.V4L2_MEMORY_USERPTR:
        return int(m.userptr)
    return int(m.fd) if memory == c.V4L2_MEMORY_DMABUF else plane.m


def _fill_vb2(vb: Vb2V4l2Buffer, b: Any) -> None:
    """Take over what a program says of a buffer.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c (vb2_fill_vb2_v4l2_buffer)
    """
    _verify_length(vb, b)
    q = vb.vb2_queue
    if b.field == c.V4L2_FIELD_ALTERNATE and q.is_output:
        raise _invalid("a buffer has one field, or both, but does not alternate")
    vb.sequence = 0
    vb.wanted = []
    is_own = b.memory == c.V4L2_MEMORY_MMAP
    is_multiplanar = V4L2_TYPE_IS_MULTIPLANAR(b.type)
    for index, plane in enumerate(vb.planes):
        said = b.array[index] if is_multiplanar else b
        wanted = Vb2Plane(plane.length if is_own else said.length)
        wanted.m = _address(b.memory, said.m, plane)
        if q.is_output:
            wanted.bytesused = said.bytesused
            if not said.bytesused and not q.allow_zero_bytesused:
                wanted.bytesused = wanted.length
            wanted.data_offset = said.data_offset if is_multiplanar else 0
        vb.wanted.append(wanted)
    vb.flags = b.flags & ~_CORE_FLAGS
    if not q.copy_timestamp or not q.is_output:
        vb.flags &= ~c.V4L2_BUF_FLAG_TSTAMP_SRC_MASK
    if q.is_output:
        vb.flags &= ~(c.V4L2_BUF_FLAG_TIMECODE | c.V4L2_BUF_FLAG_M2M_HOLD_CAPTURE_BUF)
        vb.field = b.field
    else:
        vb.flags &= ~(_OUT_FLAGS | c.V4L2_BUF_FLAG_LAST)


def _copy_timestamp(vb: Vb2V4l2Buffer, b: Any) -> None:
    if vb.vb2_queue.is_output:
        if vb.vb2_queue.copy_timestamp:
            vb.timestamp = timeval_to_ns(b.timestamp)
        vb.flags |= b.flags & c.V4L2_BUF_FLAG_TIMECODE
        if b.flags & c.V4L2_BUF_FLAG_TIMECODE:
            vb.timecode.assign(b.timecode)


def _say_where(memory: int, m: Any, plane: Vb2Plane, offset: str) -> None:
    if memory == c.V4L2_MEMORY_MMAP:
        setattr(m, offset, plane.m)
    elif memory == c.V4L2_MEMORY_USERPTR:
        m.userptr = plane.m
    elif memory == c.V4L2_MEMORY_DMABUF:
        m.fd = plane.m


def _fill_user(vb: Vb2V4l2Buffer, b: Any) -> None:
    """Tell a program what a buffer is like.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c (__fill_v4l2_buffer)
    """
    q = vb.vb2_queue
    b.index, b.type, b.memory = vb.index, vb.type, vb.memory
    b.bytesused = 0
    b.field, b.sequence = vb.field, vb.sequence
    ns_to_timeval(b.timestamp, vb.timestamp)
    b.timecode = vb.timecode
    b.reserved2 = b.request_fd = 0
    if q.is_multiplanar:
        b.length = vb.num_planes
        for plane, said in zip(vb.planes, b.array, strict=False):
            said.bytesused, said.length = plane.bytesused, plane.length
            said.data_offset = plane.data_offset
            _say_where(q.memory, said.m, plane, "mem_offset")
            for index in range(len(said.reserved)):
                said.reserved[index] = 0
    else:
        plane = vb.planes[0]
        b.length, b.bytesused = plane.length, plane.bytesused
        _say_where(q.memory, b.m, plane, "offset")
    flags = vb.flags & ~_CORE_FLAGS | q.timestamp_flags & c.V4L2_BUF_FLAG_TIMESTAMP_MASK
    if not q.copy_timestamp:
        source = c.V4L2_BUF_FLAG_TSTAMP_SRC_MASK
        flags = flags & ~source | q.timestamp_flags & source
    if vb.state in (VB2_BUF_STATE_QUEUED, VB2_BUF_STATE_ACTIVE):
        flags |= c.V4L2_BUF_FLAG_QUEUED
    elif vb.state in (VB2_BUF_STATE_DONE, VB2_BUF_STATE_ERROR):
        flags |= c.V4L2_BUF_FLAG_DONE
        flags |= c.V4L2_BUF_FLAG_ERROR if vb.state == VB2_BUF_STATE_ERROR else 0
    elif vb.state == VB2_BUF_STATE_DEQUEUED and vb.synced and vb.prepared:
        flags |= c.V4L2_BUF_FLAG_PREPARED
    if vb2_buffer_in_use(q, vb):
        flags |= c.V4L2_BUF_FLAG_MAPPED
    b.flags = flags


def _find(q: Vb2Queue, b: Any) -> Vb2V4l2Buffer:
    if b.type != q.type or b.index >= len(q.bufs):
        raise _invalid(f"no buffer {b.index} of type {b.type}")
    vb: Vb2V4l2Buffer = q.bufs[b.index]
    return vb


def vb2_querybuf(q: Vb2Queue, b: Any) -> None:
    """VIDIOC_QUERYBUF.

    :raises OSError: EINVAL, there is no such buffer, or no room for its planes

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    vb = _find(q, b)
    _verify_planes_array(vb, b)
    _fill_user(vb, b)


def vb2_reqbufs(q: Vb2Queue, req: Any) -> None:
    """VIDIOC_REQBUFS.

    :raises OSError: EINVAL, EBUSY, ENOMEM: see `vb2_verify_memory_type` and `vb2_core_reqbufs`

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    try:
        vb2_verify_memory_type(q, req.memory, req.type)
    finally:
        req.capabilities = fill_buf_caps(q)
        req.flags = 0
    req.count = vb2_core_reqbufs(q, req.memory, req.count)


def _sizes(f: Any) -> list[int]:
    """Return the sizes of planes that a format asks for.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c (vb2_create_bufs)
    """
    if V4L2_TYPE_IS_MULTIPLANAR(f.type):
        count = f.fmt.pix_mp.num_planes
        if not 0 < count <= c.VIDEO_MAX_PLANES:
            raise _invalid(f"{count} planes")
        found = [plane.sizeimage for plane in f.fmt.pix_mp.plane_fmt[:count]]
    elif f.type in (c.V4L2_BUF_TYPE_VIDEO_CAPTURE, c.V4L2_BUF_TYPE_VIDEO_OUTPUT):
        found = [f.fmt.pix.sizeimage]
    elif f.type in (c.V4L2_BUF_TYPE_META_CAPTURE, c.V4L2_BUF_TYPE_META_OUTPUT):
        found = [f.fmt.meta.buffersize]
    elif f.type in (c.V4L2_BUF_TYPE_VBI_CAPTURE, c.V4L2_BUF_TYPE_VBI_OUTPUT):
        found = [f.fmt.vbi.samples_per_line * (f.fmt.vbi.count[0] + f.fmt.vbi.count[1])]
    elif f.type in (c.V4L2_BUF_TYPE_SLICED_VBI_CAPTURE, c.V4L2_BUF_TYPE_SLICED_VBI_OUTPUT):
        found = [f.fmt.sliced.io_size]
    else:
        raise _invalid(f"no sizes for type {f.type}")
    if not all(found):
        raise _invalid("a size of 0")
    return found


def vb2_create_bufs(q: Vb2Queue, create: Any) -> None:
    """VIDIOC_CREATE_BUFS; of 0 buffers it says what would be the index of the next.

    :raises OSError: EINVAL, no size or another type; else as for `vb2_core_create_bufs`

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    failure: OSError | None = None
    try:
        vb2_verify_memory_type(q, create.memory, create.format.type)
    except OSError as error:
        failure = error
    create.capabilities = fill_buf_caps(q)
    create.flags = 0
    create.index = len(q.bufs)
    if create.count == 0:
        if failure is not None and failure.errno != errno.EBUSY:
            raise failure
        return
    sizes = _sizes(create.format)
    if failure is not None:
        raise failure
    create.count = vb2_core_create_bufs(q, create.memory, create.count, sizes)


def _take(q: Vb2Queue, b: Any) -> Vb2V4l2Buffer:
    """Find a buffer that is to be queued or prepared, and take over what the program says.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c (vb2_queue_or_prepare_buf)
    """
    vb = _find(q, b)
    if b.memory != q.memory:
        raise _invalid("the queue's memory is another")
    _verify_planes_array(vb, b)
    if not vb.prepared:
        b.flags &= ~_CACHE_HINTS
        if vb.state == VB2_BUF_STATE_DEQUEUED:
            _fill_vb2(vb, b)
        else:
            _verify_length(vb, b)
    return vb


def vb2_prepare_buf(q: Vb2Queue, b: Any) -> None:
    """VIDIOC_PREPARE_BUF.

    :raises OSError: EBUSY, read or write is in use; EINVAL, there is no such buffer, a request is
        asked for, or the buffer is queued; else as for `vb2_core_qbuf`

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    _no_fileio(q)
    if b.flags & c.V4L2_BUF_FLAG_REQUEST_FD:
        raise _invalid("no requests")
    vb = _take(q, b)
    vb2_core_prepare_buf(q, vb)
    _fill_user(vb, b)


def vb2_qbuf(q: Vb2Queue, b: Any) -> None:
    """VIDIOC_QBUF.

    :raises OSError: EBUSY, read or write is in use; EINVAL, there is no such buffer; EBADR, a
        request is asked for; else as for `vb2_core_qbuf`

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    _no_fileio(q)
    vb = _take(q, b)
    if b.flags & c.V4L2_BUF_FLAG_REQUEST_FD:
        raise _invalid("no requests", errno.EBADR)
    vb2_core_qbuf(
        q, vb, lambda taken: _copy_timestamp(taken, b), lambda taken: _fill_user(taken, b)
    )


def vb2_dqbuf(q: Vb2Queue, b: Any, nonblocking: bool) -> None:
    """VIDIOC_DQBUF.

    :raises OSError: EBUSY, read or write is in use; EINVAL, another type; else as for
        `vb2_core_dqbuf`

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    _no_fileio(q)
    if b.type != q.type:
        raise _invalid("another type of buffers")
    vb2_core_dqbuf(
        q, nonblocking, lambda vb: _verify_planes_array(vb, b), lambda vb: _fill_user(vb, b)
    )
    if not q.is_output and b.flags & c.V4L2_BUF_FLAG_DONE and b.flags & c.V4L2_BUF_FLAG_LAST:
        q.last_buffer_dequeued = True
    b.flags &= ~c.V4L2_BUF_FLAG_DONE


def vb2_streamon(q: Vb2Queue, type_: int) -> None:
    """VIDIOC_STREAMON; EBUSY, read or write is in use; see `vb2_core_streamon`.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    _no_fileio(q)
    vb2_core_streamon(q, type_)


def vb2_streamoff(q: Vb2Queue, type_: int) -> None:
    """VIDIOC_STREAMOFF; EBUSY, read or write is in use; see `vb2_core_streamoff`.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    _no_fileio(q)
    vb2_core_streamoff(q, type_)


def vb2_expbuf(q: Vb2Queue, eb: Any) -> None:
    """VIDIOC_EXPBUF; see `vb2_core_expbuf`.

    Source: drivers/media/common/videobuf2/videobuf2-v4l2.c
    """
    eb.fd = vb2_core_expbuf(q, eb.type, eb.index, eb.plane, eb.flags)
