"""Exercise 7: registers uncached, a screen write-combined, ordinary memory cached."""

from __future__ import annotations

from mapdev.lab.checks.kmalloc import buffer_of, remapped
from mapdev.lab.exercises import Step
from mapdev.lab.mistakes import refused_or
from mapdev.lab.session import Missing, Session
from mapdev.linux.mapping import CACHE_MASK, CACHE_UNCACHED, CACHE_WRITECOMBINE
from mapdev.linux.numbers import PAGE_SIZE

__all__ = ["STEPS"]

_REGISTERS, _SCREEN, _BUFFER, _PAGES = 0, 1, 9, 13  # where each begins, and the end
_MODES = {0: "cached", CACHE_UNCACHED: "uncached", CACHE_WRITECOMBINE: "write-combined"}
_WHY = {
    (_REGISTERS, 0): "registers are mapped cached. A store may stay in the cache for ever and a "
    "load may be answered from there, so that the device hears of neither; on arm64 that is "
    "not even ordered. pgprot_noncached(vma->vm_page_prot)",
    (_REGISTERS, CACHE_WRITECOMBINE): "registers are mapped write-combined. Stores wait in a "
    "buffer, are joined and come in any order: a device that is told to start before it is told "
    "what is lost. pgprot_noncached",
    (_SCREEN, CACHE_UNCACHED): "the screen is mapped uncached: each store is a transaction of its "
    "own on the bus, some ten times slower than need be. Nobody reads it back and order does not "
    "matter: pgprot_writecombine",
    (_SCREEN, 0): "the screen is mapped cached: what a program draws shows when the cache feels "
    "like it, line by line. pgprot_writecombine",
    (_BUFFER, CACHE_UNCACHED): "the buffer is ordinary memory and mapped uncached: slow, and a "
    "second view of memory that the kernel itself has cached, in its direct map. The two may "
    "differ (on arm64 that is undefined). vma->vm_page_prot as it is",
    (_BUFFER, CACHE_WRITECOMBINE): "the buffer is ordinary memory and mapped write-combined: reads "
    "are as slow as uncached ones, and the kernel's own view, which is cached, may differ. "
    "vma->vm_page_prot as it is",
}


def _ask(session: Session, region: int, offset: int, pages: int, wanted: int) -> None:
    allocation = buffer_of(session, _PAGES)
    session.fill(allocation, _PAGES * PAGE_SIZE)
    page = region + offset
    done = session.run(f"print(get(map_it(open_it(), {pages}, {page})))")
    operation = session.last("mmap")
    if operation is not None and operation.called("vm_iomap_memory"):
        raise Missing("vm_iomap_memory takes no protection: set vma.vm_page_prot before, or use "
                      "remap_pfn_range")  # fmt: skip
    if operation is not None:
        calls = operation.called("remap_pfn_range", "io_remap_pfn_range")
        operation = operation._replace(
            calls=[call._replace(name="remap_pfn_range") for call in calls] or operation.calls
        )
        if calls and calls[0].arguments[4] & CACHE_MASK != wanted:
            mode = calls[0].arguments[4] & CACHE_MASK
            raise Missing(_WHY.get((region, mode), f"page {page} is mapped {_MODES.get(mode)}"))
        if not calls and operation.result != "0":
            raise Missing(refused_or(session, operation, ""))
    if operation is None or not operation.calls:
        remapped(session, allocation)
    if done.out.split() != [str(session.number_of(page))]:
        raise Missing(
            session.explained(f"page {page} of the device is not what the program sees there")
        )


def _registers(session: Session) -> None:
    _ask(session, _REGISTERS, 0, 1, CACHE_UNCACHED)


def _screen(session: Session) -> None:
    _ask(session, _SCREEN, 0, 8, CACHE_WRITECOMBINE)
    _ask(session, _SCREEN, 3, 2, CACHE_WRITECOMBINE)


def _buffer(session: Session) -> None:
    _ask(session, _BUFFER, 0, 4, 0)
    _ask(session, _BUFFER, 3, 1, 0)


def _across(session: Session) -> None:
    for first, pages in (0, 2), (0, _PAGES), (8, 2), (1, 9), (_PAGES, 1), (12, 2):
        answer = session.output(f"print(tried(map_it, open_it(), {pages}, {first}))").strip()
        if answer != "EINVAL":
            raise Missing(
                f"{pages} pages from page {first} on: mmap answers {answer}, not EINVAL. An area "
                "has "
                "one cache mode, so it must lie in one region; past the end there is none"
            )


STEPS = [
    Step("page 0, the registers, is uncached", _registers),
    Step("pages 1 to 8, the screen, are write-combined", _screen),
    Step("pages 9 to 12, the buffer, are cached", _buffer),
    Step("a mapping across regions, or past the end, is refused with EINVAL", _across),
]
