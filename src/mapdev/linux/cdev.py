"""Device numbers: register_chrdev_region, cdev_add, misc_register and what belongs to them.

A number is `MKDEV` of major and minor. Regions of them are named, as /proc/devices shows; a `Cdev`
says which driver serves a range; `device` makes the node. The state is the machine's, and changed
under the host's lock.

Source: fs/char_dev.c, drivers/char/misc.c
"""

import errno
from typing import Any

from mapdev.linux.fs import MAJOR, MINOR, MKDEV
from mapdev.linux.kobject import DeviceTree, device_tree

__all__ = [
    "MISC_DYNAMIC_MINOR", "MISC_MAJOR", "Cdev", "alloc_chrdev_region", "cdev_add", "cdev_alloc",
    "cdev_del", "cdev_init", "kobj_lookup", "register_chrdev", "register_chrdev_region",
    "unregister_chrdev", "unregister_chrdev_region",
]  # fmt: skip

MISC_MAJOR = 10
MISC_DYNAMIC_MINOR = 255
_MAJOR_MAX = 512  # CHRDEV_MAJOR_MAX: the first that is no major
_DYN_END = 234  # majors from 254 down to this one are given first
_DYN_EXT_START, _DYN_EXT_END = 511, 384
_MINORS = 1 << 20


class Cdev:
    """A driver that serves device numbers: ``struct cdev``.

    :ivar ops: the driver
    :ivar dev: the first number, 0 before `cdev_add`
    :ivar count: how many

    Source: include/linux/cdev.h
    """

    __slots__ = ("count", "dev", "ops")

    def __init__(self, ops: Any = None) -> None:
        """Describe one that has no numbers yet."""
        self.ops = ops
        self.dev = 0
        self.count = 0


def _dynamic_major(tree: DeviceTree) -> int:
    used = {major for major, _, _, _ in tree.chrdevs} | tree.taken()[0]
    major: int
    for major in (*range(254, _DYN_END - 1, -1), *range(_DYN_EXT_START, _DYN_EXT_END - 1, -1)):
        if major not in used:
            return major
    raise OSError(errno.EBUSY, "no major number is left")


def _register(major: int, baseminor: int, count: int, name: str) -> int:
    """Reserve numbers; gives the major.

    Source: fs/char_dev.c (__register_chrdev_region)
    """
    tree = device_tree()
    if not major:
        major = _dynamic_major(tree)
    if major >= _MAJOR_MAX or count > _MINORS - baseminor or count < 1:
        raise OSError(errno.EINVAL, f"{major}:{baseminor} and {count} more are no device numbers")
    for at, first, many, other in tree.chrdevs:
        if at == major and first < baseminor + count and baseminor < first + many:
            raise OSError(errno.EBUSY, f"{major}:{baseminor} is {other}'s")
    tree.chrdevs.append((major, baseminor, count, name[:63]))
    return major


def register_chrdev_region(first: int, count: int, name: str) -> int:
    """Reserve device numbers.

    :param first: the first, as `MKDEV` makes it
    :param name: what /proc/devices shows
    :return: 0
    :raises OSError: EBUSY, one of them is taken; EINVAL, they are none

    Source: fs/char_dev.c
    Fidelity: a range that goes over the end of a major's minors is refused, not continued in the
    next.
    """
    _register(MAJOR(first), MINOR(first), count, name)
    return 0


def alloc_chrdev_region(baseminor: int, count: int, name: str) -> int:
    """Reserve device numbers of a major that nobody uses: 254 down to 234, then 511 to 384.

    :param baseminor: the first minor
    :return: the first number
    :raises OSError: EBUSY, none is left; EINVAL, too many

    Source: fs/char_dev.c (find_dynamic_major)
    Fidelity: returns the number, it is not given a pointer.
    """
    return MKDEV(_register(0, baseminor, count, name), baseminor)


def unregister_chrdev_region(first: int, count: int) -> None:
    """Give device numbers back.

    Source: fs/char_dev.c
    """
    tree = device_tree()
    major, minor = MAJOR(first), MINOR(first)
    tree.chrdevs = [region for region in tree.chrdevs if region[:3] != (major, minor, count)]


def cdev_init(cdev: Cdev, fops: Any) -> None:
    """Set up a `Cdev`.

    :param fops: the driver that serves its numbers

    Source: fs/char_dev.c
    """
    cdev.ops = fops
    cdev.dev = cdev.count = 0


def cdev_alloc() -> Cdev:
    """Make a `Cdev`, whose ``ops`` are to be set.

    Source: fs/char_dev.c
    """
    return Cdev()


def cdev_add(cdev: Cdev, dev: int, count: int) -> int:
    """Have a driver serve device numbers from now on.

    :param dev: the first
    :return: 0
    :raises OSError: EINVAL, it has no driver

    Source: fs/char_dev.c
    """
    if cdev.ops is None:
        raise OSError(errno.EINVAL, "the cdev has no driver: cdev_init comes first")
    cdev.dev, cdev.count = dev, count
    device_tree().cdevs.append((dev, count, cdev))
    return 0


def cdev_del(cdev: Cdev) -> None:
    """Have nobody serve its numbers any more; files that are open stay as they are.

    Source: fs/char_dev.c
    """
    tree = device_tree()
    tree.cdevs = [entry for entry in tree.cdevs if entry[2] is not cdev]


def register_chrdev(major: int, name: str, fops: Any) -> int:
    """Reserve 256 numbers of a major, and have a driver serve them.

    :param major: 0 for any
    :return: the major that was chosen, 0 if it was given
    :raises OSError: EBUSY, it is taken; EINVAL, it is none

    Source: fs/char_dev.c (__register_chrdev)
    """
    got = _register(major, 0, 256, name)
    cdev_add(Cdev(fops), MKDEV(got, 0), 256)
    return 0 if major else got


def unregister_chrdev(major: int, name: str) -> None:
    """Undo `register_chrdev`.

    Source: fs/char_dev.c
    """
    tree = device_tree()
    tree.cdevs = [entry for entry in tree.cdevs if entry[:2] != (MKDEV(major, 0), 256)]
    unregister_chrdev_region(MKDEV(major, 0), 256)


def kobj_lookup(tree: DeviceTree, dev: int) -> Any:
    """Give the driver that serves a device number, None if nobody does: opening it is ENXIO.

    Source: drivers/base/map.c
    Fidelity: gives the driver, not the kobject in its ``cdev``.
    """
    for first, count, cdev in reversed(tree.cdevs):
        if first <= dev < first + count:
            return cdev.ops
    return None
