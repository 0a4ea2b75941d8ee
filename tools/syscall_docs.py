"""Makes docs/syscalls.md: python tools/syscall_docs.py > docs/syscalls.md

What is handed over, and when, comes from the embedded host's table of system calls; what calls do,
from syscalls.txt, which says how it is written.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from mapdev.host.embedded.syscalls.table import SYSCALLS, Syscall

NOTES = Path(__file__).with_name("syscalls.txt")
TABLE = {call.name: call for call in SYSCALLS}
NEVER = "**never**"
WHEN = {
    "always": "always",
    "path": "always",
    "descriptor": "descriptor is low or in the range",
    "high descriptor": "descriptor is in the range",
    "two descriptors": "a descriptor is low or in the range",
    "path or descriptor": "always; with AT_EMPTY_PATH if the descriptor is low or in the range",
    "area": "address in the window",
    "address": "address in the window",
    "unless ours": "always",
}
# Those of which the filter looks at more than that.
PROGRAMS = {
    "fcntl": "descriptor is in the range; low, but for F_GETFD and F_SETFD",
    "mmap": "descriptor is low or in the range, without MAP_ANONYMOUS and MAP_DENYWRITE; "
    "MAP_FIXED into the window",
    "clone": "without CLONE_THREAD, or a number goes into the window",
    "ioctl": "descriptor is low or in the range; always for commands of a userfaultfd",
    "ptrace": "PEEKTEXT, PEEKDATA, POKETEXT and POKEDATA",
    "socket": "of the kind NETLINK_KOBJECT_UEVENT",
    "prctl": "PR_SET_SECCOMP",
    "connect": "descriptor is in the range, or the address is not as long as one of the internet",
}

HEAD = """\
# System calls

What each system call of x86-64 and aarch64 does on a device: in the kernel, and under the embedded
host. (Behind the kernel host the node is real, and the kernel does all of it.)

The embedded host sees a call only if its filter hands it over. All others run in the kernel, at
full speed, and meet what is really there:

- **a descriptor** of a device is that of a file of a FUSE mount, or where there is no FUSE one end
  of a pair of sockets: the call *reaches the socket* means that file as well;
- **a path** of a device is no file: ENOENT. If there is a file under a device's path, the call
  means that file;
- **an area** of a device is shared memory of the host, or of pages that are yet to come.

For some of these calls that makes no difference, for some it does: the last column says so. The
filter sees numbers only, so it is told when to ask: for a *low* descriptor, 0 to 9, or one *in the
range* that devices get (`--descriptors all`: any), and for an address in the *window*, where
devices are mapped unless a program chooses another place. See [how it works](how-it-works.md) and
[differences from the kernel](fidelity.md).

"The kernel" stands for a driver with `read`, `write` and the like, but without `read_iter`,
`write_iter`, `splice_read` and `splice_write`, which can't be written with mapdev. Most rows were
compared by running the calls on the gallery's `contiguous` on both hosts, the kernel host on Linux
6.12; others are from the kernel's source.

This page is generated: change the table in `mapdev.host.embedded.syscalls.table`, or
`tools/syscalls.txt`, then run `python tools/syscall_docs.py > docs/syscalls.md`. Its calls are
those of Linux 6.17.
"""
POINTERS = """\
These have pointers, but to neither descriptors nor areas of a device. From and to a device's memory
the kernel copies as from and to any other, since real pages are mapped there; of pages that are yet
to come see [differences](fidelity.md#mappings). None is handed over.
"""


class Note(NamedTuple):
    """Calls that behave alike.

    :ivar same: a program can't tell the embedded host from the kernel.
    """

    calls: list[str]
    kernel: str
    here: str
    same: bool


class Notes(NamedTuple):
    """What syscalls.txt says.

    :ivar sections: notes by title.
    :ivar others: lists of calls that have nothing to do with devices.
    """

    sections: dict[str, list[Note]]
    others: list[list[str]]


def read(text: str) -> Notes:
    """Read what is in syscalls.txt."""
    sections: dict[str, list[Note]] = {}
    others: list[list[str]] = []
    for part in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        if "kernel: " in body:
            sections[title] = [_note(block) for block in body.strip().split("\n\n")]
        else:
            others.append(body.split())
    return Notes(sections, others)


def _note(block: str) -> Note:
    form = r"([a-z0-9_\s]+)\n +kernel: (.+)\n +(same|differs): (.+)"
    match = re.fullmatch(form, block, re.DOTALL)
    if match is None:
        raise ValueError(f"syscalls.txt: {block}")
    kernel, here = " ".join(match[2].split()), " ".join(match[4].split())
    return Note(match[1].split(), kernel, here, match[3] == "same")


def when(call: Syscall) -> str:
    """Say when the filter hands `call` over."""
    text = PROGRAMS[call.name] if call.when == "program" else WHEN[call.when]
    if call.of_gate:
        return f"{text}, with [the gate](how-it-works.md#the-gate)"
    return f"{text}, where the host shows more than nodes" if call.of_tree else text


def rows(note: Note) -> list[str]:
    """Return a row for each group of the calls of `note` that are handed over alike."""
    groups: dict[str, list[str]] = {}
    for name in note.calls:
        groups.setdefault(when(TABLE[name]) if name in TABLE else NEVER, []).append(f"`{name}`")
    same = "yes" if note.same else "**no**"
    return [
        f"| {', '.join(names)} | {handed_over} | {note.kernel} | {note.here} | {same} |"
        for handed_over, names in groups.items()
    ]


def page(notes: Notes) -> str:
    """Return the whole page."""
    described = [
        (name, note.same)
        for section in notes.sections.values() for note in section for name in note.calls
    ]  # fmt: skip
    unseen = sorted(name for name, same in described if not same and name not in TABLE)
    parts = [
        HEAD,
        f"Of the {len(described)} calls in the tables, {len(TABLE)} are handed over. "
        f"{len(unseen)} are not, and do something else than the kernel would:\n",
        _listed(unseen),
    ]
    for title, section in notes.sections.items():
        parts.append(f"## {title}\n")
        parts.append(
            "| call | handed over | the kernel, on a device | the embedded host | same |\n"
            "| --- | --- | --- | --- | --- |\n"
            + "".join(f"{row}\n" for note in section for row in rows(note))
        )
    pointers, neither = notes.others
    parts += [
        "## All others\n",
        POINTERS,
        _listed(pointers),
        "These have neither pointers nor descriptors of files:\n",
        _listed(neither),
    ]
    return "\n".join(parts)


def _listed(names: list[str]) -> str:
    text = ", ".join(f"`{name}`" for name in names) + "."
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False) + "\n"


if __name__ == "__main__":
    print(page(read(NOTES.read_text())), end="")
