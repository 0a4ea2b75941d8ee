"""Opening devices and looking at them, by every way that a path can be written."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from devices import Bare, Buffer, Who

from mapdev.host.core.host import Host
from mapdev.host.embedded.arch import NUMBER_OF
from mapdev.host.embedded.processes import has_capability
from mapdev.host.numbers import CAP_SYS_PTRACE
from mapdev.linux import File, Inode, iminor

Client = Callable[..., str]


def test_open_and_release_run_once_each(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client("fd = os.open('/dev/x', os.O_RDWR); other = os.dup(fd); os.close(fd); os.close(other)")
    assert driver.calls == ["open", "release"]


def test_f_flags_and_mode_reach_the_driver(mapdev: Host, client: Client) -> None:
    seen: list[tuple[int, int]] = []

    class Opened(Bare):
        def open(self, inode: Inode, file: File) -> None:
            seen.append((file.f_flags & os.O_NONBLOCK, file.f_mode & 3))
            file.private_data = "kept"

        def release(self, inode: Inode, file: File) -> None:
            assert file.private_data == "kept"
            seen.append((0, 0))

    mapdev.add(Opened, "/dev/x")
    client(
        """
        for flags in os.O_RDONLY, os.O_WRONLY | os.O_NONBLOCK, os.O_RDWR:
            os.close(os.open('/dev/x', flags))
        """
    )
    assert seen == [(0, 1), (0, 0), (os.O_NONBLOCK, 2), (0, 0), (0, 3), (0, 0)]


def test_minor_numbers(mapdev: Host, client: Client) -> None:
    minors: list[int] = []

    class Minors(Bare):
        def open(self, inode: Inode, file: File) -> None:
            minors.append(iminor(inode))

    driver = mapdev.add(Minors, "/dev/m0")
    mapdev.add(driver, "/dev/m1")
    out = client(
        """
        for node in '/dev/m1', '/dev/m0':
            os.close(os.open(node, os.O_RDONLY))
            print(os.minor(os.stat(node).st_rdev), os.major(os.stat(node).st_rdev))
        """
    )
    assert minors == [1, 0]
    assert out.split() == ["1", "240", "0", "240"]


def test_failing_open_gives_the_drivers_errno(mapdev: Host, client: Client) -> None:
    class Closed(Bare):
        def open(self, inode: Inode, file: File) -> None:
            raise OSError(16, "busy")

    mapdev.add(Closed, "/dev/x")
    client("raises(errno.EBUSY, os.open, '/dev/x', os.O_RDONLY)")


@pytest.mark.parametrize(
    "path",
    ["/dev/x", "//dev/./x", "/dev/../dev/x", "x", "./x", "../dev/x", "{tmp}/link", "{tmp}/dir/x",
     "{tmp}/chain", "/proc/self/cwd/x"],
)  # fmt: skip
def test_paths(mapdev: Host, client: Client, tmp_path: Path, path: str) -> None:
    mapdev.add(Buffer, "/dev/x")
    (tmp_path / "link").symlink_to("/dev/x")
    (tmp_path / "dir").symlink_to("/dev")
    (tmp_path / "chain").symlink_to("link")
    client(
        """
        os.chdir('/dev')
        path = sys.argv[1]
        fd = os.open(path, os.O_RDWR)
        os.write(fd, b'by path')
        assert os.stat(path).st_rdev == os.fstat(fd).st_rdev == os.makedev(240, 0)
        assert os.access(path, os.R_OK | os.W_OK)
        """,
        path.format(tmp=tmp_path),
    )


def test_relative_to_a_descriptor(mapdev: Host, client: Client, tmp_path: Path) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    (tmp_path / "up").symlink_to("../../../../../../../../dev")
    client(
        """
        dev = os.open('/dev', os.O_PATH)
        fd = os.open('x', os.O_WRONLY, dir_fd=dev)
        os.write(fd, b'dirfd')
        assert stat_is_device(os.stat('x', dir_fd=dev))
        there = os.open(sys.argv[1], os.O_PATH)
        assert stat_is_device(os.stat('up/x', dir_fd=there))
        """.replace("stat_is_device", "(lambda s: s.st_mode == 0o20666)"),
        str(tmp_path),
    )
    assert driver.text() == b"dirfd"


@pytest.mark.embedded_only("a node of the kernel's can't be where one is already")
def test_a_node_over_a_real_one_hides_it(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/full")
    client("os.write(os.open('/dev/full', os.O_WRONLY), b'not full')")
    assert driver.text() == b"not full"


@pytest.mark.embedded_only("a node of the kernel's can't be where one is already")
def test_symlink_to_an_existing_node(mapdev: Host, client: Client, tmp_path: Path) -> None:
    driver = mapdev.add(Buffer, "/dev/full")
    (tmp_path / "link").symlink_to("/dev/full")
    client("os.write(os.open(sys.argv[1], os.O_WRONLY), b'linked')", str(tmp_path / "link"))
    assert driver.text() == b"linked"


def test_proc_self_fd_opens_again(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        again = os.open(f'/proc/self/fd/{fd}', os.O_RDONLY)
        raises(errno.EBADF, os.write, again, b'x')
        assert os.readlink(f'/proc/self/fd/{fd}') == '/dev/x'
        assert os.stat(f'/proc/{os.getpid()}/fd/{fd}').st_rdev == os.stat('/dev/x').st_rdev
        """
    )
    assert driver.calls.count("open") == 2


def test_foreign_paths_are_untouched(mapdev: Host, client: Client, tmp_path: Path) -> None:
    mapdev.add(Buffer, "/dev/x")
    (tmp_path / "x").write_text("a file called x")
    (tmp_path / "loop").symlink_to("loop")
    client(
        """
        os.chdir(sys.argv[1])
        assert open('x').read() == 'a file called x'
        raises(errno.ENOENT, os.stat, '/dev/xx')
        raises(errno.ENOENT, os.open, '/dev/y/x', os.O_RDONLY)
        raises(errno.ELOOP, os.open, 'loop', os.O_RDONLY)
        raises(errno.EFAULT, lambda: libc.open(ctypes.c_void_p(1), 0) < 0 and fail())
        """.replace("fail()", "(_ for _ in ()).throw(OSError(ctypes.get_errno(), ''))"),
        str(tmp_path),
    )


def test_stat_is_of_a_character_device(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    out = client(
        """
        fd = os.open('/dev/x', os.O_RDONLY)
        for s in os.stat('/dev/x'), os.lstat('/dev/x'), os.fstat(fd):
            print(oct(s.st_mode), os.major(s.st_rdev), os.minor(s.st_rdev), s.st_nlink, s.st_size,
                  s.st_blksize, s.st_uid, s.st_ino == os.fstat(fd).st_ino, abs(time.time() - s.st_mtime) < 3600)
        """
    )
    line = f"0o20666 240 0 1 0 4096 {os.getuid()} True True"
    assert out.splitlines() == [line] * 3


def test_statx(mapdev: Host, shell: Callable[..., str]) -> None:
    mapdev.add(Buffer, "/dev/x")
    out = shell(
        "stat -c '%F %t,%T %a %s' /dev/x; stat -L -c %F - </dev/x; test -c /dev/x && echo c"
    )
    assert out.splitlines() == ["character special file f0,0 666 0", "character special file", "c"]


def test_ls(mapdev: Host, shell: Callable[..., str]) -> None:
    mapdev.add(Buffer, "/dev/x")
    assert shell("ls -l /dev/x").startswith("crw-rw-rw-")


def test_open_flags(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        os.close(os.open('/dev/x', os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOCTTY, 0o600))
        raises(errno.EEXIST, os.open, '/dev/x', os.O_RDWR | os.O_CREAT | os.O_EXCL)
        raises(errno.ENOTDIR, os.open, '/dev/x', os.O_RDONLY | os.O_DIRECTORY)
        raises(errno.EINVAL, os.readlink, '/dev/x')
        raises(errno.EACCES, os.execv, '/dev/x', ['x'])
        raises(errno.EINVAL, os.truncate, '/dev/x', 0)
        raises(errno.EEXIST, os.mkdir, '/dev/x')
        raises(errno.EEXIST, os.mknod, '/dev/x')
        raises(errno.EEXIST, os.symlink, 'y', '/dev/x')
        assert not os.access('/dev/x', os.X_OK)
        """
    )


@pytest.mark.embedded_only("a node in /dev is the file system's, and may be removed")
def test_a_node_stays_where_it_is(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        raises(errno.EPERM, os.unlink, '/dev/x')
        raises(errno.EPERM, os.rename, '/dev/x', '/dev/y')
        raises(errno.EPERM, os.link, '/dev/x', '/dev/y')
        """
    )


def test_mode_owner_and_times_can_be_set(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    code = """
        import stat
        before = os.stat('/dev/x')
        fd = os.open('/dev/x', os.O_RDWR)
        os.chmod('/dev/x', 0o640)
        assert stat.S_IMODE(os.stat('/dev/x').st_mode) == 0o640
        os.fchmod(fd, 0o600)
        after = os.stat('/dev/x')
        assert after.st_mode == os.fstat(fd).st_mode == stat.S_IFCHR | 0o600
        assert after.st_ctime_ns >= before.st_ctime_ns and after.st_mtime == before.st_mtime
        os.utime('/dev/x', (1, 2))
        assert (os.stat('/dev/x').st_atime, os.stat('/dev/x').st_mtime) == (1, 2)
        os.utime(fd, ns=(3_000_000_004, 5_000_000_006))
        assert (os.fstat(fd).st_atime_ns, os.fstat(fd).st_mtime_ns) == (3_000_000_004, 5_000_000_006)
        os.utime('/dev/x')
        assert os.stat('/dev/x').st_mtime > 1e9
        os.chown('/dev/x', os.getuid(), os.getgid())
        if os.getuid():
            raises(errno.EPERM, os.chown, '/dev/x', os.getuid() + 1, -1)
            sys.exit()
        def by_another(function, *args):
            child = os.fork()
            if not child:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                try:
                    function(*args)
                except OSError as error:
                    os._exit(error.errno)
                os._exit(0)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert by_another(os.open, '/dev/x', os.O_RDONLY) == errno.EACCES
        assert by_another(os.chmod, '/dev/x', 0o666) == errno.EPERM
        assert by_another(os.utime, '/dev/x', (1, 1)) == errno.EPERM
        assert by_another(os.utime, '/dev/x') == errno.EACCES
        assert by_another(os.chown, '/dev/x', 65534, -1) == errno.EPERM
        os.chown('/dev/x', 65534, 1)
        assert os.stat('/dev/x').st_uid == 65534 and os.fstat(fd).st_gid == 1
        assert by_another(os.open, '/dev/x', os.O_RDWR) == 0
        assert by_another(os.chmod, '/dev/x', 0o2620) == 0
        assert stat.S_IMODE(os.stat('/dev/x').st_mode) == 0o620, 'not of its group'
        assert by_another(os.chown, '/dev/x', 65534, 65534) == 0
        assert by_another(os.chown, '/dev/x', 65534, 1) == errno.EPERM
        assert by_another(os.chown, '/dev/x', 0, -1) == errno.EPERM
        assert by_another(os.utime, '/dev/x', (1, 1)) == 0
        os.chmod('/dev/x', 0o6755)
        os.chown('/dev/x', 0, 0)
        assert stat.S_IMODE(os.stat('/dev/x').st_mode) == 0o755
        """
    client(code)


def test_open_for_reading_or_writing_only(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDONLY)
        raises(errno.EBADF, os.write, fd, b'x')
        raises(errno.EBADF, os.pwrite, fd, b'x', 0)
        raises(errno.EACCES, mmap.mmap, fd, P, SHARED, R | W)
        fd = os.open('/dev/x', os.O_WRONLY)
        raises(errno.EBADF, os.read, fd, 1)
        raises(errno.EACCES, mmap.mmap, fd, P, SHARED, W)
        raises(errno.EACCES, mmap.mmap, fd, P, PRIVATE, R)
        """
    )


def test_o_path(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_PATH)
        assert os.fstat(fd).st_rdev == os.makedev(240, 0)
        raises(errno.EBADF, os.read, fd, 1)
        raises(errno.EBADF, fcntl.ioctl, fd, 1)
        raises(errno.EBADF, mmap.mmap, fd, P)
        again = os.open(f'/proc/self/fd/{fd}', os.O_RDWR)
        os.write(again, b'reopened')
        """
    )
    assert driver.text() == b"reopened"
    assert driver.calls.count("open") == driver.calls.count("release") == 1


def test_mode_of_the_node(mapdev: Host, client: Client) -> None:
    if os.getuid():
        pytest.skip("only root may open nodes against their mode, and become someone else")
    if not has_capability(os.getpid(), CAP_SYS_PTRACE):
        pytest.skip("who becomes someone else can't be looked at without CAP_SYS_PTRACE")

    class Private(Buffer):
        mode = 0o600

    mapdev.add(Private, "/dev/x")
    client(
        """
        assert os.stat('/dev/x').st_mode == 0o20600
        os.close(os.open('/dev/x', os.O_RDWR))
        os.setgid(65534); os.setuid(65534)
        raises(errno.EACCES, os.open, '/dev/x', os.O_RDONLY)
        assert not os.access('/dev/x', os.R_OK)
        """
    )


def test_current_is_the_caller(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Who, "/dev/x")
    out = client(
        """
        fd = os.open('/dev/x', os.O_RDONLY)
        def ask():
            os.read(fd, 1)
            comm = open('/proc/thread-self/comm').read().strip()
            print(threading.get_native_id(), os.getpid(), comm)  # Python 3.14 names its threads
        ask()
        thread = threading.Thread(target=ask); thread.start(); thread.join()
        """
    )
    lines = [line.split(maxsplit=2) for line in out.splitlines()]
    assert driver.seen == [(int(pid), int(tgid), comm) for pid, tgid, comm in lines]
    assert len(lines) == 2 and lines[0][2].startswith("python")


@pytest.mark.embedded_only("in another root there is the node that its file system has")
def test_chroot(mapdev: Host, client: Client, tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("only root may chroot")
    driver = mapdev.add(Buffer, "/dev/x")
    (tmp_path / "dev").mkdir()
    (tmp_path / "link").symlink_to("/dev/x")
    client(
        """
        os.chroot(sys.argv[1]); os.chdir('/')
        assert os.stat('dev/x').st_rdev == os.makedev(240, 0)
        os.chdir('/dev')
        os.write(os.open('x', os.O_WRONLY), b'in a chroot')
        assert os.stat('/link').st_rdev == os.makedev(240, 0)
        raises(errno.ENOENT, os.stat, '/etc/passwd')
        """,
        str(tmp_path),
    )
    assert driver.text() == b"in a chroot"


def test_is_no_regular_file(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    out = client("print(os.stat('/dev/x').st_mode)")
    assert stat.S_ISCHR(int(out))


def test_a_node_is_no_directory(mapdev: Host, client: Client, tmp_path: Path) -> None:
    """However the path begins, and whatever comes behind the node's name."""
    mapdev.add(Buffer, "/dev/x")
    (tmp_path / "link").symlink_to("/dev/x")
    (tmp_path / "x").mkdir()
    client(
        """
        os.chdir(sys.argv[1])
        fd, dev = os.open('/dev/x', os.O_RDWR), os.open('/dev', os.O_PATH)
        os.mkdir('x/x')  # a directory with the name of a node
        assert os.listdir('x/') == ['x'] and os.path.isdir('x/x/..') and not os.path.exists('x/y')
        for path, directory in [
            ('/dev/x', None), ('x', dev), (f'/proc/self/fd/{fd}', None), ('/proc/self/cwd/link', None)
        ]:
            for behind in '/.', '/..', '/':
                raises(errno.ENOTDIR, lambda: os.stat(path + behind, dir_fd=directory))
                raises(errno.ENOTDIR, lambda: os.open(path + behind, os.O_PATH, dir_fd=directory))
                raises(errno.ENOTDIR, lambda: os.unlink(path + behind, dir_fd=directory))
        for path in '/dev/x/y', '/dev/x/../x':
            raises(errno.ENOTDIR, os.open, path, os.O_CREAT | os.O_RDWR)
            raises(errno.ENOTDIR, os.mkdir, path)
            raises(errno.ENOTDIR, os.rename, path, '/dev/y')
        raises(errno.ENOTDIR, os.stat, 'link/')
        raises(errno.ENOTDIR, os.lstat, 'link/')
        raises(errno.EISDIR, os.open, '/dev/x/', os.O_CREAT | os.O_RDWR)
        raises(errno.EEXIST, os.mkdir, '/dev/x/')
        for call in os.rmdir, os.chdir:
            raises(errno.ENOTDIR, call, '/dev/x')
        """,
        str(tmp_path),
    )


def test_a_unix_socket_can_not_be_at_a_node(mapdev: Host, client: Client, tmp_path: Path) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        import socket
        unix = socket.socket(socket.AF_UNIX)
        raises(errno.EADDRINUSE, unix.bind, '/dev/x')
        raises(errno.ECONNREFUSED, unix.connect, '/dev/x')
        os.chdir(sys.argv[1])
        unix.bind('real')
        unix.listen()
        socket.socket(socket.AF_UNIX).connect('real')
        """,
        str(tmp_path),
    )
    assert not Path("/dev/x").is_socket()


def test_flags_that_say_what_a_path_means(
    mapdev: Host, client: Client, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With AT_SYMLINK_NOFOLLOW a link is meant, with AT_EMPTY_PATH what is at the descriptor."""
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        EMPTY, NOFOLLOW = 0x1000, 0x100
        here, link = os.open(sys.argv[1], os.O_RDONLY), b'link'
        os.symlink('/dev/x', 'link', dir_fd=here)
        def call(number, *args):
            ctypes.set_errno(0)
            if libc.syscall(ctypes.c_long(int(number)), *args) < 0:
                raise OSError(ctypes.get_errno(), 'failed')
        faccessat2, fchownat, fchmodat2, utimensat, host = sys.argv[2:]
        since_6_6 = tuple(map(int, os.uname().release.split('.')[:2])) >= (6, 6)
        def changes(number, *args):
            if number == fchownat and os.getuid():
                raises(errno.EPERM, call, number, *args)
            elif number == fchmodat2 and not since_6_6 and host == 'kernel':
                raises(errno.ENOSYS, call, number, *args)
            else:
                call(number, *args)
        devices = [os.open('/dev/x', os.O_RDONLY), 5]
        os.dup2(devices[0], 5)

        raises(errno.EACCES, call, faccessat2, here, link, os.X_OK, 0)
        call(faccessat2, here, link, os.X_OK, NOFOLLOW)
        changes(fchownat, here, link, os.getuid() + 1, -1, 0)
        call(fchownat, here, link, os.getuid(), -1, NOFOLLOW)
        times = struct.pack('4q', 1, 0, 1, 0)
        call(utimensat, here, link, times, 0)
        assert os.lstat('link', dir_fd=here).st_mtime != 1
        call(utimensat, here, link, times, NOFOLLOW)
        assert os.lstat('link', dir_fd=here).st_mtime == 1
        changes(fchmodat2, here, link, 0o600, 0)
        try: call(fchmodat2, here, link, 0o600, NOFOLLOW)
        except OSError as error: assert error.errno in (errno.ENOSYS, errno.EOPNOTSUPP), error

        for fd in devices:
            call(faccessat2, fd, b'', os.R_OK, EMPTY)
            raises(errno.EACCES, call, faccessat2, fd, b'', os.X_OK, EMPTY)
            changes(fchownat, fd, b'', os.getuid() + 1, -1, EMPTY)
            raises(errno.EINVAL, call, utimensat, fd, b'', struct.pack('4q', 1, -1, 1, 0), EMPTY)
            changes(fchmodat2, fd, b'', 0o600, EMPTY)
            raises(errno.ENOENT, call, faccessat2, fd, b'', os.R_OK, 0)
        call(faccessat2, here, b'', os.X_OK, EMPTY)
        call(fchownat, here, b'', os.getuid(), -1, EMPTY)
        """,
        str(tmp_path),
        *(str(NUMBER_OF[name]) for name in ("faccessat2", "fchownat", "fchmodat2", "utimensat")),
        request.config.getoption("--mapdev-host"),
    )


def test_below_a_link_to_a_node(mapdev: Host, client: Client, tmp_path: Path) -> None:
    """A device is no directory, by whatever name: links that a program makes, moves and copies."""
    mapdev.add(Buffer, "/dev/x")
    client(
        f"""
        os.chdir({str(tmp_path)!r})
        os.mkdir('deep')
        os.symlink('/dev/x', 'first')
        os.symlink('first', 'second')
        os.symlink('../first', 'deep/third')
        os.symlink('../../../../../../../../../../dev', 'dev')
        os.symlink('dev/x', 'fourth')
        os.rename('second', 'moved')
        os.link('moved', 'linked', follow_symlinks=False)
        os.symlink('nowhere', 'nothing')
        os.symlink('deep', 'way')
        for path in ('first', 'moved', 'linked', 'deep/third', 'fourth', 'dev/x', 'way/third'):
            for below in ('/y', '/y/z', '/.', '/..', '/'):
                raises(errno.ENOTDIR, os.open, path + below, os.O_RDONLY)
                raises(errno.ENOTDIR, os.stat, path + below)
            raises(errno.ENOTDIR, os.lstat, path + '/y')
            raises(errno.ENOTDIR, os.mkdir, path + '/y')
            raises(errno.ENOTDIR, os.unlink, path + '/y')
            raises(errno.ENOTDIR, os.rename, path + '/y', 'z')
            os.close(os.open(path, os.O_RDWR))
        raises(errno.ENOENT, os.open, 'second/y', os.O_RDONLY)
        raises(errno.ENOENT, os.open, 'nothing/y', os.O_RDONLY)
        raises(errno.ENOENT, os.open, 'deep/y/z', os.O_RDONLY)
        os.unlink('first')
        os.mkdir('first')
        open('first/y', 'w').close()
        assert os.listdir('first') == ['y']
        """
    )
