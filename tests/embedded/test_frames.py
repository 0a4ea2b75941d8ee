"""Frames that a driver frees while a client maps them are held back by the embedded host."""

from collections.abc import Callable

from mapdev import Driver
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import (
    PAGE_SIZE,
    File,
    VmAreaStruct,
    alloc_page,
    free_pages,
    page_to_pfn,
    remap_pfn_range,
)


class Freeing(Driver):
    """Frees the page that it has mapped at the first ioctl, which notes what the host counts."""

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.page = alloc_page()
        pfn = page_to_pfn(self.page)
        remap_pfn_range(vma, vma.vm_start, pfn, PAGE_SIZE, vma.vm_page_prot)

    def ioctl(self, file: File, cmd: int, arg: int) -> None:
        free_pages(self.page, 0)


def test_a_mapped_frame_is_held_back(mapdev: EmbeddedHost, client: Callable[..., str]) -> None:
    mapdev.add(Freeing, "/dev/x")
    before = mapdev.memory.counts()
    during = []

    class Counting(Driver):
        def ioctl(self, file: File, cmd: int, arg: int) -> None:
            counts = mapdev.memory.counts()
            during.append((counts.used, counts.held))

    mapdev.add(Counting, "/dev/count")
    client(
        """
        fd, count = os.open('/dev/x', os.O_RDWR), os.open('/dev/count', os.O_RDWR)
        m = mmap.mmap(fd, P); fcntl.ioctl(count, 1); fcntl.ioctl(fd, 1); fcntl.ioctl(count, 1)
        """
    )
    assert during == [(before.used + 1, before.held), (before.used, before.held + 1)]
    assert mapdev.memory.counts() == before
