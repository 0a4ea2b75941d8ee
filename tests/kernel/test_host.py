"""Drivers in Python on the kernel host: real programs, real nodes, through the module."""

from __future__ import annotations

import array
import contextvars
import ctypes
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mapdev
from mapdev import Driver, ioctl
from mapdev.host.kernel.host import KernelHost
from mapdev.host.loading import DriverError
from mapdev.linux import (
    _IO,
    _IOR,
    _IOWR,
    EPOLLIN,
    PAGE_SIZE,
    File,
    Inode,
    VmAreaStruct,
    VmOperationsStruct,
    WaitQueueHead,
    alloc_page,
    alloc_pages,
    anon_inode_getfd,
    copy_from_user,
    copy_to_user,
    current,
    find_vma,
    get_page,
    kfree,
    kmalloc,
    memory,
    page_address,
    page_count,
    page_to_pfn,
    pfn_to_page,
    poll_wait,
    put_page,
    remap_pfn_range,
    unmap_mapping_range,
    virt_to_page,
    vmalloc_to_pfn,
    vmalloc_user,
    wait_event_interruptible,
    wake_up,
)

from .daemon import not_in_uml

PYTHON = sys.executable
PATIENCE = 60  # seconds
KPF_BUDDY = 1 << 10  # include/uapi/linux/kernel-page-flags.h


@pytest.fixture
def host() -> Iterator[KernelHost]:
    with mapdev.host(kind="kernel") as it:
        yield it
    assert it.leaks == []
    vars(it).clear()  # pytest keeps the host for a while; its drivers have views of memory


def python(host: KernelHost, code: str, *args: str) -> str:
    """Run a program in Python as a client; it has to end well."""
    done = host.run([PYTHON, "-S", "-c", textwrap.dedent(code), *args], capture_output=True,
                    text=True, timeout=PATIENCE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    output: str = done.stdout
    return output


MAP = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, int(sys.argv[2]))
"""


@pytest.mark.parametrize("driver", ["contiguous", "vmalloc", "lazy"])
def test_memory_is_shared_by_read_write_and_mmap(host: KernelHost, driver: str) -> None:
    host.add(driver, "/dev/memory", size="64K")
    output = python(host, MAP + """
m[5000:5005] = b"mmap'"
print(os.pread(fd, 5, 5000).decode())
os.pwrite(fd, b"write", 60000)
print(m[60000:60005].decode())
""", "/dev/memory", "65536")  # fmt: skip
    assert output == "mmap'\nwrite\n"


def test_programs(host: KernelHost, tmp_path: Path) -> None:
    host.add("contiguous", "/dev/memory", size="64K")
    data = os.urandom(65536)
    (tmp_path / "data").write_bytes(data)
    copy = ["dd", f"if={tmp_path}/data", "of=/dev/memory", "bs=16k", "conv=notrunc"]
    assert host.run(copy, capture_output=True).returncode == 0
    assert host.run(["cmp", "-n65536", "/dev/memory", tmp_path / "data"]).returncode == 0
    assert Path("/dev/memory").is_char_device()


def test_a_framebuffer(host: KernelHost) -> None:
    host.add("framebuffer", "/dev/fb-test", width=64, height=48)
    shown = host.run(["fbset", "-fb", "/dev/fb-test"], capture_output=True, text=True)
    assert "geometry 64 48" in shown.stdout, shown


class Exchange(ctypes.Structure):
    _fields_ = (("value", ctypes.c_uint64), ("address", ctypes.c_uint64))


class Many(Driver):
    """Whatever a test asks for."""

    EXCHANGE = _IOWR(ord("t"), 1, Exchange)
    ARGUMENT = _IO(ord("t"), 2)

    def probe(self) -> None:
        self.page = alloc_page()
        self.queue = WaitQueueHead()
        self.items: list[bytes] = []
        self.calls: list[str] = []
        self.areas: list[tuple[int, int]] = []

    def open(self, inode: Inode, file: File) -> None:
        self.calls.append("open")

    def release(self, inode: Inode, file: File) -> None:
        self.calls.append("release")

    def read(self, file: File, count: int, pos: int) -> bytes:
        wait_event_interruptible(self.queue, lambda: bool(self.items))
        return self.items.pop(0)[:count]

    def write(self, file: File, data: bytes, pos: int) -> int:
        if data == b"raise":
            raise ZeroDivisionError("a driver's mistake")
        self.items.append(bytes(data))
        wake_up(self.queue)
        return len(data)

    def poll(self, file: File) -> int:
        poll_wait(file, self.queue)
        return EPOLLIN if self.items else 0

    @ioctl(EXCHANGE, Exchange)
    def exchange(self, file: File, exchange: Exchange) -> None:
        exchange.value += 1
        if exchange.address:
            text = copy_from_user(exchange.address, 5)
            copy_to_user(exchange.address, text.upper())

    @ioctl(ARGUMENT)
    def argument(self, file: File, arg: int) -> int:
        if arg == 1:
            return anon_inode_getfd("many", self, None, os.O_RDWR | os.O_CLOEXEC)
        mm = current().mm
        vma = find_vma(mm, arg)
        assert vma is not None
        self.areas = [(area.vm_start, area.vm_end) for area in mm.areas()]
        return int(vma.vm_start <= arg < vma.vm_end and vma.vm_file is file)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        size = vma.vm_end - vma.vm_start
        remap_pfn_range(vma, vma.vm_start, page_to_pfn(self.page), size, vma.vm_page_prot)
        vma.vm_ops = VmOperationsStruct(close=lambda vma: self.calls.append("close"))


IOCTLS = """
import ctypes, fcntl, mmap, os, struct
fd = os.open("/dev/many", os.O_RDWR)
"""


def test_an_ioctl_with_a_structure_and_a_pointer_in_it(host: KernelHost) -> None:
    host.add(Many, "/dev/many")
    output = python(host, IOCTLS + f"""
text = ctypes.create_string_buffer(b"hello")
data = bytearray(struct.pack("QQ", 41, 0)); fcntl.ioctl(fd, {Many.EXCHANGE}, data)
print(struct.unpack("QQ", data)[0])
data = bytearray(struct.pack("QQ", 41, ctypes.addressof(text)))
fcntl.ioctl(fd, {Many.EXCHANGE}, data)
print(struct.unpack("QQ", data)[0], text.value)
try: fcntl.ioctl(fd, {Many.EXCHANGE}, bytearray(struct.pack("QQ", 0, 8)))
except OSError as error: print(error.errno)
""")  # fmt: skip
    assert output == f"42\n42 b'HELLO'\n{errno.EFAULT}\n"


def test_a_large_write_and_one_from_nowhere(host: KernelHost) -> None:
    driver = host.add(Many, "/dev/many")
    output = python(host, IOCTLS + """
print(os.write(fd, b"x" * (3 << 20)))
libc = ctypes.CDLL(None, use_errno=True)
print(libc.write(fd, ctypes.c_void_p(8), 100), ctypes.get_errno())
print(len(os.read(fd, 4 << 20)))
""")  # fmt: skip
    assert output == f"{3 << 20}\n-1 {errno.EFAULT}\n{3 << 20}\n"
    assert driver.calls == ["open", "release"]


def test_a_new_descriptor_for_the_client(host: KernelHost) -> None:
    driver = host.add(Many, "/dev/many")
    python(host, IOCTLS + f"""
other = fcntl.ioctl(fd, {Many.ARGUMENT}, 1)
assert "many" in os.readlink(f"/proc/self/fd/{{other}}")
os.write(other, b"through it")
assert os.read(fd, 99) == b"through it"
""")  # fmt: skip
    assert driver.calls == ["open", "release", "release"]


def test_areas_of_the_client(host: KernelHost) -> None:
    driver = host.add(Many, "/dev/many")
    output = python(host, IOCTLS + f"""
m = mmap.mmap(fd, 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(m))
print(fcntl.ioctl(fd, {Many.ARGUMENT}, at) if at < 1 << 31 else ctypes.CDLL(None).ioctl(
    fd, ctypes.c_ulong({Many.ARGUMENT}), ctypes.c_ulong(at)))
lines = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[v" not in line]
print(len(lines))
""")  # fmt: skip
    found, lines = output.split()
    assert found == "1"
    assert abs(len(driver.areas) - int(lines)) <= 4  # the list itself may need memory


def test_reading_waits_for_a_writer(host: KernelHost) -> None:
    host.add(Many, "/dev/many")
    reader = host.popen(["dd", "if=/dev/many", "bs=99", "count=1"], stdout=subprocess.PIPE,
                        stderr=subprocess.DEVNULL)  # fmt: skip
    time.sleep(0.3)
    assert reader.poll() is None
    host.run(["sh", "-c", "printf news >/dev/many"])
    assert reader.communicate(timeout=PATIENCE)[0] == b"news"


def test_nonblocking_poll_and_signals(host: KernelHost) -> None:
    host.add(Many, "/dev/many")
    output = python(host, """
import errno, os, select, signal, threading, time
fd = os.open("/dev/many", os.O_RDWR | os.O_NONBLOCK)
try: os.read(fd, 9)
except BlockingIOError: print("EAGAIN")
poller = select.poll(); poller.register(fd, select.POLLIN)
print(poller.poll(0))
threading.Timer(0.3, lambda: os.write(fd, b"x")).start()
print(poller.poll(20000) == [(fd, select.POLLIN)], os.read(fd, 9))
os.set_blocking(fd, True)
class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop); signal.setitimer(signal.ITIMER_REAL, 0.3)
try: os.read(fd, 9)
except Stop: print("EINTR")
signal.signal(signal.SIGALRM, lambda *_: os.write(fd, b"y"))
signal.setitimer(signal.ITIMER_REAL, 0.3)
print(os.read(fd, 9))  # begun anew after the handler
""")  # fmt: skip
    assert output == "EAGAIN\n[]\nTrue b'x'\nEINTR\nb'y'\n"


def test_a_client_that_is_killed_takes_nothing(host: KernelHost) -> None:
    driver = host.add(Many, "/dev/many")
    reader = host.popen(["cat", "/dev/many"], stdout=subprocess.PIPE)
    time.sleep(0.3)
    reader.kill()
    reader.communicate()
    host.settle()
    assert driver.calls == ["open", "release"]
    output = python(host, IOCTLS + "os.write(fd, b'kept'); print(os.read(fd, 9))")
    assert output == "b'kept'\n"


def test_a_driver_s_mistake_is_one_call_s(host: KernelHost, caplog: Any) -> None:
    host.add(Many, "/dev/many")
    output = python(host, IOCTLS + """
try: os.write(fd, b"raise")
except OSError as error: print(error.errno)
os.write(fd, b"fine"); print(os.read(fd, 9))
""")  # fmt: skip
    assert output == f"{errno.EIO}\nb'fine'\n"
    assert "a driver's mistake" in caplog.text


class Slow(Driver):
    """``async def`` operations."""

    async def read(self, file: File, count: int, pos: int) -> bytes:
        import asyncio

        await asyncio.sleep(0.2 if count < 1000 else 1000)
        return b"slept"

    @ioctl(Many.EXCHANGE, Exchange)
    async def exchange(self, file: File, exchange: Exchange) -> None:
        import asyncio

        await asyncio.sleep(0.1)
        exchange.value = len(copy_from_user(exchange.address, 3))


def test_async_operations(host: KernelHost) -> None:
    host.add(Slow, "/dev/many")
    output = python(host, IOCTLS + f"""
import signal
print(os.read(fd, 99))
text = ctypes.create_string_buffer(b"abc")
data = bytearray(struct.pack("QQ", 0, ctypes.addressof(text)))
fcntl.ioctl(fd, {Many.EXCHANGE}, data); print(data[0])
class Stop(Exception): pass
def stop(*_): raise Stop
signal.signal(signal.SIGALRM, stop); signal.setitimer(signal.ITIMER_REAL, 0.3)
try: os.read(fd, 2000)
except Stop: print("EINTR")
""")  # fmt: skip
    assert output == "b'slept'\n3\nEINTR\n"


class Odd(Driver):
    """Returns what few drivers do, from a list; its ioctls look at their call."""

    WORD = _IOR(ord("t"), 3, ctypes.c_uint32)
    COPY = _IOWR(ord("t"), 4, Exchange)
    CONTEXT = _IO(ord("t"), 5)

    def probe(self) -> None:
        self.results: list[Any] = []
        self.written: list[bytes] = []
        self.contexts: list[contextvars.Context] = []
        self.tasks: list[int] = []

    def read(self, file: File, count: int, pos: int) -> Any:
        return self.results.pop(0)

    def write(self, file: File, data: bytes, pos: int) -> Any:
        self.written.append(data)  # kept: it is the driver's
        return self.results.pop(0)

    @ioctl(WORD, ctypes.c_uint32)
    def word(self, file: File, word: ctypes.c_uint32) -> Any:
        word.value = 0x12345678
        return self.results.pop(0)

    @ioctl(COPY, Exchange)
    def copy(self, file: File, exchange: Exchange) -> None:
        assert copy_from_user(exchange.address, 16) == bytes(exchange)
        copy_to_user(exchange.address + 8, b"overruled")  # one byte more than there is
        exchange.value += 1

    @ioctl(CONTEXT)
    def context(self, file: File, arg: int) -> int:
        self.contexts.append(contextvars.copy_context())
        if arg == 2:
            self.tasks = [context.run(current).pid for context in self.contexts]
        return arg


def test_whatever_a_read_returns(host: KernelHost) -> None:
    driver = host.add(Odd, "/dev/many")
    words = array.array("I", range(200))
    small, large = bytes(range(100)), bytes(range(256)) * 4
    results = [small, large, bytearray(small), bytearray(large), memoryview(large), words,
               memoryview(words), memoryview(large).cast("B", (32, 32)), memoryview(small)]  # fmt: skip
    driver.results = [*results, b"", b"x" * 1025, "text", None, 5, words[:1] * 257]
    output = python(host, """
import os
fd = os.open("/dev/many", os.O_RDWR)
for _ in range(15):
    try: print(os.read(fd, 1024).hex())
    except OSError as error: print(error.errno)
""")  # fmt: skip
    assert output.split("\n") == [
        *(bytes(result).hex() for result in results), "", *[str(errno.EIO)] * 5, ""]  # fmt: skip


def test_whatever_a_write_or_an_ioctl_returns(host: KernelHost) -> None:
    driver = host.add(Odd, "/dev/many")
    driver.results = [None, 2, True, 4, -1, "text", 7, None, -1, 1 << 31, b""]
    output = python(host, f"""
import fcntl, os
fd = os.open("/dev/many", os.O_RDWR)
for text in (b"one", b"two", b"t" * 300, b"abc", b"abc", b"abc"):
    try: print(os.write(fd, text))
    except OSError as error: print("-", error.errno)
for _ in range(5):
    data = bytearray(4)
    try: print(fcntl.ioctl(fd, {Odd.WORD}, data), data[::-1].hex())
    except OSError as error: print("-", error.errno, data.hex())
""")  # fmt: skip
    failed, refused, word = f"- {errno.EIO}", f"- {errno.EPERM}", "12345678"
    assert output.split("\n")[:-1] == [
        "3", "2", "1", failed, refused, failed, f"7 {word}", f"0 {word}",
        f"{refused} 00000000", *[f"{failed} 00000000"] * 2]  # fmt: skip
    assert driver.written == [b"one", b"two", b"t" * 300, b"abc", b"abc", b"abc"]


def test_an_ioctl_that_copies_its_structure_itself(host: KernelHost) -> None:
    host.add(Odd, "/dev/many")
    output = python(host, f"""
import ctypes, fcntl, os, struct
fd = os.open("/dev/many", os.O_RDWR)
text = ctypes.create_string_buffer(24)
at = ctypes.addressof(text)
struct.pack_into("QQ", text, 0, 41, at)
ctypes.CDLL(None).ioctl(fd, ctypes.c_ulong({Odd.COPY}), ctypes.c_void_p(at))
print(struct.unpack_from("QQ", text) == (42, at), text[16:18])
""")  # fmt: skip
    assert output == "True b'd\\x00'\n"


def test_a_context_that_is_kept_is_that_of_its_call(host: KernelHost) -> None:
    driver = host.add(Odd, "/dev/many")
    output = python(host, f"""
import fcntl, os
fd = os.open("/dev/many", os.O_RDWR)
for number in range(4):
    child = os.fork()
    if not child: os._exit(fcntl.ioctl(fd, {Odd.CONTEXT}, 1) != 1)
    assert os.waitpid(child, 0)[1] == 0
    print(child)
fcntl.ioctl(fd, {Odd.CONTEXT}, 2)
print(os.getpid())
""")  # fmt: skip
    assert driver.tasks == [int(pid) for pid in output.split()]


class Chain(Driver):
    """Who reads waits for the number of bytes that it asks for, and wakes the next."""

    def probe(self) -> None:
        self.queues = [WaitQueueHead() for _ in range(4)]
        self.turn = 0

    def read(self, file: File, count: int, pos: int) -> bytes:
        wait_event_interruptible(self.queues[count], lambda: self.turn >= count)
        self._go_on(count + 1)
        return b"x" * count

    def write(self, file: File, data: bytes, pos: int) -> None:
        self._go_on(1)

    def _go_on(self, turn: int) -> None:
        self.turn = turn
        if turn < len(self.queues):
            wake_up(self.queues[turn])


def test_who_is_woken_wakes_others(host: KernelHost) -> None:
    host.add(Chain, "/dev/many")
    stay = "exec 3<>/dev/many; {}; exec sleep 99"  # so that no release comes in between
    readers = [host.popen(["sh", "-c", stay.format(f"dd bs={count} count=1 <&3 2>/dev/null")],
                          stdout=subprocess.PIPE) for count in (1, 2, 3)]  # fmt: skip
    time.sleep(1)
    writer = host.popen(["sh", "-c", stay.format("printf go >&3")])
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert select.select([reader.stdout], [], [], PATIENCE / 3)[0]
    finally:
        for process in (*readers, writer):
            process.kill()
            process.communicate()


def test_gallery_drivers_that_wait(host: KernelHost) -> None:
    host.add("echo", "/dev/echo")
    host.add("ticker", "/dev/ticker")
    output = python(host, """
import os, select
fd = os.open("/dev/echo", os.O_RDWR)
os.write(fd, b"once more"); print(os.read(fd, 99))
ticker = os.open("/dev/ticker", os.O_RDONLY)
print(len(os.read(ticker, 8)), select.select([ticker], [], [], 20)[0] == [ticker])
""")  # fmt: skip
    assert output.startswith("b'once more'\n") and output.endswith("True\n")


@not_in_uml("upper half for the kernel")
def test_pages_are_the_kernel_s(host: KernelHost) -> None:
    page = alloc_page()
    pfn = page_to_pfn(page)
    assert pfn_to_page(pfn) == page == virt_to_page(page_address(page))
    assert page_address(page) > 1 << 63  # in the kernel's half
    assert not int.from_bytes(_read_at("/proc/kpageflags", pfn), sys.byteorder) & KPF_BUDDY
    assert page_count(page) == 1
    get_page(page)
    assert page_count(page) == 2
    put_page(page)
    memory(page_address(page), 5)[:] = b"hello"
    put_page(page)
    with pytest.raises(OSError, match="not memory"):
        memory(page_address(page), 5)
    block = alloc_pages(2)
    address = page_address(block)
    assert virt_to_page(address + PAGE_SIZE).pfn == block.pfn + 1
    for _ in range(2):
        object_ = kmalloc(100)
        memory(object_, 100)[:] = bytes(100)
        kfree(object_)
    area = vmalloc_user(3 * PAGE_SIZE)
    pages = [vmalloc_to_pfn(area + number * PAGE_SIZE) for number in range(3)]
    memory(area, 3 * PAGE_SIZE)[PAGE_SIZE : PAGE_SIZE + 3] = b"abc"
    assert bytes(memory(page_address(pfn_to_page(pages[1])), 3)) == b"abc"
    host.machine.reclaim(None)


def _read_at(path: str, pfn: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        file.seek(8 * pfn)
        return file.read(8)


def test_nodes(host: KernelHost, tmp_path: Path) -> None:
    class Private(Many):
        mode = 0o640

    host.add(Private, "/dev/dir/node")
    host.add(Many, str(tmp_path / "node"))
    for path, mode in (("/dev/dir/node", 0o640), (tmp_path / "node", 0o666)):
        status = Path(path).stat()
        assert status.st_mode == 0o020000 | mode
    with pytest.raises(DriverError, match="exists already"):
        host.add(Many, "/dev/null")
    with pytest.raises(OSError) as caught:  # it would wait for itself
        os.open("/dev/dir/node", os.O_RDWR)
    assert caught.value.errno == errno.EDEADLK
    host.close()
    assert not Path("/dev/dir/node").exists() and not (tmp_path / "node").exists()


def test_what_is_left_is_reported() -> None:
    class Leaky(Driver):
        def read(self, file: File, count: int, pos: int) -> bytes:
            alloc_page()
            return b""

    with mapdev.host(kind="kernel") as host:
        host.add(Leaky, "/dev/leaky")
        host.run(["cat", "/dev/leaky"])
        sleeper = host.popen(["sh", "-c", "exec sleep 100 </dev/leaky"])
        time.sleep(0.3)
    assert sleeper.returncode == -signal.SIGKILL
    assert any("never freed" in line for line in host.leaks)
    assert any("had not ended" in line for line in host.leaks)


def test_a_mapping_outlives_the_host() -> None:
    client = (
        f"{MAP}\nm[:4] = b'kept'\nprint('ready', flush=True)\nsys.stdin.readline()\nprint(m[:4])"
    )
    daemon = subprocess.Popen(
        [PYTHON, "-m", "mapdev.cli", "serve", "-d", "/dev/memory=contiguous"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert daemon.stderr is not None
    assert "serving /dev/memory" in daemon.stderr.readline()
    program = subprocess.Popen([PYTHON, "-c", client, "/dev/memory", "4096"], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    daemon.kill()
    daemon.communicate()
    deadline = time.monotonic() + PATIENCE
    while Path("/dev/memory").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert program.communicate("go\n", timeout=PATIENCE)[0] == "b'kept'\n"


def test_a_driver_that_zaps_when_it_is_removed() -> None:
    """A mapping outlives its device; the driver may still take the pages out, as in the kernel."""

    class Zapping(Many):
        def open(self, inode: Inode, file: File) -> None:
            self.mapping = file.f_mapping

        def remove(self) -> None:
            unmap_mapping_range(self.mapping, 0, 0)
            super().remove()

    code = f"{MAP}\nm[:4] = b'kept'\nprint('ready', flush=True)\nsys.stdin.readline()\nm[0]"
    with mapdev.host(kind="kernel") as host:
        host.add(Zapping, "/dev/many")
        program = subprocess.Popen([PYTHON, "-c", code, "/dev/many", "4096"], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    assert host.leaks == ["/dev/many was still open or mapped"]
    program.communicate("go\n", timeout=PATIENCE)
    assert program.returncode == -signal.SIGBUS


def test_commands() -> None:
    run = [PYTHON, "-m", "mapdev.cli", "run", "--host", "kernel", "-d", "/dev/memory=contiguous"]
    done = subprocess.run(
        [*run, "--", "sh", "-c", "test -c /dev/memory && exit 3"], timeout=PATIENCE
    )
    assert done.returncode == 3
    done = subprocess.run([*run, "--", "no-such-program"], capture_output=True, timeout=PATIENCE)
    assert done.returncode == 127
    serve = subprocess.Popen([PYTHON, "-m", "mapdev.cli", "serve", "-d", "/dev/memory=contiguous"],
                             stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert serve.stderr is not None and "Ctrl-C" in serve.stderr.readline()
    assert subprocess.run(["head", "-c1", "/dev/memory"], capture_output=True).stdout == b"\0"
    serve.send_signal(signal.SIGINT)
    assert serve.wait(PATIENCE) == 0
    serve.stderr.close()
    assert not Path("/dev/memory").exists()


def test_a_service_that_is_started_again_takes_its_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says when they are there. What was mapped stays; what was open before fails."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    serve = [PYTHON, "-m", "mapdev.cli", "serve", "-d", "/dev/memory=contiguous"]
    code = f"""{MAP}
m[:4] = b'kept'
for what in (m.__getitem__, lambda _: os.pread(fd, 1, 0), lambda _: open(sys.argv[1])):
    print('ready', flush=True); sys.stdin.readline()
    try: print(what(slice(4)), flush=True)
    except OSError as error: print(error.errno, flush=True)
"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        first = subprocess.Popen(serve, stderr=subprocess.DEVNULL)
        assert manager.recv(100) == b"READY=1"
        program = subprocess.Popen([PYTHON, "-c", code, "/dev/memory", "4096"], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert program.stdin is not None and program.stdout is not None

        def go_on() -> str:
            assert program.stdout is not None and program.stdin is not None
            assert program.stdout.readline() == "ready\n"
            program.stdin.write("go\n")
            program.stdin.flush()
            return program.stdout.readline().strip()

        assert program.stdout.readline() == "ready\n"
        first.kill()
        first.wait(PATIENCE)
        assert not Path("/dev/memory").exists()
        second = subprocess.Popen(serve, stderr=subprocess.DEVNULL)
        assert manager.recv(100) == b"READY=1"
        program.stdin.write("go\n")
        program.stdin.flush()
        assert program.stdout.readline() == "b'kept'\n"
        assert go_on() == str(errno.EIO)
        assert "TextIOWrapper" in go_on()
        assert program.wait(PATIENCE) == 0
        program.stdin.close()
        program.stdout.close()
        second.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        assert second.wait(PATIENCE) == 0


@pytest.mark.parametrize("contiguous", [True, False])
def test_memory_without_a_driver(contiguous: bool) -> None:
    with mapdev.alloc("64K", contiguous=contiguous, cache="writecombine", kind="kernel") as buffer:
        buffer.memory[:5] = b"hello"
        assert bytes(buffer.memory[:6]) == b"hello\0"
        assert len(buffer.pages) == 16 and page_count(buffer.pages[3]) >= int(not contiguous)
        view = buffer.memory[1:3]
        with pytest.raises(BufferError):
            buffer.close()
        del view


@pytest.mark.parametrize("mapdev", ["embedded", "kernel"], indirect=True)
def test_the_fixture_gives_either_host(mapdev: Any) -> None:
    mapdev.add("contiguous", "/dev/fixture", size="4K")
    done = mapdev.run(["head", "-c", "3", "/dev/fixture"], capture_output=True)
    assert done.stdout == bytes(3)
