"""mmap of devices: placement, protection, sharing, what happens to the areas, and errors."""

import errno
import os
from collections.abc import Callable

import pytest
from devices import Bare, Buffer
from pace import rounds

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    alloc_page,
    current,
    find_vma,
    for_each_vma,
    memory,
    page_address,
    page_to_pfn,
    remap_pfn_range,
    remap_vmalloc_range,
    vm_insert_page,
    vma_pages,
    vmalloc_to_pfn,
    vmalloc_user,
)

Client = Callable[..., str]


def test_both_sides_see_each_others_bytes_at_once(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    driver.bytes[:6] = b"driver"
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        m = mmap.mmap(fd, 16 * P)
        assert m[:6] == b'driver'
        m[P:P + 6] = b'client'
        assert os.pread(fd, 6, P) == b'client'
        os.pwrite(fd, b'again', 2 * P); assert m[2 * P:2 * P + 5] == b'again'
        """
    )
    assert driver.text(6, PAGE_SIZE) == b"client"


def test_whole_part_offset_and_odd_length(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    for page in range(16):
        driver.bytes[page * PAGE_SIZE] = page
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        for pages, offset in (16, 0), (1, 0), (3, 5), (1, 15):
            m = mmap.mmap(fd, pages * P, offset=offset * P)
            assert [m[i * P] for i in range(pages)] == list(range(offset, offset + pages))
        m = mmap.mmap(fd, 100); assert len(m) == 100
        p = raw_mmap(None, P + 1, R, SHARED, fd); assert peek(p + P) == b'\\1'
        """
    )
    assert [(vma.vm_pgoff, vma_pages(vma)) for vma in driver.areas] == [
        (0, 16), (0, 1), (5, 3), (15, 1), (0, 1), (0, 2),
    ]  # fmt: skip


def test_checks_before_the_driver(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        raises(errno.EINVAL, raw_mmap, None, P, R, SHARED, fd, 1)
        raises(errno.EINVAL, raw_mmap, None, 0, R, SHARED, fd)
        raises(errno.EINVAL, raw_mmap, None, P, R, 0, fd)
        raises(errno.EINVAL, raw_mmap, None, P, R, 0xf, fd)
        raises(errno.ENOMEM, raw_mmap, None, 2**64 - 1, R, SHARED, fd)
        raises(errno.EOVERFLOW, raw_mmap, None, 2 * P, R, SHARED, fd, -P)
        raises(errno.EOPNOTSUPP, raw_mmap, None, P, R, 3 | 0x80000, fd)
        raises(errno.EINVAL, raw_mmap, None, P, R, SHARED | 0x100, fd)
        raises(errno.EINVAL, raw_mmap, None, P, R, SHARED | 0x40000, fd)
        raises(errno.EINVAL, raw_mmap, 1, P, R, SHARED | FIXED, fd)
        raises(errno.ENOMEM, raw_mmap, None, 1 << 62, R, SHARED, fd)
        """
    )
    assert "mmap" not in driver.calls


def test_past_the_end_is_the_drivers_answer(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        before = len(open('/proc/self/maps').readlines())
        raises(errno.EINVAL, mmap.mmap, fd, 17 * P)
        raises(errno.EINVAL, raw_mmap, None, P, R, SHARED, fd, 16 * P)
        assert not maps() and len(open('/proc/self/maps').readlines()) <= before + 1
        """
    )


def test_private_is_copy_on_write(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        private = raw_mmap(None, 16 * P, R | W, PRIVATE, fd); shared = mmap.mmap(fd, P)
        shared[:6] = b'shared'; assert peek(private, 6) == b'shared'
        poke(private, b'mine'); assert peek(private, 6) == b'mineed' and shared[:6] == b'shared'
        fd = os.open('/dev/x', os.O_RDONLY)
        poke(raw_mmap(None, 16 * P, R | W, PRIVATE, fd), b'read-only file')
        """
    )
    assert driver.text() == b"shared"


def test_fixed_and_hints(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); os.pwrite(fd, b'page two', 2 * P)
        room = raw_mmap(None, 8 * P, R | W, PRIVATE | ANON, -1); poke(room + 5 * P, b'stays')
        assert raw_mmap(room + P, 2 * P, R | W, SHARED | FIXED, fd, 2 * P) == room + P
        assert peek(room + P, 8) == b'page two' and peek(room + 5 * P, 5) == b'stays'
        raises(errno.EEXIST, raw_mmap, room + P, P, R, SHARED | NOREPLACE | FIXED, fd)
        libc.munmap(room, 8 * P)
        assert raw_mmap(room, P, R, SHARED | NOREPLACE | FIXED, fd) == room
        assert raw_mmap(room + 2 * P, P, R, SHARED, fd) == room + 2 * P
        m = raw_mmap(None, 4 * P, R | W, SHARED | POPULATE, fd); assert peek(m + 2 * P, 8) == b'page two'
        """
    )


def test_a_failing_fixed_mapping_takes_the_old_one_with_it(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        room = raw_mmap(None, 2 * P, R | W, PRIVATE | ANON, -1)
        raises(errno.EINVAL, raw_mmap, room, P, R, SHARED | FIXED, fd, 16 * P)
        # as in the kernel: the range is free now
        assert raw_mmap(room, P, R, PRIVATE | ANON | NOREPLACE | FIXED, -1) == room
        raises(errno.EACCES, raw_mmap, room + P, P, R | W, SHARED | FIXED, os.open('/dev/x', os.O_RDONLY))
        assert peek(room + P) == bytes(1)       # but a call that fails before it touches nothing
        """
    )


def test_mprotect(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        def mprotect(*args):
            if libc.mprotect(*args): raise OSError(ctypes.get_errno(), '')
        fd = os.open('/dev/x', os.O_RDWR)
        p = raw_mmap(None, 4 * P, R, SHARED, fd)
        mprotect(p + P, P, R | W); poke(p + P, b'written')
        assert [line[1] for line in maps()] == ['r--s', 'rw-s', 'r--s']
        q = raw_mmap(None, P, R, SHARED, os.open('/dev/x', os.O_RDONLY))
        raises(errno.EACCES, mprotect, q, P, R | W)
        none = raw_mmap(None, P, 0, SHARED, fd); mprotect(none, P, R); assert peek(none) == bytes(1)
        """
    )
    assert driver.text(7, PAGE_SIZE) == b"written"


def test_munmap_of_a_part(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, 8 * P, R | W, SHARED, fd); os.close(fd)
        libc.munmap(p + 2 * P, P); libc.munmap(p, P); libc.munmap(p + 7 * P, P)
        poke(p + P, b'one'); poke(p + 3 * P, b'three')
        """
    )
    assert driver.text(5, 3 * PAGE_SIZE) == b"three"
    assert driver.calls[-1] == "release"


def test_mremap(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        def mremap(old, old_size, new_size, flags, *new):
            result = libc.mremap(ctypes.c_void_p(old), ctypes.c_size_t(old_size), ctypes.c_size_t(new_size),
                                 flags, *map(ctypes.c_void_p, new))
            if result == FAILED: raise OSError(ctypes.get_errno(), '')
            return result
        fd = os.open('/dev/x', os.O_RDWR)
        p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
        raises(errno.EFAULT, mremap, p, 4 * P, 8 * P, 1)
        raises(errno.EFAULT, mremap, p, P, 2 * P, 1)
        raises(errno.EFAULT, mremap, p, 0, P, 1)
        raises(errno.EINVAL, mremap, p, P, P, 1 | 4)
        assert mremap(p, 4 * P, 3 * P, 0) == p
        room = raw_mmap(None, 8 * P, 0, PRIVATE | ANON, -1)
        q = mremap(p, 3 * P, 3 * P, 1 | 2, room)
        assert q == room; poke(q, b'moved')
        raises(errno.EFAULT, mremap, q, 3 * P, 4 * P, 1)
        # other memory is not our business
        a = raw_mmap(None, P, R | W, PRIVATE | ANON, -1); poke(a, b'anon')
        assert peek(mremap(a, P, 64 * P, 1), 4) == b'anon'
        """
    )
    assert driver.text() == b"moved"


def test_remap_file_pages_asks_the_driver(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    driver.bytes[3 * PAGE_SIZE] = 33
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, 2 * P, R | W, SHARED, fd)
        def remap(at, size, prot, page):
            return libc.remap_file_pages(*map(ctypes.c_size_t, (at, size, prot, page, 0)))
        assert remap(p, P, 0, 3) == 0 and peek(p, 1) == bytes([33]) and peek(p + P, 1) == bytes(1)
        for wrong in (p, P, R, 3), (p, 3 * P, 0, 3), (p, 0, 0, 3), (p + 4 * P, P, 0, 3):
            assert remap(*wrong) == -1 and ctypes.get_errno() == errno.EINVAL, wrong
        links = [f'/proc/self/fd/{name}' for name in os.listdir('/proc/self/fd')]
        assert not [link for link in links if os.path.lexists(link) and 'memfd' in os.readlink(link)]
        """
    )
    assert driver.calls.count("mmap") == 2


def test_pages_that_the_driver_left_out(mapdev: Host, client: Client) -> None:
    class Holes(Driver):
        def probe(self) -> None:
            self.page = alloc_page(GFP_KERNEL)

        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            vm_insert_page(vma, vma.vm_start + PAGE_SIZE, self.page)

    mapdev.add(Holes, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, 3 * P, R | W, SHARED, fd)
        poke(p + P, b'there')
        r, w = os.pipe()
        assert libc.write(w, ctypes.c_void_p(p), 1) == -1 and ctypes.get_errno() == errno.EFAULT
        for hole in p, p + 2 * P + 5:
            if os.fork() == 0: peek(hole)
            assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGBUS
        """
    )


@pytest.mark.parametrize("pages", [1, 16, 100])
def test_vmalloc_page_by_page(mapdev: Host, client: Client, pages: int) -> None:
    class Vmalloc(Driver):
        def probe(self) -> None:
            self.addr = vmalloc_user(pages * PAGE_SIZE)
            self.bytes = memory(self.addr, pages * PAGE_SIZE)

        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            for at in range(0, vma.vm_end - vma.vm_start, PAGE_SIZE):
                pfn = vmalloc_to_pfn(self.addr + at)
                remap_pfn_range(vma, vma.vm_start + at, pfn, PAGE_SIZE, vma.vm_page_prot)

    driver = mapdev.add(Vmalloc, "/dev/x")
    for page in range(pages):
        driver.bytes[page * PAGE_SIZE] = page
    client(
        """
        n = int(sys.argv[1]); fd = os.open('/dev/x', os.O_RDWR); m = mmap.mmap(fd, n * P)
        assert [m[i * P] for i in range(n)] == list(range(n))
        for i in range(n): m[i * P + 1] = 255 - i
        assert len(maps()) == 1
        if n > 1: raises(errno.EINVAL, raw_mmap, None, n * P, R | W, PRIVATE, fd)
        """,
        str(pages),
    )
    assert [driver.bytes[page * PAGE_SIZE + 1] for page in range(pages)] == [
        255 - page for page in range(pages)
    ]


def test_remap_vmalloc_range(mapdev: Host, client: Client) -> None:
    class Vmalloc(Driver):
        def probe(self) -> None:
            self.addr = vmalloc_user(8 * PAGE_SIZE)

        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            remap_vmalloc_range(vma, self.addr, vma.vm_pgoff)

    driver = mapdev.add(Vmalloc, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        m = mmap.mmap(fd, 6 * P, offset=2 * P); m[5 * P:5 * P + 4] = b'last'
        raises(errno.EINVAL, mmap.mmap, fd, 9 * P)
        private = raw_mmap(None, 8 * P, R | W, PRIVATE, fd); poke(private + 7 * P, b'copy')
        assert m[5 * P:5 * P + 4] == b'last'
        """
    )
    assert bytes(memory(driver.addr, 8 * PAGE_SIZE)[7 * PAGE_SIZE :][:4]) == b"last"


def test_someone_elses_frames(
    mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    class Thief(Driver):
        pfn = 0

        def mmap(self, file: File, vma: VmAreaStruct) -> None:
            remap_pfn_range(vma, vma.vm_start, self.pfn, PAGE_SIZE, vma.vm_page_prot)

    victim = mapdev.add(Buffer, "/dev/victim")
    thief = mapdev.add(Thief, "/dev/thief")
    code = """
        fd = os.open('/dev/thief', os.O_RDWR)
        raises(int(sys.argv[1]), mmap.mmap, fd, P)
        assert not maps()
        """
    thief.pfn = page_to_pfn(victim.page)
    client(code, str(errno.EPERM))
    for pfn in (1 << 40, mapdev.machine.nr_frames, mapdev.machine.nr_frames - 1):
        thief.pfn = pfn
        client(code.replace("raises(int(sys.argv[1]), ", "raises_any(").replace(
            "fd = os", "def raises_any(*a):\n            try: a[0](*a[1:])\n            except OSError: return\n            raise SystemExit('mapped')\n        fd = os", 1))  # fmt: skip


def test_the_clients_whole_address_space(mapdev: Host, client: Client) -> None:
    found: list[object] = []
    files: list[File] = []

    class Curious(Buffer):
        def ioctl(self, file: File, cmd: int, arg: int) -> int:
            mm = current().mm
            vma = find_vma(mm, arg)
            assert vma is not None
            assert [area.vm_start for area in for_each_vma(mm)] == sorted(
                area.vm_start for area in for_each_vma(mm)
            )
            assert mm.mmap is not None and mm.mmap.vm_prev is None
            assert vma.vm_next is not None and vma.vm_next.vm_start >= vma.vm_end
            assert vma.vm_next.vm_prev is vma
            found.append((vma.vm_start, vma.vm_end, vma.vm_pgoff, vma.vm_file))
            found.append((mm.map_count, mm.total_vm))
            files.append(file)
            return 0

    mapdev.add(Curious, "/dev/x")
    out = client(
        """
        fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, 4 * P, R | W, SHARED, fd, 3 * P)
        lines = open('/proc/self/maps').readlines()
        libc.ioctl(fd, ctypes.c_ulong(1), ctypes.c_void_p(p + 5))
        print(p, sum((lambda a, b: int(b, 16) - int(a, 16))(*l.split()[0].split('-')) for l in lines) // P, len(lines))
        libc.munmap(p, P)
        libc.ioctl(fd, ctypes.c_ulong(1), ctypes.c_void_p(p + P))
        """
    )
    start, total, count = map(int, out.split())
    assert found[0] == (start, start + 4 * PAGE_SIZE, 3, files[0])
    assert found[2] == (start + PAGE_SIZE, start + 4 * PAGE_SIZE, 4, files[0])
    seen_count, seen_total = found[1]  # type: ignore[misc]
    assert abs(seen_count - count) <= 2 and abs(seen_total - total) < 600  # Python's heap moves


def test_many_mappings(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        kept = [mmap.mmap(fd, P, offset=i % 16 * P) for i in range(200)]
        for i, m in enumerate(kept): m[i] = i & 255
        for m in kept[::2]: m.close()
        for i in range(200): mmap.mmap(fd, 16 * P).close()
        """
    )
    assert driver.bytes[3 * PAGE_SIZE + 3] == 3
    assert driver.calls.count("mmap") == 400


def test_many_threads_at_once(mapdev: Host, static: Callable[[str], str]) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    done = mapdev.run(
        [static("threads"), "/dev/x", "8", str(rounds(50))], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert driver.calls.count("mmap") == 8 * rounds(50)


def test_write_only_file_and_dead_mapping_in_a_child(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); m = mmap.mmap(fd, P); os.close(fd)
        if os.fork() == 0:
            m[:5] = b'child'; m.close(); os._exit(0)
        os.wait(); assert m[:5] == b'child'; m[5:11] = b'parent'
        """
    )
    assert driver.text() == b"childparent"
    assert driver.calls[-1] == "release"


def test_the_vma_that_the_driver_sees(mapdev: Host, client: Client) -> None:
    from mapdev.linux import VM_MAYWRITE, VM_READ, VM_SHARED, VM_WRITE

    driver = mapdev.add(Buffer, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        raw_mmap(None, P, R | W, SHARED, fd); raw_mmap(None, P, R, SHARED, os.open('/dev/x', os.O_RDONLY))
        raw_mmap(None, P, R | W, PRIVATE, fd)
        """
    )
    interesting = VM_READ | VM_WRITE | VM_SHARED | VM_MAYWRITE
    assert [vma.vm_flags & interesting for vma in driver.areas] == [
        VM_READ | VM_WRITE | VM_SHARED | VM_MAYWRITE,
        VM_READ,
        VM_READ | VM_WRITE | VM_MAYWRITE,
    ]
    assert all(vma.vm_file is not None and vma.vm_mm is not None for vma in driver.areas)


def test_no_mmap_operation_leaves_no_trace(mapdev: Host, client: Client) -> None:
    mapdev.add(Bare, "/dev/x")
    client("raises(errno.ENODEV, mmap.mmap, os.open('/dev/x', os.O_RDWR), P); assert not maps()")
    assert os.sysconf("SC_PAGE_SIZE") == PAGE_SIZE


def test_page_struct_of_a_mapped_page(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    client("m = mmap.mmap(os.open('/dev/x', os.O_RDWR), P); m[0] = 77")
    assert memory(page_address(driver.page), 1)[0] == 77
