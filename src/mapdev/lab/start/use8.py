"""Reads, writes, seeks and maps the device of exercise 8: on any host, and on a real kernel."""

import mmap
import os

PAGE = mmap.PAGESIZE
fd = os.open("/dev/lab", os.O_RDWR)
pages = os.lseek(fd, 0, os.SEEK_END) // PAGE
area = mmap.mmap(fd, pages * PAGE)
os.pwrite(fd, b"written", 2 * PAGE)
print(pages, "pages; page 2:", area[2 * PAGE : 2 * PAGE + 7])
print("read at the end:", os.pread(fd, 10, pages * PAGE))
