"""Pages that come when they are touched: fault, map_pages, mkwrite, SIGBUS, zap, fork, threads."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulting import ASKED, OPEN, PROTECTS, Asked, Told
from pace import rounds

from mapdev.drivers.lazy import Lazy
from mapdev.host.core.host import Host
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.process import Process
from mapdev.linux import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_LOCKED,
    VM_FAULT_RETRY,
    VM_IO,
    VM_PFNMAP,
    File,
    VmAreaStruct,
    VmFault,
    current,
    memory,
    page_address,
    page_count,
    page_to_pfn,
    vm_flags_set,
    vm_insert_page,
    vmf_insert_pfn,
)

Client = Callable[..., str]
Static = Callable[[str], str]
USER_ONLY = os.geteuid() != 0 and (
    Path("/proc/sys/vm/unprivileged_userfaultfd").read_text().strip() == "0"
)
needs_kernel_faults = pytest.mark.skipif(
    USER_ONLY, reason="faults inside system calls need root or vm.unprivileged_userfaultfd=1"
)


@pytest.mark.when_touched
def test_each_page_is_asked_for_once(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd, 3 * P); expect('')
assert peek(p + 2 * P, 6) == b'PAGE05'; expect('fault5r')
poke(p + 2 * P, b'page'); peek(p + 2 * P); expect('')
poke(p, b'x'); peek(p); expect('fault3w')
q = raw_mmap(None, 4 * P, R | W, SHARED, fd, 3 * P)
assert peek(q + 2 * P, 6) == b'page05'; expect('fault5r')
"""
    )
    assert bytes(memory(page_address(driver.pages[5]), 6)) == b"page05"
    mapdev.settle()
    assert [page_count(page) for page in driver.pages] == [1] * 16


@pytest.mark.when_touched
def test_private_pages_are_copied(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 4 * P, R | W, PRIVATE, fd)
poke(p, b'mine'); assert peek(p, 6) == b'mine00'; expect('fault0w')
assert peek(p + P, 6) == b'PAGE01'; poke(p + P, b'mine'); expect('fault1r')
"""
    )
    assert bytes(memory(page_address(driver.pages[0]), 4)) == b"PAGE"


@pytest.mark.when_touched
def test_sigbus_with_the_exact_address(mapdev: Host, client: Client, static: Static) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    done = mapdev.run([static("sigbus"), "/dev/x", str(16 * PAGE_SIZE + 0x123)],
                      capture_output=True, text=True)  # fmt: skip
    assert done.stdout == "SIGBUS BUS_ADRERR +0x123\n" * 2 + "PAGE03\n", done.stderr
    assert [asked[:2] for asked in driver.asked] == [("fault", 16), ("fault", 16), ("fault", 3)]


def test_a_driver_that_fails(mapdev: Host, client: Client, caplog: Any) -> None:
    class Failing(Asked):
        def fault(self, vmf: VmFault) -> Any:
            if vmf.pgoff == 0:
                raise ValueError("broken")
            return "nonsense" if vmf.pgoff == 1 else -1 if vmf.pgoff == 2 else 0

    mapdev.add(Failing, "/dev/x")
    for page in range(4):
        client(OPEN + f"peek(raw_mmap(None, 4 * P, R, SHARED, fd) + {page} * P)",
               status=-signal.SIGBUS)  # fmt: skip
    assert "broken" in caplog.text and "nonsense" in caplog.text


@needs_kernel_faults
@pytest.mark.when_touched
def test_inside_system_calls(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 17 * P, R | W, SHARED, fd); r, w = os.pipe()
assert libc.write(w, ctypes.c_void_p(p + P), 6) == 6 and os.read(r, 6) == b'PAGE01'
expect('fault1r')
os.write(w, b'HELLO'); assert libc.read(r, ctypes.c_void_p(p + 2 * P), 5) == 5
assert peek(p + 2 * P, 6) == b'HELLO2'; expect('fault2w')
assert libc.write(w, ctypes.c_void_p(p + 16 * P), 8) == -1 and ctypes.get_errno() == errno.EFAULT
assert 'fault16' in asked()
"""
    )
    assert bytes(memory(page_address(driver.pages[2]), 5)) == b"HELLO"


@pytest.mark.when_touched
def test_the_host_s_own_access(mapdev: Host, client: Client) -> None:
    """The host reads and writes a client's memory; it must not wait for itself."""
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 17 * P, R | W, SHARED, fd)
assert libc.write(fd, ctypes.c_void_p(p + 4 * P), 6) == 6
assert libc.pread(fd, ctypes.c_void_p(p + 5 * P), 100, ctypes.c_long(0)) == 7
assert peek(p + 5 * P, 7) == b'fault4r'; expect('fault5w')
assert libc.write(fd, ctypes.c_void_p(p + 16 * P), 6) == -1
assert ctypes.get_errno() == errno.EFAULT
"""
    )
    assert driver.written == b"PAGE04"


@pytest.mark.when_touched
def test_advice_and_zap_bring_faults_back(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 17 * P, R | W, SHARED, fd); poke(p, b'kept'); peek(p + P); asked()
assert libc.madvise(p, P, 4) == 0; expect(''); assert peek(p, 4) == b'kept'; expect('fault0r')
fcntl.ioctl(fd, 1, 1); assert peek(p, 4) == b'kept'; expect('')
assert peek(p + P, 6) == b'PAGE01'; expect('fault1r')
fcntl.ioctl(fd, 0, 0); peek(p); peek(p + P); expect('fault0r fault1r')
assert libc.madvise(p + 8 * P, 4 * P, 22) == 0; expect('fault8r fault9r fault10r fault11r')
peek(p + 9 * P); expect('')
assert libc.madvise(p + 14 * P, 3 * P, 22) == -1 and ctypes.get_errno() == errno.EFAULT
"""
    )


@pytest.mark.when_touched
def test_populate_and_locked(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
def locked(): return int(next(l for l in open('/proc/self/status') if 'VmLck' in l).split()[1])
p = raw_mmap(None, 4 * P, R | W, SHARED | POPULATE, fd)
expect('fault0r fault1r fault2r fault3r'); peek(p + P); expect('')
before = locked(); p = raw_mmap(None, 4 * P, R, SHARED, fd); libc.mlock(ctypes.c_void_p(p + P), 2 * P)
assert locked() - before == 2 * P // 1024; expect('fault1r fault2r')
"""
    )


@pytest.mark.when_touched
def test_mapping_several_pages_at_once(mapdev: Host, client: Client) -> None:
    class Around(Asked):
        def probe(self, **hooks: Any) -> None:
            super().probe()
            self.vm_ops.map_pages = self.map_pages

        def map_pages(self, vmf: VmFault, start_pgoff: int, end_pgoff: int) -> int:
            self.note(f"map{start_pgoff}-{end_pgoff}:", vmf)
            for pgoff in range(start_pgoff, min(end_pgoff, 7) + 1):
                addr = vmf.vma.vm_start + (pgoff - vmf.vma.vm_pgoff << PAGE_SHIFT)
                if not vmf.vma.is_mapped(addr, addr + PAGE_SIZE):
                    vm_insert_page(vmf.vma, addr, self.pages[pgoff])
            return 0

    driver = mapdev.add(Around, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 14 * P, R | W, SHARED, fd, 2 * P)
assert peek(p + 3 * P, 6) == b'PAGE05'; expect('map2-15:5r')
for page in range(2, 8): assert peek(p + (page - 2) * P, 6) == b'PAGE%02d' % page
expect(''); poke(p, b'x'); expect('')
peek(p + 8 * P); expect('map2-15:10r fault10r')
poke(p + 9 * P, b'x'); expect('fault11w')
"""
    )
    mapdev.settle()
    assert [page_count(page) for page in driver.pages] == [1] * 16


@pytest.mark.when_touched
def test_frames_without_pages(mapdev: Host, client: Client) -> None:
    class Frames(Asked):
        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            super().mmap(file, vma)
            vm_flags_set(vma, VM_PFNMAP | VM_IO)

        def fault(self, vmf: VmFault) -> int:
            self.note("fault", vmf)
            pfn = page_to_pfn(self.pages[vmf.pgoff])
            return vmf_insert_pfn(vmf.vma, vmf.address, pfn)

    mapdev.add(Frames, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 16 * P, R | W, SHARED | POPULATE, fd); expect('')
poke(p + 3 * P, b'X'); assert peek(p + 3 * P, 6) == b'XAGE03'; expect('fault3w')
assert libc.madvise(p, P, 4) == -1 and ctypes.get_errno() == errno.EINVAL
"""
    )


@pytest.mark.skipif(
    not PROTECTS, reason="write-protection of shared memory: Linux 5.19, arm64 6.10"
)
@pytest.mark.when_touched
def test_the_first_write_is_told(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Told, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 16 * P, R | W, SHARED, fd)
peek(p); expect('fault0r'); poke(p, b'x'); expect('mkwrite0w'); poke(p, b'y'); expect('')
poke(p + P, b'x'); expect('fault1w mkwrite1w')
peek(p + 2 * P); asked(); assert libc.pread(fd, ctypes.c_void_p(p + 2 * P), 9, ctypes.c_long(0)) == 0
os.write(fd, b'note'); peek(p + 3 * P); asked()
pid = os.fork()
if pid == 0: poke(p + 3 * P, b'z'); os._exit(0)
os.waitpid(pid, 0); expect('fault3w mkwrite3w')
if os.fork() == 0: poke(p + 9 * P, b'z')
assert os.WTERMSIG(os.wait()[1]) == signal.SIGBUS; expect('fault9w mkwrite9w')
if os.fork() == 0: peek(p + 9 * P); poke(p + 9 * P, b'z')
assert os.WTERMSIG(os.wait()[1]) == signal.SIGBUS; expect('fault9r mkwrite9w')
q = raw_mmap(None, P, R | W, PRIVATE, fd); poke(q, b'mine'); expect('fault0w')
"""
    )
    mapdev.settle()
    assert [page_count(page) for page in driver.pages] == [1] * 16


@pytest.mark.when_touched
def test_areas_that_fault_move_and_split(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
p = raw_mmap(None, 8 * P, R | W, SHARED, fd); poke(p + P, b'one'); asked()
room = raw_mmap(None, 12 * P, 0, PRIVATE | ANON, -1); libc.munmap(room, 12 * P)
q = libc.mremap(p, 8 * P, 12 * P, 1 | 2, room); assert q == room
assert peek(q + P, 3) == b'one'; expect('')
assert peek(q + 5 * P, 6) == b'PAGE05' and peek(q + 11 * P, 6) == b'PAGE11'; expect('fault5r fault11r')
libc.mprotect(q + 6 * P, P, R); assert peek(q + 6 * P, 6) == b'PAGE06'; expect('fault6r')
libc.munmap(q, 6 * P); assert peek(q + 7 * P, 6) == b'PAGE07'; expect('fault7r')
p = libc.mremap(q + 8 * P, 4 * P, 4 * P, 1 | 4, None)   # MREMAP_DONTUNMAP
assert p != FAILED and peek(p + 3 * P, 6) == b'PAGE11'; expect('')
assert peek(q + 11 * P, 6) == b'PAGE11'; expect('fault11r')
p = libc.mremap(p, 0, 4 * P, 1, None); assert peek(p, 6) == b'PAGE08'; expect('fault8r')
"""
    )


@pytest.mark.when_touched
def test_a_page_that_moves_beside_others_leaves_them_as_they_are(
    mapdev: Host, client: Client
) -> None:
    """Memory reserved for faults must ask the driver, whatever the kernel joins it with."""
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
p = raw_mmap(None, 16 * P, R | W, SHARED, fd); libc.munmap(p + 6 * P, 10 * P)
assert libc.mremap(p + 2 * P, P, P, 1 | 2, p + 6 * P) == p + 6 * P
poke(p + 3 * P, b'three'); peek(p + 6 * P); expect('fault3w fault2r')
"""
    )


@pytest.mark.when_touched
def test_fork_and_exec(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 8 * P, R | W, SHARED, fd); poke(p, b'zero'); asked()
pid = os.fork()
if pid == 0:
    assert peek(p, 4) == b'zero' and peek(p + P, 6) == b'PAGE01'; poke(p + P, b'one')
    if os.fork() == 0: assert peek(p + 2 * P, 6) == b'PAGE02'; os._exit(0)
    assert os.wait()[1] == 0
    os.execv('/bin/true', ['true'])
assert os.waitpid(pid, 0)[1] == 0; expect('fault0r fault1r fault2r')
assert peek(p + P, 3) == b'one'; expect('fault1r')
"""
    )
    mapdev.settle()
    assert [page_count(page) for page in driver.pages] == [1] * 16


@pytest.mark.skipif(not PROTECTS, reason="shared memory can't be write-protected here")
@pytest.mark.when_touched
def test_the_first_write_is_told_wherever_the_page_is(mapdev: Host, client: Client) -> None:
    mapdev.add(Told, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); peek(p); expect('fault0r')
q = raw_mmap(None, 4 * P, 0, PRIVATE | ANON, -1)
libc.mremap(ctypes.c_void_p(p), 4 * P, 4 * P, 3, ctypes.c_void_p(q))
peek(q); expect(''); poke(q, b'x'); expect('mkwrite0w')
peek(q + P); asked(); libc.munmap(q, 4 * P)
raw_mmap(q, 4 * P, R | W, SHARED | FIXED, fd); poke(q + P, b'x'); expect('fault1w mkwrite1w')
assert libc.pread(fd, ctypes.c_void_p(q + P), 100, ctypes.c_long(0)) == 0; expect('')
"""
    )


@pytest.mark.when_touched
def test_populate_as_the_kernel_does(mapdev: Host, client: Client) -> None:
    mapdev.add(Told, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 2 * P, R | W, SHARED, fd); assert libc.madvise(p, P, 23) == 0
expect('fault0w mkwrite0w')
libc.mprotect(p, 2 * P, R); assert libc.madvise(p, 2 * P, 23) == -1
assert ctypes.get_errno() == errno.EINVAL
raw_mmap(None, P, R | W, SHARED | POPULATE | 0x10000, fd); expect('')  # MAP_NONBLOCK
raw_mmap(None, P, R | W, PRIVATE | POPULATE, fd); expect('fault0w')
raw_mmap(None, P, 0, SHARED | POPULATE, fd); expect('')
p = raw_mmap(None, P, R, SHARED, fd); asked()
raw_mmap(p + P, P, R, SHARED | POPULATE | FIXED, fd, P)  # extends the first
"""
        + f"expect({'fault1r' if PROTECTS else 'fault1r mkwrite1w'!r})"
    )


def test_locking_what_a_driver_does_not_give(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
def locked(): return int(next(l for l in open('/proc/self/status') if 'VmLck' in l).split()[1])
before = locked(); p = raw_mmap(None, 18 * P, R, SHARED | 0x2000, fd); assert 'fault16r' in asked()
assert locked() - before == 18 * P // 1024 and peek(p, 6) == b'PAGE00'; expect('')
p = raw_mmap(None, 18 * P, R, SHARED, fd)
assert libc.mlock(ctypes.c_void_p(p), 18 * P) == -1 and ctypes.get_errno() == errno.ENOMEM
"""
    )


@pytest.mark.embedded_only("the kernel asks again as long as the driver says VM_FAULT_RETRY")
@pytest.mark.when_touched
def test_the_host_asks_again_itself(mapdev: Host, client: Client) -> None:
    class Later(Asked):
        def fault(self, vmf: VmFault) -> int:
            if len(self.asked) < vmf.pgoff:
                self.note("later", vmf)
                return VM_FAULT_RETRY
            return super().fault(vmf)

    driver = mapdev.add(Later, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 16 * P, R, SHARED, fd); asked()
assert libc.write(fd, ctypes.c_void_p(p + 2 * P), 6) == 6; expect('later2r later2r fault2r')
assert libc.write(fd, ctypes.c_void_p(p + 15 * P), 6) == -1
assert ctypes.get_errno() == errno.EFAULT
"""
    )
    assert driver.written == b"PAGE02"


def test_memory_in_the_place_of_an_area_elsewhere(mapdev: Host, client: Client) -> None:
    """The host has not seen that the area is gone, and must not put a page there."""
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
room = raw_mmap(None, 4 * P, 0, PRIVATE | ANON, -1)
for use in (lambda: os.close(libc.open(ctypes.c_void_p(room), 0)),
            lambda: libc.write(fd, ctypes.c_void_p(room), 5), lambda: fcntl.ioctl(fd, 0, 0)):
    raw_mmap(room, 4 * P, R | W, SHARED | FIXED, fd); peek(room + P); asked()
    raw_mmap(room, 4 * P, R | W, PRIVATE | ANON | FIXED, -1); poke(room, b'/dev/null\\0')
    use(); assert peek(room, 9) == b'/dev/null'; expect('')
"""
    )


def test_no_touch_is_missed_while_pages_are_taken_away(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 16 * P, R | W, SHARED, fd); stop = False; wrong = []
view = (ctypes.c_char * (16 * P)).from_address(p)
def touch():
    while not stop: wrong.extend(page for page in range(16) if view[page * P] != b'P')
threads = [threading.Thread(target=touch) for _ in range(2)]
for thread in threads: thread.start()
end = time.monotonic() + 1
while time.monotonic() < end: fcntl.ioctl(fd, 0, 0); libc.madvise(p, 8 * P, 4)
stop = True
for thread in threads: thread.join()
assert not wrong
"""
    )


def test_more_mappings_than_descriptors(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
for turn in range(1100):
    p = raw_mmap(None, P, R, SHARED, fd); peek(p); libc.munmap(p, P)
"""
    )


@pytest.mark.when_touched
def test_pages_that_could_not_be_had_are_asked_for_again(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
p = raw_mmap(None, 20 * P, R | W, SHARED, fd); r, w = os.pipe()
def fails(): assert libc.write(w, ctypes.c_void_p(p + 17 * P), 4) == -1
fails(); libc.mprotect(p + 10 * P, 10 * P, R); time.sleep(0.05); asked(); fails()
assert 'fault17' in asked() or int(sys.argv[1])
""",
        str(int(USER_ONLY)),
    )


def test_a_stopped_client_holds_up_nobody(
    mapdev: Host, client: Client, start: Callable[..., Process]
) -> None:
    class Stopping(Asked):
        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            super().mmap(file, vma)
            if vma.vm_pgoff:
                os.kill(current().tgid, signal.SIGSTOP)

    mapdev.add(Stopping, "/dev/x")
    process = start(
        ASKED
        + """
p = raw_mmap(None, 4 * P, R, SHARED, fd); peek(p); print(flush=True)
p = raw_mmap(None, 4 * P, R, SHARED, fd, P); print(peek(p, 6), flush=True)
"""
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    client(OPEN + "fcntl.ioctl(fd, 0, 0)")
    process.send_signal(signal.SIGCONT)
    assert process.stdout.readline() == "b'PAGE01'\n"


def test_many_threads_touch_many_pages(mapdev: Host, static: Static) -> None:
    driver = mapdev.add(Lazy, "/dev/x", size="4M")
    done = mapdev.run([static("toucher"), "/dev/x", "8", str(1 << 20 >> (20 - 8))],
                      capture_output=True, text=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(driver.pages) == 256
    # In the kernel, threads that touch a page at the same time ask for it each.
    assert driver.faults == 256 or (driver.faults > 256 and not isinstance(mapdev, EmbeddedHost))
    assert all(memory(page_address(page), 8)[0] == 8 for page in driver.pages.values())


def test_threads_that_end_one_by_one(mapdev: Host, static: Static) -> None:
    """The last thread of a process ends by exit(2), which must end the process."""
    mapdev.add(Lazy, "/dev/x")
    done = mapdev.run([static("toucher"), "/dev/x", "2", "4", "exit"], timeout=60)
    assert done.returncode == 0


def test_a_client_killed_in_faults(mapdev: Host, static: Static) -> None:
    driver = mapdev.add(Lazy, "/dev/x", size="16M")
    for turn in range(rounds(20)):
        process = mapdev.popen([static("toucher"), "/dev/x", "4", "4096"])
        seen = driver.faults
        while driver.faults < seen + 1 + turn * 3:
            pass
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    mapdev.settle()
    assert all(page_count(page) == 1 for page in driver.pages.values())


def test_a_client_that_maps_away_what_it_waits_for(mapdev: Host, client: Client) -> None:
    mapdev.add(Asked, "/dev/x")
    client(
        ASKED
        + """
for turn in range(30):
    p = raw_mmap(None, 8 * P, R | W, SHARED, fd)
    def touch():
        for page in range(8):
            try: os.write(os.open('/dev/null', os.O_WRONLY), (ctypes.c_char * P).from_address(p + page * P))
            except OSError: pass
    threads = [threading.Thread(target=touch) for _ in range(2)]
    for thread in threads: thread.start()
    raw_mmap(p, 8 * P, R | W, PRIVATE | ANON | FIXED, -1)
    for thread in threads: thread.join()
    assert peek(p, 4) == bytes(4); libc.munmap(p, 8 * P)
"""
    )


def test_pages_taken_away_from_a_client_that_dies(
    mapdev: Host, client: Client, start: Callable[..., Process]
) -> None:
    class Killing(Asked):
        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            return super().ioctl(file, cmd, arg)

    mapdev.add(Killing, "/dev/x")
    process = start(
        ASKED + "p = raw_mmap(None, 4 * P, R | W, SHARED, fd); peek(p); print(flush=True)\n"
        "signal.pause()"
    )
    assert process.stdout is not None
    process.stdout.readline()
    client(OPEN + "fcntl.ioctl(fd, 0, 0)")


def test_pages_that_are_taken_away_while_they_are_written(mapdev: Host, client: Client) -> None:
    """A thread that waits for leave to write finds the page gone, and touches it again."""

    class Taken(Asked):
        def probe(self) -> None:
            super().probe()
            self.vm_ops.page_mkwrite = lambda vmf: VM_FAULT_LOCKED

    mapdev.add(Taken, "/dev/x")
    client(
        OPEN
        + """
m = mmap.mmap(fd, P)
end = time.monotonic() + 2
def take():
    while time.monotonic() < end: fcntl.ioctl(fd, 0, 1); time.sleep(0.003)
thread = threading.Thread(target=take, daemon=True); thread.start()
rounds = 0
while time.monotonic() < end - 0.5: m[0]; m[7] = 1; rounds += 1
thread.join(30)
assert rounds and not thread.is_alive()
"""
    )
