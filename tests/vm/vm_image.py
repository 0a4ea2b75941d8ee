"""Build what the aarch64 VM starts from: a kernel and an initramfs of Debian and PyPI packages.

The base (some 150 MB: kernel, Python, shell, tools, pytest) is downloaded once and kept in the
cache; the project's own files go into a second, small archive, made anew for each start. Nothing
here needs root: apt works in directories of its own, and no package script runs.

Builders of the same base are serialised by a lock file; a base is complete once it has its name.
"""

from __future__ import annotations

import importlib.util
import io
import py_compile
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from stat import S_IFDIR, S_IFREG

import mapdev.vm
from mapdev.support.cache import cache_directory, made_once, recipe_of
from mapdev.support.tools import run, say
from mapdev.vm.archive import Archive
from mapdev.vm.debian import Apt, unpack

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
GUEST_PROJECT = "mapdev"
GUEST_CLIENTS = "opt/clients"
GUEST_SITE = "opt/site"
USER_ID = 1000

KERNEL_PACKAGE = "linux-image-cloud-arm64"
MODULES = ("virtio", "virtio_ring", "virtio_mmio", "virtio_console", "brd")
DEBIAN_PACKAGES = (
    "busybox-static",
    "python3.11",
    "dash",
    "bash",
    "coreutils",
    "diffutils",
    "strace",
)
PYTHON_PACKAGES = ("pytest", "pytest-xdist", "pillow", "rich")
# What no test reads, to keep the image small: the VM unpacks it at each start.
LEFT_OUT = (
    "usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian",
    "usr/share/perl5", "usr/lib/aarch64-linux-gnu/perl-base", "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/python3.11/ensurepip", "usr/lib/python3.11/lib2to3", "usr/lib/python3.11/idlelib",
)  # fmt: skip
PROJECT_FILES = ("pyproject.toml", "README.md", "src", "tests", "docs", "demo")


def base() -> tuple[Path, Path]:
    """Return the kernel and the base initramfs; build them when the cache has none.

    :raises UnavailableError: a tool or the network is missing.
    """
    package = Path(mapdev.vm.__file__).parent
    recipe = recipe_of(Path(__file__), package / "archive.py", package / "debian.py")
    directory = made_once("aarch64", recipe, _build_base)
    return directory / "vmlinuz", directory / "base.cpio"


def project(command: Sequence[str], *, user: str, environment: Mapping[str, str]) -> bytes:
    """Return an initramfs archive with the project, its test clients and the command to run."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd /{GUEST_PROJECT}", f"exec {shlex.join(command)}"]
    file = io.BytesIO()
    with Archive(file) as archive:
        archive.add("init", S_IFREG | 0o755, (HERE / "init.sh").read_bytes())
        archive.add("command", S_IFREG | 0o644, "\n".join(lines).encode() + b"\n")
        archive.add("environment", S_IFREG | 0o644, f"USER={user}\n".encode())
        archive.add(GUEST_PROJECT, S_IFDIR | 0o755, owner=USER_ID)
        for path in _project_files():
            name = f"{GUEST_PROJECT}/{path.relative_to(PROJECT)}"
            data = b"" if path.is_dir() else path.read_bytes()
            archive.add(name, path.stat().st_mode, data, USER_ID)
        archive.add(GUEST_CLIENTS, S_IFDIR | 0o755)
        for path in _clients():
            archive.add(f"{GUEST_CLIENTS}/{path.name}", S_IFREG | 0o755, path.read_bytes())
        _add_installation(archive)
    return file.getvalue()


def _project_files() -> Iterable[Path]:
    for name in PROJECT_FILES:
        top = PROJECT / name
        if top.exists():
            yield top
        for path in sorted(top.rglob("*")):
            hidden = any(part == "__pycache__" or part[0] == "." for part in path.parts[-3:])
            if not hidden and (path.is_dir() or path.is_file()):
                yield path


def _add_installation(archive: Archive) -> None:
    """Add what `pip install` would leave behind: entry points and the command."""
    metadata = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    name, version = metadata["name"], metadata["version"]
    groups = {"console_scripts": metadata.get("scripts", {}), **metadata.get("entry-points", {})}
    entry_points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in groups.items()
    )
    directory = f"{GUEST_SITE}/{name}-{version}.dist-info"
    archive.add(directory, S_IFDIR | 0o755)
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    archive.add(f"{directory}/METADATA", S_IFREG | 0o644, header.encode())
    archive.add(f"{directory}/entry_points.txt", S_IFREG | 0o644, entry_points.encode())
    for script, target in metadata.get("scripts", {}).items():
        module, function = target.split(":")
        text = f"#!/usr/bin/python3\nimport sys\nfrom {module} import {function}\n"
        text += f"sys.exit({function}())\n"
        archive.add(f"usr/bin/{script}", S_IFREG | 0o755, text.encode())


def _clients() -> Iterable[Path]:
    """Compile tests/clients/*.c, statically linked; unchanged ones come from the cache."""
    directory = cache_directory() / "clients-aarch64"
    sources = sorted((PROJECT / "tests" / "clients").glob("*.c"))
    if sources:
        directory.mkdir(parents=True, exist_ok=True)
    for source in sources:
        program = directory / source.stem
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            run("aarch64-linux-gnu-gcc", "-O2", "-g", "-Wall", "-pthread", "-static", "-o",
                 str(program), str(source))  # fmt: skip
        yield program


def _build_base(work: Path) -> None:
    """Fill `work` with vmlinuz and base.cpio."""
    root = work / "root"
    for name in ("bin", "sbin", "lib"):  # merged /usr, as Debian 12 has it
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "proc", "sys", "tmp", "root", "etc", "lib/modules", GUEST_SITE):
        (root / name).mkdir(parents=True, exist_ok=True)

    debs = _download_debs(work)
    say("unpacking")
    kernel = work / "kernel"
    kernel.mkdir()
    for deb in debs:
        target = kernel if deb.name.startswith("linux-image") else root
        unpack(deb, target)
    shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), work / "vmlinuz")
    for module in MODULES:
        shutil.copy(next(kernel.rglob(f"{module}.ko")), root / "lib" / "modules")

    say("downloading Python packages")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--target", str(root / GUEST_SITE), "--python-version", "3.11", "--implementation", "cp",
         "--platform", "manylinux_2_28_aarch64", "--platform", "manylinux2014_aarch64",
         "--only-binary", ":all:", "--no-compile", *PYTHON_PACKAGES)  # fmt: skip

    for name in LEFT_OUT:
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "usr/bin/python3").unlink(missing_ok=True)
    (root / "usr/bin/python3").symlink_to("python3.11")
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    user = f"user:x:{USER_ID}:{USER_ID}::/tmp:/bin/sh\n"
    (root / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{user}")
    (root / "etc/group").write_text(f"root:x:0:\nuser:x:{USER_ID}:\n")
    _compile(root)
    with (work / "base.cpio").open("wb") as file, Archive(file) as archive:
        archive.add_tree(root)
    for name in ("root", "kernel", "apt"):
        shutil.rmtree(work / name)


def _download_debs(work: Path) -> list[Path]:
    apt = Apt(work / "apt", "arm64")
    say("downloading Debian packages")
    apt.download_with_dependencies(*DEBIAN_PACKAGES)
    return apt.download(apt.depends(KERNEL_PACKAGE)[0])


def _compile(root: Path) -> None:
    """Compile the Python files when this Python makes the byte code of the VM's: it starts faster.

    The files are marked as unchecked, since times change on the way.
    """
    if sys.version_info[:2] != (3, 11):
        return
    say("compiling Python files")
    for source in root.rglob("*.py"):
        if source.is_symlink():
            continue
        try:
            py_compile.compile(
                str(source),
                importlib.util.cache_from_source(str(source)),
                dfile="/" + str(source.relative_to(root)),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except py_compile.PyCompileError:
            continue
