"""Replaces files of /proc/PID that a client opens by what the kernel would show of its areas.

These are maps, smaps and smaps_rollup, the sizes in status, statm and stat, pagemap and mem; and
fdinfo, which would describe the file behind a device's descriptor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from mapdev.host.core.procfs import VIEWS
from mapdev.host.embedded.mm import procmaps, procsizes
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import has_capability, read_file, tgid_of
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import CAP_SYS_PTRACE

_NOT_READ_ONLY = os.O_ACCMODE | os.O_PATH
_FILE = re.compile(
    r"/proc/(self|thread-self|[0-9]+)(?:/task/([0-9]+))?/(maps|smaps|smaps_rollup|status|statm|stat|pagemap|mem)"
)
_FDINFO = re.compile(r"/proc/(self|thread-self|[0-9]+)(?:/task/([0-9]+))?/fdinfo/([0-9]+)")
_VIEWS: dict[str, Callable[[int, MmAreas, Sequence[range]], bytes]] = {
    "maps": procmaps.maps,
    "smaps": procmaps.smaps,
    "smaps_rollup": procsizes.smaps_rollup,
    "status": procsizes.status,
    "statm": procsizes.statm,
    "stat": procsizes.stat,
}


def open_view(kernel: Subsystems, call: Call, path: str, flags: int) -> int | None:
    """Open our own view of a file in /proc in the client, if `path` is one; else return None."""
    is_memory = path.endswith("/mem")
    if not path.startswith("/proc/") or flags & (os.O_PATH if is_memory else _NOT_READ_ONLY):
        return None
    if path in VIEWS:
        return _open_merged(kernel, call, path, bool(flags & os.O_CLOEXEC))
    match = _FILE.fullmatch(path)
    if match is None:
        return _open_fdinfo(kernel, call, path, bool(flags & os.O_CLOEXEC))
    tgid = _process(call, match[1])
    space = kernel.spaces.at(tgid)
    is_mapped = space is not None and (len(space) or space.hidden)
    if match[3] in ("pagemap", "mem"):
        is_own = tgid_of(call.tid) == tgid
        open_it = _open_memory if is_memory else _open_pagemap
        return open_it(kernel, call, tgid, is_own, flags) if is_own or is_mapped else None
    if space is None or not is_mapped:
        return None
    if not space.seen:
        kernel.mappings.refresh()
    try:
        text = _VIEWS[match[3]](_subject(match, tgid), space, space.hidden)
    except OSError:
        return None  # it has ended; the kernel will say so
    return _install(call, text, bool(flags & os.O_CLOEXEC))


def _subject(match: re.Match[str], tgid: int) -> int:
    """Return the process or thread that a file in /proc is about: stat and status differ."""
    return int(match[2]) if match[2] else tgid


def _open_pagemap(
    kernel: Subsystems, call: Call, tgid: int, is_own: bool, flags: int
) -> int | None:
    """Open a process's pagemap, if the client may; else the kernel says why not."""
    try:
        whose, mine = (os.stat(f"/proc/{of}").st_uid for of in (tgid, call.tid))
    except OSError:
        return None
    if not is_own and mine not in (0, whose):
        return None
    from mapdev.host.embedded.calls.pagemap import open_pagemap  # here, for a quick start

    return open_pagemap(kernel, call, tgid, flags)


def _open_memory(kernel: Subsystems, call: Call, tgid: int, is_own: bool, flags: int) -> int | None:
    """Open a process's memory, if the client certainly may; else the kernel says what it may."""
    if not is_own and not _may_trace(call.tid, tgid):
        return None
    from mapdev.host.embedded.calls.proc_mem import open_memory  # here, for a quick start

    return open_memory(kernel, call, tgid, flags)


def _may_trace(tid: int, tgid: int) -> bool:
    """Say whether a thread may trace another process, whatever that is (ptrace_may_access)."""
    if has_capability(tid, CAP_SYS_PTRACE):
        return True
    try:
        scope = int(read_file("/proc/sys/kernel/yama/ptrace_scope"))
    except OSError:
        scope = 0
    try:
        whose, mine = (os.stat(f"/proc/{of}").st_uid for of in (tgid, tid))
    except OSError:
        return False
    return scope == 0 and whose == mine


def _open_fdinfo(kernel: Subsystems, call: Call, path: str, cloexec: bool) -> int | None:
    """Open what /proc/PID/fdinfo says of a device's descriptor, if `path` is of one.

    Source: fs/proc/fd.c (seq_show)
    """
    match = _FDINFO.fullmatch(path)
    tid = int(match[2]) if match and match[2] else _process(call, match[1]) if match else 0
    open_file = kernel.files.table.at(tid, int(match[3])) if match and tid else None
    if match is None or open_file is None:
        return None
    file = open_file.file
    try:
        real = read_file(f"/proc/{tid}/fdinfo/{match[3]}").decode()
    except OSError:
        return None
    lines = []
    for line in real.splitlines(keepends=True):
        name, _, value = line.partition(":")
        if name == "pos":
            line = f"pos:\t{file.f_pos}\n"
        elif name == "flags":
            line = f"flags:\t0{file.f_flags | int(value, 8) & os.O_CLOEXEC:o}\n"
        elif name == "ino":
            line = f"ino:\t{open_file.device.inode.i_ino}\n"
        lines.append(line)
    return _install(call, "".join(lines).encode(), cloexec)


def _open_merged(kernel: Subsystems, call: Call, path: str, cloexec: bool) -> int | None:
    """Open a list of the machine's to which ours is added; None if we have nothing to add."""
    tree = kernel.machine.device_tree
    if not tree.chrdevs:
        return None
    try:
        real = read_file(path)
    except OSError:
        return None
    return _install(call, VIEWS[path](tree, real), cloexec)


def _process(call: Call, name: str) -> int:
    if not name.isdigit():
        return tgid_of(call.tid)
    try:
        theirs, ours = os.stat(f"/proc/{call.tid}/ns/pid"), os.stat("/proc/self/ns/pid")
    except OSError:
        return 0
    return tgid_of(int(name)) if theirs.st_ino == ours.st_ino else 0


def _install(call: Call, text: bytes, cloexec: bool) -> int:
    memory = os.memfd_create("proc", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(text)
        readable = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(memory)
    try:
        return call.add_descriptor(readable, None, cloexec)
    finally:
        os.close(readable)
