"""``async def`` operations: they await, and the program waits in its call meanwhile."""

import asyncio
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
from devices import Bare
from pace import patience

from mapdev import Driver, ioctl
from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import _IOWR, File, Inode, anon_inode_getfd, current

Client = Callable[..., str]
Start = Callable[..., Process]


class Later(Bare):
    """Each operation awaits `gate`, which `let_go` opens once; `tried` says that one has begun."""

    def probe(self) -> None:
        self.tried = threading.Semaphore(0)
        self.gone = threading.Semaphore(0)
        self.gates: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self.log: list[str] = []

    async def wait(self, what: str) -> None:
        loop = asyncio.get_running_loop()
        gate = loop.create_future()
        self.gates.append((loop, gate))
        self.tried.release()
        try:
            await gate
        except asyncio.CancelledError:
            self.log.append(f"{what} cancelled")
            raise
        self.log.append(what)

    def await_begun(self) -> None:
        assert self.tried.acquire(timeout=patience(30)), "no operation has begun"

    def let_go(self) -> None:
        loop, gate = self.gates.pop(0)
        loop.call_soon_threadsafe(gate.set_result, None)

    def await_log(self, *lines: str) -> None:
        """Return when the log has just these lines."""
        deadline = time.monotonic() + patience(30)
        while self.log != [*lines]:
            assert time.monotonic() < deadline, self.log
            time.sleep(0.005)

    def release(self, inode: Inode, file: File) -> None:
        self.gone.release()

    async def open(self, inode: Inode, file: File) -> None:
        file.private_data = f"{current().comm}"
        await asyncio.sleep(0)

    async def read(self, file: File, count: int, pos: int) -> bytes:
        await self.wait("read")
        return f"{current().pid}".encode()

    async def write(self, file: File, data: bytes, pos: int) -> int:
        await self.wait("write")
        return 2

    async def llseek(self, file: File, offset: int, whence: int) -> int:
        await self.wait("llseek")
        return 77

    async def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        await self.wait("fsync")
        raise OSError(6, "ENXIO")

    @ioctl(_IOWR(ord("x"), 1, ctypes.c_int), ctypes.c_int)
    async def double(self, file: File, value: ctypes.c_int) -> int:
        await self.wait("ioctl")
        value.value *= 2
        return 5


def output(process: Process) -> str:
    text: str = process.communicate(timeout=patience(60))[0]
    assert process.returncode == 0, text
    return text


def test_every_operation_that_may(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Later, "/dev/x")
    process = start(
        f"""
        fd = os.open('/dev/x', os.O_RDWR)
        assert os.read(fd, 100) == str(os.getpid()).encode()
        assert os.write(fd, b'abc') == 2
        assert os.lseek(fd, 5, os.SEEK_SET) == 77
        raises(errno.ENXIO, os.fsync, fd)
        value = bytearray(struct.pack('i', 21))
        assert fcntl.ioctl(fd, {_IOWR(ord("x"), 1, ctypes.c_int)}, value) == 5
        assert struct.unpack('i', value) == (42,)
        """
    )
    for _ in range(5):
        driver.await_begun()
        driver.let_go()
    output(process)
    assert driver.log == ["read", "write", "llseek", "fsync", "ioctl"]
    assert driver.gone.acquire(timeout=patience(30))


def test_many_wait_at_once(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Later, "/dev/x")
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        threads = [threading.Thread(target=os.read, args=(fd, 9)) for _ in range(10)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    for _ in range(10):
        driver.await_begun()
    mapdev.run(["true"], check=True)  # the host goes on
    for _ in range(10):
        driver.let_go()
    output(process)
    assert driver.log == ["read"] * 10


@pytest.mark.parametrize("restart", [False, True])
def test_a_signal_cancels(mapdev: Host, start: Start, restart: bool) -> None:
    driver = mapdev.add(Later, "/dev/x")
    process = start(
        f"""
        signal.signal(signal.SIGUSR1, lambda *a: None)
        signal.siginterrupt(signal.SIGUSR1, {not restart})
        print(raw_read(os.open('/dev/x', os.O_RDWR)) == 'EINTR', flush=True)
        """
    )
    driver.await_begun()
    os.kill(process.pid, signal.SIGUSR1)
    if restart:
        driver.await_begun()
        driver.gates.pop(0)
        driver.let_go()
    assert output(process) == f"{not restart}\n"
    assert driver.log == ["read cancelled"] + ["read"] * restart


def test_an_operation_that_can_not_be_cancelled_gives_its_result(
    mapdev: Host, start: Start
) -> None:
    class Stubborn(Later):
        async def read(self, file: File, count: int, pos: int) -> bytes:
            try:
                await self.wait("read")
            except asyncio.CancelledError:
                return b"all the same"
            return b""

    driver = mapdev.add(Stubborn, "/dev/x")
    process = start(
        """
        signal.signal(signal.SIGUSR1, lambda *a: None); signal.siginterrupt(signal.SIGUSR1, True)
        print(raw_read(os.open('/dev/x', os.O_RDWR)))
        """
    )
    driver.await_begun()
    os.kill(process.pid, signal.SIGUSR1)
    assert output(process) == "b'all the same'\n"


def test_a_killed_client_cancels(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Later, "/dev/x")
    process = start("os.read(os.open('/dev/x', os.O_RDWR), 9)")
    driver.await_begun()
    process.kill()
    process.wait()
    assert driver.gone.acquire(timeout=patience(30))
    driver.await_log("read cancelled")


def test_a_host_that_ends_cancels(new_host: Callable[..., Host]) -> None:
    with new_host() as host:
        driver = host.add(Later, "/dev/x")
        process = host.popen(["cat", "/dev/x"])
        driver.await_begun()
    assert process.wait(patience(30)) == -9
    assert driver.log == ["read cancelled"]


def test_failures(mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Bare):
        async def read(self, file: File, count: int, pos: int) -> bytes:
            await asyncio.sleep(0)
            if pos == 0:
                raise ZeroDivisionError("bug")
            if pos == 1:
                raise asyncio.CancelledError
            return None  # type: ignore[return-value]  # nonsense

    mapdev.add(Bad, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        for pos in range(3): raises(errno.EIO, os.pread, fd, 1, pos)
        """
    )
    assert "ZeroDivisionError" in caplog.text and "returned None" in caplog.text
    assert isinstance(mapdev.failures.pop(), asyncio.CancelledError) and not mapdev.failures


def test_an_ioctl_may_open_a_file(mapdev: Host, client: Client) -> None:
    class Opens(Bare):
        async def ioctl(self, file: File, cmd: int, arg: int) -> int:
            await asyncio.sleep(0)
            return anon_inode_getfd("later", self, "private", os.O_RDWR)

        def read(self, file: File, count: int, pos: int) -> bytes:
            return str(file.private_data).encode()

    mapdev.add(Opens, "/dev/x")
    client("fd = fcntl.ioctl(os.open('/dev/x', 2), 1); assert os.read(fd, 9) == b'private'")


def test_steps_hold_the_lock(mapdev: Host, client: Client) -> None:
    """Those of tasks that an operation starts, too: nothing runs beside them."""

    class Counted(Bare):
        inside = most = 0

        async def step(self) -> None:
            for _ in range(20):
                self.enter()
                await asyncio.sleep(0)

        def enter(self) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.0005)  # lets any other thread in that may come
            self.inside -= 1

        async def read(self, file: File, count: int, pos: int) -> bytes:
            await asyncio.gather(self.step(), self.step())
            return b""

        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            self.enter()
            return 0

    driver = mapdev.add(Counted, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        thread = threading.Thread(target=os.read, args=(fd, 1)); thread.start()
        while thread.is_alive(): fcntl.ioctl(fd, 1)
        """
    )
    assert driver.most == 1


@pytest.mark.parametrize("name", ["probe", "remove", "release", "poll", "mmap"])
def test_what_can_not_be_async(name: str) -> None:
    async def operation(self: Driver) -> None:
        """Wait for nobody."""

    with pytest.raises(TypeError, match=f"Wrong.{name} can't be async"):
        type("Wrong", (Driver,), {name: operation})


def test_asyncio_is_imported_only_then(mapdev: Host) -> None:
    import subprocess
    import sys

    code = (
        "import sys, mapdev\n"
        "with mapdev.host() as host:\n"
        "    host.add('echo', '/dev/x')\n"
        "    host.run(['sh', '-c', 'echo x >/dev/x; head -c 2 /dev/x'])\n"
        "assert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
