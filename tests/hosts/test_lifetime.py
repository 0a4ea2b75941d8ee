"""Release, frames and descriptors: what ends when, and what must not be given out again."""

import sys
import threading
import time
from collections.abc import Callable

import pytest
from devices import ZEROED, Buffer
from innards import belongings
from pace import patience, rounds

from mapdev import Driver, ioctl
from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import (
    _IO,
    GFP_KERNEL,
    PAGE_SIZE,
    File,
    Inode,
    VmAreaStruct,
    VmOperationsStruct,
    alloc_page,
    alloc_pages,
    free_pages,
    memory,
    page_address,
    page_to_pfn,
    remap_pfn_range,
    unmap_mapping_range,
)

Client = Callable[..., str]
Start = Callable[..., Process]


def begin(start: Start, code: str) -> Process:
    """Start code as a client that says `ready` and then waits for a line."""
    process = start(code)
    assert process.stdout.readline() == "ready\n"
    return process


def finish(mapdev: Host, process: Process, kill: bool = False) -> None:
    if kill:
        process.kill()
    process.communicate("go\n" if not kill else None, timeout=60)
    assert process.returncode == (-9 if kill else 0)
    mapdev.settle()


WAIT = "print('ready', flush=True); sys.stdin.readline()\n"


def test_the_mapping_outlives_close(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    process = begin(start, "fd = os.open('/dev/x', 2); m = mmap.mmap(fd, 4096); os.close(fd)\n"
                    + WAIT + "m[:4] = b'late'; m.close(); print('ready'); sys.stdin.readline()")  # fmt: skip
    mapdev.settle()
    assert driver.calls == ["open", "mmap"]
    finish(mapdev, process)
    assert driver.text() == b"late"
    assert driver.calls == ["open", "mmap", "release"]


def test_the_descriptor_outlives_munmap(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    process = begin(start, "fd = os.open('/dev/x', 2); mmap.mmap(fd, 4096).close()\n" + WAIT)
    mapdev.settle()
    assert driver.calls == ["open", "mmap"] and belongings(mapdev).mappings == 0
    finish(mapdev, process)
    assert driver.calls == ["open", "mmap", "release"]


@pytest.mark.parametrize("where", ["open", "mapped", "closed"])
def test_kill(mapdev: Host, start: Start, where: str) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    code = "fd = os.open('/dev/x', 2)\n"
    if where != "open":
        code += "m = mmap.mmap(fd, 65536)\n"
    if where == "closed":
        code += "os.close(fd)\n"
    process = begin(start, code + WAIT)
    finish(mapdev, process, kill=True)
    assert driver.calls[-1] == "release"
    assert belongings(mapdev)[:2] == (0, 0)


def test_release_waits_for_the_last_process(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    process = begin(
        start,
        "fd = os.open('/dev/x', 2); m = mmap.mmap(fd, 4096)\n"
        "if os.fork(): os._exit(0)\nos.close(fd)\n" + WAIT,
    )
    process.wait(30)
    mapdev.settle()
    assert driver.calls == ["open", "mmap"]
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.close()
    deadline = time.monotonic() + 30
    while driver.calls[-1] != "release" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert driver.calls == ["open", "mmap", "release"]
    assert process.stdout is not None
    process.stdout.close()


class Careless(Driver):
    """Allocates a page for each mapping and frees it at once, while the client still has it."""

    def probe(self) -> None:
        self.pfns: list[int] = []

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        page = alloc_page(ZEROED)
        memory(page_address(page), PAGE_SIZE)[:5] = b"mine!"
        self.pfns.append(page_to_pfn(page))
        remap_pfn_range(vma, vma.vm_start, page_to_pfn(page), PAGE_SIZE, vma.vm_page_prot)
        self.page = page

    @ioctl(_IO("c", 1))
    def free(self, file: File, arg: int) -> None:
        free_pages(self.page, 0)


def test_mapped_frames_are_never_given_out_again(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Careless, "/dev/x")
    before = belongings(mapdev)
    process = begin(
        start,
        "import fcntl\nfd = os.open('/dev/x', 2); m = mmap.mmap(fd, 4096); fcntl.ioctl(fd, 0x6301)\n"
        + WAIT + "assert m[:5] == b'mine!'; m[:5] = b'still'",
    )  # fmt: skip
    assert belongings(mapdev) == before._replace(files=1, mappings=1, pages=before.pages + 1)
    others = [alloc_pages(ZEROED, 0) for _ in range(500)]
    assert driver.pfns[0] not in map(page_to_pfn, others)
    finish(mapdev, process)
    for page in others:
        free_pages(page, 0)
    assert belongings(mapdev) == before


@pytest.mark.embedded_only("who gets a free frame next is the kernel's affair there")
def test_a_frame_comes_back_clean(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Careless, "/dev/x")
    client(
        "import fcntl; fd = os.open('/dev/x', 2); m = mmap.mmap(fd, P); m[:6] = b'secret'; fcntl.ioctl(fd, 0x6301)"
    )
    seen = set()
    pages = []
    while driver.pfns[0] not in seen and len(pages) < 10000:
        pages.append(alloc_page(GFP_KERNEL))
        seen.add(page_to_pfn(pages[-1]))
        assert bytes(memory(page_address(pages[-1]), 6)) == bytes(6)
    assert driver.pfns[0] in seen
    for page in pages:
        free_pages(page, 0)


def test_everything_is_back_after_the_last_client(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    before = belongings(mapdev)
    client(
        """
        for i in range(50):
            fd = os.open('/dev/x', os.O_RDWR)
            m = mmap.mmap(fd, 16 * P); n = mmap.mmap(fd, P)
            if i % 3: os.close(fd)
            if i % 2: m.close()
            if os.fork() == 0: os._exit(0)
            os.wait()
        """
    )
    assert belongings(mapdev) == before
    assert driver.calls.count("open") == driver.calls.count("release") == 50


def test_a_driver_that_forgets_to_free_is_reported(new_host: Callable[..., Host]) -> None:
    class Forgetful(Driver):
        def probe(self) -> None:
            self.managed = alloc_page(GFP_KERNEL)

        def read(self, file: File, count: int, pos: int) -> bytes:
            alloc_page(GFP_KERNEL)
            return b""

    with new_host() as host:
        host.add(Forgetful, "/dev/x")
        host.run(["cat", "/dev/x"])
    assert len(host.leaks) == 1 and "forgetful" in host.leaks[0]


def test_killed_while_mapping(mapdev: Host, static: Callable[[str], str]) -> None:
    """Clients that die in the middle of mmap, at points spread over its length."""
    mapdev.add(Buffer, "/dev/x")
    before = belongings(mapdev)
    for attempt in range(rounds(60)):
        process = mapdev.popen([static("threads"), "/dev/x", "4", "100000"])
        time.sleep(0.004 + attempt % 20 * 0.0003)
        process.kill()
        assert process.wait(30) == -9
    mapdev.settle()
    assert belongings(mapdev) == before
    assert mapdev.run(["true"], timeout=60).returncode == 0


def test_a_killed_driver_operation(mapdev: Host, start: Start) -> None:
    """A client killed while the driver works for it: the driver's result is for nobody."""

    class Slow(Buffer):
        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            time.sleep(0.2)
            super().mmap(file, vma)

        def read(self, file: File, count: int, pos: int) -> memoryview:
            time.sleep(0.2)
            return super().read(file, count, pos)

    driver = mapdev.add(Slow, "/dev/x")
    for code in ("mmap.mmap(fd, 4096)", "os.read(fd, 1)"):
        process = begin(start, f"fd = os.open('/dev/x', 2); print('ready', flush=True); {code}")
        time.sleep(0.05)
        finish(mapdev, process, kill=True)
    assert driver.calls.count("open") == driver.calls.count("release") == 2
    assert belongings(mapdev).mappings == 0


class Held(Buffer):
    """Stays in the operation that is named `where` until it is let go."""

    def probe(self, where: str = "") -> None:  # type: ignore[override]
        super().probe()
        self.where = where
        self.begun, self.go = threading.Event(), threading.Event()

    def hold(self, operation: str) -> None:
        if operation == self.where:
            self.begun.set()
            assert self.go.wait(patience(30))

    def open(self, inode: Inode, file: File) -> None:
        super().open(inode, file)
        self.hold("open")

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        super().mmap(file, vma)
        vma.vm_ops = VmOperationsStruct(close=lambda vma: self.calls.append("close"))
        self.hold("mmap")


@pytest.mark.parametrize("where", ["open", "mmap"])
def test_what_a_killed_client_was_about_to_get_is_given_back(
    mapdev: Host, start: Start, where: str
) -> None:
    """In C the operation would run to its end in the client, which ends what it has at exit."""
    driver = mapdev.add(Held, "/dev/x", where=where)
    before = belongings(mapdev)
    process = start("fd = os.open('/dev/x', 2); m = mmap.mmap(fd, 4096)")
    assert driver.begun.wait(patience(30))
    process.kill()
    process.communicate(timeout=patience(30))
    driver.go.set()
    mapdev.settle()
    mapped = ["mmap", "close"] if where == "mmap" else []
    assert driver.calls == ["open", *mapped, "release"]
    assert belongings(mapdev) == before


def test_a_driver_may_zap_when_it_is_removed(new_host: Callable[..., Host]) -> None:
    class Zapping(Driver):
        is_zapped = False

        def open(self, inode: Inode, file: File) -> None:
            self.mapping = file.f_mapping

        def remove(self) -> None:
            unmap_mapping_range(self.mapping, 0, 0)  # by then the host serves nobody any more
            self.is_zapped = True

    host = new_host()
    driver = host.add(Zapping, "/dev/x")
    host.popen([sys.executable, "-S", "-c", "open('/dev/x')"]).wait(timeout=patience(60))
    host.close()
    assert driver.is_zapped and not host.leaks
