"""What the gallery's video devices have in common: a node whose queue has pictures of some formats.

`Modes` are the pixel formats, sizes and rates that a device has, as a user wrote them, and those
that a program has chosen. `PictureNode` is a node with one queue, of capture or of output, that
answers all commands about modes and buffers; its driver says what is done with a buffer.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from mapdev.linux import File
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2CtrlHandler
from mapdev.subsystems.v4l2.ctrl_cluster import v4l2_ctrl_subscribe_event
from mapdev.subsystems.v4l2.ctrl_ioctls import v4l2_ctrl_log_status
from mapdev.subsystems.v4l2.dev import (
    V4l2Device,
    V4l2FileOperations,
    VideoDevice,
)
from mapdev.subsystems.v4l2.event import v4l2_event_unsubscribe
from mapdev.subsystems.v4l2.fh import v4l2_fh_open
from mapdev.subsystems.v4l2.ioctl import video_ioctl2
from mapdev.subsystems.v4l2.macros import VFL_DIR_RX, VFL_DIR_TX, v4l2_fourcc
from mapdev.subsystems.v4l2.ops import V4l2IoctlOps
from mapdev.subsystems.v4l2.vb2_buffer import VB2_BUF_STATE_ERROR
from mapdev.subsystems.v4l2.vb2_helpers import (
    vb2_fop_mmap,
    vb2_fop_poll,
    vb2_fop_read,
    vb2_fop_release,
    vb2_fop_write,
    vb2_ioctl_create_bufs,
    vb2_ioctl_dqbuf,
    vb2_ioctl_expbuf,
    vb2_ioctl_prepare_buf,
    vb2_ioctl_qbuf,
    vb2_ioctl_querybuf,
    vb2_ioctl_reqbufs,
    vb2_ioctl_streamoff,
    vb2_ioctl_streamon,
)
from mapdev.subsystems.v4l2.vb2_memory import vb2_vmalloc_memops
from mapdev.subsystems.v4l2.vb2_queue import (
    VB2_DMABUF,
    VB2_MMAP,
    VB2_READ,
    VB2_USERPTR,
    VB2_WRITE,
    Vb2Ops,
    Vb2Queue,
    vb2_buffer_done,
    vb2_is_busy,
    vb2_is_streaming,
    vb2_queue_init,
)

if TYPE_CHECKING:
    from mapdev.video.pixels import PixelFormat

__all__ = [
    "Modes", "PictureNode", "Size", "named_format", "needs_numpy", "rates_of", "refuse_fields",
    "sizes_of",
]  # fmt: skip

Size: TypeAlias = tuple[int, int]
Callback: TypeAlias = Callable[..., object]

_SIZES: tuple[Size, ...] = ((640, 480), (320, 240), (800, 600), (1280, 720), (1920, 1080))
_RATES = tuple(map(Fraction, (30, 60, 25, 15, 10, 5)))
_FORMATS = ("YUYV", "UYVY", "RGB3", "BGR3", "GREY", "NV12", "MJPG", "Y16 ")
_OTHER_NAMES = {"RGB24": "RGB3", "BGR24": "BGR3", "RGB": "RGB3", "BGR": "BGR3", "Y16": "Y16 ",
                "YUY2": "YUYV", "MJPEG": "MJPG", "JPEG": "MJPG", "GRAY": "GREY", "GRAY8": "GREY",
                "NV12M": "NM12"}  # fmt: skip
_LEAST, _MOST = (32, 16), 8192
_SLOWEST, _FASTEST = Fraction(1, 100), Fraction(1000)


def needs_numpy(driver: str) -> None:
    """Refuse a driver without its optional dependency.

    :raises OSError: ENOPKG, NumPy is not installed.
    """
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise OSError(errno.ENOPKG, f"{driver} needs NumPy: pip install 'mapdev[camera]'") from None


def _several(value: Any) -> list[Any]:
    """Split what may be one or more: text with ``+`` between, or a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split("+")]
    return list(value) if isinstance(value, (list, set)) else [value]


def sizes_of(value: Any) -> list[Size]:
    """Return sizes, from text such as ``640x480+1280x720``, pairs of numbers, or a list of these.

    :raises ValueError: one is no size, or odd, too small or too large.
    """
    found = []
    for part in _several(value):
        match = re.fullmatch(r"(\d+)[xX](\d+)", part) if isinstance(part, str) else None
        pair = match.groups() if match else part
        if isinstance(pair, str) or not isinstance(pair, Iterable) or len(pair := tuple(pair)) != 2:
            raise ValueError(
                f"{part!r} is no size: write WIDTHxHEIGHT, such as size=640x480+320x240"
            )
        size = int(pair[0]), int(pair[1])
        if any(at % 2 or at > _MOST for at in size) or size[0] < _LEAST[0] or size[1] < _LEAST[1]:
            raise ValueError(
                f"size={size[0]}x{size[1]}: sizes are even numbers, from 32x16 to 8192x8192"
            )
        found.append(size)
    return list(dict.fromkeys(found))


def rates_of(value: Any) -> list[Fraction]:
    """Return rates, from text such as ``30+30000/1001``, numbers, or a list of these.

    :raises ValueError: one is no rate, or out of range.
    """
    found = []
    for part in _several(value):
        try:
            rate = Fraction(part).limit_denominator(1001)
        except (ValueError, TypeError, ZeroDivisionError):
            raise ValueError(
                f"{part!r} is no rate: write pictures a second, such as rate=30+30000/1001+7.5"
            ) from None
        if not _SLOWEST <= rate <= _FASTEST:
            raise ValueError(f"rate={part}: 0.01 to 1000 pictures a second are possible")
        found.append(rate)
    return list(dict.fromkeys(found))


def named_format(name: str, is_mplane: bool = False) -> PixelFormat:
    """Return the pixel format of a name: its four characters, or another name of it.

    :raises ValueError: there is none.
    """
    from mapdev.video.pixels import FORMATS

    fourcc = str(name).upper().strip()
    entry = FORMATS.get(_OTHER_NAMES.get(fourcc, fourcc))
    if entry is None or (entry.is_split and not is_mplane):
        there_are = (*_FORMATS, "NM12") if is_mplane else _FORMATS
        raise ValueError(
            f"no format {name!r}: there are {', '.join(map(str.strip, there_are))}; several are "
            "written format=MJPG+YUYV"
        )
    return entry


class Modes:
    """The pictures that a device can have, and those that it has now.

    :param size: the sizes, as `sizes_of` takes them; the first is what programs find set
    :param rate: the rates, as `rates_of` takes them
    :param format: the formats by their names, with ``+`` between or as a list
    :param own_size: the size of the pictures' source, which comes first if none are given
    :param is_any: without `size` and `rate` any of them can be set
    :ivar pixel_format: the format that is set
    :ivar size: the width and height that are set
    :ivar rate: pictures a second that are set
    """

    def __init__(
        self, size: Any = "", rate: Any = "", format: Any = "", is_mplane: bool = False,
        own_size: Size | None = None, is_any: bool = False,
    ) -> None:  # fmt: skip
        self.has_any_size, self.has_any_rate = is_any and size == "", is_any and rate == ""
        own = [] if own_size is None else [own_size]
        self.sizes = sizes_of(size) if size != "" else list(dict.fromkeys([*own, *_SIZES]))
        self.rates = rates_of(rate) if rate != "" else list(_RATES)
        names = _several(format) if format != "" else _FORMATS + ("NM12",) * is_mplane
        found = [named_format(name, is_mplane) for name in names]
        self.formats = {v4l2_fourcc(*entry.fourcc): entry for entry in found}
        self.is_mplane = is_mplane
        self.pixelformat = next(iter(self.formats))
        self.size = self.sizes[0]
        self.rate = self.rates[0]

    @property
    def pixel_format(self) -> PixelFormat:
        """The format that is set."""
        return self.formats[self.pixelformat]

    @property
    def plane_sizes(self) -> list[int]:
        """The bytes of a picture in each plane."""
        return self.pixel_format.plane_sizes(*self.size)

    def try_fmt(self, f: Any) -> None:
        """Change what a program wants to the nearest that there is."""
        pix = f.fmt.pix_mp if self.is_mplane else f.fmt.pix
        if pix.pixelformat not in self.formats:
            pix.pixelformat = self.pixelformat
        entry = self.formats[pix.pixelformat]
        pix.width, pix.height = size = self.nearest_size(pix.width, pix.height)
        pix.field = c.V4L2_FIELD_NONE
        pix.ycbcr_enc = pix.quantization = pix.xfer_func = pix.flags = 0
        pix.colorspace = c.V4L2_COLORSPACE_JPEG if entry.is_compressed else c.V4L2_COLORSPACE_SRGB
        if entry.fourcc in ("GREY", "Y16 "):  # from black as 0 to white as 255
            pix.quantization = c.V4L2_QUANTIZATION_FULL_RANGE
        if self.is_mplane:
            planes = entry.plane_sizes(*size)
            pix.num_planes = len(planes)
            for plane, bytes_ in zip(pix.plane_fmt, planes, strict=False):
                plane.bytesperline, plane.sizeimage = entry.bytesperline(size[0]), bytes_
        else:
            pix.bytesperline, pix.sizeimage = entry.bytesperline(size[0]), entry.sizeimage(*size)

    def nearest_size(self, width: int, height: int) -> Size:
        """Return the size that is the nearest to one."""
        if self.has_any_size:
            pairs = zip((width, height), _LEAST, strict=True)
            wide, high = (min(max(at & ~1, least), _MOST) for at, least in pairs)
            return wide, high
        return min(self.sizes, key=lambda size: abs(size[0] - width) + abs(size[1] - height))

    def nearest_rate(self, rate: Fraction) -> Fraction:
        """Return the rate that is the nearest to one, in the time of a picture."""
        if self.has_any_rate:
            return min(max(rate, _SLOWEST), _FASTEST).limit_denominator(1001)
        return min(self.rates, key=lambda have: abs(1 / have - 1 / rate))

    def tell_sizes(self, f: Any) -> None:
        """Tell a program that any size can be set."""
        f.type = c.V4L2_FRMSIZE_TYPE_STEPWISE
        for direction, least in zip(("width", "height"), _LEAST, strict=True):
            for name, value in (("min", least), ("max", _MOST), ("step", 2)):
                setattr(f.stepwise, f"{name}_{direction}", value)

    def fill(self, f: Any) -> None:
        """Tell what is set."""
        pix = f.fmt.pix_mp if self.is_mplane else f.fmt.pix
        pix.pixelformat, (pix.width, pix.height) = self.pixelformat, self.size
        self.try_fmt(f)

    def has(self, f: Any) -> bool:
        """Whether what `try_fmt` has made of a program's wish is set already."""
        pix = f.fmt.pix_mp if self.is_mplane else f.fmt.pix
        return (pix.pixelformat, (pix.width, pix.height)) == (self.pixelformat, self.size)

    def take(self, f: Any) -> None:
        """Set what `try_fmt` has made of a program's wish."""
        pix = f.fmt.pix_mp if self.is_mplane else f.fmt.pix
        self.pixelformat, self.size = pix.pixelformat, (pix.width, pix.height)

    def follow(self, other: Modes) -> None:
        """Have what another has set, and nothing else."""
        self.formats = {other.pixelformat: other.pixel_format}
        self.sizes, self.rates = [other.size], [other.rate]
        self.pixelformat, self.size, self.rate = other.pixelformat, other.size, other.rate

    def __str__(self) -> str:
        """Say what is set, as ``YUYV 640x480 at 30``."""
        width, height = self.size
        return f"{self.pixel_format.fourcc.strip()} {width}x{height} at {self.rate}"


class PictureNode:
    """A node with a queue of pictures.

    :param card: what programs are told that the device is
    :param start: called to start with the queue and the number of buffers
    :param stop: called to stop; it gives all buffers back
    :param queued: called when there is one more in `buffers`
    :ivar vdev: the node
    :ivar queue: its queue
    :ivar buffers: those that the driver has, the oldest first; any thread may take one
    :ivar is_locked: says whether the format has to stay, for another reason than buffers
    :ivar changed: called when a program has set a format or a rate
    """

    def __init__(
        self, card: str, modes: Modes, *, start: Callback, stop: Callback, queued: Callback,
        controls: V4l2CtrlHandler | None = None, is_output: bool = False, drvdata: Any = None,
        v4l2_dev: V4l2Device | None = None,
    ) -> None:  # fmt: skip
        self.card = card
        self.modes = modes
        self.is_output = is_output
        self.buffers: list[Any] = []
        self.is_locked: Callable[[], bool] = lambda: False
        self.changed: Callback = lambda: None
        self._queued = queued
        kind = ("OUTPUT" if is_output else "CAPTURE") + "_MPLANE" * modes.is_mplane
        self.queue = Vb2Queue(
            type=getattr(c, f"V4L2_BUF_TYPE_VIDEO_{kind}"), drv_priv=drvdata,
            io_modes=VB2_MMAP | VB2_USERPTR | VB2_DMABUF | (VB2_WRITE if is_output else VB2_READ),
            mem_ops=vb2_vmalloc_memops, min_buffers_needed=1,
            timestamp_flags=c.V4L2_BUF_FLAG_TIMESTAMP_COPY if is_output
            else c.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC,
            ops=Vb2Ops(
                queue_setup=self.queue_setup, buf_prepare=self.buf_prepare,
                buf_out_validate=self.buf_out_validate if is_output else None,
                buf_queue=self.buf_queue, start_streaming=start, stop_streaming=stop,
            ),
        )  # fmt: skip
        vb2_queue_init(self.queue)
        self.vdev = VideoDevice(
            card, queue=self.queue, ctrl_handler=controls, drvdata=drvdata, v4l2_dev=v4l2_dev,
            fops=V4l2FileOperations(
                open=v4l2_fh_open, release=vb2_fop_release, unlocked_ioctl=video_ioctl2,
                read=None if is_output else vb2_fop_read, poll=vb2_fop_poll, mmap=vb2_fop_mmap,
                write=vb2_fop_write if is_output else None,
            ),
            ioctl_ops=self._operations(has_controls=controls is not None),
            device_caps=getattr(c, f"V4L2_CAP_VIDEO_{kind}")
            | c.V4L2_CAP_STREAMING | c.V4L2_CAP_READWRITE,
            vfl_dir=VFL_DIR_TX if is_output else VFL_DIR_RX,
        )  # fmt: skip

    def _operations(self, has_controls: bool) -> V4l2IoctlOps:
        direction = "out" if self.is_output else "cap"
        suffix = f"vid_{direction}{'_mplane' * self.modes.is_mplane}"
        io = "output" if self.is_output else "input"
        events: dict[str, Callback] = {
            "vidioc_subscribe_event": v4l2_ctrl_subscribe_event,
            "vidioc_unsubscribe_event": v4l2_event_unsubscribe,
            "vidioc_log_status": v4l2_ctrl_log_status,
        }
        own: dict[str, Callback] = {
            f"vidioc_enum_fmt_vid_{direction}": self.enum_fmt,
            f"vidioc_g_fmt_{suffix}": lambda file, fh, f: self.modes.fill(f),
            f"vidioc_try_fmt_{suffix}": lambda file, fh, f: self.modes.try_fmt(f),
            f"vidioc_s_fmt_{suffix}": self.s_fmt,
            f"vidioc_enum_{io}": self.enum_io,
            f"vidioc_g_{io}": lambda file, fh: 0,
            f"vidioc_s_{io}": self.s_io,
        }
        return V4l2IoctlOps(
            vidioc_querycap=self.querycap, vidioc_enum_framesizes=self.enum_framesizes,
            vidioc_enum_frameintervals=self.enum_frameintervals,
            vidioc_g_parm=self.g_parm, vidioc_s_parm=self.s_parm,
            vidioc_reqbufs=vb2_ioctl_reqbufs, vidioc_create_bufs=vb2_ioctl_create_bufs,
            vidioc_prepare_buf=vb2_ioctl_prepare_buf, vidioc_querybuf=vb2_ioctl_querybuf,
            vidioc_qbuf=vb2_ioctl_qbuf, vidioc_dqbuf=vb2_ioctl_dqbuf,
            vidioc_expbuf=vb2_ioctl_expbuf, vidioc_streamon=vb2_ioctl_streamon,
            vidioc_streamoff=vb2_ioctl_streamoff, **(events if has_controls else {}), **own,
        )  # fmt: skip

    def querycap(self, file: File, fh: Any, cap: Any) -> None:
        """Tell what the device is."""
        cap.driver, cap.card = b"mapdev", self.card.encode()[:31]
        dev = self.vdev.dev or getattr(self.vdev.drvdata, "dev", None)
        cap.bus_info = f"platform:{dev.name if dev else self.card}".encode()[:31]

    def enum_fmt(self, file: File, fh: Any, f: Any) -> None:
        """Tell one of the formats."""
        f.pixelformat = _at(list(self.modes.formats), f.index)

    def s_fmt(self, file: File, fh: Any, f: Any) -> None:
        """Set a format, unless there are buffers (EBUSY)."""
        self.modes.try_fmt(f)
        if vb2_is_busy(self.queue) or (self.is_locked() and not self.modes.has(f)):
            raise OSError(errno.EBUSY, "there are buffers")
        self.modes.take(f)
        self.changed()

    def enum_framesizes(self, file: File, fh: Any, f: Any) -> None:
        """Tell one of the sizes of a format."""
        if f.pixel_format not in self.modes.formats:
            raise OSError(errno.EINVAL, "no such format")
        if self.modes.has_any_size:
            _at([0], f.index)
            self.modes.tell_sizes(f)
            return
        size = _at(self.modes.sizes, f.index)
        f.type = c.V4L2_FRMSIZE_TYPE_DISCRETE
        f.discrete.width, f.discrete.height = size

    def enum_frameintervals(self, file: File, fh: Any, f: Any) -> None:
        """Tell one of the rates of a size."""
        size = f.width, f.height
        if f.pixel_format not in self.modes.formats or self.modes.nearest_size(*size) != size:
            raise OSError(errno.EINVAL, "no such format or size")
        if self.modes.has_any_rate:
            _at([0], f.index)
            f.type = c.V4L2_FRMIVAL_TYPE_CONTINUOUS
            for name, rate in (("min", _FASTEST), ("max", _SLOWEST), ("step", Fraction(1))):
                interval = getattr(f.stepwise, name)
                interval.numerator, interval.denominator = rate.denominator, rate.numerator
            return
        rate = _at(self.modes.rates, f.index)
        f.type = c.V4L2_FRMIVAL_TYPE_DISCRETE
        f.discrete.numerator, f.discrete.denominator = rate.denominator, rate.numerator

    def g_parm(self, file: File, fh: Any, parm: Any) -> None:
        """Tell the rate."""
        if parm.type != self.queue.type:
            raise OSError(errno.EINVAL, "another type")
        of = parm.parm.output if self.is_output else parm.parm.capture
        of.capability = c.V4L2_CAP_TIMEPERFRAME
        rate = self.modes.rate
        of.timeperframe.numerator, of.timeperframe.denominator = rate.denominator, rate.numerator
        setattr(of, "writebuffers" if self.is_output else "readbuffers", 1)

    def s_parm(self, file: File, fh: Any, parm: Any) -> None:
        """Set the nearest rate; while pictures come the rate stays (EBUSY)."""
        if parm.type != self.queue.type:
            raise OSError(errno.EINVAL, "another type")
        of = parm.parm.output if self.is_output else parm.parm.capture
        wanted = of.timeperframe
        rate = self.modes.rates[0]
        if wanted.numerator and wanted.denominator:
            rate = self.modes.nearest_rate(Fraction(wanted.denominator, wanted.numerator))
        if rate != self.modes.rate and vb2_is_streaming(self.queue):
            raise OSError(errno.EBUSY, "the rate can't change while pictures come")
        self.modes.rate = rate
        self.changed()
        self.g_parm(file, fh, parm)

    def enum_io(self, file: File, fh: Any, arg: Any) -> None:
        """Tell what the one input or output is."""
        if arg.index:
            raise OSError(errno.EINVAL, "there is one")
        arg.name = b"Screen" if self.is_output else b"Camera"
        arg.type = c.V4L2_OUTPUT_TYPE_ANALOG if self.is_output else c.V4L2_INPUT_TYPE_CAMERA

    def s_io(self, file: File, fh: Any, index: int) -> None:
        """Choose the one input or output."""
        if index:
            raise OSError(errno.EINVAL, "there is one")

    def queue_setup(
        self, q: Vb2Queue, count: int, nplanes: int, sizes: list[int]
    ) -> tuple[int, list[int]]:
        """Say how many buffers there are to be, and how large; two at least."""
        if nplanes:
            self._check(sizes)
            return count, sizes
        return max(count, 2), self.modes.plane_sizes

    def buf_out_validate(self, vb: Any) -> None:
        """Refuse fields."""
        refuse_fields(vb)

    def buf_prepare(self, vb: Any) -> None:
        """Refuse buffers that have no room for a picture."""
        self._check([plane.length for plane in vb.planes])
        vb.field = c.V4L2_FIELD_NONE

    def buf_queue(self, vb: Any) -> None:
        """Take a buffer."""
        self.buffers.append(vb)
        self._queued()

    def take(self) -> Any:
        """Return the oldest buffer that the driver has, None if it has none."""
        return self.buffers.pop(0) if self.buffers else None

    def give_back(self, state: int = VB2_BUF_STATE_ERROR) -> None:
        """Give all buffers back."""
        while self.buffers:
            vb2_buffer_done(self.buffers.pop(0), state)

    def _check(self, sizes: list[int]) -> None:
        least = self.modes.plane_sizes
        if len(sizes) != len(least) or any(a < b for a, b in zip(sizes, least, strict=True)):
            raise OSError(errno.EINVAL, f"planes of {sizes} bytes: a picture takes {least}")


def refuse_fields(vb: Any) -> None:
    """Have the picture in a buffer be a whole one.

    :raises OSError: EINVAL, the program says that it is a field.
    """
    if vb.field == c.V4L2_FIELD_ANY:
        vb.field = c.V4L2_FIELD_NONE
    if vb.field != c.V4L2_FIELD_NONE:
        raise OSError(errno.EINVAL, "there are no fields")


def _at(what: list[Any], index: int) -> Any:
    if index >= len(what):
        raise OSError(errno.EINVAL, f"there are {len(what)}")
    return what[index]
