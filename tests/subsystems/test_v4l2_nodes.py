"""Further nodes of a driver, selections as old commands see them, and codecs that drain."""

import errno
import subprocess

import m2m_device
import pytest
import video_devices

import mapdev
from mapdev.host.loading import DriverError
from mapdev.subsystems import v4l2
from mapdev.subsystems.v4l2 import constants as c


class TwoNodes(video_devices.Capture):
    """Has a node that it registers itself, for metadata of a kind."""

    def probe(self):
        super().probe()
        self.second = v4l2.VideoDevice(
            "second", fops=self.vdev.fops, ioctl_ops=self.vdev.ioctl_ops, queue=self.queue,
            device_caps=self.vdev.device_caps, drvdata=self,
        )  # fmt: skip
        v4l2.video_register_device(self.second, v4l2.VFL_TYPE_VIDEO, 7)

    def remove(self):
        v4l2.vb2_video_unregister_device(self.second)


def test_a_node_that_a_driver_registers(host, video_client):
    device = host.add(TwoNodes, "/dev/video0")
    name = host.run(
        ["cat", "/sys/class/video4linux/video7/name"], stdout=subprocess.PIPE, text=True, check=True
    )
    assert name.stdout == "second\n"
    video_client("""
        import stat
        first, second = open_device(), open_device("/dev/video7")
        assert os.major(os.stat("/dev/video7").st_rdev) == 81
        assert os.stat("/dev/video0").st_rdev != os.stat("/dev/video7").st_rdev
        start(second)
        dequeue(second)
        fails(errno.EBUSY, request, first, 2)
        assert ioctl(first, VIDIOC_G_PRIORITY).value == V4L2_PRIORITY_INTERACTIVE
    """)
    process_sees = "test -e /dev/video7 && echo there || echo gone"
    v4l2.video_is_registered(device.second)
    host.run_for(device, v4l2.video_unregister_device, device.second)
    seen = host.run(["sh", "-c", process_sees], stdout=subprocess.PIPE, text=True).stdout
    assert seen == "gone\n"
    assert not v4l2.video_is_registered(device.second)


class Cropped(video_devices.Capture):
    """Shows a part of its picture."""

    def operations(self):
        ops = super().operations()
        ops._ops["vidioc_g_selection"] = self.g_selection
        ops._ops["vidioc_s_selection"] = self.s_selection
        self.crop = (8, 4, 100, 50)
        return ops

    def g_selection(self, file, fh, s):
        if s.type != c.V4L2_BUF_TYPE_VIDEO_CAPTURE:
            raise OSError(errno.EINVAL, "another type")
        whole = (0, 0, 320, 240)
        found = {
            c.V4L2_SEL_TGT_CROP: self.crop,
            c.V4L2_SEL_TGT_CROP_DEFAULT: whole,
            c.V4L2_SEL_TGT_CROP_BOUNDS: whole,
        }.get(s.target)
        if found is None:
            raise OSError(errno.EINVAL, "no such target")
        s.r.left, s.r.top, s.r.width, s.r.height = found

    def s_selection(self, file, fh, s):
        if s.target != c.V4L2_SEL_TGT_CROP:
            raise OSError(errno.EINVAL, "no such target")
        self.crop = (s.r.left, s.r.top, s.r.width, s.r.height)


def test_old_commands_see_selections(host, video_client):
    device = host.add(Cropped, "/dev/video0")
    video_client("""
        fd = open_device()
        box = lambda r: (r.left, r.top, r.width, r.height)
        crop = ioctl(fd, VIDIOC_G_CROP, V4l2Crop(type=CAPTURE))
        assert box(crop.c) == (8, 4, 100, 50)
        crop.c.left = 9
        ioctl(fd, VIDIOC_S_CROP, crop)
        cap = ioctl(fd, VIDIOC_CROPCAP, V4l2Cropcap(type=CAPTURE))
        assert box(cap.bounds) == box(cap.defrect) == (0, 0, 320, 240)
        assert (cap.pixelaspect.numerator, cap.pixelaspect.denominator) == (1, 1)
        # the type of multi-planar buffers means the same, and comes back as it was
        s = V4l2Selection(type=V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, target=V4L2_SEL_TGT_CROP)
        ioctl(fd, VIDIOC_G_SELECTION, s)
        assert box(s.r) == (9, 4, 100, 50) and s.type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE
        fails(errno.EINVAL, ioctl, fd, VIDIOC_G_SELECTION,
              V4l2Selection(type=CAPTURE, target=V4L2_SEL_TGT_COMPOSE))
        fails(errno.EINVAL, ioctl, fd, VIDIOC_G_CROP, V4l2Crop(type=OUTPUT))
    """)
    assert device.crop == (9, 4, 100, 50)


class Codec(m2m_device.Inverter):
    """An inverter that stops as a stateful decoder does."""

    def probe(self):
        super().probe()
        ops = self.vdev.ioctl_ops._ops
        ops["vidioc_decoder_cmd"] = v4l2.v4l2_m2m_ioctl_decoder_cmd
        ops["vidioc_try_decoder_cmd"] = v4l2.v4l2_m2m_ioctl_try_decoder_cmd

    def start_streaming(self, q, count):
        super().start_streaming(q, count)
        v4l2.v4l2_m2m_update_start_streaming_state(q.drv_priv.m2m_ctx, q)

    def stop_streaming(self, q):
        v4l2.v4l2_m2m_update_stop_streaming_state(q.drv_priv.m2m_ctx, q)
        super().stop_streaming(q)

    def buf_queue(self, vb):
        ctx = vb.vb2_queue.drv_priv.m2m_ctx
        if not vb.vb2_queue.is_output and v4l2.v4l2_m2m_dst_buf_is_last(ctx):
            v4l2.vb2_set_plane_payload(vb, 0, 0)
            v4l2.v4l2_m2m_last_buffer_done(ctx, vb)
            return
        super().buf_queue(vb)

    def finish_buffers(self, ctx, src, dst):
        is_last = v4l2.v4l2_m2m_is_last_draining_src_buf(ctx, src)
        if is_last:
            dst.flags |= c.V4L2_BUF_FLAG_LAST
            v4l2.v4l2_m2m_mark_stopped(ctx)
        super().finish_buffers(ctx, src, dst)


def test_a_codec_drains(host, video_client):
    host.add(Codec, "/dev/video0")
    video_client("""
        fd = open_device()
        size = 320 * 240 * 2
        command = lambda cmd: ioctl(fd, VIDIOC_DECODER_CMD, V4l2DecoderCmd(cmd=cmd))
        fails(errno.EINVAL, command, V4L2_DEC_CMD_PAUSE)
        views = {type_: [map_buffer(fd, i, type_) for i in range(request(fd, 2, type_).count)]
                 for type_ in (OUTPUT, CAPTURE)}
        assert query(fd, 0, CAPTURE).m.offset >= 1 << 30 > query(fd, 1, OUTPUT).m.offset
        for number in (0, 1):
            views[OUTPUT][number][:] = bytes([number]) * size
            queue(fd, number, OUTPUT, bytesused=size)
            queue(fd, number, CAPTURE)
        on(fd, OUTPUT)
        command(V4L2_DEC_CMD_STOP)
        fails(errno.EBUSY, command, V4L2_DEC_CMD_STOP)       # it drains
        fails(errno.EBUSY, command, V4L2_DEC_CMD_START)
        on(fd, CAPTURE)
        for number in (0, 1):
            b = dequeue(fd, CAPTURE)
            assert views[CAPTURE][b.index][0] == 255 - number
            assert bool(b.flags & V4L2_BUF_FLAG_LAST) == bool(number), number
        fails(errno.EPIPE, dequeue, fd, CAPTURE)
        assert polled(fd) & select.POLLIN
        command(V4L2_DEC_CMD_STOP)                           # it has stopped: nothing to do
        command(V4L2_DEC_CMD_START)
        dequeue(fd, OUTPUT)
        queue(fd, 0, CAPTURE)
        queue(fd, 0, OUTPUT, bytesused=size)
        assert dequeue(fd, CAPTURE).bytesused == size
        # nothing is queued for decoding: the last buffer is an empty one
        command(V4L2_DEC_CMD_STOP)
        queue(fd, 1, CAPTURE)
        b = dequeue(fd, CAPTURE)
        assert b.flags & V4L2_BUF_FLAG_LAST and not b.bytesused
        off(fd, CAPTURE)
        off(fd, OUTPUT)
    """)


def test_where_a_device_is(host, video_client):
    class OnBoard(video_devices.Capture):
        dev_parent = "platform/camera.3"

        def querycap(self, file, fh, cap):
            cap.driver, cap.card = b"driver", b"card"

    host.add(OnBoard, "/dev/video0")
    video_client("""
        cap = ioctl(open_device(), VIDIOC_QUERYCAP, V4l2Capability())
        assert cap.bus_info == b"platform:camera.3", cap.bus_info
    """)


def test_nodes_of_one_piece_of_hardware_are_counted():
    with mapdev.host():
        both = v4l2.V4l2Device("both")
        made = [
            v4l2.VideoDevice(name, fops=v4l2.V4l2FileOperations(), v4l2_dev=both) for name in "ab"
        ]
    assert [vdev.index for vdev in made] == [0, 1]


def test_a_probe_that_makes_no_device(host):
    class Nothing(v4l2.V4l2Driver):
        def probe(self):
            """Forget it."""

    with pytest.raises(DriverError, match="leaves no VideoDevice"):
        host.add(Nothing, "/dev/video0")


def test_a_job_that_does_not_end(host, video_client, caplog, monkeypatch):
    monkeypatch.setattr("mapdev.subsystems.v4l2.mem2mem._STOP_SECONDS", 0.1)

    class Stuck(m2m_device.Inverter):
        def device_run(self, fh):
            """Never end."""

    host.add(Stuck, "/dev/video0")
    code = """
        fd = open_device()
        for type_ in (OUTPUT, CAPTURE):
            request(fd, 1, type_)
            queue(fd, 0, type_)
            on(fd, type_)
    """
    video_client(code)
    assert "does not end when its file is closed" in caplog.text
    caplog.clear()
    video_client("fd = open_device()\nassert request(fd, 2).count == 2")
