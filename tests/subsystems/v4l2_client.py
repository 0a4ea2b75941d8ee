"""A client of V4L2 devices: commands by their names, buffers, mappings. Imported by clients."""

# ruff: noqa: F403, F405 - kernel names
import ctypes
import errno
import fcntl
import mmap
import os
import select
import time

from mapdev.subsystems.v4l2.constants import *
from mapdev.subsystems.v4l2.structures import *

CAPTURE = V4L2_BUF_TYPE_VIDEO_CAPTURE
OUTPUT = V4L2_BUF_TYPE_VIDEO_OUTPUT
MMAP, USERPTR, DMABUF = V4L2_MEMORY_MMAP, V4L2_MEMORY_USERPTR, V4L2_MEMORY_DMABUF


def ioctl(fd, cmd, arg=0):
    """Make a call with a structure, which it may change, or a number, which is put into an int."""
    if isinstance(arg, int):
        arg = ctypes.c_int32(arg)
    fcntl.ioctl(fd, cmd, arg, True)
    return arg


def fails(code, function, *args):
    """Check that a call fails with an errno."""
    try:
        result = function(*args)
    except OSError as error:
        found = errno.errorcode[error.errno]
        assert error.errno == code, f"{found}, not {errno.errorcode[code]}"
    else:
        raise AssertionError(f"returned {result!r}, not {errno.errorcode[code]}")


def open_device(path="/dev/video0", flags=os.O_RDWR):
    return os.open(path, flags)


def request(fd, count, type_=CAPTURE, memory=MMAP):
    return ioctl(fd, VIDIOC_REQBUFS, V4l2Requestbuffers(count=count, type=type_, memory=memory))


def query(fd, index, type_=CAPTURE):
    return ioctl(fd, VIDIOC_QUERYBUF, V4l2Buffer(index=index, type=type_))


def map_buffer(fd, index, type_=CAPTURE, prot=mmap.PROT_READ | mmap.PROT_WRITE):
    b = query(fd, index, type_)
    return mmap.mmap(fd, b.length, mmap.MAP_SHARED, prot, offset=b.m.offset)


def queue(device, index, type_=CAPTURE, memory=MMAP, **fields):
    b = V4l2Buffer(index=index, type=type_, memory=memory)
    for name, value in fields.items():
        setattr(b.m if name in ("userptr", "fd") else b, name, value)
    return ioctl(device, VIDIOC_QBUF, b)


def dequeue(fd, type_=CAPTURE, memory=MMAP):
    return ioctl(fd, VIDIOC_DQBUF, V4l2Buffer(type=type_, memory=memory))


def on(fd, type_=CAPTURE):
    return ioctl(fd, VIDIOC_STREAMON, type_)


def off(fd, type_=CAPTURE):
    return ioctl(fd, VIDIOC_STREAMOFF, type_)


def polled(fd, events=select.POLLIN, timeout=0):
    poller = select.poll()
    poller.register(fd, events)
    return dict(poller.poll(timeout)).get(fd, 0)


def start(fd, count=3):
    """Request, map and queue buffers, and start; return the mappings."""
    maps = [map_buffer(fd, index) for index in range(request(fd, count).count)]
    for index in range(len(maps)):
        queue(fd, index)
    on(fd)
    return maps


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
