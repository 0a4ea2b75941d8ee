"""Exercise 3: single pages, mapped by vm_insert_page, which counts; each reference is dropped."""

from __future__ import annotations

from mapdev.lab.checks.kmalloc import ask_past_the_end
from mapdev.lab.exercises import Step
from mapdev.lab.mistakes import forgotten_offset, mapped_nothing, no_mmap, refused_or
from mapdev.lab.session import NODE, Missing, Session
from mapdev.linux.numbers import PAGE_SIZE

__all__ = ["STEPS"]

_PAGES = 4
_REPLACE = 0x4C01  # _IO('L', 1)
_TOO_EARLY = (
    "The old page was dropped once too often while a program maps it: it was freed too early. The "
    "mapping's reference is not the driver's to drop; put_page once. A kernel gives the frame to "
    "somebody else, and the program reads and writes theirs"
)


def _frames(session: Session) -> list[int]:
    """Return the frames of the device's pages, in the order in which they were allocated."""
    probe = session.last("probe")
    calls = [] if probe is None else probe.called("alloc_page")
    found = session.allocations()
    if len(calls) == len(found) == _PAGES:
        return [call.result[1] for call in calls]
    if not found:
        raise Missing(
            f"probe has allocated nothing: call alloc_page() {_PAGES} times, and keep the pages in "
            "self.pages"
        )
    if len(found) == 1 and found[0]["size"] >= _PAGES * PAGE_SIZE:
        raise Missing(
            "one block was allocated: its pages have one count together (a compound page) or none "
            f"of their own. Call alloc_page() {_PAGES} times"
        )
    raise Missing(f"probe has made {len(found)} allocations; alloc_page() is to be called {_PAGES} "
                  "times")  # fmt: skip


def _allocated(session: Session) -> None:
    counts = [session.frames()[pfn]["refcount"] for pfn in _frames(session)]
    if counts != [1] * _PAGES:
        raise Missing(
            f"the pages have the reference counts {counts}: alloc_page gives each with one "
            "reference, the driver's, and nobody else has any yet"
        )


def _counted(session: Session) -> None:
    frames = _frames(session)
    code = f"addr = map_it(open_it(), {_PAGES})\nready()\nunmap(addr, {_PAGES})\nready()"
    with session.hold(code) as one:
        _check_mapped(session, frames)
        _check_counts(session, frames, 2, 1)
        with session.hold(code):
            _check_counts(session, frames, 3, 2)
        _check_counts(session, frames, 2, 1)
        one.go_on()
        one.wait_until_ready()
        session.host.settle()
        _check_counts(session, frames, 1, 0)


def _check_mapped(session: Session, frames: list[int]) -> None:
    operation = session.last("mmap")
    if operation is None or (text := mapped_nothing(operation)):
        raise Missing(no_mmap(operation) or text)
    if operation.called("remap_pfn_range"):
        raise Missing(
            "remap_pfn_range maps frames without asking struct page: no count changes, and a page "
            "that is put while it is mapped goes to somebody else under the program's eyes. Use "
            "vm_insert_page"
        )
    inserted = [call.arguments[2][1] for call in operation.called("vm_insert_page")]
    if operation.result != "0" or not inserted:
        raise Missing(refused_or(session, operation, "mmap did not call vm_insert_page"))
    if len(inserted) < len(frames):
        raise Missing(f"{len(inserted)} of {len(frames)} pages were mapped: the rest is SIGBUS")
    if inserted != frames:
        raise Missing("vm_insert_page got the pages in another order than the device has them")


def _check_counts(session: Session, frames: list[int], refs: int, maps: int) -> None:
    now = session.frames()
    for page, pfn in enumerate(frames):
        found = now.get(pfn, {"refcount": 0, "mapcount": 0})
        if (found["refcount"], found["mapcount"]) == (refs, maps):
            continue
        text = (
            f"page {page} has page_count {found['refcount']} and page_mapcount "
            f"{found['mapcount']}; with {maps} mappings it is to have {refs} and {maps}: one "
            "reference is the driver's, one each mapping's. "
        )
        operation = session.last("mmap")
        if operation is not None and operation.called("get_page"):
            text += (
                "vm_insert_page takes the mapping's reference itself: who calls get_page before "
                "has taken another, which nobody drops, and the page is never freed (a leak)"
            )
        raise Missing(text)


def _range(session: Session) -> None:
    frames = _frames(session)
    with session.hold("addr = map_it(open_it(), 2, 1)\nready()"):
        operation = session.last("mmap")
        assert operation is not None
        inserted = [call.arguments[2][1] for call in operation.called("vm_insert_page")]
        if inserted == frames[:2]:
            raise Missing(forgotten_offset(1))
        if inserted != frames[1:3]:
            raise Missing("a mapping of two pages from page 1 on shows others than pages 1 and 2")
    ask_past_the_end(session, _PAGES)


def _replaced(session: Session) -> None:
    old = _frames(session)[1]
    code = (
        f"fd = open_it(); addr = map_it(fd, {_PAGES}); put(addr + PAGE, 7)\n"
        f"print(tried(fcntl.ioctl, fd, {_REPLACE}, 1)); ready()\n"
        "print(get(addr + PAGE), get(map_it(fd, 1, 1))); ready()"
    )
    with session.hold(code) as program:
        operation = session.last("ioctl")
        if operation is not None and any(
            call.is_error for call in operation.called("put_page", "free_page", "__free_page")
        ):
            raise Missing(_TOO_EARLY)
        if program.out != "ok\n":
            raise Missing(f"the ioctl REPLACE, {_REPLACE:#x}, failed with {program.out.strip()}")
        found = session.frames().get(old)
        count = 0 if found is None else found["refcount"]
        if count == 2:
            raise Missing(
                "REPLACE did not drop the driver's reference to the old page (put_page): when the "
                "program unmaps it, one reference is left that nobody has, and it is never freed"
            )
        if count != 1:
            raise Missing(f"the old page has page_count {count}. {_TOO_EARLY}")
        program.go_on()
        program.wait_until_ready()
        if program.out.split()[1:] != ["7", "0"]:
            raise Missing(
                "after REPLACE the old mapping is to show the old page, a new one the new page, "
                f"cleared: the program saw {program.out.split()[1:]}, not 7 and 0"
            )
    if old in session.frames():
        raise Missing("the old page is not free after its last mapping has gone")


def _removed(session: Session) -> None:
    session.output(f"fcntl.ioctl(open_it(), {_REPLACE}, 2)")
    session.host.settle()
    session.host.remove(NODE)
    operation = session.last("remove")
    names = ("put_page", "free_page", "free_pages", "__free_page", "__free_pages")
    dropped = [] if operation is None else operation.called(*names)
    if any(call.is_error for call in dropped):
        raise Missing("remove drops a page that is free already: a kernel reports a bad page")
    if len(dropped) < _PAGES:
        raise Missing(
            f"remove drops its reference to {len(dropped)} of {_PAGES} pages (put_page). mapdev "
            "gives back what probe allocated; a kernel does not: they are lost until it boots again"
        )


STEPS = [
    Step(f"probe allocates {_PAGES} pages, each with one reference", _allocated),
    Step("each mapping counts: page_count and page_mapcount", _counted),
    Step("a mapping shows the pages that it asked for, and none past the end", _range),
    Step("REPLACE puts a page that is mapped, and takes another in its place", _replaced),
    Step("remove drops the driver's references", _removed),
]
