"""Reads facts about a process or thread from /proc, with defaults for one that is gone."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

from mapdev.host.numbers import CAP_SYS_PTRACE


def tgid_of(tid: int) -> int:
    """Return the process that thread `tid` belongs to; `tid` itself when it is gone."""
    text = _status(tid)
    return int(_field(text, b"Tgid:")) if text else tid


def _status(tid: int) -> bytes:
    """Return /proc/TID/status, empty when the thread is gone; read often, so without pathlib."""
    try:
        fd = os.open(f"/proc/{tid}/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 8192)
    except OSError:
        return b""
    finally:
        os.close(fd)


def read_file(path: str) -> bytes:
    """Return the content of a file in /proc, without pathlib, which takes long to import.

    :raises OSError: there is none, or it may not be read.
    """
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _field(text: bytes, name: bytes) -> bytes:
    at = text.index(name) + len(name)
    return text[at : text.index(b"\n", at)]


def field_of(tid: int, name: bytes, file: str = "status") -> bytes:
    """Return a field of a file in /proc/TID; nothing if there is none, or the thread is gone."""
    try:
        text = read_file(f"/proc/{tid}/{file}")
    except OSError:
        return b""
    for line in text.splitlines():
        key, _, value = line.partition(b":")
        if key == name:
            return value.strip()
    return b""


def is_thread_of(tid: int, tgid: int) -> bool:
    """Say whether `tid` is a thread of process `tgid`."""
    return os.path.lexists(f"/proc/{tgid}/task/{tid}")


def comm_of(tid: int) -> str:
    """Return the name of thread `tid`, empty when it is gone."""
    try:
        return read_file(f"/proc/{tid}/comm").decode(errors="replace").rstrip("\n")
    except OSError:
        return ""


def is_child(tid: int) -> bool:
    """Say whether `tid` is the main thread of a child of this process."""
    try:
        fields = read_file(f"/proc/{tid}/stat").rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == os.getpid() and tgid_of(tid) == tid


def is_single_threaded(tid: int) -> bool:
    """Say whether the process of thread `tid` has no other thread."""
    try:
        return os.stat(f"/proc/{tid}/task").st_nlink <= 3  # ".", "..", and one
    except OSError:
        return True


def tracer_of(tid: int) -> int:
    """Return the thread that traces thread `tid`, 0: none does, or it is gone."""
    text = _status(tid)
    return int(_field(text, b"TracerPid:")) if text else 0


def blocked_signals(tid: int) -> int:
    """Return which signals thread `tid` blocks, signal N as bit N - 1; none if it is gone."""
    text = _status(tid)
    return int(_field(text, b"SigBlk:"), 16) if text else 0


def threads_traced_by_us(pid: int) -> list[int]:
    """Return the threads of process `pid` of which the calling thread is the tracer."""
    tracer = f"\nTracerPid:\t{threading.get_native_id()}\n".encode()
    traced = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                if tracer in read_file(f"/proc/{pid}/task/{name}/status"):
                    traced.append(int(name))
    return traced


def traced_by_us() -> list[int]:
    """Return the main threads that live and of which the calling thread is the tracer."""
    processes = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in processes if pid in threads_traced_by_us(pid) and state_of(pid) != "Z"]


def has_capability(tid: int, number: int) -> bool:
    """Say whether thread `tid` has a capability in effect."""
    text = _status(tid)
    return bool(text and int(_field(text, b"CapEff:"), 16) >> number & 1)


def groups(tid: int) -> set[int]:
    """Return the groups of thread `tid`: the one that its files get, and the others."""
    text = _status(tid)
    if not text:
        return set()
    own = _field(text, b"Gid:").split()[3]
    return {int(number) for number in (own, *_field(text, b"Groups:").split())}


def yama_forbids() -> str:
    """Return why Yama keeps this process from its own children, "" when it does not.

    Source: security/yama/yama_lsm.c (yama_ptrace_access_check)
    """
    try:
        scope = int(read_file("/proc/sys/kernel/yama/ptrace_scope"))
    except OSError:
        return ""  # a kernel without Yama
    if scope == 2 and not has_capability(os.getpid(), CAP_SYS_PTRACE):
        return (
            "kernel.yama.ptrace_scope is 2, which needs CAP_SYS_PTRACE: run mapdev as root, or "
            "sysctl kernel.yama.ptrace_scope=1"
        )
    if scope == 3:
        return (
            "kernel.yama.ptrace_scope is 3, which forbids it to root too, and stays until the "
            "machine starts again: start it without that setting"
        )
    return ""


def hides_descriptor(tid: int, fd: int) -> bool:
    """Say whether we may not see what a descriptor of thread `tid` is.

    Source: fs/proc/base.c (proc_fd_access_allowed): its user, its capabilities, PR_SET_DUMPABLE
    """
    try:
        os.readlink(f"/proc/{tid}/fd/{fd}")
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def descriptor_flags(tid: int, fd: int) -> int:
    """Return the open flags of a descriptor of thread `tid`.

    :raises OSError: ENOENT it is not open.
    """
    for line in read_file(f"/proc/{tid}/fdinfo/{fd}").splitlines():
        if line.startswith(b"flags:"):
            return int(line.split()[1], 8)
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


def live_threads(pid: int) -> set[int]:
    """Return the threads of process `pid` that have not ended."""
    live = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                stat = read_file(f"/proc/{pid}/task/{name}/stat")
                if stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                    live.add(int(name))
    return live


def state_of(tid: int) -> str:
    """Return the letter for what thread `tid` does, as in /proc/TID/stat; X when it is gone."""
    try:
        stat = read_file(f"/proc/{tid}/stat")
    except OSError:
        return "X"
    return chr(stat.rpartition(b") ")[2][0])


def has_memory(pid: int) -> bool:
    """Say whether process `pid` still has an address space."""
    try:
        with open(f"/proc/{pid}/maps", "rb", buffering=0) as maps:
            return bool(maps.read(1))
    except OSError:
        return False


def is_in_user_mode(tid: int) -> bool:
    """Say whether thread `tid`, which waits, does so in an instruction, not in a system call."""
    while True:
        try:
            text = read_file(f"/proc/{tid}/syscall")
        except OSError:
            return True
        if not text.startswith(b"running"):  # on its way to the wait
            return text.startswith(b"-1")


def writable_place() -> str:
    """Return a directory in which we may make one."""
    for path in ("/dev/shm", os.environ.get("TMPDIR", "/tmp"), "/tmp", "/var/tmp"):
        if os.access(path, os.W_OK | os.X_OK):
            return path
    return "."
