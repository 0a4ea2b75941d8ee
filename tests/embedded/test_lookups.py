"""File systems that are served by a program: nobody waits for it but who looks there.

The program is a client like any other here, so that the host must not wait for it either.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapdev.drivers.contiguous import Contiguous
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.module.users import users

PATIENCE = 60  # seconds

Served = tuple[Path, "subprocess.Popen[bytes]"]


@pytest.fixture(params=[True, False], ids=["gate", "no gate"])
def host(request: pytest.FixtureRequest) -> Iterator[EmbeddedHost]:
    with EmbeddedHost(preload=request.param) as host:
        host.add(Contiguous, "/dev/x")
        yield host
    assert not host.leaks


@pytest.fixture
def served(
    host: EmbeddedHost, tmp_path: Path, require_program: Callable[[str, str], str]
) -> Iterator[Served]:
    """A directory that a client serves, from another that has a file and links."""
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse to mount a file system in a client")
    bindfs = require_program("bindfs", "bindfs")
    source, mount = tmp_path / "source", tmp_path / "mount"
    for directory in (source, source / "dir", mount):
        directory.mkdir()
    (source / "x").write_text("a file")
    (source / "link").symlink_to("x")
    (source / "device").symlink_to("/dev/x")
    server = host.popen([bindfs, "-f", "-o", "entry_timeout=0,attr_timeout=0", source, mount])
    try:
        output(host, f"until mountpoint -q {mount}; do sleep 0.01; done")
        yield mount, server
    finally:
        server.send_signal(signal.SIGCONT)
        server.kill()
        server.wait(PATIENCE)
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)


def output(host: EmbeddedHost, script: str) -> str:
    done = host.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_client_serves_what_others_look_at(host: EmbeddedHost, served: Served) -> None:
    mount, _ = served
    kinds = output(host, f"cd {mount}; stat -c %F x ./x link dir ../mount/x {mount}/x/. 2>&1; true")
    assert kinds.splitlines()[:5] == ["regular file", "regular file", "symbolic link", "directory",
                                      "regular file"]  # fmt: skip
    assert "Not a directory" in kinds.splitlines()[5]
    assert output(host, f"cat {mount}/x {mount}/link; readlink {mount}/device") == (
        "a filea file/dev/x\n"
    )
    assert output(host, f"head -c 2 {mount}/device | wc -c; stat -L -c %F {mount}/device") == (
        "2\ncharacter special file\n"
    )
    assert output(host, f"cp $(which echo) {mount}/own; {mount}/own run; rm {mount}/own") == "run\n"
    assert output(host, f"cd {mount}; ls; cat missing 2>&1; mv x y; cat y; mv y x") == (
        "device\ndir\nlink\nx\ncat: missing: No such file or directory\na file"
    )


def test_nobody_else_waits_for_a_server_that_stands_still(
    host: EmbeddedHost, served: Served
) -> None:
    mount, server = served
    server.send_signal(signal.SIGSTOP)
    waiting = [
        host.popen(["cat", f"{mount}/{name}"], stdout=subprocess.PIPE) for name in ("link", "x")
    ]
    assert output(host, "head -c 3 /dev/x | wc -c; cat /etc/passwd | wc -l").startswith("3\n")
    server.send_signal(signal.SIGCONT)
    assert [cat.communicate(timeout=PATIENCE)[0] for cat in waiting] == [b"a file"] * 2
    server.send_signal(signal.SIGSTOP)
    killed = host.popen(["cat", f"{mount}/link"])
    killed.kill()
    server.send_signal(signal.SIGCONT)
    assert killed.wait(PATIENCE) == -signal.SIGKILL


def test_a_host_that_ends_meanwhile(
    tmp_path: Path, require_program: Callable[[str, str], str]
) -> None:
    """The server goes on as soon as the host is gone, and so does all that waits for it."""
    if os.geteuid() or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse to mount a file system in a client")
    bindfs = require_program("bindfs", "bindfs")
    (tmp_path / "source").mkdir()
    (tmp_path / "mount").mkdir()
    code = f"""
import subprocess, sys
from mapdev.host.embedded.host import EmbeddedHost
with EmbeddedHost(preload=False) as host:
    server = host.popen([{bindfs!r}, "-f", {str(tmp_path / "source")!r}, {str(tmp_path / "mount")!r}])
    host.run(["sh", "-c", "until mountpoint -q {tmp_path / "mount"}; do sleep 0.01; done"])
    server.send_signal({signal.SIGSTOP:d})
    host.popen(["cat", {str(tmp_path / "mount/x")!r}])
    print(server.pid, flush=True)
    sys.stdin.read()
"""
    host = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    server = int(host.stdout.readline())
    try:
        host.kill()
        host.wait(PATIENCE)
    finally:
        host.stdout.close()
        assert host.stdin is not None
        host.stdin.close()
        pidfd = os.pidfd_open(server)
        os.kill(server, signal.SIGCONT)
        os.kill(server, signal.SIGTERM)
        subprocess.run(["umount", "-l", tmp_path / "mount"], check=False, capture_output=True)
    assert select.select([pidfd], [], [], PATIENCE)[0]
    os.close(pidfd)


def test_descriptors_of_the_host(host: EmbeddedHost) -> None:
    """As fuser does: some of them are files that the host itself serves."""
    code = f"""
import os
for process in ({os.getpid()}, os.getpid()):
    fd = os.open('/dev/x', os.O_RDWR)
    for _ in range(20):
        for name in os.listdir(f'/proc/{{process}}/fd'):
            try: os.stat(f'/proc/{{process}}/fd/{{name}}')
            except OSError: pass
print('done')
"""
    done = host.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_files_of_a_host_that_stands_still() -> None:
    """Who looks who has the module's devices open asks nobody's file system."""
    code = """
import subprocess, sys, mapdev
with mapdev.host() as host:
    host.add("contiguous", "/dev/x")
    host.popen(["sh", "-c", "exec 3</dev/x; echo ready; read x"])
    sys.stdin.read()
"""
    host = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n"
        host.send_signal(signal.SIGSTOP)
        assert users({(1, 99)}) == []
    finally:
        host.send_signal(signal.SIGCONT)
        host.communicate(timeout=PATIENCE)
