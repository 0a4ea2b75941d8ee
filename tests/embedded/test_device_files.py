"""Files of the FUSE mount that clients have of devices: their life, and who may ask what of them."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pace import patience
from polled import POLL, Masked

import mapdev
from mapdev.host.embedded.files import device_files, fuse_mount
from mapdev.host.embedded.files.device_files import DeviceFiles
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.process import Process
from mapdev.linux import EPOLLERR, EPOLLIN

Client = Callable[..., str]
Start = Callable[..., Process]


@pytest.fixture(autouse=True)
def needs_fuse() -> None:
    try:
        for fd in fuse_mount.mount():
            os.close(fd)
    except OSError as error:
        pytest.skip(f"FUSE can't be mounted here: {error}")


def files_of(host: EmbeddedHost) -> DeviceFiles:
    return host.subsystems.files._device_files


def test_numbers_are_used_again(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Masked, "/dev/x")
    client(
        """
        for _ in range(20):
            fds = [os.open('/dev/x', os.O_RDWR) for _ in range(10)]
            for fd in fds: os.close(fd)
        """
    )
    mapdev.settle()
    for _ in range(200):
        assert driver.gone.acquire(timeout=patience(30))
    files = files_of(mapdev)
    assert not files._nodes
    assert files._next < 20


def test_a_client_can_do_nothing_else_with_it(mapdev: EmbeddedHost, client: Client) -> None:
    """Calls on a low number that the filter does not hand over meet the file of the mount."""
    mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    client(
        POLL
        + """
fd = os.dup2(os.open('/dev/x', os.O_RDWR), 5)
import socket
raises(errno.ENOTSOCK, lambda: socket.socket(fileno=os.dup(fd)).getsockname())
os.fchmod(fd, 0); os.fchown(fd, 1, 1)  # nothing comes of it
assert os.fstatvfs(fd).f_namemax == 255
MAP_DENYWRITE = 0x800
raises(errno.ENODEV, mmap.mmap, fd, P, mmap.MAP_SHARED | MAP_DENYWRITE)
assert show(fd) == 1 and os.fstat(fd).st_rdev == os.makedev(240, 0)
"""
    )


def test_the_last_close_is_seen_wherever_it_is(mapdev: EmbeddedHost, client: Client) -> None:
    """Also when that is a message nobody received, in a process that was killed."""
    driver = mapdev.add(Masked, "/dev/x")
    client(
        """
        import socket
        fd = os.open('/dev/x', os.O_RDWR)
        ours, theirs = socket.socketpair()
        socket.send_fds(ours, [b'x'], [fd]); os.close(fd)
        if not os.fork():
            ours.close(); theirs.close(); os._exit(0)
        os.wait(); os.kill(os.getpid(), signal.SIGKILL)
        """,
        status=-9,
    )
    assert driver.gone.acquire(timeout=patience(30))


def test_opens_and_polls_at_the_same_time(mapdev: EmbeddedHost, start: Start) -> None:
    """The host waits for a file to be opened while others ask and close theirs."""
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    code = """
for _ in range(60):
    fds = [os.open('/dev/x', os.O_RDWR) for _ in range(3)]
    assert [show(fd) for fd in fds] == [1, 1, 1]
    for fd in fds: os.close(fd)
"""
    processes = [start(POLL + code) for _ in range(4)]
    assert [process.wait(patience(60)) for process in processes] == [0] * 4
    for _ in range(4 * 60 * 3):
        assert driver.gone.acquire(timeout=patience(30))


def test_a_poll_is_killed(mapdev: EmbeddedHost, start: Start) -> None:
    driver = mapdev.add(Masked, "/dev/x")
    process = start(POLL + "fd = os.open('/dev/x', 2); print('open', flush=True); show(fd, None)")
    assert process.stdout.readline() == "open\n"
    driver.await_polls()
    process.kill()
    assert process.wait(patience(30)) == -9
    assert driver.gone.acquire(timeout=patience(30))


HOST = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import mapdev
from polled import Masked
host = mapdev.host()
driver = host.add(Masked, "/dev/x")
host.popen([sys.executable, "-c", sys.argv[2], sys.argv[3]], pass_fds=[int(sys.argv[3])])
driver.await_polls()
os.kill(os.getpid(), signal.SIGKILL)
"""
ORPHAN = """
import os, select, sys
if os.fork(): os._exit(0)
fd = os.open("/dev/x", os.O_RDWR); poll = select.poll(); poll.register(fd, 1)
os.write(int(sys.argv[1]), str(poll.poll()[0][1]).encode())
"""


def test_a_host_that_dies_ends_polls() -> None:
    """Nobody answers any more: poll says POLLERR, as of a device that is gone."""
    ours, theirs = os.pipe()
    tests = str(Path(__file__).parents[1] / "hosts")
    host = subprocess.Popen(
        [sys.executable, "-c", HOST,
         tests, ORPHAN, str(theirs)],
        pass_fds=[theirs],
    )  # fmt: skip
    os.close(theirs)
    assert host.wait(patience(60)) == -9
    with open(ours, "rb") as pipe:
        assert select.select([pipe], [], [], patience(60))[0]
        assert int(pipe.read()) & EPOLLERR


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import fuse_mount
connection, root = fuse_mount.mount()
assert int.from_bytes(__import__("os").read(connection, 1 << 14)[4:8], "little") == 26  # INIT
"""


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv") or not Path("/usr/bin/python3").exists(),
    reason="becomes another user by setpriv, who needs a Python of his own",
)
def test_without_privileges() -> None:
    """The mount is made in a user namespace, by a program that ends at once."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shutil.copy(fuse_mount.__file__, folder)
        subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3",
             "-c", SCRIPT, folder],
            timeout=patience(60), check=True, cwd="/",
        )  # fmt: skip


def test_a_mount_that_fails_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse() -> tuple[int, int]:
        tries.append(1)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(device_files, "mount", refuse)
    with mapdev.host() as host:
        host.add(Masked, "/dev/x", mask=EPOLLIN)
        for _ in range(3):
            assert host.run(["sh", "-c", ": < /dev/x"]).returncode == 0
    assert tries == [1]


def test_who_looks_at_the_descriptors_of_the_host(mapdev: EmbeddedHost, client: Client) -> None:
    """fuser and lsof ask for the status of each file that any process has, the mounts' included."""
    mapdev.add(Masked, "/dev/x")
    code = f"""
    fd = os.open('/dev/x', os.O_RDWR)
    there = '/proc/{os.getpid()}/fd'
    found = 0
    for name in os.listdir(there):
        for look in (os.stat, os.lstat, os.statvfs, os.readlink):
            try: look(f'{{there}}/{{name}}'); found += 1
            except OSError: pass
        try: os.close(os.open(f'{{there}}/{{name}}', os.O_PATH)); found += 1
        except OSError: pass
    assert found > 20
    """
    client(code)


LOOKS = {
    "stat": "os.stat(path)",
    "lstat": "os.lstat(path)",
    "access": "os.access(path, os.R_OK)",
    "realpath": "os.path.realpath(path)",
    "statvfs": "os.statvfs(path)",
    "open": "os.close(os.open(path, os.O_PATH))",
    "list": "os.listdir(path)",
    "chdir": "os.chdir(path)",
    "below": "os.stat(path + '/new')",
    "make": "os.mkdir(path + '/new')",
    "move": "os.rename('/dev/x', path + '/new')",
    "link": "os.link('/dev/x', path + '/new')",
}


@pytest.mark.parametrize("look", LOOKS)
def test_who_looks_at_the_mount_does_not_stop_the_host(
    mapdev: EmbeddedHost, client: Client, look: str
) -> None:
    """As fuser does, which asks for the status of all descriptors of all processes."""
    mapdev.add(Masked, "/dev/x")
    found = client(
        f"""
        fd = os.open('/dev/x', os.O_RDWR)
        links = []
        for number in os.listdir('/proc/{os.getpid()}/fd'):
            path = '/proc/{os.getpid()}/fd/' + number
            try:
                link = os.readlink(path)
                if link == '/' or link.startswith('/mapdev'):
                    links.append(link)
                    {LOOKS[look]}
            except OSError as error:
                assert error.errno, error
        print(*links)
        os.stat('/dev/x')
        """
    )
    assert "/" in found.split()
