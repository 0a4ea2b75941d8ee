"""Areas whose pages fault, where no userfaultfd is allowed, as in Docker's default profile."""

import errno
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from faulting import ASKED, OPEN, Asked, Told

from mapdev.drivers.lazy import Lazy
from mapdev.host.embedded.faults import start
from mapdev.host.embedded.faults.eager import MOST_PAGES
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import PAGE_SIZE, File, VmFault, memory, page_address, page_count

Client = Callable[..., str]


@pytest.fixture(autouse=True, params=[errno.EPERM, errno.ENOSYS])
def refused(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_in(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(start, "make_in", make_in)


def test_pages_are_there(mapdev: EmbeddedHost, client: Client, caplog: Any) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd, 3 * P); expect('fault3w fault4w fault5w fault6w')
assert peek(p + 2 * P, 6) == b'PAGE05'; poke(p + 2 * P, b'page'); expect('')
q = raw_mmap(None, 4 * P, R, SHARED, fd, 3 * P); expect('fault3r fault4r fault5r fault6r')
assert peek(q + 2 * P, 6) == b'page05'
r, w = os.pipe(); assert libc.write(w, ctypes.c_void_p(q), 6) == 6; assert os.read(r, 6) == b'PAGE03'
"""
    )
    assert bytes(memory(page_address(driver.pages[5]), 6)) == b"page05"
    mapdev.settle()
    assert [page_count(page) for page in driver.pages] == [1] * 16
    assert "no userfaultfd is allowed here" in caplog.text


def test_private_pages_are_copied(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 2 * P, R | W, PRIVATE, fd)
poke(p, b'mine'); assert peek(p, 6) == b'mine00'
assert libc.madvise(p, P, 4) == 0; assert peek(p, 6) == b'PAGE00'
"""
    )
    assert bytes(memory(page_address(driver.pages[0]), 4)) == b"PAGE"


@pytest.mark.parametrize("touch", ["peek(p + 2 * P)", "poke(p + 2 * P, b'x')"])
def test_what_the_driver_refuses(mapdev: EmbeddedHost, client: Client, touch: str) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED + f"p = raw_mmap(None, 4 * P, R | W, SHARED, fd, 14 * P)\n"
        f"assert peek(p + P, 6) == b'PAGE15'\n{touch}",
        status=-signal.SIGBUS,
    )


def test_a_driver_that_fails(mapdev: EmbeddedHost, client: Client, caplog: Any) -> None:
    class Failing(Asked):
        def fault(self, vmf: VmFault) -> Any:
            raise ValueError("broken")

    mapdev.add(Failing, "/dev/x")
    client(OPEN + "peek(raw_mmap(None, P, R, SHARED, fd))", status=-signal.SIGBUS)
    assert "broken" in caplog.text


def test_writes_are_told_at_once(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Told, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 2 * P, R | W, SHARED, fd); expect('fault0w mkwrite0w fault1w mkwrite1w')
poke(p, b'x'); expect('')
q = raw_mmap(None, 2 * P, R | W, SHARED, fd, 9 * P); asked(); poke(q + P, b'y'); expect('')
if os.fork() == 0: poke(q, b'x')
assert os.WTERMSIG(os.wait()[1]) == signal.SIGBUS
"""
    )


class Versions(Asked):
    """ioctl takes pages away and writes a new version into other ones, afterwards."""

    version = 0

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        super().ioctl(file, 0, 0)
        self.version += 1
        self.pages = self.pages[8:] + self.pages[:8]
        for page in self.pages:
            memory(page_address(page), 2)[:] = b"%02d" % (self.version % 100)
        return 0


def test_pages_taken_away_come_anew(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Versions, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd, 4 * P)
for version in range(1, 30):
    fcntl.ioctl(fd, 0, 0)
    assert peek(p, 2) == peek(p + 3 * P, 2) == b'%02d' % version, version
    assert libc.madvise(p, 4 * P, 4) == 0
    assert peek(p, 2) == b'%02d' % version, version
"""
    )


def test_nobody_is_killed_meanwhile(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 16 * P, R | W, SHARED, fd); stop = False; wrong = []
view = (ctypes.c_char * (16 * P)).from_address(p)
def touch():
    while not stop: wrong.extend(page for page in range(16) if view[page * P] != b'P')
thread = threading.Thread(target=touch); thread.start()
for turn in range(50): fcntl.ioctl(fd, 0, 0); libc.madvise(p, 8 * P, 4)
stop = True; thread.join(); assert not wrong
"""
    )


def test_fork_move_split_and_exec(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 8 * P, R | W, SHARED, fd)
assert libc.munmap(p + 2 * P, P) == 0
assert libc.mprotect(p + 6 * P, P, R) == 0
q = libc.mremap(*map(ctypes.c_size_t, (p + 3 * P, P, 3 * P, 1))); assert q != FAILED
assert peek(q, 6) == b'PAGE03' and peek(q + 2 * P, 6) == b'PAGE05'
pid = os.fork()
if pid == 0:
    assert peek(p + 7 * P, 6) == b'PAGE07' and peek(q, 6) == b'PAGE03'
    poke(p, b'child0'); os.execv('/bin/true', ['true'])
assert os.waitpid(pid, 0)[1] == 0 and peek(p, 6) == b'child0'
"""
    )
    mapdev.settle()
    assert [page_count(page) for page in driver.pages] == [1] * 16


def test_a_client_that_is_killed(mapdev: EmbeddedHost, client: Client) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(OPEN + "raw_mmap(None, 8 * P, R | W, SHARED, fd); os.kill(os.getpid(), 9)", status=-9)
    mapdev.settle()
    assert [page_count(page) for page in driver.pages] == [1] * 16


def test_an_area_that_is_too_large(mapdev: EmbeddedHost, client: Client, caplog: Any) -> None:
    mapdev.add(Lazy, "/dev/x", size=(MOST_PAGES + 1) * PAGE_SIZE)
    client(OPEN + f"raises(errno.ENOMEM, raw_mmap, None, {MOST_PAGES + 1} * P, R, SHARED, fd)")
    assert "at once" in caplog.text and "mapdev doctor" in caplog.text
