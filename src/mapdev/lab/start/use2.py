"""Maps four pages of the device of exercise 2, and writes into each."""

import mmap
import os

PAGE = mmap.PAGESIZE
fd = os.open("/dev/lab", os.O_RDWR)
area = mmap.mmap(fd, 4 * PAGE, offset=2 * PAGE)
for page in range(4):
    area[page * PAGE] = page
again = mmap.mmap(fd, PAGE, offset=5 * PAGE)
print("page 5 of the device:", again[0])
