"""Codec: a memory-to-memory device (V4L2) that makes JPEGs of pictures, or pictures of JPEGs.

Each open file is a codec of its own, with two queues: the program queues what is to be converted
on the output queue, and empty buffers on the capture queue. A job takes one buffer of each; jobs of
all files run one after another, in a work, so that a picture that takes long holds nobody up.
Pillow does the work of the hardware.

The size is set on the output queue and is that of both. A codec is stopped by VIDIOC_ENCODER_CMD or
DECODER_CMD: what is queued is converted first, the last buffer is marked, and an event says so.
"""

from __future__ import annotations

import errno
from typing import Any

from mapdev.drivers._video import Modes, needs_numpy, refuse_fields
from mapdev.linux import File, WorkStruct, schedule_work
from mapdev.linux.log import log
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2CtrlHandler
from mapdev.subsystems.v4l2.ctrl_cluster import v4l2_ctrl_subscribe_event
from mapdev.subsystems.v4l2.ctrl_ioctls import v4l2_ctrl_log_status
from mapdev.subsystems.v4l2.ctrl_new import v4l2_ctrl_new_std
from mapdev.subsystems.v4l2.dev import V4l2Driver, V4l2FileOperations, VideoDevice
from mapdev.subsystems.v4l2.event import (
    v4l2_event_queue_fh,
    v4l2_event_subscribe,
    v4l2_event_unsubscribe,
)
from mapdev.subsystems.v4l2.fh import V4l2Fh, v4l2_fh_add, v4l2_fh_init, v4l2_fh_release
from mapdev.subsystems.v4l2.ioctl import video_ioctl2
from mapdev.subsystems.v4l2.macros import V4L2_TYPE_IS_OUTPUT, VFL_DIR_M2M
from mapdev.subsystems.v4l2.mem2mem import (
    V4l2M2mOps,
    v4l2_m2m_buf_copy_metadata,
    v4l2_m2m_buf_done,
    v4l2_m2m_buf_queue,
    v4l2_m2m_ctx_init,
    v4l2_m2m_ctx_release,
    v4l2_m2m_dst_buf_remove,
    v4l2_m2m_get_curr_priv,
    v4l2_m2m_get_vq,
    v4l2_m2m_init,
    v4l2_m2m_job_finish,
    v4l2_m2m_src_buf_remove,
)
from mapdev.subsystems.v4l2.mem2mem_codec import (
    v4l2_m2m_clear_state,
    v4l2_m2m_dst_buf_is_last,
    v4l2_m2m_has_stopped,
    v4l2_m2m_ioctl_decoder_cmd,
    v4l2_m2m_ioctl_encoder_cmd,
    v4l2_m2m_ioctl_try_decoder_cmd,
    v4l2_m2m_ioctl_try_encoder_cmd,
    v4l2_m2m_is_last_draining_src_buf,
    v4l2_m2m_last_buffer_done,
    v4l2_m2m_update_start_streaming_state,
    v4l2_m2m_update_stop_streaming_state,
)
from mapdev.subsystems.v4l2.mem2mem_helpers import (
    v4l2_m2m_fop_mmap,
    v4l2_m2m_fop_poll,
    v4l2_m2m_ioctl_create_bufs,
    v4l2_m2m_ioctl_dqbuf,
    v4l2_m2m_ioctl_expbuf,
    v4l2_m2m_ioctl_prepare_buf,
    v4l2_m2m_ioctl_qbuf,
    v4l2_m2m_ioctl_querybuf,
    v4l2_m2m_ioctl_reqbufs,
    v4l2_m2m_ioctl_streamoff,
    v4l2_m2m_ioctl_streamon,
)
from mapdev.subsystems.v4l2.ops import V4l2IoctlOps
from mapdev.subsystems.v4l2.structures import V4l2Event
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_DONE,
    VB2_BUF_STATE_ERROR,
    vb2_get_plane_payload,
    vb2_plane_size,
    vb2_plane_vaddr,
    vb2_set_plane_payload,
)
from mapdev.subsystems.v4l2.vb2_memory import vb2_vmalloc_memops
from mapdev.subsystems.v4l2.vb2_queue import (
    VB2_DMABUF,
    VB2_MMAP,
    VB2_USERPTR,
    Vb2Ops,
    Vb2Queue,
    vb2_is_busy,
    vb2_queue_init,
)

_COLORS = ("colorspace", "ycbcr_enc", "quantization", "xfer_func")
_JPEG_COLORS = (
    c.V4L2_COLORSPACE_SRGB, c.V4L2_YCBCR_ENC_601, c.V4L2_QUANTIZATION_FULL_RANGE,
    c.V4L2_XFER_FUNC_SRGB,
)  # fmt: skip
_RAW = "RGB3+BGR3+GREY"  # of full range, as JPEG is
_ROLES = ("encode", "decode")


class _File(V4l2Fh):
    """A codec: an open file, with the modes of both of its queues.

    :ivar modes: by whether they are the output queue's
    """

    def __init__(self, is_decoder: bool) -> None:
        super().__init__()
        raw, jpeg = (Modes(format=name, is_any=True) for name in (_RAW, "MJPG"))
        self.modes = {True: jpeg, False: raw} if is_decoder else {True: raw, False: jpeg}
        self.colors: tuple[int, ...] = _JPEG_COLORS
        self.sequences = {True: 0, False: 0}


class Codec(V4l2Driver):
    """A JPEG encoder or decoder (V4L2, memory to memory).

    :ivar done: how many pictures were converted, by all programs
    """

    def probe(self, role: str = "encode", card: str = "mapdev codec") -> None:
        """Make a codec.

        :param role: ``encode`` makes JPEGs, ``decode`` makes pictures of them
        :param card: what it is called
        :raises OSError: ENOPKG, NumPy is not installed.
        :raises ValueError: there is no such role.
        """
        needs_numpy("codec")
        if role not in _ROLES:
            raise ValueError(f"role={role!r}: a codec can {' or '.join(_ROLES)}")
        self.is_decoder = role == "decode"
        self.card = card
        self.done = 0
        controls = V4l2CtrlHandler()
        if not self.is_decoder:
            self.quality = v4l2_ctrl_new_std(
                controls, None, c.V4L2_CID_JPEG_COMPRESSION_QUALITY, 1, 95, 1, 90
            )
        self.m2m_dev = v4l2_m2m_init(V4l2M2mOps(device_run=lambda fh: schedule_work(self._work)))
        self._work = WorkStruct(self._run)
        self.vdev = VideoDevice(
            card, ctrl_handler=controls, drvdata=self, vfl_dir=VFL_DIR_M2M,
            device_caps=c.V4L2_CAP_VIDEO_M2M | c.V4L2_CAP_STREAMING, ioctl_ops=self._operations(),
            fops=V4l2FileOperations(
                open=self._open, release=self._release, unlocked_ioctl=video_ioctl2,
                poll=v4l2_m2m_fop_poll, mmap=v4l2_m2m_fop_mmap,
            ),
        )  # fmt: skip

    def _operations(self) -> V4l2IoctlOps:
        commands: dict[str, Any] = {
            "vidioc_decoder_cmd": v4l2_m2m_ioctl_decoder_cmd,
            "vidioc_try_decoder_cmd": v4l2_m2m_ioctl_try_decoder_cmd,
        }
        if not self.is_decoder:
            commands = {
                "vidioc_encoder_cmd": v4l2_m2m_ioctl_encoder_cmd,
                "vidioc_try_encoder_cmd": v4l2_m2m_ioctl_try_encoder_cmd,
            }
        for kind in ("cap", "out"):
            commands |= {
                f"vidioc_enum_fmt_vid_{kind}": self.enum_fmt,
                f"vidioc_g_fmt_vid_{kind}": self.g_fmt,
                f"vidioc_try_fmt_vid_{kind}": self.try_fmt,
                f"vidioc_s_fmt_vid_{kind}": self.s_fmt,
            }
        return V4l2IoctlOps(
            vidioc_querycap=self.querycap, vidioc_enum_framesizes=self.enum_framesizes,
            vidioc_reqbufs=v4l2_m2m_ioctl_reqbufs, vidioc_querybuf=v4l2_m2m_ioctl_querybuf,
            vidioc_create_bufs=v4l2_m2m_ioctl_create_bufs, vidioc_qbuf=v4l2_m2m_ioctl_qbuf,
            vidioc_prepare_buf=v4l2_m2m_ioctl_prepare_buf, vidioc_dqbuf=v4l2_m2m_ioctl_dqbuf,
            vidioc_expbuf=v4l2_m2m_ioctl_expbuf, vidioc_streamon=v4l2_m2m_ioctl_streamon,
            vidioc_streamoff=v4l2_m2m_ioctl_streamoff, vidioc_log_status=v4l2_ctrl_log_status,
            vidioc_subscribe_event=self.subscribe,
            vidioc_unsubscribe_event=v4l2_event_unsubscribe, **commands,
        )  # fmt: skip

    def _open(self, file: File) -> None:
        fh = _File(self.is_decoder)
        v4l2_fh_init(fh, self.vdev)
        fh.m2m_ctx = v4l2_m2m_ctx_init(self.m2m_dev, fh, self._queue_init)
        v4l2_fh_add(fh)
        file.private_data = fh

    def _release(self, file: File) -> None:
        v4l2_m2m_ctx_release(file.private_data.m2m_ctx)
        v4l2_fh_release(file)

    def _queue_init(self, fh: _File, src_vq: Vb2Queue, dst_vq: Vb2Queue) -> None:
        ops = Vb2Ops(
            queue_setup=self.queue_setup, buf_prepare=self.buf_prepare, buf_queue=self.buf_queue,
            buf_out_validate=self.buf_out_validate, start_streaming=self.start_streaming,
            stop_streaming=self.stop_streaming,
        )  # fmt: skip
        for q, kind in ((src_vq, "OUTPUT"), (dst_vq, "CAPTURE")):
            q.type = getattr(c, f"V4L2_BUF_TYPE_VIDEO_{kind}")
            q.io_modes = VB2_MMAP | VB2_USERPTR | VB2_DMABUF
            q.drv_priv, q.ops, q.mem_ops = fh, ops, vb2_vmalloc_memops
            q.timestamp_flags = c.V4L2_BUF_FLAG_TIMESTAMP_COPY
            vb2_queue_init(q)

    # --- what programs ask for and set -----------------------------------------------------------

    def querycap(self, file: File, fh: _File, cap: Any) -> None:
        """Tell what the device is."""
        cap.driver, cap.card = b"mapdev", self.card.encode()[:31]
        cap.bus_info = f"platform:{self.dev.name if self.dev else self.card}".encode()[:31]

    def subscribe(self, fh: _File, sub: Any) -> int:
        """Subscribe to the end of a stream, and to controls."""
        if sub.type == c.V4L2_EVENT_EOS:
            return v4l2_event_subscribe(fh, sub, 2)
        return v4l2_ctrl_subscribe_event(fh, sub)

    def enum_fmt(self, file: File, fh: _File, f: Any) -> None:
        """Tell one of a queue's formats."""
        formats = list(fh.modes[V4L2_TYPE_IS_OUTPUT(f.type)].formats)
        if f.index >= len(formats):
            raise OSError(errno.EINVAL, f"there are {len(formats)} formats")
        f.pixelformat = formats[f.index]

    def enum_framesizes(self, file: File, fh: _File, f: Any) -> None:
        """Tell which sizes there are."""
        if f.index or not any(f.pixel_format in modes.formats for modes in fh.modes.values()):
            raise OSError(errno.EINVAL, "no such format, or no more sizes")
        fh.modes[True].tell_sizes(f)

    def g_fmt(self, file: File, fh: _File, f: Any) -> None:
        """Tell a queue's format."""
        fh.modes[V4L2_TYPE_IS_OUTPUT(f.type)].fill(f)
        self._set_colors(f, fh.colors)

    def try_fmt(self, file: File, fh: _File, f: Any) -> None:
        """Change a wish to what there is: colours and size are those of the output queue."""
        is_output, pix, colors = V4L2_TYPE_IS_OUTPUT(f.type), f.fmt.pix, fh.colors
        if is_output and 0 < pix.colorspace <= c.V4L2_COLORSPACE_DCI_P3:
            colors = tuple(getattr(pix, name) for name in _COLORS)
            if pix.colorspace == c.V4L2_COLORSPACE_JPEG:  # what that is short for
                colors = _JPEG_COLORS
        if not is_output:
            pix.width, pix.height = fh.modes[True].size
        fh.modes[is_output].try_fmt(f)
        self._set_colors(f, colors)

    def s_fmt(self, file: File, fh: _File, f: Any) -> None:
        """Set a queue's format; EBUSY, there are buffers."""
        self.try_fmt(file, fh, f)
        is_output = V4L2_TYPE_IS_OUTPUT(f.type)
        assert fh.m2m_ctx is not None
        if vb2_is_busy(v4l2_m2m_get_vq(fh.m2m_ctx, f.type)):
            raise OSError(errno.EBUSY, "there are buffers")
        new_size = (f.fmt.pix.width, f.fmt.pix.height)
        if is_output and new_size != fh.modes[False].size:
            if vb2_is_busy(fh.m2m_ctx.dst_vq):
                raise OSError(errno.EBUSY, "there are buffers of the size that was set")
            fh.modes[False].size = new_size
        fh.modes[is_output].take(f)
        if is_output:
            fh.colors = tuple(getattr(f.fmt.pix, name) for name in _COLORS)

    def _set_colors(self, f: Any, colors: tuple[int, ...]) -> None:
        for name, value in zip(_COLORS, colors, strict=True):
            setattr(f.fmt.pix, name, value)

    # --- buffers and jobs ------------------------------------------------------------------------

    def queue_setup(
        self, q: Vb2Queue, count: int, nplanes: int, sizes: list[int]
    ) -> tuple[int, list[int]]:
        """Say how large buffers are."""
        least = q.drv_priv.modes[q.is_output].plane_sizes
        if nplanes and (nplanes != 1 or sizes[0] < least[0]):
            raise OSError(errno.EINVAL, f"a buffer takes {least[0]} bytes")
        return count, sizes or least

    def buf_out_validate(self, vb: Any) -> None:
        """Refuse fields."""
        refuse_fields(vb)

    def buf_prepare(self, vb: Any) -> None:
        """Refuse buffers that are too small."""
        least = vb.vb2_queue.drv_priv.modes[vb.vb2_queue.is_output].plane_sizes
        if vb2_plane_size(vb) < least[0]:
            raise OSError(errno.EINVAL, f"a buffer takes {least[0]} bytes")
        if not vb.vb2_queue.is_output:
            vb.field = c.V4L2_FIELD_NONE

    def buf_queue(self, vb: Any) -> None:
        """Take a buffer; of a codec that was drained with none the next is the last, and empty."""
        q = vb.vb2_queue
        ctx = q.drv_priv.m2m_ctx
        if not q.is_output and q.streaming and v4l2_m2m_dst_buf_is_last(ctx):
            ctx.next_buf_last = False
            vb2_set_plane_payload(vb, 0, 0)
            v4l2_m2m_last_buffer_done(ctx, vb)
            self._say_end(q.drv_priv)
            return
        v4l2_m2m_buf_queue(ctx, vb)

    def start_streaming(self, q: Vb2Queue, count: int) -> None:
        """Begin anew with numbers."""
        q.drv_priv.sequences[q.is_output] = 0
        v4l2_m2m_update_start_streaming_state(q.drv_priv.m2m_ctx, q)

    def stop_streaming(self, q: Vb2Queue) -> None:
        """Give all buffers of a queue back."""
        ctx = q.drv_priv.m2m_ctx
        v4l2_m2m_update_stop_streaming_state(ctx, q)
        remove = v4l2_m2m_src_buf_remove if q.is_output else v4l2_m2m_dst_buf_remove
        while (vb := remove(ctx)) is not None:
            v4l2_m2m_buf_done(vb, VB2_BUF_STATE_ERROR)
        if not q.is_output:
            v4l2_m2m_clear_state(ctx)
        elif v4l2_m2m_has_stopped(ctx):
            self._say_end(q.drv_priv)

    def _run(self, work: WorkStruct) -> None:
        """Do the job of the file whose turn it is."""
        fh = v4l2_m2m_get_curr_priv(self.m2m_dev)
        ctx = fh.m2m_ctx
        src, dst = v4l2_m2m_src_buf_remove(ctx), v4l2_m2m_dst_buf_remove(ctx)
        state = VB2_BUF_STATE_DONE
        try:
            vb2_set_plane_payload(dst, 0, self._convert(fh, src, dst))
            self.done += 1
        except ValueError as error:
            log.info("codec: a picture can't be converted: %s", error)
            vb2_set_plane_payload(dst, 0, 0)
            state = VB2_BUF_STATE_ERROR
        for vb in (src, dst):
            vb.sequence = fh.sequences[vb.vb2_queue.is_output]
            fh.sequences[vb.vb2_queue.is_output] += 1
        v4l2_m2m_buf_copy_metadata(src, dst)
        is_last = v4l2_m2m_is_last_draining_src_buf(ctx, src)
        v4l2_m2m_buf_done(src, state)
        if is_last:
            v4l2_m2m_last_buffer_done(ctx, dst)
            self._say_end(fh)
        else:
            v4l2_m2m_buf_done(dst, state)
        v4l2_m2m_job_finish(self.m2m_dev, ctx)

    def _convert(self, fh: _File, src: Any, dst: Any) -> int:
        """Convert a picture; return the bytes that it has.

        :raises ValueError: it is no picture of the size that was set, or does not fit.
        """
        from mapdev.video.pixels import encode_jpeg

        size = fh.modes[True].size
        given, wanted = fh.modes[True].pixel_format, fh.modes[False].pixel_format
        data = bytes(vb2_plane_vaddr(src)[: vb2_get_plane_payload(src)])
        rgb = given.decode(data, *size)
        if rgb.shape[1::-1] != size:
            raise ValueError(f"a JPEG of {rgb.shape[1]}x{rgb.shape[0]}, not {size[0]}x{size[1]}")
        target = vb2_plane_vaddr(dst)
        if self.is_decoder:
            wanted.encode(rgb, wanted.planes(target, *size))
            return wanted.sizeimage(*size)
        made = encode_jpeg(rgb, self.quality.cur.val)
        if len(made) > len(target):
            raise ValueError(f"the JPEG has {len(made)} bytes, the buffer {len(target)}")
        target[: len(made)] = made
        return len(made)

    def _say_end(self, fh: _File) -> None:
        v4l2_event_queue_fh(fh, V4l2Event(type=c.V4L2_EVENT_EOS))
