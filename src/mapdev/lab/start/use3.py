"""Maps the device of exercise 3, replaces a page under the mapping, and looks at both."""

import fcntl
import mmap
import os

PAGE = mmap.PAGESIZE
fd = os.open("/dev/lab", os.O_RDWR)
area = mmap.mmap(fd, 4 * PAGE)
area[PAGE : PAGE + 3] = b"old"
fcntl.ioctl(fd, 0x4C01, 1)
new = mmap.mmap(fd, PAGE, offset=PAGE)
new[:3] = b"new"
print("page 1 of the first mapping:", area[PAGE : PAGE + 3], "of the second:", new[:3])
