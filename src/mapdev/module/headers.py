"""Finds what building a module needs: a kernel's build directory, make and its compiler."""

from __future__ import annotations

import platform
import re
import shutil
from pathlib import Path

from mapdev.support.tools import UnavailableError, install, need

# By ID or ID_LIKE of os-release: what has the headers of a kernel.
_PACKAGES = {
    "debian": "sudo apt-get install linux-headers-{release}",
    "fedora": "sudo dnf install kernel-devel-{release}",
    "suse": "sudo zypper install kernel-devel",
    "arch": "sudo pacman -S linux-headers",
}


def build_directory(release: str | None = None) -> Path:
    """Return the directory to build modules in for an installed kernel, the running one by default.

    :raises UnavailableError: its headers are not installed; the text says how to get them.
    """
    release = release or platform.release()
    path = Path("/lib/modules") / release / "build"
    if (path / "Makefile").exists():
        return path
    raise UnavailableError(f"the headers of Linux {release} are missing: {_how_to_get(release)}")


def release_of(build: Path) -> str:
    """Return the release of the kernel that a build directory is for.

    :raises UnavailableError: it is no build directory.
    """
    path = build / "include/generated/utsrelease.h"  # kernel.release is not what Debian's 6.1 says
    found = re.search(r'UTS_RELEASE "(.+)"', path.read_text()) if path.exists() else None
    if not found:
        raise UnavailableError(
            f"{build} is no directory to build modules in: it has no include/generated/utsrelease.h"
        )
    return found[1]


def compiler(build: Path) -> list[str]:
    """Return make's arguments that name the compiler: none when the kernel's own is there.

    :raises UnavailableError: there is none.
    """
    config = build / "include/config/auto.conf"
    text = config.read_text() if config.exists() else ""
    found = re.search(r'^CONFIG_CC_VERSION_TEXT="?([^\s"]+)', text, re.MULTILINE)
    name = found[1] if found else "gcc"
    if "CONFIG_CC_IS_CLANG=y" in text:
        need("clang", "clang lld llvm")
        return ["LLVM=1"]
    if shutil.which(name):
        return []
    # Another gcc does as well, if it knows all options that the kernel was built with.
    if shutil.which("gcc"):
        return ["CC=gcc"]
    package = re.sub(r".*-(?=gcc)", "", name)
    raise UnavailableError(f"a C compiler is missing: {install(package)}")


def _how_to_get(release: str) -> str:
    try:
        known = platform.freedesktop_os_release()
    except OSError:
        known = {}
    for name in (known.get("ID", ""), *known.get("ID_LIKE", "").split()):
        if name in _PACKAGES:
            text = _PACKAGES[name].format(release=release)
            return f"{text} (or --kernel-dir DIRECTORY)"
    return "install your distribution's package, or say where they are: --kernel-dir DIRECTORY"
