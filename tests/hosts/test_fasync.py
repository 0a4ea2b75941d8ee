"""The fasync operation and kill_fasync: signals for programs that set O_ASYNC."""

from collections.abc import Callable

import pytest

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    POLL_HUP,
    POLL_IN,
    POLL_OUT,
    POLL_PRI,
    SIGIO,
    SIGURG,
    FasyncStruct,
    File,
    Inode,
    Kthread,
    fasync_helper,
    kill_fasync,
    kthread_run,
    kthread_should_stop,
)

Client = Callable[..., str]


class Async(Driver):
    """Signals its files when it is told: an ioctl with the band, a write from another thread."""

    def probe(self) -> None:
        self.files = FasyncStruct()
        self.log: list[str] = []
        self.result = 0
        self.kthread: Kthread | None = None

    def fasync(self, fd: int, file: File, on: int) -> int:
        self.log.append(f"fasync {'-1' if fd < 0 else 'fd'} {int(bool(on))}")
        if self.result:
            return self.result
        return fasync_helper(fd, file, on, self.files)

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        if cmd == 0x7801:
            kill_fasync(self.files, SIGIO, arg)
        elif cmd == 0x7802:
            kill_fasync(self.files, SIGURG, POLL_IN)
        else:
            self.result = -(arg & 0xFF)
        return len(self.files)

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.kthread = kthread_run(self.signal_once, None, "signals")
        return len(data)

    def signal_once(self, data: None) -> int:
        kill_fasync(self.files, SIGIO, POLL_IN)
        while not kthread_should_stop():
            pass
        return 0

    def release(self, inode: Inode, file: File) -> None:
        self.log.append("release")


ASYNC = f"""
import signal, struct, time
IN, OUT, PRI, HUP = {POLL_IN}, {POLL_OUT}, {POLL_PRI}, {POLL_HUP}
libc = ctypes.CDLL(None, use_errno=True)
RT = signal.SIGRTMIN + 3
ALL = [signal.SIGIO, signal.SIGUSR1, signal.SIGURG, RT]
signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
def wait(seconds=0):
    '''Signal, code, band, descriptor of the next signal that has come.'''
    mask = (ctypes.c_ulong * 16)(sum(1 << n - 1 for n in ALL))
    info = (ctypes.c_byte * 128)()
    limit = (ctypes.c_long * 2)(seconds, 0)
    if libc.sigtimedwait(mask, info, limit) < 0: return None
    signo, _, code = struct.unpack_from('iii', info)
    return signo, code, *struct.unpack_from('li', info, 16)
fd = os.open('/dev/x', os.O_RDWR)
def switch(on, fd=fd):
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC if on else flags & ~os.O_ASYNC)
def told(band=IN): return fcntl.ioctl(fd, 0x7801, band)
"""


def test_signals(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Async, "/dev/x")
    client(
        ASYNC
        + """
assert told() == 0 and wait() is None
switch(True); assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
assert told() == 1 and wait() is None  # nobody owns it
fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
assert fcntl.fcntl(fd, fcntl.F_GETOWN) == os.getpid()
told(); assert wait()[:2] == (signal.SIGIO, 0x80)  # SI_KERNEL: without F_SETSIG there is no more
told(PRI); assert wait()[:2] == (signal.SIGIO, 0x80)
fcntl.fcntl(fd, 10, RT)
told(IN); assert wait() == (RT, IN, 0x41, fd)
told(OUT); assert wait() == (RT, OUT, 0x304, fd)
told(HUP); assert wait() == (RT, HUP, 0x18, fd)
told(IN); told(IN); assert wait()[:2] == wait()[:2] == (RT, IN) and wait() is None
fcntl.fcntl(fd, 10, signal.SIGIO); told(IN); assert wait() == (signal.SIGIO, IN, 0x41, fd)
fcntl.fcntl(fd, 10, signal.SIGUSR1); told(IN); assert wait() == (signal.SIGUSR1, IN, 0x41, fd)
fcntl.ioctl(fd, 0x7802, 0); assert wait()[0] == signal.SIGUSR1  # SIGURG, to who chose a signal
fcntl.fcntl(fd, 10, 0); fcntl.ioctl(fd, 0x7802, 0); assert wait() is None
fcntl.fcntl(fd, 10, RT)
switch(False); assert told() == 0 and wait() is None
assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
os.write(fd, b'x'); time.sleep(0.1); assert wait() is None
switch(True); os.write(fd, b'x'); assert wait(20) == (RT, IN, 0x41, fd)
"""
    )
    mapdev.settle()
    assert driver.log == ["fasync fd 1", "fasync fd 0", "fasync fd 1", "fasync -1 0", "release"]


def test_owners(mapdev: Host, client: Client) -> None:
    mapdev.add(Async, "/dev/x")
    client(
        ASYNC
        + """
import threading
switch(True); fcntl.fcntl(fd, 10, RT)
child = os.fork()
if child == 0:
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL); os._exit(0 if wait(20) else 1)
fcntl.fcntl(fd, fcntl.F_SETOWN, child); told()
assert os.waitpid(child, 0)[1] == 0 and wait() is None
told(); assert wait() is None  # who owned it is gone
raises(errno.ESRCH, fcntl.fcntl, fd, fcntl.F_SETOWN, child)
raises(errno.EINVAL, fcntl.fcntl, fd, 10, 65)
os.setpgid(0, 0)
fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid()); told(); assert wait() == (RT, IN, 0x41, fd)
fcntl.fcntl(fd, fcntl.F_SETOWN, 0); told(); assert wait() is None
def in_thread(): seen.append(wait(20))
seen = []; other = threading.Thread(target=in_thread); other.start()
fcntl.fcntl(fd, 15, struct.pack('ii', 0, other.native_id)); told(); other.join(20)
assert seen == [(RT, IN, 0x41, fd)], seen
raises(errno.EINVAL, fcntl.fcntl, fd, 15, struct.pack('ii', 7, os.getpid()))
fcntl.fcntl(fd, 15, struct.pack('ii', 1, os.getpid())); told(); assert wait() == (RT, IN, 0x41, fd)
twin = os.dup(fd); os.close(fd); fd = twin
told(); assert wait()[:3] == (RT, IN, 0x41)  # the number is that of the fcntl call
second = os.open('/dev/x', os.O_RDWR); fcntl.fcntl(second, fcntl.F_SETOWN, os.getpid())
switch(True, second); assert told() == 2
assert sorted(n[0] for n in (wait(), wait())) == [signal.SIGIO, RT] and wait() is None
os.close(second); os.close(os.open('/dev/null', os.O_RDWR)); assert told() == 1
"""
    )


def test_by_ioctl_and_errors(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Async, "/dev/x")
    client(
        ASYNC
        + """
FIOASYNC = 0x5452
def by_ioctl(on): return fcntl.ioctl(fd, FIOASYNC, struct.pack('i', on))
by_ioctl(1); by_ioctl(1); assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
by_ioctl(0); by_ioctl(0); assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
fcntl.ioctl(fd, 0x7803, errno.EBUSY)
raises(errno.EBUSY, by_ioctl, 1); raises(errno.EBUSY, switch, True)
assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
fcntl.ioctl(fd, 0x7803, 0)
"""
    )
    mapdev.settle()
    assert driver.log == ["fasync fd 1", "fasync fd 0", "fasync fd 1", "fasync fd 1", "release"]


def test_without(mapdev: Host, client: Client) -> None:
    class Bare(Driver):
        pass

    mapdev.add(Bare, "/dev/x")
    client(
        ASYNC
        + """
raises(errno.ENOTTY, fcntl.ioctl, fd, 0x5452, struct.pack('i', 1))
switch(True); assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
"""
    )


@pytest.mark.parametrize("result", [0, 5])
def test_a_result_is_no_error(mapdev: Host, client: Client, result: int) -> None:
    class Odd(Driver):
        def fasync(self, fd: int, file: File, on: int) -> int:
            return result

    mapdev.add(Odd, "/dev/x")
    client(
        ASYNC
        + """
switch(True); assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ASYNC
assert fcntl.ioctl(fd, 0x5452, struct.pack('i', 1)) is not None
"""
    )
