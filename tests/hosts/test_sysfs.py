"""What programs see of a class device in /sys, /proc and /dev: names, links, attributes."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest
from devices import Bare
from innards import poll_has_all_events
from sensors import Sensor

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    DEVICE_ATTR_RO,
    Cdev,
    Device,
    File,
    alloc_chrdev_region,
    cdev_add,
    class_create,
    device_create,
    device_destroy,
    sysfs_notify,
)

Client = Callable[..., str]

S = "S = '/sys/class/sensor/sensor0'\nD = '/sys/devices/platform/sensor.0/sensor/sensor0'\n"


def run(client: Client, code: str, *args: str) -> str:
    """Run a client that knows where the sensor is."""
    import textwrap

    return client(S + textwrap.dedent(code), *args)


@pytest.fixture
def sensor(mapdev: Host) -> Sensor:
    return mapdev.add(Sensor, "/dev/sensor0")


def test_names_and_links(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        assert sorted(os.listdir(D)) == sorted(os.listdir(S)) == sorted(os.listdir(S + '/')) == [
            'dev', 'device', 'limit', 'odd', 'power', 'raw', 'reset', 'stats', 'subsystem', 'temp',
            'uevent', 'window']
        for path, target in [
            (S, '../../devices/platform/sensor.0/sensor/sensor0'),
            (D + '/subsystem', '../../../../../class/sensor'),
            (D + '/device', '../../../sensor.0'),
            (S + '/device/subsystem', '../../../bus/platform'),
            (S + '/device/driver', '../../../bus/platform/drivers/sensor'),
            ('/sys/bus/platform/devices/sensor.0', '../../../devices/platform/sensor.0'),
            ('/sys/dev/char/240:0', '../../devices/platform/sensor.0/sensor/sensor0'),
        ]:
            assert os.readlink(path) == target, path
            assert os.lstat(path).st_size == 0 and os.path.islink(path), path
            raises(errno.ELOOP, os.open, path, os.O_RDONLY | os.O_NOFOLLOW)
        for path, real in [
            (S, D), ('/sys/dev/char/240:0/subsystem', '/sys/class/sensor'),
            (S + '/device/driver', '/sys/bus/platform/drivers/sensor'), (S + '/temp', D + '/temp'),
            (S + '/device/../../virtual', '/sys/devices/virtual'),
            (S + '/subsystem/../mem/null', '/sys/devices/virtual/mem/null'),
        ]:
            assert os.path.realpath(path) == real, path
        assert 'sensor' in os.listdir('/sys/class') and 'mem' in os.listdir('/sys/class')
        assert '240:0' in os.listdir('/sys/dev/char') and '1:3' in os.listdir('/sys/dev/char')
        assert 'sensor.0' in os.listdir('/sys/bus/platform/devices')
        assert os.path.samestat(os.stat('/sys/class/sensor/..'), os.stat('/sys/class'))
    """,
    )


def test_it_can_be_walked(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        import glob
        found = [at for at, _, _ in os.walk('/sys/class/sensor', followlinks=False)]
        assert found == ['/sys/class/sensor'], 'links are not followed'
        inside = {at[len(D):]: sorted(names) for at, _, names in os.walk(D)}
        assert inside['/stats'] == ['long'] and 'temp' in inside[''] and len(inside) == 3
        assert glob.glob('/sys/class/*/sensor*') == [S]
        assert glob.glob('/sys/class/sensor/*/te*') == [S + '/temp']
        os.chdir(S)
        assert os.getcwd() == D and open('temp').read() == '21\\n'
        assert 'sensor.0' in os.listdir('device/driver')
        os.chdir('subsystem')
        assert os.getcwd() == '/sys/class/sensor' and os.listdir() == ['sensor0']
    """,
    )


def test_what_stat_says(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        import stat
        for name, mode, size in [
            ('temp', 0o100444, P), ('limit', 0o100644, P), ('reset', 0o100200, P),
            ('uevent', 0o100644, P), ('dev', 0o100444, P), ('raw', 0o100600, 16),
            ('stats', 0o40755, 0), ('device', 0o40755, 0), ('.', 0o40755, 0),
        ]:
            status = os.stat(f'{S}/{name}')
            assert (status.st_mode, status.st_size) == (mode, size), name
            assert status.st_dev == os.stat('/sys').st_dev and status.st_ino, name
        fd = os.open(S + '/temp', os.O_RDONLY)
        assert os.fstat(fd) == os.stat(S + '/temp') == os.stat('temp', dir_fd=os.open(S, os.O_PATH))
        kinds = {entry.name: entry for entry in os.scandir(S)}
        assert kinds['temp'].is_file() and kinds['stats'].is_dir() and kinds['device'].is_symlink()
        assert kinds['temp'].inode() == os.stat(S + '/temp').st_ino
        page = ctypes.create_string_buffer(120)
        for path in b'/sys', S.encode(), (S + '/temp').encode():
            assert libc.statfs(path, page) == 0
            assert struct.unpack_from('<q', page)[0] == 0x62656572, path
        assert libc.fstatfs(fd, page) == 0 and struct.unpack_from('<q', page)[0] == 0x62656572
        assert os.access(S + '/temp', os.R_OK) and not os.access(S + '/temp', os.X_OK)
    """,
    )


def test_refusals(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        T = S + '/temp'
        raises(errno.EACCES, os.open, T, os.O_RDWR)
        raises(errno.EACCES, os.open, S + '/reset', os.O_RDONLY)
        raises(errno.ENOTDIR, os.open, T + '/', os.O_RDONLY)
        raises(errno.ENOTDIR, os.open, T + '/x', os.O_RDONLY)
        raises(errno.ENOTDIR, os.open, T, os.O_RDONLY | os.O_DIRECTORY)
        raises(errno.EISDIR, os.open, S, os.O_RDWR)
        raises(errno.ENOENT, os.open, S + '/nothing', os.O_RDONLY)
        raises(errno.EEXIST, os.open, T, os.O_CREAT | os.O_EXCL)
        raises(errno.EINVAL, os.readlink, T)
        raises(errno.EPERM, os.unlink, T)
        raises(errno.EPERM, os.unlink, S)
        raises(errno.ENOTDIR, os.rmdir, T)
        raises(errno.EPERM, os.rmdir, S + '/stats')
        raises(errno.ENOTDIR, os.chdir, T)
        raises(errno.EACCES, os.execv, T, ['x'])
        raises(errno.EEXIST, os.mkdir, T)
        raises(errno.EINVAL, os.open, T, os.O_RDONLY | os.O_DIRECT)
        fd = os.open(S + '/limit', os.O_RDWR)
        raises(errno.ENODEV, raw_mmap, None, P, R, SHARED, fd)
        raises(errno.ENOTTY, fcntl.ioctl, fd, 0x1234)
        assert libc.fallocate(fd, 0, 0, 1) == -1 and ctypes.get_errno() == errno.EOPNOTSUPP
        os.ftruncate(fd, 0)
        os.fsync(fd)
        os.truncate(S + '/limit', 5)
        assert os.fstat(fd).st_size == P
    """,
    )


def test_show_is_called_at_each_read_from_the_start(sensor: Sensor, client: Client) -> None:
    """As fs/seq_file.c does it: pieces come from one text, a jump makes a new one."""
    run(
        client,
        """
        fd = os.open(S + '/stats/long', os.O_RDONLY)
        assert os.read(fd, 4) == b'0001' and os.read(fd, 10) == b'0123456789'
        assert len(os.read(fd, 200)) == 90 and os.read(fd, 200) == b''
        assert os.pread(fd, 4, 0) == b'0002' and os.pread(fd, 4, 0) == b'0003'
        assert os.pread(fd, 3, 4) == b'012', 'that goes on'
        assert os.pread(fd, 3, 4) == b'012', 'that is a jump'
        assert os.pread(fd, 4, 0) == b'0005'
        assert os.pread(fd, 4, 5000) == b''
        os.lseek(fd, 0, os.SEEK_SET)
        assert os.read(fd, 4) == b'0007'
        assert os.lseek(fd, 0, os.SEEK_END) == P and os.read(fd, 1) == b''
        assert os.lseek(fd, 2, os.SEEK_SET) == 2 and os.read(fd, 4) == b'0901'
        raises(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)
        buffers = bytearray(2), bytearray(6)
        assert os.preadv(fd, buffers, 0) == 8 and b''.join(buffers) == b'00100123'
    """,
    )
    assert sensor.shown == 10


def test_store_is_called_once_a_write(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        fd = os.open(S + '/limit', os.O_RDWR | os.O_TRUNC)
        assert os.write(fd, b'1') == 1 and os.write(fd, b'22') == 2 and os.pwrite(fd, b'3', 99) == 1
        assert os.write(fd, b'') == 0
        assert os.write(fd, b'x' * 5000) == P
        assert os.lseek(fd, 0, os.SEEK_CUR) == P + 3
        assert os.writev(fd, [b'a', b'', b'b']) == 2
        assert os.write(os.open(S + '/reset', os.O_WRONLY), b'12345') == 2
    """,
    )
    assert sensor.stored == [b"1", b"22", b"3", b"x" * 4096, b"ab", b"12345"]


@pytest.mark.parametrize(
    ("failure", "code"),
    [(OSError(errno.EBUSY, "busy"), errno.EBUSY), (ValueError("mine"), errno.EIO)],
)
def test_errors(sensor: Sensor, client: Client, failure: Exception, code: int, caplog: Any) -> None:
    sensor.failure = failure
    run(
        client,
        """
        fd = os.open(S + '/odd', os.O_RDWR)
        code = int(sys.argv[1])
        raises(code, os.read, fd, 10)
        raises(code, os.write, fd, b'x')
        raises(code, os.pread, fd, 10, 5)
    """,
        str(code),
    )
    sensor.failure = None
    run(client, "assert open(S + '/odd').read() == 'x' * 300")
    caplog.clear()


def test_a_text_that_is_too_long(sensor: Sensor, client: Client, caplog: Any) -> None:
    sensor.text = "y" * 5000
    with caplog.at_level(logging.ERROR):
        run(client, "assert open(S + '/odd').read() == 'y' * 4095")
    assert "returned bad count" in caplog.text
    caplog.clear()


def test_binary_attributes(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        fd = os.open(S + '/raw', os.O_RDWR)
        assert os.write(fd, b'0123456789abcdefghi') == 16
        raises(errno.EFBIG, os.write, fd, b'x')
        assert os.pread(fd, 100, 10) == b'abcdef' and os.pread(fd, 5, 16) == b''
        assert os.pwrite(fd, b'YZ', 15) == 1 and os.pread(fd, 2, 14) == b'eY'
        raises(errno.ENODEV, raw_mmap, None, P, R, SHARED, fd)
    """,
    )
    assert sensor.raw == b"0123456789abcdeY"


@pytest.mark.embedded_only("the kernel host's attributes can't be mapped")
def test_a_binary_attribute_that_is_mapped(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        window = os.open(S + '/window', os.O_RDWR)
        p = raw_mmap(None, P, R | W, SHARED, window)
        poke(p, b'mapped')
        raises(errno.EINVAL, raw_mmap, None, 2 * P, R | W, SHARED, window)
        raises(errno.EIO, os.read, window, 1)
    """,
    )
    assert bytes(sensor.memory[:6]) == b"mapped"


def test_poll(sensor: Sensor, client: Client, mapdev: Host) -> None:
    """Ready (for priority data) until it was read, and after each sysfs_notify."""
    run(
        client,
        """
        import select
        fd = os.open(S + '/limit', os.O_RDONLY)
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        def events(timeout=0):
            return [event for _, event in poller.poll(timeout)]
        # POLLERR as in the kernel; a socket, where there is no FUSE, could not take it back.
        ready = [select.POLLPRI | (select.POLLERR if sys.argv[1] == 'fuse' else 0)]
        assert events() == ready
        os.pread(fd, 10, 0)
        assert events() == []
        open(S + '/limit', 'w').write('7')
        assert events(10000) == ready
        assert os.pread(fd, 10, 0) == b'7' and events() == []
        normal = select.poll()
        normal.register(fd, select.POLLIN | select.POLLOUT)
        assert normal.poll(0)
    """,
        "fuse" if poll_has_all_events(mapdev) else "socket",
    )


def test_notify_from_outside(sensor: Sensor, start: Any, mapdev: Host) -> None:
    process = start("""
        import select
        fd = os.open('/sys/class/sensor/sensor0/temp', os.O_RDONLY)
        os.read(fd, 10)
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        print('waiting', flush=True)
        assert poller.poll(20000)
        print(os.pread(fd, 10, 0))
    """)
    assert process.stdout.readline() == "waiting\n"
    with mapdev.lock:
        sensor.temperature = 30
        assert sensor.dev is not None and sensor.dev.kobj is not None
        sysfs_notify(sensor.dev.kobj, None, "temp")
    assert process.communicate(timeout=30)[0] == "b'30\\n'\n"
    assert process.returncode == 0


def test_uevent_and_proc(sensor: Sensor, client: Client) -> None:
    run(
        client,
        """
        assert open(S + '/uevent').read() == (
            'MAJOR=240\\nMINOR=0\\nDEVNAME=sensor0\\nDEVMODE=0666\\nSENSOR_KIND=fake\\n')
        assert open(S + '/dev').read() == '240:0\\n'
        assert open(S + '/device/uevent').read() == 'DRIVER=sensor\\nMODALIAS=platform:sensor\\n'
        lines = open('/proc/devices').read().split('\\n')
        assert '240 sensor' in lines and '  1 mem' in lines and 'Block devices:' in lines
        assert open('/dev/sensor0').read() == 'sensor'
        with open(S + '/uevent', 'w') as file:
            file.write('change')
        raises(errno.EINVAL, os.write, os.open(S + '/uevent', os.O_WRONLY), b'nonsense')
    """,
    )


class Misc(Driver):
    """A misc device."""

    dev_class = "misc"
    mode = 0o600


@pytest.mark.embedded_only("a misc device of the kernel host has a number of the module's")
def test_a_misc_device(mapdev: Host, client: Client) -> None:
    mapdev.add(Misc, "/dev/some/misc")
    client("""
        import stat
        number = os.stat('/dev/some/misc').st_rdev
        assert os.major(number) == 10 and stat.S_IMODE(os.stat('/dev/some/misc').st_mode) == 0o600
        assert f'{os.minor(number):3} misc' in open('/proc/misc').read().split('\\n')
        assert os.listdir('/sys/class/misc/some!misc/power')
        assert 'DEVNAME=some/misc' in open('/sys/class/misc/some!misc/uevent').read()
        assert 'some!misc' in os.listdir('/sys/class/misc')
    """)


def test_the_class_of_misc_devices(mapdev: Host, client: Client) -> None:
    mapdev.add(Misc, "/dev/some/misc")
    client("""
        import stat
        assert stat.S_IMODE(os.stat('/dev/some/misc').st_mode) == 0o600
        assert os.listdir('/sys/class/misc/some!misc/power')
        assert 'DEVNAME=some/misc' in open('/sys/class/misc/some!misc/uevent').read()
        assert 'some!misc' in os.listdir('/sys/class/misc')
    """)


class Bus(Driver):
    """A driver that makes devices itself: two nodes, one of which nobody serves, one without."""

    def probe(self) -> None:
        self.cls = class_create("thing")
        self.first = alloc_chrdev_region(0, 3, "thing")
        self.cdev = Cdev(self)
        cdev_add(self.cdev, self.first, 1)
        for minor in range(2):
            device_create(self.cls, None, self.first + minor, None, "thing%d", minor)
        self.plain = device_create(self.cls, None, 0, None, "plain")

    def read(self, file: File, count: int, pos: int) -> bytes:
        return str(file.f_inode.i_rdev - self.first).encode()[pos:]

    def write(self, file: File, data: bytes, pos: int) -> None:
        """Make one more device, or take it away."""
        if data == b"+":
            device_create(self.cls, self.plain, self.first + 2, None, "thing2")
        else:
            device_destroy(self.cls, self.first + 2)


def test_a_driver_that_makes_devices(mapdev: Host, client: Client) -> None:
    mapdev.add(Bus, "/dev/bus")
    client("""
        import stat
        assert sorted(os.listdir('/sys/class/thing')) == ['plain', 'thing0', 'thing1']
        assert stat.S_IMODE(os.stat('/dev/thing0').st_mode) == 0o600
        assert open('/dev/thing0').read() == '0'
        raises(errno.ENXIO, os.open, '/dev/thing1', os.O_RDONLY)
        assert not os.path.exists('/dev/plain') and not os.path.exists('/sys/class/thing/plain/dev')
        bus = os.open('/dev/bus', os.O_WRONLY)
        os.write(bus, b'+')
        assert 'thing2' in os.listdir('/dev')
        assert os.path.realpath('/sys/class/thing/thing2') == '/sys/devices/virtual/thing/plain/thing2'
        os.write(bus, b'-')
        assert 'thing2' not in os.listdir('/dev') + os.listdir('/sys/class/thing')
        raises(errno.ENOENT, os.stat, '/dev/thing2')
    """)


def test_who_may_do_what(mapdev: Host, sensor: Sensor, client: Client) -> None:
    """Another user may read what everybody may, and write nothing."""
    if os.getuid():
        pytest.skip("only root can become another user")
    run(
        client,
        """
        os.setresuid(65534, 65534, 65534)
        assert open(S + '/temp').read() == '21\\n'
        raises(errno.EACCES, os.open, S + '/limit', os.O_WRONLY)
        raises(errno.EACCES, os.open, S + '/raw', os.O_RDONLY)
        raises(errno.EACCES, os.truncate, S + '/limit', 0)
        assert not os.access(S + '/limit', os.W_OK) and 'temp' in os.listdir(S)
    """,
    )


@pytest.mark.embedded_only("the kernel host's bare nodes are in the class mapdev")
def test_nodes_alone_have_no_place_in_sysfs(mapdev: Host, client: Client) -> None:
    mapdev.add(Bare, "/dev/x")
    client("""
        assert not os.path.exists('/sys/dev/char/240:0')
        assert '240' not in open('/proc/devices').read()
    """)


def test_waiting_in_show(mapdev: Host, client: Client) -> None:
    class Slow(Driver):
        dev_class = "slow"
        dev_groups = (DEVICE_ATTR_RO("value"),)

        def value_show(self, dev: Device, attr: Any) -> str:
            raise OSError(errno.EAGAIN, "not yet")

    mapdev.add(Slow, "/dev/slow")
    client("""
        fd = os.open('/sys/class/slow/slow/value', os.O_RDONLY | os.O_NONBLOCK)
        raises(errno.EAGAIN, os.read, fd, 1)
    """)
