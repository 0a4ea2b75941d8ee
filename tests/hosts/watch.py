"""What threads of clients do, seen from outside."""

import time

from pace import patience


def state_of(tid: int) -> str:
    """Return a thread's state: R, S, D, T, Z."""
    with open(f"/proc/{tid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def await_state(tid: int, wanted: str) -> None:
    """Return when the thread is in a state; nothing tells of it."""
    deadline = time.monotonic() + patience(30)
    while state_of(tid) != wanted:
        assert time.monotonic() < deadline, f"it is in state {state_of(tid)}, not {wanted}"
        time.sleep(0.005)
