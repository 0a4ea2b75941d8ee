"""Places that the host chooses in a client's address space: taken ones are had elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from devices import Buffer
from faulting import Asked

from mapdev.drivers.vmalloc import Vmalloc
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.inject.batch import SIZE
from mapdev.host.embedded.mm.window import Window
from mapdev.linux import PAGE_SIZE, File, VmAreaStruct

Client = Callable[..., str]

READY = """
fd = os.open('/dev/x', os.O_RDWR)
def use(pages=4):
    p = raw_mmap(None, pages * P, R | W, SHARED, fd)
    for page in range(pages): poke(p + page * P, b'there'); assert peek(p + page * P, 5) == b'there'
    return p
"""


class _Counted:
    """Notes how often it is mapped, and where."""

    mmaps = 0

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.mmaps += 1
        super().mmap(file, vma)  # type: ignore[misc]
        self.area = vma


class Contiguous(_Counted, Buffer):
    """One run of frames."""


class Scattered(_Counted, Vmalloc):
    """A run for each page."""


class Faulting(_Counted, Asked):
    """Pages that come when they are touched."""


KINDS = pytest.mark.parametrize("driver", [Contiguous, Scattered, Faulting])


def _hidden(window: Window) -> list[int]:
    return list(window.hidden_places(0))


@KINDS
def test_a_place_that_was_free_before(mapdev: EmbeddedHost, client: Client, driver: Any) -> None:
    """What a program maps by a hint is not handed over: the next place is taken unexpectedly."""
    serving = mapdev.add(driver, "/dev/x")
    where = mapdev.subsystems.window.first + (1 << 20)
    at = client(
        READY
        + f"""
assert use() == {where}
libc.munmap({where}, 4 * P)
assert raw_mmap({where}, P, R | W, PRIVATE | ANON, -1) == {where}
poke({where}, b'mine')
p = use()
assert p != {where} and peek({where}, 4) == b'mine'
print(p)
libc.munmap(p, 4 * P)
"""
    )
    assert (serving.mmaps, serving.area.vm_start) == (2, int(at))
    mapdev.settle()
    assert not mapdev.subsystems.machine.leases


@KINDS
@pytest.mark.parametrize("threads", [False, True])
def test_the_host_s_places_are_taken(
    mapdev: EmbeddedHost, client: Client, driver: Any, threads: bool
) -> None:
    serving = mapdev.add(driver, "/dev/x")
    window = mapdev.subsystems.window
    client(
        READY
        + f"""
if {threads}: threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
for place in {_hidden(window)}: raw_mmap(place, {SIZE + 2 * PAGE_SIZE}, R, PRIVATE | ANON | FIXED, -1)
p = use()
assert os.fork() or (use(), poke(p, b'child'), os._exit(0))
assert os.wait()[1] == 0
assert peek(p, 5) == b'child'
use()
"""
    )
    assert serving.mmaps == 3


@KINDS
def test_all_of_the_window_is_taken(mapdev: EmbeddedHost, client: Client, driver: Any) -> None:
    serving = mapdev.add(driver, "/dev/x")
    window = mapdev.subsystems.window
    client(
        READY
        + f"""
start, end = {window.start}, {window.end}
assert raw_mmap(start, end - start, 0, PRIVATE | ANON | FIXED | 0x4000, -1) == start
p = use()
assert not start <= p < end
libc.munmap(p, 4 * P)
use()
assert os.fork() or (use(), os._exit(0))
assert os.wait()[1] == 0
"""
    )
    assert serving.mmaps == 3


@KINDS
@pytest.mark.parametrize("spare", [2 * PAGE_SIZE, 16 * PAGE_SIZE, 2 << 20])
def test_a_limit_on_address_space(
    mapdev: EmbeddedHost, client: Client, driver: Any, spare: int
) -> None:
    """Two pages beside the mapping are enough for a worker, and nothing else is needed."""
    mapdev.add(driver, "/dev/x")
    client(
        READY
        + f"""
import resource
room = raw_mmap(None, 4 * P + {spare}, 0, PRIVATE | ANON, -1)
used = int(open('/proc/self/statm').read().split()[0]) * P
resource.setrlimit(resource.RLIMIT_AS, (used, used))
libc.munmap(room, 4 * P + {spare})
p = use()
before = int(open('/proc/self/statm').read().split()[0])
assert before * P <= used - {spare} + 2 * P
raises(errno.ENOMEM, raw_mmap, None, {spare} + P, R, SHARED, fd)
"""
    )


@KINDS
def test_little_room(mapdev: EmbeddedHost, client: Client, driver: Any) -> None:
    """A program that has reserved its address space but for a hole."""
    mapdev.add(driver, "/dev/x")
    client(
        READY
        + """
hole = raw_mmap(None, 6 * P, 0, PRIVATE | ANON, -1)
size = 1 << 46
while size >= P:
    if libc.mmap(None, size, 0, PRIVATE | ANON | 0x4000, -1, 0) == FAILED: size >>= 1
libc.munmap(hole, 6 * P)
p = use()
assert hole <= p < hole + 6 * P
"""
    )


def test_pages_that_come_while_areas_outside_of_the_window_go(
    mapdev: EmbeddedHost, client: Client
) -> None:
    """What is not seen is looked for in /proc/PID/maps, while pages are being mapped."""
    mapdev.add(Faulting, "/dev/x")
    client(
        READY
        + """
wrong = []
def loop(room):
    for turn in range(80):
        p = raw_mmap(room, 16 * P, R | W, SHARED | FIXED, fd)
        for page in range(16):
            if peek(p + page * P, 4) != b'PAGE': wrong.append((turn, page))
        q = raw_mmap(p + 32 * P, P, R, SHARED | FIXED, fd); peek(q); libc.munmap(q, P)
        libc.munmap(p, 16 * P)
rooms = [raw_mmap(None, 64 * P, 0, PRIVATE | ANON, -1) for _ in range(3)]
threads = [threading.Thread(target=loop, args=(room,)) for room in rooms]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong
"""
    )
