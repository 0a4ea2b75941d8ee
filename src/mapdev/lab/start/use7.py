"""Maps each region of the device of exercise 7 by itself, and two at once."""

import mmap
import os

PAGE = mmap.PAGESIZE
fd = os.open("/dev/lab", os.O_RDWR)
areas = [
    mmap.mmap(fd, pages * PAGE, offset=first * PAGE) for first, pages in ((0, 1), (1, 8), (9, 4))
]
for area in areas:
    area[0] = len(area) // PAGE
print("pages:", [area[0] for area in areas])
try:
    mmap.mmap(fd, 2 * PAGE)
except OSError as error:
    print("registers and screen at once:", error.strerror)
