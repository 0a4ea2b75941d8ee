"""A host that dies, in whatever state, leaves nobody hanging."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pace import patience

from mapdev.linux import PAGE_SIZE

HOST = """
import logging, os, sys, time
sys.path.insert(0, {tests!r})
import mapdev
from devices import Buffer

class Slow(Buffer):
    def ioctl(self, file, cmd, arg):
        print("in the call", flush=True); time.sleep(100)
    def mmap(self, file, vma):
        if vma.vm_pgoff: print("in the call", flush=True); time.sleep(100)
        super().mmap(file, vma)

host = mapdev.host()
host.add(Slow, "/dev/x")
host.popen([sys.executable, "-S", "-c", {client!r}])
time.sleep(100)
"""

# What the client has to say goes through descriptor 20, which the filter doesn't look at: writing to
# standard output fails, too, once there is no host.
CLIENT = f"""
import fcntl, mmap, os, sys
os.dup2(1, 20)
def print(*words, flush): os.write(20, " ".join(map(str, words)).encode() + b"\\n")
fd = os.open("/dev/x", os.O_RDWR)
m = mmap.mmap(fd, {PAGE_SIZE}); m[0] = 42
print("ready", os.getpid(), flush=True)
try: %s
except OSError as error: print("failed", error.errno, flush=True)
print("still mapped", m[0], flush=True)
try: os.open("/dev/x", os.O_RDWR)
except OSError as error: print("failed", error.errno, flush=True)
"""

MMAP = f"mmap.mmap(fd, {PAGE_SIZE}, offset={PAGE_SIZE})"
# With other threads about, a place is reserved before the driver is asked: the client is stopped.
ANOTHER_THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(9,)).start()"


@pytest.mark.parametrize(
    ("call", "survives"),
    [("fcntl.ioctl(fd, 1)", True), (MMAP, True), (f"{ANOTHER_THREAD}; {MMAP}", False)],
    ids=["ioctl", "mmap", "mmap with threads"],
)
def test_a_killed_host(call: str, survives: bool) -> None:
    code = HOST.format(tests=str(Path(__file__).parents[1] / "hosts"), client=CLIENT % call)
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    pid = int(host.stdout.readline().split()[1])
    assert host.stdout.readline() == "in the call\n"
    host.kill()
    host.wait()
    # Python gets ENOSYS (38) for the pending call and for those after it; a client that was
    # stopped for a mapping goes down with the host.
    expected = "failed 38\nstill mapped 42\nfailed 38\n" if survives else ""
    assert host.stdout.read() == expected
    host.stdout.close()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(pid)


HOST_OF_FAULTS = """
import sys, time
import mapdev
host = mapdev.host()
host.add("lazy", "/dev/x")
host.popen([sys.executable, "-S", "-c", {client!r}])
time.sleep(100)
"""
FAULTS = f"""
import mmap, os, select, sys
os.dup2(1, 20)
fd = os.open("/dev/x", os.O_RDWR)
m = mmap.mmap(fd, 2 * {PAGE_SIZE}); m[0] = 42
pidfd = os.pidfd_open(os.getppid())
os.write(20, b"ready\\n")
select.select([pidfd], [], [], 60)
select.select([], [], [], 0.5)  # for what the worker does now
os.write(20, b"still mapped %d, then %d\\n" % (m[0], m[{PAGE_SIZE}]))
"""


def test_a_program_whose_pages_the_host_brought_lives_on() -> None:
    """Its worker ends with the host, and takes nothing along."""
    code = HOST_OF_FAULTS.format(client=FAULTS)
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    assert host.stdout.readline() == "ready\n"
    host.kill()
    host.wait(30)
    assert host.stdout.read() == "still mapped 42, then 0\n"
    host.stdout.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_in_a_terminal() -> None:
    """A terminal sends SIGINT to the whole group: the command ends, then the host."""
    run = [sys.executable, "-m", "mapdev.cli", "run", "-d", "/dev/x=contiguous", "--"]
    with subprocess.Popen(
        [*run, "sh", "-c", "echo ready; exec sleep 100"],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as host:  # fmt: skip
        assert host.stdout is not None and host.stdout.readline() == "ready\n"
        os.killpg(host.pid, signal.SIGINT)
        assert host.wait(patience(30)) == 130


# The signal comes to the host when the command has ended already.
LATE_INTERRUPT = """
import mapdev.run, os, signal, sys
serve = mapdev.run._serve
def interrupted(*args):
    status = serve(*args)
    os.kill(os.getpid(), signal.SIGINT)
    return status
mapdev.run._serve = interrupted
sys.exit(mapdev.run.run([], ["sh", "-c", "kill -INT $$"]))
"""


def test_ctrl_c_whose_end_comes_before_its_signal() -> None:
    """The command may be gone before the host has looked at the signal that ended both."""
    done = subprocess.run([sys.executable, "-c", LATE_INTERRUPT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_host_alone_is_passed_on(number: signal.Signals) -> None:
    run = [sys.executable, "-m", "mapdev.cli", "run", "-d", "/dev/x=contiguous", "--"]
    with subprocess.Popen([*run, "sh", "-c", "echo ready; exec sleep 100"],
                          stdout=subprocess.PIPE, text=True) as host:  # fmt: skip
        assert host.stdout is not None and host.stdout.readline() == "ready\n"
        host.send_signal(number)
        assert host.wait(patience(30)) == 128 + number
