"""The device model: where names appear, links between them, uevents, numbers; without a host."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from mapdev.linux import (
    BIN_ATTR,
    DEVICE_ATTR,
    DEVICE_ATTR_RO,
    DEVICE_ATTR_RW,
    DEVICE_ATTR_WO,
    KOBJ_CHANGE,
    MISC_DYNAMIC_MINOR,
    MKDEV,
    Attribute,
    AttributeGroup,
    BinAttribute,
    BusType,
    Cdev,
    Class,
    Device,
    DeviceDriver,
    DeviceTree,
    DeviceType,
    Miscdevice,
    Uevent,
    add_uevent_var,
    alloc_chrdev_region,
    bus_register,
    cdev_add,
    cdev_del,
    class_create,
    class_destroy,
    dev_get_drvdata,
    dev_name,
    dev_set_drvdata,
    device_add,
    device_create,
    device_create_file,
    device_del,
    device_destroy,
    device_find_child,
    device_for_each_child,
    device_register,
    device_remove_file,
    device_unregister,
    driver_register,
    kobj_lookup,
    kobject_create_and_add,
    kobject_put,
    kobject_uevent,
    kobject_uevent_env,
    misc_deregister,
    misc_register,
    register_chrdev,
    register_chrdev_region,
    root_device_register,
    sysfs_create_group,
    sysfs_create_link,
    sysfs_emit,
    sysfs_notify,
    sysfs_remove_link,
    sysfs_streq,
    unregister_chrdev,
    unregister_chrdev_region,
)
from mapdev.linux.context import Context, enter, reset


class Machine:
    """Has a device tree, and nobody who waits."""

    def __init__(self) -> None:
        self.device_tree = DeviceTree()
        self.woken: list[object] = []

    def wake_up(self, queue: object, owner: object, nr: int | None = None) -> None:
        self.woken.append(queue)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    token = enter(Context(machine, "driver"))  # type: ignore[arg-type]
    yield machine
    reset(token)


@pytest.fixture
def tree(machine: Machine) -> DeviceTree:
    return machine.device_tree


@pytest.fixture
def uevents(tree: DeviceTree) -> list[Uevent]:
    found: list[Uevent] = []
    tree.listeners.append(found.append)
    return found


def links(tree: DeviceTree, path: str) -> str | None:
    node = tree.root.find(path)
    return node.link_text() if node is not None and node.is_link else None


def names(tree: DeviceTree, path: str) -> list[str]:
    node = tree.root.find(path)
    return sorted(node.children) if node is not None else []


def fails(code: int, function: Any, *args: Any) -> None:
    with pytest.raises(OSError) as raised:
        function(*args)
    assert raised.value.errno == code


def test_a_class_device_without_a_parent(tree: DeviceTree) -> None:
    """Links and directories as Linux makes them: see `find -ls /sys/class/mem` on any machine."""
    cls = class_create("sensor")
    dev = device_create(cls, None, MKDEV(240, 3), "data", "sensor%d", 3)
    at = "/sys/devices/virtual/sensor/sensor3"
    assert dev_name(dev) == "sensor3" and dev_get_drvdata(dev) == "data"
    assert names(tree, at) == ["dev", "power", "subsystem", "uevent"]
    assert links(tree, f"{at}/subsystem") == "../../../../class/sensor"
    assert links(tree, "/sys/class/sensor/sensor3") == "../../devices/virtual/sensor/sensor3"
    assert links(tree, "/sys/dev/char/240:3") == "../../devices/virtual/sensor/sensor3"
    device_destroy(cls, MKDEV(240, 3))
    for gone in (at, "/sys/devices/virtual/sensor", "/sys/dev/char/240:3"):
        assert tree.root.find(gone) is None
    assert names(tree, "/sys/class/sensor") == []
    class_destroy(cls)
    assert tree.root.find("/sys/class/sensor") is None


def test_parents(tree: DeviceTree) -> None:
    cls = class_create("sensor")
    root = root_device_register("board")
    dev = device_create(cls, root, 0, None, "sensor0")
    assert dev.kobj and dev.kobj.sd.path == "/sys/devices/board/sensor/sensor0"
    assert links(tree, "/sys/devices/board/sensor/sensor0/device") == "../../../board"
    other = device_create(class_create("part"), dev, 0, None, "part0")
    assert other.kobj and other.kobj.sd.path == f"{dev.kobj.sd.path}/part0", "no glue directory"
    found: list[str] = []
    assert (
        device_for_each_child(root, found, lambda child, to: to.append(dev_name(child)) or 0) == 0
    )
    assert found == ["sensor0"]
    assert device_find_child(root, "sensor0", lambda child, name: dev_name(child) == name) is dev
    assert device_find_child(root, "x", lambda child, name: dev_name(child) == name) is None
    device_unregister(other)
    device_unregister(dev)
    assert names(tree, "/sys/devices/board") == ["power", "uevent"]


def test_a_bus(tree: DeviceTree, uevents: list[Uevent]) -> None:
    bus = BusType("wire", [DEVICE_ATTR_RO("modalias", lambda dev, attr: "wire:x\n")],
                  lambda dev, env: add_uevent_var(env, "MODALIAS", "wire:x"))  # fmt: skip
    bus_register(bus)
    driver = DeviceDriver("thermo", bus)
    driver_register(driver)
    fails(errno.EBUSY, driver_register, DeviceDriver("thermo", bus))
    dev = Device("1-0048", bus=bus)
    dev.driver = driver
    device_register(dev)
    assert names(tree, "/sys/bus/wire") == ["devices", "drivers", "uevent"]
    assert links(tree, "/sys/bus/wire/devices/1-0048") == "../../../devices/1-0048"
    assert links(tree, "/sys/bus/wire/drivers/thermo/1-0048") == "../../../../devices/1-0048"
    assert links(tree, "/sys/devices/1-0048/driver") == "../../bus/wire/drivers/thermo"
    assert links(tree, "/sys/devices/1-0048/subsystem") == "../../bus/wire"
    assert uevents[-1].variables[2:5] == (
        ("SUBSYSTEM", "wire"), ("DRIVER", "thermo"), ("MODALIAS", "wire:x"))  # fmt: skip
    device_unregister(dev)
    assert names(tree, "/sys/bus/wire/devices") == names(tree, "/sys/bus/wire/drivers/thermo") == []


def test_uevents(tree: DeviceTree, uevents: list[Uevent]) -> None:
    cls = class_create("sensor")
    cls.dev_uevent = lambda dev, env: add_uevent_var(env, "KIND", "fake")
    cls.devnode = lambda dev: (f"sensors/{dev.name}", 0o640)
    dev = device_create(cls, None, MKDEV(240, 0), None, "s0")
    device_del(dev)
    add, remove = uevents
    assert add.message() == (
        b"add@/devices/virtual/sensor/s0\0ACTION=add\0DEVPATH=/devices/virtual/sensor/s0\0"
        b"SUBSYSTEM=sensor\0MAJOR=240\0MINOR=0\0DEVNAME=sensors/s0\0DEVMODE=0640\0KIND=fake\0"
        b"SEQNUM=1\0"
    )
    assert (remove.action, remove.variables[-1]) == ("remove", ("SEQNUM", "2"))
    assert remove.variables[3:-1] == add.variables[3:-1]


def test_uevents_of_ones_own(tree: DeviceTree, uevents: list[Uevent]) -> None:
    dev = device_create(class_create("sensor"), None, 0, None, "s0")
    assert dev.kobj
    uevents.clear()
    kobject_uevent(dev.kobj, KOBJ_CHANGE)
    kobject_uevent_env(dev.kobj, KOBJ_CHANGE, ["HOT=1"])
    assert ("HOT", "1") not in uevents[0].variables and ("HOT", "1") in uevents[1].variables
    fails(errno.EINVAL, kobject_uevent_env, dev.kobj, KOBJ_CHANGE, ["HOT"])
    fails(errno.ENOMEM, kobject_uevent_env, dev.kobj, KOBJ_CHANGE, ["A=" + "x" * 3000])
    fails(errno.ENOMEM, kobject_uevent_env, dev.kobj, KOBJ_CHANGE, ["A=1"] * 70)
    kobject_uevent(kobject_create_and_add("plain", None), KOBJ_CHANGE)
    assert len(uevents) == 2, "a kobject without class and bus has none"


@pytest.mark.parametrize(
    ("text", "added"),
    [
        ("add", ["SYNTH_UUID=0"]),
        ("change\n", ["SYNTH_UUID=0"]),
        ("change 12345678-1234-1234-1234-123456789abc",
         ["SYNTH_UUID=12345678-1234-1234-1234-123456789abc"]),
        ("add 12345678-1234-1234-1234-123456789abc A=1 b2=c",
         ["SYNTH_UUID=12345678-1234-1234-1234-123456789abc", "SYNTH_ARG_A=1", "SYNTH_ARG_b2=c"]),
        ("", None), ("ADD", None), ("addx", None), ("add x", None),
        ("add 12345678-1234-1234-1234-123456789abc A", None),
        ("add 12345678-1234-1234-1234-123456789abc A_B=1", None),
        ("add 12345678-1234-1234-1234-12345678-abc", None),
    ],
)  # fmt: skip
def test_writing_to_uevent(
    tree: DeviceTree, uevents: list[Uevent], text: str, added: list[str] | None
) -> None:
    device_create(class_create("sensor"), None, 0, None, "s0")
    node = tree.root.find("/sys/class/sensor/s0")
    assert node is not None and node.target
    attr = node.target.children["uevent"].priv  # type: ignore[union-attr]
    uevents.clear()
    if added is None:
        fails(errno.EINVAL, attr.attr.store, attr.kobj.of, attr.attr, text.encode())
        assert not uevents
    else:
        attr.attr.store(attr.kobj.of, attr.attr, text.encode())
        assert [f"{name}={value}" for name, value in uevents[0].variables[3:-1]] == added


def test_names_that_are_taken(tree: DeviceTree, uevents: list[Uevent]) -> None:
    """A device that can't be added leaves nothing behind, and the one that has its name as it was."""
    cls = class_create("sensor")
    fails(errno.EEXIST, class_create, "sensor")
    device_create(cls, None, MKDEV(240, 0), None, "s0")
    before = sorted(node.path for node in tree.root.walk())
    fails(errno.EEXIST, device_create, cls, None, MKDEV(240, 1), None, "s0")
    board = root_device_register("board")
    fails(errno.EEXIST, device_create, cls, board, MKDEV(240, 0), None, "s1")
    fails(errno.EEXIST, device_create, cls, board, MKDEV(240, 2), None, "s0")
    twice = [DEVICE_ATTR_RO("a", str), DEVICE_ATTR_RO("a", str)]
    fails(errno.EEXIST, device_add, Device("s2", class_=cls, groups=twice))
    fails(errno.EINVAL, device_add, Device(class_=cls))
    fails(errno.EINVAL, device_add, Device("s3", class_=Class("unknown")))
    fails(errno.EINVAL, device_add, Device("s3", bus=BusType("unknown")))
    fails(errno.EINVAL, Device, "..")
    device_unregister(board)
    assert sorted(node.path for node in tree.root.walk()) == before
    assert [event.action for event in uevents if "s0" in event.devpath] == ["add"]


def test_a_slash_in_a_name(tree: DeviceTree, uevents: list[Uevent]) -> None:
    dev = device_create(class_create("snd"), None, MKDEV(240, 0), None, "snd/pcm%d", 0)
    assert dev_name(dev) == "snd!pcm0" and dev.devnode() == ("snd/pcm0", None)
    assert ("DEVNAME", "snd/pcm0") in uevents[0].variables


def test_a_type(tree: DeviceTree, uevents: list[Uevent]) -> None:
    kind = DeviceType(
        "thermo",
        [DEVICE_ATTR_RO("unit", lambda dev, attr: "K\n")],
        lambda dev, env: add_uevent_var(env, "UNIT", "K"),
        lambda dev: (None, 0o600),
    )
    dev = Device("s0", class_=class_create("sensor"), devt=MKDEV(240, 0), type=kind)  # fmt: skip
    device_add(dev)
    assert "unit" in names(tree, "/sys/devices/virtual/sensor/s0")
    shown = [f"{name}={value}" for name, value in uevents[0].variables]
    assert shown[3:-1] == [
        "MAJOR=240", "MINOR=0", "DEVNAME=s0", "DEVMODE=0600", "DEVTYPE=thermo", "UNIT=K",
    ]  # fmt: skip


def test_attributes(tree: DeviceTree) -> None:
    dev = device_create(class_create("sensor"), None, 0, None, "s0")
    at = "/sys/devices/virtual/sensor/s0"
    assert dev.kobj
    one = DEVICE_ATTR_RO("one", lambda dev, attr: "1\n")
    device_create_file(dev, one)
    fails(errno.EEXIST, device_create_file, dev, one)
    fails(errno.EINVAL, device_create_file, dev, DEVICE_ATTR_RW("two"))
    device_remove_file(dev, one)
    assert "one" not in names(tree, at)
    group = AttributeGroup(
        [one, DEVICE_ATTR_WO("w", lambda dev, attr, buf: None), BIN_ATTR("raw", 0o600, size=8)],
        "group", lambda of, attr, index: 0 if attr.name == "w" else attr.mode,
    )  # fmt: skip
    sysfs_create_group(dev.kobj, group)
    assert names(tree, f"{at}/group") == ["one", "raw"]
    fails(errno.EEXIST, sysfs_create_group, dev.kobj, group)
    raw = tree.root.find(f"{at}/group/raw")
    assert raw is not None and (raw.size, raw.mode) == (8, 0o100600)
    one_node = tree.root.find(f"{at}/group/one")
    assert one_node is not None and (one_node.size, one_node.mode) == (4096, 0o100444)
    sysfs_create_link(dev.kobj, tree.kobject("class"), "up")
    assert links(tree, f"{at}/up") == "../../../../class"
    sysfs_remove_link(dev.kobj, "up")
    plain = kobject_create_and_add("plain", dev.kobj)
    kobject_put(plain)
    fails(errno.ENOENT, sysfs_create_link, dev.kobj, plain, "gone")
    fails(errno.ENOENT, kobject_create_and_add, "below", plain)
    with pytest.raises(ValueError, match="no mode"):
        DEVICE_ATTR("x", 0o666)


def test_notify_wakes_who_polls(machine: Machine) -> None:
    show = DEVICE_ATTR_RO("one", lambda dev, attr: "1\n")
    dev = device_create(class_create("sensor"), None, 0, None, "s0")
    assert dev.kobj
    sysfs_create_group(dev.kobj, AttributeGroup([show], "group"))
    node = machine.device_tree.root.find("/sys/devices/virtual/sensor/s0/group/one")
    assert node is not None and node.priv.event == 1
    node.priv.queue.adopt()
    sysfs_notify(dev.kobj, "group", "one")
    sysfs_notify(dev.kobj, None, "nothing")
    assert node.priv.event == 2 and machine.woken == [node.priv.queue]


def test_texts() -> None:
    assert sysfs_emit("%d %s\n", 1, "x") == "1 x\n" and sysfs_emit("100%\n") == "100%\n"
    assert len(sysfs_emit("x" * 5000)) == 4095
    assert (
        sysfs_streq("on\n", b"on") and sysfs_streq("on", "on\n") and not sysfs_streq("on", "on\n\n")
    )


def test_device_numbers(tree: DeviceTree) -> None:
    tree.taken = lambda: ({254, 252}, {127})
    first = alloc_chrdev_region(0, 2, "first")
    assert first == MKDEV(253, 0) and alloc_chrdev_region(5, 1, "second") == MKDEV(251, 5)
    fails(errno.EBUSY, register_chrdev_region, MKDEV(253, 1), 5, "clash")
    register_chrdev_region(MKDEV(253, 2), 1, "beside")
    unregister_chrdev_region(first, 2)
    register_chrdev_region(first, 2, "again")
    fails(errno.EINVAL, register_chrdev_region, MKDEV(512, 0), 1, "large")
    fails(errno.EINVAL, register_chrdev_region, MKDEV(1, (1 << 20) - 1), 2, "long")
    majors = [alloc_chrdev_region(0, 1, "x") >> 20 for _ in range(20)]
    assert majors[:3] == [250, 249, 248] and majors[16:] == [234, 511, 510, 509]
    assert register_chrdev(300, "old", "driver") == 0 and register_chrdev(0, "any", "other") == 508
    assert (
        kobj_lookup(tree, MKDEV(300, 255)) == "driver" and kobj_lookup(tree, MKDEV(301, 0)) is None
    )
    unregister_chrdev(300, "old")
    assert kobj_lookup(tree, MKDEV(300, 255)) is None
    cdev = Cdev("ops")
    cdev_add(cdev, MKDEV(7, 0), 2)
    assert kobj_lookup(tree, MKDEV(7, 1)) == "ops" and kobj_lookup(tree, MKDEV(7, 2)) is None
    cdev_del(cdev)
    fails(errno.EINVAL, cdev_add, Cdev(), 0, 1)


def test_misc_devices(tree: DeviceTree, uevents: list[Uevent]) -> None:
    tree.taken = lambda: (set(), {127, 126})
    one = Miscdevice("one", "driver", mode=0o666, nodename="dir/one")
    misc_register(one)
    assert one.minor == 125 and kobj_lookup(tree, MKDEV(10, 125)) == "driver"
    assert links(tree, "/sys/class/misc/one") == "../../devices/virtual/misc/one"
    assert uevents[0].variables[3:7] == (
        ("MAJOR", "10"), ("MINOR", "125"), ("DEVNAME", "dir/one"), ("DEVMODE", "0666"))  # fmt: skip
    fails(errno.EBUSY, misc_register, Miscdevice("two", None, minor=125))
    fails(errno.EEXIST, misc_register, Miscdevice("one", "driver", MISC_DYNAMIC_MINOR))
    assert tree.misc == {125: "one"} and ("misc" in {region[3] for region in tree.chrdevs})
    misc_deregister(one)
    misc_deregister(one)
    assert not tree.misc and kobj_lookup(tree, MKDEV(10, 125)) is None


def test_drvdata() -> None:
    dev = Device()
    dev_set_drvdata(dev, 5)
    assert dev_get_drvdata(dev) == 5


def test_functions_of_attributes_are_not_async() -> None:
    async def show(dev: Device, attr: Attribute) -> str:
        return ""

    with pytest.raises(TypeError, match="the attribute temp: show can't be async"):
        Attribute("temp", 0o444, show)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the attribute raw: read can't be async"):
        BinAttribute("raw", 0o444, 4, read=show)
