"""Drivers and clients that do what they must not: the host survives, and serves the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from devices import Buffer, Items
from pace import patience, rounds
from storm_devices import Faults, add, left

from mapdev import Driver
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.syscalls.launch import ClientProcess
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_SIZE,
    VM_FAULT_SIGBUS,
    File,
    Inode,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    WaitQueueHead,
    alloc_page,
    free_pages,
    get_page,
    kthread_run,
    page_count,
    page_to_pfn,
    put_page,
    remap_pfn_range,
    wake_up,
)

Client = Callable[..., str]
Start = Callable[..., ClientProcess]

BOTH = """
frames, faults, waits = (os.open('/dev/' + name, os.O_RDWR) for name in ('frames', 'faults', 'waits'))
def code(result):
    # an unsigned pointer or an int
    return errno.errorcode[ctypes.get_errno()] if result in (-1, FAILED) else 0
"""


@pytest.fixture
def steady(mapdev: EmbeddedHost, client: Client) -> Iterator[list[Any]]:
    """Give the drivers of storms; afterwards all is as it was, and another client is served."""
    drivers = add(mapdev)
    client("pass")
    before = left(mapdev, drivers)
    yield drivers
    client(BOTH + "poke(raw_mmap(None, P, R | W, SHARED, frames), b'fine')"
           "; poke(raw_mmap(None, P, R | W, SHARED, faults), b'fine')")  # fmt: skip
    deadline = time.monotonic() + patience(20)
    while (after := left(mapdev, drivers)) != before and time.monotonic() < deadline:
        mapdev.settle()
        mapdev._descendants.clients()
        time.sleep(0.01)
    changed = [(key, before[key], after[key]) for key in after if after[key] != before[key]]
    assert not changed, changed


# --- drivers -------------------------------------------------------------------------------------


class Broken(Driver):
    """Raises in whatever it is asked."""

    def probe(self) -> None:
        self.asked: list[str] = []
        self.vm_ops = VmOperationsStruct(
            open=self.fail("vm_open"), close=self.fail("vm_close"), fault=self.fail("fault"),
        )  # fmt: skip

    def fail(self, what: str) -> Callable[..., Any]:
        def operation(*args: Any) -> Any:
            self.asked.append(what)
            raise ValueError(f"{what} is broken")

        return operation

    def release(self, inode: Inode, file: File) -> None:
        self.fail("release")()

    def read(self, file: File, count: int, pos: int) -> bytes:
        return self.fail("read")()  # type: ignore[no-any-return]

    def write(self, file: File, data: bytes, pos: int) -> int:
        return self.fail("write")()  # type: ignore[no-any-return]

    def llseek(self, file: File, offset: int, whence: int) -> int:
        return self.fail("llseek")()  # type: ignore[no-any-return]

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        return self.fail("ioctl")()  # type: ignore[no-any-return]

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        self.fail("fsync")()

    def poll(self, file: File) -> int:
        return self.fail("poll")()  # type: ignore[no-any-return]

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        if vma.vm_pgoff:
            self.fail("mmap")()
        vma.vm_ops = self.vm_ops


def test_a_driver_that_raises_in_every_operation(
    mapdev: EmbeddedHost, client: Client, steady: Any, caplog: Any
) -> None:
    driver = mapdev.add(Broken, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        for function, *args in ((os.read, 1), (os.write, b'x'), (os.lseek, 0, 0), (fcntl.ioctl, 1),
                                (os.fsync,)):
            raises(errno.EIO, function, fd, *args)
        raises(errno.EIO, raw_mmap, None, P, R, SHARED, fd, P)
        import select
        assert select.select([fd], [fd], [], 5) == ([fd], [fd], [])
        p = raw_mmap(None, 4 * P, R, SHARED, fd)
        libc.munmap(p + P, P)
        for end in (0, 1):
            if os.fork() == 0: peek(p)
            assert os.WTERMSIG(os.wait()[1]) == signal.SIGBUS
        """
    )
    wanted = {"read", "write", "llseek", "ioctl", "fsync", "mmap", "poll", "vm_open", "vm_close",
              "fault", "release"}  # fmt: skip
    assert set(driver.asked) == wanted
    assert all(f"{what} is broken" in caplog.text for what in wanted)


def test_a_refused_write_keeps_no_page(mapdev: EmbeddedHost, client: Client) -> None:
    class Refusing(Driver):
        def probe(self) -> None:
            self.page = alloc_page()
            self.vm_ops = VmOperationsStruct(
                fault=self.fault, page_mkwrite=lambda vmf: VM_FAULT_SIGBUS
            )

        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            vma.vm_ops = self.vm_ops

        def fault(self, vmf: VmFault) -> int:
            vmf.page = self.page
            get_page(self.page)
            return 0

    driver = mapdev.add(Refusing, "/dev/x")
    client("poke(raw_mmap(None, P, R | W, SHARED, os.open('/dev/x', os.O_RDWR)), b'x')",
           status=-signal.SIGBUS)  # fmt: skip
    mapdev.settle()
    assert page_count(driver.page) == 1


def test_a_driver_that_frees_what_is_mapped_and_maps_in_close(
    mapdev: EmbeddedHost, client: Client
) -> None:
    class Careless(Driver):
        def probe(self) -> None:
            self.vm_ops = VmOperationsStruct(fault=self.fault, close=self.close)

        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            vma.vm_ops = self.vm_ops

        def fault(self, vmf: VmFault) -> int:
            vmf.page = alloc_page()
            get_page(vmf.page)
            free_pages(vmf.page, 0)
            return 0

        def close(self, vma: VmAreaStruct) -> None:
            from mapdev.linux import vm_insert_page

            page = alloc_page()
            try:
                vm_insert_page(vma, vma.vm_start, page)
            finally:
                free_pages(page, 0)

    mapdev.add(Careless, "/dev/x")
    before = mapdev.machine.counts()
    client(
        """
        p = raw_mmap(None, 8 * P, R | W, SHARED, os.open('/dev/x', os.O_RDWR))
        for page in range(1, 8): poke(p + page * P, b'mine')
        for page in range(1, 8): assert peek(p + page * P, 4) == b'mine'
        libc.munmap(p, 8 * P)
        """
    )
    assert mapdev.machine.counts() == before


def test_kernel_threads_that_die_and_wake_madly(
    mapdev: EmbeddedHost, client: Client, start: Start
) -> None:
    class Mad(Items):
        def probe(self) -> None:
            super().probe()
            self.other = WaitQueueHead()
            self.stop = False
            kthread_run(self.die, None, "dies")
            kthread_run(self.wake, None, "mad")

        def die(self, data: object) -> None:
            raise ValueError("dies at once")

        def wake(self, data: object) -> None:
            while not self.stop:
                wake_up(self.queue)
                wake_up(self.other)

    driver = mapdev.add(Mad, "/dev/x")
    reader = start("print(os.read(os.open('/dev/x', os.O_RDWR), 9), flush=True)")
    driver.await_reads(5)
    client("open('/dev/x', 'wb', buffering=0).write(b'item')")
    assert reader.communicate(timeout=patience(30))[0] == "b'item'\n"
    driver.stop = True


# --- clients -------------------------------------------------------------------------------------


def test_a_client_that_maps_again_and_again(steady: Any, client: Client) -> None:
    """More mappings, one after another, than a process may have descriptors."""
    client(
        BOTH
        + f"for _ in range({rounds(1500)}): libc.munmap(raw_mmap(None, P, R, SHARED, faults), P)"
    )


def test_the_worker_s_pages(mapdev: EmbeddedHost, steady: Any, client: Client) -> None:
    """A program that unmaps, protects or replaces what it has not mapped itself."""
    page = mapdev.subsystems.window.start
    client(
        BOTH
        + f"""
p = raw_mmap(None, 4 * P, R | W, SHARED, faults); poke(p, b'x'); worker = {page}
assert libc.munmap(worker, 2 * P) == 0
assert code(libc.mprotect(worker, P, 0)) == 'ENOMEM' and code(libc.madvise(worker, 2 * P, 4)) == 'ENOMEM'
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
assert code(libc.mremap(worker, P, 2 * P, 1, None)) == 'EFAULT'
rest = raw_mmap(worker + 2 * P, P, R | W, PRIVATE | ANON | FIXED, -1)
assert libc.munmap(worker, 4 * P) == 0   # more than those
raises(errno.EEXIST, raw_mmap, worker, P, R, PRIVATE | ANON | NOREPLACE, -1)
poke(raw_mmap(rest, P, R | W, PRIVATE | ANON | NOREPLACE, -1), b'there was room')
poke(p + P, b'alive')
# what it wants to have at that very address it gets: the worker goes elsewhere
for round in range(3):
    assert raw_mmap(worker, P, R | W, PRIVATE | ANON | FIXED, -1) == worker
    poke(worker, b'mine'); poke(p + 2 * P, b'alive'); libc.madvise(p, 4 * P, 4)
assert os.fork() or os._exit(poke(p + 3 * P, b"alive") or 0)
assert os.wait()[1] == 0
assert libc.mremap(raw_mmap(None, 8 * P, R | W, PRIVATE | ANON, -1), 8 * P, 8 * P, 3, ctypes.c_void_p(worker)) == worker
poke(worker + 7 * P, b'mine'); poke(p + 3 * P, b'alive')
"""
    )


def test_limits(steady: Any, client: Client) -> None:
    client(
        BOTH
        + """
import resource
p = raw_mmap(None, 4 * P, R | W, SHARED, faults)
os.dup(0); resource.setrlimit(resource.RLIMIT_NOFILE, (4, 1024))  # the worker has two itself
raises(errno.EMFILE, raw_mmap, None, P, R | W, SHARED, frames)
for _ in range(2): libc.munmap(raw_mmap(None, P, R, SHARED, faults), P)
raises(errno.EMFILE, lambda: [raw_mmap(None, P, R, SHARED, faults) for _ in range(9)])
raises(errno.EMFILE, os.open, '/dev/frames', os.O_RDWR)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
poke(raw_mmap(None, P, R | W, SHARED, frames), b'fine'); poke(p, b'fine')
size = int(open('/proc/self/statm').read().split()[0]) * P
resource.setrlimit(resource.RLIMIT_AS, (size + P, -1))
raises(errno.ENOMEM, raw_mmap, None, 4 * P, R | W, SHARED, frames)
raises(errno.ENOMEM, raw_mmap, None, 4 * P, R | W, SHARED, faults)
poke(p + P, b'fine')
"""
    )


def test_no_more_areas(steady: Any, client: Client, caplog: Any) -> None:
    """vm.max_map_count: a fault that can't be answered ends its process, and nobody else."""
    code = """
p = raw_mmap(None, 64 * P, R | W, SHARED, faults); poke(p, b'x')
size = 140000; big = raw_mmap(None, size * P, R, PRIVATE | ANON, -1)
while size and libc.mprotect(big + size * P - P, P, R | W) == 0: size -= 2
while True:
    try: raw_mmap(None, P, R if (size := size + 1) % 2 else W, PRIVATE | ANON, -1)
    except OSError: break
raises(errno.ENOMEM, raw_mmap, None, 16 * P, R | W, SHARED, frames)
for page in range(1, 64, 2): poke(p + page * P, b'x')
"""
    if int(Path("/proc/sys/vm/max_map_count").read_text()) > 70000:
        pytest.skip("vm.max_map_count is more than this test fills")
    client(BOTH + code, status=-signal.SIGKILL)
    assert "max_map_count" in caplog.text and "host itself" not in caplog.text


def test_descriptors_closed_and_sent(steady: Any, client: Client) -> None:
    client(
        BOTH
        + """
import socket
a, b = socket.socketpair(); p = raw_mmap(None, P, R | W, SHARED, faults)
socket.send_fds(a, [b'x'], [frames, faults, frames])   # in flight when the process ends
if os.fork() == 0:
    libc.close_range(0, 0xffffffff, 0); poke(p, b'x'); os._exit(0)
assert os.wait()[1] == 0
_, fds, _, _ = socket.recv_fds(b, 1, 9); poke(raw_mmap(None, P, R | W, SHARED, fds[0]), b'sent')
socket.send_fds(a, [b'x'], fds)
"""
    )


@pytest.mark.parametrize("node", ["frames", "faults"])
def test_a_stopped_client_keeps_nobody_waiting(
    mapdev: EmbeddedHost, steady: Any, client: Client, node: str
) -> None:
    """SIGSTOP comes in mmap, in a fault, in a read that waits; the others go on."""
    code = f"""
import mmap, os, threading, time
fd, waits = os.open('/dev/{node}', os.O_RDWR), os.open('/dev/waits', os.O_RDWR)
def work():
    while True:
        with mmap.mmap(fd, 65536) as m:
            for at in range(0, 65536, 4096): m[at] = 1
for target in (work, work, lambda: os.read(waits, 1)):
    threading.Thread(target=target, daemon=True).start()
print('ready', flush=True); time.sleep(1000)
"""
    mad = mapdev.popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE)
    assert mad.stdout is not None and mad.stdout.readline() == b"ready\n"
    for _ in range(rounds(30)):
        os.kill(mad.pid, signal.SIGSTOP)
        assert mapdev.run(["true"], timeout=patience(20)).returncode == 0
        client(BOTH + "poke(raw_mmap(None, P, R | W, SHARED, faults), b'x')")
        state = Path(f"/proc/{mad.pid}/stat").read_text().rpartition(") ")[2][0]
        assert state in "Tt", mad.poll()
        os.kill(mad.pid, signal.SIGCONT)
        time.sleep(0.005)
    mad.kill()
    mad.stdout.close()
    assert mad.wait(patience(20)) == -signal.SIGKILL


def test_clones_of_all_kinds(steady: Any, client: Client) -> None:
    """CLONE_VFORK without CLONE_VM, CLONE_UNTRACED, another signal than SIGCHLD, none."""
    client(
        BOTH
        + f"""
p, q = raw_mmap(None, P, R | W, SHARED, frames), raw_mmap(None, 4 * P, R | W, SHARED, faults)
signal.signal(10, lambda *_: None)
clone = {220 if os.uname().machine == "aarch64" else 56}
for flags in (17, 0x4000 | 17, 0x800000 | 17, 0, 10, 0x4000 | 0x800000 | 17):
    pid = libc.syscall(clone, flags, None, None, None, None)
    if pid == 0: poke(p, b'x'); poke(q + P, b'x'); os._exit(0)
    assert pid > 0 and os.waitpid(pid, 0x40000000)[1] == 0, flags
"""
    )


def test_wild_arguments(
    mapdev: EmbeddedHost, steady: Any, client: Client, caplog: Any, tmp_path: Path
) -> None:
    """Every call that is handed over, with numbers from anywhere."""
    from mapdev.host.embedded.arch import ARCH
    from mapdev.host.embedded.calls import HANDLERS

    names = {number: name for name, number in ARCH.SYSCALLS.items()}
    forbidden = {"exit", "fork", "clone", "clone3", "execve", "execveat", "vfork", "unlink",
                 "unlinkat", "rename", "renameat", "renameat2", "truncate"}  # fmt: skip
    numbers = [number for number in HANDLERS if names[number] not in forbidden]
    client(
        BOTH
        + f"""
import random
random.seed({os.environ.get("MAPDEV_STORM_SEED", "1")})
libc.syscall.restype = ctypes.c_long
os.read = None; window = {mapdev.subsystems.window.start}
os.set_blocking(waits, False)
p, q = raw_mmap(None, 4 * P, R | W, SHARED, frames), raw_mmap(None, 4 * P, R | W, SHARED, faults)
wild = [0, 1, 2, 3, 7, 8, 100, P, P - 1, -1, -2, 1 << 31, 1 << 32, 1 << 47, (1 << 63) - 1, 1 << 63,
        frames, faults, waits, p, q, p + 1, p - 1, q + 3 * P, window, 0x801, 0x5421, 0x11, 0x8003]
if os.fork() == 0:
    os.chdir({str(tmp_path)!r})  # where it may make files
    # No file of the machine: fchmod comes by, too; and none that fallocate could fill memory with.
    signal.alarm(5); r, w = os.pipe2(os.O_NONBLOCK)
    for fd, end in enumerate((r, w, w)): os.dup2(end, fd)
    for _ in range({rounds(3000)}):
        number = random.choice({numbers})
        args = [ctypes.c_long(random.choice(wild) & (1 << 64) - 1) for _ in range(6)]
        libc.syscall(ctypes.c_long(number), *args)
    os._exit(0)
status = os.wait()[1]
assert status == 0 or os.WTERMSIG(status) in (signal.SIGSEGV, signal.SIGBUS, signal.SIGALRM), status
"""
    )
    assert "host itself" not in caplog.text


def test_ptrace_of_a_child_that_uses_a_device(steady: Any, client: Client) -> None:
    client(
        BOTH
        + """
pid = os.fork()
if pid == 0:
    libc.ptrace(0, 0, None, None); os.kill(os.getpid(), signal.SIGSTOP)
    os.write(frames, b'x'); assert peek(raw_mmap(None, P, R, SHARED, frames)) == b'x'; os._exit(0)
os.waitpid(pid, 0); libc.ptrace(7, pid, None, None)
assert os.waitpid(pid, 0)[1] == 0
"""
    )


@pytest.mark.parametrize("pages", [1, 3])
def test_a_driver_that_frees_in_mmap_what_it_maps(
    mapdev: EmbeddedHost, client: Client, pages: int
) -> None:
    """Its frames are nobody's, so they are not mapped; the program is told, and goes on."""

    class Frees(Driver):
        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            for index in range(pages):
                page = alloc_page(GFP_KERNEL)
                addr = vma.vm_start + index * PAGE_SIZE
                remap_pfn_range(vma, addr, page_to_pfn(page), PAGE_SIZE, vma.vm_page_prot)
                put_page(page)

    mapdev.add(Frees, "/dev/x")
    client(
        f"""
fd = os.open('/dev/x', os.O_RDWR)
for _ in range(3):
    raises(errno.EINVAL, raw_mmap, None, {pages} * P, R, SHARED, fd)
assert 'memfd:mapdev (deleted)' not in open('/proc/self/maps').read()
"""
    )
    assert mapdev.memory.counts().used == 0


def test_two_hosts_in_one_process(mapdev: EmbeddedHost, start: Start) -> None:
    """Each has its own clients, and ends without those of the other."""
    import mapdev as package

    mapdev.add(Buffer, "/dev/x")
    first = start("m = mmap.mmap(os.open('/dev/x', os.O_RDWR), P); print('ready', flush=True)\n"
                  "sys.stdin.readline(); m[0] = 1; os.open('/dev/x', os.O_RDWR); print('done')")  # fmt: skip
    assert first.stdout.readline() == "ready\n"
    with package.host() as second:
        second.add(Faults, "/dev/x")
        assert second.run(["sh", "-c", "head -c 3 /dev/x; sleep 100 & exit 3"]).returncode == 3
    assert len(second.leaks) == 1 and "had not ended" in second.leaks[0], second.leaks
    assert first.communicate("go\n", timeout=patience(30))[0] == "done\n"
