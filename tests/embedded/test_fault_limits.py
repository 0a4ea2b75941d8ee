"""Page faults where the embedded host, or the kernel it runs on, can't do as a kernel does."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulting import ASKED, PROTECTS, Asked, Told

from mapdev.host.embedded.host import EmbeddedHost

Client = Callable[..., str]


@pytest.mark.skipif(PROTECTS, reason="the kernel can write-protect shared memory")
def test_a_write_is_told_early_where_it_can_t_be_seen(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Told, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 16 * P, R | W, SHARED, fd)
peek(p); expect('fault0r mkwrite0w'); poke(p, b'x'); expect('')
poke(p + P, b'x'); expect('fault1w mkwrite1w')
"""
    )


def test_no_room_for_another_area(mapdev: EmbeddedHost, client: Client, caplog: Any) -> None:
    mapdev.add(Asked, "/dev/x")
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    if limit > 200_000:
        pytest.skip("takes too long where vm.max_map_count is so high")
    client(
        ASKED
        + """
p = raw_mmap(None, 16 * P, R | W, SHARED, fd); peek(p)
count = int(sys.argv[1]) + 100; base = raw_mmap(None, count * P, 0, PRIVATE | ANON, -1)
for page in range(0, count, 2):
    if libc.mprotect(base + page * P, P, R): break
peek(p + 5 * P)
""",
        str(limit),
        status=-signal.SIGKILL,
    )
    assert "raise vm.max_map_count" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user without other processes")
def test_a_fork_without_room_for_the_worker_fails(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
import resource; p = raw_mmap(None, 4 * P, R, SHARED, fd); os.setgid(54321); os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))  # this one and the child
raises(errno.EAGAIN, os.fork); assert os.wait()[1] == signal.SIGKILL
assert peek(p, 6) == b'PAGE00'
"""
    )
