"""Calls that no device serves: in which order a program's mistakes are found."""

from collections.abc import Callable

import pytest
from devices import Buffer

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import File

Client = Callable[..., str]

_CALLS = """
import platform
x86 = platform.machine() == 'x86_64'
libc.syscall.restype = ctypes.c_long
def sys(x86_number, aarch64_number, *args):
    number = x86_number if x86 else aarch64_number
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_void_p, args))
    if result < 0: raise OSError(ctypes.get_errno(), '')
    return result
def sendfile(*args): return sys(40, 71, *args)
def splice(*args): return sys(275, 76, *args)
def tee(*args): return sys(276, 77, *args)
def vmsplice(*args): return sys(278, 75, *args)
def copy_file_range(*args): return sys(326, 285, *args)
def fallocate(*args): return sys(285, 47, *args)
def pread(*args): return sys(17, 67, *args)
def preadv2(*args): return sys(327, 286, *args)
def ftruncate(*args): return sys(77, 46, *args)
fd, rdonly = os.open('/dev/x', os.O_RDWR), os.open('/dev/x', os.O_RDONLY)
path = os.open('/dev/x', os.O_PATH)
out, into = os.pipe()
other, directory = os.memfd_create('other'), os.open('/', os.O_RDONLY)
minus = (1 << 64) - 1
"""


def test_calls_between_files(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        _CALLS
        + """
assert sendfile(fd, other, 0, 0) == 0
raises(errno.EFAULT, sendfile, other, fd, 8, 5)
raises(errno.EBADF, sendfile, fd, path, 0, 5)
raises(errno.EBADF, sendfile, rdonly, other, 0, 5)
raises(errno.EINVAL, sendfile, other, fd, 0, minus >> 1)
assert splice(fd, 0, into, 0, 0, 0xff) == 0
raises(errno.EINVAL, splice, fd, 0, into, 0, 5, 0xff)
raises(errno.ESPIPE, splice, fd, 0, into, 8, 5, 0)
raises(errno.EFAULT, splice, fd, 8, into, 0, 5, 0)
raises(errno.EBADF, splice, fd, 0, path, 0, 5, 0)
raises(errno.EBADF, splice, 999, 0, fd, 0, 5, 0)
assert tee(out, fd, 0, 0) == 0
raises(errno.EINVAL, tee, out, fd, 0, 0xff)
raises(errno.EBADF, tee, out, rdonly, 5, 0)
raises(errno.EBADF, copy_file_range, fd, 0, path, 0, 5, 0)
raises(errno.EFAULT, copy_file_range, fd, 8, other, 0, 5, 0)
raises(errno.EISDIR, copy_file_range, directory, 0, fd, 0, 5, 0)
raises(errno.EINVAL, copy_file_range, directory, 0, fd, 0, 5, 1)
assert vmsplice(fd, 0, 0, 0) == 0
raises(errno.EINVAL, vmsplice, path, 0, 0, 0xff)
raises(errno.EBADF, vmsplice, path, 0, 0, 0)
raises(errno.EFAULT, vmsplice, fd, 8, 1, 0)
"""
    )


def test_calls_on_one_file(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        _CALLS
        + """
for mode in (2, 4, 9, 0x21, 0x80, 0x18):
    raises(errno.EOPNOTSUPP, fallocate, fd, mode, 0, 5)
for mode in (0, 1, 3, 0x10, 0x11, 0x40):
    raises(errno.ENODEV, fallocate, fd, mode, 0, 5)
raises(errno.EINVAL, fallocate, rdonly, 2, minus, 5)
raises(errno.EBADF, fallocate, path, 2, minus, 5)
raises(errno.EINVAL, pread, path, 0, 0, minus)
raises(errno.EBADF, pread, path, 0, 0, 0)
raises(errno.EBADF, preadv2, path, 0, 0, minus, minus, 0)
raises(errno.EINVAL, preadv2, path, 0, 0, minus - 1, minus, 0)
raises(errno.EINVAL, ftruncate, path, minus)
raises(errno.EBADF, ftruncate, path, 0)
assert preadv2(fd, 0, 0, 0, 0, 0xff00) == 0
"""
    )


class Unknown(Driver):
    """An ioctl operation that knows no command."""

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        return -515  # ENOIOCTLCMD


@pytest.mark.parametrize("onto", ["/", "/dev/null"])
def test_ioctls_of_the_kernel(mapdev: Host, client: Client, onto: str) -> None:
    mapdev.add(Unknown, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        raises(errno.ENOTTY, fcntl.ioctl, fd, 0x1234)
        size = bytearray(4)
        fcntl.ioctl(fd, 2, size)  # FIGETBSZ
        assert int.from_bytes(size, sys.byteorder) == 4096
        FICLONE, FIDEDUPERANGE = 0x40049409, 0xC0189436
        raises(errno.EBADF, fcntl.ioctl, fd, FICLONE, os.open('/dev/x', os.O_PATH))
        source = os.open(ONTO, os.O_RDONLY)
        same = os.fstat(source).st_dev == os.stat('/dev').st_dev
        raises(errno.EINVAL if same else errno.EXDEV, fcntl.ioctl, fd, FICLONE, source)
        raises(errno.ENOMEM, fcntl.ioctl, fd, FIDEDUPERANGE, struct.pack('QQHHI', 0, 1, 999, 0, 0))
        """.replace("ONTO", repr(onto))
    )
