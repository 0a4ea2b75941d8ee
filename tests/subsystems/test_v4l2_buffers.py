"""videobuf2 as programs see it: buffers, mappings and streaming, with a kernel's errors."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import video_devices
from pace import patience


@pytest.fixture
def capture(host):
    return host.add(video_devices.Capture, "/dev/video0")


@pytest.fixture
def output(host):
    return host.add(video_devices.Output, "/dev/video0")


def test_frames_are_captured_in_order_without_a_copy(capture, video_client):
    video_client("""
        fd = open_device()
        maps = start(fd)
        for sequence in range(20):
            b = dequeue(fd)
            assert b.sequence == sequence, (b.sequence, sequence)
            assert b.bytesused == b.length == 320 * 240 * 2
            assert maps[b.index][:] == bytes([sequence]) * b.length
            assert b.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC
            assert b.flags & V4L2_BUF_FLAG_MAPPED and not b.flags & V4L2_BUF_FLAG_DONE
            queue(fd, b.index)
        off(fd)
    """)
    assert capture.log.count("init") == 3


def test_states_that_buffers_can_be_in(capture, video_client):
    video_client("""
        fd = open_device()
        fails(errno.EINVAL, query, fd, 0)
        fails(errno.EINVAL, on, fd)
        fails(errno.EINVAL, queue, fd, 0)
        off(fd)                                   # of nothing is no error
        assert request(fd, 1).count == 2          # the driver wants two
        assert request(fd, 100).count == 32
        r = request(fd, 3)
        assert r.capabilities & V4L2_BUF_CAP_SUPPORTS_ORPHANED_BUFS
        fails(errno.EINVAL, query, fd, 3)
        fails(errno.EINVAL, query, fd, 0, OUTPUT)
        fails(errno.EINVAL, queue, fd, 0, CAPTURE, USERPTR)
        fails(errno.EINVAL, request, fd, 2, CAPTURE, V4L2_MEMORY_OVERLAY)
        fails(errno.EINVAL, request, fd, 2, CAPTURE, 99)
        fails(errno.EINVAL, request, fd, 2, OUTPUT)
        fails(errno.EINVAL, dequeue, fd)          # not streaming
        b = queue(fd, 0)
        assert b.flags & V4L2_BUF_FLAG_QUEUED
        fails(errno.EINVAL, queue, fd, 0)         # queued already
        b = ioctl(fd, VIDIOC_PREPARE_BUF, V4l2Buffer(index=1, type=CAPTURE, memory=MMAP))
        assert b.flags & V4L2_BUF_FLAG_PREPARED
        fails(errno.EINVAL, ioctl, fd, VIDIOC_PREPARE_BUF,
              V4l2Buffer(index=1, type=CAPTURE, memory=MMAP))
        fails(errno.EINVAL, ioctl, fd, VIDIOC_PREPARE_BUF,
              V4l2Buffer(index=0, type=CAPTURE, memory=MMAP))
        fails(errno.EBADR, ioctl, fd, VIDIOC_QBUF,
              V4l2Buffer(index=2, type=CAPTURE, memory=MMAP, flags=V4L2_BUF_FLAG_REQUEST_FD))
        queue(fd, 1)
        on(fd)
        on(fd)                                    # once more does nothing
        fails(errno.EBUSY, request, fd, 0)
        fails(errno.EBUSY, request, fd, 3)
        fails(errno.EBUSY, ioctl, fd, VIDIOC_S_FMT, ioctl(fd, VIDIOC_G_FMT, V4l2Format(type=CAPTURE)))
        dequeue(fd)
        off(fd)
        for index in range(3):
            assert not query(fd, index).flags & (V4L2_BUF_FLAG_QUEUED | V4L2_BUF_FLAG_PREPARED)
        request(fd, 0)
    """)
    assert capture.log.count("finish") == 2
    assert capture.log.count("init") == capture.log.count("cleanup") == 2 + 32 + 3


def test_more_buffers(capture, video_client):
    video_client("""
        fd = open_device()
        f = ioctl(fd, VIDIOC_G_FMT, V4l2Format(type=CAPTURE))
        def create(count, size=None, memory=MMAP):
            c = V4l2CreateBuffers(count=count, memory=memory, format=f)
            if size is not None:
                c.format.fmt.pix.sizeimage = size
            return ioctl(fd, VIDIOC_CREATE_BUFS, c)
        assert create(0).index == 0
        c = create(2)
        assert (c.index, c.count) == (0, 2)
        c = create(3)
        assert (c.index, c.count) == (2, 3)
        fails(errno.EINVAL, create, 1, 0)
        fails(errno.EINVAL, create, 1, 10)
        fails(errno.EINVAL, create, 1, None, USERPTR)   # the others are mapped
        c = create(100)
        assert (c.index, c.count) == (5, 27), (c.index, c.count)
        fails(errno.ENOBUFS, create, 1)
        offsets = {query(fd, index).m.offset for index in range(32)}
        assert len(offsets) == 32
    """)


def test_what_can_be_mapped(capture, video_client):
    video_client("""
        fd = open_device()
        libc = ctypes.CDLL(None, use_errno=True)
        fails(errno.EINVAL, mmap.mmap, fd, 4096, mmap.MAP_SHARED)
        request(fd, 2)
        b = query(fd, 1)
        fails(errno.EINVAL,
              lambda: mmap.mmap(fd, b.length, mmap.MAP_PRIVATE, mmap.PROT_READ, offset=b.m.offset))
        fails(errno.EINVAL,
              lambda: mmap.mmap(fd, b.length, mmap.MAP_SHARED, mmap.PROT_WRITE, offset=b.m.offset))
        fails(errno.EINVAL, lambda: mmap.mmap(fd, b.length, mmap.MAP_SHARED, offset=b.m.offset + 4096))
        fails(errno.EINVAL, lambda: mmap.mmap(fd, b.length + 8192, mmap.MAP_SHARED, offset=b.m.offset))
        small = mmap.mmap(fd, 4096, mmap.MAP_SHARED, offset=b.m.offset)   # a part is allowed
        assert not query(fd, 0).flags & V4L2_BUF_FLAG_MAPPED
        assert query(fd, 1).flags & V4L2_BUF_FLAG_MAPPED
        small.close()
        wait_until(lambda: not query(fd, 1).flags & V4L2_BUF_FLAG_MAPPED)
    """)


def test_buffers_that_are_freed_while_mapped_are_orphans(capture, video_client):
    """Since Linux 5.0 VIDIOC_REQBUFS frees them, and what is mapped stays until it is unmapped."""
    video_client("""
        fd = open_device()
        request(fd, 2)
        old = map_buffer(fd, 0)
        old[:3] = b"old"
        request(fd, 0)
        assert old[:3] == b"old"
        fails(errno.EINVAL, query, fd, 0)
        request(fd, 2)
        new = map_buffer(fd, 0)
        new[:3] = b"new"
        assert old[:3] == b"old" and new[:3] == b"new"
        os.close(fd)
        assert old[:3] == b"old" and new[:3] == b"new"
    """)


def test_fork_with_mapped_buffers(capture, video_client):
    video_client("""
        fd = open_device()
        maps = start(fd)
        pid = os.fork()
        if not pid:
            b = dequeue(fd)
            assert maps[b.index][:] == bytes([b.sequence]) * b.length
            queue(fd, b.index)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        b = dequeue(fd)
        assert maps[b.index][:] == bytes([b.sequence & 255]) * b.length
    """)


def test_a_buffer_can_be_moved_and_unmapped(capture, video_client):
    video_client("""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mremap.restype = libc.mmap.restype = ctypes.c_void_p
        libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
        fd = open_device()
        request(fd, 2)
        b = query(fd, 0)
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        at = libc.mmap(None, b.length, 3, 1, fd, b.m.offset)
        ctypes.memmove(at, b"here", 4)
        # VM_DONTEXPAND: it may shrink and move, not grow
        assert libc.mremap(at, b.length, 2 * b.length, 1) == ctypes.c_void_p(-1).value
        assert ctypes.get_errno() == errno.EFAULT
        small = libc.mremap(at, b.length, 4096, 0)
        assert small == at and ctypes.string_at(at, 4) == b"here"
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        assert libc.munmap(at, 4096) == 0
        wait_until(lambda: not query(fd, 0).flags & V4L2_BUF_FLAG_MAPPED)
    """)


def test_a_queue_belongs_to_the_file_that_made_its_buffers(capture, video_client):
    video_client("""
        one, other = open_device(), open_device()
        request(one, 2)
        fails(errno.EBUSY, request, other, 2)
        fails(errno.EBUSY, request, other, 0)
        fails(errno.EBUSY, queue, other, 0)
        fails(errno.EBUSY, on, other)
        fails(errno.EBUSY, off, other)
        fails(errno.EBUSY, dequeue, other)
        fails(errno.EBUSY, os.read, other, 10)
        fails(errno.EBUSY, ioctl, other, VIDIOC_EXPBUF, V4l2Exportbuffer(type=CAPTURE))
        assert query(other, 0).length                 # anybody may look, and map
        map_buffer(other, 0).close()
        again = os.dup(one)
        queue(again, 0)                               # the same file
        request(one, 0)
        request(other, 2)
        os.close(other)
        request(one, 2)
    """)


def test_streamoff_ends_a_wait(capture, video_client):
    video_client("""
        import threading
        fd = open_device()
        request(fd, 2)
        on(fd)                                        # nothing is queued: nothing will come
        found = []
        def waits():
            try:
                dequeue(fd)
            except OSError as error:
                found.append(error.errno)
        thread = threading.Thread(target=waits)
        thread.start()
        time.sleep(0.2)
        fails(errno.EBUSY, dequeue, fd)               # another call waits
        off(fd)
        thread.join(20)
        assert found == [errno.EINVAL], found
    """)


def test_a_signal_ends_a_wait_and_the_next_call_may_wait(capture, video_client):
    video_client("""
        import signal, threading
        fd = open_device()
        request(fd, 2)
        on(fd)
        libc = ctypes.CDLL(None, use_errno=True)
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, True)
        for _ in range(2):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            b = V4l2Buffer(type=CAPTURE, memory=MMAP)
            assert libc.ioctl(fd, ctypes.c_ulong(VIDIOC_DQBUF), ctypes.byref(b)) == -1
            assert ctypes.get_errno() == errno.EINTR, ctypes.get_errno()
        queue(fd, 0)
        dequeue(fd)
    """)


def test_nonblocking(capture, video_client):
    video_client("""
        fd = open_device(flags=os.O_RDWR | os.O_NONBLOCK)
        request(fd, 2)
        fails(errno.EINVAL, dequeue, fd)
        on(fd)
        fails(errno.EAGAIN, dequeue, fd)
        queue(fd, 1)
        assert polled(fd, timeout=20000) & select.POLLIN
        assert dequeue(fd).index == 1
    """)


def test_what_poll_says(capture, video_client):
    video_client("""
        ERR, IN, PRI, OUT = select.POLLERR, select.POLLIN, select.POLLPRI, select.POLLOUT
        fd = open_device()
        request(fd, 2)
        assert polled(fd) & ERR                       # not streaming
        on(fd)
        assert polled(fd) & ERR                       # nothing was ever queued
        queue(fd, 0)
        assert polled(fd, timeout=20000) == IN
        assert polled(fd, OUT) & ~ERR == 0
        epoll = select.epoll()
        epoll.register(fd, select.EPOLLIN)
        assert epoll.poll(20) == [(fd, select.EPOLLIN)]
        dequeue(fd)
        assert polled(fd) == 0                        # streaming, and nothing done
        assert epoll.poll(0) == []
        off(fd)
        assert polled(fd) & ERR
    """)


def test_read(capture, video_client):
    video_client("""
        fd = open_device()
        size = 320 * 240 * 2
        first = os.read(fd, 1000)
        assert first == bytes(1000)
        rest = os.read(fd, 10 * size)                 # to the end of the frame, no further
        assert rest == bytes(size - 1000)
        assert os.read(fd, size) == b"\\1" * size
        fails(errno.EBUSY, request, fd, 2)
        fails(errno.EBUSY, on, fd)
        fails(errno.EBUSY, queue, fd, 0)
        fails(errno.EINVAL, os.write, fd, b"x")
        os.close(fd)
        fd = open_device()
        assert len(os.read(fd, 10)) == 10
    """)
    assert capture.log.count("stop") == 2


def test_write(output, video_client):
    video_client("""
        fd = open_device()
        size = 320 * 240 * 2
        for number in range(5):
            frame = bytes([number]) * size
            assert os.write(fd, frame[:100]) == 100
            assert os.write(fd, frame) == size - 100
        fails(errno.EINVAL, os.read, fd, 10)
        time.sleep(0.5)
    """)
    size = 320 * 240 * 2
    assert output.frames[:3] == [bytes([number]) * size for number in range(3)]


def test_memory_of_the_program(capture, video_client):
    video_client("""
        fd = open_device()
        size = 320 * 240 * 2
        areas = [mmap.mmap(-1, size + 4096) for _ in range(2)]
        where = [ctypes.addressof(ctypes.c_char.from_buffer(area)) for area in areas]
        request(fd, 2, memory=USERPTR)
        use = lambda index, **more: queue(fd, index, memory=USERPTR, userptr=where[index],
                                          **{"length": size, **more})
        fails(errno.EINVAL, lambda: use(0, length=size - 1))
        bad = V4l2Buffer(index=0, type=CAPTURE, memory=USERPTR, length=size)
        bad.m.userptr = 4096
        fails(errno.EFAULT, ioctl, fd, VIDIOC_QBUF, bad)
        use(0); use(1)
        on(fd)
        for _ in range(6):
            b = dequeue(fd, memory=USERPTR)
            assert b.m.userptr == where[b.index] and b.length == size
            assert areas[b.index][:size] == bytes([b.sequence]) * size, b.sequence
            assert areas[b.index][size:] == bytes(4096)
            use(b.index)
    """)


def test_what_is_shown(output, video_client):
    video_client("""
        fd = open_device()
        size = 320 * 240 * 2
        maps = [map_buffer(fd, index, OUTPUT) for index in range(request(fd, 2, OUTPUT).count)]
        b = V4l2Buffer(index=0, type=OUTPUT, memory=MMAP, bytesused=size + 1)
        fails(errno.EINVAL, ioctl, fd, VIDIOC_QBUF, b)
        for index in range(2):
            maps[index][:] = bytes([index + 7]) * size
            b = V4l2Buffer(index=index, type=OUTPUT, memory=MMAP, bytesused=size - index)
            b.timestamp.tv_sec = 1000 + index
            ioctl(fd, VIDIOC_QBUF, b)
        on(fd, OUTPUT)
        for index in range(2):
            b = dequeue(fd, OUTPUT)
            assert (b.index, b.timestamp.tv_sec, b.bytesused) == (index, 1000 + index, size - index)
            assert b.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK == V4L2_BUF_FLAG_TIMESTAMP_COPY
    """)
    size = 320 * 240 * 2
    assert output.frames == [b"\7" * size, b"\10" * (size - 1)]


def test_a_descriptor_of_a_buffer(capture, video_client):
    video_client("""
        fd = open_device()
        export = lambda **more: ioctl(fd, VIDIOC_EXPBUF, V4l2Exportbuffer(type=CAPTURE, **more)).fd
        fails(errno.EINVAL, export)
        request(fd, 2)
        for wrong in ({"index": 2}, {"plane": 1}, {"flags": os.O_APPEND}):
            fails(errno.EINVAL, lambda: export(**wrong))
        d = export(index=1, flags=os.O_RDWR | os.O_CLOEXEC)
        assert query(fd, 1).flags & V4L2_BUF_FLAG_MAPPED      # it is in use
        size = query(fd, 1).length
        assert os.lseek(d, 0, os.SEEK_END) >= size
        own = map_buffer(fd, 1)
        shown = mmap.mmap(d, size, mmap.MAP_SHARED)
        own[:5] = b"hello"
        assert shown[:5] == b"hello"
        fails(errno.EINVAL, lambda: mmap.mmap(d, size + 8192, mmap.MAP_SHARED))
        sync = ctypes.c_uint64(DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW)
        ioctl(d, DMA_BUF_IOCTL_SYNC, sync)
        fails(errno.EINVAL, ioctl, d, DMA_BUF_IOCTL_SYNC, ctypes.c_uint64(8))
        fails(errno.EINVAL, ioctl, d, DMA_BUF_IOCTL_SYNC, ctypes.c_uint64(DMA_BUF_SYNC_END))
        fails(errno.ENOTTY, ioctl, d, VIDIOC_QUERYCAP, V4l2Capability())
        request(fd, 0)
        os.close(fd)
        assert shown[:5] == b"hello"
    """)


def test_memory_of_another_device(host, capture, video_client):
    other = host.add(video_devices.Output, "/dev/video1")
    video_client("""
        camera, screen = open_device(), open_device("/dev/video1")
        size = 320 * 240 * 2
        request(camera, 2)
        request(screen, 2, OUTPUT, DMABUF)
        exported = [ioctl(camera, VIDIOC_EXPBUF, V4l2Exportbuffer(type=CAPTURE, index=i)).fd for i in (0, 1)]
        fails(errno.EINVAL, lambda: queue(screen, 0, OUTPUT, DMABUF, fd=screen))
        fails(errno.EINVAL, lambda: queue(screen, 0, OUTPUT, DMABUF, fd=999))
        fails(errno.EINVAL, lambda: queue(screen, 0, OUTPUT, DMABUF, fd=exported[0], length=10))
        queue(camera, 0); queue(camera, 1)
        on(camera)
        for number in range(6):
            b = dequeue(camera)
            queue(screen, b.index, OUTPUT, DMABUF, fd=exported[b.index], bytesused=size)
            if not number:
                on(screen, OUTPUT)
            shown = dequeue(screen, OUTPUT, DMABUF)
            assert shown.index == b.index
            queue(camera, b.index)
    """)
    size = 320 * 240 * 2
    assert other.frames == [bytes([number]) * size for number in range(6)]


def test_a_driver_that_does_not_start(capture, video_client):
    capture.fail_start = errno.EPIPE
    video_client("""
        fd = open_device()
        request(fd, 2)
        queue(fd, 0)
        fails(errno.EPIPE, on, fd)
        assert query(fd, 0).flags & V4L2_BUF_FLAG_QUEUED     # it stays queued
        off(fd)
        on(fd)                                               # too few buffers to start
        fails(errno.EPIPE, queue, fd, 0)
        assert not query(fd, 0).flags & V4L2_BUF_FLAG_QUEUED
    """)


def test_a_queue_that_fails(capture, video_client, host):
    import threading

    from mapdev.subsystems.v4l2 import vb2_queue_error

    capture.fps = 1
    failing = threading.Timer(0.5, lambda: vb2_queue_error(capture.queue))
    failing.start()
    video_client("""
        fd = open_device()
        request(fd, 2)
        on(fd)
        fails(errno.EIO, dequeue, fd)
        fails(errno.EIO, queue, fd, 0)
        assert polled(fd) & select.POLLERR
        off(fd)
        queue(fd, 0)
        on(fd)
        dequeue(fd)
    """)
    failing.join()


HERE = Path(__file__).parent


def test_a_program_that_is_killed_leaves_nothing(capture, host):
    code = "from v4l2_client import *\nfd = open_device(); maps = start(fd); print(flush=True)\nwhile True: queue(fd, dequeue(fd).index)"
    for _ in range(5):
        process = host.popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )  # fmt: skip
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(patience(30))
        process.stdout.close()
        host.settle()
        assert (
            capture.queue.owner is None and not capture.queue.bufs and not capture.queue.streaming
        )
    assert capture.log.count("init") == capture.log.count("cleanup") == 15


def test_a_hundred_files(capture, video_client):
    video_client("""
        files = [open_device() for _ in range(100)]
        assert all(ioctl(fd, VIDIOC_QUERYCAP, V4l2Capability()).driver == b"mapdev" for fd in files)
    """)
    assert capture.vdev.fh_list == []


def test_a_device_that_vanishes(host, capture):
    code = """
from v4l2_client import *
fd = open_device(); maps = start(fd)
print(flush=True)
try:
    while True: queue(fd, dequeue(fd).index)
except OSError as error: assert error.errno == errno.ENODEV, error
assert polled(fd) & select.POLLERR and polled(fd) & select.POLLHUP
fails(errno.ENODEV, request, fd, 0)
maps[0][:4]
"""
    process = host.popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )  # fmt: skip
    process.stdout.readline()
    host.remove("/dev/video0")
    _, errors = process.communicate(timeout=patience(30))
    assert process.returncode == 0, errors
