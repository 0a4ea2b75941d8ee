"""`NodeLocks` says what the kernel says of the same locks on a file of its own."""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from mapdev.host.core.locks import OFFSET_MAX, NodeLocks, Record

OWNERS = 3
FLOCK = struct.Struct("hh4xqqi4x")

locks = st.tuples(
    st.integers(0, OWNERS - 1),
    st.integers(0, 15),
    st.integers(0, 8),
    st.sampled_from([fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK]),
)


def _ask(fd: int, command: int, kind: int, first: int, length: int) -> tuple[int, ...]:
    flock = FLOCK.pack(kind, os.SEEK_SET, first, length, 0)
    return FLOCK.unpack(fcntl.fcntl(fd, command, flock))


def _kernel_sets(fd: int, kind: int, first: int, length: int) -> bool:
    try:
        _ask(fd, fcntl.F_OFD_SETLK, kind, first, length)
    except BlockingIOError:
        return False
    return True


def _ours_sets(node: NodeLocks, kind: int, wanted: Record) -> bool:
    if kind == fcntl.F_UNLCK:
        node.remove(wanted)
    elif node.blocker(wanted):
        return False
    else:
        node.add(wanted)
    return True


@given(st.lists(locks, max_size=20))
def test_as_the_kernel(steps: list[tuple[int, int, int, int]]) -> None:
    node = NodeLocks()
    with tempfile.NamedTemporaryFile() as file:
        owners = [os.open(file.name, os.O_RDWR) for _ in range(OWNERS)]
        try:
            for owner, first, length, kind in steps:
                last = first + length - 1 if length else OFFSET_MAX
                wanted = Record(owner, first, last, kind == fcntl.F_WRLCK)
                theirs = _kernel_sets(owners[owner], kind, first, length)
                assert _ours_sets(node, kind, wanted) == theirs
            for owner, fd in enumerate(owners):
                for at in range(26):
                    kind, _, first, length, _ = _ask(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, at, 1)
                    found = node.blocker(Record(owner, at, at, True))
                    assert (found is None) == (kind == fcntl.F_UNLCK)
                    if found is not None and found.is_write:  # of readers there may be several
                        assert kind == fcntl.F_WRLCK and found.first == first
                        assert found.last == (first + length - 1 if length else OFFSET_MAX)
        finally:
            for fd in owners:
                os.close(fd)
