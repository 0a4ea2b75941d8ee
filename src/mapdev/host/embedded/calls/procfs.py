"""Replaces files of /proc/PID that a client opens by what the kernel would show of its areas.

These are maps, smaps and smaps_rollup, the sizes in status, statm and stat, and pagemap.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

from mapdev.host.core.procfs import VIEWS
from mapdev.host.embedded.mm import procmaps, procsizes
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import read_file, tgid_of
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call

_FILE = re.compile(
    r"/proc/(self|thread-self|[0-9]+)(?:/task/([0-9]+))?/(maps|smaps|smaps_rollup|status|statm|stat|pagemap)"
)
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
    if not path.startswith("/proc/") or flags & (os.O_ACCMODE | os.O_PATH):
        return None
    if path in VIEWS:
        return _open_merged(kernel, call, path, bool(flags & os.O_CLOEXEC))
    match = _FILE.fullmatch(path)
    if match is None:
        return None
    tgid = _process(call, match[1])
    space = kernel.spaces.at(tgid)
    if space is None or not (len(space) or space.hidden):
        return None
    if not space.seen:
        kernel.mappings.refresh()
    if match[3] == "pagemap":
        return _open_pagemap(kernel, call, tgid, space, flags)
    try:
        text = _VIEWS[match[3]](_subject(match, tgid), space, space.hidden)
    except OSError:
        return None  # it has ended; the kernel will say so
    return _install(call, text, bool(flags & os.O_CLOEXEC))


def _subject(match: re.Match[str], tgid: int) -> int:
    """Return the process or thread that a file in /proc is about: stat and status differ."""
    return int(match[2]) if match[2] else tgid


def _open_pagemap(
    kernel: Subsystems, call: Call, tgid: int, space: MmAreas, flags: int
) -> int | None:
    """Open a process's pagemap, if the client may; else the kernel says why not."""
    try:
        whose, mine = (os.stat(f"/proc/{of}").st_uid for of in (tgid, call.tid))
    except OSError:
        return None
    if mine not in (0, whose):
        return None
    from mapdev.host.embedded.calls.pagemap import open_pagemap  # here, for a quick start

    return open_pagemap(kernel, call, tgid, space, flags)


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
