"""Commands, formats, controls, events and priorities of V4L2, in the order of a kernel's checks."""

import pytest
import video_devices


@pytest.fixture
def capture(host):
    return host.add(video_devices.Capture, "/dev/video0")


def test_what_is_checked_first(capture, video_client):
    video_client("""
        fd = open_device()
        libc = ctypes.CDLL(None, use_errno=True)
        def raw(cmd, arg):
            ctypes.set_errno(0)
            result = libc.ioctl(fd, ctypes.c_ulong(cmd), ctypes.c_void_p(arg))
            return errno.errorcode[ctypes.get_errno()] if result < 0 else result
        # a command that is not known: its structure is copied before anybody looks at the number
        assert raw(0x40105680, 8) == "EFAULT"
        assert raw(0x80105680, 8) == "ENOTTY"            # nothing is copied in
        assert raw(0x5401, 8) == "ENOTTY"
        assert raw(VIDIOC_QUERYCAP + 1, 8) == "ENOTTY"
        assert raw(VIDIOC_QUERYCAP, 8) == "EFAULT"
        assert raw(VIDIOC_S_FMT, 8) == "EFAULT"
        # known, and not this device's
        for cmd in (VIDIOC_G_STD, VIDIOC_G_TUNER, VIDIOC_G_DV_TIMINGS, VIDIOC_ENUMOUTPUT,
                    VIDIOC_G_SELECTION, VIDIOC_G_CROP, VIDIOC_ENUMAUDIO, VIDIOC_DECODER_CMD,
                    VIDIOC_G_EDID, VIDIOC_OVERLAY):
            memory = ctypes.create_string_buffer(512)
            assert raw(cmd, ctypes.addressof(memory)) == "ENOTTY", hex(cmd)
        # planes are copied for multi-planar buffers only, before the type is looked at
        b = V4l2Buffer(type=V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, length=9)
        fails(errno.EINVAL, ioctl, fd, VIDIOC_QUERYBUF, b)
        b = V4l2Buffer(type=V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE, length=1)
        b.m.planes = 8
        fails(errno.EFAULT, ioctl, fd, VIDIOC_QUERYBUF, b)
        b.type = CAPTURE
        fails(errno.EINVAL, ioctl, fd, VIDIOC_QUERYBUF, b)
    """)


def test_what_the_core_fills_in_and_clears(capture, video_client):
    video_client("""
        fd = open_device()
        cap = ioctl(fd, VIDIOC_QUERYCAP, V4l2Capability())
        assert cap.device_caps == (V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_READWRITE
                                   | V4L2_CAP_EXT_PIX_FORMAT)
        assert cap.capabilities == cap.device_caps | V4L2_CAP_DEVICE_CAPS
        major, minor = os.uname().release.split(".")[:2]
        assert cap.version >> 8 == int(major) << 8 | int(minor.split("-")[0])
        d = V4l2Fmtdesc(type=CAPTURE, description=b"x" * 31, flags=0xffff, pixelformat=7)
        ioctl(fd, VIDIOC_ENUM_FMT, d)
        assert (d.description, d.flags, d.pixelformat) == (b"YUYV 4:2:2", 0, V4L2_PIX_FMT_YUYV)
        fails(errno.EINVAL, ioctl, fd, VIDIOC_ENUM_FMT, V4l2Fmtdesc(type=CAPTURE, index=2))
        fails(errno.EINVAL, ioctl, fd, VIDIOC_ENUM_FMT, V4l2Fmtdesc(type=OUTPUT))
        fails(errno.EINVAL, ioctl, fd, VIDIOC_ENUM_FMT,
              V4l2Fmtdesc(type=V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE))
        f = V4l2Format(type=CAPTURE)
        ctypes.memset(ctypes.byref(f.fmt), 0xee, 200)
        f = ioctl(fd, VIDIOC_G_FMT, f)
        pix = f.fmt.pix
        assert (pix.width, pix.height, pix.priv) == (320, 240, V4L2_PIX_FMT_PRIV_MAGIC)
        assert bytes(f.fmt)[ctypes.sizeof(pix):] == bytes(200 - ctypes.sizeof(pix))
        fails(errno.EINVAL, ioctl, fd, VIDIOC_G_FMT, V4l2Format(type=OUTPUT))
        fails(errno.EINVAL, ioctl, fd, VIDIOC_G_FMT, V4l2Format(type=99))
        ctypes.memset(ctypes.byref(f.fmt), 0xee, 200)
        f.fmt.pix.width, f.fmt.pix.height = 600, 500
        ioctl(fd, VIDIOC_TRY_FMT, f)
        assert (f.fmt.pix.width, f.fmt.pix.height) == (640, 480)
        assert f.fmt.pix.flags == 0 and bytes(f.fmt)[48:] == bytes(152)
        assert ioctl(fd, VIDIOC_G_FMT, V4l2Format(type=CAPTURE)).fmt.pix.width == 320
        i = V4l2Input(index=0, name=b"junk", status=7)
        ioctl(fd, VIDIOC_ENUMINPUT, i)
        assert (i.name, i.status, i.type) == (b"Picture", 0, V4L2_INPUT_TYPE_CAMERA)
        fails(errno.EINVAL, ioctl, fd, VIDIOC_ENUMINPUT, V4l2Input(index=1))
        assert ioctl(fd, VIDIOC_G_INPUT, 9).value == 0
        fails(errno.EINVAL, ioctl, fd, VIDIOC_S_INPUT, 1)
        p = V4l2Streamparm(type=CAPTURE)
        p.parm.capture.timeperframe.numerator, p.parm.capture.timeperframe.denominator = 1, 12
        p.parm.capture.extendedmode = p.parm.capture.capturemode = 0xff
        ioctl(fd, VIDIOC_S_PARM, p)
        c = p.parm.capture
        assert (c.timeperframe.denominator, c.extendedmode) == (10, 0)
        assert c.capturemode == V4L2_MODE_HIGHQUALITY
        fails(errno.EINVAL, ioctl, fd, VIDIOC_G_PARM, V4l2Streamparm(type=OUTPUT))
    """)


def test_priorities(capture, video_client):
    video_client("""
        low, high = open_device(), open_device()
        assert ioctl(low, VIDIOC_G_PRIORITY).value == V4L2_PRIORITY_INTERACTIVE
        fails(errno.EINVAL, ioctl, low, VIDIOC_S_PRIORITY, 4)
        fails(errno.EINVAL, ioctl, low, VIDIOC_S_PRIORITY, 0)
        ioctl(high, VIDIOC_S_PRIORITY, V4L2_PRIORITY_RECORD)
        assert ioctl(low, VIDIOC_G_PRIORITY).value == V4L2_PRIORITY_RECORD
        f = ioctl(low, VIDIOC_G_FMT, V4l2Format(type=CAPTURE))
        for cmd, arg in ((VIDIOC_S_FMT, f), (VIDIOC_S_INPUT, 0), (VIDIOC_STREAMON, CAPTURE),
                         (VIDIOC_S_CTRL, V4l2Control(id=V4L2_CID_BRIGHTNESS, value=1)),
                         (VIDIOC_S_PRIORITY, V4L2_PRIORITY_RECORD)):
            fails(errno.EBUSY, ioctl, low, cmd, arg)
        fails(errno.EBUSY, request, low, 2)
        ioctl(low, VIDIOC_TRY_FMT, f)
        os.close(high)
        wait_until(lambda: ioctl(low, VIDIOC_G_PRIORITY).value == V4L2_PRIORITY_INTERACTIVE)
        ioctl(low, VIDIOC_S_FMT, f)
    """)


CONTROLS = """
fd = open_device()
BASE = V4L2_CID_USER_BASE | 0xf000
BUTTON, STRING, BITS, LONG, NUMBERS, MATRIX, AREA = range(BASE, BASE + 7)
def get(number, fd=fd): return ioctl(fd, VIDIOC_G_CTRL, V4l2Control(id=number)).value
def put(number, value, fd=fd): return ioctl(fd, VIDIOC_S_CTRL, V4l2Control(id=number, value=value)).value
def ask(number): return ioctl(fd, VIDIOC_QUERY_EXT_CTRL, V4l2QueryExtCtrl(id=number))
def ext(cmd, *entries, which=0, fd=fd):
    array = (V4l2ExtControl * len(entries))()
    for entry, fields in zip(array, entries):
        for name, value in fields.items(): setattr(entry, name, value)
    cs = V4l2ExtControls(count=len(entries), which=which, controls=ctypes.addressof(array) if entries else 0)
    try: ioctl(fd, cmd, cs)
    except OSError as error: return errno.errorcode[error.errno], cs.error_idx, array
    return 0, cs.error_idx, array
G, S, T = VIDIOC_G_EXT_CTRLS, VIDIOC_S_EXT_CTRLS, VIDIOC_TRY_EXT_CTRLS
"""


def test_controls_one_at_a_time(capture, video_client):
    video_client(
        f"{CONTROLS}"
        + """
assert get(V4L2_CID_BRIGHTNESS) == 128
assert put(V4L2_CID_BRIGHTNESS, 300) == 255 and put(V4L2_CID_BRIGHTNESS, -5) == 0
assert put(V4L2_CID_AUTOGAIN, 17) == 1
fails(errno.ERANGE, put, V4L2_CID_POWER_LINE_FREQUENCY, 3)
fails(errno.EINVAL, put, V4L2_CID_CONTRAST, 3)
fails(errno.EINVAL, get, V4L2_CID_CONTRAST)
fails(errno.EACCES, get, BUTTON)
put(BUTTON, 1)
fails(errno.EINVAL, get, STRING)                       # not a number
fails(errno.EINVAL, get, LONG)
fails(errno.EACCES, get, V4L2_CID_USER_CLASS)
fails(errno.EACCES, put, V4L2_CID_USER_CLASS, 1)
assert put(BITS, 0x1ff) == 0xff
fails(errno.EACCES, get, V4L2_CID_PRIVATE_BASE)         # the first is the button
assert get(V4L2_CID_PRIVATE_BASE + 1) == 0xff          # the second of the driver's own numbers
q = ioctl(fd, VIDIOC_QUERYCTRL, V4l2Queryctrl(id=V4L2_CID_BRIGHTNESS))
assert (q.name, q.type, q.minimum, q.maximum, q.step, q.default_value, q.flags) == (
    b"Brightness", V4L2_CTRL_TYPE_INTEGER, 0, 255, 1, 128, V4L2_CTRL_FLAG_SLIDER)
m = ioctl(fd, VIDIOC_QUERYMENU, V4l2Querymenu(id=V4L2_CID_POWER_LINE_FREQUENCY, index=2))
assert m.name == b"60 Hz"
assert ioctl(fd, VIDIOC_QUERYMENU, V4l2Querymenu(id=NUMBERS, index=2)).value == 100
fails(errno.EINVAL, ioctl, fd, VIDIOC_QUERYMENU, V4l2Querymenu(id=NUMBERS, index=3))
fails(errno.EINVAL, ioctl, fd, VIDIOC_QUERYMENU, V4l2Querymenu(id=BITS, index=0))
"""
    )
    assert "s_ctrl Brightness=255" in capture.log
    assert "s_ctrl Button=0" in capture.log


def test_controls_are_listed(capture, video_client):
    video_client(
        f"{CONTROLS}"
        + """
def walk(flag):
    number, found = 0, []
    while True:
        try: q = ask(number | flag)
        except OSError as error:
            assert error.errno == errno.EINVAL
            return found
        number = q.id
        found.append(number)
simple = walk(V4L2_CTRL_FLAG_NEXT_CTRL)
compound = walk(V4L2_CTRL_FLAG_NEXT_COMPOUND)
assert compound == [MATRIX, AREA], compound
assert V4L2_CID_USER_CLASS in simple and V4L2_CID_IMAGE_PROC_CLASS in simple
assert simple == sorted(simple) and not set(simple) & set(compound)
assert walk(V4L2_CTRL_FLAG_NEXT_CTRL | V4L2_CTRL_FLAG_NEXT_COMPOUND) == sorted(simple + compound)
q = ask(MATRIX)
assert (q.elems, q.elem_size, q.nr_of_dims, list(q.dims)) == (12, 2, 2, [4, 3, 0, 0])
assert q.flags & V4L2_CTRL_FLAG_HAS_PAYLOAD
fails(errno.EINVAL, ask, V4L2_CID_CONTRAST)
"""
    )


def test_several_controls_at_once(capture, video_client):
    video_client(
        f"{CONTROLS}"
        + """
assert ext(G, {"id": V4L2_CID_BRIGHTNESS}, {"id": LONG})[2][1].value64 == 1 << 35
r = ext(S, {"id": V4L2_CID_BRIGHTNESS, "value": 9}, {"id": LONG, "value64": 1 << 50})
assert r[0] == 0 and r[2][1].value64 == (1 << 40) - 1
# what is found out beforehand: nothing was set, and error_idx is the number of controls
assert ext(S, {"id": V4L2_CID_BRIGHTNESS, "value": 5}, {"id": V4L2_CID_CONTRAST})[:2] == ("EINVAL", 2)
assert get(V4L2_CID_BRIGHTNESS) == 9
assert ext(T, {"id": V4L2_CID_BRIGHTNESS, "value": 5}, {"id": V4L2_CID_CONTRAST})[:2] == ("EINVAL", 1)
assert ext(G, {"id": V4L2_CID_BRIGHTNESS}, {"id": V4L2_CID_CONTRAST})[:2] == ("EINVAL", 2)
assert ext(S, {"id": V4L2_CID_POWER_LINE_FREQUENCY, "value": 9})[:2] == ("ERANGE", 1)
assert ext(T, {"id": V4L2_CID_POWER_LINE_FREQUENCY, "value": 9})[:2] == ("ERANGE", 0)
assert ext(G, {"id": BUTTON})[:2] == ("EACCES", 1)
assert ext(S, {"id": V4L2_CID_USER_CLASS})[:2] == ("EACCES", 1)
assert ext(G, {"id": V4L2_CID_PRIVATE_BASE})[:2] == ("EINVAL", 1)
# classes
assert ext(G, {"id": V4L2_CID_BRIGHTNESS}, which=V4L2_CTRL_CLASS_USER)[0] == 0
assert ext(G, {"id": V4L2_CID_BRIGHTNESS}, which=V4L2_CTRL_CLASS_CAMERA)[:2] == ("EINVAL", 1)
assert ext(G)[0] == 0 and ext(G, which=V4L2_CTRL_CLASS_USER)[0] == 0
assert ext(G, which=V4L2_CTRL_CLASS_JPEG)[0] == "EINVAL"
# defaults
assert ext(G, {"id": V4L2_CID_BRIGHTNESS}, which=V4L2_CTRL_WHICH_DEF_VAL)[2][0].value == 128
assert ext(S, {"id": V4L2_CID_BRIGHTNESS}, which=V4L2_CTRL_WHICH_DEF_VAL)[0] == "EINVAL"
assert ext(G, {"id": V4L2_CID_BRIGHTNESS}, which=V4L2_CTRL_WHICH_REQUEST_VAL)[0] == "EINVAL"
# strings
text = ctypes.create_string_buffer(b"abcd", 20)
where = ctypes.addressof(text)
assert ext(S, {"id": STRING, "size": 5, "string": where})[0] == 0
out = ctypes.create_string_buffer(20)
r = ext(G, {"id": STRING, "size": 4, "string": ctypes.addressof(out)})
assert r[0] == "ENOSPC" and r[2][0].size == 5
assert ext(G, {"id": STRING, "size": 20, "string": ctypes.addressof(out)})[0] == 0 and out.value == b"abcd"
text.value = b"a"
assert ext(S, {"id": STRING, "size": 5, "string": where})[0] == "ERANGE"      # too short
text.value = b"abcde"
assert ext(S, {"id": STRING, "size": 6, "string": where})[0] == "ERANGE"      # too long
assert ext(S, {"id": STRING, "size": 0, "string": where})[0] == "ERANGE"
# arrays and structures
matrix = (ctypes.c_uint16 * 12)(*[0xffff] * 12)
assert ext(G, {"id": MATRIX, "size": 2, "ptr": ctypes.addressof(matrix)})[0] == "ENOSPC"
assert ext(S, {"id": MATRIX, "size": 2, "ptr": ctypes.addressof(matrix)})[0] == "EFAULT"
assert ext(S, {"id": MATRIX, "size": 24, "ptr": ctypes.addressof(matrix)})[0] == 0
assert list(matrix) == [0x2000] * 12
area = V4l2Area(0, 5)
assert ext(S, {"id": AREA, "size": 8, "ptr": ctypes.addressof(area)})[0] == "EINVAL"
assert ext(G, {"id": AREA, "size": 8, "ptr": ctypes.addressof(area)})[0] == 0
assert (area.width, area.height) == (10, 20)
assert ext(G, {"id": AREA, "size": 8, "ptr": 8})[0] == "EFAULT"
"""
    )


def test_an_automatic_and_what_it_controls(capture, video_client):
    video_client(
        f"{CONTROLS}"
        + """
flags = lambda: ask(V4L2_CID_GAIN).flags
assert flags() & V4L2_CTRL_FLAG_INACTIVE and flags() & V4L2_CTRL_FLAG_VOLATILE
assert ask(V4L2_CID_AUTOGAIN).flags & V4L2_CTRL_FLAG_UPDATE
assert get(V4L2_CID_GAIN) == 77                        # what the automatic says
put(V4L2_CID_AUTOGAIN, 0)
assert not flags() & (V4L2_CTRL_FLAG_INACTIVE | V4L2_CTRL_FLAG_VOLATILE)
assert get(V4L2_CID_GAIN) == 77                        # and where manual begins
put(V4L2_CID_GAIN, 5)
assert get(V4L2_CID_GAIN) == 5
put(V4L2_CID_AUTOGAIN, 1)
assert get(V4L2_CID_GAIN) == 77
ext(S, {"id": V4L2_CID_AUTOGAIN, "value": 0}, {"id": V4L2_CID_GAIN, "value": 6})
assert get(V4L2_CID_GAIN) == 6
"""
    )


def test_events(capture, video_client):
    video_client(
        f"{CONTROLS}"
        + """
other = open_device(flags=os.O_RDWR | os.O_NONBLOCK)
def event(fd): return ioctl(fd, VIDIOC_DQEVENT, V4l2Event())
def subscribe(fd, number, type_=V4L2_EVENT_CTRL, flags=0, cmd=VIDIOC_SUBSCRIBE_EVENT):
    ioctl(fd, cmd, V4l2EventSubscription(type=type_, id=number, flags=flags))
PRI = select.POLLPRI
fails(errno.ENOENT, event, other)
fails(errno.EINVAL, subscribe, other, 1, V4L2_EVENT_ALL)
fails(errno.EINVAL, subscribe, other, 0, V4L2_EVENT_VSYNC)
fails(errno.EINVAL, subscribe, other, V4L2_CID_CONTRAST)
subscribe(other, V4L2_CID_BRIGHTNESS, flags=V4L2_EVENT_SUB_FL_SEND_INITIAL)
assert polled(other, PRI) & PRI
e = event(other)
assert (e.type, e.id, e.sequence, e.pending) == (V4L2_EVENT_CTRL, V4L2_CID_BRIGHTNESS, 0, 0)
assert e.u.ctrl.value == 128 and e.u.ctrl.changes == (
    V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_FLAGS)
assert polled(other, PRI) == 0
put(V4L2_CID_BRIGHTNESS, 5)
put(V4L2_CID_BRIGHTNESS, 6)                            # one event is kept, the latest
e = event(other)
assert (e.u.ctrl.value, e.u.ctrl.changes, e.sequence) == (6, V4L2_EVENT_CTRL_CH_VALUE, 2)
fails(errno.ENOENT, event, other)
put(V4L2_CID_BRIGHTNESS, 6)                            # no change, no event
put(V4L2_CID_BRIGHTNESS, 7, other)                     # nobody is told of what he did himself
fails(errno.ENOENT, event, other)
subscribe(other, V4L2_CID_BRIGHTNESS, flags=V4L2_EVENT_SUB_FL_ALLOW_FEEDBACK)   # it is subscribed
put(V4L2_CID_BRIGHTNESS, 8, other)
fails(errno.ENOENT, event, other)
subscribe(other, V4L2_CID_GAIN)
put(V4L2_CID_AUTOGAIN, 0)
e = event(other)
assert (e.id, e.u.ctrl.changes) == (V4L2_CID_GAIN, V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_FLAGS)
assert not e.u.ctrl.flags & V4L2_CTRL_FLAG_INACTIVE
put(V4L2_CID_BRIGHTNESS, 9); put(V4L2_CID_GAIN, 9)
assert (event(other).pending, event(other).pending) == (1, 0)
put(V4L2_CID_GAIN, 10)
subscribe(other, 0, V4L2_EVENT_ALL, cmd=VIDIOC_UNSUBSCRIBE_EVENT)
fails(errno.ENOENT, event, other)
subscribe(other, V4L2_CID_GAIN, cmd=VIDIOC_UNSUBSCRIBE_EVENT)        # none to end is no error
# a wait for an event
import threading
subscribe(fd, V4L2_CID_BRIGHTNESS)
threading.Timer(0.3, lambda: put(V4L2_CID_BRIGHTNESS, 99, other)).start()
assert event(fd).u.ctrl.value == 99
"""
    )


def test_what_a_driver_does_with_controls(capture, video_client):
    from mapdev.subsystems.v4l2 import (
        v4l2_ctrl_activate,
        v4l2_ctrl_grab,
        v4l2_ctrl_modify_range,
        v4l2_ctrl_s_ctrl,
    )

    v4l2_ctrl_s_ctrl(capture.brightness, 200)
    v4l2_ctrl_modify_range(capture.brightness, 10, 100, 1, 50)
    v4l2_ctrl_activate(capture.autogain, False)
    v4l2_ctrl_grab(capture.autogain, True)
    video_client(
        f"{CONTROLS}"
        + """
q = ask(V4L2_CID_BRIGHTNESS)
assert (q.minimum, q.maximum, q.default_value) == (10, 100, 50)
assert get(V4L2_CID_BRIGHTNESS) == 100
q = ask(V4L2_CID_AUTOGAIN)
assert q.flags & V4L2_CTRL_FLAG_GRABBED and q.flags & V4L2_CTRL_FLAG_INACTIVE
fails(errno.EBUSY, put, V4L2_CID_AUTOGAIN, 0)
assert ext(S, {"id": V4L2_CID_AUTOGAIN, "value": 0})[:2] == ("EBUSY", 1)
assert ext(T, {"id": V4L2_CID_AUTOGAIN, "value": 0})[0] == 0
"""
    )


def test_attributes_and_udev(capture, host):
    import subprocess

    def read(path):
        return host.run(["cat", path], stdout=subprocess.PIPE, text=True, check=True).stdout

    at = "/sys/class/video4linux/video0"
    assert read(f"{at}/name") == "test video\n"
    assert read(f"{at}/index") == "0\n"
    assert read(f"{at}/dev").startswith("81:")
    host.run(["sh", "-c", f"echo 3 >{at}/dev_debug"], check=True)
    assert read(f"{at}/dev_debug") == "0x3\n"
    assert capture.vdev.dev_debug == 3
    data = host.run(
        ["udevadm", "info", "/dev/video0"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert "ID_V4L_CAPABILITIES=:capture:" in data
    assert "ID_V4L_PRODUCT=test video" in data and "ID_V4L_VERSION=2" in data


def test_v4l2_ctl(capture, host, require_program):
    import subprocess

    require_program("v4l2-ctl", "v4l-utils")

    def ctl(*options):
        done = host.run(
            ["v4l2-ctl", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert "test video (platform:test):\n\t/dev/video0" in ctl("--list-devices")
    listed = ctl("-d", "/dev/video0", "--list-ctrls-menus")
    assert "2: 60 Hz" in listed and "2: 100 (0x64)" in listed
    formats = ctl("-d", "/dev/video0", "--list-formats-ext")
    assert "'YUYV' (YUYV 4:2:2)" in formats and "Discrete 640x480" in formats
    assert "(10.000 fps)" in formats
    ctl("-d", "/dev/video0", "--set-ctrl", "brightness=7")
    assert "brightness: 7" in ctl("-d", "/dev/video0", "--get-ctrl", "brightness")
