"""`mapdev run --watch`, `mapdev watch`, `mapdev record` and `mapdev replay`, on real processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapdev.host import place

MAPDEV = [sys.executable, "-m", "mapdev.cli"]
MAP = "import mmap, os, sys; m = mmap.mmap(os.open('/dev/x', os.O_RDWR), 2 * mmap.PAGESIZE)"
MAP_AND_WAIT = [
    sys.executable,
    "-S",
    "-c",
    f"{MAP}; print('ready', flush=True); sys.stdin.readline(); m.close()",
]
LIMIT = 30  # seconds


@pytest.fixture(autouse=True)
def own_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))


def run(*args: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAPDEV, *args], capture_output=True, text=True, timeout=LIMIT, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


class Terminal:
    """A terminal of 80 columns and 30 rows, in which a command runs."""

    def __init__(self, *command: str, kind: str = "xterm") -> None:
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if not self.pid:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 30, 80, 0, 0))
            # Without the LINES that readline has put into the environment behind Python's back.
            os.execvpe(command[0], command, {**os.environ, "TERM": kind})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("4H", 30, 80, 0, 0))

    def expect(self, pattern: str) -> None:
        """Wait until the command has written `pattern`, and forget what came up to there."""
        until = time.monotonic() + LIMIT
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < until, f"no {pattern!r} in {self.shown!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.fd, 65536).decode()
                except OSError:  # EIO: all that had the terminal have ended
                    assert re.search(pattern, self.shown), f"no {pattern!r} in {self.shown!r}"
        self.shown = self.shown[found.end() :]

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def close(self) -> int:
        """Wait for the end of the command; return its exit status."""
        until = time.monotonic() + LIMIT
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.02)[0]:
                with contextlib.suppress(OSError):
                    self.shown += os.read(self.fd, 65536).decode()
            assert time.monotonic() < until, self.shown


@pytest.fixture
def served() -> Iterator[subprocess.Popen[str]]:
    """A host with a program that has mapped its device and waits for a line."""
    with subprocess.Popen(
        [*MAPDEV, "run", "-d", "/dev/x=vmalloc", "--", *MAP_AND_WAIT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        if not process.stdin.closed:
            process.communicate("\n", timeout=LIMIT)
        assert process.wait(LIMIT) == 0


def let_go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_run_with_watch_in_a_pipe_writes_lines() -> None:
    done = run("run", "--watch", "-d", "/dev/x=vmalloc", "--", sys.executable, "-S", "-c", MAP)
    assert done.returncode == 0 and done.stdout == ""
    assert "vmalloc: probe() = 0" in done.stderr and "addr = vzalloc(size);" in done.stderr
    assert re.search(r"\d+ /dev/x: mmap\(<VmAreaStruct .*\) = 0", done.stderr)
    assert "remap_pfn_range(vma, vma->vm_start, pfn, PAGE_SIZE, vma->vm_page_prot);" in done.stderr
    assert re.search(r"mmap: /dev/x [0-9a-f]+-[0-9a-f]+", done.stderr)
    assert "munmap: -" in done.stderr and "/dev/x: release() = 0" in done.stderr
    assert "vmalloc: remove() = 0" in done.stderr


def test_run_with_watch_in_a_terminal_shows_what_is_typed() -> None:
    terminal = Terminal(
        *MAPDEV, "run", "--watch", "-d", "/dev/x=vmalloc", "--", sys.executable, "-S", "-q"
    )
    terminal.expect(r"\x1b\[16;30r")  # the lower half scrolls
    terminal.expect(r"mapdev run --watch +\d+ events")
    terminal.expect(">>> ")
    terminal.type(MAP + "\n")
    terminal.expect(r">[0-9a-f]{12}-[0-9a-f]{12} ")
    terminal.expect(r"> /dev/x \+0 2/2")
    fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("4H", 40, 70, 0, 0))
    terminal.expect(r"\x1b\[21;40r")  # at once, though nothing happens
    terminal.expect(r"mapdev run --watch +\d+ events")
    terminal.type("\x04")
    terminal.expect(r"\x1b\[r")
    assert terminal.close() == 0


def test_watch_in_a_pipe(served: subprocess.Popen[str]) -> None:
    with subprocess.Popen(
        [*MAPDEV, "watch"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stderr is not None
        assert f"watching host {served.pid}" in watching.stderr.readline()
        let_go_on(served)
        out, _ = watching.communicate(timeout=LIMIT)
    assert watching.returncode == 0
    assert re.search(r"munmap: -[0-9a-f]+", out) and "/dev/x: release() = 0" in out
    assert "vmalloc: remove() = 0" in out  # up to the end of the host


def test_watch_in_a_terminal(served: subprocess.Popen[str]) -> None:
    terminal = Terminal(*MAPDEV, "watch", str(served.pid))
    terminal.expect(rf"mapdev watch +0/0 events +live +{served.pid}")
    terminal.expect(r"[0-9a-f]{12}-[0-9a-f]{12}")
    terminal.expect(r"/dev/x \+0 2/2")
    terminal.expect("space: pause")
    let_go_on(served)
    terminal.expect("the host has ended")
    terminal.expect(r"release\(\) = 0")
    terminal.type("\x1b[H")
    terminal.expect(r"0/\d+ events.*PAUSED")
    terminal.expect(r"/dev/x \+0 2/2")
    terminal.type("\x1b[C\x1b[C")
    terminal.expect(r" 2/\d+ events")
    terminal.type("q")
    terminal.expect(r"\x1b\[\?1049l")  # the terminal is as it was
    assert terminal.close() == 0


def test_ctrl_c_leaves_the_terminal_as_it_was(served: subprocess.Popen[str]) -> None:
    terminal = Terminal(*MAPDEV, "watch", str(served.pid))
    before = termios.tcgetattr(terminal.fd)
    terminal.expect("space: pause")
    assert termios.tcgetattr(terminal.fd) != before
    terminal.type("\x03")
    terminal.expect(r"\x1b\[\?25h\x1b\[\?1049l")
    wait_for(lambda: termios.tcgetattr(terminal.fd) == before)
    assert terminal.close() == 130


def test_a_terminal_that_can_only_print(served: subprocess.Popen[str], tmp_path: Path) -> None:
    watching = Terminal(*MAPDEV, "watch", str(served.pid), kind="dumb")
    watching.expect("watching host")
    let_go_on(served)
    watching.expect("munmap: -[0-9a-f]+")
    assert watching.close() == 0 and "\x1b" not in watching.shown
    command = ["run", "--watch", "-d", "/dev/x=vmalloc", "--", sys.executable, "-S", "-c", MAP]
    running = Terminal(*MAPDEV, *command, kind="dumb")
    running.expect("mmap: /dev/x")
    assert running.close() == 0 and "\x1b" not in running.shown


def test_a_recording_of_a_command_is_replayed(tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    done = run(
        "run", "--record", file, "-d", "/dev/x=vmalloc", "--", sys.executable, "-S", "-c", MAP
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    again = run("replay", file)
    assert again.returncode == 0 and "remap_pfn_range(vma" in again.stdout
    numbers = [int(line.split()[0]) for line in again.stdout.splitlines() if line[5].isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))
    terminal = Terminal(*MAPDEV, "replay", file)
    terminal.expect(rf"0/{len(numbers)} events")
    terminal.type("G")
    terminal.expect(rf"{len(numbers)}/{len(numbers)} events")
    terminal.type("q")
    assert terminal.close() == 0


def test_a_disk_that_is_full() -> None:
    """The command goes on, and it is said that the recording does not."""
    command = [*MAPDEV, "run", "--record", "/dev/full", "-d", "/dev/x=contiguous", "--",
               "head", "-c", "3", "/dev/x"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, bytes(3))
    assert b"the recording ends here: No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_record_a_host_that_runs(served: subprocess.Popen[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    with subprocess.Popen([*MAPDEV, "record", str(file)]) as recorder:
        wait_for(lambda: file.exists() and file.read_text().startswith('{"mapdev": 1'))
        let_go_on(served)
        assert recorder.wait(LIMIT) == 0
    assert "munmap: -" in run("replay", "--plain", str(file)).stdout


def address_of(process: subprocess.Popen[str]) -> str:
    """Return the address that a command with --web has printed."""
    assert process.stderr is not None
    found = re.search(r"open (http://127\.0\.0\.1:\d+/\?token=\S+)", process.stderr.readline())
    assert found is not None
    return found[1]


def shown_at(address: str) -> list[str]:
    """Return what a page in a browser would be given of events, as lines of text."""
    with urllib.request.urlopen(address, timeout=LIMIT) as answer:
        assert b"<html" in answer.read()
    lines: list[str] = []
    after = 0
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        where = address.replace("/?", "/events?") + f"&after={after}"
        with urllib.request.urlopen(where, timeout=LIMIT) as answer:
            got = json.load(answer)
        lines += [event["s"] for event in got["events"]]
        after = got["next"]
        if got["ended"] or any("mmap: /dev/x" in line for line in lines):
            break
    return lines


def test_in_a_browser_as_it_happens_and_later(tmp_path: Path) -> None:
    """`run --web`, `watch --web` and `replay --web`: each serves a page until Ctrl-C."""
    file = str(tmp_path / "file")
    with subprocess.Popen(
        [*MAPDEV, "run", "--web", "-d", "/dev/x=vmalloc", "--", *MAP_AND_WAIT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        lines = shown_at(address_of(running))
        assert any("/dev/x: open() = 0" in line for line in lines)
        assert running.stdout.readline() == "ready\n"
        with subprocess.Popen(
            [*MAPDEV, "watch", "--web"], stderr=subprocess.PIPE, text=True
        ) as watching:
            address = address_of(watching)
            with urllib.request.urlopen(address, timeout=LIMIT) as answer:
                assert answer.status == 200
            watching.send_signal(signal.SIGINT)
            assert watching.wait(LIMIT) == 0
        running.communicate("\n", timeout=LIMIT)
        assert running.returncode == 0
    run("run", "--record", file, "-d", "/dev/x=vmalloc", "--", sys.executable, "-S", "-c", MAP)
    with subprocess.Popen(
        [*MAPDEV, "replay", file, "--web"], stderr=subprocess.PIPE, text=True
    ) as replaying:
        lines = shown_at(address_of(replaying))
        assert any("mmap: /dev/x" in line for line in lines)
        replaying.send_signal(signal.SIGINT)
        assert replaying.wait(LIMIT) == 0


def test_record_ends_by_a_signal(served: subprocess.Popen[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    with subprocess.Popen([*MAPDEV, "record", str(file), str(served.pid)]) as recorder:
        wait_for(lambda: file.exists() and file.read_text().endswith("\n"))
        recorder.send_signal(signal.SIGINT)
        assert recorder.wait(LIMIT) == 0
    assert run("replay", str(file)).returncode == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["watch"], "no host of yours runs"),
        (["watch", "77"], "no host is called '77'"),
        (["record", "/nowhere/file"], "no host of yours runs"),
        (["replay", "/nowhere/file"], "No such file"),
        (["replay", "/etc/passwd"], "no recording"),
        (["run", "--record", "/nowhere/file", "--", "true"], "/nowhere/file: No such file"),
    ],
)
def test_errors(args: list[str], says: str) -> None:
    done = run(*args)
    assert done.returncode in (1, 125) and says in done.stderr and "Traceback" not in done.stderr


def test_nobody_finds_a_host_that_has_ended() -> None:
    assert run("run", "-d", "/dev/x=contiguous", "--", "true").returncode == 0
    assert place.names() == []
