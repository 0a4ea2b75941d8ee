"""Serves /proc/PID/pagemap of a process that maps devices, or may do so later, as a kernel would.

Entries of a device's area come from what the driver has mapped there: none of an area of VM_PFNMAP,
which has no pages, frame and "file" of others. All other entries are the real ones. Each read looks
anew. Used in the host's thread only.

Source: fs/proc/task_mmu.c (pagemap_read, pte_to_pagemap_entry, walk_page_test)
Fidelity: PAGEMAP_SCAN is ENOTTY, as before Linux 6.7; a read gives 4 MiB at most.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array

from mapdev.driver import Driver
from mapdev.host.core.device import Device
from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.processes import has_capability
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import CAP_SYS_ADMIN
from mapdev.linux.fs import File, Inode
from mapdev.linux.numbers import PAGE_SHIFT, VM_PFNMAP

_ENTRY = 8  # bytes
_MOST = 1 << 22  # bytes
_FRAME = (1 << 55) - 1
_SOFT_DIRTY, _EXCLUSIVE, _UFFD_WP = 1 << 55, 1 << 56, 1 << 57
_FILE, _PRESENT = 1 << 61, 1 << 63
_MAX_OFFSET = (1 << 63) - 1


class _Pagemap(Driver):
    """One open pagemap.

    :param fd: of the real one, ours from now on.
    :param shows_frames: the client may see the numbers of frames.
    """

    name = "pagemap"

    def __init__(self, kernel: Subsystems, tgid: int, fd: int, shows_frames: bool) -> None:
        self._kernel = kernel
        self._tgid = tgid
        self._fd = fd
        self._shows_frames = shows_frames

    def release(self, inode: Inode, file: File) -> None:
        """Close the real one."""
        os.close(self._fd)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Seek; there is no end.

        Source: fs/proc/base.c (mem_lseek)
        """
        if whence == os.SEEK_CUR:
            offset += file.f_pos
        elif whence != os.SEEK_SET:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        file.f_pos = offset & _MAX_OFFSET
        return file.f_pos

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return whole entries."""
        if pos % _ENTRY or count % _ENTRY:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        entries = array("Q", os.pread(self._fd, min(count, _MOST), pos))
        if not self._shows_frames:
            for at, entry in enumerate(entries):
                if entry & _PRESENT:
                    entries[at] = entry & ~_FRAME
        space = self._kernel.spaces.at(self._tgid)
        if space is None:
            return entries.tobytes()
        if not space.seen:
            self._kernel.mappings.refresh()
        start = pos // _ENTRY << PAGE_SHIFT
        for area in space.overlapping(start, start + (len(entries) << PAGE_SHIFT)):
            self._show(area, entries, start >> PAGE_SHIFT)
        for hidden in space.hidden:
            first, last = (at >> PAGE_SHIFT for at in (hidden.start, hidden.stop))
            for page in range(max(first, start >> PAGE_SHIFT),
                              min(last, (start >> PAGE_SHIFT) + len(entries))):  # fmt: skip
                entries[page - (start >> PAGE_SHIFT)] = 0
        return entries.tobytes()

    def _show(self, area: DeviceArea, entries: array[int], first: int) -> None:
        """Fill in the entries of an area; `first` is the number of the page of entry 0."""
        start, end = area.vm_start >> PAGE_SHIFT, area.vm_end >> PAGE_SHIFT
        for page in range(max(start, first), min(end, first + len(entries))):
            entry = entries[page - first]
            is_copy = entry & _PRESENT and not entry & _FILE
            if area.vm_flags & VM_PFNMAP or not is_copy or not area.is_mapped(
                page << PAGE_SHIFT, page + 1 << PAGE_SHIFT
            ):  # fmt: skip
                entries[page - first] = _SOFT_DIRTY
        if area.vm_flags & VM_PFNMAP:
            return
        for run in area.mapped:
            at = run.addr >> PAGE_SHIFT
            for page in range(max(at, first), min(at + run.nr_pages, first + len(entries))):
                if entries[page - first] == _SOFT_DIRTY:
                    entries[page - first] |= self._entry(run.pfn + page - at)

    def _entry(self, pfn: int) -> int:
        users = sum(
            run.pfn <= pfn < run.pfn + run.nr_pages
            for space in self._kernel.spaces
            for area in space
            for run in area.mapped
        )
        exclusive = _EXCLUSIVE if users == 1 else 0
        return _PRESENT | _FILE | exclusive | (pfn if self._shows_frames else 0)


def open_pagemap(kernel: Subsystems, call: Call, tgid: int, flags: int) -> int:
    """Open the pagemap of process `tgid` in the client; return the descriptor there.

    :raises OSError: ENOENT, EACCES as the kernel would say of the real one.
    """
    fd = os.open(f"/proc/{tgid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        driver = _Pagemap(kernel, tgid, fd, has_capability(call.tid, CAP_SYS_ADMIN))
        device = Device(driver, f"/proc/{tgid}/pagemap", 0)
    except BaseException:
        os.close(fd)
        raise
    device.inode.i_mode = stat.S_IFREG | 0o400
    open_file = kernel.files.new_file(device, flags & ~os.O_CLOEXEC)
    call.file, call.owner = open_file, device.owner
    return kernel.files.install(call, open_file, bool(flags & os.O_CLOEXEC))
