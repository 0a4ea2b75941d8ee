"""An open that waits makes a file only when it ends well, whatever else it may end by."""

from __future__ import annotations

import errno
import signal
import subprocess
import threading
from collections.abc import Callable

import pytest
from devices import Bare
from innards import belongings
from pace import patience

from mapdev.host.core.host import Host
from mapdev.linux import File, Inode, WaitQueueHead, wait_event_interruptible, wake_up

Start = Callable[..., subprocess.Popen[str]]


class Gate(Bare):
    """Its open waits until it is let in, or refused with an errno."""

    def probe(self) -> None:
        self.queue = WaitQueueHead()
        self.tried = threading.Semaphore(0)
        self.is_open = False
        self.refusal = 0
        self.opened = self.released = 0

    def open(self, inode: Inode, file: File) -> None:
        self.tried.release()
        wait_event_interruptible(self.queue, lambda: self.is_open or self.refusal)
        if self.refusal:
            raise OSError(self.refusal, "refused")
        self.opened += 1

    def release(self, inode: Inode, file: File) -> None:
        self.released += 1

    def await_open(self) -> None:
        assert self.tried.acquire(timeout=patience(30)), "nobody opens"

    def decide(self, refusal: int = 0) -> None:
        self.is_open, self.refusal = not refusal, refusal
        wake_up(self.queue)


@pytest.fixture
def gate(mapdev: Host) -> Gate:
    return mapdev.add(Gate, "/dev/x")


def check(mapdev: Host, gate: Gate, opened: int = 0) -> None:
    """Check that so many files were opened, and that none is left."""
    mapdev.settle()
    assert gate.opened == opened
    assert belongings(mapdev).files == 0
    assert not mapdev.has_clients
    assert gate.released == opened


def test_o_nonblock(mapdev: Host, gate: Gate, client: Callable[..., str]) -> None:
    client("raises(errno.EAGAIN, os.open, '/dev/x', os.O_RDWR | os.O_NONBLOCK)")
    check(mapdev, gate)


def test_let_in(mapdev: Host, gate: Gate, start: Start) -> None:
    process = start("os.open('/dev/x', os.O_RDWR)")
    gate.await_open()
    gate.decide()
    assert process.wait(patience(30)) == 0
    check(mapdev, gate, opened=1)


def test_refused(mapdev: Host, gate: Gate, start: Start) -> None:
    process = start("raises(errno.EBUSY, os.open, '/dev/x', os.O_RDWR)")
    gate.await_open()
    gate.decide(errno.EBUSY)
    assert process.wait(patience(30)) == 0
    check(mapdev, gate)


def test_ended_by_a_signal(mapdev: Host, gate: Gate, start: Start) -> None:
    process = start(
        """
        signal.signal(signal.SIGUSR1, lambda *a: None); signal.siginterrupt(signal.SIGUSR1, True)
        assert libc.open(b'/dev/x', os.O_RDWR) == -1 and ctypes.get_errno() == errno.EINTR
        """
    )
    gate.await_open()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(patience(30)) == 0
    check(mapdev, gate)


def test_restarted_after_a_signal(mapdev: Host, gate: Gate, start: Start) -> None:
    process = start(
        """
        signal.signal(signal.SIGUSR1, lambda *a: None); signal.siginterrupt(signal.SIGUSR1, False)
        assert libc.open(b'/dev/x', os.O_RDWR) >= 0
        """
    )
    gate.await_open()
    process.send_signal(signal.SIGUSR1)
    gate.await_open()
    gate.decide()
    assert process.wait(patience(30)) == 0
    check(mapdev, gate, opened=1)


def test_killed(mapdev: Host, gate: Gate, start: Start) -> None:
    process = start("os.open('/dev/x', os.O_RDWR)")
    gate.await_open()
    process.kill()
    assert process.wait(patience(30)) == -signal.SIGKILL
    check(mapdev, gate)
