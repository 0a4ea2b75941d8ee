"""Serves /proc/PID/mem of a process that maps devices, or may do so later, as a kernel would.

Memory of a PFN-mapped area is none that can be had, unless its driver has `access`, which is asked
then. Pages of areas that fault are brought in before; the rest is left to the real file. Used in
the host's thread only.

Source: fs/proc/base.c (mem_rw, mem_lseek), mm/memory.c (__access_remote_vm)
Fidelity: a page at a time, so that an access operation is never asked for more than a page has.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from mapdev.driver import Driver
from mapdev.host.core.device import Device
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.fs import File, Inode
from mapdev.linux.numbers import PAGE_MASK, PAGE_SIZE, VM_IO, VM_PFNMAP

_MOST = 1 << 22  # bytes that one call moves
_MAX_OFFSET = (1 << 64) - 1


class _Memory(Driver):
    """One open /proc/PID/mem.

    :param fd: of the real one, ours from now on.
    """

    name = "mem"

    def __init__(self, kernel: Subsystems, tgid: int, fd: int) -> None:
        self._kernel = kernel
        self._tgid = tgid
        self._fd = fd

    def release(self, inode: Inode, file: File) -> None:
        """Close the real one."""
        os.close(self._fd)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Seek; there is no end."""
        if whence == os.SEEK_CUR:
            offset += file.f_pos
        elif whence != os.SEEK_SET:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        file.f_pos = offset
        return offset

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return what is there, up to the first page that can't be had."""
        data = bytearray(min(count, _MOST))
        return bytes(data[: self._move(memoryview(data), pos, False)])

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Write, up to the first page that can't be written."""
        return self._move(memoryview(bytearray(data[:_MOST])), pos, True)

    def _move(self, data: memoryview, addr: int, is_write: bool) -> int:
        space = self._kernel.spaces.at(self._tgid)
        if space is not None and not space.seen:
            self._kernel.mappings.refresh()
        done = 0
        while done < len(data):
            size = min(len(data) - done, PAGE_SIZE - (addr & ~PAGE_MASK))
            moved = self._move_in_page(space, data[done : done + size], addr, is_write)
            done += moved
            addr += moved
            if moved < size:
                break
        if not done and len(data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return done

    def _move_in_page(
        self, space: MmAreas | None, data: memoryview, addr: int, is_write: bool
    ) -> int:
        area = space.find(addr) if space is not None else None
        if area is not None and area.vm_flags & (VM_IO | VM_PFNMAP):
            return self._access(area, data, addr, is_write)
        try:
            if area is not None:
                self._kernel.mappings.bring_in(self._tgid, addr, len(data), is_write)
            return (os.pwritev if is_write else os.preadv)(self._fd, [data], addr)
        except (OSError, OverflowError):
            return 0

    def _access(self, area: DeviceArea, data: memoryview, addr: int, is_write: bool) -> int:
        """Ask the driver, if it has an access operation; return how many bytes it did."""
        function: Any = getattr(area.vm_ops, "access", None) if area.vm_ops is not None else None
        if function is None:
            return 0
        device = area.open_file.device
        task = self._kernel.mappings.client(self._tgid, self._tgid)
        try:
            return self._kernel.operations.access(
                device, task, function, area, addr, data, int(is_write)
            )
        except OSError:
            return 0


def open_memory(kernel: Subsystems, call: Call, tgid: int, flags: int) -> int:
    """Open the memory of process `tgid` in the client; return the descriptor there.

    :raises OSError: as the kernel would say of the real one.
    """
    fd = os.open(f"/proc/{tgid}/mem", flags & os.O_ACCMODE | os.O_CLOEXEC)
    try:
        device = Device(_Memory(kernel, tgid, fd), f"/proc/{tgid}/mem", 0)
    except BaseException:
        os.close(fd)
        raise
    device.inode.i_mode = stat.S_IFREG | 0o600
    open_file = kernel.files.new_file(device, flags & ~os.O_CLOEXEC)
    call.file, call.owner = open_file, device.owner
    return kernel.files.install(call, open_file, bool(flags & os.O_CLOEXEC))
