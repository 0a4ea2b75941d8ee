"""Finds kernels to boot: Debian's by their series, the running one, or one of the user's own.

Debian's come with headers, so that a module can be built for them: they lie in the cache as the
packages have them, made independent of where that is, and nothing of them is installed.
"""

from __future__ import annotations

import platform
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mapdev.module.headers import release_of
from mapdev.support.cache import made_once, recipe_of
from mapdev.support.tools import UnavailableError, say
from mapdev.vm.debian import Apt, unpack

# Debian's packages that always depend on the newest kernel of a series: {} is image or headers.
SERIES = {"6.1": "linux-{}-amd64", "6.12": "linux-{}-6.12-amd64"}
DEFAULT = "6.12"
_PACKAGE = Path(__file__).parent


class Kernel(NamedTuple):
    """A kernel: its release, its image, where its modules and its build directory are, if any."""

    release: str
    image: Path
    modules: Path
    build: Path | None
    origin: str


def find(name: str) -> Kernel:
    """Return the kernel called `name`: one of `SERIES`, "running", or a path.

    A path is that of an image (bzImage), of a tree that a kernel was built in, or of a directory
    with boot/ and lib/modules/ as a package has it.

    :raises UnavailableError: there is none, or it can't be fetched.
    """
    if name in SERIES:
        directory = made_once(f"linux-{name}", _recipe(), partial(_fetch, name))
        return _unpacked(directory, f"Debian's {SERIES[name].format('image')}, in {directory}")
    if name == "running":
        return _image(Path("/boot") / f"vmlinuz-{platform.release()}")
    path = Path(name).absolute()
    if path.is_file():
        return _image(path)
    if (path / "vmlinux").exists() and (path / "include/generated/utsrelease.h").exists():
        return _built(path)
    if (path / "boot").is_dir():
        return _unpacked(path, str(path))
    known = ", ".join((*SERIES, "running"))
    raise UnavailableError(
        f"{name} is no kernel: neither one of {known}, nor a bzImage, a kernel's build tree, or a "
        "directory with boot/ and lib/modules/"
    )


def busybox() -> Path:
    """Return a static busybox, which starts the machine.

    :raises UnavailableError: the machine has none, and none can be fetched.
    """
    installed = shutil.which("busybox")
    if installed and b"ld-linux" not in Path(installed).read_bytes()[:4096]:
        return Path(installed)
    return made_once("busybox", _recipe(), _fetch_busybox) / "busybox"


def _recipe() -> str:
    return recipe_of(Path(__file__), _PACKAGE / "debian.py")


def _image(path: Path) -> Kernel:
    """Return the kernel of an image; its modules are where an installed kernel has them."""
    try:
        release = _release(path)
    except OSError as error:
        raise UnavailableError(f"the kernel {path} can't be read: {error.strerror}") from None
    modules = path.parent.parent / "lib/modules" / release
    if not modules.is_dir():
        modules = Path("/lib/modules") / release
    build = modules / "build"
    return Kernel(release, path, modules, build if build.is_dir() else None, str(path))


def _release(path: Path) -> str:
    """Read the release from an image.

    Source: Documentation/arch/x86/boot.rst, kernel_version.
    """
    with path.open("rb") as file:
        header = file.read(0x210)
        if header[0x202:0x206] != b"HdrS":
            raise UnavailableError(f"{path} is no Linux kernel for x86 (bzImage)")
        file.seek(struct.unpack_from("<H", header, 0x20E)[0] + 0x200)
        return file.read(128).split()[0].decode()


def _built(tree: Path) -> Kernel:
    release = release_of(tree)
    image = tree / "arch/x86/boot/bzImage"
    if not image.exists():
        raise UnavailableError(
            f"{tree} has no arch/x86/boot/bzImage: make -C {tree} bzImage modules"
        )
    return Kernel(release, image, tree, tree, str(tree))


def _unpacked(directory: Path, origin: str) -> Kernel:
    try:
        image = next((directory / "boot").glob("vmlinuz-*"))
    except StopIteration:
        raise UnavailableError(f"{directory / 'boot'} has no vmlinuz-*") from None
    return _image(image)._replace(origin=origin)


def _fetch(series: str, work: Path) -> None:
    """Fill `work` with a kernel, its modules and its headers."""
    apt = Apt(work / "apt", "amd64")
    (image,) = (name for name in apt.depends(SERIES[series].format("image")))
    headers = image.replace("image", "headers")
    parts = [
        name
        for name in apt.depends(headers)
        if name.endswith("-common") or name.startswith("linux-kbuild-")
    ]
    say(f"downloading {image} and its headers")
    debs = apt.download(image, headers, *parts)
    say(f"unpacking {image}")
    for deb in debs:
        unpack(deb, work)
    _relocate(work)
    shutil.rmtree(work / "apt")


def _relocate(root: Path) -> None:
    """Make what names /usr/src find it below `root`, wherever that is."""
    for link in root.glob("lib/modules/*/*"):
        if link.is_symlink():  # build and source
            target = Path("../../..") / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(target)
    here = "$(dir $(lastword $(MAKEFILE_LIST)))"
    for makefile in root.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text()
        if text.startswith("include /usr/src/"):
            makefile.write_text(text.replace("/usr/src/", f"{here}../", 1))


def _fetch_busybox(work: Path) -> None:
    apt = Apt(work / "apt", "amd64")
    unpack(apt.download("busybox-static")[0], work)
    shutil.copy(next(work.glob("**/bin/busybox")), work / "busybox")
    shutil.rmtree(work / "apt")
