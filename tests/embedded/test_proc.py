"""What clients read of themselves in /proc: a device's area as a kernel would show it."""

from collections.abc import Callable

from devices import Buffer

from mapdev.drivers.lazy import Lazy
from mapdev.drivers.vmalloc import Vmalloc
from mapdev.host.embedded.host import EmbeddedHost

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
