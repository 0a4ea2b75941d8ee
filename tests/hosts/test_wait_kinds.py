"""Waits with a time limit, exclusive ones, completions, timers, works, locks, awaited waits."""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from devices import Bare
from pace import patience

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import (
    HZ,
    Completion,
    DelayedWork,
    File,
    Inode,
    Mutex,
    TimerList,
    WaitQueueHead,
    async_wait_event,
    async_wait_for_completion,
    cancel_delayed_work_sync,
    complete,
    complete_all,
    down_interruptible,
    get_user,
    jiffies,
    kthread_run,
    mod_timer,
    mutex_lock,
    mutex_unlock,
    put_user,
    schedule_delayed_work,
    strncpy_from_user,
    timer_delete_sync,
    timer_setup,
    wait_event,
    wait_event_interruptible,
    wait_event_interruptible_exclusive,
    wait_event_interruptible_timeout,
    wait_event_timeout,
    wait_for_completion_interruptible,
    wait_for_completion_interruptible_timeout,
    wake_up,
    wake_up_all,
    wake_up_nr,
)

Client = Callable[..., str]
Start = Callable[..., Process]

READ = "fd = os.open('/dev/x', os.O_RDWR); print(os.read(fd, 100).decode(), flush=True)"
LONG = 3600 * HZ


def output(process: Process) -> str:
    text: str = process.communicate(timeout=patience(60))[0]
    assert process.returncode == 0, text
    return text


class Tried(Bare):
    """Counts how often an operation has come to its wait."""

    def probe(self) -> None:
        self.queue, self.other = WaitQueueHead(), WaitQueueHead()
        self.tried = threading.Semaphore(0)
        self.ready = 0
        self.reads = 0

    def await_tries(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.tried.acquire(timeout=patience(30)), "no operation has come so far"

    def try_(self) -> None:
        self.reads += 1
        self.tried.release()


class Timed(Tried):
    """Its read gives how many jiffies a wait had left."""

    limit = 1
    wait = staticmethod(wait_event_interruptible_timeout)

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.try_()
        return b"%d" % self.wait(self.queue, lambda: self.ready, self.limit)


@pytest.mark.parametrize("wait", [wait_event_interruptible_timeout, wait_event_timeout])
@pytest.mark.parametrize("limit", [1, 0, -3, 20])
def test_the_time_is_over(mapdev: Host, client: Client, wait: Any, limit: int) -> None:
    driver = mapdev.add(Timed, "/dev/x")
    driver.limit, driver.wait = limit, wait
    assert client(READ) == "0\n"
    assert driver.reads == (2 if limit > 0 else 1)


def test_a_wait_that_ends_before_its_time(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Timed, "/dev/x")
    driver.limit = LONG
    reader = start(READ)
    driver.await_tries()
    wake_up(driver.queue)  # for nothing: the time goes on from where it began
    driver.await_tries()
    driver.ready = 1
    wake_up(driver.queue)
    assert 0 < int(output(reader)) <= LONG


def test_what_is_true_at_once_has_all_its_time(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Timed, "/dev/x")
    driver.ready = 1
    for limit, left in (LONG, LONG), (1, 1), (0, 1):
        driver.limit = limit
        assert client(READ) == f"{left}\n"


def test_wake_ups_for_nothing_do_not_make_it_longer(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Timed, "/dev/x")
    driver.limit = HZ // 5
    reader = start(READ)
    end = time.monotonic() + patience(30)
    while reader.poll() is None and time.monotonic() < end:
        wake_up(driver.queue)
        time.sleep(0.01)
    assert output(reader) == "0\n"


def test_two_timed_waits_in_one_operation(mapdev: Host, client: Client) -> None:
    """One that is over stays so when the operation is run again for the other."""

    class Twice(Tried):
        def read(self, file: File, count: int, pos: int) -> bytes:
            self.try_()
            first = wait_event_interruptible_timeout(self.queue, lambda: False, 2)
            second = wait_event_interruptible_timeout(self.queue, lambda: False, 2)
            third = wait_event_interruptible_timeout(self.other, lambda: False, 2)
            return b"%d %d %d" % (first, second, third)

    driver = mapdev.add(Twice, "/dev/x")
    assert client(READ) == "0 0 0\n"
    assert driver.reads == 4


def test_a_vector_has_a_limit_for_each_of_its_operations(mapdev: Host, client: Client) -> None:
    class Pieces(Tried):
        def read(self, file: File, count: int, pos: int) -> bytes:
            self.try_()
            return b"01"[wait_event_interruptible_timeout(self.queue, lambda: False, 2) :][:1]

    driver = mapdev.add(Pieces, "/dev/x")
    client("assert os.readv(os.open('/dev/x', 0), [bytearray(1), bytearray(1)]) == 2")
    assert driver.reads == 4


def test_a_timed_wait_of_a_nonblocking_file_and_a_signal(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Timed, "/dev/x")
    driver.limit = LONG
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR | os.O_NONBLOCK)
        raises(errno.EAGAIN, os.read, fd, 9)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, True)
        fd = os.open('/dev/x', os.O_RDWR)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        print(raw_read(fd), flush=True); os._exit(0)
        """
    )
    assert output(process) == "EINTR\n"


def test_an_uninterruptible_wait_is_not_ended_by_a_signal(mapdev: Host, start: Start) -> None:
    class Deaf(Tried):
        def read(self, file: File, count: int, pos: int) -> bytes:
            self.try_()
            wait_event(self.queue, lambda: self.ready)
            return b"done"

    driver = mapdev.add(Deaf, "/dev/x")
    process = start(
        """
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        print(raw_read(os.open('/dev/x', os.O_RDWR)))
        """
    )
    driver.await_tries()
    time.sleep(0.1)  # the signal comes meanwhile
    mapdev.settle()
    driver.ready = 1
    wake_up(driver.queue)
    assert output(process) == "b'done'\n"


class Exclusive(Tried):
    """Readers wait exclusively; each that is served takes one, and says its number."""

    served = 0

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.try_()
        wait_event_interruptible_exclusive(self.queue, lambda: self.ready > 0)
        self.ready -= 1
        return b"served"


def test_wake_up_wakes_one_exclusive_waiter(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Exclusive, "/dev/x")
    readers = []
    for _ in range(4):
        readers.append(start(READ))
        driver.await_tries()
    driver.ready = 1
    wake_up(driver.queue)
    assert output(readers[0]) == "served\n"  # the first
    driver.await_tries()
    mapdev.settle()
    assert not driver.tried.acquire(blocking=False), "only one was woken"
    driver.ready = 2
    wake_up_nr(driver.queue, 2)
    assert [output(reader) for reader in readers[1:3]] == ["served\n"] * 2
    driver.await_tries(2)
    driver.ready = 1
    wake_up_all(driver.queue)
    assert output(readers[3]) == "served\n"


def test_wake_ups_of_exclusive_waiters_add_up(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Exclusive, "/dev/x")
    readers = []
    for _ in range(3):
        readers.append(start(READ))
        driver.await_tries()
    with mapdev.lock:  # so that all come at once
        driver.ready = 3
        for _ in range(3):
            wake_up(driver.queue)
    assert [output(reader) for reader in readers] == ["served\n"] * 3
    assert driver.reads == 6


def test_one_that_was_woken_for_nothing_goes_to_the_end(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Exclusive, "/dev/x")
    first, second = start(READ), None
    driver.await_tries()
    second = start(READ)
    driver.await_tries()
    wake_up(driver.queue)
    driver.await_tries()
    driver.ready = 1
    wake_up(driver.queue)
    assert output(second) == "served\n"
    driver.ready = 1
    wake_up(driver.queue)
    assert output(first) == "served\n"


def test_one_that_was_killed_does_not_use_a_wake_up(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Exclusive, "/dev/x")
    first = start(READ)
    driver.await_tries()
    second = start(READ)
    driver.await_tries()
    first.kill()
    first.wait()
    driver.ready = 1
    wake_up(driver.queue)
    assert output(second) == "served\n"


def test_others_are_woken_besides(mapdev: Host, start: Start) -> None:
    class Both(Exclusive):
        def write(self, file: File, data: bytes, pos: int) -> int:
            self.try_()
            wait_event_interruptible(self.queue, lambda: self.ready < 0)
            return 1

    driver = mapdev.add(Both, "/dev/x")
    readers = [start(READ), start(READ)]
    driver.await_tries(2)
    writers = [start("os.write(os.open('/dev/x', os.O_RDWR), b'x')") for _ in range(2)]
    driver.await_tries(2)
    wake_up(driver.queue)
    driver.await_tries(3)  # both writers and one reader
    mapdev.settle()
    assert not driver.tried.acquire(blocking=False)
    driver.ready = -1
    wake_up_all(driver.queue)
    for writer in writers:
        output(writer)
    driver.ready = 2
    wake_up_all(driver.queue)
    assert [output(reader) for reader in readers] == ["served\n"] * 2


class Done(Tried):
    """Reads wait for a completion, then for another one."""

    def probe(self) -> None:
        super().probe()
        self.first, self.second = Completion(), Completion()
        self.limit = LONG

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.try_()
        wait_for_completion_interruptible(self.first)
        left = wait_for_completion_interruptible_timeout(self.second, self.limit)
        return b"done" if left else b"late"


def test_two_completions_are_used_once_each(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Done, "/dev/x")
    readers = [start(READ), start(READ)]
    driver.await_tries(2)
    complete(driver.first)
    driver.await_tries()
    assert driver.first.done == 0
    complete(driver.second)
    ended = []
    while not ended:
        ended = [reader for reader in readers if reader.poll() is not None]
    assert output(ended[0]) == "done\n"
    (other,) = (reader for reader in readers if reader is not ended[0])
    complete(driver.second)  # before it waits there
    complete(driver.first)
    assert output(other) == "done\n"
    assert driver.first.done == driver.second.done == 0


def test_complete_all_and_a_time_limit(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Done, "/dev/x")
    complete_all(driver.first)
    driver.limit = 2
    assert client(READ) == "late\n"
    complete_all(driver.second)
    assert client(READ) == "done\n" == client(READ)


def test_a_timer_wakes(mapdev: Host, client: Client) -> None:
    class Ticking(Driver):
        def probe(self) -> None:
            self.queue, self.ticks = WaitQueueHead(), 0
            self.timer = TimerList()
            timer_setup(self.timer, self.tick, 0)
            mod_timer(self.timer, jiffies() + 1)

        def remove(self) -> None:
            timer_delete_sync(self.timer)

        def tick(self, timer: TimerList) -> None:
            self.ticks += 1
            wake_up(self.queue)
            mod_timer(timer, jiffies() + 1)

        def read(self, file: File, count: int, pos: int) -> bytes:
            seen = file.private_data or 0
            wait_event_interruptible(self.queue, lambda: self.ticks > seen)
            file.private_data = self.ticks
            return b"tick"

    mapdev.add(Ticking, "/dev/x")
    client("fd = os.open('/dev/x', 0); assert [os.read(fd, 9) for _ in range(5)] == [b'tick'] * 5")


def test_a_delayed_work_wakes_and_a_timer_left_armed_is_no_matter(
    mapdev: Host, client: Client
) -> None:
    class Later(Driver):
        def probe(self) -> None:
            self.queue, self.runs = WaitQueueHead(), 0
            self.work = DelayedWork(self.run)
            self.forgotten = TimerList(lambda timer: None)
            mod_timer(self.forgotten, jiffies() + LONG)

        def remove(self) -> None:
            cancel_delayed_work_sync(self.work)

        def run(self, work: DelayedWork) -> None:
            self.runs += 1
            wake_up(self.queue)

        def write(self, file: File, data: bytes, pos: int) -> int:
            schedule_delayed_work(self.work, 1)
            return len(data)

        def read(self, file: File, count: int, pos: int) -> bytes:
            wait_event_interruptible(self.queue, lambda: self.runs)
            return b"%d" % self.runs

    mapdev.add(Later, "/dev/x")
    client("fd = os.open('/dev/x', os.O_RDWR); os.write(fd, b'x'); assert os.read(fd, 9) == b'1'")


def test_a_lock_is_let_go_of_while_an_operation_waits(mapdev: Host, start: Start) -> None:
    """The habit of C: the lock is held where the operation waits; others get it meanwhile."""

    class Locked(Tried):
        def probe(self) -> None:
            super().probe()
            self.lock = Mutex()

        def read(self, file: File, count: int, pos: int) -> bytes:
            mutex_lock(self.lock)
            self.try_()
            wait_event_interruptible(self.queue, lambda: self.ready)
            mutex_unlock(self.lock)
            return b"read"

        def write(self, file: File, data: bytes, pos: int) -> int:
            if down_interruptible(self.lock):
                return -512
            self.ready = 1
            wake_up(self.queue)
            mutex_unlock(self.lock)
            return len(data)

        def llseek(self, file: File, offset: int, whence: int) -> int:
            with self.lock:
                wait_event_interruptible(self.queue, lambda: self.ready)
            return offset

    driver = mapdev.add(Locked, "/dev/x")
    reader = start(READ)
    driver.await_tries()
    mapdev.run(["sh", "-c", "printf x >/dev/x"], check=True, timeout=patience(60))
    assert output(reader) == "read\n"
    assert driver.lock.count == 1
    seeker = start("os.lseek(os.open('/dev/x', os.O_RDWR), 5, 0); print('sought')")
    assert output(seeker) == "sought\n"
    assert driver.lock.count == 1


def test_an_operation_waits_for_a_lock_of_a_kernel_thread(mapdev: Host, start: Start) -> None:
    class Shared(Tried):
        def probe(self) -> None:
            super().probe()
            self.lock = Mutex()
            self.go_on, self.holds = threading.Event(), threading.Event()
            kthread_run(self.hold, None, "holder")

        def hold(self, data: Any) -> None:
            with self.lock:
                self.holds.set()
                self.go_on.wait(patience(60))

        def read(self, file: File, count: int, pos: int) -> bytes:
            self.try_()
            with self.lock:
                return b"got it"

    driver = mapdev.add(Shared, "/dev/x")
    assert driver.holds.wait(patience(30))
    reader = start(READ)
    driver.await_tries()
    mapdev.run(["true"], check=True)  # others are served meanwhile
    driver.go_on.set()
    assert output(reader) == "got it\n"


def test_awaited_waits(mapdev: Host, start: Start) -> None:
    class Awaiting(Tried):
        def probe(self) -> None:
            super().probe()
            self.done = Completion()

        async def read(self, file: File, count: int, pos: int) -> bytes:
            self.try_()
            assert await async_wait_event(self.queue, lambda: False, 2) == 0
            assert await async_wait_event(self.queue, lambda: self.ready) > 0
            assert await async_wait_for_completion(self.done, LONG) > 0
            return b"%d" % self.reads

    driver = mapdev.add(Awaiting, "/dev/x")
    reader = start(READ)
    driver.await_tries()
    driver.ready = 1
    wake_up(driver.queue)
    complete(driver.done)
    assert output(reader) == "1\n"  # nothing is run again
    assert driver.done.done == 0 and not driver.queue.sleepers


def test_values_and_strings_of_programs(mapdev: Host, client: Client) -> None:
    class Values(Driver):
        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            if cmd == 100:
                return int(get_user(arg))
            if cmd == 101:
                return put_user(-1, arg)
            if cmd == 102:
                return put_user(300, arg, ctypes.c_ubyte)
            if cmd == 103:
                return len(strncpy_from_user(arg, 8192))
            return -25

    mapdev.add(Values, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        assert fcntl.ioctl(fd, 100, bytearray(struct.pack('i', 77))) == 77
        assert fcntl.ioctl(fd, 101, bytes(8)) == struct.pack('i', -1) + bytes(4)
        assert fcntl.ioctl(fd, 102, bytes(2)) == bytes([44, 0])
        raises(errno.EFAULT, fcntl.ioctl, fd, 100, 1)
        raises(errno.EFAULT, fcntl.ioctl, fd, 101, 1)
        raises(errno.ENOTTY, fcntl.ioctl, fd, 999, 1)
        p = raw_mmap(None, 2 * P, R | W, PRIVATE | ANON, -1)
        libc.munmap(p + P, P)
        poke(p + P - 6, b'hello')
        libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]
        assert libc.ioctl(fd, 103, p + P - 6) == 5  # up to the end of what is there
        poke(p + P - 6, b'hello!')
        assert libc.ioctl(fd, 103, p + P - 6) == -1 and ctypes.get_errno() == errno.EFAULT
        """
    )


def test_a_wait_in_open_has_a_limit_too(mapdev: Host, client: Client) -> None:
    class Opening(Tried):
        def open(self, inode: Inode, file: File) -> int:
            self.try_()
            return 0 if wait_event_interruptible_timeout(self.queue, lambda: False, 2) else -110

    driver = mapdev.add(Opening, "/dev/x")
    client("raises(errno.ETIMEDOUT, os.open, '/dev/x', os.O_RDWR)")
    assert driver.reads == 2
