"""What a user may have in buffers, and whose account memory is on."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import Client, Daemon, counters, not_in_uml

BEYOND = 5000  # pages: more than the largest order has
ZONES = Path("/proc/zoneinfo")
MAX_MB = Path("/sys/module/mapdev/parameters/max_mb")


@pytest.fixture
def eight_mb() -> Iterator[int]:
    """Limit each user to 8 MiB; yield that in pages."""
    before = MAX_MB.read_text()
    MAX_MB.write_text("8")
    yield (8 << 20) // PAGE
    MAX_MB.write_text(before)


def test_all_sessions_of_a_user_share_a_limit(eight_mb: int) -> None:
    with Daemon() as first, Daemon() as second:
        assert first.init.max_pages == second.init.max_pages == eight_mb
        buffer = first.alloc(eight_mb - 1, uapi.BUF_VMALLOC)
        second.alloc(1)
        for daemon in first, second:
            with pytest.raises(OSError) as caught:
                daemon.alloc(1)
            assert caught.value.errno == errno.EDQUOT
        buffer.free()
        assert counters()["pages"] == 1
        second.alloc(eight_mb - 1, uapi.BUF_VMALLOC)


def test_another_user_has_a_limit_of_its_own(eight_mb: int, daemon: Daemon) -> None:
    daemon.alloc(eight_mb, uapi.BUF_VMALLOC)
    os.chmod("/dev/mapdev", 0o666)

    def client() -> int:
        os.setuid(12345)
        with Daemon() as other:
            return other.alloc(eight_mb, uapi.BUF_VMALLOC).pages

    try:
        assert Client(client).result() == eight_mb
    finally:
        os.chmod("/dev/mapdev", 0o600)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """Yield a new memory cgroup."""
    root = tmp_path / "cgroup"
    root.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", root], check=True)
    try:
        (root / "cgroup.subtree_control").write_text("+memory")
        (root / "mapdev-test").mkdir()
        yield root / "mapdev-test"
        (root / "mapdev-test").rmdir()
    finally:
        subprocess.run(["umount", root], check=True)


@pytest.mark.parametrize("kind", [uapi.BUF_PAGES, uapi.BUF_CONTIG, uapi.BUF_VMALLOC])
def test_buffers_and_payload_are_charged_to_the_memory_cgroup(group: Path, kind: int) -> None:
    pages = 512

    def client() -> list[int]:
        (group / "cgroup.procs").write_text(str(os.getpid()))

        def charged() -> int:
            return int((group / "memory.current").read_text()) // PAGE

        start = charged()
        with Daemon() as daemon:
            session = charged()
            daemon.alloc(pages, kind)
            return [session - start, charged() - session]

    payload, buffer = Client(client).result()
    assert payload >= 13 << 20 >> 12, "payload is not charged"
    assert buffer >= pages - 64, "the kernel charges in batches of 64 pages"


@not_in_uml("alloc_contig_pages")
def test_a_range_beyond_the_largest_order_counts_for_the_user_s_limit(eight_mb: int) -> None:
    with Daemon(features=uapi.FEATURE_CONTIG) as daemon:
        with pytest.raises(OSError) as caught:
            daemon.alloc(BEYOND, uapi.BUF_CONTIG)
        assert caught.value.errno == errno.EDQUOT
        daemon.alloc(eight_mb, uapi.BUF_VMALLOC)  # nothing is left of it


@not_in_uml("alloc_contig_pages")
def test_a_range_beyond_the_largest_order_is_locked_memory() -> None:
    """No memory cgroup can be charged for it."""
    os.chmod("/dev/mapdev", 0o666)

    def client() -> list[object]:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (BEYOND * PAGE, BEYOND * PAGE))
        os.setuid(12345)
        outcomes: list[object] = []
        with Daemon(features=uapi.FEATURE_CONTIG) as first:
            with Daemon(features=uapi.FEATURE_CONTIG) as second:
                buffer = first.alloc(BEYOND, uapi.BUF_CONTIG)
                for _ in range(2):
                    try:
                        outcomes.append(second.alloc(BEYOND, uapi.BUF_CONTIG).pages)
                    except OSError as error:
                        outcomes.append(error.errno)
                        buffer.free()
            second_is_gone = first.alloc(BEYOND, uapi.BUF_CONTIG)
            return [*outcomes, second_is_gone.pages]

    try:
        assert Client(client).result() == [errno.EDQUOT, BEYOND, BEYOND]
    finally:
        os.chmod("/dev/mapdev", 0o600)


def movable() -> list[range]:
    """Return the frames of each ZONE_MOVABLE."""
    zones = re.findall(r"zone\s+Movable\n(.*?)start_pfn: +(\d+)", ZONES.read_text(), re.S)
    return [
        range(int(start), int(start) + int(re.search(r"spanned +(\d+)", text)[1]))  # type: ignore[index]
        for text, start in zones
        if not re.search(r"present +0\n", text)
    ]


@not_in_uml("alloc_contig_pages")
@pytest.mark.parametrize("pages", [1, 512, BEYOND])
def test_what_can_not_be_moved_is_not_in_the_movable_zone(pages: int) -> None:
    """Mapped frames can't be moved: in there they would keep memory from being unplugged."""
    zones = movable()
    if not zones:
        pytest.skip("this machine has no ZONE_MOVABLE: boot it with kernelcore=1G")
    with Daemon(features=uapi.FEATURE_CONTIG) as daemon:
        kind = uapi.BUF_PAGES if pages < BEYOND else uapi.BUF_CONTIG
        buffer = daemon.alloc(pages, kind)
        assert not any(
            pfn in zone for zone in zones for pfn in range(buffer.pfn, buffer.pfn + pages)
        )
        scattered = daemon.alloc(pages, uapi.BUF_VMALLOC)
        assert not any(pfn in zone for zone in zones for pfn in daemon.pfns(scattered))
