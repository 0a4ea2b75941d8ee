"""Rewrites the sizes in /proc/PID/status, statm, stat, smaps_rollup as a kernel would count them.

Frames of a device are pages of a memfd here, which the kernel counts as shared memory. In a device
of a kernel those of VM_PFNMAP are not counted at all, and others as pages of a file. What is
resident of the host's own memory in the process does not count; its size does, since RLIMIT_AS
counts it as well. Made when the file is opened. No state.

Source: fs/proc/task_mmu.c (task_mem, task_statm, show_smaps_rollup), fs/proc/array.c (do_task_stat)
Fidelity: VmHWM is the real one less what is taken off now. Threads of the
host's own in the process are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from mapdev.host.embedded.mm.procmaps import resident, sums
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import read_file, tgid_of
from mapdev.linux.numbers import PAGE_SIZE

_KB = PAGE_SIZE >> 10  # in a page
_RSS = 21  # in stat, counted from the state


def status(tid: int, space: MmAreas, hidden: Sequence[range]) -> bytes:
    """Return the text of /proc/TID/status.

    :param hidden: addresses of the host's own.
    """
    text = read_file(f"/proc/{tid}/status").decode(errors="surrogateescape")
    of = resident(tgid_of(tid), space, hidden)
    rss = of.counted - of.real - of.hidden
    changes = {
        "VmHWM": rss, "VmRSS": rss, "RssAnon": -of.hidden, "RssFile": of.counted,
        "RssShmem": -of.real,
    }  # fmt: skip
    lines = []
    for line in text.splitlines(keepends=True):
        name, colon, value = line.partition(":")
        if colon and name in changes and value.endswith(" kB\n"):
            line = f"{name}:\t{max(0, int(value.split()[0]) + changes[name]):8d} kB\n"
        lines.append(line)
    return "".join(lines).encode(errors="surrogateescape")


def statm(tid: int, space: MmAreas, hidden: Sequence[range]) -> bytes:
    """Return the text of /proc/TID/statm; parameters as for `status`."""
    size, rss, shared, *rest = map(int, read_file(f"/proc/{tid}/statm").split())
    of = resident(tgid_of(tid), space, hidden)
    rss += (of.counted - of.real - of.hidden) // _KB
    shared += (of.counted - of.real) // _KB
    return (" ".join(map(str, (size, max(0, rss), max(0, shared), *rest))) + "\n").encode()


def stat(tid: int, space: MmAreas, hidden: Sequence[range]) -> bytes:
    """Return the text of /proc/TID/stat; parameters as for `status`."""
    text = read_file(f"/proc/{tid}/stat")
    end = text.rindex(b")") + 2
    fields = text[end:].split()
    of = resident(tgid_of(tid), space, hidden)
    rss = int(fields[_RSS]) + (of.counted - of.real - of.hidden) // _KB
    fields[_RSS] = str(max(0, rss)).encode()
    return text[:end] + b" ".join(fields) + b"\n"


def smaps_rollup(tid: int, space: MmAreas, hidden: Sequence[range]) -> bytes:
    """Return the text of /proc/TID/smaps_rollup; parameters as for `status`."""
    text = read_file(f"/proc/{tid}/smaps_rollup").decode(errors="surrogateescape")
    tgid = tgid_of(tid)
    total, of = sums(tgid, space, hidden), resident(tgid, space, hidden)
    changes = {"Pss_File": of.counted, "Pss_Shmem": -of.real_pss, "Pss_Anon": -of.hidden}
    lines = []
    for line in text.splitlines(keepends=True):
        name, colon, value = line.partition(":")
        if colon and name in changes:
            line = f"{name + ':':16}{max(0, int(value.split()[0]) + changes[name]):8d} kB\n"
        elif colon and name in total and value.endswith(" kB\n"):
            line = f"{name + ':':16}{total[name]:8d} kB\n"
        lines.append(line)
    return "".join(lines).encode(errors="surrogateescape")
