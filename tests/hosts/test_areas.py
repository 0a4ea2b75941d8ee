"""Areas as the kernel has them: split, moved, forked and ended, with `vm_ops` told of each."""

import errno
import time
from collections.abc import Callable
from typing import Any

import pytest
from devices import Buffer
from pace import rounds

from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import (
    PAGE_SHIFT,
    File,
    VmAreaStruct,
    VmOperationsStruct,
    current,
    page_to_pfn,
    pfn_to_page,
    remap_pfn_range,
    vm_insert_page,
    vma_pages,
)

Client = Callable[..., str]

# What clients say: `told()` gives what the driver's vm_ops were told since the last time.
TOLD = """
fd = os.open('/dev/x', os.O_RDWR)
def told():
    return os.pread(fd, 100, 0).decode()
def expect(what):
    assert (was := told()) == what, was
def mremap(old, old_size, new_size, flags, *new):
    result = libc.mremap(ctypes.c_void_p(old), ctypes.c_size_t(old_size), ctypes.c_size_t(new_size),
                         flags, *map(ctypes.c_void_p, new))
    if result == FAILED: raise OSError(ctypes.get_errno(), '')
    return result
def munmap(p, n): assert libc.munmap(p, n) == 0
def code(result): return errno.errorcode[ctypes.get_errno()] if result else '0'
"""


class Areas(Buffer):
    """Counts what its vm_ops are told; a read gives the counts as text and sets them back."""

    inserts = False

    def probe(self, size: int | str = "64K") -> None:
        super().probe(size)
        self.counts: dict[str, int] = {}
        self.live: list[VmAreaStruct] = []
        self.split_error = self.move_error = 0
        self.vm_ops = VmOperationsStruct(
            open=self.vm_open, close=self.vm_close, may_split=self.may_split, mremap=self.mremap
        )

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def vm_open(self, vma: VmAreaStruct) -> None:
        assert vma.vm_private_data == "mine"
        self.count("open")
        self.live.append(vma)

    def vm_close(self, vma: VmAreaStruct) -> None:
        self.count("close")
        self.live.remove(vma)

    def may_split(self, vma: VmAreaStruct, addr: int) -> None:
        assert vma.vm_start < addr < vma.vm_end
        if self.split_error:
            raise OSError(self.split_error, "not split")

    def mremap(self, vma: VmAreaStruct) -> None:
        if self.move_error:
            raise OSError(self.move_error, "not moved")

    def read(self, file: File, count: int, pos: int) -> bytes:  # type: ignore[override]
        told = " ".join(f"{what}+{n}" for what, n in sorted(self.counts.items()))
        self.counts.clear()
        return told.encode()

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        first = page_to_pfn(self.page) + vma.vm_pgoff
        if self.inserts:
            for page in range(vma_pages(vma)):
                vm_insert_page(vma, vma.vm_start + (page << PAGE_SHIFT), pfn_to_page(first + page))
        else:
            remap_pfn_range(vma, vma.vm_start, first, vma.vm_end - vma.vm_start, vma.vm_page_prot)
        vma.vm_ops = self.vm_ops
        vma.vm_private_data = "mine"
        self.live.append(vma)


class Inserted(Areas):
    inserts = True

    def probe(self, size: int | str = "64K") -> None:
        super().probe(size)
        for page in range(1, self.size >> PAGE_SHIFT):  # a reference for each page, as split_page
            pfn_to_page(page_to_pfn(self.page) + page)


@pytest.fixture
def areas(mapdev: Host, client: Client) -> Callable[[str], Areas]:
    """Run a client on a new device and return the driver, which must be told of every end."""

    def run(code: str, **options: Any) -> Areas:
        driver = mapdev.add(Areas, "/dev/x")
        client(TOLD + "\n" + code, **options)
        mapdev.settle()
        assert driver.live == []
        return driver

    return run


def test_munmap(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 16 * P, R | W, SHARED, fd); expect('')
munmap(p, 4 * P); expect('close+1 open+1')
munmap(p + 12 * P, 4 * P); expect('close+1 open+1')
munmap(p + 7 * P, P); expect('close+1 open+2')
munmap(p, 16 * P); expect('close+2')
munmap(p, 16 * P); expect('')
""")


def test_mprotect_splits_and_is_never_merged_with_a_close(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 16 * P, R | W, SHARED, fd)
libc.mprotect(p + 4 * P, 4 * P, R); expect('open+2')
libc.mprotect(p + 4 * P, 4 * P, R | W); expect('')
munmap(p, 16 * P); expect('close+3')
""")


def test_a_new_mapping_in_the_place_of_an_old_one(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 16 * P, R | W, SHARED, fd)
assert raw_mmap(p + 4 * P, P, R | W, SHARED | FIXED, fd) == p + 4 * P; expect('close+1 open+2')
assert raw_mmap(p + 6 * P, P, R | W, PRIVATE | FIXED | ANON, -1) == p + 6 * P
expect('close+1 open+2')
munmap(p, 16 * P); expect('close+4')
""")


def test_mremap(areas: Callable[[str], Areas]) -> None:
    driver = areas("""
p = raw_mmap(None, 16 * P, R | W, SHARED, fd); poke(p + 5 * P, b'five')
assert mremap(p, 16 * P, 8 * P, 0) == p; expect('close+1 open+1')
room = raw_mmap(None, 8 * P, 0, PRIVATE | ANON, -1)
q = mremap(p, 8 * P, 8 * P, 1 | 2, room); assert q == room; expect('close+1 open+1')
assert peek(q + 5 * P, 4) == b'five'; poke(q + 5 * P, b'FIVE')
assert not maps(f'{p:x}-')
room = raw_mmap(None, 2 * P, 0, PRIVATE | ANON, -1)
assert mremap(q + 5 * P, 2 * P, 2 * P, 1 | 2, room) == room; expect('close+1 open+3')
assert peek(room, 4) == b'FIVE'
munmap(room, 2 * P); munmap(q, 8 * P); expect('close+3')
""")
    assert driver.text(4, 5 << PAGE_SHIFT) == b"FIVE"


def test_mremap_onto_a_part_of_the_same_area(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); poke(p + 3 * P, b'last')
assert mremap(p + 3 * P, P, P, 1 | 2, p + P) == p + P; assert peek(p + P, 4) == b'last'
munmap(p, 4 * P); told()
""")


def test_hooks_that_refuse(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Areas, "/dev/x")
    driver.split_error, driver.move_error = errno.EBUSY, errno.EPERM
    client(
        TOLD
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); poke(p, b'here')
assert code(libc.munmap(p + P, P)) == 'EBUSY' and code(libc.mprotect(p, P, R)) == 'EBUSY'
room = raw_mmap(None, 4 * P, 0, PRIVATE | ANON, -1)
raises(errno.EPERM, mremap, p, 4 * P, 4 * P, 1 | 2, room); expect('close+1 open+1')
poke(p + 3 * P, b'x'); assert peek(p, 4) == b'here'
munmap(p, 4 * P); expect('close+1')
"""
    )


def test_mremap_onto_the_lower_part_of_the_same_area(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 16 * P, R | W, SHARED, fd); poke(p + 8 * P, b'eight')
assert mremap(p + 8 * P, 4 * P, 4 * P, 3, p) == p and peek(p, 5) == b'eight'
expect('close+2 open+4')
munmap(p, 16 * P); told()
""")


def test_something_else_moved_onto_an_area(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 8 * P, R | W, SHARED, fd); q = raw_mmap(None, P, R | W, PRIVATE | ANON, -1)
raises(errno.EINVAL, mremap, q + 1, 100, 100, 3, p); expect('')
raises(errno.EFAULT, mremap, q + (1 << 40), P, P, 3, p); expect('')
assert mremap(q, 100, 100, 3, p + P) == p + P; expect('close+1 open+2')
assert [int(line[0].split('-')[0], 16) for line in maps()] == [p, p + 2 * P]
munmap(p, 8 * P); told()
""")


def test_what_the_kernel_refuses_changes_nothing(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
assert code(libc.munmap(p, 1 << 60)) == 'EINVAL'; expect('')
assert code(libc.mprotect(p, P, R | 0x100)) == 'EINVAL'; expect('')
assert code(libc.syscall(325, ctypes.c_void_p(p), P, 4)) == 'EINVAL' or os.uname().machine != 'x86_64'
munmap(p, 4 * P); told()
""")


def test_mprotect_changes_what_lies_before_a_refusal(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 4 * P, R, SHARED, fd)
raw_mmap(p + 2 * P, P, R, SHARED | FIXED, os.open('/dev/x', os.O_RDONLY)); told()
assert code(libc.mprotect(p, 4 * P, R | W)) == 'EACCES'; poke(p + P, b'x')
assert [line[1] for line in maps()] == ['rw-s', 'r--s', 'r--s']
munmap(p, 4 * P); told()
""")


def test_a_fixed_mapping_over_an_area_that_can_t_be_split(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Areas, "/dev/x")
    driver.split_error = errno.EBUSY
    client(
        TOLD
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); poke(p, b'here')
raises(errno.EBUSY, raw_mmap, p, P, R | W, SHARED | FIXED, fd); expect('')
assert peek(p, 4) == b'here'
"""
    )


@pytest.mark.embedded_only("the kernel puts a device's area among the program's libraries")
def test_a_long_mapping_that_reaches_over_an_area(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); start = p - (8 << 30)
assert raw_mmap(start, 16 << 30, 0, PRIVATE | ANON | FIXED | 0x4000, -1) == start
expect('close+1')
""")


def test_fork_and_the_child_s_end(areas: Callable[[str], Areas]) -> None:
    driver = areas("""
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); munmap(p + P, P); told()
r, w = os.pipe(); r2, w2 = os.pipe()
pid = os.fork()
if pid == 0:
    poke(p, b'child'); os.write(w, b'x'); os.read(r2, 1)
    munmap(p, P); os.write(w, b'y'); os.read(r2, 1); os._exit(7)
os.read(r, 1); expect('open+2'); assert peek(p, 5) == b'child'
os.write(w2, b'x'); os.read(r, 1); expect('close+1')
os.write(w2, b'x'); assert os.waitpid(pid, 0)[1] == 7 << 8; expect('close+1')
munmap(p, 4 * P); expect('close+2')
""")
    assert driver.text() == b"child"


def test_a_child_that_is_killed(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
pid = os.fork()
if pid == 0: signal.pause()
expect('open+1'); os.kill(pid, 9); os.waitpid(pid, 0); expect('close+1')
munmap(p, 4 * P); told()
""")


def test_a_fork_s_open_is_the_parent_s_call(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Areas, "/dev/x")
    callers = []
    driver.vm_ops.open = lambda vma: callers.append(current().pid)
    driver.vm_ops.close = None
    parent = client(
        TOLD
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
if os.fork() == 0: os._exit(0)
os.wait(); print(os.getpid())
"""
    )
    assert callers == [int(parent)]


def test_forks_that_are_killed_leave_no_stopped_child(
    mapdev: Host, start: Callable[..., Process]
) -> None:
    mapdev.add(Areas, "/dev/x")
    for turn in range(rounds(30)):
        process = start("""
p = raw_mmap(None, 4 * P, R | W, SHARED, os.open('/dev/x', os.O_RDWR))
signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True)
while True:
    if os.fork() == 0: os._exit(0)
""")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(turn % 10 / 1000)
        process.kill()
        process.wait(60)
    mapdev.settle()  # the end of the test looks for clients that are left


def test_threads_and_vfork_share_the_areas(areas: Callable[[str], Areas]) -> None:
    areas("""
import subprocess
p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
thread = threading.Thread(target=lambda: munmap(p, P)); thread.start(); thread.join()
expect('close+1 open+1')
pid = os.posix_spawn('/bin/true', ['true'], {}); os.waitpid(pid, 0); expect('')
munmap(p, 4 * P); expect('close+1')
""")


def test_exec_ends_the_areas(areas: Callable[[str], Areas]) -> None:
    areas("""
r, w = os.pipe(); r2, w2 = os.pipe()
for f in (w, r2): os.set_inheritable(f, True)
pid = os.fork()
if pid == 0:
    p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
    try: os.execv('/nowhere', ['x'])
    except OSError: poke(p, b'still here')
    os.execv('/bin/sh', ['sh', '-c', f'echo >&{w}; read x <&{r2}'])
os.read(r, 1); expect('close+1')
os.write(w2, bytes([10])); os.waitpid(pid, 0); expect('')
""")


def test_a_client_that_is_killed(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Areas, "/dev/x")
    client(TOLD + "p = raw_mmap(None, 4 * P, R | W, SHARED, fd); munmap(p + P, P)\n"
           "os.kill(os.getpid(), 9)", status=-9)  # fmt: skip
    mapdev.settle()
    assert driver.counts == {"open": 2, "close": 3} and driver.live == []


def test_areas_elsewhere_are_looked_after(areas: Callable[[str], Areas]) -> None:
    """A client that wants an address of its own gets it; the driver is told at its next call."""
    areas("""
room = raw_mmap(None, 16 * P, 0, PRIVATE | ANON, -1)
p = raw_mmap(room, 16 * P, R | W, SHARED | FIXED, fd); assert p == room
munmap(p + 4 * P, P); expect('close+1 open+2')
libc.mprotect(p, 2 * P, R); expect('open+1')
munmap(p, 16 * P); expect('close+3')
""")


def test_madvise_on_frames_that_a_driver_mapped(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); poke(p, b'kept')
answers = {n: code(libc.madvise(p, 4 * P, n)) for n in (3, 4, 8, 9, 12, 14, 17, 18, 20, 21, 22, 25, 99)}
assert answers == {3: '0', 4: 'EINVAL', 8: 'EINVAL', 9: 'ENODEV', 12: '0', 14: '0', 17: 'EINVAL',
                   18: 'EINVAL', 20: 'EINVAL', 21: 'EINVAL', 22: 'EINVAL', 25: 'EINVAL',
                   99: 'EINVAL'}, answers
assert peek(p, 4) == b'kept'
told(); libc.madvise(p, P, 10); expect('open+1')
if os.fork() == 0: os._exit(0 if peek(p + P) == bytes(1) else 1)
assert os.wait()[1] == 0; expect('close+1 open+1')
""")


def test_msync_and_mlock(mapdev: Host, client: Client) -> None:
    synced = []

    class Synced(Areas):
        def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
            synced.append((start, end, datasync))

    mapdev.add(Areas, "/dev/x")
    mapdev.add(Synced, "/dev/y")
    client(
        TOLD
        + """
def locked(): return [l for l in open('/proc/self/status') if l.startswith('VmLck')]
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); before = locked()
assert code(libc.msync(ctypes.c_void_p(p), 4 * P, 4)) == 'EINVAL'
assert code(libc.msync(ctypes.c_void_p(p), 4 * P, 1)) == '0'
assert code(libc.mlock(ctypes.c_void_p(p), 4 * P)) == '0' and locked() == before
munmap(p + P, P); assert code(libc.msync(ctypes.c_void_p(p), 4 * P, 1)) == 'ENOMEM'
p = raw_mmap(None, 4 * P, R | W, SHARED, os.open('/dev/y', os.O_RDWR), P)
assert code(libc.msync(ctypes.c_void_p(p + P), 2 * P, 4)) == '0'
p = raw_mmap(None, 4 * P, R, SHARED, os.open('/dev/y', os.O_RDONLY))
assert code(libc.msync(ctypes.c_void_p(p), P, 4)) == '0'
"""
    )
    page = 1 << PAGE_SHIFT
    assert synced == [(2 * page, 4 * page - 1, True)]


def test_mprotect_beyond_what_the_file_allows(areas: Callable[[str], Areas]) -> None:
    areas("""
p = raw_mmap(None, 4 * P, R, SHARED, os.open('/dev/x', os.O_RDONLY))
assert code(libc.mprotect(p, P, R | W)) == 'EACCES'; expect('')
p = raw_mmap(None, 4 * P, R, PRIVATE, os.open('/dev/x', os.O_RDONLY))
assert code(libc.mprotect(p, 4 * P, R | W)) == '0'; poke(p, b'mine')
""")
