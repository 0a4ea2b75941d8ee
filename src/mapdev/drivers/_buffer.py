"""What devices that are a plain piece of memory have in common: read, write, llseek.

A subclass allocates the memory in `probe`, calls `Buffer.use` with it, and writes its own mmap. The
memory belongs to the device from `probe` to `remove`; nothing here frees it.
"""

from __future__ import annotations

import errno

from mapdev.driver import Driver
from mapdev.linux import PAGE_SHIFT, File, VmAreaStruct, fixed_size_llseek, memory, vma_pages


class Buffer(Driver):
    """Memory of a fixed size at a kernel address, read and written like a file."""

    address: int
    size: int

    def use(self, address: int, size: int) -> None:
        """Serve `size` bytes, whole pages, at the kernel address `address`."""
        self.address = address
        self.size = size

    @property
    def data(self) -> memoryview:
        """The bytes of the device, writable: what the driver and all its clients see."""
        return memory(self.address, self.size)

    def read(self, file: File, count: int, pos: int) -> memoryview:
        """Return what lies at `pos`; nothing at the end and beyond it."""
        return self.data[pos : pos + count]

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Take what fits from `pos` to the end.

        :raises OSError: EFBIG, `pos` is past the end; ENOSPC, it is the end.

        Source: drivers/video/fbdev/core/fb_sys_fops.c (fb_sys_write)
        """
        if pos > self.size:
            raise OSError(errno.EFBIG, f"write at {pos:#x}, the device ends at {self.size:#x}")
        data = data[: self.size - pos]
        if not data:
            raise OSError(errno.ENOSPC, "write at the end of the device")
        self.data[pos : pos + len(data)] = data
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Move to any place in the device, up to its end."""
        return fixed_size_llseek(file, offset, whence, self.size)

    def check_range(self, vma: VmAreaStruct) -> None:
        """Refuse an area that reaches past the last page of the device.

        Nobody else checks this: a driver that forgets it gives away whatever lies behind.

        :raises OSError: EINVAL, it does.
        """
        if vma.vm_pgoff + vma_pages(vma) > self.size >> PAGE_SHIFT:
            raise OSError(errno.EINVAL, "mapping past the end of the device")
