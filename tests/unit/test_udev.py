"""What udev would say of a device, and the sockets that hear of it; without a host."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator

import pytest

from mapdev.host.core.udev import KERNEL, UDEV, Udev, bloom, hash32, udev_message
from mapdev.host.core.uevent_socket import UeventSocket, UeventSockets, run_filter
from mapdev.linux import (
    MKDEV,
    Device,
    DeviceTree,
    File,
    Inode,
    class_create,
    device_add,
    device_del,
)
from mapdev.linux.context import Context, enter, reset


class Machine:
    """Has a device tree, and nobody who waits."""

    def __init__(self) -> None:
        self.device_tree = DeviceTree()

    def wake_up(self, queue: object, owner: object, number: int = 0) -> None:
        """Do nothing."""


@pytest.fixture
def tree() -> Iterator[DeviceTree]:
    machine = Machine()
    token = enter(Context(machine, "driver"))  # type: ignore[arg-type]
    yield machine.device_tree
    reset(token)


def test_hashes() -> None:
    """Of no string it is none; those of libudev itself are met by `udevadm monitor -s`."""
    assert hash32("") == 0 and hash32("a") == 0x92685F5E
    values = {hash32("sensor"[:length]) for length in range(7)}
    assert len(values) == 7 and max(values) < 1 << 32


def test_an_event_of_udev() -> None:
    values = [("ACTION", "add"), ("SUBSYSTEM", "sensor"), ("DEVNAME", "s0"), ("DEVTYPE", "t")]
    message = udev_message(values, ["seat"])
    prefix, magic = message[:8], message[8:12]
    header, at, length = struct.unpack_from("=III", message, 12)
    hashes = struct.unpack_from(">IIII", message, 24)
    assert (prefix, magic, header, at) == (b"libudev\0", b"\xfe\xed\xca\xfe", 40, 40)
    assert message[at:] == b"ACTION=add\0SUBSYSTEM=sensor\0DEVNAME=/dev/s0\0DEVTYPE=t\0"
    assert len(message) == at + length
    assert hashes[:2] == (hash32("sensor"), hash32("t"))
    assert hashes[2] << 32 | hashes[3] == bloom("seat") != bloom("other")


def test_the_data_base_and_the_links(tree: DeviceTree) -> None:
    heard: list[tuple[bytes, int]] = []
    Udev(tree, lambda data, group: heard.append((data, group)))
    dev = Device("s0", class_=class_create("sensor"), devt=MKDEV(240, 5))
    dev.links, dev.properties, dev.tags = ("by/name", "other"), {"ID_X": "1"}, ("seat",)
    device_add(dev)
    entry = tree.root.find("/run/udev/data/c240:5")
    assert entry is not None
    lines = entry.priv().decode().split("\n")
    assert lines[:2] == ["S:by/name", "S:other"] and lines[2].startswith("I:")
    assert lines[3:] == ["E:ID_X=1", "G:seat", "Q:seat", "V:1", ""]
    links = [tree.root.find(path) for path in ("/dev/by/name", "/dev/other")]
    assert [link.link_text() for link in links if link] == ["../s0", "s0"]
    assert tree.root.find("/run/udev/tags/seat/c240:5") and tree.root.find("/run/udev/control")
    assert [group for _, group in heard] == [KERNEL, UDEV]
    assert b"ID_X=1\0" in heard[1][0] and b"DEVLINKS=/dev/by/name /dev/other\0" in heard[1][0]
    assert b"TAGS=:seat:\0" in heard[1][0] and b"ID_X" not in heard[0][0]
    device_del(dev)
    for path in "/run/udev/data/c240:5", "/dev/by/name", "/run/udev/tags/seat/c240:5":
        assert tree.root.find(path) is None
    assert tree.root.find("/dev") is None, "directories of links go with the last of them"
    assert b"ACTION=remove\0" in heard[3][0] and b"ID_X=1\0" in heard[3][0]


def test_a_device_without_a_node(tree: DeviceTree) -> None:
    Udev(tree, lambda data, group: None)
    dev = Device("s0", class_=class_create("sensor"))
    dev.links = ("never",)
    device_add(dev)
    assert tree.root.find("/run/udev/data/+sensor:s0") and not tree.root.find("/dev/never")


def test_sockets(tree: DeviceTree) -> None:
    sockets = UeventSockets()
    one = UeventSocket(sockets, 7)
    sockets.add(one)
    file = File(Inode(), one)
    sockets.deliver(b"unheard", KERNEL)
    one.groups = UDEV
    sockets.deliver(b"kernel's", KERNEL)
    sockets.deliver(b"udev's", UDEV, 3)
    assert one.poll(file) & 1
    assert one.take(True, False) == (b"udev's", UDEV, 3) == one.take(False, False)
    assert not one.poll(file) & 1
    with pytest.raises(BlockingIOError):
        one.take(False, False)
    for _ in range(1001):
        sockets.deliver(b"flood", UDEV)
    with pytest.raises(OSError) as raised:
        one.take(False, False)
    assert raised.value.errno == errno.ENOBUFS and one.read(file, 3, 0) == b"flo"
    one.release(Inode(), file)
    sockets.deliver(b"late", UDEV)
    assert len(one._messages) == 999


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("<HBBI", *one) for one in instructions)


def test_filters() -> None:
    """As libudev makes them: is it udev's, and of one of these subsystems?"""
    code = program(
        (0x20, 0, 0, 8), (0x15, 1, 0, 0xFEEDCAFE), (0x06, 0, 0, 0xFFFFFFFF),
        (0x20, 0, 0, 24), (0x15, 0, 1, hash32("sensor")), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0),
    )  # fmt: skip
    message = udev_message([("SUBSYSTEM", "sensor")], ())
    assert run_filter(code, message) and not run_filter(code, udev_message([("A", "b")], ()))
    assert run_filter(b"", message) and run_filter(program((0xFF, 0, 0, 0)), message)
    assert run_filter(program((0x20, 0, 0, 1 << 20), (0x06, 0, 0, 1)), message) == 0, "out of it"
    both = program((0x20, 0, 0, 0), (0x54, 0, 0, 0xFF000000), (0x15, 0, 1, ord("l") << 24),
                   (0x06, 0, 0, 5), (0x06, 0, 0, 0))  # fmt: skip
    assert run_filter(both, message) == 5
    jumps = program((0x05, 0, 0, 1), (0x06, 0, 0, 1), (0x28, 0, 0, 0), (0x45, 0, 1, 1),
                    (0x06, 0, 0, 2), (0x30, 0, 0, 0), (0x35, 0, 1, 0x60), (0x06, 0, 0, 3),
                    (0x06, 0, 0, 4))  # fmt: skip
    assert run_filter(jumps, b"\x01\x01") == 2 and run_filter(jumps, b"\x70\x02") == 3
    assert run_filter(jumps, b"\x01\x02") == 4
