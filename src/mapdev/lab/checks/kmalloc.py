"""Exercise 1: a buffer from kzalloc, mapped by one remap_pfn_range."""

from __future__ import annotations

from typing import Any

from mapdev.lab.exercises import Step
from mapdev.lab.mistakes import (
    mapped_nothing,
    no_mmap,
    refused_or,
    wrong_address,
    wrong_frame,
    wrong_length,
)
from mapdev.lab.session import Missing, Operation, Session
from mapdev.linux.numbers import PAGE_SIZE

__all__ = ["PAGES", "STEPS", "ask_past_the_end", "buffer_of", "check_lives", "remapped"]

PAGES = 16
_SIZE = PAGES * PAGE_SIZE


def buffer_of(session: Session, pages: int = PAGES) -> dict[str, Any]:
    """Return the allocation that is the device's memory.

    :raises Missing: there is none, or not of that kind.
    """
    found = session.allocations()
    probe = session.last("probe")
    calls = [] if probe is None else probe.calls
    if not found:
        raise Missing(
            f"probe has allocated nothing: the device's memory is {pages} pages from kzalloc. "
            "It is "
            "allocated once, in probe, and not when a program opens or maps the device"
        )
    largest: dict[str, Any] = max(found, key=lambda one: int(one["size"]))
    if largest["kind"] != "kmalloc":
        raise Missing(
            f"the memory is from {largest['kind']}: this exercise wants frames in a row, from "
            "kzalloc"
        )
    if largest["size"] < pages * PAGE_SIZE:
        raise Missing(
            f"kzalloc was asked for {largest['size']} bytes: a mapping shows whole pages, so the "
            f"device's memory is {pages} * PAGE_SIZE = {pages * PAGE_SIZE} bytes. A kernel would "
            "show the program what lies behind"
        )
    if all(call.name not in ("kzalloc", "kcalloc") for call in calls):
        flags = [call.arguments[1] for call in calls if call.name == "kmalloc"]
        if not any(flag & 0x100 for flag in flags):
            raise Missing(
                "kmalloc does not clear memory: in a kernel the program would read what its last "
                "owner left there, keys and passwords among it. kzalloc, or __GFP_ZERO"
            )
    return largest


def remapped(session: Session, allocation: dict[str, Any]) -> Operation:
    """Return the last mmap, which has mapped its area from `allocation` in one piece.

    :raises Missing: it has not; the text names the mistake.
    """
    session.host.settle()
    check_lives(session, allocation)
    operation = session.last("mmap")
    if operation is None:
        raise Missing(no_mmap(operation))
    if mapped_nothing(operation):
        raise Missing(mapped_nothing(operation))
    calls = operation.called("remap_pfn_range")
    if not calls:
        others = operation.called("vm_insert_page", "remap_vmalloc_range", "vm_map_pages")
        if others:
            raise Missing(
                f"{others[0].name} was called: kmalloc'ed memory is mapped by remap_pfn_range"
            )
        raise Missing(refused_or(session, operation, "mmap did not call remap_pfn_range"))
    for problem in (
        wrong_frame(calls[0], operation, allocation),
        wrong_address(calls[0], operation),
        wrong_length(calls[0], operation),
    ):
        if problem:
            raise Missing(problem)
    if operation.result != "0":
        raise Missing(refused_or(session, operation, ""))
    return operation


def check_lives(session: Session, allocation: dict[str, Any]) -> None:
    """Check that the device's memory is still there.

    :raises Missing: it was freed.
    """
    if allocation not in session.allocations():
        names = ("kfree", "kfree_sensitive")
        who = [one.name for one in session.operations() if one.called(*names)]
        raise Missing(
            f"the memory was freed in {who[0] if who else 'an operation'} while the device lives "
            "on: the next program maps frames that belong to somebody else by then (use after "
            "free). What probe allocates goes in remove"
        )


def _refused_at_once(operation: Operation | None) -> bool:
    return (
        operation is not None
        and operation.result.startswith("-1 EINVAL")
        and not any(call.is_error for call in operation.calls)
    )


def _allocated(session: Session) -> None:
    buffer_of(session)


def _mapped(session: Session) -> None:
    allocation = buffer_of(session)
    session.fill(allocation, _SIZE)
    done = session.run(
        f"addr = map_it(open_it(), {PAGES})\n"
        f"for page in range({PAGES}): print(get(addr + page * PAGE))\n"
        "put(addr + 8, 77)"
    )
    operation = session.last("mmap")
    if _refused_at_once(operation):
        raise Missing(
            f"mmap refuses a mapping of exactly the {PAGES} pages that the device has: the check "
            "is for areas that end past the last page, vm_pgoff + vma_pages(vma) > pages"
        )
    remapped(session, allocation)
    numbers = [str(session.number_of(page)) for page in range(PAGES)]
    if done.status or done.out.split() != numbers:
        raise Missing(session.explained("the program does not see the driver's memory"))


def _offset(session: Session) -> None:
    allocation = buffer_of(session)
    session.fill(allocation, _SIZE)
    for pgoff, pages in (3, 2), (PAGES - 1, 1):
        out = session.run(f"print(get(map_it(open_it(), {pages}, {pgoff})))")
        operation = session.last("mmap")
        if _refused_at_once(operation):
            raise Missing(
                f"mmap refuses page {pgoff}, of {PAGES}: the last page that may be mapped is "
                f"number {PAGES - 1}"
            )
        remapped(session, allocation)
        if out.out.split() != [str(session.number_of(pgoff))]:
            raise Missing(session.explained(f"page {pgoff} is not what the program sees there"))


def ask_past_the_end(session: Session, pages: int, prot: str = "RW") -> None:
    """Ask for more than there is.

    :param prot: with which protection.

    :raises Missing: it is not refused with EINVAL.
    """
    asked = ((0, pages + 1), (pages, 1), (pages - 2, 4), (1, pages), ((1 << 48) // PAGE_SIZE, 1))
    for pgoff, count in asked:
        answer = session.output(
            f"print(tried(map_it, open_it(), {count}, {pgoff}, {prot}))"
        ).strip()
        which = f"{count} pages from page {pgoff:#x} on, of a device of {pages}"
        operation = session.last("mmap")
        failed = [call for call in operation.calls if call.is_error] if operation else []
        if answer == "EINVAL" and not failed:
            continue
        if failed:
            raise Missing(
                f"the size check is missing for {which}: the driver called {failed[0].name}, and "
                f"only mapdev refused it ({answer}). A kernel maps it: the program gets whatever "
                "lies behind the device, to read and to write. Refuse it with EINVAL first, if "
                "vma->vm_pgoff + vma_pages(vma) is more than the pages there are"
            )
        if answer == "ok":
            raise Missing(
                f"the size check is missing: {which} were mapped. In a kernel the program would "
                "get whatever lies behind the device. Refuse with EINVAL"
            )
        raise Missing(f"{which}: mmap failed with {answer}; drivers answer EINVAL here")


def _past_the_end(session: Session) -> None:
    buffer_of(session)
    ask_past_the_end(session, PAGES)


def _stays(session: Session) -> None:
    allocation = buffer_of(session)
    out = session.output(
        f"addr = map_it(open_it(), {PAGES}); put(addr, 5); unmap(addr, {PAGES}); print('done')"
    )
    assert out == "done\n"
    session.host.settle()
    check_lives(session, allocation)
    if session.output(f"print(get(map_it(open_it(), {PAGES})))") != "5\n":
        raise Missing("what one program wrote is gone for the next: it is one device, one memory")


STEPS = [
    Step(f"probe allocates {PAGES} pages with kzalloc", _allocated),
    Step("a mapping of the whole device shows the driver's memory", _mapped),
    Step("a mapping from an offset on begins there (vm_pgoff)", _offset),
    Step("a mapping past the end is refused with EINVAL", _past_the_end),
    Step("the memory outlives the programs that map it", _stays),
]
