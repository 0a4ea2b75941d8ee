"""Programs that others wrote: run them, and say plainly which one is missing."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path


class UnavailableError(Exception):
    """Something can't be had here; the text says what is missing and what would provide it."""


def need(program: str, package: str) -> str:
    """Return the path of `program`.

    :raises UnavailableError: it is not there; `package` is Debian's that has it.
    """
    # Programs for the system's administrator may be outside of an ordinary user's PATH.
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if path is None:
        raise UnavailableError(f"{program} is missing: {install(package)}")
    return path


def install(*packages: str) -> str:
    """Return the command that installs Debian packages."""
    return f"sudo apt-get install --no-install-recommends {' '.join(packages)}"


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a program to its end and return its standard output.

    :raises UnavailableError: it is missing or fails; the text has all it wrote.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise UnavailableError(f"{command[0]} is missing") from None
    except subprocess.CalledProcessError as error:
        text = (error.stdout + error.stderr).strip()
        raise UnavailableError(f"{shlex.join(command)} failed:\n{text}") from None
    return done.stdout


def say(text: str) -> None:
    """Say on standard error what takes a moment."""
    print(f"mapdev: {text}", file=sys.stderr, flush=True)
