"""Directories in which nodes are: listed with all that is really there, and some that only we have."""

from __future__ import annotations

import os
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
from devices import Bare, Buffer

from mapdev.host.core.host import Host
from mapdev.host.embedded import libc
from mapdev.host.embedded.files import directories
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.native import NATIVE
from mapdev.host.embedded.syscalls import quick
from mapdev.host.loading import DriverError

Client = Callable[..., str]

LISTING = """
SYS_getdents64 = {'x86_64': 217, 'aarch64': 61}[os.uname().machine]

def getdents(fd, size):
    buffer = ctypes.create_string_buffer(size)
    ctypes.set_errno(0)
    count = libc.syscall(SYS_getdents64, fd, buffer, size)
    if count < 0:
        raise OSError(ctypes.get_errno(), 'getdents64')
    found, at = [], 0
    while at < count:
        ino, off, length, kind = struct.unpack_from('<QqHB', buffer, at)
        name = buffer.raw[at + 19:at + length].split(b'\\0')[0].decode()
        found.append((name, ino, off, kind))
        at += length
    return found

def everything(fd, size=4096):
    found = []
    while more := getdents(fd, size):
        found += more
    return found
"""


def test_nodes_are_merged_with_what_is_there(mapdev: Host, client: Client) -> None:
    mapdev.add(Bare, "/dev/aaa")
    mapdev.add(Bare, "/dev/zzz")
    real = os.listdir("/dev")
    code = """
        fd = os.open('/dev', os.O_RDONLY)
        found = everything(fd)
        names = [name for name, *_ in found]
        assert len(names) == len(set(names)), names
        assert set(names) == set(eval(sys.argv[1])) | {'.', '..', 'aaa', 'zzz'}, names
        ino, kind = next((ino, kind) for name, ino, _, kind in found if name == 'aaa')
        assert kind == 2 and ino == os.stat('/dev/aaa').st_ino == os.stat('/dev/aaa').st_ino
        assert getdents(fd, 4096) == []
    """
    client(LISTING + dedent(code), repr(real))


@pytest.mark.parametrize("size", [48, 64, 200, 1000, 1 << 20])
def test_buffers_of_any_size(mapdev: Host, client: Client, size: int) -> None:
    for name in "abcdefgh":
        mapdev.add(Bare, f"/dev/{name}" + "x" * 10)
    code = """
        size = int(sys.argv[1])
        names = [name for name, *_ in everything(os.open('/dev', os.O_RDONLY), size)]
        assert sorted(names) == sorted(os.listdir('/dev') + ['.', '..']), names
        assert all(name + 'x' * 10 in names for name in 'abcdefgh')
    """
    client(LISTING + dedent(code), str(size))


def test_a_buffer_that_is_too_small(mapdev: Host, client: Client) -> None:
    mapdev.add(Bare, "/dev/only/node-with-a-name")
    code = """
        fd = os.open('/dev/only', os.O_RDONLY)
        raises(errno.EINVAL, getdents, fd, 10)
        assert [name for name, *_ in getdents(fd, 56)] == ['.', '..']
        raises(errno.EINVAL, getdents, fd, 24)
        assert [name for name, *_ in getdents(fd, 100)] == ['node-with-a-name']
        # Nothing is lost when the names can't be written.
        os.lseek(fd, 0, os.SEEK_SET)
        assert libc.syscall(SYS_getdents64, fd, ctypes.c_void_p(1), 1000) == -1
        assert ctypes.get_errno() == errno.EFAULT
        assert len(everything(fd)) == 3
    """
    client(LISTING + dedent(code))


@pytest.mark.parametrize("place", ["/dev", "/dev/only"])
def test_seeking(mapdev: Host, client: Client, place: str) -> None:
    """telldir, seekdir and rewinddir are lseek; dup and fork share the position."""
    for name in "abc":
        mapdev.add(Bare, f"{place}/node-{name}")
    code = """
        fd = os.open(sys.argv[1], os.O_RDONLY)
        found = everything(fd, 64)
        for at, (_, _, offset, _) in enumerate(found):
            os.lseek(fd, offset, os.SEEK_SET)
            assert [e[0] for e in everything(fd)] == [e[0] for e in found[at + 1:]], at
        os.lseek(fd, 0, os.SEEK_SET)
        assert everything(fd) == found
        os.lseek(fd, 0, os.SEEK_SET)
        twin = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
        other = os.dup(fd)
        seen = []
        while more := getdents(fd, 64) + getdents(twin, 64) + getdents(other, 64):
            seen += more
        assert seen == found
        os.lseek(fd, 0, os.SEEK_SET)
        if not os.fork():
            getdents(fd, 48)
            os._exit(0)
        os.wait()
        assert everything(fd) == found[2:], 'the child has read two names'
    """
    client(LISTING + dedent(code), place)


def test_with_pidfd_getfd_forbidden(
    mapdev: Host, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose filter forbids it: the client moves its position itself."""

    def refuse(tid: int, fd: int) -> int:
        raise PermissionError(1, "not here")

    monkeypatch.setattr(directories, "fetch_descriptor", refuse)
    mapdev.add(Bare, "/dev/aaa")
    mapdev.add(Bare, "/dev/only/bbb")
    client("""
        assert 'aaa' in os.listdir('/dev') and 'null' in os.listdir('/dev')
        assert os.listdir('/dev/only') == ['bbb']
        fd = os.open('/dev', os.O_RDONLY)
        assert os.listdir(fd) == os.listdir(fd) == os.listdir('/dev')
    """)


def test_ways_to_a_directory(mapdev: Host, client: Client, tmp_path: Any) -> None:
    mapdev.add(Bare, "/dev/aaa")
    (tmp_path / "link").symlink_to("/dev")
    client(
        """
        def names(path, **options):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, **options)
            try:
                return os.listdir(fd)
            finally:
                os.close(fd)
        os.chdir(sys.argv[1])
        here = os.open('.', os.O_PATH)
        root = os.open('/', os.O_PATH)
        device = os.open('/dev', os.O_PATH)
        for path, directory in [
            ('/dev', None), ('/dev/', None), ('/dev/.', None), ('/dev/pts/..', None),
            ('link', None), ('link', here), ('link/', here), ('dev', root), ('dev//', root),
            ('.', device), ('../dev', device), ('/proc/self/root/dev', None),
            (f'/proc/self/fd/{device}', None), ('/../dev', None),
        ]:
            assert 'aaa' in names(path, dir_fd=directory), path
            assert 'null' in names(path, dir_fd=directory), path
        raises(errno.ELOOP, os.open, 'link', os.O_RDONLY | os.O_NOFOLLOW)
        os.chdir('/dev')
        assert 'aaa' in names('.') and 'aaa' in names('../dev') and 'aaa' in os.listdir()
        os.fchdir(root)
        assert 'aaa' in names('dev') and 'aaa' not in names('.') and 'dev' in names('..')
        raises(errno.EISDIR, os.open, '/dev', os.O_RDWR)
        raises(errno.EEXIST, os.open, '/dev', os.O_RDONLY | os.O_CREAT | os.O_EXCL)
        assert os.stat(os.open('/dev', os.O_RDONLY)) == os.stat('/dev')
        """,
        str(tmp_path),
    )


def test_a_node_hides_what_has_its_name(mapdev: Host, client: Client, tmp_path: Any) -> None:
    (tmp_path / "both").write_text("hidden")
    (tmp_path / "other").write_text("")
    mapdev.add(Bare, f"{tmp_path}/both")
    client(
        """
        found = {entry.name: entry for entry in os.scandir(sys.argv[1])}
        assert sorted(found) == ['both', 'other']
        assert not found['both'].is_file() and found['other'].is_file()
        assert found['both'].inode() == os.stat(found['both']).st_ino
        """,
        str(tmp_path),
    )


def test_a_directory_that_only_clients_have(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/only/deep/node")
    mapdev.add(Bare, "/dev/only/other")
    client("""
        import stat
        assert os.listdir('/dev/only') == ['deep', 'other'] and 'only' in os.listdir('/dev')
        assert stat.S_ISDIR(os.stat('/dev/only').st_mode) and os.stat('/dev/only').st_nlink == 3
        assert os.lstat('/dev/only/').st_ino == os.stat('/dev/only').st_ino
        assert os.path.samestat(os.stat('/dev/only/..'), os.stat('/dev'))
        assert os.path.samestat(os.stat('/dev/only/deep/../../null'), os.stat('/dev/null'))
        assert os.access('/dev/only', os.R_OK | os.X_OK)
        assert [(at, sorted(below + names)) for at, below, names in os.walk('/dev/only')] == [
            ('/dev/only', ['deep', 'other']), ('/dev/only/deep', ['node'])]
        raises(errno.ENOENT, os.stat, '/dev/only/nothing')
        raises(errno.EISDIR, os.open, '/dev/only', os.O_RDWR)
        raises(errno.EISDIR, os.unlink, '/dev/only')
        raises(errno.EPERM, os.rmdir, '/dev/only')
        raises(errno.EEXIST, os.mkdir, '/dev/only')
        raises(errno.EINVAL, os.readlink, '/dev/only')
        raises(errno.EISDIR, os.truncate, '/dev/only', 0)
        raises(errno.EACCES, os.execv, '/dev/only', ['x'])
        fd = os.open('/dev/only', os.O_RDONLY)
        assert os.path.samestat(os.fstat(fd), os.stat('/dev/only'))
        assert os.listdir(fd) == ['deep', 'other']
        os.close(os.open('deep/node', os.O_RDWR, dir_fd=fd))
        assert stat.S_ISCHR(os.stat('other', dir_fd=fd).st_mode)
        assert os.readlink(f'/proc/self/fd/{fd}') == '/dev/only'
        path_only = os.open('/dev/only', os.O_PATH)
        assert stat.S_ISCHR(os.stat('other', dir_fd=path_only).st_mode)
        assert os.fstatvfs(fd) == os.statvfs('/dev/only') == os.statvfs('/dev')
    """)


def test_it_can_be_the_working_directory(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/only/deep/node")
    client("""
        import stat
        os.chdir('/dev/only/deep')
        assert os.getcwd() == '/dev/only/deep' == os.readlink('/proc/self/cwd')
        assert os.listdir() == os.listdir('.') == ['node'] and os.listdir('..') == ['deep']
        assert stat.S_ISCHR(os.stat('node').st_mode) and os.path.realpath('node') == (
            '/dev/only/deep/node')
        os.close(os.open('./node', os.O_RDWR))
        assert 'null' in os.listdir('../..') and 'only' in os.listdir('../..')
        assert os.path.samestat(os.stat('../../null'), os.stat('/dev/null'))
        os.close(os.open('../../null', os.O_RDWR))
        raises(errno.ENOENT, os.stat, 'nothing')
        raises(errno.ENOTDIR, os.chdir, 'node')
        buffer = ctypes.create_string_buffer(5)
        assert not libc.getcwd(buffer, 5) and ctypes.get_errno() == errno.ERANGE
        os.chdir('..')
        assert os.getcwd() == '/dev/only'
        deep = os.open('deep', os.O_RDONLY)
        os.fchdir(deep)
        assert os.getcwd() == '/dev/only/deep'
        os.chdir('../../pts')
        assert os.getcwd() == '/dev/pts'
        os.chdir('/dev/only')
        os.chdir('..')
        assert os.getcwd() == '/dev' and 'only' in os.listdir()
        if not os.fork():
            os.chdir('only')
            os.execvp('sh', ['sh', '-c', 'test "$(pwd -P)" = /dev/only && test -c deep/node'])
        assert os.wait()[1] == 0
    """)


def test_nothing_is_left_of_them(client: Client, mapdev: EmbeddedHost) -> None:
    mapdev.add(Bare, "/dev/only/node")
    places = [path for path in ("/dev/shm", "/tmp") if os.path.isdir(path)]
    before = {path: set(os.listdir(path)) for path in places}
    client("os.chdir('/dev/only'); os.listdir('/dev/only')")
    for path in places:
        # Others run beside us: of this process, whose number each name has.
        ours = f"mapdev-{os.getpid()}-"
        assert not any(ours in name for name in set(os.listdir(path)) - before[path])
    mapdev.close()
    assert not mapdev.leaks


def test_a_node_and_a_directory_can_have_no_name_in_common(mapdev: Host) -> None:
    mapdev.add(Bare, "/dev/only/node")
    with pytest.raises(DriverError, match="at once"):
        mapdev.add(Bare, "/dev/only")


@pytest.mark.skipif(NATIVE is not None, reason="the C extension's calls can't be counted")
def test_a_host_of_nodes_alone_sees_no_more_calls(
    mapdev: Host, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed over for directories of ours is not, if there are none."""
    received = []

    def count(fd: int, request: int, *args: Any) -> Any:
        if request == quick.SECCOMP_IOCTL_NOTIF_RECV:
            received.append(request)
        return libc.fcntl.ioctl(fd, request, *args)

    monkeypatch.setattr(quick, "ioctl", count)
    code = """
        fd = os.open('/dev/null', os.O_RDONLY)
        os.dup2(fd, 50)
        for _ in range(int(sys.argv[1])):
            os.getcwd()
            os.fstatvfs(50)
    """

    def calls(times: int) -> int:
        received.clear()
        client(code, str(times))
        return len(received)

    mapdev.add(Bare, "/dev/aaa")
    few, many = calls(0), calls(50)
    assert few and abs(many - few) < 50
    mapdev.add(Bare, "/dev/only/node")
    assert calls(50) - calls(0) >= 50
