"""dup, dup2, dup3, fcntl, redirections, exec and SCM_RIGHTS: where a device's descriptor can go."""

from collections.abc import Callable

import pytest
from devices import Buffer

from mapdev.host.embedded.host import EmbeddedHost

Client = Callable[..., str]
Shell = Callable[..., str]


def test_duplicates_are_the_same_file(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        copies = [os.dup(fd), os.dup2(fd, 5), os.dup2(fd, 0), os.dup2(fd, 900, inheritable=False),
                  fcntl.fcntl(fd, fcntl.F_DUPFD, 10), fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)]
        assert len(set(copies)) == 6 and copies[1:4] == [5, 0, 900] and copies[4] >= 10
        for copy in copies:
            os.write(copy, b'%d' % copies.index(copy))
            assert os.lseek(copy, 0, os.SEEK_CUR) == copies.index(copy) + 1
        assert fcntl.fcntl(copies[5], fcntl.F_GETFD) == fcntl.FD_CLOEXEC
        assert fcntl.fcntl(copies[4], fcntl.F_GETFD) == 0
        """
    )
    assert driver.text() == b"012345"
    assert driver.calls[0] == "open" and driver.calls[-1] == "release"
    assert driver.calls.count("release") == 1


def test_a_closed_standard_descriptor_is_filled(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        os.close(0); assert os.open('/dev/x', os.O_RDONLY) == 0
        os.close(1); assert libc.dup(0) == 1
        assert os.read(1, 1) == bytes(1)
        """
    )


def test_dup2_out_of_sight_is_refused(
    mapdev: EmbeddedHost, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    mapdev.add(Buffer, "/dev/x")
    client("raises(errno.EBADF, os.dup2, os.open('/dev/x', os.O_RDWR), 50)")
    assert "--descriptors all" in caplog.text


def test_bad_descriptors(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); os.close(fd)
        raises(errno.EBADF, os.read, fd, 1)
        raises(errno.EBADF, os.dup, fd)
        raises(errno.EBADF, raw_mmap, None, P, R, SHARED, fd)
        raises(errno.EBADF, fcntl.ioctl, 1023, 1)
        raises(errno.EBADF, os.fstat, -1)
        """
    )


def test_fcntl(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR | os.O_CREAT)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        assert flags & os.O_ACCMODE == os.O_RDWR and not flags & (os.O_NONBLOCK | os.O_CREAT)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        assert fcntl.fcntl(os.dup(fd), fcntl.F_GETFL) == flags | os.O_NONBLOCK
        assert fcntl.fcntl(fd, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
        fcntl.fcntl(fd, fcntl.F_SETFD, 0); assert os.get_inheritable(fd)
        """
    )


def test_o_cloexec_and_exec(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        kept = os.open('/dev/x', os.O_RDWR); os.set_inheritable(kept, True)
        gone = os.open('/dev/x', os.O_RDWR | os.O_CLOEXEC)
        os.execv('/bin/sh', ['sh', '-c', f'echo kept >/proc/self/fd/{kept} && ! test -e /proc/self/fd/{gone}'])
        """
    )
    assert driver.text() == b"kept\n"
    assert driver.calls.count("open") == driver.calls.count("release") == 3


@pytest.mark.parametrize("sh", ["sh", "bash"])
def test_shell_redirections(mapdev: EmbeddedHost, shell: Shell, sh: str) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    out = shell(
        """
        echo one >/dev/x
        head -c 4 </dev/x
        exec 3<>/dev/x
        echo two >&3
        echo three >&3
        exec 3<&-
        exec 4</dev/x
        read word <&4; echo "word: $word"
        read word <&4; echo "word: $word"
        exec 4<&-
        cat </dev/x | head -c 10
        { echo four; echo five >&2; } >/dev/x 2>&1
        head -c 10 /dev/x
        dd if=/dev/x bs=1 skip=5 count=4 2>/dev/null
        """,
        sh=sh,
    )
    assert out == "one\nword: two\nword: three\ntwo\nthree\nfour\nfive\nfive"
    assert driver.calls.count("open") == driver.calls.count("release")


def test_bash_reads_a_low_descriptor_itself(mapdev: EmbeddedHost, shell: Shell) -> None:
    mapdev.add(Buffer, "/dev/x")
    out = shell("echo line >/dev/x; exec 7<>/dev/x; read -u 7 word; echo $word", sh="bash")
    assert out == "line\n"


def test_stdin_of_a_child(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        import subprocess
        fd = os.open('/dev/x', os.O_RDWR); os.write(fd, b'for cat'); os.lseek(fd, 0, 0)
        assert subprocess.run(['head', '-c', '7'], stdin=fd, capture_output=True).stdout == b'for cat'
        """
    )


def test_passing_a_descriptor_over_a_socket(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        import socket
        a, b = socket.socketpair()
        if os.fork() == 0:
            a.close()
            fds = socket.recv_fds(b, 1, 1)[1]
            assert os.write(fds[0], b'passed') == 6
            os._exit(0)
        fd = os.open('/dev/x', os.O_RDWR)
        socket.send_fds(a, [b'x'], [fd]); os.close(fd)
        assert os.wait()[1] == 0
        """
    )
    assert driver.text() == b"passed"
    assert driver.calls.count("release") == 1


def test_many_open_files(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        import resource
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        fds = []
        try:
            while True: fds.append(os.open('/dev/x', os.O_RDWR))
        except OSError as error:
            assert error.errno == errno.EMFILE
        assert len(fds) >= 190
        os.close(fds.pop()); fds.append(os.open('/dev/x', os.O_RDWR))
        if hard > 1200:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))
            for _ in range(100): fds.append(os.open('/dev/x', os.O_RDWR))
            os.write(fds[-1], b'high')
        print(len(fds))
        """
    )
    assert driver.calls.count("open") == driver.calls.count("release") >= 190


def test_a_low_limit(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        fd = os.open('/dev/x', os.O_RDWR)
        os.write(fd, b'low')
        m = mmap.mmap(fd, P); assert m[:3] == b'low'
        """
    )


def test_descriptor_of_an_ioctl(mapdev: EmbeddedHost, client: Client) -> None:
    from test_ioctl import Exporter

    exporter = mapdev.add(Exporter, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        new = fcntl.ioctl(fd, 0x7801)
        assert os.read(new, 100) == b'exported' and new != fd
        in_struct = bytearray(4); fcntl.ioctl(fd, 0x80047802, in_struct)
        other, = struct.unpack('i', in_struct)
        assert os.read(other, 100) == b'exported' and not os.get_inheritable(other)
        os.close(fd)
        """
    )
    assert exporter.released == 2
