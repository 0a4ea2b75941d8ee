"""`Store` keeps the bytes of all frames in a sparse memfd, with the direct map over it.

Frame N is the page at ``N * PAGE_SIZE`` of the file and of the direct map. The file's size is
sealed. The direct map is a Python mmap object: a view of it keeps it alive, so `close` leaves no
view dangling. No state but that, and no lock.
"""

import ctypes
import fcntl
import mmap
import os
from contextlib import suppress

from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE

PUNCH_PAGES = 16  # from this length on a hole is cheaper than zeros
_ZEROS = bytes(PAGE_SIZE)


def address_of(mapping: mmap.mmap) -> int:
    """Give the address at which a mapping lies."""
    return ctypes.addressof(ctypes.c_char.from_buffer(mapping))


class Store:
    """The bytes of a machine's frames."""

    __slots__ = ("base", "direct", "fd")

    def __init__(self, nr_frames: int) -> None:
        """Make the file and map it.

        :raises OSError: ENOMEM, no room for the addresses; EMFILE, no descriptor left
        """
        size = nr_frames << PAGE_SHIFT
        self.fd = os.memfd_create("mapdev", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, size)
            fcntl.fcntl(
                self.fd,
                fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
            )
            self.direct = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED)
        except BaseException:
            os.close(self.fd)
            raise
        self.base = address_of(self.direct)  # address of frame 0

    def zero(self, pfn: int, nr_pages: int) -> None:
        """Make frames hold zeros."""
        start = pfn << PAGE_SHIFT
        if nr_pages < PUNCH_PAGES or not self.punch(pfn, nr_pages):
            for offset in range(start, start + (nr_pages << PAGE_SHIFT), PAGE_SIZE):
                self.direct[offset : offset + PAGE_SIZE] = _ZEROS

    def punch(self, pfn: int, nr_pages: int) -> bool:
        """Give the frames' memory back to the system, so that they read as zeros.

        :return: False when the system refuses, as it does for locked memory (mlockall)
        """
        try:
            self.direct.madvise(mmap.MADV_REMOVE, pfn << PAGE_SHIFT, nr_pages << PAGE_SHIFT)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file; the direct map goes with the last view of it."""
        os.close(self.fd)
        with suppress(BufferError):  # somebody has a view: the mapping goes with the last one
            self.direct.close()
