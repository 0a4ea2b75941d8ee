"""Exercise 6: how many areas there are, by vm_ops->open and close, and when memory may go."""

from __future__ import annotations

from mapdev.lab.checks.kmalloc import ask_past_the_end
from mapdev.lab.exercises import Step
from mapdev.lab.mistakes import mapped_nothing, no_mmap, refused_or
from mapdev.lab.session import Missing, Session

__all__ = ["STEPS"]

_PAGES = 4
_MAP = f"addr = map_it(open_it(), {_PAGES})\n"

_TOO_EARLY = (
    "a program unmapped one page of four, and the driver has freed its memory: `close` is called "
    "for each area that goes, and others are left. Free at the last one only (freed too early: the "
    "next program gets other memory than this one has, or in C a page that is somebody else's)"
)


def _areas(session: Session) -> int:
    session.host.settle()
    count = getattr(session.driver, "areas", None)
    if not isinstance(count, int):
        raise Missing("self.areas, the number of areas of the device, is no number")
    return count


def _check_mapped(session: Session) -> None:
    operation = session.last("mmap")
    if operation is None or (text := mapped_nothing(operation)):
        raise Missing(no_mmap(operation) or text)
    if operation.result != "0":
        raise Missing(refused_or(session, operation, ""))


def _counted(session: Session) -> None:
    done = session.run(_MAP)
    _check_mapped(session)
    if done.status:
        raise Missing(session.explained("the program failed"))
    with session.hold(_MAP + "ready()"):
        count = _areas(session)
        if count <= 0:
            raise Missing(
                f"a program maps the device, and self.areas is {count}. vm_ops->open is not called "
                "for the area that mmap makes, only for those that come of it: mmap counts it "
                "itself"
            )
        if count > 1:
            raise Missing(
                f"after two programs, of which one has ended, self.areas is {count} and not 1: "
                "`close` of the VmOperationsStruct is to count down. Did mmap set vma.vm_ops?"
            )
    if _areas(session) != 0:
        raise Missing(f"no area is left, and self.areas is {_areas(session)}")
    ask_past_the_end(session, _PAGES)


def _forked(session: Session) -> None:
    code = (
        _MAP
        + """
child = os.fork()
if child == 0:
    signal.pause()
    os._exit(0)
ready()
os.kill(child, 9); os.waitpid(child, 0)
print('gone', flush=True); ready()
"""
    )
    with session.hold(code) as program:
        count = _areas(session)
        if count != 2:
            raise Missing(
                f"a program and its child map the device, and self.areas is {count}: fork copies "
                "the area and calls vm_ops->open for the copy. Without `open` the child's `close` "
                "is counted all the same, the count reaches 0 while the parent still maps the "
                "memory, and it is freed under it"
            )
        program.go_on()
        program.wait_until_ready()
        if _areas(session) != 1:
            raise Missing(f"the child has ended, and self.areas is {_areas(session)}, not 1")


def _split(session: Session) -> None:
    code = (
        _MAP
        + """
unmap(addr + PAGE, 1); print('hole'); ready()
other = map_it(open_it(), 4); print(protect(other + PAGE, 1, READ)); ready()
print(protect(other + PAGE, 1, RW)); ready()
"""
    )
    with session.hold(code) as program:
        if not session.allocations():
            raise Missing(_TOO_EARLY)
        if _areas(session) != 2:
            raise Missing(
                "munmap of a page in the middle splits an area in two: `open` is called for the "
                "new "
                f"one, `close` for what is cut out. self.areas is {_areas(session)}, not 2"
            )
        for what in "mprotect of a page in the middle", "mprotect back":
            program.go_on()
            program.wait_until_ready()
            if _areas(session) != 5:
                raise Missing(
                    f"{what}: self.areas is {_areas(session)}, not 5. The area is split in three, "
                    "and the kernel does not merge areas of a driver that has `close`, or that are "
                    "VM_PFNMAP or VM_MIXEDMAP"
                )
    if _areas(session) != 0:
        raise Missing(f"no area is left, and self.areas is {_areas(session)}")


def _lives_as_long(session: Session) -> None:
    if session.allocations():
        raise Missing(
            "memory was allocated in probe: here the first mmap allocates it, and the last `close` "
            "frees it"
        )
    with session.hold(_MAP + "put(addr, 9); unmap(addr + PAGE, 1); ready()"):
        if not session.allocations():
            raise Missing(_TOO_EARLY)
        seen = session.output(_MAP + "print(get(addr))")
        if seen != "9\n":
            raise Missing(
                "a second program sees other memory than the first one, who still maps it: mmap "
                "allocates only if there is none"
            )
    session.host.settle()
    if session.allocations():
        raise Missing(
            f"no area is left, and {len(session.allocations())} allocations are: the last `close` "
            "is to drop them (put_page). What operations allocate nobody else frees: a leak"
        )
    if session.output(_MAP + "print(get(addr))") != "0\n":
        raise Missing("the next program is to get new memory, cleared")


STEPS = [
    Step("mmap counts its area, and close counts it down", _counted),
    Step("fork copies an area, which is counted", _forked),
    Step("munmap and mprotect split areas, which are counted and do not merge", _split),
    Step("the memory comes with the first area and goes with the last", _lives_as_long),
]
