"""Exercise 2: a buffer from vzalloc, whose frames are anywhere, mapped page by page."""

from __future__ import annotations

from typing import Any

from mapdev.lab.checks.kmalloc import ask_past_the_end
from mapdev.lab.exercises import Step
from mapdev.lab.mistakes import ANY_FRAME, forgotten_offset, mapped_nothing, no_mmap, refused_or
from mapdev.lab.session import Call, Missing, Operation, Session
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE

__all__ = ["STEPS"]

_PAGES = 16


def _buffer(session: Session) -> dict[str, Any]:
    found = session.allocations()
    if not found:
        raise Missing(
            f"probe has allocated nothing: the device's memory is {_PAGES} pages from vzalloc, "
            "whose address is kept in self.address"
        )
    largest: dict[str, Any] = max(found, key=lambda one: int(one["size"]))
    if largest["kind"] != "vmalloc":
        raise Missing(
            f"the memory is from {largest['kind']}, whose frames are in a row: vzalloc takes "
            "single "
            "frames from anywhere"
        )
    if largest["size"] < _PAGES * PAGE_SIZE:
        raise Missing(
            f"the memory has {largest['size']} bytes; the device is {_PAGES} pages, "
            f"{_PAGES * PAGE_SIZE} bytes"
        )
    return largest


def _frames(allocation: dict[str, Any]) -> list[int]:
    return [pfn for first, count in allocation["runs"] for pfn in range(first, first + count)]


def _explained(session: Session, allocation: dict[str, Any]) -> str:
    """Name the mistake in the last mmap; "" if there is none to be seen in its calls."""
    operation = session.last("mmap")
    if operation is None:
        return no_mmap(operation)
    if text := mapped_nothing(operation):
        return text
    for call in operation.called("virt_to_phys", "virt_to_page"):
        if call.is_error:
            return (
                f"{call.name} was given a vmalloc address. It subtracts where the direct map "
                "begins, so in a kernel its answer for such an address is a wrong frame, without a "
                "word. A vmalloc address is looked up in the page table: vmalloc_to_pfn(address)"
            )
    if operation.called("remap_vmalloc_range"):
        return (
            "remap_vmalloc_range does all of it in one call. Here you are to see what it does: "
            "vmalloc_to_pfn and remap_pfn_range (or vmalloc_to_page and vm_insert_page) a page"
        )
    mapped = operation.called("remap_pfn_range", "vm_insert_page")
    if not mapped:
        return refused_or(
            session, operation, "mmap called neither remap_pfn_range nor vm_insert_page"
        )
    if mapped[0].name == "remap_pfn_range" and mapped[0].arguments[3] > PAGE_SIZE:
        return (
            f"one remap_pfn_range maps {mapped[0].arguments[3] >> PAGE_SHIFT} frames in a row, but "
            "vmalloc's frames are no neighbours: only the first page would be the device's. "
            f"{ANY_FRAME} Go page by page"
        )
    return _about_pages(session, operation, mapped, _frames(allocation))


def _about_pages(
    session: Session, operation: Operation, mapped: list[Call], frames: list[int]
) -> str:
    assert operation.area is not None
    start, end, pgoff, *_ = operation.area
    pages = end - start >> PAGE_SHIFT
    addresses = [call.arguments[1] for call in mapped]
    pfns = [_pfn(call) for call in mapped]
    if len(addresses) > 1 and addresses[0] == addresses[1]:
        return (
            "every page was put at the same user address: it has to grow by PAGE_SIZE with each. "
            "A kernel would BUG on the second, over an entry that is there"
        )
    wanted = frames[pgoff : pgoff + pages]
    if len(pfns) > 1 and len(set(pfns)) == 1:
        return (
            "each page of the area shows the same frame: the kernel address has to grow by "
            "PAGE_SIZE with each page, too"
        )
    if pgoff and pfns[0] == frames[0]:
        return forgotten_offset(pgoff)
    if len(pfns) > 1 and pfns == list(range(pfns[0], pfns[0] + len(pfns))) != wanted[: len(pfns)]:
        return (
            "the frames were counted up from the first one: vmalloc's are no neighbours, look each "
            f"one up by vmalloc_to_pfn. {ANY_FRAME}"
        )
    if operation.result == "0" and len(mapped) < pages:
        return (
            f"{len(mapped)} of {pages} pages were mapped: the program gets SIGBUS on the rest. "
            "Where does the loop end?"
        )
    if operation.result != "0":
        return refused_or(session, operation, "")
    return "" if pfns == wanted else "the pages are not in the order of the kernel's addresses"


def _pfn(call: Call) -> int:
    what = call.arguments[2]
    found: int = what[1] if isinstance(what, list) else what
    return found


def _allocated(session: Session) -> None:
    _buffer(session)


def _mapped(session: Session) -> None:
    _see(session, 0, _PAGES)


def _offset(session: Session) -> None:
    _see(session, 5, 3)


def _see(session: Session, pgoff: int, pages: int) -> None:
    allocation = _buffer(session)
    session.fill(allocation, _PAGES * PAGE_SIZE)
    done = session.run(
        f"addr = map_it(open_it(), {pages}, {pgoff})\n"
        f"for page in range({pages}): print(get(addr + page * PAGE))"
    )
    if text := _explained(session, allocation):
        raise Missing(text)
    numbers = [str(session.number_of(page)) for page in range(pgoff, pgoff + pages)]
    if done.status or done.out.split() != numbers:
        raise Missing(session.explained("the program does not see the driver's memory"))


def _past_the_end(session: Session) -> None:
    _buffer(session)
    ask_past_the_end(session, _PAGES)


STEPS = [
    Step(f"probe allocates {_PAGES} pages with vzalloc", _allocated),
    Step("each page of a mapping shows the frame that vmalloc put there", _mapped),
    Step("a mapping from an offset on begins there (vm_pgoff)", _offset),
    Step("a mapping past the end is refused with EINVAL", _past_the_end),
]
