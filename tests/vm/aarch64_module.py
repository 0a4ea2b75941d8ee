"""Build the module for the aarch64 VM's kernel, with a cross compiler and Debian's headers.

The headers lie in the cache as `mapdev.vm.kernels` has those of other kernels; what runs while a
module is built (kbuild's programs) is this machine's own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import vm_image

import mapdev.vm
from mapdev.module.build import build
from mapdev.support.cache import made_once, recipe_of
from mapdev.support.tools import UnavailableError, need, say
from mapdev.vm.debian import Apt, unpack
from mapdev.vm.kernels import relocate

CROSS = ("ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-")


def module(flags: Sequence[str] = (), place: Path | None = None) -> Path:
    """Return the module, built for the VM's kernel.

    :param flags: more for make, as `W=1`.
    :param place: the source of another module.
    :raises UnavailableError: a tool or the network is missing, or make fails.
    """
    need("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    release = _release(vm_image.base()[0])
    recipe = recipe_of(Path(__file__), Path(mapdev.vm.__file__).parent / "debian.py")
    headers = made_once(f"headers-{release}", recipe, partial(_fetch, release))
    return build(headers / "lib/modules" / release / "build", [*CROSS, *flags], place)


def _release(image: Path) -> str:
    """Read the release from an image, which is not compressed."""
    found = re.search(rb"Linux version (\S+)", image.read_bytes())
    if not found:
        raise UnavailableError(f"{image} does not say which release it is")
    return found[1].decode()


def _fetch(release: str, work: Path) -> None:
    """Fill `work` with the headers of a kernel."""
    say(f"downloading the headers of Linux {release}")
    target = Apt(work / "apt", "arm64")
    headers = f"linux-headers-{release}"
    needed = target.depends(headers)
    debs = target.download(headers, *(name for name in needed if name.endswith("-common")))
    here = Apt(work / "apt-here", "amd64")
    debs += here.download(*(name for name in needed if name.startswith("linux-kbuild-")))
    for deb in debs:
        unpack(deb, work)
    relocate(work)
    for name in ("apt", "apt-here"):
        shutil.rmtree(work / name)
