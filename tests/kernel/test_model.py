"""Classes, devices without a node, attributes and uevents, by the module's own interface."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from mapdev.host.kernel import uapi

from .daemon import Client, Daemon, answer

CLASS = Path("/sys/class/mapdev_test")
NAME = "mapdev-test"
AT = CLASS / NAME
BOTH = uapi.ATTR_READ | uapi.ATTR_WRITE


def make(daemon: Daemon, kind: int = uapi.OBJECT_CLASS, name: str = CLASS.name, **more: int) -> int:
    made = uapi.Object(kind=kind, name=name.encode(), **more)
    uapi.ioctl(daemon.fd, uapi.IOC_OBJECT, made)
    return int(made.id)


def forget(daemon: Daemon, number: int) -> None:
    uapi.ioctl(daemon.fd, uapi.IOC_FORGET, uapi.Id(id=number))


def attribute(
    name: str, tag: int = 1, mode: int = 0o644, flags: int = BOTH, **more: Any
) -> uapi.Attribute:
    group = more.pop("group", "").encode()
    return uapi.Attribute(
        name=name.encode(), tag=tag, mode=mode, flags=flags, group=group, **more
    )  # fmt: skip


def add(
    daemon: Daemon, *attrs: uapi.Attribute, env: Iterable[bytes] = (), name: str = NAME,
    node: str | None = NAME, flags: int = 0, **place: Any,
) -> uapi.Create:  # fmt: skip
    """Make a device with a place in the model."""
    array = (uapi.Attribute * len(attrs))(*attrs)
    text = ctypes.create_string_buffer(b"".join(one + b"\0" for one in env))
    model = uapi.Model(
        name=name.encode(), nr_attrs=len(attrs), attrs=ctypes.addressof(array), flags=flags,
        env_len=len(text) - 1, env=ctypes.addressof(text), **place,
    )  # fmt: skip
    at = ctypes.addressof(model)
    if node is None:
        create = uapi.Create(flags=uapi.CREATE_NO_NUMBER, model=at)
        uapi.ioctl(daemon.fd, uapi.IOC_CREATE, create)
        return create
    return daemon.create(node, model=at)


def change(daemon: Daemon, device: int, kind: int, attr: uapi.Attribute) -> None:
    uapi.ioctl(
        daemon.fd, uapi.IOC_ATTR, uapi.AttrChange(device=device, kind=kind, attr=attr)
    )  # fmt: skip


def tell(daemon: Daemon, device: int, action: int, env: bytes = b"", extra: bytes = b"") -> None:
    texts = [ctypes.create_string_buffer(one, len(one) + 1) for one in (env, extra)]
    uevent = uapi.Uevent(
        device=device, action=action, env_len=len(env), extra_len=len(extra),
        env=ctypes.addressof(texts[0]), extra=ctypes.addressof(texts[1]),
    )  # fmt: skip
    uapi.ioctl(daemon.fd, uapi.IOC_UEVENT, uevent)


def refused(code: int, function: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        function()
    assert caught.value.errno == code, errno.errorcode[caught.value.errno or 0]


def read(path: Path = AT / "value") -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 8192)
    finally:
        os.close(fd)


def write(data: bytes, path: Path = AT / "value") -> int:
    fd = os.open(path, os.O_WRONLY)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


# ---- reading and writing


def large(daemon: Daemon, request: uapi.Request, data: bytes) -> uapi.Reply:
    slot = daemon.init.nr_slots
    daemon.payload[slot * daemon.init.slot_size :][: len(data)]
    start = slot * daemon.init.slot_size
    daemon.payload[start : start + len(data)] = data
    return answer(request, len(data), len=len(data), slot=slot)


@pytest.mark.parametrize("size", [0, 1, 256, 257, 4095])
def test_show_and_store(daemon: Daemon, size: int) -> None:
    add(daemon, attribute("value", 7), class_id=make(daemon))
    stored = []

    def show(request: uapi.Request) -> uapi.Reply:
        assert request.arg[0] == 7 and not request.file
        text = b"x" * size
        return answer(request, size, text) if size <= 256 else large(daemon, request, text)

    def store(request: uapi.Request) -> int:
        assert request.arg[0] == 7 and request.arg[1] == size
        stored.append(daemon.data(request))
        return size

    handlers = {uapi.ATTR_SHOW: show, uapi.ATTR_STORE: store}
    assert daemon.run(handlers, lambda: (read(), write(b"y" * size))) == (b"x" * size, size)
    assert stored == ([b"y" * size] if size else []), "nothing written is nothing stored"


def test_binary(daemon: Daemon) -> None:
    flags = uapi.ATTR_BINARY | BOTH
    add(daemon, attribute("value", 3, 0o600, flags, size=6000), class_id=make(daemon))
    data = bytearray(6000)
    seen = []

    def get(request: uapi.Request) -> uapi.Reply:
        _, count, at = request.arg[:3]
        seen.append((count, at))
        return large(daemon, request, bytes(data[at : at + count]))

    def put(request: uapi.Request) -> int:
        _, count, at = request.arg[:3]
        data[at : at + count] = daemon.data(request)
        return int(count)

    def client() -> list[object]:
        fd = os.open(AT / "value", os.O_RDWR)
        found: list[object] = [os.pwrite(fd, b"z" * 5000, 100), os.pread(fd, 9000, 0)[98:102]]
        found += [len(os.pread(fd, 9000, 5900)), os.pread(fd, 1, 6000)]
        try:
            os.pwrite(fd, b"x", 6000)
        except OSError as error:
            found.append(error.errno)
        return found

    result = daemon.run({uapi.BIN_READ: get, uapi.BIN_WRITE: put}, client)
    assert result == [4096, b"\0\0zz", 100, b"", errno.EFBIG]
    assert seen == [(4096, 0), (100, 5900)]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"result": -errno.EBUSY}, errno.EBUSY),
        ({"result": 4096, "len": 4096, "slot": 8}, errno.EIO),
        ({"result": 5, "len": 4}, errno.EIO),
        ({"result": 0, "kind": uapi.COPY_FROM, "len": 4}, errno.EIO),
        ({"result": 0, "kind": uapi.COPY_TO, "len": 4}, errno.EIO),
        ({"result": 0, "flags": uapi.REPLY_SHOW}, errno.EIO),
    ],
    ids=str,
)
def test_odd_replies(daemon: Daemon, fields: dict[str, int], code: int) -> None:
    """A client of an attribute carries out nothing, and takes no more than a page."""
    add(daemon, attribute("value"), class_id=make(daemon))
    client = Client(read)
    request = daemon.get(uapi.ATTR_SHOW)
    fields = {"slot": uapi.NO_SLOT, **fields}
    reply = uapi.Reply(id=request.id, **fields)
    error = daemon.next(reply, flags=uapi.NEXT_REPLY)[1]
    assert error == (errno.EINVAL if code == errno.EIO else 0)
    refused(code, client.result)


def test_killed_and_interrupted(daemon: Daemon) -> None:
    device = add(daemon, attribute("value"), class_id=make(daemon))
    client = Client(read)
    request = daemon.get(uapi.ATTR_SHOW)
    client.kill()
    client.wait(5)
    assert daemon.get(uapi.GONE).arg[0] == request.id
    # One that waits is interrupted.
    client = Client(lambda: (signal.signal(signal.SIGUSR1, lambda *_: None), read()))
    request = daemon.get(uapi.ATTR_SHOW)
    daemon.reply(request, kind=uapi.REPLY_WAIT)
    client.kill(signal.SIGUSR1)
    assert daemon.get(uapi.INTERRUPT).arg[0] == request.id
    daemon.reply(request, -errno.EINTR)
    # Python makes the call again after its handler.
    request = daemon.get(uapi.ATTR_SHOW)
    daemon.reply(request, 2, b"ok")
    daemon.serve({}, client)
    assert client.result() == (signal.SIG_DFL, b"ok")
    daemon.destroy(device.id)


def test_time_runs_out() -> None:
    with Daemon(timeout_ms=200) as daemon:
        add(daemon, attribute("value"), class_id=make(daemon))
        client = Client(read)
        daemon.get(uapi.ATTR_SHOW)
        refused(errno.ETIMEDOUT, client.result)


@pytest.mark.parametrize("state", ["queued", "taken", "parked"])
@pytest.mark.parametrize("what", ["device", "attribute", "session"])
def test_it_goes_while_somebody_reads(state: str, what: str) -> None:
    """Nobody waits for a reader that waits for the daemon."""
    with Daemon() as daemon:
        device = add(daemon, attribute("value", 5), class_id=make(daemon)).id
        client = Client(read)
        client.asleep()
        if state != "queued":
            request = daemon.get(uapi.ATTR_SHOW)
            if state == "parked":
                daemon.reply(request, kind=uapi.REPLY_WAIT)
        else:
            time.sleep(0.2)
        began = time.monotonic()
        if what == "device":
            daemon.destroy(device)
        elif what == "attribute":
            change(daemon, device, uapi.ATTR_REMOVE, attribute("value", 5))
            assert not (AT / "value").exists() and (AT / "uevent").exists()
        else:
            daemon.close()
        assert time.monotonic() - began < 20, "it did not wait for the time limit"
        refused(errno.EIO if what == "session" else errno.ENODEV, client.result)
    assert not CLASS.exists()


def test_the_daemon_can_not_read_its_own(daemon: Daemon) -> None:
    add(daemon, attribute("value"), class_id=make(daemon))
    refused(errno.EDEADLK, read)


# ---- names


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "a!b", "a b", "a\nb", "\x7f", "\xff", "x" * 64]
)
def test_names_that_are_none(daemon: Daemon, name: str) -> None:
    data = name.encode("latin-1")
    kinds = (uapi.OBJECT_CLASS, uapi.OBJECT_BUS, uapi.OBJECT_DRIVER)
    for kind in kinds:
        made = uapi.Object(kind=kind, name=data[:64])
        refused(errno.EINVAL, lambda made=made: uapi.ioctl(daemon.fd, uapi.IOC_OBJECT, made))
    number = make(daemon)
    for field in ("name", "group"):
        attr = attribute("value")
        setattr(attr, field, data[:64])
        if field == "name" or name:
            refused(errno.EINVAL, lambda attr=attr: add(daemon, attr, class_id=number))
    if name not in ("a!b", "x" * 64):
        model = uapi.Model(class_id=number, name=data)
        at = ctypes.addressof(model)
        refused(errno.EINVAL, lambda: daemon.create(NAME, model=at))
    assert os.listdir(CLASS) == []


def test_names_in_use(daemon: Daemon) -> None:
    """The kernel's own can't be had, and it has nothing to complain of (see the fixture)."""
    for kind, where in (uapi.OBJECT_CLASS, "/sys/class"), (uapi.OBJECT_BUS, "/sys/bus"):
        names = set(os.listdir(where)) - {"misc"}  # which others may join
        assert names
        for name in names:
            refused(errno.EEXIST, lambda kind=kind, name=name: make(daemon, kind, name))
    number = make(daemon)
    for name in ("dev", "uevent", "power", "subsystem", "device", "driver"):
        refused(errno.EEXIST, lambda name=name: add(daemon, attribute(name), class_id=number))
    refused(errno.EEXIST, lambda: add(daemon, attribute("a"), attribute("a", 2), class_id=number))
    group = attribute("x", group="a")
    refused(errno.EEXIST, lambda: add(daemon, attribute("a"), group, class_id=number))
    parent = add(daemon, attribute("value"), attribute("in", 2, group="group"), class_id=number)
    for name in ("value", "group", "power"):
        refused(
            errno.EEXIST,
            lambda name=name: add(
                daemon, class_id=number, parent=parent.id, name=name, node=name + "-x"
            ),
        )  # fmt: skip
    refused(errno.EEXIST, lambda: add(daemon, class_id=number, node="other"))
    refused(errno.EEXIST, lambda: add(daemon, class_id=number, name="other", node="null"))
    refused(errno.EEXIST, lambda: add(daemon, name="virtual", node=None))
    refused(
        errno.EEXIST,
        lambda: change(daemon, parent.id, uapi.ATTR_ADD, attribute("group", 9)),
    )
    assert sorted(path.name for path in CLASS.iterdir()) == [NAME]


@pytest.mark.parametrize(
    "variable",
    [b"DEVNAME=x", b"SUBSYSTEM=x", b"MAJOR=1", b"REMOVE_CMD=x", b"ACTION=add", b"SEQNUM=1",
     b"noequals", b"=x", b"A=x\ny", b"A B=x", b"A-B=1", b""],
)  # fmt: skip
def test_variables_that_are_the_kernels_or_none(daemon: Daemon, variable: bytes) -> None:
    number = make(daemon)
    refused(errno.EINVAL, lambda: add(daemon, class_id=number, env=[b"A=1", variable]))
    device = add(daemon, class_id=number, env=[b"A=1"]).id
    if variable:
        refused(errno.EINVAL, lambda: tell(daemon, device, 2, variable + b"\0"))
        refused(errno.EINVAL, lambda: tell(daemon, device, 2, b"", variable + b"\0"))
    refused(errno.EINVAL, lambda: tell(daemon, device, 2, b"A=1"))
    refused(errno.EINVAL, lambda: tell(daemon, device, 8))


def test_no_flood(daemon: Daemon) -> None:
    """A user has no more devices and classes than the parameter says, in all sessions."""
    limit = Path("/sys/module/mapdev/parameters/max_devices")
    before = limit.read_text()
    limit.write_text("3")
    try:
        with Daemon() as other:
            number = make(daemon)
            make(other)
            device = add(daemon, class_id=number).id
            refused(errno.EDQUOT, lambda: add(other, node=None, name="more"))
            refused(errno.EDQUOT, lambda: make(other, name="mapdev_more"))
            daemon.destroy(device)
            add(other, node=None, name="mapdev_more")
    finally:
        limit.write_text(before)
    many = [attribute(f"a{number}", number) for number in range(uapi.ATTRS_MAX + 1)]
    refused(errno.EINVAL, lambda: add(daemon, *many, class_id=number))
    device = add(daemon, *many[:-1], class_id=number).id
    refused(errno.ENOSPC, lambda: change(daemon, device, uapi.ATTR_ADD, many[-1]))
    change(daemon, device, uapi.ATTR_REMOVE, many[0])


# ---- what belongs to what


def test_a_class_is_shared(daemon: Daemon) -> None:
    with Daemon() as other:
        mine, theirs = make(daemon), make(other)
        add(daemon, class_id=mine)
        refused(errno.ENOENT, lambda: add(other, class_id=theirs + 1, name="x", node="x"))
        add(other, class_id=theirs, name="second", node="mapdev-second")
        assert sorted(os.listdir(CLASS)) == [NAME, "second"]
        forget(daemon, mine)
        refused(errno.ENOENT, lambda: forget(daemon, mine))
    assert os.listdir(CLASS) == [NAME], "a device keeps it"
    daemon.close()
    assert not CLASS.exists()


def test_parents_and_buses(daemon: Daemon) -> None:
    number = make(daemon)
    bus = make(daemon, uapi.OBJECT_BUS, "mapdev_bus")
    driver = make(daemon, uapi.OBJECT_DRIVER, "mapdev_driver", bus=bus)
    refused(errno.ENOENT, lambda: make(daemon, uapi.OBJECT_DRIVER, "x", bus=number))
    root = add(daemon, name="mapdev_root", node=None).id
    on_bus = add(daemon, name="first", node=None, parent=root, bus=bus, driver=driver).id
    child = add(daemon, class_id=number, parent=on_bus).id
    place = Path("/sys/devices/mapdev_root/first")
    assert AT.resolve() == place / CLASS.name / NAME
    assert (AT / "device").resolve() == place
    assert Path("/sys/bus/mapdev_bus/devices/first").resolve() == place
    assert (place / "driver").resolve() == Path("/sys/bus/mapdev_bus/drivers/mapdev_driver")
    for device in (root, on_bus):
        refused(errno.EBUSY, lambda device=device: daemon.destroy(device))
    refused(errno.EINVAL, lambda: add(daemon, class_id=number, bus=bus, name="x", node="x"))
    refused(errno.ENOENT, lambda: add(daemon, parent=99, name="x", node=None))
    daemon.destroy(child)
    daemon.destroy(on_bus)
    forget(daemon, bus)
    assert Path("/sys/bus/mapdev_bus").exists(), "its driver keeps it"
    forget(daemon, driver)
    assert not Path("/sys/bus/mapdev_bus").exists()
    # What is left goes with the session, children first.
    add(daemon, class_id=number, parent=root)
    daemon.close()
    assert not Path("/sys/devices/mapdev_root").exists() and not CLASS.exists()


@pytest.mark.parametrize("name", ["mapdev.3", "mapdev.03", "mapdev", ".5", "mapdev.x", "m.1.2"])
def test_platform_devices(daemon: Daemon, name: str) -> None:
    driver = make(daemon, uapi.OBJECT_DRIVER, "mapdev_driver")
    fields = {"node": None, "flags": uapi.MODEL_PLATFORM, "driver": driver, "name": name}
    parent = add(daemon, attribute("value"), **fields).id
    place = Path("/sys/devices/platform") / name
    assert (place / "driver").resolve() == Path("/sys/bus/platform/drivers/mapdev_driver")
    alias = name.rpartition(".")[0] if name in ("mapdev.3", "m.1.2") else name
    assert f"MODALIAS=platform:{alias}\n" in (place / "uevent").read_text()
    refused(errno.EEXIST, lambda: add(daemon, **fields))
    refused(errno.EINVAL, lambda: add(daemon, **{**fields, "driver": 0, "name": "other"}))
    add(daemon, class_id=make(daemon), parent=parent)
    assert AT.resolve() == place / CLASS.name / NAME
    read_it = daemon.run(
        {uapi.ATTR_SHOW: lambda request: answer(request, 1, b"x")}, lambda: read(place / "value")
    )
    assert read_it == b"x"


def test_uevents(daemon: Daemon) -> None:
    """As the kernel tells them: what the daemon says is behind what the kernel says itself."""
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
    events.bind((0, 1))
    events.settimeout(20)

    def next_event() -> list[str]:
        while True:
            lines = events.recv(8192).decode().rstrip("\0").split("\0")
            if "mapdev_test/mapdev-test" in lines[0]:
                return [line for line in lines if not line.startswith("SEQNUM")]

    number = make(daemon)
    made = add(daemon, class_id=number, env=[b"COLOUR=red"], type=b"toy")
    first = next_event()
    path = f"/devices/virtual/{CLASS.name}/{NAME}"
    assert first == [
        f"add@{path}", "ACTION=add", f"DEVPATH={path}", f"SUBSYSTEM={CLASS.name}",
        f"MAJOR={made.major}", f"MINOR={made.minor}", f"DEVNAME={NAME}", "DEVMODE=0600",
        "DEVTYPE=toy", "COLOUR=red",
    ]  # fmt: skip
    tell(daemon, made.id, 2, b"COLOUR=blue\0", b"WHY=paint\0")
    second = next_event()
    assert second[0] == f"change@{path}" and "WHY=paint" in second and "COLOUR=blue" in second
    assert "COLOUR=blue\n" in (AT / "uevent").read_text()
    daemon.destroy(made.id)
    third = next_event()
    assert third[0] == f"remove@{path}" and third[-1] == "COLOUR=blue"
    refused(errno.ENOENT, lambda: tell(daemon, made.id, 2))
    events.close()


def test_poll_of_an_attribute(daemon: Daemon) -> None:
    import select

    device = add(daemon, attribute("value", 5), class_id=make(daemon)).id
    ready, say = os.pipe()

    def client() -> list[bool]:
        fd = os.open(AT / "value", os.O_RDONLY)
        os.read(fd, 10)
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        found = [bool(poller.poll(0))]
        os.write(say, b"x")
        found.append(bool(poller.poll(20000)))
        return found

    process = Client(client)
    daemon.reply(daemon.get(uapi.ATTR_SHOW), 1, b"1")
    os.read(ready, 1)
    change(daemon, device, uapi.ATTR_NOTIFY, uapi.Attribute(tag=5))
    assert process.result() == [False, True]
    refused(errno.ENOENT, lambda: change(daemon, device, uapi.ATTR_NOTIFY, uapi.Attribute(tag=6)))


def test_attributes_that_come_later(daemon: Daemon) -> None:
    device = add(daemon, attribute("value"), class_id=make(daemon)).id
    for _ in range(3):
        later = attribute("later", 2, 0o444, uapi.ATTR_READ)
        change(daemon, device, uapi.ATTR_ADD, later)
        refused(errno.EEXIST, lambda: change(daemon, device, uapi.ATTR_ADD, attribute("later", 3)))
        shown = daemon.run(
            {uapi.ATTR_SHOW: lambda request: answer(request, 1, bytes([request.arg[0] + 48]))},
            lambda: read(AT / "later"),
        )
        assert shown == b"2"
        change(daemon, device, uapi.ATTR_REMOVE, later)
        assert not (AT / "later").exists()
    refused(
        errno.EOPNOTSUPP,
        lambda: change(daemon, device, uapi.ATTR_ADD, attribute("x", group="group")),
    )
    refused(errno.EINVAL, lambda: change(daemon, device, 3, attribute("value", 1)))
