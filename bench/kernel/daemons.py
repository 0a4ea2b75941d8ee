"""Whoever answers calls: a daemon that runs while a block does, and can be put onto a core."""

from __future__ import annotations

import contextlib
import lzma
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.harness import DRIVERS, MAPDEV, Bench, Missing, Samples, Side

_PATIENCE = 60  # seconds: Python starts slowly on an emulated processor


class Daemon:
    """A daemon and its device.

    :ivar device: the node that it serves.
    """

    def __init__(self, device: str, process: subprocess.Popen[bytes]) -> None:
        self.device = device
        self._process = process

    def pin(self, cores: set[int]) -> None:
        """Let all threads of the daemon run on these cores only."""
        for thread in os.listdir(f"/proc/{self._process.pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)

    def side(
        self, bench: Bench, client: Sequence[object], arguments: Sequence[object],
        pinned: bool = False,
    ) -> Side:  # fmt: skip
        """Give a side of a comparison: `client` on this daemon's device."""

        def run() -> Samples:
            self.pin({bench.core} if pinned else os.sched_getaffinity(0))
            return bench.run([*client, self.device, *arguments], pinned)

        return run


@contextlib.contextmanager
def running(bench: Bench, device: str, command: Sequence[str]) -> Iterator[Daemon]:
    """Run a daemon that makes `device` appear.

    :raises Missing: it doesn't.
    """
    log = bench.directory / f"{Path(device).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _can_be_opened(device):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
                raise Missing(f"{Path(command[0]).name}: {said[-1]}")
            time.sleep(0.05)
        yield Daemon(device, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _can_be_opened(device: str) -> bool:
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError:
        return False
    return True


def mapdev(
    bench: Bench, driver: str, device: str = "/dev/bench"
) -> contextlib.AbstractContextManager[Daemon]:
    """Serve a class of drivers.py, with its parameters, by the kernel host."""
    command = [*MAPDEV, "serve", "-d", f"{device}={DRIVERS}:{driver}"]
    return running(bench, device, command)


def cuse(bench: Bench) -> contextlib.AbstractContextManager[Daemon]:
    """Serve /dev/bench-cuse by libfuse's CUSE.

    :raises Missing: the kernel has no CUSE.
    """
    _load_cuse()
    if not Path("/dev/cuse").exists():
        raise Missing("this kernel has no CUSE (modprobe cuse)")
    peer = bench.peer("cuse", "fuse3", "libfuse3-dev")
    return running(bench, "/dev/bench-cuse", [peer, "bench-cuse"])


def _load_cuse() -> None:
    """Load the kernel's CUSE, as modprobe would: Debian's base system has none."""
    if Path("/dev/cuse").exists():
        return
    folder = Path("/lib/modules", os.uname().release, "kernel/fs/fuse")
    for name in ("fuse", "cuse"):
        for path in folder.glob(f"{name}.ko*"):
            data = path.read_bytes()
            plain = Path(tempfile.mkdtemp(), f"{name}.ko")
            plain.write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
            subprocess.run(["busybox", "insmod", plain], capture_output=True, check=False)
