"""Calls that wait: parked, woken, and gone with their client. Signals are in test_wait_signals."""

import subprocess
import threading
from collections.abc import Callable

import pytest
from devices import Bare, Items
from pace import patience, rounds

from mapdev.host.core.host import Host
from mapdev.host.process import Process
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
Start = Callable[..., Process]

READ = "fd = os.open('/dev/x', os.O_RDWR); print(os.read(fd, 100).decode(), flush=True)"


def output(process: Process) -> str:
    """What a client prints until it ends."""
    text: str = process.communicate(timeout=patience(60))[0]
    assert process.returncode == 0, text
    return text


def test_a_read_waits_for_a_write(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Items, "/dev/x")
    reader = start(READ)
    driver.await_reads()
    mapdev.run(["sh", "-c", "printf hello >/dev/x"], check=True)
    assert output(reader) == "hello\n"
    assert driver.reads == 2  # the whole operation runs again


def test_settle_does_not_wait_for_parked_calls(mapdev: Host, start: Start) -> None:
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
def test_nonblocking(mapdev: Host, client: Client, code: str) -> None:
    driver = mapdev.add(Items, "/dev/x")
    client(
        code
        + "; raises(errno.EAGAIN, os.read, fd, 10); raises(errno.EAGAIN, os.readv, fd, [bytearray(9)])"
    )
    assert driver.reads == 2


def test_a_call_that_waits_goes_on_waiting_when_the_file_becomes_nonblocking(
    mapdev: Host, start: Start
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


def test_without_a_queue_any_of_the_driver_wakes(mapdev: Host, start: Start) -> None:
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


def test_a_kernel_thread_wakes(mapdev: Host, client: Client) -> None:
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


def test_many_clients(mapdev: Host) -> None:
    driver = mapdev.add(Items, "/dev/x")
    count = rounds(50)
    readers = [
        mapdev.popen(["head", "-c", "4", "/dev/x"], stdout=subprocess.PIPE) for _ in range(count)
    ]
    driver.await_reads(count)
    driver.put(*(b"%04d" % number for number in range(count)))
    outputs = [process.communicate(timeout=patience(60))[0] for process in readers]
    assert sorted(outputs) == [b"%04d" % number for number in range(count)]


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


def test_what_else_waits(mapdev: Host, start: Start) -> None:
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


def test_a_vector_is_filled_piece_by_piece(mapdev: Host, start: Start) -> None:
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


def test_two_that_wake_each_other_do_not_spin(mapdev: Host, start: Start) -> None:
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


def test_what_is_traced(new_host: Callable[..., Host]) -> None:
    lines: list[str] = []

    def trace(device: object, operation: str, arguments: str, result: str, seconds: float) -> None:
        lines.append(f"{operation}({arguments}) = {result}")

    with new_host(trace=trace) as host:
        driver = host.add(Items, "/dev/x")
        reader = host.popen(["head", "-c", "2", "/dev/x"], stdout=subprocess.DEVNULL)
        driver.await_reads()
        driver.put(b"hi")
        reader.wait()
        host.settle()
    assert [line for line in lines if line.startswith("read")] == ["read(2, 0) = b'hi' (2 bytes)"]
