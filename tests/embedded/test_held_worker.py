"""A debugger stops all threads of a program, the host's worker among them: nobody else waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from devices import Buffer
from faulting import Asked, Told
from pace import patience

from mapdev.host.embedded.host import EmbeddedHost

Client = Callable[..., str]
Start = Callable[..., Any]

PROGRAM = """
p = raw_mmap(None, 8 * P, R | W, SHARED, os.open('/dev/x', os.O_RDWR))
poke(p, b'X'); print(p, flush=True)
sys.stdin.readline()
assert (peek(p + P, 6), peek(p + 2 * P, 6), peek(p + 3 * P, 6)) == (b'PAGE01', b'PAGE02', b'PAGE03')
for page in range(1, 4): poke(p + page * P, b'page')
print(peek(p + P, 6), flush=True)
sys.stdin.readline()
"""

# A debugger that stops every thread, and a process that looks at pages meanwhile: with
# process_vm_readv, which waits for them, and /proc/PID/mem, which does not.
DEBUGGER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid, area, page = map(int, sys.argv[1:])
threads = [int(tid) for tid in os.listdir(f'/proc/{pid}/task')]
for tid in threads:
    assert libc.ptrace(0x4206, tid, 0, 0) == libc.ptrace(0x4207, tid, 0, 0) == 0  # SEIZE, INTERRUPT
    os.waitid(os.P_PID, tid, os.WSTOPPED | 0x40000000)
print(len(threads), flush=True)

def peek(addr):
    buffer = ctypes.create_string_buffer(6)
    ours, theirs = ((ctypes.c_size_t * 2)(at, 6) for at in (ctypes.addressof(buffer), addr))
    assert libc.process_vm_readv(pid, ours, 1, theirs, 1, 0) == 6
    return buffer.raw

peekers = []
for number in (1, 1, 2):
    peekers.append(os.fork())
    if not peekers[-1]:
        os._exit(peek(area + number * page) != b'PAGE%02d' % number)
memory = os.open(f'/proc/{pid}/mem', os.O_RDONLY)
assert os.pread(memory, 1, area) == b'X'
try: print(os.pread(memory, 6, area + 3 * page), flush=True)
except OSError as error: print(error.strerror, flush=True)
sys.stdin.readline()
for tid in threads: assert libc.ptrace(17, tid, 0, 0) == 0
assert [os.waitstatus_to_exitcode(os.waitpid(peeker, 0)[1]) for peeker in peekers] == [0, 0, 0]
"""


@pytest.fixture
def debugger() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a debugger outside of mapdev."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-S", "-c", DEBUGGER, *map(str, args)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("driver", [Asked, Told])
def test_a_look_at_a_page_yet_to_come(
    mapdev: EmbeddedHost, start: Start, client: Client, debugger: Callable[..., Any], driver: Any
) -> None:
    mapdev.add(driver, "/dev/x")
    mapdev.add(Buffer, "/dev/y")
    program = start("import mmap\n" + PROGRAM)
    area = int(program.stdout.readline())
    holder = debugger(program.pid, area, 4096)
    assert int(holder.stdout.readline()) == 2  # its own thread, and the worker
    assert holder.stdout.readline() in ("Input/output error\n", "b'PAGE03'\n")
    for _ in range(3):
        client("assert os.write(os.open('/dev/y', os.O_RDWR), b'served') == 6")
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.wait(patience(20)) == 0
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "b'page01'\n"
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.wait(patience(20)) == 0
