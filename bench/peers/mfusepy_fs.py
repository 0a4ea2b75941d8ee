"""mfusepy_fs.py MOUNTPOINT: the file system of fuse.c by mfusepy (ctypes), in one thread."""

import ctypes
import errno
import os
import stat
import sys

import mfusepy

PING, EXCHANGE = 0x6201, 0xC0106202
MOST = 1 << 20


class Filesystem(mfusepy.Operations):
    use_ns = True

    def __init__(self):
        self.data = bytearray(MOST)

    def getattr(self, path, fh=None):
        if path == "/device":
            return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1, "st_size": 0}
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def open(self, path, flags):
        return 1

    def read(self, path, size, offset, fh):
        return bytes(memoryview(self.data)[:size])

    def write(self, path, data, offset, fh):
        self.data[: len(data)] = data
        return len(data)

    def ioctl(self, path, cmd, arg, fh, flags, data):
        cmd &= 0xFFFFFFFF
        if cmd == EXCHANGE:
            pair = ctypes.cast(data, ctypes.POINTER(ctypes.c_uint64))
            pair[1] = pair[0] + 1
        elif cmd != PING:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return 0


if __name__ == "__main__":
    mfusepy.FUSE(
        Filesystem(), sys.argv[1], foreground=True, nothreads=True, direct_io=True,
        attr_timeout=60, entry_timeout=60,
    )  # fmt: skip
