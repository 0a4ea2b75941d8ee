"""What each program of a check has at hand: mmap, mprotect and munmap of libc, with errnos by name.

Python's own mmap has neither mprotect nor a way to unmap a part of an area.
"""

__all__ = ["PRELUDE"]

PRELUDE = """\
import ctypes, errno, fcntl, mmap, os, signal, sys
PAGE, RW, READ, SHARED, PRIVATE = mmap.PAGESIZE, 3, 1, 1, 2
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
def open_it(flags=os.O_RDWR):
    return os.open('/dev/lab', flags)
def map_it(fd, pages, offset=0, prot=RW, flags=SHARED):
    addr = libc.mmap(None, pages * PAGE, prot, flags, fd, offset * PAGE)
    if addr == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), 'mmap')
    return addr
def tried(function, *args, **options):
    try:
        function(*args, **options)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)
    return 'ok'
def protect(addr, pages, prot):
    failed = libc.mprotect(addr, pages * PAGE, prot)
    return errno.errorcode[ctypes.get_errno()] if failed else 'ok'
def unmap(addr, pages):
    libc.munmap(addr, pages * PAGE)
def get(addr):
    return ctypes.c_ulong.from_address(addr).value
def put(addr, value):
    ctypes.memmove(addr, value.to_bytes(8, sys.byteorder), 8)
def ready():
    print('ready', flush=True)
    sys.stdin.readline()
"""
