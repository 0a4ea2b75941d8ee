"""The kernel's own tests of mappings, built as they are from the source of Debian's newest kernel.

Nothing of them is the project's: the source (170 MB) is fetched when it is asked for, which CI does
not, and the cache keeps the programs. What is newest changes without us. So where it can't be had,
or no longer be built like this, that is no fault of the project's: tests are skipped.
"""

from __future__ import annotations

import os
import platform
import shutil
from functools import partial
from pathlib import Path

from mapdev.support.cache import made_once, recipe_of
from mapdev.support.tools import UnavailableError, need, run, say
from mapdev.vm.debian import Apt, unpack

SUITE = "debian trixie-backports"
TESTS = "tools/testing/selftests"
HOW = "MAPDEV_KSELFTEST=1 make test ARGS=tests/programs/test_pfnmap.py fetches it, 170 MB"


def program(name: str) -> Path:
    """Return the program that is made of mm/NAME.c.

    :raises UnavailableError: it was not asked for, can't be fetched, or does not compile.
    """
    make = partial(_make, name) if "MAPDEV_KSELFTEST" in os.environ else _refuse
    return made_once(f"kselftest-{name}", recipe_of(Path(__file__)), make) / name


def _refuse(work: Path) -> None:
    raise UnavailableError(f"the source of Linux's selftests is not here: {HOW}")


def _make(name: str, work: Path) -> None:
    compiler, _ = need("cc", "gcc libc6-dev"), need("xz", "xz-utils")
    apt = Apt(work / "apt", "amd64", [SUITE])
    (package,) = (name for name in apt.depends("linux-source") if name.startswith("linux-source"))
    say(f"downloading {package}")
    root = work / "root"
    root.mkdir()
    for deb in apt.download(package, "linux-libc-dev"):
        unpack(deb, root)
    say(f"unpacking {package}")
    archive = root / f"usr/src/{package}.tar.xz"
    run("tar", "-x", "-f", str(archive), "-C", str(root), f"{package}/{TESTS}")
    tests, headers = root / package / TESTS, root / "usr/include"
    run(compiler, "-static", "-O2", f"-I{tests}", "-isystem", str(headers), "-isystem",
        str(headers / f"{platform.machine()}-linux-gnu"), "-o", str(work / name),
        str(tests / f"mm/{name}.c"), str(tests / "mm/vm_util.c"))  # fmt: skip
    for path in (root, work / "apt"):
        shutil.rmtree(path)
