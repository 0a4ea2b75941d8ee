"""A memory-to-memory device for the tests: each byte of a picture becomes its complement."""

# ruff: noqa: F405 - kernel names
from __future__ import annotations

import errno
from typing import Any

from video_devices import SIZES, Picture, check_sizes

from mapdev.linux import File, WorkStruct, schedule_work
from mapdev.subsystems.v4l2 import *  # noqa: F403 - kernel names
from mapdev.subsystems.v4l2 import constants as c

COLORS = ("colorspace", "ycbcr_enc", "quantization", "xfer_func")


class _Context(V4l2Fh):
    """An open file: the formats of both of its queues."""

    def __init__(self, mplane: bool) -> None:
        super().__init__()
        self.pictures = {True: Picture(mplane), False: Picture(mplane)}
        self.colors = (c.V4L2_COLORSPACE_SRGB, 0, 0, 0)
        self.sequences = {True: 0, False: 0}

    def picture(self, type_: int) -> Picture:
        return self.pictures[V4L2_TYPE_IS_OUTPUT(type_)]


class Inverter(V4l2Driver):
    """Jobs run in a work, so that they end outside of any operation."""

    def probe(self, mplane: bool | str = False) -> None:
        self.mplane = mplane in (True, "1")
        self.hdl = V4l2CtrlHandler()
        v4l2_ctrl_new_std(self.hdl, None, c.V4L2_CID_HFLIP, 0, 1, 1, 0)
        self.m2m_dev = v4l2_m2m_init(V4l2M2mOps(device_run=self.device_run, job_abort=self.abort))
        self.work = WorkStruct(self.run)
        self.is_aborted = False
        suffix = "_mplane" if self.mplane else ""
        formats: dict[str, Any] = {}
        for kind in ("cap", "out"):
            formats |= {
                f"vidioc_enum_fmt_vid_{kind}": self.enum_fmt,
                f"vidioc_g_fmt_vid_{kind}{suffix}": self.g_fmt,
                f"vidioc_try_fmt_vid_{kind}{suffix}": self.try_fmt,
                f"vidioc_s_fmt_vid_{kind}{suffix}": self.s_fmt,
            }
        self.vdev = VideoDevice(
            "inverter", fops=V4l2FileOperations(
                open=self.open_file, release=self.release_file, unlocked_ioctl=video_ioctl2,
                poll=v4l2_m2m_fop_poll, mmap=v4l2_m2m_fop_mmap,
            ),
            ioctl_ops=V4l2IoctlOps(
                vidioc_querycap=self.querycap, vidioc_enum_framesizes=self.enum_framesizes,
                vidioc_reqbufs=v4l2_m2m_ioctl_reqbufs, vidioc_querybuf=v4l2_m2m_ioctl_querybuf,
                vidioc_create_bufs=v4l2_m2m_ioctl_create_bufs, vidioc_qbuf=v4l2_m2m_ioctl_qbuf,
                vidioc_prepare_buf=v4l2_m2m_ioctl_prepare_buf, vidioc_dqbuf=v4l2_m2m_ioctl_dqbuf,
                vidioc_expbuf=v4l2_m2m_ioctl_expbuf, vidioc_streamon=v4l2_m2m_ioctl_streamon,
                vidioc_streamoff=v4l2_m2m_ioctl_streamoff,
                vidioc_subscribe_event=v4l2_ctrl_subscribe_event,
                vidioc_unsubscribe_event=v4l2_event_unsubscribe, **formats,
            ),
            device_caps=c.V4L2_CAP_STREAMING
            | (c.V4L2_CAP_VIDEO_M2M_MPLANE if self.mplane else c.V4L2_CAP_VIDEO_M2M),
            vfl_dir=VFL_DIR_M2M, ctrl_handler=self.hdl, drvdata=self,
        )  # fmt: skip

    def open_file(self, file: File) -> None:
        fh = _Context(self.mplane)
        v4l2_fh_init(fh, self.vdev)
        fh.m2m_ctx = v4l2_m2m_ctx_init(self.m2m_dev, fh, self.queue_init)
        v4l2_fh_add(fh)
        file.private_data = fh

    def release_file(self, file: File) -> None:
        v4l2_m2m_ctx_release(file.private_data.m2m_ctx)
        v4l2_fh_release(file)

    def queue_init(self, fh: _Context, src_vq: Vb2Queue, dst_vq: Vb2Queue) -> None:
        ops = Vb2Ops(
            queue_setup=self.queue_setup, buf_prepare=self.buf_prepare, buf_queue=self.buf_queue,
            buf_out_validate=self.out_validate, start_streaming=self.start_streaming,
            stop_streaming=self.stop_streaming,
        )  # fmt: skip
        suffix = "_MPLANE" if self.mplane else ""
        for q, kind in ((src_vq, "OUTPUT"), (dst_vq, "CAPTURE")):
            q.type = getattr(c, f"V4L2_BUF_TYPE_VIDEO_{kind}{suffix}")
            q.io_modes = VB2_MMAP | VB2_USERPTR | VB2_DMABUF
            q.drv_priv, q.ops, q.mem_ops = fh, ops, vb2_vmalloc_memops
            q.timestamp_flags = c.V4L2_BUF_FLAG_TIMESTAMP_COPY
            vb2_queue_init(q)

    def querycap(self, file: File, fh: Any, cap: Any) -> None:
        cap.driver, cap.card, cap.bus_info = b"inverter", b"inverter", b"platform:inverter"

    def enum_fmt(self, file: File, fh: Any, f: Any) -> None:
        formats = fh.picture(f.type).formats
        if f.index >= len(formats):
            raise OSError(errno.EINVAL, "no more formats")
        f.pixelformat = formats[f.index]

    def enum_framesizes(self, file: File, fh: Any, f: Any) -> None:
        if f.pixel_format not in fh.pictures[True].formats or f.index >= len(SIZES):
            raise OSError(errno.EINVAL, "no more sizes")
        f.type = c.V4L2_FRMSIZE_TYPE_DISCRETE
        f.discrete.width, f.discrete.height = SIZES[f.index]

    def g_fmt(self, file: File, fh: Any, f: Any) -> None:
        fh.picture(f.type).fill(f)
        self.set_colors(f, fh.colors)

    def try_fmt(self, file: File, fh: Any, f: Any) -> None:
        pix = f.fmt.pix_mp if self.mplane else f.fmt.pix
        colors = fh.colors
        if V4L2_TYPE_IS_OUTPUT(f.type) and 0 < pix.colorspace <= c.V4L2_COLORSPACE_DCI_P3:
            colors = tuple(getattr(pix, name) for name in COLORS)
        fh.picture(f.type).try_fmt(f)
        self.set_colors(f, colors)

    def set_colors(self, f: Any, colors: tuple[int, ...]) -> None:
        for name, value in zip(COLORS, colors, strict=True):
            setattr(f.fmt.pix_mp if self.mplane else f.fmt.pix, name, value)

    def s_fmt(self, file: File, fh: Any, f: Any) -> None:
        self.try_fmt(file, fh, f)
        if vb2_is_busy(v4l2_m2m_get_vq(fh.m2m_ctx, f.type)):
            raise OSError(errno.EBUSY, "there are buffers")
        fh.picture(f.type).take(f)
        if V4L2_TYPE_IS_OUTPUT(f.type):
            pix = f.fmt.pix_mp if self.mplane else f.fmt.pix
            fh.colors = tuple(getattr(pix, name) for name in COLORS)

    def queue_setup(self, q: Vb2Queue, count: int, nplanes: int, sizes: list[int]) -> Any:
        picture = q.drv_priv.picture(q.type)
        if nplanes:
            check_sizes(sizes, picture)
            return count, sizes
        return count, picture.sizes

    def out_validate(self, vb: Any) -> None:
        if vb.field == c.V4L2_FIELD_ANY:
            vb.field = c.V4L2_FIELD_NONE
        if vb.field != c.V4L2_FIELD_NONE:
            raise OSError(errno.EINVAL, "no fields")

    def buf_prepare(self, vb: Any) -> None:
        picture = vb.vb2_queue.drv_priv.picture(vb.type)
        check_sizes([plane.length for plane in vb.planes], picture)
        for index, size in enumerate(picture.sizes):
            vb2_set_plane_payload(vb, index, size)

    def buf_queue(self, vb: Any) -> None:
        v4l2_m2m_buf_queue(vb.vb2_queue.drv_priv.m2m_ctx, vb)

    def start_streaming(self, q: Vb2Queue, count: int) -> None:
        q.drv_priv.sequences[q.is_output] = 0

    def stop_streaming(self, q: Vb2Queue) -> None:
        ctx = q.drv_priv.m2m_ctx
        remove = v4l2_m2m_src_buf_remove if q.is_output else v4l2_m2m_dst_buf_remove
        while (vb := remove(ctx)) is not None:
            v4l2_m2m_buf_done(vb, VB2_BUF_STATE_ERROR)

    def device_run(self, fh: _Context) -> None:
        schedule_work(self.work)

    def abort(self, fh: _Context) -> None:
        self.is_aborted = True

    def run(self, work: WorkStruct) -> None:
        fh = v4l2_m2m_get_curr_priv(self.m2m_dev)
        ctx = fh.m2m_ctx
        src, dst = v4l2_m2m_src_buf_remove(ctx), v4l2_m2m_dst_buf_remove(ctx)
        for index in range(min(src.num_planes, dst.num_planes)):
            data = bytes(vb2_plane_vaddr(src, index)).translate(bytes(range(255, -1, -1)))
            target = vb2_plane_vaddr(dst, index)
            count = min(len(data), len(target))
            target[:count] = data[:count]
        for vb in (src, dst):
            vb.sequence = fh.sequences[vb.vb2_queue.is_output]
            fh.sequences[vb.vb2_queue.is_output] += 1
        v4l2_m2m_buf_copy_metadata(src, dst)
        self.finish_buffers(ctx, src, dst)
        v4l2_m2m_job_finish(self.m2m_dev, ctx)

    def finish_buffers(self, ctx: V4l2M2mCtx, src: Any, dst: Any) -> None:
        v4l2_m2m_buf_done(src, VB2_BUF_STATE_DONE)
        v4l2_m2m_buf_done(dst, VB2_BUF_STATE_DONE)
