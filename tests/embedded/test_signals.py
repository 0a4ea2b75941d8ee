"""Signals that arrive in the middle of a call: none is lost, none taken for something else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from devices import Buffer
from pace import patience, rounds

from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import PAGE_SIZE, File, VmAreaStruct

Client = Callable[..., str]


def test_a_storm_of_signals_while_mapping(
    mapdev: EmbeddedHost, static: Callable[[str], str]
) -> None:
    mapdev.add(Buffer, "/dev/x")
    done = mapdev.run(
        [static("signals"), "/dev/x", str(rounds(500))], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


class SlowMap(Buffer):
    """Takes its time in mmap and read, so that something can happen meanwhile."""

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        time.sleep(0.3)
        super().mmap(file, vma)

    def read(self, file: File, count: int, pos: int) -> memoryview:
        time.sleep(0.3)
        return super().read(file, count, pos)


def test_a_signal_during_an_operation(mapdev: EmbeddedHost, client: Client) -> None:
    """The operation takes effect once, and the handler runs right after it."""
    driver = mapdev.add(SlowMap, "/dev/x")
    client(
        """
        seen = []
        signal.signal(signal.SIGALRM, lambda *a: seen.append(1))
        fd = os.open('/dev/x', os.O_RDWR)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        p = raw_mmap(None, P, R | W, SHARED, fd)
        assert seen == [1]; poke(p, b'ok')
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert os.read(fd, 2) == b'ok' and seen == [1, 1]
        """
    )
    assert driver.calls.count("mmap") == driver.calls.count("read") == 1


def test_stop_and_continue_during_a_mapping(mapdev: EmbeddedHost) -> None:
    driver = mapdev.add(SlowMap, "/dev/x")
    code = (
        "import mmap, os; fd = os.open('/dev/x', 2); print('ready', flush=True)\n"
        f"m = mmap.mmap(fd, {PAGE_SIZE}); m[0] = 7; print('mapped', flush=True)"
    )
    process = mapdev.popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while _state(process.pid) != "T" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _state(process.pid) == "T", "the stop was lost"
    os.kill(process.pid, signal.SIGCONT)
    assert process.stdout.readline() == "mapped\n"
    assert process.wait(30) == 0
    process.stdout.close()
    mapdev.settle()
    assert driver.bytes[0] == 7


def test_job_control(mapdev: EmbeddedHost, shell: Callable[..., str]) -> None:
    """A shell sees its child stop and go on, as without us."""
    mapdev.add(Buffer, "/dev/x")
    out = shell(
        f"""
        set -m
        sh -c 'exec 9<>/dev/x; kill -STOP $$; echo back' &
        sleep {patience(0.3)}; jobs | grep -c Stopped; kill -CONT %1; wait %1
        """,
        sh="bash",
    )
    assert out.splitlines()[0] == "1" and "back" in out


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]
