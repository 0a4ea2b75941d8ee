"""Touches three pages of the device of exercise 4, and reads twenty in another mapping."""

import mmap
import os

PAGE = mmap.PAGESIZE
fd = os.open("/dev/lab", os.O_RDWR)
area = mmap.mmap(fd, 64 * PAGE)
for page in 3, 4, 5:
    area[page * PAGE] = page
again = mmap.mmap(fd, 64 * PAGE, prot=mmap.PROT_READ)
print("pages 3 to 5:", [again[page * PAGE] for page in (3, 4, 5)])
