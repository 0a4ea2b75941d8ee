"""The drivers that are measured, each as plain as one would write it."""

import ctypes
from pathlib import Path

from mapdev import Driver, ioctl, parse_size
from mapdev.host.embedded.files import device_files
from mapdev.linux import (
    _IO,
    _IOWR,
    DEVICE_ATTR_RO,
    EPOLLIN,
    EPOLLOUT,
    GFP_KERNEL,
    PAGE_ALIGN,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_NOPAGE,
    VmOperationsStruct,
    WaitQueueHead,
    alloc_page,
    get_page,
    kzalloc,
    memory,
    poll_wait,
    put_page,
    remap_pfn_range,
    remap_vmalloc_range,
    virt_to_phys,
    vm_insert_page,
    vmalloc_to_pfn,
    vmalloc_user,
    wait_event_interruptible,
    wake_up,
)


class Exchange(ctypes.Structure):
    _fields_ = (("value", ctypes.c_uint64), ("answer", ctypes.c_uint64))


PING = _IO(ord("b"), 1)
EXCHANGE = _IOWR(ord("b"), 2, Exchange)
WAIT = _IO(ord("b"), 3)


class Bench(Driver):
    """Contiguous memory with ioctls: a number, a structure both ways, one that waits."""

    def probe(self, size="64K"):
        self.size = PAGE_ALIGN(parse_size(size))
        self.address = kzalloc(self.size, GFP_KERNEL)
        self.data = memory(self.address, self.size)
        self.queue = WaitQueueHead()

    def read(self, file, count, pos):
        return self.data[:count]

    def write(self, file, data, pos):
        self.data[: len(data)] = data
        return len(data)

    @ioctl(PING)
    def ping(self, file, arg):
        return 0

    @ioctl(EXCHANGE, Exchange)
    def exchange(self, file, exchange):
        exchange.answer = exchange.value + 1

    @ioctl(WAIT)
    def wait(self, file, arg):
        wait_event_interruptible(self.queue, lambda: False)

    def mmap(self, file, vma):
        pfn = (virt_to_phys(self.address) >> PAGE_SHIFT) + vma.vm_pgoff
        remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, vma.vm_page_prot)


class Scattered(Driver):
    """vmalloc'ed memory; which frames it has is written to the file `runs`."""

    def probe(self, size="64M", runs=""):
        self.size = PAGE_ALIGN(parse_size(size))
        self.address = vmalloc_user(self.size)
        if runs:
            found = []
            for at in range(self.address, self.address + self.size, PAGE_SIZE):
                pfn = vmalloc_to_pfn(at)
                if found and sum(found[-1]) == pfn:
                    found[-1][1] += 1
                else:
                    found.append([pfn, 1])
            Path(runs).write_text("".join(f"{pfn} {pages}\n" for pfn, pages in found))

    def mmap(self, file, vma):
        remap_vmalloc_range(vma, self.address, vma.vm_pgoff)


class Faulting(Driver):
    """Pages that are mapped when they are touched: one at a time, or up to 16 (`around`)."""

    def probe(self, size="4M", around="no"):
        self.pages = [alloc_page() for _ in range(parse_size(size) >> PAGE_SHIFT)]
        self.vm_ops = VmOperationsStruct(fault=self.fault)
        if around == "yes":
            self.vm_ops.map_pages = self.map_pages

    def remove(self):
        for page in self.pages:
            put_page(page)

    def mmap(self, file, vma):
        vma.vm_ops = self.vm_ops

    def fault(self, vmf):
        vmf.page = self.pages[vmf.pgoff]
        get_page(vmf.page)
        return 0

    def map_pages(self, vmf, start_pgoff, end_pgoff):
        vma = vmf.vma
        for pgoff in range(start_pgoff, min(end_pgoff + 1, len(self.pages))):
            addr = vma.vm_start + (pgoff - vma.vm_pgoff << PAGE_SHIFT)
            if not vma.is_mapped(addr, addr + PAGE_SIZE):
                vm_insert_page(vma, addr, self.pages[pgoff])
        return VM_FAULT_NOPAGE


class InTree(Bench):
    """The same as a class device, with an attribute."""

    dev_class = "bench"
    dev_groups = (DEVICE_ATTR_RO("value", lambda dev, attr: "1\n"),)


class Ready(Bench):
    """Each file is readable from a write on, and not any more from the next read on.

    With shared=yes all files are readable at once. With fuse=no clients have sockets in place of
    files of a FUSE mount.
    """

    def probe(self, size="64K", fuse="yes", shared="no"):
        super().probe(size)
        self.state = State()
        self.is_shared = shared == "yes"
        if fuse == "no":
            device_files.mount = _no_fuse

    def open(self, inode, file):
        file.private_data = self.state if self.is_shared else State()

    def read(self, file, count, pos):
        file.private_data.is_full = False
        return super().read(file, count, pos)

    def write(self, file, data, pos):
        file.private_data.is_full = True
        wake_up(file.private_data.queue)
        return super().write(file, data, pos)

    def poll(self, file):
        poll_wait(file, file.private_data.queue)
        return EPOLLOUT | (EPOLLIN if file.private_data.is_full else 0)


class State:
    """Whether there is something to read, and who waits for it."""

    def __init__(self):
        self.queue = WaitQueueHead()
        self.is_full = False


def _no_fuse():
    raise FileNotFoundError(2, "No such file or directory", "/dev/fuse")
