"""Remote: an object of a store elsewhere, mapped as if it were memory, in a cache that stays small.

The object may be a file, a page of a web server or an object of S3, HDFS and others: whatever
fsspec reaches by a URL. Nothing of it is here until somebody touches it. A fault fetches a piece of
`ahead` bytes by one range request, which is the touched page and its neighbours (read-ahead), and
keeps it for all programs: they share one cache. When `cache` bytes are there the oldest piece goes:
unmap_mapping_range takes it out of all programs, so that its next touch is a fault again.

A page shows what the object has, or nothing: after each request the object's version (its ETag, or
time and size) is compared with that of the beginning. If the object has changed, is cut off, or the
store fails, the touch is SIGBUS and a read EIO, and the log says why. After a change that stays so
until all programs have closed the device; the next open begins with the new object.

It can be read only. A private mapping can't be made writable either: copies would be lost when
their piece goes.
"""

from __future__ import annotations

import errno
from typing import Any

from mapdev.driver import Driver, parse_size
from mapdev.linux import (
    GFP_COMP,
    GFP_KERNEL,
    GFP_ZERO,
    O_ACCMODE,
    O_RDONLY,
    PAGE_ALIGN,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_SIGBUS,
    VM_MAYWRITE,
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
    memory,
    page_address,
    pfn_to_page,
    put_page,
    unmap_mapping_range,
    vm_flags_clear,
    vm_insert_page,
)
from mapdev.linux.log import log

_VERSION = ("ETag", "etag", "Last-Modified", "LastModified", "mtime", "modified", "size", "ino")


class Remote(Driver):
    """An object of a store, mapped by range requests.

    :ivar pieces: what is here, the oldest first, by number: the first page of each.
    :ivar requests: how many range requests were made.
    """

    mode = 0o444

    def probe(self, url: str = "", cache: int | str = "64M", ahead: int | str = "128K") -> None:
        """Find the object.

        :param url: of the object, as fsspec has them: ``file://``, ``https://``, ``s3://``...
        :param cache: bytes of it that are kept at most.
        :param ahead: bytes of one request, a power of two of pages.
        :raises OSError: EINVAL, there is no URL, or the cache has no room for two pieces; ENOPKG,
            fsspec is not installed; EIO, the store does not answer, or says neither how long the
            object is nor by what to tell a change.
        """
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise OSError(
                errno.ENOPKG, "remote needs fsspec: pip install 'mapdev[remote]'"
            ) from None
        if not url:
            raise OSError(errno.EINVAL, "remote needs the object's address: remote,url=...")
        self.order = get_order(parse_size(ahead))
        self.most = parse_size(cache) >> PAGE_SHIFT + self.order
        if self.most < 2:
            raise OSError(errno.EINVAL, "cache is to have room for two pieces of ahead bytes")
        options = {"skip_instance_cache": True, "use_listings_cache": False}
        self.store, self.path = url_to_fs(url, **options)
        self.pieces: dict[int, Page] = {}
        self.requests = self.users = 0
        self.mapping: AddressSpace | None = None
        self.vm_ops = VmOperationsStruct(fault=self.fault, map_pages=self.map_pages)
        self.begin()

    def remove(self) -> None:
        """Drop what is here."""
        for page in self.pieces.values():
            put_page(page)
        self.pieces.clear()

    def begin(self) -> None:
        """Take the object as it is now."""
        self.version = self.look()
        self.size = int(self.version["size"])
        self.changed = False

    def look(self) -> dict[str, Any]:
        """Return size and version of the object as it is in the store.

        :raises OSError: EIO, it can't be had.
        """
        try:
            self.store.invalidate_cache()
            found = self.store.info(self.path)
        except Exception as error:
            raise OSError(errno.EIO, f"{self.path}: {error!r}") from None
        if found.get("size") is None:
            raise OSError(errno.EIO, f"{self.path}: the store does not say how long it is")
        version = {name: str(found[name]) for name in _VERSION if found.get(name) is not None}
        if len(version) == 1:  # in memory, say: the store may tell when asked
            try:
                version["modified"] = str(self.store.modified(self.path))
            except Exception:
                raise OSError(
                    errno.EIO,
                    f"{self.path}: the store has neither ETag nor time to tell a change by",
                ) from None
        return version

    def piece(self, number: int) -> Page:
        """Return the first page of a piece, which is fetched if it is not here.

        :raises OSError: EIO, it can't be had, and the log says why; ENOMEM.
        """
        if number in self.pieces:
            return self.pieces[number]
        while len(self.pieces) >= self.most:
            self.forget(next(iter(self.pieces)))
        data = self.fetch(number << PAGE_SHIFT + self.order)
        page = alloc_pages(GFP_KERNEL | GFP_COMP | GFP_ZERO, self.order)
        memory(page_address(page), len(data))[:] = data
        self.pieces[number] = page
        return page

    def fetch(self, start: int) -> bytes:
        """Return a piece of the object, as it was at the beginning.

        :raises OSError: EIO, as for `piece`.
        """
        end = min(start + (PAGE_SIZE << self.order), self.size)
        try:
            if self.changed:
                raise OSError(errno.EIO, f"{self.path} has changed; open it anew")
            self.requests += 1
            try:
                data: bytes = self.store.cat_file(self.path, start=start, end=end)
            except Exception as error:
                raise OSError(errno.EIO, f"{self.path}: {error!r}") from None
            if self.look() != self.version:
                self.change()
                raise OSError(errno.EIO, f"{self.path} has changed in the store; open it anew")
            if len(data) != end - start:
                raise OSError(errno.EIO, f"{self.path}: {len(data)} bytes came of {end - start}")
        except OSError as error:
            log.error("remote: %s", error.strerror)
            raise
        return data

    def change(self) -> None:
        """Take what is here out of all programs: it is of an object that is no more."""
        self.changed = True
        for number in list(self.pieces):
            self.forget(number)

    def forget(self, number: int) -> None:
        """Take a piece out of all programs, and drop it."""
        if self.mapping is not None:
            length = PAGE_SIZE << self.order
            unmap_mapping_range(self.mapping, number * length, length)
        put_page(self.pieces.pop(number))

    def open(self, inode: Inode, file: File) -> None:
        """Open it for reading; the first one after all have closed looks whether it has changed.

        :raises OSError: EROFS, it is to be written; EIO, it can't be had.
        """
        if file.f_flags & O_ACCMODE != O_RDONLY:
            raise OSError(errno.EROFS, "it can be read only")
        if not self.users and (self.changed or self.look() != self.version):
            self.change()
            self.begin()
        self.mapping = file.f_mapping
        self.users += 1

    def release(self, inode: Inode, file: File) -> None:
        """Forget one that had it open."""
        self.users -= 1

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Say who is to be asked.

        :raises OSError: EACCES, it is to be written.
        """
        if vma.vm_flags & VM_WRITE:
            raise OSError(errno.EACCES, "it can be read only")
        vm_flags_clear(vma, VM_MAYWRITE)
        vma.vm_ops = self.vm_ops

    def fault(self, vmf: VmFault) -> int:
        """Give the page at `vmf.pgoff`."""
        if vmf.pgoff >= PAGE_ALIGN(self.size) >> PAGE_SHIFT:
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
        for pgoff in range(start_pgoff, min(end_pgoff + 1, PAGE_ALIGN(self.size) >> PAGE_SHIFT)):
            first = self.pieces.get(pgoff >> self.order)
            addr = vma.vm_start + (pgoff - vma.vm_pgoff << PAGE_SHIFT)
            if first is not None and not vma.is_mapped(addr, addr + PAGE_SIZE):
                vm_insert_page(vma, addr, pfn_to_page(first.pfn + pgoff % (1 << self.order)))
        return 0

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return bytes up to the end of one piece.

        :raises OSError: EIO, as for `piece`.
        """
        length = PAGE_SIZE << self.order
        number, offset = divmod(pos, length)
        count = max(0, min(count, length - offset, self.size - pos))
        if not count:
            return b""
        return bytes(memory(page_address(self.piece(number)) + offset, count))

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Move to any place in the object, up to its end."""
        return fixed_size_llseek(file, offset, whence, self.size)
