"""What a recorder notes of real processes, and that a host is as it was when nobody watches."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mapdev
import mapdev.linux
from mapdev import Driver
from mapdev.host.core.events import EVENTS, KEPT, Recorder
from mapdev.host.core.snapshot import describe
from mapdev.host.core.vocabulary import MOST_CALLS
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    io_remap_pfn_range,
    kfree,
    kmalloc,
    kzalloc,
    pgprot_noncached,
    virt_to_phys,
)
from mapdev.watch.as_c import lines
from mapdev.watch.model import State, Timeline

Event = list[Any]
HEAD = """
import ctypes, mmap, os, sys
P = mmap.PAGESIZE
libc = ctypes.CDLL(None)
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
def open_and_map(node, pages):
    return libc.mmap(None, pages * P, 3, 1, os.open(node, os.O_RDWR), 0)
def ready():
    print('ready', flush=True); sys.stdin.readline()
"""


@pytest.fixture
def host() -> Iterator[EmbeddedHost]:
    with mapdev.host("64M") as host:
        yield host


class Watched:
    """A recorder, and the timeline that its events make."""

    def __init__(self, host: EmbeddedHost) -> None:
        self.host = host
        with host.lock:
            self.recorder = Recorder(host)
            self.timeline = Timeline(plain(describe(host)))
            self.recorder.attach()

    def events(self) -> list[Event]:
        """Give the events since the last look, as a watcher gets them."""
        last = self.timeline.events[-1][0] if self.timeline.events else 0
        new = [plain(event) for event in self.recorder.since(last)]
        for event in new:
            self.timeline.add(event)
        return new

    def kinds(self) -> list[str]:
        """Name the events since the last look: operations, or what became of areas."""
        return [name_of(event) for event in self.events()]


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def name_of(event: Event) -> str:
    kind, rest = event[2], event[4:]
    if kind == "call":
        return str(rest[1])
    return str(rest[1]) if kind in ("areas", "pages") else kind


@pytest.fixture
def watched(host: EmbeddedHost) -> Iterator[Watched]:
    watched = Watched(host)
    yield watched
    with host.lock:
        watched.recorder.detach()


Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(host: EmbeddedHost) -> Iterator[Run]:
    """Start a client, and wait until it says that it is ready."""
    started = []

    def start(program: str, is_ready: bool = True) -> subprocess.Popen[str]:
        process = host.popen(
            [sys.executable, "-S", "-c", HEAD + program + "\nready()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        if is_ready:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()
    assert [process.wait(60) for process in started] == [0] * len(started)


def shown(state: State) -> Any:
    """Give what a state shows, in the form of a snapshot, with runs page by page."""
    return {
        "devices": list(state.devices),
        "allocations": sorted(state.allocations.values(), key=lambda found: found["addr"]),
        "processes": {
            pid: [by_page(area) for area in process["areas"].values()]
            for pid, process in state.processes.items()
        },
    }


def by_page(area: dict[str, Any]) -> dict[str, Any]:
    pages = [
        [addr + page * PAGE_SIZE, pfn + page, kind]
        for addr, pfn, count, kind in area["runs"]
        for page in range(count)
    ]
    return {**area, "runs": sorted(pages)}


def test_a_mapping_from_open_to_the_end(watched: Watched, start: Run) -> None:
    watched.host.add("contiguous", "/dev/x", size=4 * PAGE_SIZE)
    assert watched.kinds() == ["alloc", "probe", "device"]
    process = start("open_and_map('/dev/x', 4)")
    assert watched.kinds() == ["open", "mmap", "mmap"]
    assert process.pid in watched.timeline.state.processes
    process.communicate("\n", timeout=60)
    watched.host.settle()
    assert watched.kinds() == ["exit", "release"]
    assert watched.timeline.state.processes == {}


def test_split_by_munmap_and_by_mprotect(watched: Watched, start: Run) -> None:
    watched.host.add("contiguous", "/dev/x", size=8 * PAGE_SIZE)
    process = start(
        "p = open_and_map('/dev/x', 8)\nready()\nlibc.munmap(p + 2 * P, P)\nready()\n"
        "libc.mprotect(p + 5 * P, P, 1)\n"
    )
    watched.events()
    for wanted in ["split", "split", "munmap"], ["split", "split", "mprotect"]:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        assert watched.kinds() == wanted
    areas = watched.timeline.state.processes[process.pid]["areas"].values()
    assert [area["vm_pgoff"] for area in areas] == [0, 3, 5, 6]
    assert [sum(run[2] for run in area["runs"]) for area in areas] == [2, 2, 1, 2]


def test_faults_and_zap(watched: Watched, start: Run) -> None:
    lazy = watched.host.add("lazy", "/dev/x", size=4 * PAGE_SIZE)
    process = start("p = open_and_map('/dev/x', 4)\nctypes.memset(p + P, 1, 1)\n")
    assert watched.kinds()[2:] == ["open", "mmap", "mmap", "alloc", "vm_fault", "fault"]
    (area,) = watched.timeline.state.processes[process.pid]["areas"].values()
    assert area["vm_ops"] == ["fault"]
    assert area["runs"] == [[area["vm_start"] + PAGE_SIZE, lazy.pages[1].pfn, 1, "page"]]
    inode = watched.host.devices[0].inode
    watched.host.machine.unmap_mapping_range(inode, 0, 0)
    assert watched.kinds() == ["zap"]
    (area,) = watched.timeline.state.processes[process.pid]["areas"].values()
    assert area["runs"] == []


def test_fork_and_exit(watched: Watched, start: Run) -> None:
    watched.host.add("contiguous", "/dev/x", size=PAGE_SIZE)
    watched.events()
    parent = start("open_and_map('/dev/x', 1)\nif not os.fork():\n    os._exit(0)\nos.wait()\n")
    watched.host.settle()
    events = watched.events()
    assert [name_of(event) for event in events] == ["open", "mmap", "mmap", "fork", "exit"]
    child = events[-1][3]
    assert child not in (0, parent.pid) and events[-2][3] == child
    assert list(watched.timeline.state.processes) == [parent.pid]


@pytest.mark.parametrize(
    "driver", ["contiguous", "vmalloc", "lazy", "framebuffer", "registers,base=0"]
)
def test_the_model_shows_what_the_host_says(watched: Watched, start: Run, driver: str) -> None:
    """After each event that was last, whatever the driver; also by stepping back and forth."""
    name, _, base = driver.partition(",base=")
    watched.host.add(name, "/dev/x", **({"base": int(base)} if base else {}))
    with watched.host.lock:
        assert shown(State(plain(describe(watched.host)))) == shown(follow(watched))
    start(
        "p = open_and_map('/dev/x', 1)\nq = open_and_map('/dev/x', 1)\n"
        "ctypes.string_at(p, 1)\nctypes.memset(q, 1, 1)\nlibc.munmap(p, P)\n"
    )
    with watched.host.lock:
        now = State(plain(describe(watched.host)))
        assert shown(now) == shown(follow(watched))
    timeline = watched.timeline
    count = len(timeline.events)
    states = []
    for position in range(count + 1):
        timeline.go_to(position)
        states.append(shown(timeline.state))
    assert states[-1] == shown(now)
    for position in reversed(range(count + 1)):
        timeline.go_to(position)
        assert shown(timeline.state) == states[position]


def follow(watched: Watched) -> State:
    watched.events()
    return watched.timeline.state


def test_who_begins_late_sees_what_is_there(host: EmbeddedHost, start: Run) -> None:
    host.add("lazy", "/dev/x")
    process = start(
        "p = open_and_map('/dev/x', 4)\nctypes.memset(p, 1, 1)\nready()\n"
        "libc.munmap(p + P, P)\nctypes.memset(p + 2 * P, 1, 1)\n"
    )
    watched = Watched(host)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    with host.lock:
        assert shown(follow(watched)) == shown(State(plain(describe(host))))
        watched.recorder.detach()


def test_nothing_is_left_of_a_recorder(host: EmbeddedHost, start: Run) -> None:
    before = {name: getattr(mapdev.linux, name) for name in mapdev.linux.__all__}
    host.add("vmalloc", "/dev/x")
    things = [host, host.operations, host.machine, host.machine.spaces]
    attributes = [dict(vars(thing)) for thing in things]
    watched = Watched(host)
    module = sys.modules[type(host.devices[0].driver).__module__]
    assert module.__dict__["remap_pfn_range"] is not before["remap_pfn_range"]
    start("p = open_and_map('/dev/x', 4)\nlibc.munmap(p, P)")
    assert watched.kinds()
    with host.lock:
        watched.recorder.detach()
        last = watched.recorder.last
    for thing, was in zip(things, attributes, strict=True):
        assert vars(thing).keys() == was.keys()
        assert not any(callable(value) and value is not was[name]
                       for name, value in vars(thing).items())  # fmt: skip
    assert {name: getattr(mapdev.linux, name) for name in mapdev.linux.__all__} == before
    assert module.__dict__["remap_pfn_range"] is before["remap_pfn_range"]
    assert {type(space) for space in host.machine.spaces} == {MmAreas}
    start("p = open_and_map('/dev/x', 4)\nlibc.munmap(p, P)")
    assert watched.recorder.last == last


def test_two_recorders_of_two_hosts() -> None:
    with mapdev.host("64M") as one, mapdev.host("64M") as two:
        first, second = Watched(one), Watched(two)
        one.add("vmalloc", "/dev/x")
        with one.lock:
            first.recorder.detach()
        two.add("vmalloc", "/dev/x")
        assert first.kinds() == second.kinds() == ["alloc", "probe", "device"]
        (probe,) = [event for event in second.timeline.events if event[2] == "call"]
        assert [call[0] for call in probe[-1]] == ["vzalloc"]
        with two.lock:
            second.recorder.detach()


class Talks(Driver):
    """Calls what it calls, in each of several ways."""

    def probe(self) -> None:
        self.addr = kzalloc(2 * PAGE_SIZE, GFP_KERNEL)

    def read(self, file: File, count: int, pos: int) -> bytes:
        for _ in range(MOST_CALLS):
            kfree(kmalloc(8, GFP_KERNEL))
        return b""

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        pfn = virt_to_phys(self.addr) // PAGE_SIZE
        size = vma.vm_end - vma.vm_start
        prot = pgprot_noncached(vma.vm_page_prot)
        io_remap_pfn_range(vma, vma.vm_start, pfn, size, prot=prot)

    def write(self, file: File, data: bytes, pos: int) -> int:
        kfree(12345)
        return 0


def test_calls_as_c(watched: Watched, start: Run) -> None:
    driver = watched.host.add(Talks, "/dev/x")
    start(
        "open_and_map('/dev/x', 2)\nfd = os.open('/dev/x', os.O_RDWR)\nos.read(fd, 1)\n"
        "try:\n    os.write(fd, b'x')\nexcept OSError:\n    pass\n"
    )
    calls = {event[5]: event for event in watched.events() if event[2] == "call"}
    assert [str(line) for line in written(calls["probe"])] == [
        f"addr = kzalloc(size, GFP_KERNEL);  /* size=0x2000, addr = {driver.addr:#x} */"
    ]
    mmap = calls["mmap"]
    pfn = virt_to_phys_of(watched.host, driver) // PAGE_SIZE
    assert [line.code for line in written(mmap)] == [
        "phys = virt_to_phys(addr);",
        "pgprot_noncached(vma->vm_page_prot);",
        "io_remap_pfn_range(vma, vma->vm_start, pfn, vma->vm_end - vma->vm_start, "
        "pgprot_noncached(vma->vm_page_prot));",
    ]
    assert written(mmap)[2].values == (
        f"addr={mmap[9][0]:#x}, pfn={pfn if pfn < 10 else hex(pfn)}, size=0x2000, = 0"
    )
    kmallocs, kfrees = written(calls["read"])
    assert (kmallocs.times, kfrees.times) == (MOST_CALLS, MOST_CALLS)
    assert kmallocs.code == "addr = kmalloc(size, GFP_KERNEL);"
    (failed,) = written(calls["write"])
    assert failed.values.endswith("= -EINVAL") and calls["write"][7].startswith("-1 EINVAL")


def written(event: Event) -> Any:
    return lines(event[-1], event[-2])


def virt_to_phys_of(host: EmbeddedHost, driver: Talks) -> int:
    with host.lock:
        return host.machine.virt_to_pfn(driver.addr) * PAGE_SIZE


def test_an_operation_that_waits_is_noted_twice(watched: Watched, start: Run) -> None:
    watched.host.add("echo", "/dev/x")
    reader = start("os.read(os.open('/dev/x', os.O_RDWR), 1)", is_ready=False)
    until = time.monotonic() + 60
    while "read" not in map(name_of, watched.timeline.events):
        watched.events()
        assert time.monotonic() < until
    start("os.write(os.open('/dev/x', os.O_RDWR), b'x')")
    assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    watched.events()
    results = [event[7] for event in watched.timeline.events if name_of(event) == "read"]
    assert results[0] == "waits" and "1 bytes" in results[-1]


def test_the_oldest_events_go(watched: Watched) -> None:
    for number in range(KEPT + 5):
        watched.recorder.note("free", 0, number)
    assert len(watched.recorder.since(0)) == KEPT
    assert [event[0] for event in watched.recorder.since(KEPT + 3)] == [KEPT + 4, KEPT + 5]
    assert watched.recorder.since(0)[0][0] == 6


def test_each_kind_of_event_is_described(watched: Watched, start: Run) -> None:
    watched.host.add("lazy", "/dev/x")
    process = start("p = open_and_map('/dev/x', 4)\nctypes.memset(p, 1, 1)\n")
    process.communicate("\n", timeout=60)
    watched.host.close()
    events = watched.events()
    assert {event[2] for event in events} == set(EVENTS)
    for event in events:
        assert len(event) == 4 + len(EVENTS[event[2]])
        assert event == plain(event)
