"""Exercise 4: pages that come when they are touched, and their neighbours with them."""

from __future__ import annotations

from mapdev.lab.exercises import Step
from mapdev.lab.mistakes import no_mmap, refused_or
from mapdev.lab.session import Missing, Operation, Session

__all__ = ["STEPS"]

_PAGES = 64
_NO_USERFAULTFD = (
    "this machine allows no userfaultfd, so that all pages come when a program maps them, and "
    "faults can't be counted: see `mapdev doctor`, or run the exercise as root or in a container "
    "that allows it"
)

_ALLOCATES = (
    "`map_pages` allocates: it gives pages that nobody touched. A kernel asks it under "
    "rcu_read_lock, where nothing may sleep, so it maps only what is there"
)


def _check_around(session: Session) -> None:
    if any(one.called("alloc_page", "alloc_pages") for one in session.operations("vm_map_pages")):
        raise Missing(_ALLOCATES)


def _faults(session: Session) -> list[Operation]:
    return session.operations("vm_fault")


def _check_machine(session: Session) -> None:
    if any("no userfaultfd is allowed" in line for line in session.log):
        raise Missing(_NO_USERFAULTFD)


def _mapped(session: Session) -> None:
    done = session.run(f"map_it(open_it(), {_PAGES})")
    _check_machine(session)
    operation = session.last("mmap")
    if operation is None:
        raise Missing(no_mmap(operation))
    if done.status:
        raise Missing(refused_or(session, operation, "the program failed"))
    if session.allocations():
        raise Missing(
            f"{len(session.allocations())} pages were allocated before anybody touched one: mmap "
            "only sets vma.vm_ops, and `fault` allocates the page that was touched"
        )
    done = session.run(f"get(map_it(open_it(), {_PAGES}))")
    if done.status and not _faults(session):
        raise Missing(
            "a touch is SIGBUS and `fault` was not asked: set vma.vm_ops to a VmOperationsStruct "
            "with fault=self.fault in mmap. In a kernel, too, an area without it has no more pages "
            "than mmap mapped"
        )
    if done.status:
        raise Missing(session.explained(f"a touch of page 0 failed; {_answer(session)}"))


def _answer(session: Session) -> str:
    last = _faults(session)[-1]
    return (
        f"`fault` answered {last.result}. It puts the page into vmf.page and returns 0 "
        "(VM_FAULT_SIGBUS past the end)"
    )


def _touched(session: Session) -> None:
    code = f"""
addr = map_it(open_it(), {_PAGES})
for page in 3, 9, 40: put(addr + page * PAGE, page)
for page in 3, 9, 40: assert get(addr + page * PAGE) == page
ready()
"""
    with session.hold(code):
        allocated, asked = len(session.allocations()), len(_faults(session))
        _check_around(session)
        if allocated > 3:
            raise Missing(f"three pages were touched, and {allocated} allocated: only those")
        if asked > 3:
            raise Missing(f"`fault` was asked {asked} times for three pages")
        counts = {session.frames()[one["runs"][0][0]]["refcount"] for one in session.allocations()}
        _check_references(counts, allocated)
    kept = session.allocations()
    if len(kept) < allocated:
        raise Missing(
            "the pages were freed when the program ended, and the driver still has them in its "
            "table: get_page is missing in `fault`. The kernel takes over one reference with "
            "vmf.page and drops it with the mapping; the next touch would map a frame that belongs "
            "to somebody else by then"
        )


def _check_references(counts: set[int], allocated: int) -> None:
    if counts == {1} or allocated < 3:
        raise Missing(
            "a page that is mapped has page_count 1: get_page is missing in `fault`. One reference "
            "is the driver's, who has the page in its table; one goes with vmf.page to the "
            "mapping, "
            "which drops it. Without it the page is freed at munmap while the driver still has it"
        )
    if counts != {2}:
        raise Missing(
            f"pages that are mapped once have page_count {sorted(counts)}, not 2: too many "
            "get_page, and the page is never freed"
        )


def _shared(session: Session) -> None:
    out = session.output(f"""
fd = open_it()
one, two = map_it(fd, {_PAGES}), map_it(fd, {_PAGES})
put(one, 1); put(two + 8, 2)
print(get(one + 8), get(two))
""")
    if out != "2 1\n":
        raise Missing(
            "two mappings show different pages at the same place of the device: `fault` allocates "
            "anew each time. Keep what you gave, by vmf.pgoff, and give it again"
        )
    out = session.output(f"""
fd = open_it()
one, two = map_it(fd, {_PAGES}), map_it(fd, 8, 20)
put(one + 22 * PAGE, 1); put(two + 2 * PAGE + 8, 2)
print(get(one + 22 * PAGE + 8), get(two + 2 * PAGE))
""")
    if out != "2 1\n":
        raise Missing(
            "page 22 of the device and page 2 of an area from page 20 on are the same, but the "
            "program saw two: the page is vmf.pgoff, which counts from the beginning of the "
            "device (vm_pgoff is in it), not (vmf.address - vm_start) / PAGE_SIZE"
        )
    first = session.output(f"put(map_it(open_it(), {_PAGES}), 11)\nprint('done')")
    assert first == "done\n"
    if session.output(f"print(get(map_it(open_it(), {_PAGES})))") != "11\n":
        raise Missing(
            "what one program wrote is not what the next one sees: the pages belong to the device. "
            "Keep what you gave, by vmf.pgoff"
        )


def _past_the_end(session: Session) -> None:
    done = session.run(f"get(map_it(open_it(), 4, {_PAGES - 2}) + 2 * PAGE)")
    _check_around(session)
    if done.status == 0:
        raise Missing(
            f"a touch of page {_PAGES}, past the end, brought a page: a program can have the "
            "driver "
            "allocate without limit. Return VM_FAULT_SIGBUS if vmf.pgoff is the number of pages or "
            "more"
        )
    operation = session.last("mmap")
    if operation is not None and operation.result != "0":
        raise Missing(
            "mmap refuses an area that ends past the device. It may; but here the end is to be "
            "checked where it matters, in `fault`: files behave so, whose size may change later"
        )
    if done.status != -7:
        raise Missing(session.explained("a touch past the end is to be SIGBUS"))
    log = [line for line in session.log if "Error" in line]
    if log:
        raise Missing(f"`fault` raised {log[0]}: return VM_FAULT_SIGBUS")


def _around(session: Session) -> None:
    session.output(f"""
addr = map_it(open_it(), {_PAGES})
for page in range(32): put(addr + page * PAGE, page + 1)
""")
    session.host.settle()
    before = len(_faults(session))
    out = session.output(f"""
addr = map_it(open_it(), {_PAGES}, 0, READ)
print(sum(get(addr + page * PAGE) for page in range(32)))
get(addr + 50 * PAGE)
""")
    if out.split() != [str(sum(range(1, 33)))]:
        raise Missing(session.explained("with map_pages the program sees other pages than before"))
    around, asked = session.operations("vm_map_pages"), len(_faults(session)) - before
    if not around:
        raise Missing(
            f"32 pages that are there already cost {asked} faults: give `map_pages` to the "
            "VmOperationsStruct, which is asked first when a page is read and may map up to 16 "
            "around it"
        )
    if asked > 1:
        raise Missing(
            f"`map_pages` was asked, and `fault` still {asked} times for pages that were there: "
            "map "
            "each page from start_pgoff to end_pgoff (inclusive) that the table has"
        )
    _check_around(session)
    session.host.settle()
    counts = {session.frames()[one["runs"][0][0]]["refcount"] for one in session.allocations()}
    if counts != {1}:
        raise Missing(
            f"pages that nobody maps have page_count {sorted(counts)}, not 1: vm_insert_page in "
            "`map_pages` takes the mapping's reference itself, get_page there is one too many"
        )


STEPS = [
    Step("mmap maps nothing, and a touch asks `fault`", _mapped),
    Step("each page that is touched costs one page, with two references", _touched),
    Step("a place of the device is one page, whoever touches it", _shared),
    Step("a touch past the end is SIGBUS", _past_the_end),
    Step("`map_pages` gives pages that are there along with their neighbour", _around),
]
