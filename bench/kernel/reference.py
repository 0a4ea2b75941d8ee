"""The drivers in C that the kernel host is compared with: those of the conformance suite."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.harness import Missing
from mapdev.module.build import build as build_module
from mapdev.support.tools import UnavailableError
from mapdev.vm import kernels

SOURCE = Path(__file__).parents[2] / "tests" / "conformance" / "reference"
PFN, VMALLOC, FAULT = (f"/dev/ref_bench_{name}" for name in ("pfn", "vmalloc", "fault"))
_BUSYBOX = "/run/mapdev/busybox"  # the machine's own
module = Path()  # where it is, in the machine


def build(series: str) -> Path:
    """Return the drivers, built for a kernel.

    :raises Missing: they can't be.
    """
    try:
        kernel = kernels.find(series)
        if kernel.build is None:
            raise Missing(f"there are no headers of Linux {kernel.release}")
        return build_module(kernel.build, place=SOURCE)
    except UnavailableError as error:
        raise Missing(str(error)) from None


@contextlib.contextmanager
def loaded(size: int) -> Iterator[None]:
    """Have the devices, of `size` bytes each; PFN up to 4 MiB only."""
    subprocess.run([_BUSYBOX, "insmod", module, f"bench_size={size}"], check=True)
    try:
        yield
    finally:
        subprocess.run([_BUSYBOX, "rmmod", module.stem], check=True)
