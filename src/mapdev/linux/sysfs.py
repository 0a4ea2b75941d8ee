"""Attributes of kobjects: DEVICE_ATTR_RO and relatives, groups, binary attributes, links.

An attribute is a file in the directory of a kobject. Reading it calls ``show``, which returns the
text; writing it calls ``store`` with what was written. Who serves such a file to programs is the
host (`mapdev.host.core.sysfs`); here is only which files there are.

Source: include/linux/sysfs.h, fs/sysfs/file.c, fs/sysfs/group.c, fs/sysfs/symlink.c
"""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

import errno
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mapdev.linux.kernfs import KernfsNode
from mapdev.linux.kobject import Kobject
from mapdev.linux.numbers import PAGE_SIZE
from mapdev.linux.wait import WaitQueueHead

__all__ = [
    "BIN_ATTR", "BUS_ATTR_RO", "BUS_ATTR_RW", "BUS_ATTR_WO", "CLASS_ATTR_RO", "CLASS_ATTR_RW",
    "CLASS_ATTR_WO", "DEVICE_ATTR", "DEVICE_ATTR_RO", "DEVICE_ATTR_RW", "DEVICE_ATTR_WO",
    "Attribute", "AttributeGroup", "AttributeNode", "BinAttribute", "sysfs_create_bin_file",
    "sysfs_create_file", "sysfs_create_files", "sysfs_create_group", "sysfs_create_groups",
    "sysfs_create_link", "sysfs_emit", "sysfs_emit_at", "sysfs_notify", "sysfs_remove_bin_file",
    "sysfs_remove_file", "sysfs_remove_files", "sysfs_remove_group", "sysfs_remove_groups",
    "sysfs_remove_link", "sysfs_streq",
]  # fmt: skip

Show = Callable[..., str | bytes]
Store = Callable[..., int | None]


_CO_COROUTINE = 0x80


def _check_not_async(name: str, **functions: Any) -> None:
    for what, function in functions.items():
        flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
        if flags & _CO_COROUTINE:
            raise TypeError(
                f"the attribute {name}: {what} can't be async: an attribute waits by "
                "wait_event_interruptible only"
            )


class Attribute:
    """A text file of a kobject: ``struct device_attribute`` and relatives.

    ``show(of, attr)`` returns the text, ``store(of, attr, buf)`` takes the bytes that were written
    and returns how many it took, None for all. ``of`` is the device, class or bus. One that is
    declared by its name alone, in a driver's ``dev_groups``, has the driver's methods
    ``NAME_show(dev, attr)`` and ``NAME_store(dev, attr, buf)``.

    Source: include/linux/device.h
    Fidelity: ``show`` returns the text, it is not given a buffer.
    """

    __slots__ = ("mode", "name", "show", "store")

    def __init__(
        self, name: str, mode: int, show: Show | None = None, store: Store | None = None
    ) -> None:
        """Describe a file.

        :param mode: its permissions
        """
        _check_not_async(name, show=show, store=store)
        self.name = name
        self.mode = mode
        self.show = show
        self.store = store

    def bind(self, driver: Any) -> "Attribute":
        """Give the attribute with the methods of a driver where it has no functions yet."""
        show = self.show or getattr(driver, f"{self.name}_show", None)
        store = self.store or getattr(driver, f"{self.name}_store", None)
        return Attribute(self.name, self.mode, show, store)

    def __repr__(self) -> str:
        """Show name and mode."""
        return f"<{type(self).__name__} {self.name} {self.mode:o}>"


class BinAttribute:
    """A file of bytes: ``struct bin_attribute``.

    ``read(of, attr, pos, count)`` returns bytes, ``write(of, attr, data, pos)`` takes some,
    ``mmap(of, attr, file, vma)`` maps memory as a driver's mmap does. ``of`` is the device.

    :ivar size: of the file in bytes; 0 if it has no end

    Source: include/linux/sysfs.h
    """

    __slots__ = ("mmap", "mode", "name", "read", "size", "write")

    def __init__(
        self,
        name: str,
        mode: int,
        size: int = 0,
        read: Callable[..., Any] | None = None,
        write: Callable[..., int | None] | None = None,
        mmap: Callable[..., None] | None = None,
    ) -> None:
        """Describe a file.

        :param mode: its permissions
        """
        _check_not_async(name, read=read, write=write, mmap=mmap)
        self.name = name
        self.mode = mode
        self.size = size
        self.read = read
        self.write = write
        self.mmap = mmap

    def bind(self, driver: Any) -> "BinAttribute":
        """Give the attribute with the methods of a driver where it has no functions yet."""

        def method(kind: str, own: Any) -> Any:
            return own or getattr(driver, f"{self.name}_{kind}", None)

        return BinAttribute(
            self.name, self.mode, self.size, method("read", self.read),
            method("write", self.write), method("mmap", self.mmap),
        )  # fmt: skip

    def __repr__(self) -> str:
        """Show name and size."""
        return f"<BinAttribute {self.name} {self.size}>"


AnyAttribute = Attribute | BinAttribute


class AttributeGroup:
    """Attributes that come together, in a directory if they have a name: ``attribute_group``.

    :param attrs: the attributes
    :param name: of their directory; None for that of the kobject
    :param is_visible: called as ``is_visible(of, attr, index)``; returns the mode, 0 for no file

    Source: include/linux/sysfs.h
    """

    __slots__ = ("attrs", "is_visible", "name")

    def __init__(
        self,
        attrs: Sequence[AnyAttribute],
        name: str | None = None,
        is_visible: Callable[[Any, AnyAttribute, int], int] | None = None,
    ) -> None:
        """Describe a group."""
        self.attrs = attrs
        self.name = name
        self.is_visible = is_visible

    def bind(self, driver: Any) -> "AttributeGroup":
        """Give the group with the methods of a driver where attributes have no functions yet."""
        return AttributeGroup([a.bind(driver) for a in self.attrs], self.name, self.is_visible)


Group = AttributeGroup | AnyAttribute


class AttributeNode:
    """What is behind the file of one attribute: whose it is, and who polls it.

    :ivar event: grows with each `sysfs_notify`, from 1 on

    Source: fs/kernfs/file.c (struct kernfs_open_node)
    """

    __slots__ = ("attr", "event", "kobj", "queue")

    def __init__(self, kobj: Kobject, attr: AnyAttribute) -> None:
        """Describe the attribute of one kobject."""
        self.kobj = kobj
        self.attr = attr
        self.event = 1
        self.queue = WaitQueueHead()


def DEVICE_ATTR(
    name: str, mode: int, show: Show | None = None, store: Store | None = None
) -> Attribute:
    """Describe an attribute of a device.

    :param mode: its permissions, 0 to 0o664: not writable by all
    :raises ValueError: EINVAL, the mode is none that the kernel compiles

    Source: include/linux/device.h, include/linux/kernel.h (VERIFY_OCTAL_PERMISSIONS)
    """
    if not 0 <= mode <= 0o777 or mode & 0o2:
        raise ValueError(f"{mode:#o} is no mode for an attribute: nobody else may write it")
    return Attribute(name, mode, show, store)


def DEVICE_ATTR_RO(name: str, show: Show | None = None) -> Attribute:
    """Describe an attribute that can be read (0444).

    Source: include/linux/device.h
    """
    return Attribute(name, 0o444, show)


def DEVICE_ATTR_RW(name: str, show: Show | None = None, store: Store | None = None) -> Attribute:
    """Describe an attribute that can be read, and written by its owner (0644).

    Source: include/linux/device.h
    """
    return Attribute(name, 0o644, show, store)


def DEVICE_ATTR_WO(name: str, store: Store | None = None) -> Attribute:
    """Describe an attribute that can be written by its owner (0200).

    Source: include/linux/device.h
    """
    return Attribute(name, 0o200, None, store)


CLASS_ATTR_RO = BUS_ATTR_RO = DEVICE_ATTR_RO
CLASS_ATTR_RW = BUS_ATTR_RW = DEVICE_ATTR_RW
CLASS_ATTR_WO = BUS_ATTR_WO = DEVICE_ATTR_WO


def BIN_ATTR(
    name: str,
    mode: int,
    read: Callable[..., Any] | None = None,
    write: Callable[..., int | None] | None = None,
    size: int = 0,
    mmap: Callable[..., None] | None = None,
) -> BinAttribute:
    """Describe a file of bytes; see `BinAttribute`.

    Source: include/linux/sysfs.h
    """
    return BinAttribute(name, mode, size, read, write, mmap)


def _create(kobj: Kobject, directory: KernfsNode, attr: AnyAttribute, mode: int) -> None:
    if isinstance(attr, Attribute):
        needed = bool(mode & 0o444) and attr.show is None, bool(mode & 0o222) and attr.store is None
        for is_missing, kind in zip(needed, ("show", "store"), strict=True):
            if is_missing:
                raise OSError(errno.EINVAL, f"the attribute {attr.name} has no {kind} function")
        size = PAGE_SIZE
    else:
        size = attr.size
    assert directory.root is not None
    node = KernfsNode(attr.name, stat.S_IFREG | mode, size=size, priv=AttributeNode(kobj, attr))
    directory.root.add(directory, node)


def sysfs_create_file(kobj: Kobject, attr: Attribute) -> int:
    """Make the file of an attribute.

    :return: 0
    :raises OSError: EEXIST, there is one of that name; EINVAL, its mode asks for a function that it
        does not have

    Source: fs/sysfs/file.c
    Fidelity: a missing function is EINVAL here, in the kernel EIO when the file is used.
    """
    _create(kobj, kobj.sd, attr, attr.mode)
    return 0


def sysfs_create_files(kobj: Kobject, attrs: Iterable[Attribute]) -> int:
    """Make the files of several attributes, or of none if one fails.

    :return: 0
    :raises OSError: as for `sysfs_create_file`

    Source: fs/sysfs/file.c
    """
    sysfs_create_group(kobj, AttributeGroup(list(attrs)))
    return 0


def sysfs_create_bin_file(kobj: Kobject, attr: BinAttribute) -> int:
    """Make the file of a binary attribute.

    :return: 0
    :raises OSError: EEXIST, there is one of that name

    Source: fs/sysfs/file.c
    """
    _create(kobj, kobj.sd, attr, attr.mode)
    return 0


def _remove(directory: KernfsNode, name: str) -> None:
    node = directory.children.get(name)
    if node is not None and directory.root is not None:
        directory.root.remove(node)
        if isinstance(node.priv, AttributeNode):
            node.priv.event += 1
            node.priv.queue.wake()


def sysfs_remove_file(kobj: Kobject, attr: AnyAttribute) -> None:
    """Remove the file of an attribute; those who have it open get ENODEV.

    Source: fs/sysfs/file.c
    """
    _remove(kobj.sd, attr.name)


def sysfs_remove_files(kobj: Kobject, attrs: Iterable[AnyAttribute]) -> None:
    """Remove the files of several attributes.

    Source: fs/sysfs/file.c
    """
    for attr in attrs:
        _remove(kobj.sd, attr.name)


def sysfs_remove_bin_file(kobj: Kobject, attr: BinAttribute) -> None:
    """Remove the file of a binary attribute.

    Source: fs/sysfs/file.c
    """
    _remove(kobj.sd, attr.name)


def sysfs_create_group(kobj: Kobject, group: Group) -> int:
    """Make the files of a group, or none if one fails.

    :param group: a group; or one attribute, which is a group of its own
    :return: 0
    :raises OSError: EEXIST, a file or the directory is there; EINVAL, as for `sysfs_create_file`

    Source: fs/sysfs/group.c
    """
    if not isinstance(group, AttributeGroup):
        group = AttributeGroup([group])
    directory = kobj.sd
    assert directory.root is not None
    if group.name:
        new = KernfsNode(group.name, stat.S_IFDIR | 0o755)
        directory = directory.root.add(directory, new)
    made: list[str] = []
    try:
        for index, attr in enumerate(group.attrs):
            mode = attr.mode
            if group.is_visible is not None:
                mode = group.is_visible(kobj.of, attr, index)
                if not mode:
                    continue
            _create(kobj, directory, attr, mode & 0o777)
            made.append(attr.name)
    except BaseException:
        for name in made:
            _remove(directory, name)
        if group.name:
            _remove(kobj.sd, group.name)
        raise
    return 0


def sysfs_create_groups(kobj: Kobject, groups: Iterable[Group]) -> int:
    """Make the files of several groups, or none if one fails.

    :return: 0
    :raises OSError: as for `sysfs_create_group`

    Source: fs/sysfs/group.c
    """
    made: list[Group] = []
    try:
        for group in groups:
            sysfs_create_group(kobj, group)
            made.append(group)
    except BaseException:
        sysfs_remove_groups(kobj, made)
        raise
    return 0


def sysfs_remove_group(kobj: Kobject, group: Group) -> None:
    """Remove the files of a group.

    Source: fs/sysfs/group.c
    """
    if isinstance(group, AttributeGroup) and not group.name:
        for attr in group.attrs:
            _remove(kobj.sd, attr.name)
    else:
        _remove(kobj.sd, group.name or "")


def sysfs_remove_groups(kobj: Kobject, groups: Iterable[Group]) -> None:
    """Remove the files of several groups.

    Source: fs/sysfs/group.c
    """
    for group in groups:
        sysfs_remove_group(kobj, group)


def sysfs_create_link(kobj: Kobject, target: Kobject, name: str) -> int:
    """Make a symbolic link from one kobject's directory to another's.

    :return: 0
    :raises OSError: EEXIST, the name is taken; ENOENT, the target is not there

    Source: fs/sysfs/symlink.c
    """
    if not target.sd.is_active:
        raise OSError(errno.ENOENT, f"{target.name}, the target of the link {name}, is not there")
    assert kobj.sd.root is not None
    kobj.sd.root.add(kobj.sd, KernfsNode(name, stat.S_IFLNK | 0o777, target=target.sd))
    return 0


def sysfs_remove_link(kobj: Kobject, name: str) -> None:
    """Remove a symbolic link.

    Source: fs/sysfs/symlink.c
    """
    _remove(kobj.sd, name)


def sysfs_notify(kobj: Kobject, directory: str | None, attr: str) -> None:
    """Wake those who poll an attribute (EPOLLPRI, EPOLLERR), from any thread.

    :param directory: of the group that the attribute is in; None for none
    :param attr: its name; nothing happens if there is none of that name

    Source: fs/sysfs/file.c
    """
    at = kobj.sd.children.get(directory) if directory else kobj.sd
    node = at.children.get(attr) if at is not None else None
    if node is not None and isinstance(node.priv, AttributeNode):
        node.priv.event += 1
        node.priv.queue.wake()
        for notified in node.root.notified if node.root is not None else ():
            notified(node)


def sysfs_emit(text: str, *args: object) -> str:
    """Make the text that ``show`` returns, at most a page.

    :param text: a format as for ``%``, if there are arguments
    :return: the text, cut to PAGE_SIZE - 1 bytes

    Source: fs/sysfs/file.c
    """
    made = text % args if args else text
    return made.encode()[: PAGE_SIZE - 1].decode(errors="ignore")


def sysfs_emit_at(so_far: str, text: str, *args: object) -> str:
    """Add to a text that ``show`` will return, which may get as long as a page.

    :return: the whole text, cut to PAGE_SIZE - 1 bytes

    Source: fs/sysfs/file.c
    Fidelity: takes and returns the text; in the kernel a buffer and an offset.
    """
    return sysfs_emit("%s", so_far + (text % args if args else text))


def sysfs_streq(one: str | bytes, other: str | bytes) -> bool:
    """Say whether two strings are the same, but for a newline at the end.

    Source: lib/string_helpers.c
    """

    def plain(text: str | bytes) -> bytes:
        return (text.encode() if isinstance(text, str) else text).partition(b"\0")[0]

    one, other = plain(one), plain(other)
    return one == other or one == other + b"\n" or one + b"\n" == other
