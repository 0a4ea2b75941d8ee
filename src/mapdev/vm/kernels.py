"""Finds kernels to boot: Debian's by their series, the running one, or one of the user's own.

Debian's come with headers, so that a module can be built for them: they lie in the cache as the
packages have them, made independent of where that is, and nothing of them is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mapdev.module.headers import release_of
from mapdev.support.cache import made_once, recipe_of
from mapdev.support.tools import UnavailableError, say
from mapdev.vm.debian import DEBIAN_12, Apt, unpack

# Debian's packages that always depend on the newest kernel of a series: {} is image or headers.
SERIES = {"6.1": "linux-{}-amd64", "6.12": "linux-{}-6.12-amd64"}
DEFAULT = "6.12"
# The newest kernel that Debian has for a release of its own; another one from time to time.
NEWEST = "newest"
_NEWEST_PACKAGE, _NEWEST_SUITES = "linux-{}-amd64", ("debian trixie-backports",)
_PACKAGE = Path(__file__).parent


class Kernel(NamedTuple):
    """A kernel: its release, its image, where its modules and its build directory are, if any."""

    release: str
    image: Path
    modules: Path
    build: Path | None
    origin: str


def find(name: str) -> Kernel:
    """Return the kernel called `name`: one of `SERIES`, "newest", "running", or a path.

    A path is that of an image (bzImage), of a tree that a kernel was built in, or of a directory
    with boot/ and lib/modules/ as a package has it.

    :raises UnavailableError: there is none, or it can't be fetched.
    """
    if name in SERIES or name == NEWEST:
        package = SERIES.get(name, _NEWEST_PACKAGE)
        suites = DEBIAN_12 if name in SERIES else _NEWEST_SUITES
        directory = made_once(f"linux-{name}", _recipe(), partial(_fetch, package, suites))
        return _unpacked(directory, f"Debian's {package.format('image')}, in {directory}")
    if name == "running":
        return _image(Path("/boot") / f"vmlinuz-{platform.release()}")
    path = Path(name).absolute()
    if path.is_file():
        return _image(path)
    if (path / "vmlinux").exists() and (path / "include/generated/utsrelease.h").exists():
        return _built(path)
    if (path / "boot").is_dir():
        return _unpacked(path, str(path))
    known = ", ".join((*SERIES, NEWEST, "running"))
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
    modules = path.parent
    if modules.name != release:
        modules = modules.parent / "lib/modules" / release
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
    # Since 7.3 Debian's image is beside the modules.
    for image in (*directory.glob("boot/vmlinuz-*"), *directory.glob("lib/modules/*/vmlinuz")):
        return _image(image)._replace(origin=origin)
    raise UnavailableError(f"{directory} has neither boot/vmlinuz-* nor lib/modules/*/vmlinuz")


def _fetch(package: str, suites: Sequence[str], work: Path) -> None:
    """Fill `work` with a kernel, its modules and its headers."""
    apt = Apt(work / "apt", "amd64", suites)
    (image,) = _parts(apt, package.format("image"), "linux-image-")
    headers = image.replace("image", "headers")
    parts = [
        name
        for name in apt.depends(headers)
        if name.endswith("-common") or name.startswith("linux-kbuild-")
    ]
    parts += _parts(apt, image, "linux-binary-", "linux-modules-")  # of their own since 7.3
    say(f"downloading {image} and its headers")
    debs = apt.download(image, headers, *parts)
    say(f"unpacking {image}")
    (work / "usr/lib").mkdir(parents=True)
    (work / "lib").symlink_to("usr/lib")  # where older packages have the modules
    for deb in debs:
        unpack(deb, work)
    relocate(work)
    shutil.rmtree(work / "apt")


def _parts(apt: Apt, package: str, *prefixes: str) -> list[str]:
    return [name for name in apt.depends(package) if name.startswith(prefixes)]


def relocate(root: Path) -> None:
    """Make what names /usr/src in unpacked headers find it below `root`, wherever that is."""
    for link in root.glob("lib/modules/*/*"):
        if link.is_symlink() and link.readlink().is_absolute():  # build and source
            place = link.parent.resolve()
            target = root.resolve() / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(os.path.relpath(target, place))
    here = "$(dir $(lastword $(MAKEFILE_LIST)))../"
    for makefile in root.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text()
        if "include /usr/src/" in text:
            text = text.replace("KBUILD_OUTPUT=/usr/src/", f"KBUILD_OUTPUT:={here}")
            makefile.write_text(text.replace("include /usr/src/", f"include {here}"))


def _fetch_busybox(work: Path) -> None:
    apt = Apt(work / "apt", "amd64")
    unpack(apt.download("busybox-static")[0], work)
    shutil.copy(next(work.glob("**/bin/busybox")), work / "busybox")
    shutil.rmtree(work / "apt")
