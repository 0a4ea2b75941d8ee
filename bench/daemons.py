"""Whoever answers calls: a program that runs while a block does, and can be put onto a core."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.harness import Bench, Missing

_PATIENCE = 10  # seconds until a file system is mounted


class Daemon:
    """A running program.

    :ivar file: what it serves.
    """

    def __init__(self, file: Path, process: subprocess.Popen[bytes]) -> None:
        self.file = file
        self._process = process

    def pin(self, cores: set[int]) -> None:
        """Let all threads of the daemon run on these cores only."""
        for thread in os.listdir(f"/proc/{self._process.pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)


@contextlib.contextmanager
def running(
    bench: Bench, name: str, command: Sequence[str], is_there: Callable[[], bool], patience: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; the block begins when `is_there` says that it serves.

    :raises Missing: it ends, or serves nothing for `patience` seconds.
    """
    log = bench.directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + patience
        while not is_there():
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
                raise Missing(f"{Path(command[0]).name}: {said[-1]}")
            time.sleep(0.02)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def mounted(bench: Bench, name: str, command: Sequence[str]) -> Iterator[Daemon]:
    """Run a FUSE daemon, `command` and a mount point, for as long as the block runs.

    :raises Missing: FUSE can't be used here.
    """
    if not Path("/dev/fuse").exists():
        raise Missing("there is no /dev/fuse")
    if os.geteuid() != 0:
        raise Missing("mounting a FUSE file system needs root")
    mountpoint = bench.directory / name
    mountpoint.mkdir()
    whole = [*command, str(mountpoint)]
    try:
        with running(bench, name, whole, lambda: os.path.ismount(mountpoint), _PATIENCE) as process:
            yield Daemon(mountpoint / "device", process)
    finally:
        if os.path.ismount(mountpoint):
            subprocess.run(["umount", "-l", str(mountpoint)], check=False)
