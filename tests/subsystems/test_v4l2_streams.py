"""Long streams, frames without a copy, and drivers that do wrong."""

import gc
import threading

import numpy
import pytest
import video_devices
from pace import patience

from mapdev.subsystems.v4l2 import (
    VB2_BUF_STATE_DONE,
    VB2_BUF_STATE_ERROR,
    vb2_buffer_done,
    vb2_plane_cookie,
    vb2_plane_vaddr,
)

SIZE = 320 * 240 * 2  # bytes of a frame


def finish(process, text="\n"):
    _, errors = process.communicate(text, timeout=patience(60))
    assert process.returncode == 0, errors


@pytest.mark.parametrize("memory", ["vmalloc", "dma_contig"])
def test_an_array_of_the_driver_is_the_memory_that_a_program_has_mapped(host, start_client, memory):
    capture = host.add(video_devices.Capture, "/dev/video0", memory=memory)
    process = start_client("""
fd = open_device(); request(fd, 2); view = map_buffer(fd, 1)
print(flush=True); input()
assert view[:4] == b"\\1\\2\\3\\4" and view[-1] == 9
view[:2] = b"ok"
print(flush=True); input()
""")
    process.stdout.readline()
    vb = capture.queue.bufs[1]
    array = numpy.frombuffer(vb2_plane_vaddr(vb), numpy.uint8)
    assert array.nbytes == SIZE and array.flags.writeable
    array[:4], array[-1] = (1, 2, 3, 4), 9
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    assert bytes(array[:2]) == b"ok"
    assert (vb2_plane_cookie(vb) is not None) == (memory == "dma_contig")
    del array
    finish(process)


def test_a_long_stream_does_not_grow(host, start_client):
    capture = host.add(video_devices.Capture, "/dev/video0")
    capture.fps = 1000
    process = start_client("""
fd = open_device(); maps = start(fd)
for turn in range(2):
    for number in range(700):
        b = dequeue(fd)
        assert b.sequence == turn * 700 + number
        assert maps[b.index][0] == maps[b.index][-1] == b.sequence & 255
        queue(fd, b.index)
    print(flush=True); input()
""")
    process.stdout.readline()
    host.settle()
    gc.collect()
    before = len(gc.get_objects())
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    host.settle()
    gc.collect()
    assert len(gc.get_objects()) - before < 300
    finish(process)


def test_a_frame_with_an_error(host, video_client):
    class Broken(video_devices.Capture):
        def run(self, data):
            while self.buffers:
                vb = self.buffers.pop(0)
                vb2_buffer_done(vb, VB2_BUF_STATE_ERROR)

    host.add(Broken, "/dev/video0")
    video_client("""
        fd = open_device()
        start(fd)
        for _ in range(3):
            b = dequeue(fd)
            assert b.flags & V4L2_BUF_FLAG_ERROR and not b.flags & V4L2_BUF_FLAG_DONE
    """)


def test_the_last_frame_of_a_stream(host, video_client):
    class Ends(video_devices.Capture):
        def run(self, data):
            import mapdev.subsystems.v4l2.constants as c

            vb = self.buffers.pop(0)
            vb.flags |= c.V4L2_BUF_FLAG_LAST
            vb2_buffer_done(vb, VB2_BUF_STATE_DONE)

    host.add(Ends, "/dev/video0")
    video_client("""
        fd = open_device()
        start(fd)
        assert dequeue(fd).flags & V4L2_BUF_FLAG_LAST
        fails(errno.EPIPE, dequeue, fd)
        assert polled(fd) & select.POLLIN            # at once: DQBUF says EPIPE
        off(fd)
        for index in range(3): queue(fd, index)
        on(fd)
        assert dequeue(fd).flags & V4L2_BUF_FLAG_LAST
    """)


def test_a_driver_that_keeps_buffers(host, video_client, caplog):
    class Keeps(video_devices.Capture):
        def stop_streaming(self, q):
            self.buffers.clear()

        def run(self, data):
            """Give nothing back."""

    capture = host.add(Keeps, "/dev/video0")
    video_client("""
        fd = open_device()
        start(fd)
        off(fd)
        assert not query(fd, 0).flags & V4L2_BUF_FLAG_QUEUED
        queue(fd, 0)
    """)
    assert "has kept" in caplog.text
    caplog.clear()
    assert capture.queue.owned_by_drv_count == 0


def test_a_buffer_that_is_given_back_twice(host, video_client, caplog):
    class Twice(video_devices.Capture):
        def run(self, data):
            vb = self.buffers.pop(0)
            for _ in range(2):
                vb2_buffer_done(vb, VB2_BUF_STATE_DONE)

    host.add(Twice, "/dev/video0")
    video_client("fd = open_device()\nstart(fd)\ndequeue(fd)")
    assert "that the driver does not have" in caplog.text
    caplog.clear()


def test_an_operation_that_raises_something_else(host, video_client, caplog):
    class Raises(video_devices.Capture):
        def start_streaming(self, q, count):
            self.buffers.clear()
            raise ValueError("a mistake")

    host.add(Raises, "/dev/video0")
    video_client("""
        fd = open_device()
        request(fd, 2)
        queue(fd, 0)
        fails(errno.EIO, on, fd)
        assert query(fd, 0).flags & V4L2_BUF_FLAG_QUEUED
        request(fd, 0)
    """)
    assert "a mistake" in caplog.text
    caplog.clear()


def test_two_programs_take_turns(host, start_client):
    host.add(video_devices.Capture, "/dev/video0")
    first = start_client("fd = open_device(); start(fd); print(flush=True); input()")
    first.stdout.readline()
    second = start_client("""
fd = open_device()
fails(errno.EBUSY, request, fd, 2)
print(flush=True); input()
wait_until(lambda: request(fd, 2))
""")
    second.stdout.readline()
    ended = threading.Thread(target=finish, args=(first,))
    ended.start()
    ended.join()
    finish(second)
