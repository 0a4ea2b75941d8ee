"""Static programs, threads, fork, vfork, exec, posix_spawn and what becomes of a device in them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from devices import Buffer
from pace import patience, rounds

from mapdev.host.embedded.host import EmbeddedHost

Client = Callable[..., str]
Static = Callable[[str], str]


def test_vfork_exec_and_posix_spawn_in_a_static_program(
    mapdev: EmbeddedHost, static: Static
) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    done = mapdev.run([static("vfork"), "/dev/x"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert driver.text(4) == b"exec"
    assert driver.calls.count("open") == driver.calls.count("release") == 1


def test_fork_keeps_descriptors_and_mappings(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); m = mmap.mmap(fd, 16 * P)
        for child in range(5):
            if os.fork() == 0:
                m[child] = 65 + child
                os.pwrite(fd, b'%d' % child, 100 + child)
                again = mmap.mmap(fd, P); again[10 + child] = 97 + child
                os._exit(0)
        for _ in range(5): assert os.wait()[1] == 0
        assert m[:5] == b'ABCDE' and m[10:15] == b'abcde' and m[100:105] == b'01234'
        """
    )
    assert driver.calls.count("release") == 1


def test_exec_drops_mappings(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); m = mmap.mmap(fd, P); os.close(fd)
        os.execv('/bin/sh', ['sh', '-c', '! grep -e "memfd:mapdev (" -e /dev/x /proc/self/maps'])
        """
    )
    assert driver.calls == ["open", "mmap", "release"]


def test_a_pipeline(mapdev: EmbeddedHost, shell: Callable[..., str]) -> None:
    mapdev.add(Buffer, "/dev/x")
    out = shell("seq 1 5 >/dev/x; head -c 10 /dev/x | sort -rn | tr '\\n' ' '")
    assert out == "5 4 3 2 1 "


def test_several_programs_at_once(mapdev: EmbeddedHost) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    writers = [
        mapdev.popen(["dd", "if=/dev/zero", "of=/dev/x", "bs=4k", "count=8", f"seek={at}"],
                     stderr=subprocess.DEVNULL)
        for at in (0, 4, 8)
    ]  # fmt: skip
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    mapdev.settle()
    assert driver.calls.count("write") == 24
    assert driver.calls.count("open") == driver.calls.count("release") == 3


def test_a_program_that_cannot_be_executed(mapdev: EmbeddedHost, tmp_path: Path) -> None:
    for command, error in ("/no/such/program", FileNotFoundError), (tmp_path, PermissionError):
        try:
            mapdev.run([command])
        except error:
            pass
        else:
            raise AssertionError(f"{command} ran")
    assert mapdev.run(["true"]).returncode == 0


def test_exit_statuses_environment_and_streams(mapdev: EmbeddedHost, tmp_path: Path) -> None:
    assert mapdev.run(["sh", "-c", "exit 42"]).returncode == 42
    assert mapdev.run(["sh", "-c", "kill -9 $$"]).returncode == -9
    done = mapdev.run(["cat"], input=b"through", capture_output=True)
    assert done.stdout == b"through"
    done = mapdev.run(["sh", "-c", "pwd; echo $A"], cwd=tmp_path, env={"A": "b", "PATH": os.environ["PATH"]},
                      capture_output=True, text=True)  # fmt: skip
    assert done.stdout.split() == [str(tmp_path), "b"]
    try:
        mapdev.run(["sh", "-c", "exit 1"], check=True)
    except subprocess.CalledProcessError as error:
        assert error.returncode == 1
    else:
        raise AssertionError("check=True did not raise")


def test_timeout_kills_the_client(mapdev: EmbeddedHost) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    code = "import os, time, mmap; m = mmap.mmap(os.open('/dev/x', 2), 4096); time.sleep(100)"
    began = time.monotonic()
    try:
        mapdev.run([sys.executable, "-S", "-c", code], timeout=patience(3))
    except subprocess.TimeoutExpired:
        pass
    else:
        raise AssertionError("no timeout")
    assert time.monotonic() - began < 60
    assert driver.calls == ["open", "mmap", "release"]


def test_a_program_left_in_the_background_is_served_on(mapdev: EmbeddedHost) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    script = f"(sleep {patience(0.3)}; echo late >/dev/x) & exit 3"
    assert mapdev.run(["sh", "-c", script]).returncode == 3
    assert mapdev.has_clients
    deadline = time.monotonic() + patience(30)
    while "release" not in driver.calls and time.monotonic() < deadline:
        time.sleep(0.01)
    assert driver.text() == b"late\n"


def test_clients_that_are_left_are_ended_with_the_host() -> None:
    import mapdev

    with mapdev.host() as host:
        driver = host.add(Buffer, "/dev/x")
        process = host.popen(
            ["sh", "-c", "exec 9<>/dev/x; trap '' TERM HUP INT; (while :; do sleep 1; done) & echo $!; while :; do sleep 1; done"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        pid = int(process.stdout.readline())
    assert process.wait(30) == -9
    assert driver.calls == ["open", "release"]
    assert len(host.leaks) >= 2 and all("had not ended" in leak for leak in host.leaks)
    try:
        state = Path(f"/proc/{pid}/stat").read_text().split()[2]
    except FileNotFoundError:
        state = "gone"
    assert state in ("Z", "gone")
    process.stdout.close()


def test_two_hosts_at_once(mapdev: EmbeddedHost, static: Static) -> None:
    """Each has a thread of its own; what they keep for calls must not be shared."""
    import mapdev as package

    with package.host() as other:
        drivers = [mapdev.add(Buffer, "/dev/x"), other.add(Buffer, "/dev/x")]
        clients = [
            host.popen([static("threads"), "/dev/x", "3", str(rounds(100))])
            for host in (mapdev, other)
        ]
        assert [client.wait(120) for client in clients] == [0, 0]
    assert [driver.calls.count("mmap") for driver in drivers] == [3 * rounds(100)] * 2
