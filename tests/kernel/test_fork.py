"""fork(): a child sees the parent's frames, page by page, whatever they were mapped by.

fork copies present entries of a large folio in batches, so a compound buffer is what shows a
mistake in how an architecture advances from one entry of a batch to the next.

Source: mm/memory.c, copy_present_ptes; include/linux/pgtable.h, set_ptes
"""

from __future__ import annotations

import os

import pytest

from mapdev.host.kernel import uapi
from mapdev.host.kernel.uapi import PAGE

from .daemon import Daemon, maps
from .test_mmap import mapped


def _tag(page: int) -> bytes:
    return b"page %d" % page


@pytest.mark.parametrize("pages", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", [uapi.MAP_PFN, uapi.MAP_PAGE], ids=["pfn", "page"])
def test_a_child_sees_the_frames_of_its_parent(daemon: Daemon, pages: int, kind: int) -> None:
    """The parent tags each page; the child reports the tags; both leave nothing behind."""
    daemon.create()
    buffer = daemon.alloc(pages, flags=uapi.ALLOC_COMP)
    length = len(_tag(0))

    def client() -> list[bytes]:
        area = mapped(pages)
        for page in range(pages):
            area[page * PAGE : page * PAGE + length] = _tag(page)
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.write(write, b"".join(area[p * PAGE : p * PAGE + length] for p in range(pages)))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        seen = os.read(read, pages * length)
        return [seen[at : at + length] for at in range(0, len(seen), length)]

    assert daemon.run({uapi.MMAP: maps(buffer, kind)}, client) == [_tag(p) for p in range(pages)]
    assert daemon.page(buffer.pfn).refcount == 1
