"""What inotify tells of a device: who opens, reads, writes, closes it, or sets its mode."""

import subprocess
from collections.abc import Callable

from devices import Buffer

from mapdev.host.core.host import Host
from mapdev.linux import File, WaitQueueHead, wait_event_interruptible, wake_up

Client = Callable[..., str]
PATIENCE = 20

WATCH = """
import struct, select
libc = ctypes.CDLL(None, use_errno=True)
NAMES = {1: 'access', 2: 'modify', 4: 'attrib', 8: 'close_write', 0x10: 'close_nowrite', 0x20: 'open',
         0x100: 'create', 0x200: 'delete', 0x400: 'delete_self', 0x8000: 'ignored'}
notify = libc.inotify_init1(os.O_NONBLOCK)
def add(path, mask=0xfff, on=None):
    number = libc.inotify_add_watch(notify if on is None else on, path.encode(), mask)
    if number < 0: raise OSError(ctypes.get_errno(), path)
    return number
def events(on=None, wait=None):
    on, found = notify if on is None else on, []
    end = time.monotonic() + 20
    while True:
        try: data = os.read(on, 65536)
        except BlockingIOError: data = b''
        at = 0
        while at < len(data):
            number, mask, _, size = struct.unpack_from('iIII', data, at)
            name = data[at + 16 : at + 16 + size].rstrip(bytes(1)).decode()
            at += 16 + size
            what = NAMES.get(mask & 0xffff, hex(mask))
            found.append(f'{name}:{what}' if name else what)
        if wait is None or (found and found[-1].endswith(wait)) or time.monotonic() > end: return found
        time.sleep(0.01)
import time
"""


def test_who_watches_a_node(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        WATCH
        + """
add('/dev/x')
fd = os.open('/dev/x', os.O_RDWR)
assert events() == ['open'], events()
assert os.write(fd, b'abc') == 3; assert events() == ['modify']
assert os.pread(fd, 3, 0) == b'abc'; assert events() == ['access']
assert os.pread(fd, 3, 1 << 16) == b''; assert events() == []
assert os.read(fd, 0) == b''; assert events() == []
assert os.readv(fd, [bytearray(2), bytearray(3)]) == 5; assert events() == ['access']
assert os.pwritev(fd, [b'x', b'y'], 0) == 2; assert events() == ['modify']
raises(errno.ENOTTY, fcntl.ioctl, fd, 0x1234); os.lseek(fd, 0, 0); assert events() == []
twin = os.dup(fd); os.close(fd); assert events() == []
area = mmap.mmap(twin, 4096); area[0] = 1; area[0]; assert events() == []
os.close(twin); assert events() == []
area.close(); assert events(wait='close_write') == ['close_write']
for how, close in ((os.O_RDONLY, 'close_nowrite'), (os.O_WRONLY, 'close_write')):
    os.close(os.open('/dev/x', how))
    assert events(wait=close) == ['open', close]
os.close(os.open('/dev/x', os.O_PATH)); os.stat('/dev/x'); assert events() == []
raises(errno.EEXIST, os.open, '/dev/x', os.O_RDWR | os.O_CREAT | os.O_EXCL); assert events() == []
os.chmod('/dev/x', os.stat('/dev/x').st_mode & 0o777); assert events() == ['attrib']
os.utime('/dev/x'); assert events() == ['attrib']
pid = os.fork()
if pid == 0:
    os.close(os.open('/dev/x', os.O_RDWR)); os._exit(0)
os.waitpid(pid, 0)
assert events(wait='close_write') == ['open', 'close_write']
"""
    )


def test_opened_before_it_is_watched(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        WATCH
        + """
fd = os.open('/dev/x', os.O_RDWR)
number = add('/dev/x', 0x3)
assert events() == []
os.read(fd, 1); assert events() == ['access']
other = libc.inotify_init1(os.O_NONBLOCK)
add('/dev/x', on=other)
os.write(fd, b'x'); assert events() == events(other) == ['modify']
assert libc.inotify_rm_watch(notify, number) == 0
assert events() == ['ignored']
os.close(fd)
assert events(other, wait='close_write') == ['close_write']
assert events() == []
for mask, code in ((0, errno.EINVAL), (0x1000000 | 0x20, errno.ENOTDIR)):
    raises(code, add, '/dev/x', mask)
raises(errno.EBADF, add, '/dev/x', 0xfff, 999); raises(errno.ENOENT, add, '/dev/y')
raises(errno.EINVAL, add, '/dev/x', 0xfff, 0)
"""
    )


class Waiting(Buffer):
    """Gives what was written, when there is something."""

    def probe(self) -> None:
        super().probe()
        self.queue = WaitQueueHead()
        self.left = b""

    def read(self, file: File, count: int, pos: int) -> bytes:
        wait_event_interruptible(self.queue, lambda: self.left)
        return self.left[:count]

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.left = data
        wake_up(self.queue)
        return len(data)


def test_read_that_waits(mapdev: Host, client: Client) -> None:
    mapdev.add(Waiting, "/dev/x")
    client(
        WATCH
        + """
import threading
fd = os.open('/dev/x', os.O_RDWR)
add('/dev/x', 0x3)
reader = threading.Thread(target=os.read, args=(fd, 1)); reader.start()
time.sleep(0.2); assert events() == []
os.write(fd, b'x'); reader.join(20)
found = events(wait='access')
assert sorted(set(found)) == ['access', 'modify'], found
"""
    )


def test_another_program(mapdev: Host, client: Client) -> None:
    """A program that watches hears of what others do."""
    mapdev.add(Buffer, "/dev/x")
    code = "import ctypes, os\n" + WATCH + (
        "add('/dev/x'); print('on', flush=True)\n"
        "print(*events(wait='close_write'), flush=True)"
    )  # fmt: skip
    with mapdev.popen(["python3", "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "on\n"
        client("fd = os.open('/dev/x', os.O_RDWR); os.write(fd, b'x'); os.close(fd)")
        text, _ = other.communicate(timeout=PATIENCE)
    assert text.split() == ["open", "modify", "close_write"]


def test_who_watches_the_directory(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/mapdev-d/x")
    mapdev.add(Buffer, "/dev/mapdev-d/y")
    client(
        WATCH
        + """
add('/dev/mapdev-d')
fd = os.open('/dev/mapdev-d/x', os.O_RDWR); other = os.open('/dev/mapdev-d/y', os.O_RDONLY)
assert events() == ['x:open', 'y:open']
os.write(fd, b'x'); os.read(other, 1)
assert events() == []  # of devices only who watches them hears that
add('/dev/mapdev-d/y')
os.read(other, 1)
assert events() == ['access']
os.close(fd)
assert events(wait='x:close_write') == ['x:close_write']
os.close(other)
assert sorted(events(wait='close_nowrite') + events()) == ['close_nowrite', 'y:close_nowrite']
"""
    )
