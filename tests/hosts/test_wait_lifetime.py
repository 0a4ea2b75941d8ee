"""What ends while a call waits: its client, its descriptor, its host; and kernel threads."""

import os
import threading
from collections.abc import Callable

import pytest
from devices import Bare, Items
from pace import patience

from mapdev.host.core import host as base
from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import (
    File,
    Inode,
    WaitQueueHead,
    kthread_run,
    kthread_should_stop,
    schedule_timeout_interruptible,
    wait_event_interruptible,
    wake_up,
)

Start = Callable[..., Process]

READ = "fd = os.open('/dev/x', os.O_RDWR); print(os.read(fd, 100).decode(), flush=True)"


def output(process: Process) -> str:
    """What a client prints until it ends."""
    text: str = process.communicate(timeout=patience(60))[0]
    assert process.returncode == 0, text
    return text


class SlowOpen(Bare):
    """Its open waits until it is let go."""

    def probe(self) -> None:
        self.queue = WaitQueueHead()
        self.ready = False
        self.tried = threading.Semaphore(0)
        self.done: list[str] = []

    def open(self, inode: Inode, file: File) -> None:
        self.tried.release()
        wait_event_interruptible(self.queue, lambda: self.ready)
        self.done.append("open")


def test_a_killed_reader_takes_nothing(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Items, "/dev/x")
    first = start(READ)
    driver.await_reads()
    second = start(READ)
    driver.await_reads()
    first.kill()
    first.wait()
    driver.await_release()
    driver.put(b"survivor")
    assert output(second) == "survivor\n"
    assert driver.reads == 3


def test_a_killed_reader_of_a_shared_file_is_forgotten(mapdev: Host, start: Start) -> None:
    """No descriptor is closed for good, so nothing but a look at the thread tells."""
    driver = mapdev.add(Items, "/dev/x")
    parent = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        child = os.fork()
        if not child:
            os.read(fd, 1)
        sys.stdin.readline()
        os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
        print(os.read(fd, 100).decode())
        """
    )
    driver.await_reads()
    parent.stdin.write("go\n")
    parent.stdin.flush()
    driver.await_reads()
    driver.put(b"mine")
    assert output(parent) == "mine\n"
    assert not driver.items


def test_the_file_stays_while_a_call_waits(mapdev: Host, start: Start) -> None:
    """Its descriptor is closed and the number used for another file meanwhile."""
    driver = mapdev.add(Items, "/dev/x")
    other = mapdev.add(Items, "/dev/y")
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        thread = threading.Thread(target=lambda: print(os.read(fd, 100).decode())); thread.start()
        sys.stdin.readline()
        other = os.open('/dev/y', os.O_RDWR); os.dup2(other, fd); os.close(other)
        print('closed', flush=True); thread.join()
        assert os.readlink(f'/proc/self/fd/{fd}') == '/dev/y'
        """
    )
    driver.await_reads()
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "closed\n"
    mapdev.settle()
    assert not driver.gone.acquire(blocking=False), "released under a call that waits"
    other.put(b"wrong")
    driver.put(b"right")
    assert output(process) == "right\n"
    driver.await_release()


def test_an_open_that_waits_ends_with_its_client(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(SlowOpen, "/dev/x")
    process = start("os.open('/dev/x', os.O_RDWR)")
    assert driver.tried.acquire(timeout=patience(30))
    process.kill()
    process.wait()
    driver.ready = True
    wake_up(driver.queue)
    mapdev.settle()
    assert driver.done == []


def test_a_host_that_ends_leaves_nobody_waiting(new_host: Callable[..., Host]) -> None:
    with new_host() as host:
        driver = host.add(Items, "/dev/x")
        process = host.popen(["cat", "/dev/x"])
        driver.await_reads()
    assert process.wait(patience(30)) == -9
    assert all("cat" in leak or str(process.pid) in leak for leak in host.leaks), host.leaks


def test_parked_calls_keep_no_descriptors(mapdev: Host, shell: Callable[..., str]) -> None:
    mapdev.add("echo", "/dev/x", size=16)
    shell("head -c 1000 /dev/zero >/dev/x & head -c 1000 /dev/x >/dev/null; wait")
    before = len(os.listdir("/proc/self/fd"))
    shell("head -c 1000 /dev/zero >/dev/x & head -c 1000 /dev/x >/dev/null; wait")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_kernel_thread_that_does_not_stop_is_a_leak(
    monkeypatch: pytest.MonkeyPatch, new_host: Callable[..., Host]
) -> None:
    monkeypatch.setattr(base, "PATIENCE", 0.05)
    end = threading.Event()

    class Deaf(Bare):
        def probe(self) -> None:
            kthread_run(lambda _: end.wait(patience(60)), None, "deaf")

    with new_host() as host:
        host.add(Deaf, "/dev/x")
    end.set()
    assert host.leaks == ["deaf: the kernel thread deaf does not stop"]


def test_a_kernel_thread_ends_when_probe_fails(mapdev: Host) -> None:
    threads = []

    class Failing(Bare):
        def probe(self) -> None:
            threads.append(kthread_run(self.work, None, "worker"))
            raise OSError(6, "no such device")

        def work(self, data: object) -> None:
            while not kthread_should_stop():
                schedule_timeout_interruptible(10_000)

    with pytest.raises(OSError, match="no such device"):
        mapdev.add(Failing, "/dev/x")
    assert not threads[0].is_alive
