"""Exercise 5: memory that programs may only read when they share it, and copy when they don't."""

from __future__ import annotations

from mapdev.lab.checks.kmalloc import ask_past_the_end, buffer_of, remapped
from mapdev.lab.exercises import Step
from mapdev.lab.mistakes import no_mmap, refused_or
from mapdev.lab.session import Missing, Session
from mapdev.linux.numbers import PAGE_SIZE

__all__ = ["STEPS"]

_PAGES = 4


def _read(session: Session) -> None:
    allocation = buffer_of(session, _PAGES)
    session.fill(allocation, _PAGES * PAGE_SIZE)
    done = session.run(f"print(get(map_it(open_it(), {_PAGES}, 0, READ)))")
    remapped(session, allocation)
    if done.out.split() != [str(session.number_of(0))]:
        raise Missing(session.explained("the program does not see the driver's memory"))
    ask_past_the_end(session, _PAGES, "READ")


def _shared(session: Session) -> None:
    answer = session.output(f"print(tried(map_it, open_it(), {_PAGES}))").strip()
    operation = session.last("mmap")
    if answer == "ok" or (operation is not None and operation.result == "0"):
        raise Missing(
            "a shared mapping may be written: a program changes the table for all others. "
            "Refuse it "
            "with EACCES if vma.vm_flags has VM_SHARED and VM_WRITE"
        )
    if answer not in ("EACCES", "EPERM"):
        text = f"a shared mapping for writing fails with {answer}; programs expect EACCES"
        raise Missing(refused_or(session, operation, text) if operation else no_mmap(None))


def _later(session: Session) -> None:
    answer = session.output(
        f"addr = map_it(open_it(), {_PAGES}, 0, READ)\nprint(protect(addr, {_PAGES}, RW))"
    ).strip()
    if answer == "ok":
        raise Missing(
            "a program maps it for reading and makes it writable afterwards, by mprotect: that "
            "asks nobody but vm_flags. Take VM_MAYWRITE away from a shared area: "
            "vm_flags_clear(vma, VM_MAYWRITE)"
        )
    if answer != "EACCES":
        raise Missing(f"mprotect fails with {answer}, not EACCES")


def _copied(session: Session) -> None:
    allocation = buffer_of(session, _PAGES)
    session.fill(allocation, _PAGES * PAGE_SIZE)
    done = session.run(f"""
fd = open_it()
mine = map_it(fd, {_PAGES}, 0, RW, PRIVATE)
put(mine + PAGE, 1)
print(get(mine + PAGE), get(map_it(fd, {_PAGES}, 0, READ) + PAGE))
print(get(map_it(fd, {_PAGES}, 0, RW, PRIVATE) + PAGE))
""")
    operation = session.last("mmap")
    if operation is None:
        raise Missing(no_mmap(operation))
    if any("one piece" in line for line in [operation.result, *session.log]):
        raise Missing(
            "remap_pfn_range was called for a part of a private area. The kernel finds the frames "
            "of such an area by its vm_pgoff when it copies one, so it has to be mapped in one "
            "piece: one call, from vm_start on, for all of it"
        )
    if done.status == -11:
        raise Missing(
            "writing into a private mapping is SIGSEGV: VM_WRITE or VM_MAYWRITE was taken from it. "
            "Only shared areas lose VM_MAYWRITE: test VM_SHARED (or VM_MAYSHARE) first"
        )
    if done.status:
        answer = session.run(f"print(tried(map_it, open_it(), {_PAGES}, 0, RW, PRIVATE))").out
        if answer.strip() in ("EACCES", "EPERM"):
            raise Missing(
                "a private mapping for writing is refused. It may be written: what is written goes "
                "to a copy (VM_SHARED is not in its vm_flags)"
            )
        raise Missing(refused_or(session, operation, done.err))
    numbers = [1, session.number_of(1), session.number_of(1)]
    if [int(word) for word in done.out.split()] != numbers:
        raise Missing("a write into a private mapping is to be seen there and nowhere else")


def _copied_in_a_child(session: Session) -> None:
    allocation = buffer_of(session, _PAGES)
    session.fill(allocation, _PAGES * PAGE_SIZE)
    out = session.output(f"""
mine = map_it(open_it(), {_PAGES}, 0, RW, PRIVATE)
put(mine, 5)
if os.fork() == 0:
    put(mine, 6)
    os._exit(0)
os.wait()
print(get(mine), get(mine + 2 * PAGE))
print(protect(map_it(open_it(), {_PAGES}, 0, READ, PRIVATE), {_PAGES}, RW))
""")
    if out.split() == ["5", str(session.number_of(2)), "EACCES"]:
        raise Missing(
            "a private mapping for reading can't be made writable later: VM_MAYWRITE was taken "
            "from it. Only shared areas lose it: test VM_SHARED (or VM_MAYSHARE) first"
        )
    if out.split() != ["5", str(session.number_of(2)), "ok"]:
        raise Missing(f"a child's write shows in its parent, or a page is wrong: {out!r}")


STEPS = [
    Step("a shared mapping for reading shows the driver's memory", _read),
    Step("a shared mapping for writing is refused with EACCES", _shared),
    Step("nor can it be made writable later, by mprotect", _later),
    Step("a private mapping may be written: the program gets a copy of the page", _copied),
    Step("so does a child, and an area that is made writable later", _copied_in_a_child),
]
