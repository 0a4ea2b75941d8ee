"""Exercise 8: a driver in which each line that matters is wrong; its mistakes, one by one."""

from __future__ import annotations

from mapdev.lab.checks.kmalloc import ask_past_the_end, buffer_of, remapped
from mapdev.lab.exercises import Step
from mapdev.lab.session import Missing, Session
from mapdev.linux.numbers import PAGE_SIZE

__all__ = ["STEPS"]

_PAGES = 5  # of 20,000 bytes
_SIZE = _PAGES * PAGE_SIZE


def _size(session: Session) -> None:
    calls = [call for one in session.operations("probe") for call in one.calls]
    sizes = [call.arguments[0] for call in calls if call.name in ("kmalloc", "kzalloc")]
    if sizes and sizes[0] % PAGE_SIZE:
        raise Missing(
            f"{sizes[0]} bytes are allocated: a mapping shows whole pages, and the rest of the "
            "last "
            "one is somebody else's memory, which the program then reads and writes. "
            "PAGE_ALIGN(size)"
        )
    allocation = buffer_of(session, _PAGES)
    if (found := getattr(session.driver, "size", None)) != _SIZE:
        raise Missing(f"self.size is {found}: it is the whole pages that there are, {_SIZE}")
    assert allocation["size"] >= _SIZE


def _read(session: Session) -> None:
    session.fill(buffer_of(session, _PAGES), _SIZE)
    answers = session.output(f"""
fd = open_it()
def read(count, at):
    try: return str(len(os.pread(fd, count, at)))
    except OSError as error: return errno.errorcode[error.errno]
print(read(100, 0), read(100, {_SIZE} - 30), read(100, {_SIZE}), read(100, {_SIZE} + PAGE))
""").split()
    if answers[0] != "100":
        raise Missing(session.explained(f"read of 100 bytes answers {answers[0]}"))
    if answers[1:] != ["30", "0", "0"]:
        raise Missing(
            "read does not stop at the end of the device: with 30 bytes left, at the end and past "
            f"it, 100 bytes give {', '.join(answers[1:])}, not 30, 0, 0. mapdev refuses memory "
            "that "
            "nobody has allocated; in a kernel copy_to_user hands out whatever lies behind the "
            "buffer: keys, other programs' data (as Heartbleed did)"
        )


def _write(session: Session) -> None:
    answers = session.output(f"""
fd = open_it()
def write(count, at):
    try: return str(os.pwrite(fd, bytes(count), at))
    except OSError as error: return errno.errorcode[error.errno]
print(write(100, 0), write(100, {_SIZE} - 30), write(100, {_SIZE}))
""").split()
    if answers[0] != "100":
        raise Missing(session.explained(f"write of 100 bytes answers {answers[0]}"))
    if answers[1:] != ["30", "ENOSPC"]:
        raise Missing(
            "write does not stop at the end of the device: with 30 bytes left, and at the end, 100 "
            f"bytes give {', '.join(answers[1:])}, not 30 and ENOSPC. In a kernel copy_from_user "
            "writes over what lies behind the buffer: another object of the heap, which is how "
            "machines are taken over"
        )


def _mapped(session: Session) -> None:
    allocation = buffer_of(session, _PAGES)
    session.fill(allocation, _SIZE)
    done = session.run(f"print(get(map_it(open_it(), {_PAGES}) + 2 * PAGE))")
    remapped(session, allocation)
    if done.out.split() != [str(session.number_of(2))]:
        raise Missing(session.explained("the program does not see the driver's memory"))


def _offset(session: Session) -> None:
    allocation = buffer_of(session, _PAGES)
    session.fill(allocation, _SIZE)
    done = session.run("print(get(map_it(open_it(), 2, 3)))")
    remapped(session, allocation)
    if done.out.split() != [str(session.number_of(3))]:
        raise Missing(session.explained("page 3 is not what the program sees there"))


def _past_the_end(session: Session) -> None:
    ask_past_the_end(session, _PAGES)


def _lifetime(session: Session) -> None:
    allocation = buffer_of(session, _PAGES)
    session.output("os.close(open_it())")
    session.host.settle()
    if allocation not in session.allocations():
        raise Missing(
            "the buffer is freed in release, when one program closes the device: others map it, "
            "and "
            "the device lives on (use after free). It goes in remove"
        )
    session.host.remove("/dev/lab")
    operation = session.last("remove")
    if operation is None or not operation.called("kfree"):
        raise Missing(
            "remove frees nothing. mapdev gives back what probe allocated; a kernel does not, and "
            "each rmmod would lose the buffer: kfree(self.address)"
        )


STEPS = [
    Step("the buffer is cleared, and whole pages", _size),
    Step("read stops at the end", _read),
    Step("write stops at the end", _write),
    Step("a mapping shows the buffer's frames", _mapped),
    Step("a mapping from an offset on begins there", _offset),
    Step("a mapping past the end is refused", _past_the_end),
    Step("the buffer lives as long as the device", _lifetime),
]
