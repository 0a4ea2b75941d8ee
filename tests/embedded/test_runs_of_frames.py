"""How many areas of the kernel the embedded host makes of what is one area to a driver."""

from collections.abc import Callable

from mapdev import Driver
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.inspect import read_maps
from mapdev.linux import (
    PAGE_SIZE,
    File,
    VmAreaStruct,
    current,
    remap_pfn_range,
    vmalloc_to_pfn,
    vmalloc_user,
)


def test_scattered_frames_take_an_area_each(
    mapdev: EmbeddedHost, client: Callable[..., str]
) -> None:
    class Vmalloc(Driver):
        def probe(self) -> None:
            self.addr = vmalloc_user(100 * PAGE_SIZE)

        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            for at in range(0, vma.vm_end - vma.vm_start, PAGE_SIZE):
                pfn = vmalloc_to_pfn(self.addr + at)
                remap_pfn_range(vma, vma.vm_start + at, pfn, PAGE_SIZE, vma.vm_page_prot)

        def ioctl(self, file: File, cmd: int, arg: int) -> None:
            self.real = [line for line in read_maps(current().pid) if "memfd:mapdev (" in line.path]

    driver = mapdev.add(Vmalloc, "/dev/x")
    for pages in 1, 16, 100:
        client(
            """
            fd = os.open('/dev/x', os.O_RDWR); m = mmap.mmap(fd, int(sys.argv[1]) * P)
            fcntl.ioctl(fd, 1); assert len(maps()) == 1
            """,
            str(pages),
        )
        assert len(driver.real) == pages  # no two frames in a row
