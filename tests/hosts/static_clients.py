"""Clients in C and Go, static but for those that need libraries: compiled here, or found where somebody compiled them before.

A virtual machine compiles slowly, and may have no compiler: whoever starts one compiles them with
`compile_all` and sets MAPDEV_CLIENTS to their directory.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

SOURCES = Path(__file__).parent.parent / "clients"
LOOPS = SOURCES / "loops"  # programs that need more than a C compiler
NAMES = ("events", "sigbus", "threads", "toucher", "libuv", "netpoller")  # those of tests/hosts
FLAGS = ("-O1", "-Wall", "-static", "-pthread")


class UnavailableError(Exception):
    """A client can't be had here; the text says what is missing."""


def find(name: str, directory: Path) -> Path:
    """Return a client, compiled into `directory` unless MAPDEV_CLIENTS has it; or skip the test."""
    program = Path(os.environ.get("MAPDEV_CLIENTS", directory)) / name
    if not program.exists():
        try:
            compile_client(name, program)
        except UnavailableError as error:
            _missing(str(error))
    return program


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def compile_client(name: str, program: Path) -> None:
    """Compile the client `name` of tests/clients or tests/clients/loops.

    :raises UnavailableError: there is no compiler or library for it.
    """
    if name == "netpoller":
        _compile_go(LOOPS / f"{name}.go", program)
        return
    compiler = shutil.which("cc")
    if compiler is None:
        raise UnavailableError("no C compiler: apt-get install gcc libc6-dev")
    if name == "libuv":
        if not _has_header(compiler, "uv.h"):
            raise UnavailableError("no libuv: apt-get install libuv1-dev")
        command = [compiler, "-O1", "-Wall", "-o", program, LOOPS / f"{name}.c", "-luv"]
    else:
        command = [compiler, *FLAGS, "-o", program, SOURCES / f"{name}.c"]
    subprocess.run(command, check=True)


def _has_header(compiler: str, header: str) -> bool:
    command = [compiler, "-E", "-include", header, "-x", "c", os.devnull]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _compile_go(source: Path, program: Path) -> None:
    compiler = shutil.which("go")
    if compiler is None:
        raise UnavailableError("no Go compiler: apt-get install golang-go")
    cache = program.parent / "go"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(cache), "GO111MODULE": "off"}
    command = [compiler, "build", "-o", program, source]
    subprocess.run(command, check=True, env=environment)


def compile_all(directory: Path) -> list[str]:
    """Compile all clients of tests/hosts; return why some can't be had."""
    missing = []
    for name in NAMES:
        try:
            compile_client(name, directory / name)
        except UnavailableError as error:
            missing.append(str(error))
    return missing
