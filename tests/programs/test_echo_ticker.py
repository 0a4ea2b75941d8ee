"""Programs that wait for `echo` and `ticker`, which know nothing of us."""

from __future__ import annotations

import subprocess
import sys

from mapdev.host.embedded.host import EmbeddedHost

TIMEOUT = 120  # seconds

SELECT_LOOP = """
import os, select, sys
source, copies = os.open("/dev/echo", os.O_RDONLY | os.O_NONBLOCK), b""
while not copies.endswith(b"."):
    readable, _, _ = select.select([source], [], [])
    copies += os.read(source, 7)
try:
    os.read(source, 1)
except BlockingIOError:
    print(copies.decode())
"""


def shell(host: EmbeddedHost, script: str) -> str:
    done = host.run(
        ["bash", "-c", script], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True
    )
    return str(done.stdout)


def test_a_pipeline_through_echo(mapdev: EmbeddedHost) -> None:
    """More than the buffer holds: writer and reader wait for each other."""
    mapdev.add("echo", "/dev/echo", size=512)
    sums = shell(
        mapdev,
        """
        seq 20000 | head -c 65536 >/dev/echo &
        head -c 65536 /dev/echo | cksum
        seq 20000 | head -c 65536 | cksum
        wait
        """,
    ).splitlines()
    assert sums[0] == sums[1]


def test_dd_waits_for_each_block(mapdev: EmbeddedHost) -> None:
    mapdev.add("echo", "/dev/echo")
    out = shell(
        mapdev,
        """
        dd if=/dev/echo bs=4 count=2 iflag=fullblock status=none | od -An -c &
        for letter in a b c d e f g h; do printf $letter >/dev/echo; done
        wait
        """,
    )
    assert out.split() == list("abcdefgh")


def test_timeout_ends_a_reader(mapdev: EmbeddedHost) -> None:
    mapdev.add("echo", "/dev/echo")
    assert shell(mapdev, "timeout 0.1 cat /dev/echo; echo $?") == "124\n"
    assert shell(mapdev, "timeout -s INT 0.1 cat /dev/echo; echo $?") == "124\n"


def test_dd_nonblock(mapdev: EmbeddedHost) -> None:
    mapdev.add("echo", "/dev/echo")
    done = mapdev.run(
        ["dd", "if=/dev/echo", "iflag=nonblock", "count=1"], capture_output=True, timeout=TIMEOUT
    )
    assert done.returncode == 1 and b"Resource temporarily unavailable" in done.stderr


def test_a_select_loop(mapdev: EmbeddedHost) -> None:
    mapdev.add("echo", "/dev/echo")
    reader = mapdev.popen([sys.executable, "-S", "-c", SELECT_LOOP], stdout=subprocess.PIPE)
    shell(mapdev, "for word in one two three.; do printf $word >/dev/echo; done")
    assert reader.communicate(timeout=TIMEOUT)[0] == b"onetwothree.\n"


def test_asyncio_in_a_program(mapdev: EmbeddedHost) -> None:
    """Its loop waits in epoll for both directions."""
    mapdev.add("echo", "/dev/echo", size=1024)
    code = """
import asyncio, os
async def main():
    loop = asyncio.get_running_loop()
    fd = os.open("/dev/echo", os.O_RDWR | os.O_NONBLOCK)
    left, got, done = bytearray(b"x" * 20000), bytearray(), loop.create_future()
    def read():
        got.extend(os.read(fd, 300))
        if len(got) == 20000: done.set_result(None)
    def write():
        if left: del left[:os.write(fd, left)]
        else: loop.remove_writer(fd)
    loop.add_reader(fd, read); loop.add_writer(fd, write)
    await done
    print(len(got))
asyncio.run(main())
"""
    done = mapdev.run([sys.executable, "-c", code], capture_output=True, timeout=TIMEOUT)
    assert done.stdout == b"20000\n", done.stderr


def test_ticks(mapdev: EmbeddedHost) -> None:
    ticker = mapdev.add("ticker", "/dev/ticker", hz=200)
    ticks = [int(line) for line in shell(mapdev, "head -n 10 /dev/ticker").splitlines()]
    assert len(ticks) == 10 and ticks == sorted(set(ticks))
    assert ticks[-1] <= ticker.count  # type: ignore[attr-defined]


def test_the_mapped_page_ticks(mapdev: EmbeddedHost) -> None:
    mapdev.add("ticker", "/dev/ticker", hz=200)
    code = """
import mmap, os, select, struct
fd = os.open("/dev/ticker", os.O_RDONLY)
page = mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ)
shown = lambda: struct.unpack_from("Q", page)[0]
for _ in range(5):
    before = shown()
    select.select([fd], [], [])
    assert int(os.read(fd, 20)) <= shown() and before <= shown()
"""
    mapdev.run([sys.executable, "-c", code], timeout=TIMEOUT, check=True)


def test_ticker_and_echo_from_the_command_line() -> None:
    command = ["run", "-d", "/dev/t=ticker,hz=100", "--", "head", "-n", "3", "/dev/t"]
    done = subprocess.run(
        [sys.executable, "-m", "mapdev.cli", *command], capture_output=True, timeout=TIMEOUT
    )
    assert len(done.stdout.splitlines()) == 3, done.stderr
