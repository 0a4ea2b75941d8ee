"""`video_register_device`: further nodes of a driver, which it makes itself.

The node at which the host has put a driver needs no registration. What is registered here has a
number of major 81, a device in ``/sys`` and a node ``/dev/videoN``, until it is unregistered.

Source: drivers/media/v4l2-core/v4l2-dev.c
"""

from __future__ import annotations

import errno
from typing import Any

from mapdev.linux import (
    MINOR,
    MKDEV,
    Cdev,
    Device,
    cdev_add,
    cdev_del,
    class_create,
    device_add,
    device_del,
    register_chrdev_region,
    unregister_chrdev_region,
    wake_up_all,
)
from mapdev.linux.context import context
from mapdev.linux.device_class import DeviceType
from mapdev.linux.kobject import device_tree
from mapdev.subsystems.v4l2.dev import V4l2Driver, VideoDevice
from mapdev.subsystems.v4l2.macros import VFL_TYPE_VIDEO, VIDEO_MAJOR

__all__ = ["video_register_device", "video_unregister_device"]

_MINORS = 256


class _Node(V4l2Driver):
    """Serves a node that a driver has registered."""

    name = "v4l2"


def _numbers() -> tuple[set[int], set[str]]:
    """Return the minor numbers and the names that are taken."""
    tree = device_tree()
    minors = {
        minor + offset for major, minor, count, _ in tree.chrdevs if major == VIDEO_MAJOR
        for offset in range(count)
    }  # fmt: skip
    cls = tree.classes.get("video4linux")
    names = set(cls.kobj.sd.children) if cls is not None and cls.kobj is not None else set()
    own = getattr(context().owner, "_node", None)  # which the host registers after probe
    if own is not None:
        minors.add(MINOR(own.inode.i_rdev))
        names.add(own.node.rpartition("/")[2])
    return minors, names


def video_register_device(
    vdev: VideoDevice, type_: int = VFL_TYPE_VIDEO, nr: int = -1, mode: int = 0o666
) -> int:
    """Make a node for a device: ``/dev/videoN``.

    :param nr: the number that it should have; the next free one from there on is taken
    :param mode: of the node
    :return: 0
    :raises OSError: ENFILE, no number is left

    Source: drivers/media/v4l2-core/v4l2-dev.c
    """
    minors, names = _numbers()
    free = [number for number in range(_MINORS) if number not in minors]
    numbers = [number for number in range(_MINORS) if f"video{number}" not in names]
    later = [number for number in numbers if number >= max(nr, 0)]
    if not free or not numbers:
        raise OSError(errno.ENFILE, "no number is left for a video device")
    node = _Node()
    node.vdev = vdev
    tree = device_tree()
    cls: Any = tree.classes.get("video4linux") or class_create("video4linux")
    name = f"video{(later or numbers)[0]}"
    dev = Device(
        name, class_=cls, devt=MKDEV(VIDEO_MAJOR, free[0]), driver_data=vdev,
        groups=[group.bind(node) for group in _Node.dev_groups],
        type=DeviceType(devnode=lambda _: (name, mode)),
    )  # fmt: skip
    dev.properties = vdev.properties()
    dev.tags = _Node.dev_tags
    cdev = Cdev(node)
    register_chrdev_region(dev.devt, 1, "video4linux")
    cdev_add(cdev, dev.devt, 1)
    try:
        device_add(dev)
    except OSError:
        cdev_del(cdev)
        unregister_chrdev_region(dev.devt, 1)
        raise
    vdev.minor, vdev.dev, vdev.cdev, vdev.is_registered = free[0], dev, cdev, True
    return 0


def video_unregister_device(vdev: VideoDevice) -> None:
    """Take a node away: what is done with its open files fails (ENODEV), and poll has hung up.

    Source: drivers/media/v4l2-core/v4l2-dev.c
    Fidelity: of the node at which the host has put the driver, the name stays until the host
    removes it.
    """
    if vdev.is_gone:
        return
    vdev.is_gone = True
    if vdev.is_registered and vdev.dev is not None:
        vdev.is_registered = False
        device_del(vdev.dev)
        if vdev.cdev is not None:
            cdev_del(vdev.cdev)
            unregister_chrdev_region(vdev.dev.devt, 1)
    for fh in list(vdev.fh_list):
        wake_up_all(fh.wait)
    if vdev.release is not None:
        vdev.release(vdev)
