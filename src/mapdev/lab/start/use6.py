"""Maps the device of exercise 6, splits the area, forks, and goes."""

import ctypes
import mmap
import os

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None)
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
area = mmap.mmap(os.open("/dev/lab", os.O_RDWR), 4 * PAGE)
start = ctypes.addressof(ctypes.c_char.from_buffer(area))
libc.munmap(start + PAGE, PAGE)
if os.fork() == 0:
    area[0] = 7
    os._exit(0)
os.wait()
print("the child wrote", area[0])
