"""Clients that the host can't do everything to: of another user, without the host's privileges.

The host is an own process here, with some of its capabilities taken away.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from pace import patience

HOST = """
import logging, sys
from mapdev import host
logging.basicConfig(format="%(message)s")
with host() as serving:
    serving.add(sys.argv[1], "/dev/x")
    done = serving.run([sys.executable, "-S", "-c", sys.argv[2]])
assert not serving.leaks, serving.leaks
sys.exit(done.returncode)
"""

BECOME = """
import ctypes, errno, fcntl, mmap, os
libc = ctypes.CDLL(None)
fd = os.open('/dev/x', os.O_RDWR)
def other_user(): os.setresuid(65534, 65534, 65534)
def undumpable(): assert libc.prctl(4, 0, 0, 0, 0) == 0
"""
SERVED = """
assert os.pwrite(fd, b'data', 0) == 4 and os.pread(fd, 4, 0) == b'data'
for _ in range(2):
    with mmap.mmap(fd, 8192) as area:
        assert area[:4] == b'data'
        area[4096] = 1
        assert libc.mlock(ctypes.byref(ctypes.c_char.from_buffer(area)), 1) in (0, -1)
new = os.dup(fd)
assert os.pread(new, 4, 0) == b'data'
assert os.pread(os.open('/dev/x', os.O_RDWR), 4, 0) == b'data'
assert os.fork() or os._exit(0)
assert os.wait()[1] == 0
"""
NOT_SERVED = """
def code(function, *args):
    try: return function(*args)
    except OSError as error: return error.errno
for call in ((os.read, fd, 1), (os.write, fd, b'x'), (mmap.mmap, fd, 4096), (os.fstat, fd),
             (fcntl.ioctl, fd, 1), (os.lseek, fd, 0, 0), (fcntl.fcntl, fd, fcntl.F_GETFL)):
    assert code(*call) == errno.EIO, call
assert code(os.open, '/dev/x', os.O_RDWR) == errno.ENOENT
os.close(fd)
"""


@pytest.fixture
def without(require_program: Callable[[str, str], str]) -> Callable[..., str]:
    """Run a client of a host that lacks a capability; return what the host logged."""
    if os.geteuid():
        pytest.skip("only root has capabilities to give up")
    setpriv = require_program("setpriv", "util-linux")

    def run(capability: str, driver: str, code: str) -> str:
        dropped = [f"--bounding-set=-{capability}", f"--inh-caps=-{capability}"]
        command = [setpriv, *dropped, sys.executable, "-c", HOST, driver, BECOME + code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience(60))
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


@pytest.mark.parametrize("driver", ["contiguous", "vmalloc", "lazy"])
@pytest.mark.parametrize("become", ["other_user()", "undumpable()", "undumpable(); other_user()"])
def test_a_host_that_may_not_set_limits(
    without: Callable[..., str], driver: str, become: str
) -> None:
    """As in a container: prlimit(2) of another user's process is EPERM, /proc/PID/limits is not."""
    if driver == "lazy":
        become += "\nmmap.mmap(fd, 8192)[:8192:4096] = b'ab'"  # there is something to read
    log = without("sys_resource", driver, become + SERVED)
    assert "EPERM" not in log and "not permitted" not in log


@pytest.mark.parametrize("become", ["other_user()", "undumpable()"])
def test_a_host_that_may_not_look(without: Callable[..., str], become: str) -> None:
    """What was opened before is EIO, never the socket behind it; the log says why, once."""
    log = without("sys_ptrace", "contiguous", become + NOT_SERVED)
    assert log.count("may not see it any more (it runs as another user, or has made") == 1
