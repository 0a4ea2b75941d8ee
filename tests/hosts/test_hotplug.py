"""Devices that are taken away, and come back, while programs have them open."""

from __future__ import annotations

import gc
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from devices import Bare, Buffer
from innards import belongings
from pace import patience
from sensors import Sensor

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.loading import DriverError
from mapdev.linux import (
    BIN_ATTR,
    DEVICE_ATTR_RW,
    EPOLLIN,
    Attribute,
    BinAttribute,
    Device,
    File,
    WaitQueueHead,
    poll_wait,
    sysfs_notify,
    wait_event_interruptible,
    wake_up,
)

Client = Callable[..., str]
Process = subprocess.Popen[str]

WAIT = """
def wait():
    print('ready', flush=True)
    sys.stdin.readline()
"""


class Quiet(Driver):
    """Nothing ever comes to be read; `released` counts."""

    def probe(self) -> None:
        self.queue = WaitQueueHead()
        self.released = self.removed = 0

    def read(self, file: File, count: int, pos: int) -> bytes:
        wait_event_interruptible(self.queue, lambda: False)
        return b""

    def poll(self, file: File) -> int:
        poll_wait(file, self.queue)
        return 0

    def release(self, inode: object, file: File) -> None:
        self.released += 1

    def remove(self) -> None:
        self.removed += 1


def begin(start: Any, code: str) -> Process:
    """Start a client, and return when it waits."""
    process: Process = start(WAIT + code)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def begin_with(start: Any, code: str, *args: str) -> Process:
    """Start a client with arguments, and return when it waits."""
    process: Process = start(code, *args)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def finish(process: Process) -> None:
    """Let a client go on, which must succeed."""
    output, errors = process.communicate("\n", timeout=60)
    assert process.returncode == 0, (output, errors)


def test_open_files(mapdev: Host, start: Any) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    process = begin(
        start,
        """
fd = os.open('/dev/x', os.O_RDWR)
p = raw_mmap(None, P, R | W, SHARED, fd)
poke(p, b'before')
wait()
for call in (
    lambda: os.read(fd, 1), lambda: os.write(fd, b'x'), lambda: os.pread(fd, 1, 0),
    lambda: os.lseek(fd, 0, 0), lambda: os.readv(fd, [bytearray(1)]),
    lambda: raw_mmap(None, P, R, SHARED, fd),
):
    raises(errno.ENODEV, call)
raises(errno.ENOTTY, fcntl.ioctl, fd, 0x1234)  # it has none
raises(errno.ENOENT, os.open, '/dev/x', os.O_RDWR)
raises(errno.ENOENT, os.stat, '/dev/x')
assert 'x' not in os.listdir('/dev')
assert peek(p, 6) == b'before'
poke(p, b'after')
os.fstat(fd)
os.close(os.dup(fd))
wait()
""",
    )
    before = belongings(mapdev).pages
    mapdev.remove(driver)
    assert "release" not in driver.calls and belongings(mapdev).pages == before
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    assert bytes(driver.bytes[:6]) == b"aftere"
    finish(process)
    mapdev.settle()
    assert driver.calls[-1] == "release"
    mapdev.close()
    assert not mapdev.leaks
    assert belongings(mapdev).pages == 0


def test_calls_that_wait(mapdev: Host, start: Any) -> None:
    driver = mapdev.add(Quiet, "/dev/x")
    process = begin(
        start,
        """
import select
fds = [os.open('/dev/x', os.O_RDONLY) for _ in range(3)]
failed = []
def read(fd):
    raises(errno.ENODEV, os.read, fd, 1)
    failed.append(fd)
threads = [threading.Thread(target=read, args=(fd,)) for fd in fds[:2]]
for thread in threads:
    thread.start()
poller = select.poll()
poller.register(fds[2], select.POLLIN)
print('ready', flush=True)
deadline = time.monotonic() + 20
while not any(event & select.POLLHUP for _, event in poller.poll(20000)):
    assert time.monotonic() < deadline
for thread in threads:
    thread.join(20)
assert sorted(failed) == fds[:2]
""",
    )
    mapdev.remove("/dev/x")
    finish(process)
    mapdev.settle()
    assert (driver.released, driver.removed) == (3, 1)


class Waits(Driver):
    """Its attribute's functions wait until somebody says `ready`."""

    dev_class = "waits"
    dev_groups = (DEVICE_ATTR_RW("value"), BIN_ATTR("raw", 0o644, size=4))

    def probe(self) -> None:
        self.queue = WaitQueueHead()
        self.is_ready = False
        self.asked = 0
        self.taken = b""

    def _wait(self) -> None:
        self.asked += 1
        wait_event_interruptible(self.queue, lambda: self.is_ready)

    def ready(self) -> None:
        self.is_ready = True
        wake_up(self.queue)

    def value_show(self, dev: Device, attr: Attribute) -> str:
        self._wait()
        return "there\n"

    def value_store(self, dev: Device, attr: Attribute, buf: bytes) -> None:
        self._wait()
        self.taken = buf

    def raw_read(self, dev: Device, attr: BinAttribute, pos: int, count: int) -> bytes:
        self._wait()
        return b"bits"


IN_ATTRIBUTES = """
V = '/sys/class/waits/waits0/'
outcomes = []
def show():
    return os.read(os.open(V + 'value', os.O_RDONLY), 10)
def store():
    return os.write(os.open(V + 'value', os.O_WRONLY), b'new')
def raw():
    return os.read(os.open(V + 'raw', os.O_RDONLY), 10)
def run(function):
    try:
        outcomes.append(function())
    except OSError as error:
        outcomes.append(errno.errorcode[error.errno])
threads = [threading.Thread(target=run, args=(one,)) for one in (show, store, raw)]
for thread in threads:
    thread.start()
print('ready', flush=True)
for thread in threads:
    thread.join(50)
print(*sorted(map(str, outcomes)))
"""


@pytest.mark.parametrize("is_removed", [False, True])
def test_calls_that_wait_in_an_attribute(mapdev: Host, start: Any, is_removed: bool) -> None:
    """They end when they are woken, and fail when the device goes."""
    driver = mapdev.add(Waits, "/dev/waits0")
    process = begin(start, IN_ATTRIBUTES)
    deadline = time.monotonic() + patience(20)
    while driver.asked < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if is_removed:
        mapdev.remove(driver)
    else:
        driver.ready()
    output, _ = process.communicate(timeout=patience(60))
    assert output == ("ENODEV ENODEV ENODEV\n" if is_removed else "3 b'bits' b'there\\n'\n")
    assert driver.taken == (b"" if is_removed else b"new")
    mapdev.close()
    assert not mapdev.leaks


def test_who_waits_in_an_attribute_is_killed(mapdev: Host, start: Any) -> None:
    driver = mapdev.add(Waits, "/dev/waits0")
    process = begin(start, IN_ATTRIBUTES)
    deadline = time.monotonic() + patience(20)
    while driver.asked < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    mapdev.settle()
    driver.ready()
    mapdev.settle()
    assert driver.taken == b""
    mapdev.remove(driver)
    mapdev.close()
    assert not mapdev.leaks


def test_attributes_and_directories(mapdev: Host, start: Any) -> None:
    driver = mapdev.add(Sensor, "/dev/sensor0")
    process = begin(
        start,
        """
import select
S = '/sys/class/sensor/sensor0'
temp, limit = os.open(S + '/temp', os.O_RDONLY), os.open(S + '/limit', os.O_RDWR)
directory = os.open(S, os.O_RDONLY)
os.read(temp, 10)
os.chdir(S)
poller = select.poll()
poller.register(temp, select.POLLPRI)
assert not poller.poll(0)
wait()
raises(errno.ENODEV, os.pread, temp, 10, 0)
raises(errno.ENODEV, os.write, limit, b'x')
assert poller.poll(20000)
assert os.listdir(directory) == []
raises(errno.ENOENT, os.stat, 'temp')
raises(errno.ENOENT, os.open, 'temp', os.O_RDONLY)
for path in S, '/sys/class/sensor', '/sys/devices/platform/sensor.0', '/sys/dev/char/240:0':
    assert not os.path.lexists(path), path
assert 'sensor.0' not in os.listdir('/sys/bus/platform/devices')
assert 'sensor' not in os.listdir('/sys/class')
os.chdir('/')
""",
    )
    assert driver.dev is not None
    mapdev.remove(driver)
    assert driver.dev is None
    finish(process)
    mapdev.add(Sensor, "/dev/sensor0")
    mapdev.close()
    assert not mapdev.leaks


@pytest.mark.embedded_only("the kernel host's attributes can't be mapped")
def test_a_mapped_attribute(mapdev: Host, start: Any) -> None:
    driver = mapdev.add(Sensor, "/dev/sensor0")
    process = begin(
        start,
        """
window = os.open('/sys/class/sensor/sensor0/window', os.O_RDWR)
p = raw_mmap(None, P, R | W, SHARED, window)
wait()
raises(errno.ENODEV, os.pread, window, 1, 0)
poke(p, b'still there')
""",
    )
    mapdev.remove(driver)
    finish(process)


def test_it_comes_back(mapdev: Host, client: Client) -> None:
    for _ in range(3):
        driver = mapdev.add(Sensor, "/dev/sensor0")
        client("assert open('/sys/class/sensor/sensor0/temp').read() == '21\\n'")
        mapdev.remove(driver)
        client("assert not os.path.exists('/dev/sensor0')")


def test_one_of_two_nodes(mapdev: Host, client: Client) -> None:
    driver = Quiet()
    mapdev.add(driver, "/dev/a/one")
    mapdev.add(driver, "/dev/a/two")
    mapdev.remove("/dev/a/one")
    assert driver.removed == 0
    client("assert os.listdir('/dev/a') == ['two']")
    mapdev.remove(driver)
    assert driver.removed == 1
    client("assert not os.path.exists('/dev/a')")
    with pytest.raises(DriverError, match="no device"):
        mapdev.remove(driver)
    with pytest.raises(DriverError, match="no device"):
        mapdev.remove("/dev/a/one")


LOOKS = """
import select
print('ready', flush=True)
while not select.select([0], [], [], 0)[0]:
    assert 'sensors' in os.listdir('/dev')
    for path in '/dev/sensors', '/sys/class/sensor', '/sys/class/sensor/sensors!one':
        try:
            names = os.listdir(path)
            for name in names:
                with open(f'{path}/{name}', 'rb+', buffering=0) as file:
                    file.read(10)
                    mmap.mmap(file.fileno(), P)
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ENODEV, errno.EISDIR, errno.EACCES,
                                   errno.EINVAL, errno.ESPIPE, errno.EIO), error
"""
LISTENS = """
import select, socket
group = int(sys.argv[1])
events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
events.setsockopt(socket.SOL_SOCKET, 33 if os.getuid() == 0 else socket.SO_RCVBUF, 1 << 24)
events.bind((0, group))
print('ready', flush=True)
seen = []
while select.select([0, events], [], [])[0][0] != 0 or select.select([events], [], [], 1)[0]:
    said = dict(part.split('=', 1) for part in events.recv(8192).decode(errors='replace')
                .split('\\0') if '=' in part)
    if said.get('SUBSYSTEM') == 'sensor':
        assert said['DEVNAME'].endswith('sensors/one') and said['MAJOR'] and said['SEQNUM']
        seen.append((int(said['SEQNUM']), said['ACTION']))
        if len(seen) % 50 == 0:
            print(len(seen), flush=True)
assert seen == sorted(seen)
print(*(action for _, action in seen))
"""


def test_many_times_under_load(
    mapdev: Host, start: Any, request: pytest.FixtureRequest
) -> None:  # fmt: skip
    """Programs list, open, read, map and listen all the time; nothing is left of what was there.

    On the kernel host nobody is there for udev's events.
    """
    is_embedded = request.config.getoption("--mapdev-host") == "embedded"
    times = int(os.environ.get("MAPDEV_STORM", "1000" if is_embedded else "100"))
    mapdev.add(Bare, "/dev/sensors/stays")
    mapdev.remove(mapdev.add(Sensor, "/dev/sensors/one"))  # what is made once is there now
    lookers = [begin(start, LOOKS) for _ in range(2)]
    listeners = [begin_with(start, LISTENS, group) for group in ("12" if is_embedded else "1")]
    frames, descriptors = belongings(mapdev).pages, len(os.listdir("/proc/self/fd"))
    for done in range(1, times + 1):
        mapdev.remove(mapdev.add(Sensor, "/dev/sensors/one"))
        if done % 25 == 0:  # who does not come along would lose events, as in the kernel
            assert {process.stdout.readline() for process in listeners} == {f"{2 * done}\n"}
    for process in lookers:
        finish(process)
    for process in listeners:
        output, errors = process.communicate("\n", timeout=patience(60))
        assert process.returncode == 0, errors
        assert output.split() == ["add", "remove"] * times
    mapdev.settle()
    mapdev._reclaim_gone()
    assert belongings(mapdev).pages == frames
    tree = mapdev.machine.device_tree
    assert [node.path for node in tree.root.walk() if "one" in node.path] == []
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert not mapdev._gone
    if is_embedded:
        gc.collect()
        # The first has made the platform bus, which stays.
        assert sum(type(found) is Sensor for found in gc.get_objects()) < 5
    mapdev.close()
    assert not mapdev.leaks


def test_poll_of_a_device_without_files(mapdev: Host) -> None:
    class Ready(Quiet):
        def poll(self, file: File) -> int:
            return EPOLLIN

    mapdev.remove(mapdev.add(Ready, "/dev/x"))
    assert not mapdev.devices


@pytest.mark.embedded_only("the option hotplug is for what that host starts")
def test_a_program_that_is_there_before_any_device() -> None:
    code = """
import os, select, socket
events = socket.socket(16, socket.SOCK_RAW, 15)
events.bind((0, 1))
print('ready', flush=True)
while True:
    data = events.recv(4096)
    if b'sensor' in data:
        print(data.split(b'\\0')[0].decode(), flush=True)
        break
os.chdir('/sys/class/sensor')
print(os.getcwd())
"""
    with EmbeddedHost(hotplug=True) as host:
        process = host.popen(["python3", "-S", "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        host.add(Sensor, "/dev/sensor0")
        output, _ = process.communicate(timeout=60)
        first, second = output.splitlines()
        assert first.startswith("add@/devices/platform/sensor.0")
        assert second == "/sys/class/sensor" and process.returncode == 0
    assert not host.leaks


def test_inotify(mapdev: Host, start: Any, tmp_path: Any) -> None:
    """A directory that exists, one that does not, and an attribute."""
    (tmp_path / "real").mkdir()
    mapdev.add(Bare, f"{tmp_path}/real/stays")
    mapdev.add(Bare, "/dev/only/stays")
    driver = mapdev.add(Sensor, "/dev/sensor0")
    process = start(f"""
fd = libc.inotify_init1(0)
watch = libc.inotify_add_watch
real = watch(fd, b'{tmp_path}/real', 0x300)
only, temp = watch(fd, b'/dev/only', 0x300), watch(fd, b'/sys/class/sensor/sensor0/temp', 0x2)
assert min(real, only, temp) > 0 and len({{real, only, temp}}) == 3
assert watch(fd, b'/dev/only', 0x300) == only
print('ready', flush=True)
names = {{real: 'real', only: 'only', temp: 'temp'}}
seen = []
while len(seen) < 6:
    data = os.read(fd, 4096)
    while data:
        wd, mask, _, size = struct.unpack_from('<iIII', data)
        seen.append((names[wd], mask, data[16:16 + size].rstrip(b'\\0').decode()))
        data = data[16 + size:]
print(sorted(seen))
""")
    assert process.stdout.readline() == "ready\n"
    mapdev.remove(mapdev.add(Bare, f"{tmp_path}/real/node"))
    mapdev.remove(mapdev.add(Bare, "/dev/only/node"))
    (tmp_path / "real" / "file").write_text("")
    assert driver.dev is not None and driver.dev.kobj is not None
    sysfs_notify(driver.dev.kobj, None, "temp")
    output, _ = process.communicate(timeout=60)
    assert output == (
        "[('only', 256, 'node'), ('only', 512, 'node'), ('real', 256, 'file'), "
        "('real', 256, 'node'), ('real', 512, 'node'), ('temp', 2, '')]\n"
    )
