"""Calls that wait: parked, woken, and gone with their client. Signals are in test_wait_signals."""

import os
import subprocess
import threading
from collections.abc import Callable

import pytest
from devices import Bare, Items
from pace import patience, rounds

from mapdev.host.embedded import host as embedded_host
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.launch import ClientProcess
from mapdev.linux import (
    File,
    Inode,
    VmAreaStruct,
    WaitQueueHead,
    kthread_run,
    kthread_should_stop,
    schedule_timeout_interruptible,
    wait_event_interruptible,
    wake_up,
)

Client = Callable[..., str]
Start = Callable[..., ClientProcess]

READ = "fd = os.open('/dev/x', os.O_RDWR); print(os.read(fd, 100).decode(), flush=True)"


def output(process: ClientProcess) -> str:
    """What a client prints until it ends."""
    text: str = process.communicate(timeout=patience(60))[0]
    assert process.returncode == 0, text
    return text


def test_a_read_waits_for_a_write(mapdev: EmbeddedHost, start: Start) -> None:
    driver = mapdev.add(Items, "/dev/x")
    reader = start(READ)
    driver.await_reads()
    mapdev.run(["sh", "-c", "printf hello >/dev/x"], check=True)
    assert output(reader) == "hello\n"
    assert driver.reads == 2  # the whole operation runs again


def test_settle_does_not_wait_for_parked_calls(mapdev: EmbeddedHost, start: Start) -> None:
    driver = mapdev.add(Items, "/dev/x")
    reader = start(READ)
    driver.await_reads()
    mapdev.settle()
    mapdev.run(["true"], check=True)
    driver.put(b"done")  # from this thread, without the lock
    assert output(reader) == "done\n"


@pytest.mark.parametrize(
    "code",
    [
        "fd = os.open('/dev/x', os.O_RDWR | os.O_NONBLOCK)",
        "fd = os.open('/dev/x', os.O_RDWR); fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)",
        "fd = os.open('/dev/x', os.O_RDWR); fcntl.ioctl(fd, 0x5421, struct.pack('i', 1))",
    ],
    ids=["open", "F_SETFL", "FIONBIO"],
)
def test_nonblocking(mapdev: EmbeddedHost, client: Client, code: str) -> None:
    driver = mapdev.add(Items, "/dev/x")
    client(
        code
        + "; raises(errno.EAGAIN, os.read, fd, 10); raises(errno.EAGAIN, os.readv, fd, [bytearray(9)])"
    )
    assert driver.reads == 2


def test_a_call_that_waits_goes_on_waiting_when_the_file_becomes_nonblocking(
    mapdev: EmbeddedHost, start: Start
) -> None:
    driver = mapdev.add(Items, "/dev/x")
    reader = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        thread = threading.Thread(target=lambda: print(os.read(fd, 100).decode())); thread.start()
        sys.stdin.readline()
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
        raises(errno.EAGAIN, os.read, fd, 1)
        print('set', flush=True); thread.join()
        """
    )
    driver.await_reads()
    reader.stdin.write("go\n")
    reader.stdin.flush()
    assert reader.stdout.readline() == "set\n"
    wake_up(driver.queue)  # for nothing
    driver.await_reads(2)
    driver.put(b"late")
    assert output(reader) == "late\n"


def test_without_a_queue_any_of_the_driver_wakes(mapdev: EmbeddedHost, start: Start) -> None:
    class Plain(Items):
        def probe(self) -> None:
            super().probe()
            self.other = WaitQueueHead()

        def read(self, file: File, count: int, pos: int) -> bytes:
            self.tried.release()
            if not self.items:
                raise BlockingIOError
            return self.items.popleft()

    driver = mapdev.add(Plain, "/dev/x")
    other = mapdev.add(Items, "/dev/y")
    reader = start(READ)
    driver.await_reads()
    other.put(b"not for you")
    driver.items.append(b"for you")
    wake_up(driver.other)
    assert output(reader) == "for you\n"


def test_a_kernel_thread_wakes(mapdev: EmbeddedHost, client: Client) -> None:
    class Clock(Items):
        def probe(self) -> None:
            super().probe()
            kthread_run(self.work, 5, "clock")

        def work(self, count: int) -> None:
            for number in range(count):
                self.await_reads()
                self.put(b"tick %d" % number)
            while not kthread_should_stop():  # the host stops it
                schedule_timeout_interruptible(10_000)

    mapdev.add(Clock, "/dev/x")
    out = client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        for _ in range(5):
            print(os.read(fd, 100).decode())
        """
    )
    assert "tick 0" in out


def test_many_clients(mapdev: EmbeddedHost) -> None:
    driver = mapdev.add(Items, "/dev/x")
    count = rounds(50)
    readers = [
        mapdev.popen(["head", "-c", "4", "/dev/x"], stdout=subprocess.PIPE) for _ in range(count)
    ]
    driver.await_reads(count)
    driver.put(*(b"%04d" % number for number in range(count)))
    outputs = [process.communicate(timeout=patience(60))[0] for process in readers]
    assert sorted(outputs) == [b"%04d" % number for number in range(count)]


def test_a_killed_reader_takes_nothing(mapdev: EmbeddedHost, start: Start) -> None:
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


def test_a_killed_reader_of_a_shared_file_is_forgotten(mapdev: EmbeddedHost, start: Start) -> None:
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


def test_the_file_stays_while_a_call_waits(mapdev: EmbeddedHost, start: Start) -> None:
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


class Slow(Bare):
    """Every operation waits until it is let go."""

    def probe(self) -> None:
        self.queue = WaitQueueHead()
        self.ready = False
        self.tried = threading.Semaphore(0)
        self.done: list[str] = []

    def wait(self, what: str) -> None:
        self.tried.release()
        wait_event_interruptible(self.queue, lambda: self.ready)
        self.done.append(what)
        self.ready = False

    def open(self, inode: Inode, file: File) -> None:
        self.wait("open")

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        self.wait("ioctl")
        return 7

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.wait("write " + data.decode())
        return len(data)

    def llseek(self, file: File, offset: int, whence: int) -> int:
        self.wait("llseek")
        return offset

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        self.wait("fsync")

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.wait("mmap")


def test_what_else_waits(mapdev: EmbeddedHost, start: Start) -> None:
    driver = mapdev.add(Slow, "/dev/x")
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        assert fcntl.ioctl(fd, 1) == 7
        assert os.write(fd, b'abc') == 3
        assert os.lseek(fd, 9, os.SEEK_SET) == 9
        os.fsync(fd)
        raises(errno.EAGAIN, mmap.mmap, fd, P)  # which can't
        """
    )
    for _ in range(5):
        assert driver.tried.acquire(timeout=patience(30))
        driver.ready = True
        wake_up(driver.queue)
        assert driver.tried.acquire(timeout=patience(30))
    output(process)
    assert driver.done == ["open", "ioctl", "write abc", "llseek", "fsync"]


def test_an_open_that_waits_ends_with_its_client(mapdev: EmbeddedHost, start: Start) -> None:
    driver = mapdev.add(Slow, "/dev/x")
    process = start("os.open('/dev/x', os.O_RDWR)")
    assert driver.tried.acquire(timeout=patience(30))
    process.kill()
    process.wait()
    driver.ready = True
    wake_up(driver.queue)
    mapdev.settle()
    assert driver.done == []


def test_a_vector_is_filled_piece_by_piece(mapdev: EmbeddedHost, start: Start) -> None:
    """As in the kernel: a full piece, then a wait for the next; a short piece ends it."""
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        a, b, c = bytearray(2), bytearray(2), bytearray(2)
        print(os.readv(fd, [a, b, c]), a, b, c)
        """
    )
    driver.await_reads()
    driver.put(b"ab")
    driver.await_reads(2)
    driver.put(b"c")
    assert output(process) == "3 bytearray(b'ab') bytearray(b'c\\x00') bytearray(b'\\x00\\x00')\n"


def test_two_that_wake_each_other_do_not_spin(mapdev: EmbeddedHost, start: Start) -> None:
    """Each wakes the queue before it waits in it; once both wait, nothing happens."""

    class Polite(Items):
        def read(self, file: File, count: int, pos: int) -> bytes:
            wake_up(self.queue)
            return super().read(file, count, pos)

    driver = mapdev.add(Polite, "/dev/x")
    first, second = start(READ), start(READ)
    driver.await_reads(3)  # the second wakes the first
    for _ in range(5):
        mapdev.settle()
    assert driver.reads == 3
    driver.put(b"1", b"2")
    assert sorted((output(first), output(second))) == ["1\n", "2\n"]


def test_a_host_that_ends_leaves_nobody_waiting() -> None:
    with EmbeddedHost() as host:
        driver = host.add(Items, "/dev/x")
        process = host.popen(["cat", "/dev/x"])
        driver.await_reads()
    assert process.wait(patience(30)) == -9
    assert [leak for leak in host.leaks if "cat" in leak] == host.leaks


def test_what_is_traced() -> None:
    lines: list[str] = []

    def trace(device: object, operation: str, arguments: str, result: str, seconds: float) -> None:
        lines.append(f"{operation}({arguments}) = {result}")

    with EmbeddedHost(trace=trace) as host:
        driver = host.add(Items, "/dev/x")
        reader = host.popen(["head", "-c", "2", "/dev/x"], stdout=subprocess.DEVNULL)
        driver.await_reads()
        driver.put(b"hi")
        reader.wait()
        host.settle()
    assert [line for line in lines if line.startswith("read")] == ["read(2, 0) = b'hi' (2 bytes)"]


def test_parked_calls_keep_no_descriptors(mapdev: EmbeddedHost, shell: Callable[..., str]) -> None:
    mapdev.add("echo", "/dev/x", size=16)
    shell("head -c 1000 /dev/zero >/dev/x & head -c 1000 /dev/x >/dev/null; wait")
    before = len(os.listdir("/proc/self/fd"))
    shell("head -c 1000 /dev/zero >/dev/x & head -c 1000 /dev/x >/dev/null; wait")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_kernel_thread_that_does_not_stop_is_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_host, "_PATIENCE", 0.05)
    end = threading.Event()

    class Deaf(Bare):
        def probe(self) -> None:
            kthread_run(lambda _: end.wait(patience(60)), None, "deaf")

    with EmbeddedHost() as host:
        host.add(Deaf, "/dev/x")
    end.set()
    assert host.leaks == ["deaf: the kernel thread deaf does not stop"]


def test_a_kernel_thread_ends_when_probe_fails(mapdev: EmbeddedHost) -> None:
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
