"""Calls that the host passes on in a few steps: what is a device's must not be among them."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from devices import Bare, Buffer

from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.syscalls import quick
from mapdev.host.embedded.syscalls.launch import ClientProcess
from mapdev.host.embedded.syscalls.quick import Quick
from mapdev.linux import File, Inode, WaitQueueHead, wait_event_interruptible, wake_up

Client = Callable[..., str]


@pytest.mark.parametrize("after", ["nothing is open", "a device is open", "a device is mapped"])
def test_each_way_to_a_node(
    mapdev: EmbeddedHost, client: Client, tmp_path: Path, after: str
) -> None:
    """By open, stat, access and readlink, whatever else the host has to think of."""
    mapdev.add(Buffer, "/dev/x")
    (tmp_path / "link").symlink_to("/dev/x")
    (tmp_path / "up").symlink_to("../" * 20 + "dev/x")
    (tmp_path / "chain").symlink_to("link")
    (tmp_path / "dev").symlink_to("/dev")
    code = """
        import stat, sys
        after, tmp = sys.argv[1:]
        if after != 'nothing is open':
            fd = os.open('/dev/x', os.O_RDWR)
        if after == 'a device is mapped':
            raw_mmap(None, P, R | W, SHARED, fd)
        os.chdir(tmp)
        here = os.open(tmp, os.O_RDONLY | os.O_DIRECTORY)
        root = os.open('/', os.O_PATH | os.O_DIRECTORY)
        proc = os.open('/proc/self', os.O_PATH | os.O_DIRECTORY)
        long = '/dev/' + './' * 300 + 'x'
        page = ctypes.create_string_buffer(3 * P)
        for path, directory in [
            ('link', None), ('up', None), ('chain', None), ('dev/x', None), (tmp + '/chain', None),
            ('link', here), ('chain', here), ('dev/x', root), ('dev/../dev/./x', root),
            ('root/dev/x', proc), ('cwd/link', proc), ('/proc/self/root/dev/x', None),
            ('/proc/self/cwd/link', None), ('/proc/thread-self/root/dev/x', None), (long, None),
        ]:
            assert stat.S_ISCHR(os.stat(path, dir_fd=directory).st_mode), path
            assert os.access(path, os.R_OK, dir_fd=directory), path
            os.close(os.open(path, os.O_RDWR, dir_fd=directory))
            raises(errno.ENOTDIR, lambda: os.open(path, os.O_DIRECTORY, dir_fd=directory))
        for path in 'link', 'chain', 'up':
            assert stat.S_ISLNK(os.lstat(path).st_mode) and os.readlink(path)
            raises(errno.ELOOP, os.open, path, os.O_RDWR | os.O_NOFOLLOW)
        for path in '/dev/x', 'dev/x', '/proc/self/root/dev/x':
            assert stat.S_ISCHR(os.lstat(path).st_mode)
            raises(errno.EINVAL, os.readlink, path)
            os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW))
        # A path that goes on in the next page.
        at = (ctypes.addressof(page) + P - 1) // P * P + P - 3
        poke(at, b'link\\0')
        libc.open.argtypes = [ctypes.c_void_p, ctypes.c_int]
        assert libc.open(at, os.O_RDWR) >= 0
        """
    client(code, after, str(tmp_path))


def test_a_path_that_becomes_a_link(mapdev: EmbeddedHost, client: Client, tmp_path: Path) -> None:
    """Nothing is remembered of a path that was none of ours, whoever changes it."""
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        import stat, subprocess, sys
        os.chdir(sys.argv[1])
        for _ in range(3):
            open('file', 'w').close()
            assert stat.S_ISREG(os.stat('file').st_mode)
            os.unlink('file')
            os.symlink('/dev/x', 'file')
            assert stat.S_ISCHR(os.stat('file').st_mode)
            os.unlink('file')
            raises(errno.ENOENT, os.stat, 'file')
        """,
        str(tmp_path),
    )


def test_a_node_that_appears(
    mapdev: EmbeddedHost, start: Callable[..., ClientProcess], tmp_path: Path
) -> None:
    mapdev.add(Buffer, "/dev/x")
    process = start(
        """
        import sys
        def there():
            try:
                os.stat('/dev/later')
            except FileNotFoundError:
                return False
            return True
        assert not there()
        open(sys.argv[1], 'w').close()
        while not there():
            pass
        os.close(os.open('/dev/later', os.O_RDWR))
        """,
        str(tmp_path / "started"),
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.001)
    mapdev.add(Buffer, "/dev/later")
    assert process.wait(60) == 0


def test_low_descriptors(mapdev: EmbeddedHost, client: Client, tmp_path: Path) -> None:
    """Beside files of the client's own, a device at each number that is served is one."""
    mapdev.add(Buffer, "/dev/x")
    (tmp_path / "file").write_text("own")
    client(
        """
        import stat, sys
        own = os.open(sys.argv[1], os.O_RDONLY)
        assert own < 10
        assert os.read(own, 3) == b'own' and stat.S_ISREG(os.fstat(own).st_mode)
        high = os.open('/dev/x', os.O_RDWR)
        for fd in range(3, 10):
            kept = os.dup(fd) if fd == own else None
            os.dup2(high, fd)
            assert stat.S_ISCHR(os.fstat(fd).st_mode)
            assert os.pwrite(fd, b'abc', 0) == 3 and os.pread(fd, 3, 0) == b'abc'
            assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
            assert fcntl.fcntl(fd, fcntl.F_GETFD) in (0, 1)
            fcntl.fcntl(fd, fcntl.F_SETFD, 1); assert fcntl.fcntl(fd, fcntl.F_GETFD) == 1
            fcntl.fcntl(fd, fcntl.F_SETFD, 0); assert fcntl.fcntl(fd, fcntl.F_GETFD) == 0
            raises(errno.ENOTDIR, os.listdir, fd)
            p = raw_mmap(None, P, R | W, SHARED, fd)
            assert peek(p, 3) == b'abc'
            libc.munmap(p, P)
            os.close(fd)
        q = libc.mmap(None, P, R, PRIVATE | ANON, -1, 0)
        os.dup2(high, 5)
        assert raw_mmap(q, P, R | W, SHARED | FIXED, 5) == q and peek(q, 3) == b'abc'
        """,
        str(tmp_path / "file"),
    )


class Door(Bare):
    """open counts, release counts and wakes; read waits until nobody else has it open."""

    def probe(self) -> None:
        self.users = 0
        self.queue = WaitQueueHead()

    def open(self, inode: Inode, file: File) -> None:
        self.users += 1

    def release(self, inode: Inode, file: File) -> None:
        self.users -= 1
        wake_up(self.queue)

    def read(self, file: File, count: int, pos: int) -> bytes:
        wait_event_interruptible(self.queue, lambda: self.users == 1)
        return b"alone"


def test_a_release_wakes_the_call_that_came_last(mapdev: EmbeddedHost, client: Client) -> None:
    """What is woken for nobody's call is news to all, also when other calls are passed on."""
    mapdev.add(Door, "/dev/x")
    out = client(
        """
        import time
        fd = os.open('/dev/x', os.O_RDONLY)
        ready, done = os.pipe()
        if not os.fork():
            other = os.open('/dev/x', os.O_RDONLY)
            os.close(fd)
            os.write(done, b'.')
            time.sleep(0.2)
            os._exit(0)
        os.read(ready, 1)
        print(os.read(fd, 10).decode())
        """
    )
    assert out == "alone\n"


def test_no_call_is_lost_when_a_quick_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> bool:
        raise RuntimeError

    monkeypatch.setattr(quick, "NATIVE", None)
    monkeypatch.setattr(Quick, "is_foreign", fail)
    with EmbeddedHost() as host:
        host.add(Buffer, "/dev/x")
        host.run(["sh", "-c", "ls / >/dev/x"], check=True, timeout=60)
