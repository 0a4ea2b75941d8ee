"""dma-bufs: memory of a buffer as a descriptor, which can be mapped and given to other devices.

The descriptor is a file of the program's, without a node. It keeps the memory as a mapping does.

Source: drivers/dma-buf/dma-buf.c
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from mapdev.driver import Driver
from mapdev.linux import (
    EPOLLIN,
    EPOLLOUT,
    PAGE_SHIFT,
    SEEK_END,
    SEEK_SET,
    File,
    Inode,
    VmAreaStruct,
    anon_inode_getfd,
    copy_from_user,
    fget,
    vma_pages,
)
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.structures import DmaBufSync

if TYPE_CHECKING:
    from mapdev.subsystems.v4l2.vb2_memory import Vb2MemOps

__all__ = ["DmaBuf", "dma_buf_fd", "dma_buf_get"]


class DmaBuf:
    """Memory that was exported: ``struct dma_buf``.

    Source: include/linux/dma-buf.h
    """

    def __init__(self, mem_ops: Vb2MemOps, memory: Any) -> None:
        """Export memory, which is kept until the last descriptor is closed."""
        self.mem_ops = mem_ops
        self.memory = memory
        self.size: int = memory.size
        self.name = b""
        memory.refcount += 1


class _DmaBufFile(Driver):
    """The operations of a dma-buf's descriptor."""

    name = "dmabuf"

    def release(self, inode: Inode, file: File) -> None:
        """Let go of the memory."""
        file.private_data.memory.put()

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the memory; EINVAL past its end."""
        dmabuf: DmaBuf = file.private_data
        if vma.vm_pgoff + vma_pages(vma) > dmabuf.size >> PAGE_SHIFT:
            raise OSError(errno.EINVAL, f"{vma!r} reaches past {dmabuf.size} bytes")
        dmabuf.mem_ops.mmap(dmabuf.memory, vma)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Tell the size: to the end or the beginning, and nowhere else."""
        if whence not in (SEEK_END, SEEK_SET) or offset:
            raise OSError(errno.EINVAL, "a dma-buf has a size, and no position")
        file.f_pos = file.private_data.size if whence == SEEK_END else 0
        return file.f_pos

    def poll(self, file: File) -> int:
        """Nobody has to wait for the memory."""
        return EPOLLIN | EPOLLOUT

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        """DMA_BUF_IOCTL_SYNC, which has nothing to do here, and DMA_BUF_SET_NAME."""
        if cmd == c.DMA_BUF_IOCTL_SYNC:
            sync = DmaBufSync.from_buffer_copy(copy_from_user(arg, 8))
            if sync.flags & ~c.DMA_BUF_SYNC_VALID_FLAGS_MASK or not sync.flags & c.DMA_BUF_SYNC_RW:
                raise OSError(errno.EINVAL, f"flags {sync.flags:#x}")
            return 0
        if cmd in (c.DMA_BUF_SET_NAME_A, c.DMA_BUF_SET_NAME_B):
            file.private_data.name = copy_from_user(arg, c.DMA_BUF_NAME_LEN).split(b"\0")[0]
            return 0
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))


_FILE = _DmaBufFile()


def dma_buf_fd(dmabuf: DmaBuf, flags: int) -> int:
    """Give the program that made the call a descriptor of a dma-buf.

    :param flags: ``O_CLOEXEC`` and the access mode
    :return: the descriptor
    :raises OSError: EMFILE

    Source: drivers/dma-buf/dma-buf.c
    """
    try:
        return anon_inode_getfd("dmabuf", _FILE, dmabuf, flags)
    except OSError:
        dmabuf.memory.put()
        raise


def dma_buf_get(fd: int) -> DmaBuf:
    """Give the dma-buf that the program that made the call has at a descriptor.

    :raises OSError: EINVAL, it has none there

    Source: drivers/dma-buf/dma-buf.c
    Fidelity: of our own devices only. Raises EINVAL, to which videobuf2 turns EBADF.
    """
    try:
        found = fget(fd).private_data
    except OSError:
        found = None
    if not isinstance(found, DmaBuf):
        raise OSError(errno.EINVAL, f"{fd} is no dma-buf")
    return found
