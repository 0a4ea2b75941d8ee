"""Programs are started as `subprocess.Popen` starts them: with its options, those of the child too."""

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapdev.host.core.host import Host

Shell = Callable[..., str]


@pytest.fixture(autouse=True)
def device(mapdev: Host) -> None:
    mapdev.add("contiguous", "/dev/x")


def output(mapdev: Host, script: str, **options: Any) -> str:
    done = mapdev.run(
        ["sh", "-c", script], stdout=subprocess.PIPE, text=True, timeout=60, check=True, **options
    )
    return str(done.stdout)


def test_preexec_fn_is_called_in_the_child(mapdev: Host) -> None:
    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 123))
        os.umask(0o27)

    text = output(mapdev, "ulimit -n; umask; head -c 3 /dev/x | wc -c", preexec_fn=prepare)
    assert text.split() == ["123", "0027", "3"]


def test_preexec_fn_is_a_client_already(mapdev: Host) -> None:
    there, back = os.pipe()

    def look() -> None:
        fd = os.open("/dev/x", os.O_RDWR)
        os.write(back, str(len(os.read(fd, 5))).encode())
        os.close(fd)

    try:
        mapdev.run(["true"], preexec_fn=look, check=True, timeout=60)
        assert os.read(there, 10) == b"5"
    finally:
        os.close(there)
        os.close(back)


def test_preexec_fn_that_raises(mapdev: Host) -> None:
    """It is told as `subprocess` tells it, and the next program starts."""

    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(subprocess.SubprocessError, match="preexec_fn"):
        mapdev.popen(["true"], preexec_fn=fail)
    assert output(mapdev, "echo fine", preexec_fn=None) == "fine\n"


def test_what_the_child_is_given(mapdev: Host, tmp_path: Path) -> None:
    there, back = os.pipe()
    try:
        text = output(
            mapdev, f"pwd; echo $A; umask; ps -o sid= -p $$; echo $$; echo fd >/proc/self/fd/{back}",
            cwd=tmp_path, env={**os.environ, "A": "b c"}, umask=0o77, start_new_session=True,
            pass_fds=(back,), restore_signals=True, close_fds=True,
        )  # fmt: skip
        assert os.read(there, 10) == b"fd\n"
    finally:
        os.close(there)
        os.close(back)
    lines = [line.strip() for line in text.splitlines()]
    assert lines[:3] == [str(tmp_path), "b c", "0077"]
    assert lines[3] == lines[4]


def may_trace() -> bool:
    """Whether this process has CAP_SYS_PTRACE, without which it can't serve other users."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return bool(effective >> 19 & 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can")
@pytest.mark.skipif(not may_trace(), reason="other users are served with CAP_SYS_PTRACE only")
def test_another_user(mapdev: Host) -> None:
    script = "id -u; id -g; echo; head -c 2 /dev/x | wc -c"
    text = output(mapdev, script, user=12345, group=54321, extra_groups=[])
    assert text.split() == ["12345", "54321", "2"]


def test_shell_and_executable(mapdev: Host) -> None:
    done = mapdev.run("echo $0; head -c 2 /dev/x | wc -c", shell=True, capture_output=True,
                      text=True, check=True, timeout=60)  # fmt: skip
    assert done.stdout.split()[-1] == "2"
    done = mapdev.run(["a name", "-c", "echo $0"], executable="/bin/sh", capture_output=True,
                      text=True, check=True, timeout=60)  # fmt: skip
    assert done.stdout == "a name\n"


def test_input_and_time(mapdev: Host) -> None:
    done = mapdev.run(["cat"], input=b"in", capture_output=True, check=True, timeout=60)
    assert done.stdout == b"in"
    with pytest.raises(subprocess.TimeoutExpired):
        mapdev.run(["sleep", "60"], timeout=0.1)
    with pytest.raises(subprocess.CalledProcessError):
        mapdev.run(["false"], check=True, timeout=60)
