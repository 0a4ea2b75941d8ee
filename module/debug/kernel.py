"""Builds the debug kernel from Debian's source, and modules for it.

All is kept in the cache directory: `VERSION/source` is shared, `VERSION/build-HASH` belongs to one
configuration and one release of the source. Nothing is written into the project.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CONFIG = Path(__file__).with_name("config")
PROGRAMS = {
    "gcc": "gcc", "make": "make", "ld": "binutils", "flex": "flex", "bison": "bison", "bc": "bc",
    "xz": "xz-utils", "dpkg-deb": "dpkg", "apt-get": "apt", "tar": "tar",
}  # fmt: skip

# Mistakes of User Mode Linux that would hide the module's: a file, what is there, what is right.
MISTAKES = (
    (  # It goes through areas without a lock, also those of a fork that did not come to be.
        "arch/um/kernel/tlb.c",
        """\
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma)
		um_tlb_mark_sync(mm, vma->vm_start, vma->vm_end);
""",
        "	um_tlb_mark_sync(mm, 0, TASK_SIZE);\n",
    ),
    (  # It maps foreign frames from the third page of a batch on: module/debug/set_ptes.md.
        "arch/um/include/asm/pgtable.h",
        "		pte = __pte(pte_val(pte) + (nr << PFN_PTE_SHIFT));\n",
        "		pte = __pte(pte_val(pte) + (1UL << PFN_PTE_SHIFT));\n",
    ),
)


class CannotError(Exception):
    """It can't be built or run here; the text says why, and what to do."""


def cache() -> Path:
    """Give the directory that all is kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mapdev/debug-kernel"


def build(version: str, jobs: int) -> Path:
    """Give the build tree of the kernel, built if it is not yet.

    :raises CannotError: a package is missing, or the build failed.
    """
    check_programs()
    with locked(cache() / version):
        source = fetch(version)
        mend(source)
        digest = hashlib.sha256(CONFIG.read_bytes() + (source / ".package").read_bytes())
        tree = cache() / version / f"build-{digest.hexdigest()[:12]}"
        if not (tree / ".done").exists():
            compile_kernel(source, tree, jobs)
    return tree


def check_programs() -> None:
    """Check that the programs that a build needs are here.

    :raises CannotError: some are not.
    """
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    if not any(Path(p).exists() for p in ("/usr/include/x86_64-linux-gnu/gnu/stubs-64.h",)):
        missing.add("libc6-dev")
    if missing:
        raise CannotError(f"missing: apt-get install {' '.join(sorted(missing))}")
    if os.uname().machine != "x86_64":
        raise CannotError("User Mode Linux is for x86-64 only")


def fetch(version: str) -> Path:
    """Give the kernel's source, downloaded and unpacked if it is not yet."""
    source = cache() / version / "source"
    if (source / ".package").exists():
        return source
    package = f"linux-source-{version}"
    say(f"downloading Debian's {package}")
    partial = cache() / version / "download"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = ("apt-get", "-qq", "-oAPT::Sandbox::User=root", "download", package)
    done = subprocess.run(command, cwd=partial, capture_output=True, text=True, check=False)
    archives = list(partial.glob("*.deb"))
    if done.returncode or not archives:
        raise CannotError(
            f"apt-get can't download {package} (apt-get update first? for 6.12 on Debian 12, "
            f"bookworm-security or -backports has it):\n{done.stderr}"
        )
    say("unpacking")
    unpack = (
        'dpkg-deb --fsys-tarfile "$1" | tar xO "./usr/src/$2.tar.xz" | tar xJ --strip-components=1'
    )
    target = partial / "source"
    target.mkdir()
    shell = ("bash", "-c", f"set -o pipefail; {unpack}", "sh", archives[0], package)
    subprocess.run(shell, cwd=target, check=True)
    (target / ".package").write_text(archives[0].name)
    shutil.rmtree(source, ignore_errors=True)
    target.rename(source)
    shutil.rmtree(partial)
    return source


def mend(source: Path) -> None:
    """Mend the source, once; what was built of it before is to be made again."""
    for name, wrong, right in MISTAKES:
        text = (source / name).read_text()
        if wrong in text:
            (source / name).write_text(text.replace(wrong, right))
            for done in source.parent.glob("build-*/.done"):
                done.unlink()


def compile_kernel(source: Path, tree: Path, jobs: int) -> None:
    """Configure and compile the kernel in `tree`."""
    started = time.monotonic()
    tree.mkdir(exist_ok=True)
    make(source, "allnoconfig", f"O={tree}", log=tree, KCONFIG_ALLCONFIG=str(CONFIG))
    wanted = re.findall(r"^CONFIG_\w+=.*", CONFIG.read_text(), re.MULTILINE)
    lost = sorted(set(wanted) - set((tree / ".config").read_text().splitlines()))
    if lost:
        raise CannotError(f"this kernel does not take {', '.join(lost)} of {CONFIG}")
    say(f"building the kernel; {tree}/log tells how far it is")
    make(tree, f"-j{jobs}", "linux", "modules", log=tree)
    (tree / ".done").touch()
    say(f"the kernel took {time.monotonic() - started:.0f} s")


def build_module(tree: Path, source: Path, name: str) -> Path:
    """Build the module in `source` for the kernel in `tree`, give its file.

    :raises CannotError: it does not compile.
    """
    target = tree / f"module-{name}"
    with locked(target):
        for file in source.iterdir():
            if file.suffix in (".c", ".h") or file.name in ("Kbuild", "Makefile"):
                copy = target / file.name
                if not copy.exists() or copy.read_bytes() != file.read_bytes():
                    shutil.copy(file, copy)
        if not any((target / name).exists() for name in ("Kbuild", "Makefile")):
            raise CannotError(f"{source} has neither Kbuild nor Makefile")
        # Debugging information is for addr2line: the kernel itself is built without.
        make(tree, f"M={target}", "modules", log=target, KCFLAGS="-g -fdebug-prefix-map=./=")
    return target / f"{name}.ko"


def make(directory: Path, *words: str, log: Path, **environment: str) -> None:
    """Run make, its output in the file `log`; the last of it is shown if it fails."""
    command = ("nice", "-n", "19", "make", "-C", str(directory), "ARCH=um", *words)
    with (log / "log").open("w") as output:
        done = subprocess.run(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            check=False,
        )
    text = (log / "log").read_text(errors="replace")
    for warning in re.findall(r"^.*: (?:warning|WARNING):? .*", text, re.MULTILINE):
        if log.name.startswith("module-"):
            say(warning)
    if done.returncode:
        errors = re.findall(r"^.*(?:error|undefined|No rule).*", text, re.MULTILINE)
        shown = "\n".join(errors[:40] or text.splitlines()[-40:])
        raise CannotError(f"make failed, see {log}/log:\n{shown}")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one process at a time work in `directory`, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build in {directory}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(*words: object) -> None:
    """Tell the user what is going on."""
    print("debug kernel:", *words, file=sys.stderr, flush=True)


def resolve(tree: Path, module: Path, addresses: Sequence[str]) -> dict[str, str]:
    """Give file and line of those addresses in the module, like `name+0x12/0x34`, that have one."""
    places: dict[str, str] = {}
    for address in addresses:
        done = subprocess.run(
            ("bash", tree / "source/scripts/faddr2line", module, address),
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.strip() for line in done.stdout.splitlines()[1:] if " at " in line]
        if lines:
            places[address] = lines[0].rpartition(" at ")[2].rpartition("/")[2]
    return places
