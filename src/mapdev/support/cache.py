"""The cache: directories that are made once and kept until somebody removes them.

Makers of the same directory are serialised by a lock file. A directory is complete once it has its
name; one that was left half-made (`.new`) is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def cache_directory() -> Path:
    """Return where mapdev keeps what it made: $MAPDEV_CACHE, or mapdev in the user's cache."""
    own = os.environ.get("MAPDEV_CACHE")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mapdev"


def recipe_of(*sources: Path) -> str:
    """Return a name for what these files make, another one when they change."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def made_once(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """Return the cache's directory NAME-RECIPE; have `make` fill it when there is none.

    Directories of the same name and other recipes are outdated, and removed then.
    """
    directory = cache_directory() / f"{name}-{recipe}"
    if directory.exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            work = directory.with_name(directory.name + ".new")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            make(work)
            for outdated in directory.parent.glob(f"{name}-*"):
                if outdated != work:
                    shutil.rmtree(outdated)
            work.rename(directory)
    return directory
