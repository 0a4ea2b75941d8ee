"""Fixtures for tests on real processes: small clients in Python, and static ones in C.

The tests of both hosts and those of the embedded host import them in their conftest.py.
"""

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from subprocess import PIPE, CompletedProcess

import pytest
from pace import patience
from static_clients import find
from warm import WarmClient, WarmPython

from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import PAGE_SIZE

__all__ = ["client", "shell", "start", "static", "warm"]

TIMEOUT = patience(60)  # seconds: nothing here takes long, a client that hangs must fail

PRELUDE = f"""
import ctypes, errno, fcntl, mmap, os, signal, struct, sys, threading, time
P = {PAGE_SIZE}
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
FAILED = ctypes.c_void_p(-1).value
R, W, X = 1, 2, 4
SHARED, PRIVATE, FIXED, ANON, POPULATE = 1, 2, 0x10, 0x20, 0x8000
NOREPLACE = 0x100000

def raw_mmap(addr, length, prot, flags, fd, offset=0):
    ctypes.set_errno(0)
    p = libc.mmap(addr, length, prot, flags, fd, offset)
    if p == FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return p

def raw_read(fd, size=100):
    # read(2) itself: os.read would make a call that was interrupted again
    buffer = ctypes.create_string_buffer(size)
    ctypes.set_errno(0)
    count = libc.read(fd, buffer, ctypes.c_size_t(size))
    return buffer.raw[:count] if count >= 0 else errno.errorcode[ctypes.get_errno()]

def peek(p, n=1):
    return ctypes.string_at(p, n)

def poke(p, data):
    ctypes.memmove(p, data, len(data))

def raises(code, function, *args):
    try:
        result = function(*args)
    except OSError as error:
        assert error.errno == code, f"{{errno.errorcode[error.errno]}}, not {{errno.errorcode[code]}}"
    else:
        raise AssertionError(f"returned {{result!r}}, not {{errno.errorcode[code]}}")

def maps(name="/dev/"):
    return [line.split() for line in open("/proc/self/maps") if name in line]
"""

# Imported before a client is forked, in addition: what takes long to import.
WARM = "import asyncio, select\n"


@pytest.fixture(scope="session")
def warm(request: pytest.FixtureRequest) -> Iterator[WarmPython | None]:
    """Return what forks Python clients, where the host serves all programs."""
    if request.config.getoption("--mapdev-host") == "embedded":
        yield None
        return
    python = WarmPython(PRELUDE + WARM)
    yield python
    python.close()


@pytest.fixture
def client(mapdev: Host, warm: WarmPython | None) -> Callable[..., str]:
    """Run Python code as a client; what it prints is returned, its failure fails the test."""

    def run(code: str, *args: str, status: int = 0) -> str:
        output, errors, returned = _run(mapdev, warm, textwrap.dedent(code), args)
        assert returned == status, f"status {returned}\n{output}\n{errors}"
        return output

    return run


def _run(
    mapdev: Host, warm: WarmPython | None, code: str, args: Sequence[str]
) -> tuple[str, str, int]:
    if warm is None:
        program = [sys.executable, "-S", "-c", PRELUDE + code, *args]
        done = mapdev.run(program, capture_output=True, text=True, timeout=TIMEOUT)
        return done.stdout, done.stderr, done.returncode
    process = warm.start(code, args, errors=True)
    try:
        output, errors = process.communicate(timeout=TIMEOUT)
        return output, errors, process.wait()
    finally:
        process.close()
        mapdev.settle()


@pytest.fixture
def start(mapdev: Host, warm: WarmPython | None) -> Iterator[Callable[..., Process | WarmClient]]:
    """Start Python code as a client that a test goes along with; it is ended with the test."""
    started: list[Process | WarmClient] = []

    def run(code: str, *args: str) -> Process | WarmClient:
        code = textwrap.dedent(code)
        if warm is None:
            program = [sys.executable, "-S", "-c", PRELUDE + code, *args]
            started.append(mapdev.popen(program, text=True, stdin=PIPE, stdout=PIPE))
        else:
            started.append(warm.start(code, args))
        return started[-1]

    yield run
    while started:  # whoever still holds `run` shall not keep their pidfds
        process = started.pop()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def shell(mapdev: Host) -> Callable[..., str]:
    """Run a shell script as a client and return what it prints."""

    def run(script: str, *, sh: str = "sh", status: int = 0) -> str:
        done: CompletedProcess[str] = mapdev.run(
            [sh, "-c", script], capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def static(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the path of a static C client: of tests/clients, or in MAPDEV_CLIENTS."""
    directory = tmp_path_factory.mktemp("clients")
    return lambda name: str(find(name, directory))
