"""Builds a machine's initramfs: a busybox, the modules that reach the host's files, the command.

Made anew for each start, in some hundredths of a second: the rest comes through 9p.
"""

from __future__ import annotations

import lzma
import re
import shlex
import subprocess
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_IFDIR, S_IFREG

from mapdev.support.tools import UnavailableError
from mapdev.vm.archive import Archive
from mapdev.vm.kernels import Kernel, busybox

MESSAGE_SIZE = 512000  # bytes of a 9p message: the most that virtio takes at once
_NEEDED = ("virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay")
# tmpfs has O_DIRECT from 6.6 on only; before, /var/tmp is a file system on a disk in memory.
_NEEDED_FOR_DISK = ("brd", "crc32c_generic", "ext4")
_NOT_EVERYWHERE = "crc32c_generic"  # newer kernels have it built in, under another name
_DIRECTORIES = ("bin", "dev", "proc", "sys", "host", "written", "root", "modules", "stage")


def write(
    path: Path,
    kernel: Kernel,
    command: Sequence[str],
    *,
    directory: str,
    environment: Mapping[str, str],
    module: Path | None = None,
    parameters: Sequence[str] = (),
    disk: bool = False,
) -> None:
    """Write the initramfs of a machine that runs `command` in `directory`.

    `module` is a kernel module that is loaded before, with `parameters` ("key=value"). With `disk`,
    /var/tmp is a file system on a disk, to which O_DIRECT writes from the very pages it is given.

    :raises UnavailableError: the kernel lacks what is needed, or there is no busybox.
    """
    settings = {
        "release": kernel.release,
        "modules": str(kernel.modules) if kernel.modules.is_dir() else "",
        "msize": str(MESSAGE_SIZE),
        "directory": directory,
        "parameters": " ".join(parameters),
    }
    with path.open("wb") as file, Archive(file) as archive:
        for name in _DIRECTORIES:
            archive.add(name, S_IFDIR | 0o755)
        archive.add("bin/busybox", S_IFREG | 0o755, busybox().read_bytes())
        archive.add("init", S_IFREG | 0o755, Path(__file__).with_name("guest.sh").read_bytes())
        archive.add("settings", S_IFREG | 0o644, _assignments(settings).encode())
        archive.add("command", S_IFREG | 0o644, _script(command, directory, environment).encode())
        for number, (name, data) in enumerate(_modules(kernel, disk)):
            archive.add(f"modules/{number:02}-{name}.ko", S_IFREG | 0o644, data)
        if module:
            archive.add(f"stage/{module.name}", S_IFREG | 0o644, module.read_bytes())


def _assignments(variables: Mapping[str, str], prefix: str = "") -> str:
    # A shell can't have variables of other names: those of bash's functions, for one.
    return "".join(
        f"{prefix}{name}={shlex.quote(value)}\n"
        for name, value in variables.items()
        if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)
    )


def _script(command: Sequence[str], directory: str, environment: Mapping[str, str]) -> str:
    lines = _assignments(environment, "export ")
    return f"{lines}cd {shlex.quote(directory)} || exit 125\nexec {shlex.join(command)}\n"


def _modules(kernel: Kernel, disk: bool = False) -> Iterator[tuple[str, bytes]]:
    """Yield the modules that are needed, each after those that it needs itself."""
    files = {_name(path): path for path in kernel.modules.rglob("*.ko*")}
    builtin = kernel.modules / "modules.builtin"
    known = (
        {_name(Path(line)) for line in builtin.read_text().split()} if builtin.exists() else set()
    )
    seen: set[str] = set()

    def load(name: str) -> Iterator[tuple[str, bytes]]:
        if name in seen:
            return
        seen.add(name)
        if name not in files:
            if known and name not in known and name != _NOT_EVERYWHERE:
                raise UnavailableError(f"{kernel.origin} has no module {name}")
            return
        data = _contents(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in depends[1].decode().split(",") if depends else ():
            if other:
                yield from load(other.replace("-", "_"))
        yield name, data

    version = tuple(int(number) for number in re.findall(r"\d+", kernel.release)[:2])
    for name in (*_NEEDED, *(_NEEDED_FOR_DISK if disk or version < (6, 6) else ())):
        yield from load(name)


def _name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def _contents(path: Path) -> bytes:
    data = path.read_bytes()
    match path.suffix:
        case ".xz":
            return lzma.decompress(data)
        case ".gz":
            return zlib.decompress(data, 31)
        case ".zst":
            return subprocess.run(
                ("zstd", "-dcq"), input=data, capture_output=True, check=True
            ).stdout
    return data
