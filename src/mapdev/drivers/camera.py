"""Camera: a V4L2 device whose pictures a test chooses, for unmodified programs that capture video.

A kernel thread plays the sensor. The clock tells it when a picture is due, it takes the oldest
buffer that the program has queued, draws into it (the very pages that the program has mapped) and
gives it back. If the program has no buffer queued the picture is lost, as with a real camera: its
number is missing in the program's sequence numbers. Pictures come from a *source*; what brightness,
exposure and the other controls do is done to them before they are converted to the format that the
program has set.

A test has the device in its hand: it holds the clock and steps it, loses pictures, sends broken
ones, breaks the stream or pulls the camera out, and asks what programs have set.

While it asks the source for a picture the thread holds no lock and no buffer, so that a source that
never returns keeps nothing but the thread. Settings of controls it finds as a whole, since each
change makes a new `Adjustments`. Whether a stream is current, and what tests wait for, is guarded
by one condition.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mapdev.driver import parse_number
from mapdev.drivers._video import Modes, PictureNode, Size, named_format, needs_numpy, rates_of
from mapdev.linux import (
    HZ,
    Kthread,
    kthread_run,
    kthread_should_stop,
    schedule_timeout_interruptible,
)
from mapdev.linux.context import context, must_fail
from mapdev.linux.log import log
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2Ctrl, V4l2CtrlHandler, V4l2CtrlOps
from mapdev.subsystems.v4l2.ctrl_new import v4l2_ctrl_new_std
from mapdev.subsystems.v4l2.dev import V4l2Driver
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_DONE,
    VB2_BUF_STATE_ERROR,
    vb2_plane_vaddr,
    vb2_set_plane_payload,
)
from mapdev.subsystems.v4l2.vb2_helpers import vb2_video_unregister_device
from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue, vb2_buffer_done, vb2_queue_error
from mapdev.video.clock import FrameClock, Tick

if TYPE_CHECKING:
    from PIL.Image import Image

    from mapdev.video.renderer import Renderer

_WARM_UP = 0.1  # seconds until the first picture of a stream
_PATIENCE = 2.0  # seconds that the end of a stream waits for the source
_CONTROLS = {  # number, and least, most, step and default
    "brightness": (c.V4L2_CID_BRIGHTNESS, 0, 255, 1, 128),
    "contrast": (c.V4L2_CID_CONTRAST, 0, 255, 1, 128),
    "saturation": (c.V4L2_CID_SATURATION, 0, 255, 1, 128),
    "gain": (c.V4L2_CID_GAIN, 0, 255, 1, 0),
    "hflip": (c.V4L2_CID_HFLIP, 0, 1, 1, 0),
    "vflip": (c.V4L2_CID_VFLIP, 0, 1, 1, 0),
    "exposure": (c.V4L2_CID_EXPOSURE_ABSOLUTE, 1, 10000, 1, 333),
    "focus": (c.V4L2_CID_FOCUS_ABSOLUTE, 0, 255, 1, 0),
    "quality": (c.V4L2_CID_JPEG_COMPRESSION_QUALITY, 1, 95, 1, 90),
}


class Camera(V4l2Driver):
    """A camera (V4L2) with pictures of your choice.

    :ivar clock: says when pictures are due; `hold` and `step` it for pictures that never differ
    :ivar frames: how many pictures programs were given in this stream, or the last one
    :ivar is_streaming: a program takes pictures
    """

    def probe(
        self, source: Any = "pattern", size: Any = "", rate: Any = "", format: Any = "",
        card: str = "mapdev camera", mplane: int | str = 0,
    ) -> None:  # fmt: skip
        """Make a camera.

        :param source: ``pattern``, an image, a directory of images, a video file, ``file.py:name``
            of a function or generator; in Python also the function itself
        :param size: the sizes to offer, as ``640x480+320x240``, the first as the default
        :param rate: the rates to offer, in pictures a second, as ``30+15``
        :param format: the formats to offer, as ``YUYV+MJPG``
        :param card: what the camera is called
        :param mplane: 1 for the multi-planar interface
        :raises OSError: ENOPKG, NumPy is not installed.
        :raises ValueError: there is no such source, or the camera can't have such modes.
        """
        needs_numpy("camera")
        from mapdev.video.adjust import Adjustments
        from mapdev.video.sources import open_source

        self.source = open_source(source)
        own = self.source.size
        even = None if own is None else (max(32, own[0] & ~1), max(16, own[1] & ~1))
        self.modes = Modes(size, rate, format, bool(parse_number(mplane, "mplane")), even)
        self.clock = FrameClock()
        self.frames = 0
        self.is_streaming = False
        self.adjustments = Adjustments()
        self._changed = threading.Condition()
        self._failing = 0
        self._quality = 90
        self._said = ""
        self._renderer: Renderer | None = None
        self._thread: Kthread | None = None
        controls = V4l2CtrlHandler()
        ops = V4l2CtrlOps(s_ctrl=self._s_ctrl)
        self.controls = {
            name: v4l2_ctrl_new_std(controls, ops, *numbers) for name, numbers in _CONTROLS.items()
        }
        self.node = PictureNode(
            card, self.modes, start=self._start, stop=self._stop, queued=self.clock.look,
            controls=controls, drvdata=self,
        )  # fmt: skip
        self.vdev = self.node.vdev

    def remove(self) -> None:
        """End the stream; programs that wait for a picture get ENODEV."""
        vb2_video_unregister_device(self.vdev)
        close = getattr(self.source, "close", None)
        if close is not None:
            close()

    def _s_ctrl(self, ctrl: V4l2Ctrl) -> None:
        """Change what is done to pictures from the next one on."""
        name = next(name for name, numbers in _CONTROLS.items() if numbers[0] == ctrl.id)
        if name == "quality":
            self._quality = ctrl.val
            if self._renderer is not None:
                self._renderer.quality = ctrl.val
        else:
            value = bool(ctrl.val) if name in ("hflip", "vflip") else ctrl.val
            self.adjustments = dataclasses.replace(self.adjustments, **{name: value})

    def _start(self, q: Vb2Queue, count: int) -> None:
        from mapdev.video.renderer import Renderer

        modes = self.modes
        self._renderer = Renderer(self.source, modes.pixel_format, modes.size, self._quality)
        self._said = ""
        with self._changed:
            self.frames, self.is_streaming = 0, True
            self._changed.notify_all()
        self.clock.start(modes.rate.denominator, modes.rate.numerator, _WARM_UP)
        self._thread = kthread_run(self._run, self._renderer, "camera")

    def _stop(self, q: Vb2Queue) -> None:
        self.clock.stop()
        with self._changed:
            self.is_streaming = False
            self._changed.notify_all()
        if self._thread is not None and not self._thread.stop(_PATIENCE):
            log.warning("camera: its source has not returned, the stream ends without it")
        self._thread = None
        self.node.give_back()

    def _run(self, renderer: Renderer) -> None:
        """Fill buffers, in a thread, until the clock is stopped or the source has ended."""
        from mapdev.video.sources import SourceError

        while (tick := self.clock.next_frame(lambda: bool(self.node.buffers))) is not None:
            if not self.node.buffers:
                continue
            state = VB2_BUF_STATE_DONE
            try:
                renderer.prepare(
                    tick.number, float(tick.number / self.modes.rate), self.adjustments
                )
            except SourceError as error:  # it has no more, or what it gives is no picture
                self._report(error)
                self.clock.taken(tick)
                self._end(renderer)
                return
            except Exception as error:
                self._report(error)
                state = VB2_BUF_STATE_ERROR
            with self._changed:
                if not self._is_current(renderer):
                    return
                self._fill(self.node.take(), tick, state)
                self._changed.notify_all()
            self.clock.taken(tick)

    def _is_current(self, renderer: Renderer) -> bool:
        """Whether a thread's stream still is; it may come back from its source late."""
        return self.is_streaming and renderer is self._renderer

    def _end(self, renderer: Renderer) -> None:
        """Have the stream fail once the program has fetched all pictures that there were."""
        queue = self.node.queue
        while queue.done_list and not kthread_should_stop():
            schedule_timeout_interruptible(HZ // 100)
        with self._changed:
            if self._is_current(renderer):
                vb2_queue_error(queue)

    def _fill(self, vb: Any, tick: Tick, state: int) -> None:
        """Write the picture that was prepared into a buffer and give it back."""
        assert self._renderer is not None
        planes = [vb2_plane_vaddr(vb, index) for index in range(vb.num_planes)]
        lengths = [0] * len(planes)
        if state == VB2_BUF_STATE_DONE:
            lengths = self._renderer.copy(planes)
            if self._failing:
                self._failing -= 1
                state, lengths = VB2_BUF_STATE_ERROR, [length // 2 for length in lengths]
        for index, length in enumerate(lengths):
            vb2_set_plane_payload(vb, index, length)
        vb.timestamp, vb.sequence, vb.field = tick.timestamp, tick.number, c.V4L2_FIELD_NONE
        self.frames += 1  # first: a program may end as soon as it has the picture
        vb2_buffer_done(vb, state)

    def _report(self, error: Exception) -> None:
        """Log what the source raised, once in a stream; a failed assertion fails the test."""
        if must_fail(error):
            context().machine.driver_raised(error)
        if repr(error) != self._said:
            self._said = repr(error)
            log.error("camera: no picture from its source: %r", error, exc_info=error)

    # --- for tests -------------------------------------------------------------------------------

    def drop(self, frames: int = 1) -> None:
        """Lose the next pictures: their sequence numbers are missing."""
        self.clock.skip(frames)

    def fail(self, frames: int = 1) -> None:
        """Have the next pictures be broken: cut off, with V4L2_BUF_FLAG_ERROR."""
        self._failing += frames

    def break_stream(self) -> None:
        """Have the stream fail: programs get EIO until they end it."""
        vb2_queue_error(self.node.queue)

    def vanish(self) -> None:
        """Pull the camera out: its node goes, and programs get ENODEV."""
        host = self._host() if self._host is not None else None
        if host is None:
            raise RuntimeError("the camera is not at any node")
        host.remove(self)

    def wait_streaming(self, timeout: float = 10.0) -> None:
        """Wait until a program takes pictures.

        :param timeout: seconds
        :raises TimeoutError: none did by then; the text says how far programs came.
        """
        self._wait(lambda: self.is_streaming, timeout, lambda: "no program streams")

    def wait_frames(self, frames: int, timeout: float = 10.0) -> None:
        """Wait until programs were given so many pictures in this stream, or the last one.

        :param timeout: seconds
        :raises TimeoutError: they were not by then.
        """
        self._wait(
            lambda: self.frames >= frames, timeout, lambda: f"{self.frames} of {frames} pictures"
        )

    def expect_format(
        self, format: str = "", size: Size | None = None, rate: Any = None, timeout: float = 10.0
    ) -> None:
        """Check what the program that streams has set; wait for one that streams.

        :param format: a name such as ``YUYV``; none is not checked, nor are size and rate
        :param size: width and height
        :param rate: pictures a second
        :param timeout: seconds
        :raises AssertionError: it has set something else.
        :raises TimeoutError: no program streams.
        """
        self.wait_streaming(timeout)
        wanted = named_format(format, True) if format else self.modes.pixel_format
        wanted_rate = self.modes.rate if rate is None else rates_of(rate)[0]
        if (wanted, tuple(size or self.modes.size), wanted_rate) != (
            self.modes.pixel_format, self.modes.size, self.modes.rate,
        ):  # fmt: skip
            width, height = size or self.modes.size
            text = f"{wanted.fourcc.strip()} {width}x{height} at {wanted_rate}"
            raise AssertionError(f"the program has set {self.modes}, not {text}")

    def last_frame(self) -> bytes:
        """Return the bytes of the last picture, as the program got them (one plane after another).

        :raises RuntimeError: there was none yet.
        """
        return b"".join(self._shown())

    def image(self) -> Image:
        """Return the last picture as a Pillow image, as it is after the program's format.

        :raises RuntimeError: there was none yet.
        """
        from PIL import Image

        data = self._shown()
        assert self._renderer is not None
        pixels = self._renderer.format.decode(
            data if self.modes.is_mplane else data[0], *self._renderer.size
        )
        return Image.fromarray(pixels)

    def _shown(self) -> list[bytes]:
        shown = self._renderer.shown if self._renderer is not None else []
        if not shown:
            raise RuntimeError("no program was given a picture yet: see wait_frames")
        return shown

    def _wait(
        self, condition: Callable[[], bool], timeout: float, so_far: Callable[[], str]
    ) -> None:
        with self._changed:
            if self._changed.wait_for(condition, timeout):
                return
        queue = self.node.queue
        raise TimeoutError(
            f"{so_far()} after {timeout:g} s: {len(self.vdev.fh_list)} files are open, "
            f"{queue.num_buffers} buffers made, {len(self.node.buffers)} of them queued; "
            f"the program has set {self.modes}; {self.clock!r}"
        )
