"""Devices from a description in umockdev's format, and descriptions of real devices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from devices import Bare, Buffer

from mapdev.host.core.host import Host
from mapdev.host.core.tree_file import parse
from mapdev.host.loading import DriverError
from mapdev.inspect.sysfs import record

Client = Callable[..., str]

CAMERA = r"""
P: /devices/pci0000:99/0000:99:14.0/usb9/9-4/9-4:1.0/video4linux/video7
N: video7
S: v4l/by-id/usb-fake
E: DEVNAME=/dev/video7
E: MAJOR=81
E: MINOR=7
E: SUBSYSTEM=video4linux
E: ID_V4L_PRODUCT=Fake
E: TAGS=:seat:uaccess:
A: name=Fake camera\n
A: odd=back\\slash\nand line\n
A: stats/frames=7\n
H: blob=00FF10

P: /devices/pci0000:99/0000:99:14.0/usb9/9-4
N: bus/usb/009/004=12010002
E: SUBSYSTEM=usb
E: DEVTYPE=usb_device
E: MAJOR=189
E: MINOR=1027
E: DRIVER=usb
A: idVendor=1234\n
L: port=../9-0:1.0/usb9-port4
"""


def test_a_camera(mapdev: Host, client: Client) -> None:
    mapdev.add(Buffer, "/dev/video7")
    mapdev.add_tree(CAMERA)
    client("""
        U = '/sys/devices/pci0000:99/0000:99:14.0/usb9/9-4'
        V = U + '/9-4:1.0/video4linux/video7'
        assert os.path.realpath('/sys/class/video4linux/video7') == V
        assert os.path.realpath('/sys/dev/char/81:7') == V
        assert os.path.realpath('/sys/bus/usb/devices/9-4') == U
        assert os.path.realpath(U + '/driver') == '/sys/bus/usb/drivers/usb'
        assert os.readlink(U + '/port') == '../9-0:1.0/usb9-port4'
        assert open(V + '/name').read() == 'Fake camera\\n'
        assert open(V + '/odd').read() == 'back\\\\slash\\nand line\\n'
        assert open(V + '/stats/frames').read() == '7\\n'
        assert open(V + '/blob', 'rb').read() == bytes.fromhex('00FF10')
        assert 'ID_V4L_PRODUCT=Fake\\n' in open(V + '/uevent').read()
        assert 'DEVTYPE=usb_device\\n' in open(U + '/uevent').read()
        assert os.stat('/dev/video7').st_rdev == os.makedev(81, 7)
        assert os.path.realpath('/dev/v4l/by-id/usb-fake') == '/dev/video7'
        os.write(os.open('/dev/video7', os.O_RDWR), b'a driver serves it')
        assert open('/dev/bus/usb/009/004', 'rb').read() == bytes.fromhex('12010002')
        with open(V + '/name', 'w') as file:
            file.write('another')
        assert open(V + '/name').read() == 'another'
    """)


def test_a_node_that_nobody_serves(mapdev: Host, client: Client) -> None:
    mapdev.add_tree("P: /devices/x/thing0\nN: thing0\nE: SUBSYSTEM=thing\n")
    client("""
        raises(errno.ENXIO, os.open, '/dev/thing0', os.O_RDONLY)
        assert os.listdir('/sys/class/thing') == ['thing0']
    """)


@pytest.mark.parametrize(
    "text",
    ["N: x", "P: /class/x", "P: /devices/x\nnothing", "P: /devices/x\nZ: 1",
     "P: /devices/x\nE: name", "P: /devices/x\nH: name=0G", "P: /devices/x\nN: x=0"],
)  # fmt: skip
def test_what_is_no_description(text: str) -> None:
    with pytest.raises(DriverError, match="line "):
        parse(text)


def test_a_name_that_is_taken(mapdev: Host) -> None:
    mapdev.add(Bare, "/dev/x/y")
    with pytest.raises(DriverError, match="/dev/x"):
        mapdev.add_tree("P: /devices/thing0\nN: x\nE: SUBSYSTEM=thing\n")


def test_recording_a_device_of_this_machine() -> None:
    devices = parse(record("/dev/null"))
    assert devices[0].path == "/devices/virtual/mem/null" and devices[0].node == "null"
    assert devices[0].variables["MAJOR"] == "1" and devices[0].variables["SUBSYSTEM"] == "mem"
    for name in os.listdir("/sys/class/net")[:1]:
        found = parse(record(f"/sys/class/net/{name}"))
        assert found[0].node is None and found[0].variables["INTERFACE"] == name
        assert found[0].attributes["mtu"].rstrip("\n").isdigit()  # type: ignore[union-attr]
    with pytest.raises(OSError, match="no device"):
        record("/etc/passwd")


def test_the_commands(tmp_path: object) -> None:
    mapdev = [sys.executable, "-m", "mapdev"]
    made = subprocess.run([*mapdev, "record-tree", "/dev/null"], capture_output=True, text=True)
    assert made.returncode == 0 and made.stdout.startswith("P: /devices/virtual/mem/null\n")
    path = f"{tmp_path}/tree"
    with open(path, "w") as file:
        file.write(CAMERA)
    shown = subprocess.run(
        [*mapdev, "run", "--tree", path, "-d", "/dev/video7=echo", "--",
         "ls", "/sys/class/video4linux", "/dev/v4l/by-id"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert shown.returncode == 0 and "video7" in shown.stdout and "usb-fake" in shown.stdout
    wrong = subprocess.run(
        [*mapdev, "record-tree", "/dev/no such thing"], capture_output=True, text=True
    )
    assert wrong.returncode == 1 and "No such file" in wrong.stderr
    assert subprocess.run([*mapdev, "record-tree"], capture_output=True).returncode == 2
