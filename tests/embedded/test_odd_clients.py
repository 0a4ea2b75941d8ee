"""Drivers that take their time, and clients that do odd things to their own memory and limits."""

import threading
from collections.abc import Callable

from devices import Buffer
from pace import patience

from mapdev.drivers.lazy import Lazy
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import File

Client = Callable[..., str]


def test_an_operation_that_takes_long_holds_others_up_and_no_longer(
    mapdev: EmbeddedHost, client: Client
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Buffer):
        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            entered.set()
            assert go_on.wait(patience(30))
            return 7

    mapdev.add(Slow, "/dev/x")
    said: list[str] = []
    slow = threading.Thread(
        target=lambda: said.append(client("print(fcntl.ioctl(os.open('/dev/x', 2), 1))"))
    )
    slow.start()
    assert entered.wait(patience(30))
    quick = threading.Thread(target=lambda: said.append(client("print(os.open('/dev/x', 2) > 2)")))
    quick.start()
    go_on.set()
    slow.join()
    quick.join()
    assert sorted(said) == ["7\n", "True\n"]


def test_a_client_that_cuts_off_its_stack(mapdev: EmbeddedHost, client: Client) -> None:
    """What lies below the stack pointer goes, and the stack may not grow any more."""
    driver = mapdev.add(Lazy, "/dev/x")
    client("""
import resource
fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
here = ctypes.addressof(ctypes.c_long.in_dll(ctypes.pythonapi, 'Py_OptimizeFlag'))  # warm up ctypes
line = next(l for l in open('/proc/self/maps') if '[stack]' in l)
low, high = (int(x, 16) for x in line.split()[0].split('-'))
resource.setrlimit(resource.RLIMIT_STACK, (high - low, high - low))
assert libc.munmap(low, P) == 0
poke(p, b'a'); poke(p + P, b'b')
if os.fork() == 0: poke(p + 2 * P, b'c'); os._exit(0)
assert os.wait()[1] == 0
q = raw_mmap(None, P, R | W, SHARED, fd); assert peek(q) == b'a'
""")
    assert sorted(driver.pages) == [0, 1, 2]


def test_limits_that_change(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Lazy, "/dev/x")
    client("""
import resource
fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, 4 * P, R | W, SHARED, fd); poke(p, b'a')
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (8, hard)); poke(p + P, b'b'); peek(p + 2 * P)
assert peek(raw_mmap(None, 4 * P, R, SHARED, fd) + P) == b'b'
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
q = raw_mmap(None, 4 * P, R | W, SHARED, fd); assert peek(q + P) == b'b'
used = int(open('/proc/self/statm').read().split()[0]) * P
resource.setrlimit(resource.RLIMIT_AS, (used, used)); poke(p + 3 * P, b'd')
raises(errno.ENOMEM, raw_mmap, None, 64 * P, R | W, SHARED, fd)
""")
    assert sorted(driver.pages) == [0, 1, 2, 3]


def test_a_client_that_traces_its_child(mapdev: EmbeddedHost, client: Client) -> None:
    """A traced child reads, writes and maps a device as its tracer does."""
    mapdev.add(Buffer, "/dev/x")
    client("""
fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, P, R | W, SHARED, fd); os.pwrite(fd, b'x', 0)
pid = os.fork()
if pid == 0:
    libc.ptrace(0, 0, None, None)   # PTRACE_TRACEME
    os.kill(os.getpid(), signal.SIGSTOP)
    assert os.pread(fd, 1, 0) == b'x' and peek(p) == b'x'
    assert peek(raw_mmap(None, P, R | W, SHARED, fd)) == b'x'
    os._exit(5)
assert os.WIFSTOPPED(os.waitpid(pid, 0)[1])
libc.ptrace(7, pid, None, None)     # PTRACE_CONT
assert os.waitpid(pid, 0)[1] == 5 << 8
poke(raw_mmap(None, P, R | W, SHARED, fd), b'y'); assert peek(p) == b'y'
""")
