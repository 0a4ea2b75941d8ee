"""Maps the device of exercise 1 twice, and shows that both mappings are the same memory."""

import mmap
import os

PAGE = mmap.PAGESIZE
fd = os.open("/dev/lab", os.O_RDWR)
whole = mmap.mmap(fd, 16 * PAGE)
page3 = mmap.mmap(fd, PAGE, offset=3 * PAGE)
page3[:5] = b"hello"
print("page 3 of the whole:", whole[3 * PAGE : 3 * PAGE + 5])
try:
    mmap.mmap(fd, 17 * PAGE)
except OSError as error:
    print("17 pages:", error.strerror)
