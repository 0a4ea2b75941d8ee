"""pfnmap, the kernel's own test of areas made by remap_pfn_range, as it is, on our devices."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.programs import kselftest

from mapdev.host.core.host import Host
from mapdev.support.tools import UnavailableError

PATIENCE = 30
KSFT_SKIP = 4


@pytest.fixture(scope="module")
def pfnmap() -> Path:
    try:
        return kselftest.program("pfnmap")
    except UnavailableError as error:
        pytest.skip(str(error))


def outcome(mapdev: Host, pfnmap: Path) -> tuple[int, str]:
    """Run it on /dev/pfnmap: its exit status, and what it said."""
    command = [str(pfnmap), "--", "/dev/pfnmap"]
    done = mapdev.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    return done.returncode, done.stdout


@pytest.mark.parametrize("driver", ["contiguous", "vmalloc", "framebuffer"])
def test_pfnmap(mapdev: Host, pfnmap: Path, driver: str) -> None:
    mapdev.add(driver, "/dev/pfnmap")
    status, output = outcome(mapdev, pfnmap)
    assert status == 0, output
    assert re.search(r"# Totals: pass:[1-9]\d* fail:0 xfail:0 xpass:0 skip:0 error:0", output)


def test_it_sees_that_counted_pages_are_something_else(mapdev: Host, pfnmap: Path) -> None:
    mapdev.add("lazy", "/dev/pfnmap")
    assert outcome(mapdev, pfnmap) == (
        KSFT_SKIP,
        "1..0 # SKIP Invalid file: '/dev/pfnmap'. Not pfnmap'ed\n",
    )
