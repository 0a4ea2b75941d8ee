"""`VideoDevice`: a node of V4L2 and the operations behind it; `V4l2Driver`, which serves one.

A driver makes a `VideoDevice` in `V4l2Driver.probe` and leaves it in ``self.vdev``: the node at
which the host has put the driver is its own. Further nodes are made by `video_register_device`.
File operations of the node first see whether the device is still registered.

Objects: a `VideoDevice` belongs to its driver. ``fh_list`` holds a `V4l2Fh` for each open file.

Source: drivers/media/v4l2-core/v4l2-dev.c, include/media/v4l2-dev.h
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from mapdev.driver import DEFAULT_POLLMASK, Driver
from mapdev.linux import (
    DEVICE_ATTR_RO,
    DEVICE_ATTR_RW,
    EPOLLERR,
    EPOLLHUP,
    EPOLLPRI,
    File,
    Inode,
    VmAreaStruct,
    sysfs_emit,
)
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.macros import VFL_DIR_RX, VFL_TYPE_VIDEO, VIDEO_MAJOR
from mapdev.subsystems.v4l2.prio import V4l2PrioState

if TYPE_CHECKING:
    from mapdev.linux.cdev import Cdev
    from mapdev.linux.device import Device
    from mapdev.subsystems.v4l2.ctrl import V4l2CtrlHandler
    from mapdev.subsystems.v4l2.fh import V4l2Fh
    from mapdev.subsystems.v4l2.ops import V4l2IoctlOps
    from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue

__all__ = [
    "V4l2Device", "V4l2Driver", "V4l2FileOperations", "VideoDevice", "video_devdata",
    "video_device_node_name", "video_drvdata", "video_get_drvdata", "video_is_registered",
    "video_set_drvdata",
]  # fmt: skip

_CAPABILITIES = (  # of udev's v4l_id, in its order
    (c.V4L2_CAP_VIDEO_CAPTURE | c.V4L2_CAP_VIDEO_CAPTURE_MPLANE, "capture"),
    (c.V4L2_CAP_VIDEO_OUTPUT | c.V4L2_CAP_VIDEO_OUTPUT_MPLANE, "video_output"),
    (c.V4L2_CAP_VIDEO_OVERLAY, "video_overlay"),
    (c.V4L2_CAP_AUDIO, "audio"),
    (c.V4L2_CAP_TUNER, "tuner"),
    (c.V4L2_CAP_RADIO, "radio"),
)


class V4l2FileOperations:
    """The file operations of a node: ``struct v4l2_file_operations``.

    ``open(file)``, ``release(file)``, ``read(file, count, pos) -> bytes``,
    ``write(file, data, pos) -> int``, ``poll(file) -> mask``, ``mmap(file, vma)``,
    ``unlocked_ioctl(file, cmd, arg) -> int``; what is left out is None.

    Source: include/media/v4l2-dev.h
    Fidelity: reads return their bytes and writes get them, as a `mapdev.Driver` does.
    """

    __slots__ = ("mmap", "open", "poll", "read", "release", "unlocked_ioctl", "write")

    def __init__(
        self,
        *,
        open: Callable[[File], object] | None = None,
        release: Callable[[File], object] | None = None,
        read: Callable[[File, int, int], bytes | bytearray | memoryview] | None = None,
        write: Callable[[File, bytes, int], int | None] | None = None,
        poll: Callable[[File], int] | None = None,
        mmap: Callable[[File, VmAreaStruct], object] | None = None,
        unlocked_ioctl: Callable[[File, int, int], int | None] | None = None,
    ) -> None:
        """Take the operations by name."""
        self.open = open
        self.release = release
        self.read = read
        self.write = write
        self.poll = poll
        self.mmap = mmap
        self.unlocked_ioctl = unlocked_ioctl


class V4l2Device:
    """What several nodes of one piece of hardware have in common: ``struct v4l2_device``.

    :ivar name: what `v4l2_ctrl_log_status` and the log begin with.
    :ivar prio: who among all programs may change things.

    Source: include/media/v4l2-device.h
    """

    def __init__(self, name: str = "") -> None:
        """Describe one without nodes."""
        self.name = name
        self.prio = V4l2PrioState()
        self.ctrl_handler: V4l2CtrlHandler | None = None
        self.nodes = 0  # how many were made


class VideoDevice:
    """A node of V4L2: ``struct video_device``.

    :ivar device_caps: ``V4L2_CAP_*`` bits of this node.
    :ivar vfl_dir: ``VFL_DIR_RX`` for capture, ``VFL_DIR_TX`` for output, ``VFL_DIR_M2M`` for both.
    :ivar queue: the queue that `vb2_ioctl_reqbufs` and its relatives use.
    :ivar ctrl_handler: controls of all files that have none of their own.
    :ivar dev_debug: ``V4L2_DEV_DEBUG_*`` bits: what is logged.
    :ivar dev: the device in ``/sys``, while there is one.
    :ivar index: which of the nodes of its `V4l2Device` it is.

    Source: include/media/v4l2-dev.h
    """

    def __init__(
        self,
        name: str = "",
        *,
        fops: V4l2FileOperations,
        ioctl_ops: V4l2IoctlOps | None = None,
        device_caps: int = 0,
        vfl_dir: int = VFL_DIR_RX,
        vfl_type: int = VFL_TYPE_VIDEO,
        queue: Vb2Queue | None = None,
        ctrl_handler: V4l2CtrlHandler | None = None,
        v4l2_dev: V4l2Device | None = None,
        tvnorms: int = 0,
        drvdata: Any = None,
        release: Callable[[VideoDevice], object] | None = None,
    ) -> None:
        """Describe a node that is not registered yet."""
        self.name = name
        self.fops = fops
        self.ioctl_ops = ioctl_ops
        self.device_caps = device_caps
        self.vfl_dir = vfl_dir
        self.vfl_type = vfl_type
        self.queue = queue
        self.v4l2_dev = v4l2_dev if v4l2_dev is not None else V4l2Device(name)
        self.ctrl_handler = ctrl_handler or self.v4l2_dev.ctrl_handler
        self.prio = self.v4l2_dev.prio
        self.tvnorms = tvnorms
        self.drvdata = drvdata
        self.release = release
        self.index = self.v4l2_dev.nodes
        self.v4l2_dev.nodes += 1
        self.minor = -1
        self.dev_debug = 0
        self.dev: Device | None = None
        self.cdev: Cdev | None = None
        self.disabled_ioctls: set[int] = set()
        self.is_registered = False
        self.is_gone = False
        self.uses_fh = False
        self.fh_list: list[V4l2Fh] = []
        self.fh_lock = threading.Lock()

    def properties(self) -> dict[str, str]:
        """Give the udev properties that v4l_id would find out."""
        names = [name for bits, name in _CAPABILITIES if self.device_caps & bits]
        return {
            "ID_V4L_VERSION": "2",
            "ID_V4L_PRODUCT": self.name,
            "ID_V4L_CAPABILITIES": ":" + "".join(f"{name}:" for name in names),
        }

    def __repr__(self) -> str:
        """Show the name."""
        return f"<VideoDevice {self.name!r}>"


def video_devdata(file: File) -> VideoDevice:
    """Give the node that a file was opened from.

    Source: drivers/media/v4l2-core/v4l2-dev.c
    """
    vdev: VideoDevice = file.f_op.vdev
    return vdev


def video_set_drvdata(vdev: VideoDevice, data: Any) -> None:
    """Keep something of the driver's with a node.

    Source: include/media/v4l2-dev.h
    """
    vdev.drvdata = data


def video_get_drvdata(vdev: VideoDevice) -> Any:
    """Give what the driver has kept with a node.

    Source: include/media/v4l2-dev.h
    """
    return vdev.drvdata


def video_drvdata(file: File) -> Any:
    """Give what the driver has kept with the node that a file was opened from.

    Source: include/media/v4l2-dev.h
    """
    return video_devdata(file).drvdata


def video_is_registered(vdev: VideoDevice) -> bool:
    """Say whether programs can use a node.

    Source: include/media/v4l2-dev.h
    """
    return not vdev.is_gone


def video_device_node_name(vdev: VideoDevice) -> str:
    """Give the name of a node, such as ``video0``.

    Source: include/media/v4l2-dev.h
    """
    return vdev.dev.name if vdev.dev is not None else vdev.name


def _gone() -> OSError:
    return OSError(errno.ENODEV, os.strerror(errno.ENODEV))


class V4l2Driver(Driver):
    """A driver of a V4L2 device: its ``probe`` makes ``self.vdev``.

    The file operations of the node are those in ``vdev.fops``.

    Source: drivers/media/v4l2-core/v4l2-dev.c (v4l2_fops)
    """

    name = "v4l2"
    major = VIDEO_MAJOR
    dev_class = "video4linux"
    dev_groups = (DEVICE_ATTR_RO("name"), DEVICE_ATTR_RW("dev_debug"), DEVICE_ATTR_RO("index"))
    dev_tags: ClassVar[tuple[str, ...]] = ("seat", "uaccess")
    has_passing_errors = True  # of a queue that does not stream
    vdev: VideoDevice

    @property
    def dev_properties(self) -> dict[str, str]:  # type: ignore[override]
        """What udev notes of the device."""
        if not isinstance(getattr(self, "vdev", None), VideoDevice):
            raise TypeError(
                f"the probe of {type(self).__name__} leaves no VideoDevice in self.vdev"
            )
        return self.vdev.properties()

    def name_show(self, dev: Device, attr: object) -> str:
        """Show the name of the node."""
        return sysfs_emit("%.*s\n", 32, self.vdev.name)

    def index_show(self, dev: Device, attr: object) -> str:
        """Show which of the nodes of its hardware this is."""
        return sysfs_emit("%i\n", self.vdev.index)

    def dev_debug_show(self, dev: Device, attr: object) -> str:
        """Show what is logged."""
        return sysfs_emit("0x%x\n", self.vdev.dev_debug)

    def dev_debug_store(self, dev: Device, attr: object, buf: bytes) -> None:
        """Set what is logged: ``V4L2_DEV_DEBUG_*`` bits."""
        try:
            value = int(buf, 0)
        except ValueError:
            raise OSError(errno.EINVAL, f"{buf!r} is no number") from None
        if not 0 <= value <= 0xFFFF:
            raise OSError(errno.ERANGE if value > 0 else errno.EINVAL, f"{value} is no 16 bits")
        self.vdev.dev_debug = value

    def open(self, inode: Inode, file: File) -> None:
        """Open the node, unless it was unregistered (ENODEV)."""
        vdev = self.vdev
        if not video_is_registered(vdev):
            raise _gone()
        if vdev.fops.open is not None:
            vdev.fops.open(file)

    def release(self, inode: Inode, file: File) -> None:
        """Close the node, registered or not."""
        if self.vdev.fops.release is not None:
            self.vdev.fops.release(file)

    def read(self, file: File, count: int, pos: int) -> bytes | bytearray | memoryview:
        """Read, if the node can."""
        vdev = self.vdev
        if vdev.fops.read is None:
            raise OSError(errno.EINVAL, "the node can't be read")
        if not video_is_registered(vdev):
            raise _gone()
        return vdev.fops.read(file, count, pos)

    def write(self, file: File, data: bytes, pos: int) -> int | None:
        """Write, if the node can."""
        vdev = self.vdev
        if vdev.fops.write is None:
            raise OSError(errno.EINVAL, "the node can't be written")
        if not video_is_registered(vdev):
            raise _gone()
        return vdev.fops.write(file, data, pos)

    def ioctl(self, file: File, cmd: int, arg: int) -> int | None:
        """Carry out a command."""
        vdev = self.vdev
        if vdev.fops.unlocked_ioctl is None:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        if not video_is_registered(vdev):
            raise _gone()
        return vdev.fops.unlocked_ioctl(file, cmd, arg)

    def poll(self, file: File) -> int:
        """Say what the file is ready for; an unregistered node has hung up."""
        vdev = self.vdev
        if not video_is_registered(vdev):
            return EPOLLERR | EPOLLHUP | EPOLLPRI
        poll = vdev.fops.poll
        return DEFAULT_POLLMASK if poll is None else poll(file)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map a buffer, if the node can."""
        vdev = self.vdev
        if vdev.fops.mmap is None or not video_is_registered(vdev):
            raise _gone()
        vdev.fops.mmap(file, vma)
