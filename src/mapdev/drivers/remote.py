"""Remote: an object of a store elsewhere, mapped as if it were memory, in a cache that stays small.

The object may be a file, a page of a web server or an object of S3, GCS, HDFS and others: whatever
fsspec reaches by a URL. Nothing of it is here until somebody touches it. A fault fetches a piece of
`ahead` bytes by one range request, which is the touched page and its neighbours (read-ahead), and
keeps it for all programs: they share one cache. When `cache` bytes are there the oldest piece goes:
unmap_mapping_range takes it out of all programs, so that its next touch is a fault again.

A page shows what the object has, or nothing: after each request the object's version (its ETag, or
time and size) is compared with that of the beginning. If the object has changed, is cut off, or the
store fails, the touch is SIGBUS and a read EIO, and the log says why. After a change that stays so
until all programs have closed the device; the next open begins with the new object.

With ``write=yes`` it can be written, by write(2) and through shared mappings. The first store to a
page is a fault of its own, `page_mkwrite`, which notes that the page is dirty. fsync and msync take
the dirty pages out of all programs, so that the next store is noted again, and write them to the
store; so does the last close, and a cache that is full of them. If that fails the pages stay dirty,
and the next fsync tries again. What it can't be is another length.

A private mapping can't be made writable: copies would be lost when their piece goes.
"""

from __future__ import annotations

import errno

from mapdev.driver import Driver, parse_size
from mapdev.drivers._store import Object
from mapdev.linux import (
    GFP_COMP,
    GFP_KERNEL,
    GFP_ZERO,
    O_ACCMODE,
    O_RDONLY,
    PAGE_ALIGN,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_LOCKED,
    VM_FAULT_NOPAGE,
    VM_FAULT_SIGBUS,
    VM_MAYWRITE,
    VM_SHARED,
    VM_WRITE,
    AddressSpace,
    File,
    Inode,
    Page,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    alloc_pages,
    fixed_size_llseek,
    get_order,
    get_page,
    lock_page,
    memory,
    page_address,
    pfn_to_page,
    put_page,
    unmap_mapping_range,
    vm_flags_clear,
    vm_insert_page,
)
from mapdev.linux.log import log


class Remote(Driver):
    """An object of a store, mapped by range requests.

    :ivar pieces: what is here, the oldest first, by number: the first page of each.
    :ivar dirty: which pages were written here and not in the store, by their offset, in pages.
    :ivar requests: how many range requests were made.
    """

    def probe(
        self, url: str = "", cache: int | str = "64M", ahead: int | str = "128K", write: str = "no"
    ) -> None:
        """Find the object.

        :param url: of the object, as fsspec has them: ``file://``, ``https://``, ``s3://``...
        :param cache: bytes of it that are kept at most.
        :param ahead: bytes of one request, a power of two of pages.
        :param write: "yes" or "no".
        :raises OSError: EINVAL, there is no URL or it names no store, the cache has no room for two
            pieces, or `write` is something else; ENOPKG, a package is missing; EIO, the store does
            not answer, or says neither how long the object is nor by what to tell a change; EACCES,
            EROFS, it is to be written but can't be.
        """
        if not url:
            raise OSError(errno.EINVAL, "remote needs the object's address: remote,url=...")
        if write not in ("yes", "no"):
            raise OSError(errno.EINVAL, f"write is to be yes or no, not {write!r}")
        piece = parse_size(ahead, "ahead")
        if piece < 1:
            raise OSError(errno.EINVAL, "ahead is to be a page or more")
        self.order = get_order(piece)
        self.most = parse_size(cache, "cache") >> PAGE_SHIFT + self.order
        if self.most < 2:
            least = 2 << PAGE_SHIFT + self.order
            raise OSError(errno.EINVAL, "cache is to have room for two pieces of ahead bytes: "
                          f"{least >> 10}K or more, with ahead={ahead}")  # fmt: skip
        self.writable = write == "yes"
        self.object = Object(url, self.writable)
        self.pieces: dict[int, Page] = {}
        self.dirty: set[int] = set()
        self.requests = self.users = 0
        self.mapping: AddressSpace | None = None
        self.vm_ops = VmOperationsStruct(fault=self.fault, map_pages=self.map_pages)
        if self.writable:
            self.vm_ops.page_mkwrite = self.page_mkwrite

    def remove(self) -> None:
        """Write what is dirty, and drop what is here."""
        self.write_or_say()
        self.drop()
        self.object.close()

    # --- the cache --------------------------------------------------------------------------

    @property
    def pages(self) -> int:
        """How many pages the object has."""
        return int(PAGE_ALIGN(self.object.size) >> PAGE_SHIFT)

    def piece(self, number: int) -> Page:
        """Return the first page of a piece, which is fetched if it is not here.

        :raises OSError: EIO, it can't be had, and the log says why; ENOMEM; what `write_back`
            raises, the cache is full of dirty pages.
        """
        if number in self.pieces:
            return self.pieces[number]
        while len(self.pieces) >= self.most:
            clean = next((one for one in self.pieces if not self.dirty_of(one)), None)
            if clean is None:
                self.write_back()
            else:
                self.forget(clean)
        start = number << PAGE_SHIFT + self.order
        self.requests += 1
        try:
            data = self.object.fetch(start, min(start + self.length, self.object.size))
        except OSError:
            if self.object.changed:
                self.forget_clean()
            raise
        page = alloc_pages(GFP_KERNEL | GFP_COMP | GFP_ZERO, self.order)
        memory(page_address(page), len(data))[:] = data
        self.pieces[number] = page
        return page

    @property
    def length(self) -> int:
        """Bytes of a piece."""
        return PAGE_SIZE << self.order

    def dirty_of(self, number: int) -> set[int]:
        """Return which pages of a piece are dirty."""
        return self.dirty & set(range(number << self.order, number + 1 << self.order))

    def hide(self, number: int) -> None:
        """Take a piece out of all programs."""
        if self.mapping is not None:
            unmap_mapping_range(self.mapping, number * self.length, self.length)

    def forget(self, number: int) -> None:
        """Take a piece out of all programs, and drop it."""
        self.hide(number)
        put_page(self.pieces.pop(number))

    def forget_clean(self) -> None:
        """Forget what the store had: it has another object now. What is dirty is nowhere else."""
        for number in list(self.pieces):
            if not self.dirty_of(number):
                self.forget(number)

    def drop(self) -> None:
        """Forget all that is here."""
        if self.dirty:
            log.error("remote: %s: %d pages that were written are lost", self.object.path,
                      len(self.dirty))  # fmt: skip
        self.dirty.clear()
        for number in list(self.pieces):
            self.forget(number)

    def write_back(self) -> None:
        """Write what is dirty to the store.

        Nothing of the old object stays here: whoever comes between this and the next look at the
        store has written something else.

        :raises OSError: EIO, EACCES, EROFS, ENOSPC or EDQUOT: it failed, the log says why, and all
            stay dirty.
        """
        if not self.dirty:
            return
        parts = {}
        for number in {pgoff >> self.order for pgoff in self.dirty}:
            self.hide(number)
        for pgoff in sorted(self.dirty):
            start = pgoff << PAGE_SHIFT
            address = page_address(self.pieces[pgoff >> self.order]) + start % self.length
            parts[start] = bytes(memory(address, min(PAGE_SIZE, self.object.size - start)))
        self.object.replace(parts)
        self.dirty.clear()
        self.drop()

    def write_or_say(self) -> None:
        """Write what is dirty, where nobody can be told of a failure but by the log."""
        try:
            self.write_back()
        except OSError as error:
            log.error("remote: %d pages stay dirty: %s", len(self.dirty), error.strerror)

    # --- file operations --------------------------------------------------------------------

    def open(self, inode: Inode, file: File) -> None:
        """Open it; the first one after all have closed looks whether it has changed.

        :raises OSError: EROFS, it is to be written, but the device is not; EIO, it can't be had.
        """
        if file.f_flags & O_ACCMODE != O_RDONLY and not self.writable:
            log.warning("remote: %s can be read only here: the device has no write=yes",
                        self.object.path)  # fmt: skip
            raise OSError(errno.EROFS, "the device has no write=yes")
        if not self.users and not self.object.is_same():
            self.drop()
            self.object.begin()
        self.mapping = file.f_mapping
        self.users += 1

    def release(self, inode: Inode, file: File) -> None:
        """Forget one that had it open; the last one's data are written."""
        self.users -= 1
        if not self.users:
            self.write_or_say()

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        """Write what is dirty to the store, all of it.

        :raises OSError: as `write_back`.
        """
        self.write_back()

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Say who is to be asked.

        :raises OSError: EACCES, it is to be written, by a device that is not, or in private.
        """
        if not self.writable or not vma.vm_flags & VM_SHARED:
            if vma.vm_flags & VM_WRITE:
                raise OSError(errno.EACCES, "it can be read only")
            vm_flags_clear(vma, VM_MAYWRITE)
        vma.vm_ops = self.vm_ops

    def fault(self, vmf: VmFault) -> int:
        """Give the page at `vmf.pgoff`."""
        if vmf.pgoff >= self.pages:
            return VM_FAULT_SIGBUS
        try:
            first = self.piece(vmf.pgoff >> self.order)
        except OSError:
            return VM_FAULT_SIGBUS
        vmf.page = pfn_to_page(first.pfn + vmf.pgoff % (1 << self.order))
        get_page(vmf.page)
        return 0

    def map_pages(self, vmf: VmFault, start_pgoff: int, end_pgoff: int) -> int:
        """Map neighbours that are here."""
        vma = vmf.vma
        for pgoff in range(start_pgoff, min(end_pgoff + 1, self.pages)):
            first = self.pieces.get(pgoff >> self.order)
            addr = vma.vm_start + (pgoff - vma.vm_pgoff << PAGE_SHIFT)
            if first is not None and not vma.is_mapped(addr, addr + PAGE_SIZE):
                vm_insert_page(vma, addr, pfn_to_page(first.pfn + pgoff % (1 << self.order)))
        return 0

    def page_mkwrite(self, vmf: VmFault) -> int:
        """Note that a page is dirty, before its first store; one that has gone is to come again."""
        if vmf.page is None or vmf.pgoff >> self.order not in self.pieces:
            return VM_FAULT_NOPAGE
        self.dirty.add(vmf.pgoff)
        lock_page(vmf.page)
        return VM_FAULT_LOCKED

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return bytes up to the end of one piece.

        :raises OSError: as `piece`.
        """
        number, offset = divmod(pos, self.length)
        count = max(0, min(count, self.length - offset, self.object.size - pos))
        if not count:
            return b""
        return bytes(memory(page_address(self.piece(number)) + offset, count))

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Take bytes up to the end of one piece, which are dirty then.

        :raises OSError: ENOSPC, `pos` is at the end or past it; as `piece`.
        """
        if pos >= self.object.size:
            raise OSError(errno.ENOSPC, "write at the end of the object")
        number, offset = divmod(pos, self.length)
        data = data[: min(self.length - offset, self.object.size - pos)]
        if data:
            memory(page_address(self.piece(number)) + offset, len(data))[:] = data
            self.dirty.update(range(pos >> PAGE_SHIFT, (pos + len(data) - 1 >> PAGE_SHIFT) + 1))
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Move to any place in the object, up to its end."""
        return fixed_size_llseek(file, offset, whence, self.object.size)
