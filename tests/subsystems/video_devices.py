"""V4L2 devices for the tests: one for each kind of node, as small as a complete one can be."""

# ruff: noqa: F405 - kernel names
from __future__ import annotations

import errno
import time
from typing import Any

from mapdev.linux import (
    HZ,
    File,
    Kthread,
    kthread_run,
    kthread_should_stop,
    kthread_stop,
    schedule_timeout_interruptible,
)
from mapdev.subsystems.v4l2 import *  # noqa: F403 - kernel names
from mapdev.subsystems.v4l2 import constants as c

SIZES = ((320, 240), (640, 480))
FPS = (10, 30)
FORMATS = (c.V4L2_PIX_FMT_YUYV, c.V4L2_PIX_FMT_GREY)
MPLANE_FORMATS = (c.V4L2_PIX_FMT_NV12M, c.V4L2_PIX_FMT_GREY)


def lines(pixelformat: int, width: int, height: int) -> list[tuple[int, int]]:
    """Return the bytes of a line and the number of lines, of each plane."""
    if pixelformat == c.V4L2_PIX_FMT_NV12M:
        return [(width, height), (width, height // 2)]
    return [(width * (1 if pixelformat == c.V4L2_PIX_FMT_GREY else 2), height)]


class Picture:
    """The format of a queue's pictures."""

    def __init__(self, is_mplane: bool) -> None:
        self.is_mplane = is_mplane
        self.formats = MPLANE_FORMATS if is_mplane else FORMATS
        self.pixelformat = self.formats[0]
        self.width, self.height = SIZES[0]

    @property
    def sizes(self) -> list[int]:
        planes = lines(self.pixelformat, self.width, self.height)
        return [line * count for line, count in planes]

    def try_fmt(self, f: Any) -> None:
        pix = f.fmt.pix_mp if self.is_mplane else f.fmt.pix
        if pix.pixelformat not in self.formats:
            pix.pixelformat = self.formats[0]
        pix.width, pix.height = min(
            SIZES, key=lambda size: abs(size[0] - pix.width) + abs(size[1] - pix.height)
        )
        pix.field = c.V4L2_FIELD_NONE
        pix.colorspace = c.V4L2_COLORSPACE_SRGB
        pix.ycbcr_enc = pix.quantization = pix.xfer_func = pix.flags = 0
        planes = lines(pix.pixelformat, pix.width, pix.height)
        if self.is_mplane:
            pix.num_planes = len(planes)
            for plane, (line, count) in zip(pix.plane_fmt, planes, strict=False):
                plane.bytesperline, plane.sizeimage = line, line * count
        else:
            pix.bytesperline, pix.sizeimage = planes[0][0], planes[0][0] * planes[0][1]

    def take(self, f: Any) -> None:
        pix = f.fmt.pix_mp if self.is_mplane else f.fmt.pix
        self.pixelformat, self.width, self.height = pix.pixelformat, pix.width, pix.height

    def fill(self, f: Any) -> None:
        pix = f.fmt.pix_mp if self.is_mplane else f.fmt.pix
        pix.pixelformat, pix.width, pix.height = self.pixelformat, self.width, self.height
        self.try_fmt(f)


def check_sizes(sizes: list[int], picture: Picture) -> None:
    """Refuse planes that are too few, too many or too small."""
    wanted = picture.sizes
    if len(sizes) != len(wanted) or any(
        size < least for size, least in zip(sizes, wanted, strict=True)
    ):
        raise OSError(errno.EINVAL, "too small")


class _Video(V4l2Driver):
    """What capture and output have in common: one queue, a thread that takes buffers."""

    is_output = False
    direction = "cap"

    def probe(self, mplane: bool | str = False, memory: str = "vmalloc") -> None:
        self.is_mplane = mplane in (True, "1")
        self.picture = Picture(self.is_mplane)
        self.fps = 30
        self.buffers: list[Any] = []
        self.frames: list[bytes] = []
        self.sequence = 0
        self.thread: Kthread | None = None
        self.log: list[str] = []
        self.fail_start = 0
        self.hdl = self.controls()
        kind = "OUTPUT" if self.is_output else "CAPTURE"
        suffix = "_MPLANE" if self.is_mplane else ""
        self.queue = Vb2Queue(
            type=getattr(c, f"V4L2_BUF_TYPE_VIDEO_{kind}{suffix}"),
            io_modes=VB2_MMAP | VB2_DMABUF | (VB2_WRITE if self.is_output else VB2_READ)
            | (VB2_USERPTR if memory == "vmalloc" else 0),
            drv_priv=self, mem_ops=vb2_vmalloc_memops if memory == "vmalloc" else vb2_dma_contig_memops,
            ops=Vb2Ops(
                queue_setup=self.queue_setup, buf_prepare=self.buf_prepare,
                buf_queue=self.buf_queue, start_streaming=self.start_streaming,
                stop_streaming=self.stop_streaming, buf_init=lambda vb: self.log.append("init"),
                buf_cleanup=lambda vb: self.log.append("cleanup"),
                buf_finish=lambda vb: self.log.append("finish"),
            ),
            timestamp_flags=c.V4L2_BUF_FLAG_TIMESTAMP_COPY if self.is_output
            else c.V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC, min_buffers_needed=1,
        )  # fmt: skip
        vb2_queue_init(self.queue)
        caps = getattr(c, f"V4L2_CAP_VIDEO_{kind}{suffix}")
        self.vdev = VideoDevice(
            "test video", fops=V4l2FileOperations(
                open=v4l2_fh_open, release=vb2_fop_release, unlocked_ioctl=video_ioctl2,
                read=None if self.is_output else vb2_fop_read, poll=vb2_fop_poll,
                write=vb2_fop_write if self.is_output else None, mmap=vb2_fop_mmap,
            ),
            ioctl_ops=self.operations(), queue=self.queue, ctrl_handler=self.hdl, drvdata=self,
            device_caps=caps | c.V4L2_CAP_STREAMING | c.V4L2_CAP_READWRITE,
            vfl_dir=VFL_DIR_TX if self.is_output else VFL_DIR_RX,
        )  # fmt: skip

    def controls(self) -> V4l2CtrlHandler:
        hdl = V4l2CtrlHandler()
        ops = V4l2CtrlOps(s_ctrl=self.s_ctrl, g_volatile_ctrl=self.g_volatile)
        self.brightness = v4l2_ctrl_new_std(hdl, ops, c.V4L2_CID_BRIGHTNESS, 0, 255, 1, 128)
        self.autogain = v4l2_ctrl_new_std(hdl, ops, c.V4L2_CID_AUTOGAIN, 0, 1, 1, 1)
        self.gain = v4l2_ctrl_new_std(hdl, ops, c.V4L2_CID_GAIN, 0, 100, 1, 10)
        v4l2_ctrl_auto_cluster([self.autogain, self.gain], 0, True)
        v4l2_ctrl_new_std_menu(
            hdl, ops, c.V4L2_CID_POWER_LINE_FREQUENCY, c.V4L2_CID_POWER_LINE_FREQUENCY_60HZ, 0, 1
        )
        v4l2_ctrl_new_std_menu_items(
            hdl, ops, c.V4L2_CID_TEST_PATTERN, 2, 0, 0, ("Off", "Bars", "Noise")
        )
        base = c.V4L2_CID_USER_BASE | 0xF000
        for config in (
            V4l2CtrlConfig(ops=ops, id=base, name="Button", type=c.V4L2_CTRL_TYPE_BUTTON),
            V4l2CtrlConfig(ops=ops, id=base + 1, name="String", type=c.V4L2_CTRL_TYPE_STRING,
                           min=2, max=4, step=1),
            V4l2CtrlConfig(ops=ops, id=base + 2, name="Bitmask", type=c.V4L2_CTRL_TYPE_BITMASK,
                           max=0xFF, def_=0x0F),
            V4l2CtrlConfig(ops=ops, id=base + 3, name="64 Bits", type=c.V4L2_CTRL_TYPE_INTEGER64,
                           max=(1 << 40) - 1, step=1, def_=1 << 35),
            V4l2CtrlConfig(ops=ops, id=base + 4, name="Numbers",
                           type=c.V4L2_CTRL_TYPE_INTEGER_MENU, max=2, def_=1, qmenu_int=(1, 10, 100)),
            V4l2CtrlConfig(ops=ops, id=base + 5, name="Matrix", type=c.V4L2_CTRL_TYPE_U16,
                           min=0x10, max=0x2000, step=1, def_=0x18, dims=(4, 3)),
            V4l2CtrlConfig(ops=ops, id=base + 6, name="Area", type=c.V4L2_CTRL_TYPE_AREA,
                           p_def=bytes(V4l2Area(width=10, height=20))),
        ):  # fmt: skip
            v4l2_ctrl_new_custom(hdl, config)
        return hdl

    def s_ctrl(self, ctrl: V4l2Ctrl) -> None:
        self.log.append(f"s_ctrl {ctrl.name}={ctrl.val!r}")

    def g_volatile(self, ctrl: V4l2Ctrl) -> None:
        self.gain.val = 77

    def operations(self) -> V4l2IoctlOps:
        suffix = f"vid_{self.direction}{'_mplane' if self.is_mplane else ''}"
        io = "output" if self.is_output else "input"
        return V4l2IoctlOps(
            vidioc_querycap=self.querycap,
            vidioc_enum_framesizes=self.enum_framesizes,
            vidioc_enum_frameintervals=self.enum_frameintervals,
            vidioc_g_parm=self.g_parm, vidioc_s_parm=self.s_parm,
            vidioc_reqbufs=vb2_ioctl_reqbufs, vidioc_create_bufs=vb2_ioctl_create_bufs,
            vidioc_prepare_buf=vb2_ioctl_prepare_buf, vidioc_querybuf=vb2_ioctl_querybuf,
            vidioc_qbuf=vb2_ioctl_qbuf, vidioc_dqbuf=vb2_ioctl_dqbuf,
            vidioc_expbuf=vb2_ioctl_expbuf, vidioc_streamon=vb2_ioctl_streamon,
            vidioc_streamoff=vb2_ioctl_streamoff, vidioc_log_status=v4l2_ctrl_log_status,
            vidioc_subscribe_event=v4l2_ctrl_subscribe_event,
            vidioc_unsubscribe_event=v4l2_event_unsubscribe,
            **{
                f"vidioc_enum_fmt_vid_{self.direction}": self.enum_fmt,
                f"vidioc_g_fmt_{suffix}": lambda file, fh, f: self.picture.fill(f),
                f"vidioc_try_fmt_{suffix}": lambda file, fh, f: self.picture.try_fmt(f),
                f"vidioc_s_fmt_{suffix}": self.s_fmt,
                f"vidioc_enum_{io}": self.enum_io,
                f"vidioc_g_{io}": lambda file, fh: 0,
                f"vidioc_s_{io}": self.s_io,
            },
        )  # fmt: skip

    def querycap(self, file: File, fh: Any, cap: Any) -> None:
        cap.driver, cap.card, cap.bus_info = b"mapdev", b"test video", b"platform:test"

    def enum_fmt(self, file: File, fh: Any, f: Any) -> None:
        if f.index >= len(self.picture.formats):
            raise OSError(errno.EINVAL, "no more formats")
        f.pixelformat = self.picture.formats[f.index]

    def s_fmt(self, file: File, fh: Any, f: Any) -> None:
        self.picture.try_fmt(f)
        if vb2_is_busy(self.queue):
            raise OSError(errno.EBUSY, "there are buffers")
        self.picture.take(f)

    def enum_io(self, file: File, fh: Any, arg: Any) -> None:
        if arg.index:
            raise OSError(errno.EINVAL, "there is one")
        arg.name = b"Picture"
        arg.type = c.V4L2_OUTPUT_TYPE_ANALOG if self.is_output else c.V4L2_INPUT_TYPE_CAMERA

    def s_io(self, file: File, fh: Any, index: int) -> None:
        if index:
            raise OSError(errno.EINVAL, "there is one")

    def enum_framesizes(self, file: File, fh: Any, f: Any) -> None:
        if f.pixel_format not in self.picture.formats or f.index >= len(SIZES):
            raise OSError(errno.EINVAL, "no more sizes")
        f.type = c.V4L2_FRMSIZE_TYPE_DISCRETE
        f.discrete.width, f.discrete.height = SIZES[f.index]

    def enum_frameintervals(self, file: File, fh: Any, f: Any) -> None:
        if (
            f.pixel_format not in self.picture.formats
            or (f.width, f.height) not in SIZES
            or f.index >= len(FPS)
        ):
            raise OSError(errno.EINVAL, "no more intervals")
        f.type = c.V4L2_FRMIVAL_TYPE_DISCRETE
        f.discrete.numerator, f.discrete.denominator = 1, FPS[f.index]

    def g_parm(self, file: File, fh: Any, parm: Any) -> None:
        if parm.type != self.queue.type:
            raise OSError(errno.EINVAL, "another type")
        of = parm.parm.output if self.is_output else parm.parm.capture
        of.capability = c.V4L2_CAP_TIMEPERFRAME
        of.timeperframe.numerator, of.timeperframe.denominator = 1, self.fps
        if self.is_output:
            of.writebuffers = 1
        else:
            of.readbuffers = 1

    def s_parm(self, file: File, fh: Any, parm: Any) -> None:
        of = parm.parm.output if self.is_output else parm.parm.capture
        rate = of.timeperframe
        if rate.numerator and rate.denominator:
            self.fps = min(FPS, key=lambda fps: abs(fps - rate.denominator / rate.numerator))
        self.g_parm(file, fh, parm)

    def queue_setup(self, q: Vb2Queue, count: int, nplanes: int, sizes: list[int]) -> Any:
        if nplanes:
            check_sizes(sizes, self.picture)
            return count, sizes
        return max(count, 2), self.picture.sizes

    def buf_prepare(self, vb: Any) -> None:
        check_sizes([plane.length for plane in vb.planes], self.picture)
        for index, size in enumerate(() if self.is_output else self.picture.sizes):
            vb2_set_plane_payload(vb, index, size)
        vb.field = c.V4L2_FIELD_NONE

    def buf_queue(self, vb: Any) -> None:
        self.buffers.append(vb)

    def start_streaming(self, q: Vb2Queue, count: int) -> None:
        self.log.append(f"start {count}")
        self.sequence = 0
        if self.fail_start:
            for vb in self.buffers:
                vb2_buffer_done(vb, VB2_BUF_STATE_QUEUED)
            self.buffers.clear()
            raise OSError(self.fail_start, "told to fail")
        self.thread = kthread_run(self.run, None, "video")

    def stop_streaming(self, q: Vb2Queue) -> None:
        self.log.append("stop")
        if self.thread is not None:
            kthread_stop(self.thread)
        self.thread = None
        while self.buffers:
            vb2_buffer_done(self.buffers.pop(0), VB2_BUF_STATE_ERROR)

    def run(self, data: object) -> None:
        # As on a camera the first frame takes a while: v4l2-compliance wants two reads that begin
        # a stream to end alike, and a host with much else to do is not quick.
        schedule_timeout_interruptible(HZ // 5)
        while not kthread_should_stop():
            schedule_timeout_interruptible(1000 // self.fps // 4)
            if self.buffers and not kthread_should_stop():
                vb = self.buffers.pop(0)
                self.work(vb)
                vb.sequence = self.sequence
                self.sequence += 1
                vb2_buffer_done(vb, VB2_BUF_STATE_DONE)

    def work(self, vb: Any) -> None:
        raise NotImplementedError


class Capture(_Video):
    """A camera, each frame of which is its number in all bytes."""

    def work(self, vb: Any) -> None:
        for index, size in enumerate(self.picture.sizes):
            vb2_plane_vaddr(vb, index)[:size] = bytes([self.sequence & 0xFF]) * size
        vb.timestamp = time.monotonic_ns()


class Output(_Video):
    """A screen, which keeps what was shown."""

    is_output = True
    direction = "out"

    def work(self, vb: Any) -> None:
        self.frames.append(bytes(vb2_plane_vaddr(vb)[: vb2_get_plane_payload(vb)]))
