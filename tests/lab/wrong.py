"""Wrong solutions: what is changed in the right one, and what the check has to say of it."""

from __future__ import annotations

from typing import NamedTuple


class Wrong(NamedTuple):
    """A wrong solution.

    :ivar changes: pairs of text in the solution, and what is there instead.
    :ivar says: words of the message, which name the mistake.
    """

    exercise: int
    name: str
    changes: tuple[tuple[str, str], ...]
    says: tuple[str, ...]


def wrong(exercise: int, name: str, *what: str) -> Wrong:
    """Make one: pairs of old and new text, then the words of the message."""
    pairs = tuple(zip(what[:-1:2], what[1:-1:2], strict=True))
    return Wrong(exercise, name, pairs, tuple(what[-1].split(" ... ")))


PFN = "pfn = (virt_to_phys(self.address) >> PAGE_SHIFT) + vma.vm_pgoff"
CHECK1 = "if vma.vm_pgoff + vma_pages(vma) > SIZE >> PAGE_SHIFT:"
CHECK3 = "if vma.vm_pgoff + vma_pages(vma) > PAGES:"
CHECK8 = "if vma.vm_pgoff + vma_pages(vma) > self.size >> PAGE_SHIFT:"
MMAP = "def mmap(self, file: File, vma: VmAreaStruct) -> None:"
INSERT = "vm_insert_page(vma, vma.vm_start + number * PAGE_SIZE, page)"
REMOVE = "    def remove(self) -> None:"

WRONG = [
    # 1: kmalloc and remap_pfn_range
    wrong(1, "kmalloc", "kzalloc", "kmalloc", "kmalloc does not clear memory"),
    wrong(1, "vmalloc", "kzalloc(SIZE, GFP_KERNEL)", "__import__('mapdev.linux').linux.vzalloc(SIZE)",
          "the memory is from vmalloc"),
    wrong(1, "too little", "kzalloc(SIZE", "kzalloc(SIZE // 4", "kzalloc was asked for"),
    wrong(1, "address as pfn", PFN, "pfn = self.address + vma.vm_pgoff",
          "the kernel address ... as a frame number ... virt_to_phys"),
    wrong(1, "virtual pfn", PFN, "pfn = (self.address >> PAGE_SHIFT) + vma.vm_pgoff",
          "A kernel address is a virtual one: virt_to_phys() first"),
    wrong(1, "physical address", PFN, "pfn = virt_to_phys(self.address) + vma.vm_pgoff",
          "the physical address ... >> PAGE_SHIFT"),
    wrong(1, "missing vm_pgoff", PFN, "pfn = virt_to_phys(self.address) >> PAGE_SHIFT",
          "vm_pgoff is forgotten"),
    wrong(1, "vm_pgoff in bytes", "+ vma.vm_pgoff\n", "+ (vma.vm_pgoff << PAGE_SHIFT)\n",
          "vm_pgoff is in pages"),
    wrong(1, "length in pages", "vma.vm_end - vma.vm_start", "vma_pages(vma)",
          "that is the area's length in pages"),
    wrong(1, "one page", "vma.vm_end - vma.vm_start", "PAGE_SIZE", "only the first page of 16"),
    wrong(1, "length of the device", "vma.vm_end - vma.vm_start", "SIZE", "past the area's end"),
    wrong(1, "from 0 on", "remap_pfn_range(vma, vma.vm_start, pfn", "remap_pfn_range(vma, 0, pfn",
          "the area begins at vma->vm_start"),
    wrong(1, "no size check", CHECK1, "if False:", "the size check is missing ... A kernel maps it"),
    wrong(1, "length checked only", CHECK1, "if vma_pages(vma) > SIZE >> PAGE_SHIFT:",
          "the size check is missing for 1 pages from page 0x10 on"),
    wrong(1, "offset checked only", CHECK1, "if vma.vm_pgoff >= SIZE >> PAGE_SHIFT:",
          "the size check is missing for 17 pages from page 0x0 on"),
    wrong(1, "off by one", "> SIZE >> PAGE_SHIFT", ">= SIZE >> PAGE_SHIFT",
          "refuses a mapping of exactly the 16 pages"),
    wrong(1, "another errno", "errno.EINVAL", "errno.ENOMEM", "mmap failed with ENOMEM ... EINVAL"),
    wrong(1, "freed in release", REMOVE, "    def release(self, inode, file) -> None:",
          "freed in release ... use after free"),
    wrong(1, "no mmap", MMAP, "def no_mmap(self, file: File, vma: VmAreaStruct) -> None:",
          "no mmap operation ... ENODEV"),
    wrong(1, "a name that is not there", PFN, "pfn = nothing", "NameError ... line"),
    # 2: vmalloc
    wrong(2, "kmalloc", "vzalloc(SIZE)", "__import__('mapdev.linux').linux.kzalloc(SIZE, 0xcc0)",
          "frames are in a row: vzalloc takes"),
    wrong(2, "virt_to_phys", "vmalloc_to_pfn(address)", "virt_to_phys(address) >> PAGE_SHIFT",
          "    vmalloc_to_pfn,\n", "    virt_to_phys,\n",
          "virt_to_phys was given a vmalloc address"),
    wrong(2, "in one piece", "range(vma.vm_start, vma.vm_end, PAGE_SIZE)", "(vma.vm_start,)",
          "pfn, PAGE_SIZE,", "pfn, vma.vm_end - vma.vm_start,",
          "vmalloc's frames are no neighbours"),
    wrong(2, "frames counted up", "pfn = vmalloc_to_pfn(address)",
          "pfn = vmalloc_to_pfn(self.address) + (user - vma.vm_start >> PAGE_SHIFT)",
          "the frames were counted up from the first one"),
    wrong(2, "kernel address stays", "address += PAGE_SIZE", "address += 0",
          "shows the same frame"),
    wrong(2, "user address stays", "remap_pfn_range(vma, user,", "remap_pfn_range(vma, vma.vm_start,",
          "put at the same user address"),
    wrong(2, "missing vm_pgoff", "self.address + (vma.vm_pgoff << PAGE_SHIFT)", "self.address",
          "vm_pgoff is forgotten"),
    wrong(2, "a page short", "vma.vm_end, PAGE_SIZE)", "vma.vm_end - PAGE_SIZE, PAGE_SIZE)",
          "15 of 16 pages were mapped"),
    wrong(2, "no size check", CHECK1, "if False:", "the size check is missing"),
    # 3: struct page
    wrong(3, "remap_pfn_range", INSERT,
          "remap_pfn_range(vma, vma.vm_start + number * PAGE_SIZE, page.pfn, PAGE_SIZE, "
          "vma.vm_page_prot)", "    put_page,\n", "    put_page,\n    remap_pfn_range,\n",
          "remap_pfn_range maps frames without asking struct page"),
    wrong(3, "extra get_page", INSERT, f"get_page(page)\n            {INSERT}",
          "    put_page,\n", "    get_page,\n    put_page,\n",
          "vm_insert_page takes the mapping's reference itself ... leak"),
    wrong(3, "one block", "[alloc_page() for _ in range(PAGES)]",
          "list(map(pfn_to_page, range((first := alloc_pages(0xcc0, 2).pfn), first + 4)))",
          "    put_page,\n", "    alloc_pages,\n    pfn_to_page,\n    put_page,\n",
          "one block was allocated"),
    wrong(3, "missing vm_pgoff", "self.pages[vma.vm_pgoff + number]", "self.pages[number]",
          "vm_pgoff is forgotten"),
    wrong(3, "no size check", CHECK3, "if False:", "mmap failed with EIO"),
    wrong(3, "missing put_page in the ioctl", "        put_page(self.pages[number])\n", "",
          "did not drop the driver's reference ... never freed"),
    wrong(3, "freed too early", "        put_page(self.pages[number])\n",
          "        put_page(self.pages[number])\n        put_page(self.pages[number])\n",
          "it was freed too early"),
    wrong(3, "missing put_page in remove", "            put_page(page)\n", "            pass\n",
          "remove drops its reference to 0 of 4 pages"),
    # 4: faults
    wrong(4, "no vm_ops", "vma.vm_ops = self.vm_ops", "pass", "`fault` was not asked"),
    wrong(4, "allocated in mmap", "vma.vm_ops = self.vm_ops",
          "vma.vm_ops = self.vm_ops; self.pages = {at: alloc_page() for at in range(PAGES)}",
          "allocated before anybody touched one"),
    wrong(4, "missing get_page", "        get_page(vmf.page)\n", "", "get_page is missing in `fault`"),
    wrong(4, "get_page twice", "        get_page(vmf.page)\n",
          "        get_page(vmf.page)\n        get_page(vmf.page)\n", "too many get_page"),
    wrong(4, "by the address", "        if vmf.pgoff not in self.pages:\n",
          "        at = vmf.address - vmf.vma.vm_start >> PAGE_SHIFT\n"
          "        if at not in self.pages:\n",
          "self.pages[vmf.pgoff] = alloc_page()", "self.pages[at] = alloc_page()",
          "vmf.page = self.pages[vmf.pgoff]", "vmf.page = self.pages[at]",
          "the page is vmf.pgoff, which counts from the beginning of the device"),
    wrong(4, "a new page each time", "if vmf.pgoff not in self.pages:", "if True:",
          "`fault` allocates anew each time"),
    wrong(4, "no end", "if vmf.pgoff >= PAGES:", "if False:", "Return VM_FAULT_SIGBUS"),
    wrong(4, "off by one", "if vmf.pgoff >= PAGES:", "if vmf.pgoff > PAGES:",
          "a touch of page 64, past the end, brought a page"),
    wrong(4, "no map_pages", ", map_pages=self.map_pages", "", "give `map_pages` to the"),
    wrong(4, "map_pages allocates", "if pgoff in self.pages and not",
          "self.pages.setdefault(pgoff, None) or self.pages.update({pgoff: alloc_page()})\n"
          "            if not", "`map_pages` allocates"),
    wrong(4, "map_pages counts", "vm_insert_page(vma, addr, self.pages[pgoff])",
          "get_page(self.pages[pgoff]); vm_insert_page(vma, addr, self.pages[pgoff])",
          "get_page there is one too many"),
    wrong(4, "no page", "        vmf.page = self.pages[vmf.pgoff]\n        get_page(vmf.page)\n", "",
          "set no page"),
    # 5: private
    wrong(5, "shared writes", "if vma.vm_flags & VM_WRITE:", "if False:",
          "a shared mapping may be written"),
    wrong(5, "VM_MAYWRITE stays", "            vm_flags_clear(vma, VM_MAYWRITE)\n", "",
          "Take VM_MAYWRITE away"),
    wrong(5, "VM_MAYWRITE for all", "            vm_flags_clear(vma, VM_MAYWRITE)\n",
          "        vm_flags_clear(vma, VM_MAYWRITE)\n", "Only shared areas lose"),
    wrong(5, "private writes refused", "            if vma.vm_flags & VM_WRITE:\n"
          "                raise OSError(errno.EACCES, \"shared for reading only\")\n",
          "            pass\n        if vma.vm_flags & VM_WRITE:\n"
          "            raise OSError(errno.EACCES, \"for reading only\")\n"
          "        if vma.vm_flags & VM_SHARED:\n", "a private mapping for writing is refused"),
    wrong(5, "page by page", "        size = vma.vm_end - vma.vm_start\n        remap_pfn_range("
          "vma, vma.vm_start, pfn, size, vma.vm_page_prot)",
          "        if vma.vm_flags & VM_SHARED or not vma.vm_flags & VM_WRITE:\n"
          "            remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, "
          "vma.vm_page_prot)\n            return\n"
          "        for user in range(vma.vm_start, vma.vm_end, PAGE_SIZE):\n"
          "            remap_pfn_range(vma, user, pfn, PAGE_SIZE, vma.vm_page_prot)\n"
          "            pfn += 1", "it has to be mapped in one piece"),
    wrong(5, "no size check", CHECK1, "if False:", "the size check is missing"),
    # 6: areas
    wrong(6, "mmap not counted", "        vma.vm_ops = self.vm_ops\n        self.areas += 1\n",
          "        vma.vm_ops = self.vm_ops\n", "not called for the area that mmap makes"),
    wrong(6, "no open", "open=self.vm_open, ", "", "fork copies the area and calls vm_ops->open"),
    wrong(6, "no close", ", close=self.vm_close", "", "`close` of the VmOperationsStruct"),
    wrong(6, "freed at the first close", "if not self.areas:\n            for page",
          "if self.pages:\n            for page", "freed too early"),
    wrong(6, "missing put_page", "                put_page(page)\n", "                pass\n",
          "a leak"),
    wrong(6, "allocated anew", "if not self.areas:\n            self.pages = [",
          "if True:\n            self.pages = [", "sees other memory than the first one"),
    # 7: caching
    wrong(7, "registers cached", "prot = pgprot_noncached(prot)", "pass",
          "registers are mapped cached"),
    wrong(7, "registers write-combined", "prot = pgprot_noncached(prot)",
          "prot = pgprot_writecombine(prot)", "registers are mapped write-combined"),
    wrong(7, "screen cached", "prot = pgprot_writecombine(prot)", "pass",
          "the screen is mapped cached"),
    wrong(7, "screen uncached", "prot = pgprot_writecombine(prot)",
          "prot = pgprot_noncached(prot)", "the screen is mapped uncached"),
    wrong(7, "all uncached", "kind, prot = self.region_of(vma), vma.vm_page_prot",
          "kind, prot = self.region_of(vma), pgprot_noncached(vma.vm_page_prot)",
          "the buffer is ordinary memory and mapped uncached"),
    wrong(7, "across regions", "<= first + pages", "<= first + pages + 1", "it must lie in one region"),
    # 8: what goes wrong
    wrong(8, "not whole pages", "PAGE_ALIGN(parse_size(size))", "parse_size(size)",
          "PAGE_ALIGN(size)"),
    wrong(8, "not cleared", "kzalloc", "kmalloc", "kmalloc does not clear memory"),
    wrong(8, "read past the end", "return self.data[pos : pos + count]",
          "return memory(self.address + pos, count)", "read does not stop ... Heartbleed"),
    wrong(8, "write past the end", "data = data[: self.size - pos]\n        self.data[pos : pos + "
          "len(data)] = data", "memory(self.address + pos, len(data))[:] = data",
          "write does not stop at the end"),
    wrong(8, "virtual pfn", PFN, "pfn = self.address >> PAGE_SHIFT", "virt_to_phys() first"),
    wrong(8, "missing vm_pgoff", " + vma.vm_pgoff\n", "\n", "vm_pgoff is forgotten"),
    wrong(8, "no size check", CHECK8, "if False:", "the size check is missing"),
    wrong(8, "freed in release", REMOVE, "    def release(self, inode, file) -> None:",
          "freed in release"),
    wrong(8, "never freed", "        kfree(self.address)\n", "        pass\n",
          "remove frees nothing"),
]  # fmt: skip
