"""Facts about a process or thread, read from /proc; the defaults are for one that is gone."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


def tgid_of(tid: int) -> int:
    """Return the process that thread `tid` belongs to; `tid` itself when it is gone."""
    try:
        text = Path(f"/proc/{tid}/status").read_bytes()
    except OSError:
        return tid
    at = text.index(b"Tgid:") + 5
    return int(text[at : text.index(b"\n", at)])


def comm_of(tid: int) -> str:
    """Return the name of thread `tid`, empty when it is gone."""
    try:
        return Path(f"/proc/{tid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def is_child(tid: int) -> bool:
    """Say whether `tid` is the main thread of a child of this process."""
    try:
        fields = Path(f"/proc/{tid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == os.getpid() and tgid_of(tid) == tid


def is_single_threaded(tid: int) -> bool:
    """Say whether the process of thread `tid` has no other thread."""
    try:
        return os.stat(f"/proc/{tid}/task").st_nlink <= 3  # ".", "..", and one
    except OSError:
        return True


def threads_traced_by_us(pid: int) -> list[int]:
    """Return the threads of process `pid` of which the calling thread is the tracer."""
    tracer = f"\nTracerPid:\t{threading.get_native_id()}\n"
    traced = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                if tracer in Path(f"/proc/{pid}/task/{name}/status").read_text(errors="replace"):
                    traced.append(int(name))
    return traced


def has_capability(tid: int, number: int) -> bool:
    """Say whether thread `tid` has a capability in effect."""
    try:
        text = Path(f"/proc/{tid}/status").read_bytes()
    except OSError:
        return False
    at = text.index(b"CapEff:") + 7
    return bool(int(text[at : text.index(b"\n", at)], 16) >> number & 1)


def live_threads(pid: int) -> set[int]:
    """Return the threads of process `pid` that have not ended."""
    live = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{pid}/task/{name}/stat").read_bytes()
                if stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                    live.add(int(name))
    return live


def is_in_user_mode(tid: int) -> bool:
    """Say whether thread `tid`, which waits, does so in an instruction, not in a system call."""
    while True:
        try:
            text = Path(f"/proc/{tid}/syscall").read_bytes()
        except OSError:
            return True
        if not text.startswith(b"running"):  # on its way to the wait
            return text.startswith(b"-1")
