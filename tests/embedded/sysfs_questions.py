"""A client that asks the kernel about a class device's directory in /sys: how calls on it end.

Printed are lines of a question and its answer. Run with the directory of a class device that has
no attributes of its own. The answers of stock kernels are in sysfs_answers.tsv, from /dev/null's.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import select
import sys

libc = ctypes.CDLL(None, use_errno=True)
D = sys.argv[1]
C, T, NEW, POWER = D + "/power/control", D + "/dev", D + "/new", D + "/power"


def ask(question, function, *args):
    try:
        answer = function(*args)
    except OSError as error:
        answer = errno.errorcode[error.errno]
    print(question, answer, sep="\t")


def opened(path, flags):
    os.close(os.open(path, flags))
    return "opened"


ask("names", lambda: sorted(os.listdir(D)))
ask("names of power", lambda: sorted(os.listdir(POWER)))
for name in sorted(os.listdir(POWER)):
    status = os.stat(f"{POWER}/{name}")
    ask(f"stat {name}", lambda s=status: (oct(s.st_mode), s.st_size, s.st_nlink, s.st_blocks))
    ask(f"read {name}", lambda n=name: os.read(os.open(f"{POWER}/{n}", os.O_RDONLY), 100))
ask("links of a directory", lambda: (os.stat(D).st_nlink, oct(os.stat(D).st_mode)))
ask("size of a link", lambda: os.lstat(D).st_size)
ask("a link", lambda: os.readlink(D + "/subsystem").replace(os.path.basename(D), ""))
ask("open 0444 for writing", opened, T, os.O_RDWR)
ask("open 0444 with O_TRUNC", opened, T, os.O_RDONLY | os.O_TRUNC)
ask("open with O_CREAT, O_EXCL", opened, T, os.O_CREAT | os.O_EXCL)
ask("open with O_DIRECT", opened, T, os.O_DIRECT)
ask("open with O_DIRECTORY", opened, T, os.O_DIRECTORY)
ask("open a link with O_NOFOLLOW", opened, D + "/subsystem", os.O_NOFOLLOW)
ask("open a link with O_PATH, O_NOFOLLOW", opened, D + "/subsystem", os.O_NOFOLLOW | os.O_PATH)
ask("open a directory for writing", opened, D, os.O_WRONLY)
ask("open a directory with O_CREAT", opened, D, os.O_CREAT)
ask("open a directory with O_TMPFILE", opened, D, os.O_TMPFILE | os.O_RDWR)
ask("unlink", os.unlink, T)
ask("unlink a directory", os.unlink, POWER)
ask("rmdir", os.rmdir, POWER)
ask("rmdir a file", os.rmdir, T)
ask("mkdir", os.mkdir, NEW)
ask("mkdir over a file", os.mkdir, T)
ask("create", opened, NEW, os.O_CREAT | os.O_WRONLY)
ask("symlink", os.symlink, "x", NEW)
ask("mknod", os.mknod, NEW)
ask("link", os.link, T, NEW)
ask("rename", os.rename, T, NEW)
ask("open what is not there", opened, NEW, os.O_RDONLY)
ask("a path below a file", opened, T + "/x", os.O_RDONLY)
ask("a slash behind a file", opened, T + "/", os.O_RDONLY)
ask("chmod", os.chmod, C, 0o640)
ask("the mode then", lambda: oct(os.stat(C).st_mode))
ask("chmod back", os.chmod, C, 0o644)
ask("chown", os.chown, C, 0, 0)
ask("utime", os.utime, C, (1, 1))
ask("truncate", os.truncate, C, 5)
ask("truncate 0444", os.truncate, T, 5)
ask("truncate a directory", os.truncate, POWER, 5)
ask("execute", os.execv, T, ["x"])
ask("readlink of a file", os.readlink, T)
ask("chdir to a file", os.chdir, T)
fd = os.open(C, os.O_RDWR)
ask("write what store refuses", os.write, fd, b"nonsense")
ask("write", os.write, fd, b"auto\n")
ask("the position then", os.lseek, fd, 0, os.SEEK_CUR)
ask("write nothing", os.write, fd, b"")
ask("write more than a page", os.write, fd, b"auto" + b" " * 5000)
ask("write at an offset", os.pwrite, fd, b"auto", 99)
ask("write in pieces", os.writev, fd, [b"au", b"", b"to"])
ask("seek to the end", os.lseek, fd, 0, os.SEEK_END)
ask("seek beyond it", os.lseek, fd, 100000, os.SEEK_SET)
ask("seek before the start", os.lseek, fd, -1, os.SEEK_SET)
ask("seek for data", os.lseek, fd, 0, os.SEEK_DATA)
ask("seek for a hole", os.lseek, fd, 0, os.SEEK_HOLE)
ask("seek for data at the end", os.lseek, fd, 4096, os.SEEK_DATA)
ask("read after a jump", os.read, fd, 10)
ask("read from 2", os.pread, fd, 10, 2)
ask("read from 0", os.pread, fd, 10, 0)
ask("read from 4", os.pread, fd, 10, 4)
ask("read in pieces", lambda: (os.preadv(fd, [a := bytearray(2), b := bytearray(9)], 0), a, b))
ask("map", lambda: mmap.mmap(fd, 4096))
ask("ioctl", fcntl.ioctl, fd, 0x1234)
ask("fsync", os.fsync, fd)
ask("fdatasync", os.fdatasync, fd)
ask("ftruncate", os.ftruncate, fd, 0)
ask("ftruncate 0444", lambda: os.ftruncate(os.open(T, os.O_RDONLY), 0))
ask("fallocate", lambda: (libc.fallocate(fd, 0, 0, 1), errno.errorcode[ctypes.get_errno()]))
ask("posix_fadvise", os.posix_fadvise, fd, 0, 0, 0)
other = os.open(C, os.O_RDONLY)
poller = select.poll()
poller.register(other, select.POLLPRI)
ask("poll before it was read", lambda: [event for _, event in poller.poll(0)])
os.read(other, 10)
ask("poll after that", lambda: [event for _, event in poller.poll(0)])
poller.modify(other, select.POLLIN | select.POLLOUT)
ask("poll for reading", lambda: [event for _, event in poller.poll(0)])
ask("epoll", lambda: select.epoll().register(other, select.EPOLLPRI))
ask("sendfile", lambda: os.sendfile(os.open("/dev/null", os.O_WRONLY), other, 0, 10))
ask("splice", lambda: os.splice(os.open(C, os.O_RDONLY), os.pipe()[1], 10))
ask("getxattr", os.getxattr, C, "user.x")
ask("setxattr", os.setxattr, C, "user.x", b"1")
ask("setxattr trusted", os.setxattr, C, "trusted.x", b"1")
ask("listxattr", lambda: [name for name in os.listxattr(D) if not name.startswith("security.")])
ask("flock", fcntl.flock, fd, fcntl.LOCK_SH)
ask("lockf", fcntl.lockf, fd, fcntl.LOCK_EX)
events = os.open(D + "/uevent", os.O_WRONLY)
ask("an uevent that is none", os.write, events, b"foo")
ask("an uevent", os.write, events, b"change")
ask(
    "an uevent with a variable",
    os.write,
    events,
    b"change 01234567-89ab-cdef-0123-456789abcdef A=1",
)
ask(
    "an uevent with a wrong one", os.write, events, b"change 01234567-89ab-cdef-0123-456789abcdef A"
)
ask("access for writing", os.access, T, os.W_OK)
ask("access for executing", os.access, T, os.X_OK)
ask("PC_NAME_MAX", os.pathconf, D, "PC_NAME_MAX")
