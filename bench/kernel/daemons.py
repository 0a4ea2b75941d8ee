"""Whoever answers calls: a daemon that runs while a block does, and can be put onto a core."""

from __future__ import annotations

import contextlib
import lzma
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import daemons
from bench.harness import DRIVERS, MAPDEV, Bench, Missing, Samples, Side

_PATIENCE = 60  # seconds: Python starts slowly on an emulated processor


class Daemon(daemons.Daemon):
    """A daemon and its device."""

    def side(
        self, bench: Bench, client: Sequence[object], arguments: Sequence[object],
        pinned: bool = False,
    ) -> Side:  # fmt: skip
        """Give a side of a comparison: `client` on this daemon's device."""

        def run() -> Samples:
            self.pin({bench.core} if pinned else os.sched_getaffinity(0))
            return bench.run([*client, self.file, *arguments], pinned)

        return run


@contextlib.contextmanager
def running(bench: Bench, device: str, command: Sequence[str]) -> Iterator[Daemon]:
    """Run a daemon that makes `device` appear.

    :raises Missing: it doesn't.
    """
    name = Path(device).name
    with daemons.running(
        bench, name, command, lambda: _can_be_opened(device), _PATIENCE
    ) as process:
        yield Daemon(Path(device), process)


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
