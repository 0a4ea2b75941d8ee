"""Programs built on an event loop: asyncio, and that of Go and of libuv, which is Node's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from devices import Items
from pace import patience
from polled import Masked

from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import EPOLLIN, File, poll_wait

Client = Callable[..., str]
SIZE = 1 << 12  # of the device; sixteen times as much goes through it

ASYNCIO = """
import asyncio
async def within(awaitable): return await asyncio.wait_for(awaitable, 10)
"""


def test_asyncio_transports(mapdev: Host, client: Client) -> None:
    """What a write transport puts in comes out of a read transport."""
    mapdev.add("echo", "/dev/x", size=SIZE)
    client(
        ASYNCIO
        + """
async def main():
    loop = asyncio.get_running_loop()
    source, sink = (open('/dev/x', mode, buffering=0, opener=lambda path, flags:
                         os.open(path, os.O_RDWR | os.O_NONBLOCK)) for mode in ('rb', 'wb'))
    reader = asyncio.StreamReader()
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    writing, _ = await loop.connect_write_pipe(asyncio.Protocol, sink)
    data = bytes(range(256)) * 256
    writing.write(data)
    assert await within(reader.readexactly(len(data))) == data
    for transport in reading, writing:
        transport.close()
    await asyncio.sleep(0)
asyncio.run(main())
"""
    )


def test_asyncio_readers_and_writers(mapdev: Host, client: Client) -> None:
    """Each wait is a registration of its own: the file enters the driver's queues anew."""
    mapdev.add("echo", "/dev/x", size=16)
    client(
        ASYNCIO
        + """
async def main():
    loop = asyncio.get_running_loop()
    fd = os.open('/dev/x', os.O_RDWR | os.O_NONBLOCK)
    async def once(add, remove):
        event = asyncio.Event(); add(fd, event.set); await within(event.wait()); remove(fd)
    for number in range(20):
        await once(loop.add_writer, loop.remove_writer)
        waiting = asyncio.ensure_future(once(loop.add_reader, loop.remove_reader))
        await asyncio.sleep(0)
        assert os.write(fd, b'%2d' % number) == 2
        await waiting
        assert os.read(fd, 100) == b'%2d' % number
asyncio.run(main())
"""
    )


class Polled(Items):
    """Says that it is readable while it has items."""

    def poll(self, file: File) -> int:
        poll_wait(file, self.queue)
        return EPOLLIN if self.items else 0


def test_asyncio_waits_for_a_driver_again_and_again(
    mapdev: Host, start: Callable[..., Process]
) -> None:
    driver = mapdev.add(Polled, "/dev/x")
    process = start(
        ASYNCIO
        + """
async def main():
    loop, items = asyncio.get_running_loop(), asyncio.Queue()
    fd = os.open('/dev/x', os.O_RDWR | os.O_NONBLOCK)
    loop.add_reader(fd, lambda: items.put_nowait(os.read(fd, 100)))
    print('ready', flush=True)
    while (item := await within(items.get())) != b'end':
        print(item.decode(), flush=True)
asyncio.run(main())
"""
    )
    assert process.stdout.readline() == "ready\n"
    for number in range(10):
        driver.put(b"%d" % number)
        assert process.stdout.readline() == f"{number}\n"
    driver.put(b"end")
    assert process.wait(patience(30)) == 0


def test_a_poll_mask_that_another_file_s_write_changes(mapdev: Host, client: Client) -> None:
    """Two files in one epoll: a wake-up concerns both, and each is shown as it is."""

    class PerFile(Masked):
        def open(self, inode: object, file: File) -> None:
            file.private_data = 0

        def poll(self, file: File) -> int:
            poll_wait(file, self.queue)
            return int(file.private_data)

        def write(self, file: File, data: bytes, pos: int) -> int:
            """Make the other files readable, and this one not."""
            for other in self.files:
                other.private_data = 0 if other is file else EPOLLIN
            self.become(0)
            return len(data)

        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            self.files.append(file)
            return 0

        def probe(self, mask: int = 0) -> None:
            super().probe(mask)
            self.files: list[File] = []

    mapdev.add(PerFile, "/dev/x")
    client(
        """
        import select
        a, b = (os.open('/dev/x', os.O_RDWR) for _ in range(2))
        e = select.epoll()
        for fd in a, b: fcntl.ioctl(fd, 0x7801); e.register(fd, select.EPOLLIN)
        assert e.poll(0) == []
        for writer, other in (a, b), (b, a), (a, b), (b, a):
            os.write(writer, b'x')
            assert e.poll(5) == [(other, 1)], (writer, other)
        """
    )


@pytest.mark.parametrize("program", ["netpoller", "libuv"])
def test_event_loops_of_others(mapdev: Host, static: Callable[[str], str], program: str) -> None:
    mapdev.add("echo", "/dev/x", size=SIZE)
    command = [static(program), "/dev/x"]
    done = mapdev.run(command, capture_output=True, text=True, timeout=patience(30))
    assert done.stdout == "ok\n", done.stderr
