"""Makes root file systems: a release of Debian with Python, a compiler and the tests' packages."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

from mapdev.support.cache import made_once, recipe_of

PROJECT = Path(__file__).parents[2]
MIRROR = "http://deb.debian.org/debian"
PACKAGES = ["python3", "python3-venv", "gcc", "libc6-dev", "make", "busybox-static", "procps",
            "ca-certificates"]  # fmt: skip
_NOT_THERE = ("ruff", "mypy", "pre-commit")  # what no test in a container runs
_TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")  # a proxy's certificate may be among them


def root_of(release: str) -> Path:
    """Return the root file system of a release such as "bookworm"; make it when it is missing."""
    recipe = recipe_of(Path(__file__), PROJECT / "pyproject.toml")
    return made_once(f"root-{release}", recipe, lambda directory: _make(release, directory))


def _make(release: str, root: Path) -> None:
    include = "--include=" + ",".join(PACKAGES)
    _run("debootstrap", "--variant=minbase", include, release, str(root), MIRROR)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copy(_TRUSTED, root / str(_TRUSTED)[1:])
    (root / "src").mkdir()
    python = "/opt/venv/bin/python"
    _run("chroot", str(root), "python3", "-m", "venv", "/opt/venv")
    _run("chroot", str(root), "env", f"PIP_CERT={_TRUSTED}", python, "-m", "pip", "install",
         "--quiet", "--disable-pip-version-check", *_wanted())  # fmt: skip


def _wanted() -> list[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    return [package for package in wanted if not package.startswith(_NOT_THERE)]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=1200)


def python_of(root: Path) -> str:
    """Return the version of Python in a root file system."""
    done = subprocess.run(
        ["chroot", root, "/opt/venv/bin/python", "-c",
         "import platform; print(platform.python_version())"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()
