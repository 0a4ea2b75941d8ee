"""An operation that runs for long: who says so, and what ends it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pace import patience

import mapdev
from mapdev import Driver
from mapdev.host.core import watchdog
from mapdev.host.core.host import Host
from mapdev.linux import File, VmAreaStruct

LIMIT = patience(60)

DRIVER = """
import sys, time
from mapdev import Driver

def spin():
    while True: pass

def block():
    while True: time.sleep(1000)

class Long(Driver):
    def probe(self, how="spin", where="read"):
        self.how, self.where = globals()[how], where
        self.here("probe")
    def here(self, where):
        if self.where == where:
            print("in it", flush=True)
            self.how()
    def read(self, file, count, pos): self.here("read")
    def mmap(self, file, vma): self.here("mmap")
    def release(self, inode, file): self.here("release")
"""
CODE = {
    "read": "cat /dev/x",
    "mmap": f"{sys.executable} -c 'import mmap, os; mmap.mmap(os.open(\"/dev/x\", 2), 4096)'",
    "release": ": </dev/x",
    "probe": "true",
}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    (tmp_path / "long.py").write_text(DRIVER)

    def start(how: str, where: str, *options: str) -> subprocess.Popen[str]:
        device = f"/dev/x={tmp_path}/long.py:Long,how={how},where={where}"
        return subprocess.Popen(
            [sys.executable, "-m", "mapdev", "run", *options, "-d", device, "--",
             "sh", "-c", CODE[where]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("how", ["spin", "block"])
@pytest.mark.parametrize("where", CODE)
def test_a_second_signal_ends_all(
    run: Callable[..., subprocess.Popen[str]], how: str, where: str, number: int
) -> None:
    with run(how, where) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "in it\n"
        process.send_signal(number)
        line = process.stderr.readline()
        assert f"Long.{where}" in line and "all programs wait: long.py:" in line
        if (where, how) != ("probe", "spin"):  # where the first one does
            if where != "probe":
                assert "another signal ends mapdev" in process.stderr.readline()
            process.send_signal(number)
        assert process.wait(LIMIT) == 128 + number
        process.stdout.close()
        process.stderr.close()
        deadline = time.monotonic() + LIMIT
        while _group_lives(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _group_lives(pgid: int) -> bool:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pgid and fields[0] != "Z":
            return True
    return False


def test_the_option_timeout(run: Callable[..., subprocess.Popen[str]]) -> None:
    with run("spin", "read", "--timeout", "0.5") as process:
        _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        assert "cat: /dev/x: Connection timed out" in errors


class Slow(Driver):
    """Operations that never end of their own accord, in Python or in C."""

    blocks = False

    def stay(self, name: str) -> None:
        if name in self.stays:
            while not self.blocks:
                pass
            time.sleep(3)

    def probe(self, stays: str = "") -> None:
        self.stays = stays
        self.stay("probe")

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.stay("read")
        return b"data"

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.stay("mmap")

    def poll(self, file: File) -> int:
        self.stay("poll")
        return 1

    async def write(self, file: File, data: bytes, pos: int) -> None:
        self.stay("write")

    def remove(self) -> None:
        self.stay("remove")


FAILS = {
    "read": "os.read(fd, 4)", "mmap": "mmap.mmap(fd, 4096)", "write": "os.write(fd, b'x')",
}  # fmt: skip


@pytest.mark.parametrize("operation", FAILS)
def test_a_host_with_a_timeout(operation: str) -> None:
    with mapdev.host("16M", timeout=0.4) as host:
        host.add(Slow, "/dev/x", stays=operation)
        done = _client(host, FAILS[operation])
        assert done.stdout == "ETIMEDOUT\n", done.stderr
        assert host.run(["true"], timeout=LIMIT).returncode == 0
    assert host.leaks == [] and host.failures == []


def test_a_client_does_not_wait_for_what_blocks_in_c() -> None:
    """It has its answer at once; the host goes on when the driver's call returns."""
    with mapdev.host("16M", timeout=0.4) as host:
        driver = host.add(Slow, "/dev/x", stays="read")
        driver.blocks = True
        code = "t = time.monotonic(); print(errno.errorcode[fails()], time.monotonic() - t < 2.5)"
        done = _client(host, FAILS["read"], code)
        assert done.stdout == "ETIMEDOUT True\n", done.stderr
        assert host.run(["true"], timeout=LIMIT).returncode == 0
    assert host.failures == []


def test_poll_and_remove_and_probe(caplog: pytest.LogCaptureFixture) -> None:
    with mapdev.host("16M", timeout=0.4) as host:
        with pytest.raises(TimeoutError):
            host.add(Slow, "/dev/probe", stays="probe")
        host.add(Slow, "/dev/poll", stays="poll")
        done = _client(
            host, "None", "print(select.select([fd], [], [], 0)[0] == [fd])", "/dev/poll"
        )
        assert done.stdout == "True\n", done.stderr
        host.add(Slow, "/dev/remove", stays="remove")
    assert [leak for leak in host.leaks if "remove failed" in leak]


def test_the_line_after_some_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "LONG", 0.5)
    with caplog.at_level(logging.WARNING), mapdev.host("16M", timeout=4) as host:
        host.add(Slow, "/dev/x", stays="read")
        _client(host, FAILS["read"])
    (line,) = [text for text in caplog.messages if "all programs wait" in text]
    assert line.startswith("Slow.read at /dev/x has run for ")
    assert "test_long_operations.py:" in line


def _client(
    host: Host, expression: str, code: str = "print(errno.errorcode[fails()])", node: str = "/dev/x"
) -> subprocess.CompletedProcess[str]:
    program = (
        "import errno, mmap, os, select, time\n"
        f"fd = os.open({node!r}, os.O_RDWR)\n"
        "def fails():\n"
        f"    try: {expression}\n"
        "    except OSError as error: return error.errno\n"
        f"{code}\n"
    )
    return host.run([sys.executable, "-S", "-c", program], capture_output=True, text=True,
                    timeout=LIMIT)  # fmt: skip
