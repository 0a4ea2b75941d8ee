"""Compile the module, once for each kernel and version of the source; the cache keeps it.

The source is copied first: it may lie where nothing can be written, and a compiler's leavings have
no business there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mapdev.module import headers, source
from mapdev.support.cache import made_once
from mapdev.support.tools import UnavailableError, install, need, say


def build(directory: Path, flags: Sequence[str] = (), place: Path | None = None) -> Path:
    """Return the module, built in a kernel's build directory.

    :param flags: more for make, as `KCFLAGS=-Werror`.
    :param place: where the source of another module is; it is built in the same way.
    :raises UnavailableError: a tool is missing, or make fails; the text has what it said.
    """
    release = headers.release_of(directory)
    name = source.name(place)
    recipe = _recipe(directory, flags, place)
    make = partial(_make, directory.absolute(), release, flags, place)
    cached = "module" if name == source.NAME else name
    return made_once(f"{cached}-{release}", recipe, make) / f"{name}.ko"


def _recipe(directory: Path, flags: Sequence[str], place: Path | None) -> str:
    """Return a name for what is built of this source for this kernel, another when one changes."""
    recipe = hashlib.sha256(" ".join(flags).encode())
    for path in (
        *source.files(place),
        directory / "Module.symvers",
        directory / "include/config/auto.conf",
    ):
        if path.exists():
            recipe.update(path.name.encode() + b"\0" + path.read_bytes())
    return recipe.hexdigest()[:16]


def _make(
    directory: Path, release: str, flags: Sequence[str], origin: Path | None, work: Path
) -> None:
    say(f"building the module for Linux {release}")
    place = work / "build"
    place.mkdir()
    for path in source.files(origin):
        shutil.copy(path, place)
    command = [
        need("make", "make"), "-C", str(directory), f"M={place}", f"-j{os.cpu_count()}",
        # BTF needs pahole, of the version that the kernel was built with, and serves no one here.
        "CONFIG_DEBUG_INFO_BTF_MODULES=", *headers.compiler(directory), *flags, "modules",
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise UnavailableError(
            f"the module can't be built for Linux {release}{_why(done.stdout)}:\n{done.stdout}"
        )
    module = f"{source.name(origin)}.ko"
    (place / module).rename(work / module)
    shutil.rmtree(place)


def _why(output: str) -> str:
    if "gelf.h" in output or "libelf" in output:
        return f" (libelf is missing: {install('libelf-dev')})"
    return ""
