"""Screen: a V4L2 output device, whose frames a test gets as arrays.

It is `camera` the other way round: the program fills buffers and queues them, the device shows one
after the other, each for the time of a picture, and gives it back. A kernel thread plays the
display, timed by a clock which a test may hold and step. A picture that was shown is kept as it
came, with its bytes in the program's format; what a test asks for is converted only then.

What is queued when a program ends its stream is shown at once, unless the clock is held: a real
device would lose it, but a test wants to see all that the program has written.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mapdev.driver import parse_number
from mapdev.drivers._video import Modes, PictureNode, Size, needs_numpy
from mapdev.linux import Kthread, kthread_run, kthread_stop
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2CtrlHandler
from mapdev.subsystems.v4l2.dev import V4l2Driver
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_DONE,
    vb2_get_plane_payload,
    vb2_plane_vaddr,
)
from mapdev.subsystems.v4l2.vb2_helpers import vb2_video_unregister_device
from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue, vb2_buffer_done
from mapdev.video.clock import FrameClock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mapdev.video.pixels import PixelFormat


@dataclass(frozen=True)
class Frame:
    """A picture that a program has shown.

    :ivar sequence: its number in the stream
    :ivar timestamp: nanoseconds, as the program gave it with the buffer
    :ivar planes: its bytes in each plane
    :ivar size: width and height
    """

    sequence: int
    timestamp: int
    planes: list[bytes]
    size: Size
    format: PixelFormat

    @property
    def data(self) -> bytes:
        """Its bytes, one plane after another."""
        return b"".join(self.planes)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture as an array of RGB, of shape (height, width, 3).

        :raises ValueError: the bytes are too few, or no JPEG.
        """
        planes = self.planes if self.format.is_split else self.planes[0]
        return self.format.decode(planes, *self.size)

    def image(self) -> Image:
        """Return it as a Pillow image."""
        from PIL import Image

        return Image.fromarray(self.pixels)


class Screen(V4l2Driver):
    """A video output (V4L2) whose frames a test gets as arrays.

    :ivar clock: says when the next picture is shown; `hold` and `step` it
    :ivar frames: the last pictures that were shown, the oldest first; all streams together
    :ivar shown: how many pictures were shown
    :ivar is_streaming: a program shows pictures
    """

    def probe(
        self, size: Any = "", rate: Any = "", format: Any = "", card: str = "mapdev screen",
        mplane: int | str = 0, keep: int | str = 64,
    ) -> None:  # fmt: skip
        """Make a screen.

        :param size: the sizes that can be set, as ``640x480+320x240``; any, if none is given
        :param rate: the rates, in pictures a second; any, if none is given
        :param format: the formats, as ``YUYV+MJPG``
        :param card: what the screen is called
        :param mplane: 1 for the multi-planar interface
        :param keep: how many pictures are kept
        :raises OSError: ENOPKG, NumPy is not installed.
        :raises ValueError: the screen can't have such modes.
        """
        needs_numpy("screen")
        self.modes = Modes(size, rate, format, bool(parse_number(mplane, "mplane")), is_any=True)
        self.clock = FrameClock()
        self.frames: deque[Frame] = deque(maxlen=max(1, parse_number(keep, "keep")))
        self.shown = 0
        self.is_streaming = False
        self._sequence = 0
        self._changed = threading.Condition()
        self._thread: Kthread | None = None
        self.node = PictureNode(
            card, self.modes, start=self._start, stop=self._stop, queued=self.clock.look,
            controls=V4l2CtrlHandler(), is_output=True, drvdata=self,
        )  # fmt: skip
        self.vdev = self.node.vdev

    def remove(self) -> None:
        """End the stream."""
        vb2_video_unregister_device(self.vdev)

    def _start(self, q: Vb2Queue, count: int) -> None:
        with self._changed:
            self.is_streaming, self._sequence = True, 0
            self._changed.notify_all()
        rate = self.modes.rate
        self.clock.start(rate.denominator, rate.numerator)
        self._thread = kthread_run(self._run, None, "screen")

    def _stop(self, q: Vb2Queue) -> None:
        self.clock.stop()
        if self._thread is not None:
            kthread_stop(self._thread)
        self._thread = None
        while not self.clock.is_held and (vb := self.node.take()) is not None:
            self._show_buffer(vb)
        self.node.give_back()
        with self._changed:
            self.is_streaming = False
            self._changed.notify_all()

    def _run(self, data: object) -> None:
        """Show buffers, in a thread, until the clock is stopped."""
        while (tick := self.clock.next_frame(lambda: bool(self.node.buffers))) is not None:
            vb = self.node.take()
            if vb is not None:
                self._show_buffer(vb)
                self.clock.taken(tick)

    def _show_buffer(self, vb: Any) -> None:
        planes = [
            bytes(vb2_plane_vaddr(vb, index)[: vb2_get_plane_payload(vb, index)])
            for index in range(vb.num_planes)
        ]
        modes = self.modes
        frame = Frame(self._sequence, vb.timestamp, planes, modes.size, modes.pixel_format)
        vb.sequence, vb.field = self._sequence, c.V4L2_FIELD_NONE
        self._sequence += 1
        with self._changed:
            self.frames.append(frame)
            self.shown += 1
            self._changed.notify_all()
        vb2_buffer_done(vb, VB2_BUF_STATE_DONE)

    # --- for tests -------------------------------------------------------------------------------

    def wait_streaming(self, timeout: float = 10.0) -> None:
        """Wait until a program shows pictures.

        :param timeout: seconds
        :raises TimeoutError: none did by then.
        """
        self._wait(lambda: self.is_streaming, timeout, lambda: "no program streams")

    def wait_frames(self, frames: int, timeout: float = 10.0) -> None:
        """Wait until so many pictures were shown, since the screen was made.

        :param timeout: seconds
        :raises TimeoutError: they were not by then.
        """
        self._wait(
            lambda: self.shown >= frames, timeout, lambda: f"{self.shown} of {frames} pictures"
        )

    def image(self) -> Image:
        """Return what is on the screen, as a Pillow image.

        :raises RuntimeError: there was no picture yet.
        """
        with self._changed:
            if not self.frames:
                raise RuntimeError("no program has shown a picture yet: see wait_frames")
            frame = self.frames[-1]
        return frame.image()

    def _wait(
        self, condition: Callable[[], bool], timeout: float, so_far: Callable[[], str]
    ) -> None:
        with self._changed:
            if self._changed.wait_for(condition, timeout):
                return
        raise TimeoutError(
            f"{so_far()} after {timeout:g} s: {len(self.vdev.fh_list)} files are open, "
            f"{self.node.queue.num_buffers} buffers made; the program has set {self.modes}; "
            f"{self.clock!r}"
        )
