"""Writes into a private mapping of the device of exercise 5, and looks at a shared one."""

import mmap
import os

PAGE = mmap.PAGESIZE
fd = os.open("/dev/lab", os.O_RDWR)
shared = mmap.mmap(fd, 4 * PAGE, prot=mmap.PROT_READ)
private = mmap.mmap(fd, 4 * PAGE, flags=mmap.MAP_PRIVATE)
private[:4] = b"mine"
print("private:", private[:4], "shared:", shared[:4])
try:
    mmap.mmap(fd, 4 * PAGE)
except OSError as error:
    print("shared, for writing:", error.strerror)
