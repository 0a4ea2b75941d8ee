"""pyfuse3_fs.py MOUNTPOINT: the file system of fuse.c by pyfuse3, which has no ioctl."""

import errno
import stat
import sys

import pyfuse3
import trio

DEVICE = pyfuse3.ROOT_INODE + 1
MOST = 1 << 20


class Filesystem(pyfuse3.Operations):
    def __init__(self):
        super().__init__()
        self.data = bytearray(MOST)

    async def getattr(self, inode, ctx=None):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = stat.S_IFREG | 0o666 if inode == DEVICE else stat.S_IFDIR | 0o755
        entry.st_nlink = 1
        return entry

    async def lookup(self, parent_inode, name, ctx):
        if name != b"device":
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(DEVICE)

    async def open(self, inode, flags, ctx):
        return pyfuse3.FileInfo(fh=inode, direct_io=True)

    async def read(self, fh, off, size):
        return bytes(memoryview(self.data)[:size])

    async def write(self, fh, off, buf):
        self.data[: len(buf)] = buf
        return len(buf)


if __name__ == "__main__":
    options = set(pyfuse3.default_options) | {"fsname=bench"}
    options.discard("default_permissions")
    pyfuse3.init(Filesystem(), sys.argv[1], options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)
