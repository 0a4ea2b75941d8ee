"""`mapdev vm`: what a command in the machine sees, what comes out of it, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mapdev.vm.kernels import Kernel

pytestmark = pytest.mark.usefixtures("kernel")  # the command finds it in the cache


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mapdev.cli", "vm", *map(str, arguments)]


def vm(
    *arguments: object, input: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        command(*arguments), input=input, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_command_runs_as_it_would_here(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_text("from the host\n")
    script = """
        uname -r; cat here; cat; echo "$GREETING"; echo reopened >/dev/stdout
        echo inside >here; cat here
        echo to standard error >&2
        sleep 1000 &
        exit 7
    """
    done = vm("--module", "none", "--", "sh", "-c", script, input="read\n",
              env={"GREETING": "it's $HOME"})  # fmt: skip
    assert done.stdout.splitlines() == [
        kernel.release, "from the host", "read", "it's $HOME", "reopened", "inside",
    ]  # fmt: skip
    assert "to standard error\n" in done.stderr
    assert f"booting Linux {kernel.release}" in done.stderr
    assert done.returncode == 7
    assert (tmp_path / "here").read_text() == "from the host\n"


def test_much_output_arrives_whole() -> None:
    script = "seq 100000; seq 100000 >&2; no-such-program"
    done = vm("--module", "none", "--", "sh", "-c", script)
    numbers = "".join(f"{number}\n" for number in range(1, 100001))
    assert done.stdout == numbers
    assert numbers in done.stderr
    assert done.returncode == 127


def test_a_crash_of_the_kernel_is_told() -> None:
    done = vm("--module", "none", "--", "sh", "-c", "echo c >/proc/sysrq-trigger")
    assert done.returncode == 125
    assert "the machine ended before the command" in done.stderr
    assert "sysrq triggered crash" in done.stderr


def test_time_runs_out() -> None:
    done = vm("--module", "none", "--timeout", 2, "--", "true")
    assert done.returncode == 124
    assert done.stderr.endswith("mapdev: no end after 2 s\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_signals_end_the_machine(number: int, status: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("--module", "none", "--", "sleep", "1000"), stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        assert process.stderr
        assert "booting" in process.stderr.readline()
        while not children(process.pid):
            time.sleep(0.05)
        (qemu,) = children(process.pid)
        process.send_signal(number)
        assert process.wait(timeout=30) == status
        assert process.stderr.read() == ""
        while Path(f"/proc/{qemu}").exists():  # which the kernel ends when it is not us
            time.sleep(0.01)
        assert number == signal.SIGKILL or not list(tmp_path.iterdir())
    finally:
        process.kill()
        process.communicate()


def test_a_module_that_can_not_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "broken.ko").write_bytes(b"no module")
    done = vm("--module", tmp_path / "broken.ko", "--", "echo", "not run")
    assert (done.returncode, done.stdout) == (125, "")
    assert "the module can't be loaded" in done.stderr
    assert "broken.ko" in done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("6.0", "6.0 is no kernel: neither one of 6.1, 6.12, newest, running"),
        ("/etc/passwd", "/etc/passwd is no Linux kernel"),
        ("/usr", "/usr is no kernel"),
    ],
)
def test_no_such_kernel(name: str, message: str) -> None:
    done = vm("--kernel", name, "--", "true")
    assert done.returncode == 125
    assert message in done.stderr


def test_no_qemu() -> None:
    done = vm("--", "true", env={"PATH": "/nonexistent"})
    assert done.returncode == 125
    assert "sudo apt-get install --no-install-recommends qemu-system-x86" in done.stderr


def test_no_command() -> None:
    done = vm("--kernel", "6.1")
    assert done.returncode == 2
    assert "there is no command" in done.stderr
