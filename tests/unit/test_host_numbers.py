"""Numbers of system calls that hosts use agree with the system's headers, and stand in one place."""

from __future__ import annotations

import ast
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import mapdev
from mapdev.host import numbers

HEADERS = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <linux/capability.h>
#include <linux/mman.h>
#include <linux/openat2.h>
"""
# The kernel's own, which no header shows.
INSIDE = {"MAX_RW_COUNT"}
# The module's header has these with a prefix of its own: see test_uapi.py.
CONTRACT = "kernel/uapi.py"
# What system calls take and return.
PREFIXES = (
    "AT_EMPTY", "AT_FDCWD", "AT_SYMLINK", "CAP_", "CLONE_", "EPOLL", "ERESTART", "F_", "MADV_",
    "MAP_", "MAX_RW", "MLOCK_", "MREMAP_", "MS_", "O_", "PAGE_SIZE", "PROT_", "PTRACE_", "RESOLVE_",
    "RWF_", "SEEK_", "UINT_MAX", "UIO_", "ULONG_MAX", "VM_", "ZERO_SIZE",
)  # fmt: skip


def _constants() -> dict[str, int]:
    return {name: value for name, value in vars(numbers).items() if name.isupper()}


def test_they_are_those_of_the_headers(
    tmp_path: Path, require_program: Callable[[str, str], str]
) -> None:
    compiler = require_program("cc", "gcc libc6-dev linux-libc-dev")
    ours = {name: value for name, value in _constants().items() if name not in INSIDE}
    asserts = "\n".join(
        f'#ifdef {name}\n_Static_assert((unsigned long)({name}) == {value % (1 << 64)}UL, "{name}");\n#endif'
        for name, value in ours.items()
    )
    known = "\n".join(f'#ifdef {name}\nputs("{name}");\n#endif' for name in ours)
    source = f"{HEADERS}{asserts}\nint main(void)\n{{\n{known}\n}}\n"
    program = tmp_path / "numbers"
    subprocess.run([compiler, "-x", "c", "-", "-o", program], input=source, text=True, check=True)
    found = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    # Older headers lack the newest, none lacks more than these.
    assert set(ours) - set(found) <= {"MADV_COLLAPSE", "MADV_DONTNEED_LOCKED", "RWF_HIPRI"}


def test_each_stands_in_one_place() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    root = Path(mapdev.__file__).parent
    for path in root.rglob("*.py"):
        if path.parent.name == "arch" or str(path).endswith(CONTRACT):
            continue
        for statement in ast.parse(path.read_text()).body:
            if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (node for target in targets for node in ast.walk(target)):
                if isinstance(node, ast.Name) and node.id.lstrip("_").startswith(PREFIXES):
                    homes[node.id.removeprefix("_")].append(str(path.relative_to(root)))
    assert homes["AT_FDCWD"] == ["host/numbers.py"]
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
