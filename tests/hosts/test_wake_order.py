"""Wake-ups that come at awkward moments, and the order in which calls that wait are served."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable

import pytest
from devices import Items
from pace import patience

from mapdev.host.core.host import Host
from mapdev.linux import File, wait_event_interruptible, wake_up

LIMIT = 8  # seconds that a wake-up may take; it takes milliseconds


def read_one(mapdev: Host) -> subprocess.Popen[bytes]:
    """Start a program that reads once, up to a hundred bytes."""
    command = ["dd", "if=/dev/x", "bs=100", "count=1", "status=none"]
    return mapdev.popen(command, stdout=subprocess.PIPE)


def output(process: subprocess.Popen[bytes]) -> bytes:
    """Return what a program prints until it ends."""
    try:
        return process.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail("the call that waits is not woken")


class Interrupted(Items):
    """While a read finds nothing, an item comes by another thread, and the read wakes the queue.

    Both wake-ups come before the read waits: the one is not for it, since it is its own, the other
    one is.
    """

    def probe(self, own_first: bool = False) -> None:
        super().probe()
        self.own_first = own_first
        self.after = 1  # so many reads

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.reads += 1
        self.tried.release()
        wait_event_interruptible(self.queue, self.look)
        return self.items.popleft()

    def look(self) -> bool:
        if self.items:
            return True
        if self.reads == self.after:
            if self.own_first:
                wake_up(self.queue)
            interrupt = threading.Thread(target=self.put, args=[b"item"])
            interrupt.start()
            interrupt.join()
            if not self.own_first:
                wake_up(self.queue)
        return False


@pytest.mark.parametrize("first_read", [1, 2], ids=["first", "again"])
@pytest.mark.parametrize(
    "own_first",
    [True, False],
    ids=["own-other", "other-own"],
)
def test_a_wake_up_by_another_is_not_hidden_by_one_s_own(
    mapdev: Host, own_first: bool, first_read: int
) -> None:
    driver = mapdev.add(Interrupted, "/dev/x", own_first=own_first)
    driver.after = first_read
    reader = read_one(mapdev)
    driver.await_reads()
    if first_read == 2:
        wake_up(driver.queue)  # for nothing: it waits anew, and meanwhile an item comes
    assert output(reader) == b"item"


def test_the_first_that_waits_is_the_first_that_is_served(mapdev: Host) -> None:
    driver = mapdev.add(Items, "/dev/x")
    readers = []
    for _ in range(4):
        readers.append(read_one(mapdev))
        driver.await_reads()
    mapdev.settle()
    wake_up(driver.queue)  # for nothing
    mapdev.settle()
    for number, reader in enumerate(readers):
        driver.put(b"%d" % number)
        assert output(reader) == b"%d" % number


def test_a_vain_wake_up_by_one_that_waits_changes_no_order(mapdev: Host) -> None:
    """The second wakes the first before it waits itself, which is behind the first."""

    class Polite(Items):
        def read(self, file: File, count: int, pos: int) -> bytes:
            if not self.items:
                wake_up(self.queue)
            return super().read(file, count, pos)

    driver = mapdev.add(Polite, "/dev/x")
    readers = [read_one(mapdev)]
    driver.await_reads()
    readers.append(read_one(mapdev))
    driver.await_reads(2)  # the second, and the first again
    mapdev.settle()
    for number, reader in enumerate(readers):
        driver.put(b"%d" % number)
        assert output(reader) == b"%d" % number


def test_a_wake_up_in_each_operation_reaches_a_reader(
    mapdev: Host, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """Whatever operation of the driver it is that has something for a call that waits."""

    class Waking(Items):
        def give(self, what: str) -> None:
            if self.is_waited_for:
                self.put(what.encode())

        is_waited_for = False

        def open(self, *_: object) -> None:
            self.give("open")

        def write(self, file: File, data: bytes, pos: int) -> int:
            self.give("write")
            return len(data)

        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            self.give("ioctl")
            return 0

        def llseek(self, file: File, offset: int, whence: int) -> int:
            self.give("llseek")
            return offset

        def fsync(self, file: File, begin: int, end: int, datasync: bool) -> None:
            self.give("fsync")

        def mmap(self, file: File, vma: object) -> None:
            self.give("mmap")

        def release(self, inode: object, file: File) -> None:
            self.give("release")
            super().release(inode, file)

    driver = mapdev.add(Waking, "/dev/x")
    process = start(
        """
        reader, fd = os.open('/dev/x', os.O_RDWR), -1
        def do(what):
            global fd
            if what == 'open': fd = os.open('/dev/x', os.O_RDWR)
            if what == 'write': os.write(fd, b'x')
            if what == 'ioctl': fcntl.ioctl(fd, 0x7801)
            if what == 'llseek': os.lseek(fd, 5, os.SEEK_SET)
            if what == 'fsync': os.fsync(fd)
            if what == 'mmap': libc.munmap(raw_mmap(None, P, R, SHARED, fd), P)
            if what == 'release': os.close(fd)
        def read(): print(os.read(reader, 100).decode(), flush=True)
        for what in 'open', 'write', 'ioctl', 'llseek', 'fsync', 'mmap', 'release':
            thread = threading.Thread(target=read); thread.start()
            sys.stdin.readline(); do(what); thread.join()
        """
    )
    for what in "open", "write", "ioctl", "llseek", "fsync", "mmap", "release":
        driver.await_reads()
        mapdev.settle()
        driver.is_waited_for = True
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{what}\n"
        driver.is_waited_for = False
        driver.await_reads()  # it was run again
    assert process.wait(patience(30)) == 0
