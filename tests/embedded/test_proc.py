"""What clients read of themselves in /proc: a device's area as a kernel would show it."""

import os
from collections.abc import Callable

from devices import Buffer

from mapdev.drivers.lazy import Lazy
from mapdev.drivers.vmalloc import Vmalloc
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import page_to_pfn

Client = Callable[..., str]

MAPS = """
def lines(text, at):
    return [line.split() for line in text.splitlines() if line.startswith(at)]
def smaps(text, p):
    rows = text.splitlines()
    first = next(n for n, row in enumerate(rows) if row.startswith(f'{p:x}-'))
    last = next(n for n, row in enumerate(rows) if n > first and row.startswith('VmFlags'))
    return {k: v.strip() for k, _, v in (row.partition(':') for row in rows[first + 1:last + 1])}
fd = os.open('/dev/x', os.O_RDWR)
"""


def test_maps_shows_the_node(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Vmalloc, "/dev/x")
    client(
        MAPS
        + """
before = open('/proc/self/maps').read()
p = raw_mmap(None, 8 * P, R | W, SHARED, fd, 3 * P); libc.mprotect(p + 2 * P, P, R)
status = os.stat('/dev/x')
dev = f'{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}'
for name in ('self', 'thread-self', str(os.getpid()), f'{os.getpid()}/task/{os.getpid()}'):
    found = [line.split() for line in open(f'/proc/{name}/maps') if '/dev/x' in line]
    assert found == [
        [f'{p + a * P:08x}-{p + b * P:08x}', how, f'{(3 + a) * P:08x}', dev, str(status.st_ino), '/dev/x']
        for a, b, how in ((0, 2, 'rw-s'), (2, 3, 'r--s'), (3, 8, 'rw-s'))], found
assert f'{p:x}-'.encode() in os.read(os.open('/proc/self/maps', os.O_RDONLY | os.O_CLOEXEC), 65536)
libc.munmap(p, 8 * P); assert '/dev/x' not in open('/proc/self/maps').read()
"""
    )


def test_smaps_counts_as_a_kernel(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    mapdev.add(Lazy, "/dev/lazy")
    client(
        MAPS
        + """
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); poke(p, b'x'); peek(p + P)
one = smaps(open('/proc/self/smaps').read(), p); kb = P // 1024
assert one['Size'] == f'{4 * kb} kB' and one['Rss'] == one['Pss'] == '0 kB', one
assert set('rd wr sh mr mw me ms pf io de dd'.split()) == set(one['VmFlags'].split()), one
q = raw_mmap(None, 4 * P, R | W, SHARED, os.open('/dev/lazy', os.O_RDWR)); poke(q, b'x'); peek(q + 2 * P)
two = smaps(open('/proc/self/smaps').read(), q)
assert two['Size'] == f'{4 * kb} kB' and two['Rss'] == two['Pss'] == f'{2 * kb} kB', two
assert two['KernelPageSize'] == f'{kb} kB' and 'pf' not in two['VmFlags']
assert len(lines(open('/proc/self/maps').read(), f'{q:x}')) == 1
"""
    )


def test_what_is_the_host_s_own_is_not_shown(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Lazy, "/dev/x")
    client(
        MAPS
        + """
def count(): return len(open('/proc/self/maps').readlines())
before = count(); p = raw_mmap(None, 4 * P, R | W, SHARED, fd); poke(p + P, b'x')
assert abs(count() - before - 1) <= 1
"""
    )


def test_another_client_sees_it_too(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        MAPS
        + """
import subprocess
p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
for reader in (['cat'], ['grep', '']):
    seen = subprocess.run([*reader, f'/proc/{os.getpid()}/maps'], capture_output=True, text=True).stdout
    assert len(lines(seen, f'{p:x}')) == 1 and seen.count('/dev/x') == 1
own = subprocess.run(['cat', '/proc/self/maps'], capture_output=True, text=True).stdout
assert '/dev/x' not in own and 'stack' in own
"""
    )


SIZES = """
def sizes(pid='self'):
    rows = (row.partition(':') for row in open(f'/proc/{pid}/status'))
    return {k: int(v.split()[0]) for k, _, v in rows if v.endswith(' kB\\n')}
def pages(pid='self'): return [int(n) for n in open(f'/proc/{pid}/statm').read().split()]
def rss(pid='self'): return int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[21])
def rollup(pid='self'):
    rows = (row.partition(':') for row in open(f'/proc/{pid}/smaps_rollup'))
    return {k: int(v.split()[0]) for k, _, v in rows if v.endswith(' kB\\n')}
"""


def test_resident_sizes(mapdev: EmbeddedHost, client: Client) -> None:
    """What is mapped by remap_pfn_range is not counted; pages that are inserted are those of a file."""
    mapdev.add(Buffer, "/dev/x")
    mapdev.add(Lazy, "/dev/lazy", size="256K")
    client(
        MAPS
        + SIZES
        + """
def look(): return sizes(), pages(), rss(), rollup()
def touch(p):
    for n in range(16): poke(p + n * P, b'x')
look()
p = raw_mmap(None, 16 * P, R | W, SHARED, fd)
look()
one = look(); touch(p); two = look()
assert abs(two[0]['RssShmem'] - one[0]['RssShmem']) < 16, (one, two)
assert abs(two[0]['RssFile'] - one[0]['RssFile']) < 32, (one, two)
assert abs(two[1][2] - one[1][2]) < 8 and abs(two[2] - one[2]) < 80, (one, two)
for name in ('Rss', 'Pss', 'Pss_Shmem', 'Pss_File'):
    assert abs(two[3].get(name, 0) - one[3].get(name, 0)) < 48, (name, one[3], two[3])
q = raw_mmap(None, 64 * P, R | W, SHARED, os.open('/dev/lazy', os.O_RDWR))
look(); before = look(); assert before[0]['VmSize'] - two[0]['VmSize'] >= 256, (two[0], before[0])
for n in range(64): poke(q + n * P, b'x')
after = look()
assert abs(after[0]['RssShmem'] - before[0]['RssShmem']) < 16, (before, after)
assert 250 <= after[0]['RssFile'] - before[0]['RssFile'] <= 280, (before, after)
assert 250 <= after[0]['VmRSS'] - before[0]['VmRSS'] <= 300, (before[0], after[0])
assert 63 <= after[1][2] - before[1][2] <= 70, (before[1], after[1])
assert abs(after[2] - before[2] - 64) < 80, (before[2], after[2])  # it is counted loosely
assert 250 <= after[3]['Rss'] - before[3]['Rss'] <= 310, (before[3], after[3])
whole = after[0]
assert whole['VmRSS'] == whole['RssAnon'] + whole['RssFile'] + whole['RssShmem'], whole
import subprocess
seen = subprocess.run(['cat', f'/proc/{os.getpid()}/statm'], capture_output=True, text=True).stdout
assert abs(int(seen.split()[2]) - pages()[2]) < 16, (seen, pages())
assert open(f'/proc/{os.getpid()}/task/{os.getpid()}/stat').read().startswith(f'{os.getpid()} (')
assert 'Name:' in open('/proc/thread-self/status').read()
"""
    )


def test_pagemap(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    lazy = mapdev.add(Lazy, "/dev/lazy", size="64K")
    text = client(
        MAPS
        + """
import struct
def entries(addr, count, f):
    f.seek(addr // P * 8)
    return list(struct.unpack(f'{count}Q', f.read(8 * count)))
def bits(entry): return entry >> 61, entry >> 56 & 1
fd2 = os.open('/dev/lazy', os.O_RDWR)
p = raw_mmap(None, 4 * P, R | W, SHARED, fd); q = raw_mmap(None, 4 * P, R | W, SHARED, fd2)
c = raw_mmap(None, 4 * P, R | W, 2, fd2)
with open('/proc/self/pagemap', 'rb', buffering=0) as f:
    poke(p, b'x'); assert [bits(e) for e in entries(p, 4, f)] == [(0, 0)] * 4
    assert [bits(e) for e in entries(q, 4, f)] == [(0, 0)] * 4
    poke(q + P, b'x'); peek(q + 2 * P)
    here = entries(q, 4, f)
    assert [bits(e) for e in here] == [(0, 0), (5, 1), (5, 1), (0, 0)], here
    again = raw_mmap(None, 4 * P, R | W, SHARED, fd2); peek(again + P)
    assert bits(entries(q + P, 1, f)[0]) == bits(entries(again + P, 1, f)[0]) == (5, 0)
    assert entries(q + P, 1, f)[0] & (1 << 55) - 1 == entries(again + P, 1, f)[0] & (1 << 55) - 1
    libc.munmap(again, 4 * P); assert bits(entries(q + P, 1, f)[0]) == (5, 1)
    peek(c); poke(c + P, b'y')
    assert [e >> 61 for e in entries(c, 3, f)] == [5, 4, 0]
    around = entries(q - P, 6, f)
    assert around[1:5] == entries(q, 4, f)
    stack = ctypes.create_string_buffer(1); stack[0] = b'1'
    assert entries(ctypes.addressof(stack), 1, f)[0] >> 63 == 1
    raises(errno.EINVAL, os.pread, f.fileno(), 8, 4); raises(errno.EINVAL, os.pread, f.fileno(), 9, 8)
    raises(errno.EINVAL, os.lseek, f.fileno(), 0, os.SEEK_END)
    assert os.pread(f.fileno(), 8, 1 << 60) == b'' and os.pread(f.fileno(), 0, 0) == b''
    raises(errno.EBADF, os.write, f.fileno(), b'12345678')
    print(entries(q + P, 1, f)[0] & (1 << 55) - 1)
import stat
with open(f'/proc/{os.getpid()}/pagemap', 'rb') as f: assert stat.S_ISREG(os.fstat(f.fileno()).st_mode)
"""
    )
    if os.geteuid() == 0:
        assert int(text) in {page_to_pfn(page) for page in lazy.pages.values()}


def test_memory(mapdev: EmbeddedHost, client: Client) -> None:
    """/proc/PID/mem: a device's frames are nobody's to read, pages that come when touched are."""
    mapdev.add(Buffer, "/dev/x")
    lazy = mapdev.add(Lazy, "/dev/lazy", size="64K")
    client(
        MAPS
        + """
early = os.open('/proc/self/mem', os.O_RDWR)
p = raw_mmap(None, 4 * P, R | W, SHARED, fd)
q = raw_mmap(None, 4 * P, R | W, SHARED, os.open('/dev/lazy', os.O_RDWR))
for mem in (early, os.open(f'/proc/{os.getpid()}/mem', os.O_RDWR)):
    raises(errno.EIO, os.pread, mem, 4, p); raises(errno.EIO, os.pwrite, mem, b'x', p)
    assert os.pwrite(mem, b'seen', q + P - 2) == 4
    assert os.pread(mem, 4, q + P - 2) == b'seen'
    assert os.pread(mem, 8, q + 4 * P - 4) in (bytes(4), bytes(8))
    own = ctypes.create_string_buffer(b'mine')
    assert os.pread(mem, 4, ctypes.addressof(own)) == b'mine'
    assert os.pwrite(mem, b'ours', ctypes.addressof(own)) == 4 and own.value == b'ours'
    raises(errno.EIO, os.pread, mem, 4, 0); assert os.pread(mem, 0, p) == b''
    os.lseek(mem, ctypes.addressof(own), os.SEEK_SET); assert os.read(mem, 4) == b'ours'
    raises(errno.EINVAL, os.lseek, mem, 0, os.SEEK_END)
child = os.fork()
if child == 0:
    mem = os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY)
    raises(errno.EIO, os.pread, mem, 4, p); assert os.pread(mem, 4, q + P - 2) == b'seen'
    raises(errno.EBADF, os.pwrite, mem, b'x', q)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
    assert lazy.faults
