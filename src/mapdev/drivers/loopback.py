"""Loopback: what one program shows on an output node, another captures from a camera node.

It has two nodes: the capture node is where the user has put the device, the output node is the
next ``/dev/videoN`` (`video_register_device`). Readers get the writer's format, whatever they ask
for; it stays when the writer has gone. Each picture is copied from the writer's buffer into the
reader's, by a kernel thread. If a reader streams and has no buffer queued the writer waits for it,
so that nothing is lost; without a reader pictures pass by. The control "Wait For Reader" has it
wait always, for a reader that is yet to come too, or never.

When no picture comes, two controls say what the reader gets: with "Sustain Framerate" the last one
again, in the time of a picture; after "Timeout" milliseconds a black one. Else it waits.

All state that the thread and operations share is guarded by one condition, which the thread holds
but for its waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from mapdev.driver import parse_number
from mapdev.drivers._video import Modes, PictureNode, needs_numpy
from mapdev.linux import kthread_run, kthread_should_stop, kthread_stop
from mapdev.subsystems.v4l2 import constants as c
from mapdev.subsystems.v4l2.ctrl import V4l2Ctrl, V4l2CtrlConfig, V4l2CtrlHandler, V4l2CtrlOps
from mapdev.subsystems.v4l2.ctrl_new import v4l2_ctrl_new_custom
from mapdev.subsystems.v4l2.dev import V4l2Device, V4l2Driver
from mapdev.subsystems.v4l2.macros import VFL_TYPE_VIDEO
from mapdev.subsystems.v4l2.registration import video_register_device
from mapdev.subsystems.v4l2.vb2_buffer import (
    VB2_BUF_STATE_DONE,
    vb2_get_plane_payload,
    vb2_plane_vaddr,
    vb2_set_plane_payload,
)
from mapdev.subsystems.v4l2.vb2_helpers import vb2_video_unregister_device
from mapdev.subsystems.v4l2.vb2_queue import Vb2Queue, vb2_buffer_done, vb2_is_busy

_LOOK = 1.0  # seconds; whoever changes something says so before
_OWN = c.V4L2_CID_USER_BASE | 0xE000
_WAIT, _SUSTAIN, _TIMEOUT = _OWN, _OWN + 1, _OWN + 2
_WAITS = ("never", "streaming", "always")


class Loopback(V4l2Driver):
    """A camera (V4L2) whose pictures another program shows on an output node.

    :ivar reader: the capture node
    :ivar writer: the output node
    :ivar written: how many pictures were written
    :ivar captured: how many pictures the reader was given in this stream, or the last one
    """

    def probe(
        self, size: Any = "", rate: Any = "", format: Any = "", card: str = "mapdev loopback",
        output: int | str = -1, wait: str = "streaming",
    ) -> None:  # fmt: skip
        """Make both nodes.

        :param size: the sizes that the writer can set; any, if none is given
        :param rate: the rates, in pictures a second; any, if none is given
        :param format: the formats, as ``YUYV+MJPG``
        :param card: what the device is called
        :param output: the number of the output node; the next free one if none is given
        :param wait: whether the writer waits for the reader: ``never``, while it is ``streaming``,
            or ``always``
        :raises OSError: ENOPKG, NumPy is not installed; ENFILE, no number is left.
        :raises ValueError: the device can't have such modes.
        """
        needs_numpy("loopback")
        if wait not in _WAITS:
            raise ValueError(f"wait={wait!r}: it is {', '.join(_WAITS[:-1])} or {_WAITS[-1]}")
        self.written = self.captured = self._sequence = 0
        self.is_reading = self._is_ended = False
        self.settings = {_WAIT: _WAITS.index(wait), _SUSTAIN: 0, _TIMEOUT: 0}
        self._left: deque[bytes] = deque()  # of a writer that has gone
        self._last: bytes | None = None
        self._given = self._heard = 0.0  # when the reader got a picture, and the writer gave one
        self._changed = threading.Condition()
        controls = self._controls()
        device = V4l2Device(card)
        modes = Modes(size, rate, format, is_any=True)
        following = Modes(size, rate, format)
        following.follow(modes)
        self.writer = PictureNode(
            card, modes, start=self._start_writing, stop=self._stop_writing, queued=self._notify,
            controls=controls, is_output=True, drvdata=self, v4l2_dev=device,
        )  # fmt: skip
        self.reader = PictureNode(
            card, following, start=self._start_reading, stop=self._stop_reading,
            queued=self._notify, controls=controls, drvdata=self, v4l2_dev=device,
        )  # fmt: skip
        self.writer.is_locked = lambda: vb2_is_busy(self.reader.queue)
        self.writer.changed = self._format_changed
        self.reader.changed = lambda: following.follow(modes)  # whatever it has set
        self.vdev = self.reader.vdev
        video_register_device(self.writer.vdev, VFL_TYPE_VIDEO, parse_number(output, "output"))
        self._thread = kthread_run(self._run, None, "loopback")

    def remove(self) -> None:
        """End both streams."""
        for node in (self.writer, self.reader):
            vb2_video_unregister_device(node.vdev)
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()
        kthread_stop(self._thread)

    def _controls(self) -> V4l2CtrlHandler:
        controls = V4l2CtrlHandler()
        ops = V4l2CtrlOps(s_ctrl=self._s_ctrl)
        for config in (
            V4l2CtrlConfig(
                ops=ops, id=_WAIT, name="Wait For Reader", type=c.V4L2_CTRL_TYPE_MENU,
                max=len(_WAITS) - 1, def_=self.settings[_WAIT],
                qmenu=tuple(word.capitalize() for word in _WAITS),
            ),
            V4l2CtrlConfig(
                ops=ops, id=_SUSTAIN, name="Sustain Framerate", type=c.V4L2_CTRL_TYPE_BOOLEAN,
                max=1, step=1,
            ),
            V4l2CtrlConfig(
                ops=ops, id=_TIMEOUT, name="Timeout", type=c.V4L2_CTRL_TYPE_INTEGER,
                max=100000, step=1,
            ),
        ):  # fmt: skip
            v4l2_ctrl_new_custom(controls, config)
        return controls

    def _format_changed(self) -> None:
        """Have the reader follow the writer; what is left in another format goes."""
        with self._changed:
            if self.reader.modes.plane_sizes != self.writer.modes.plane_sizes:
                self._left.clear()
            self.reader.modes.follow(self.writer.modes)

    def _s_ctrl(self, ctrl: V4l2Ctrl) -> None:
        with self._changed:
            self.settings[ctrl.id] = ctrl.val
            self._changed.notify_all()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _start_writing(self, q: Vb2Queue, count: int) -> None:
        with self._changed:
            self._last, self._sequence = None, 0
            self._changed.notify_all()

    def _stop_writing(self, q: Vb2Queue) -> None:
        with self._changed:
            waits = self.settings[_WAIT] > (0 if self.is_reading else 1)
            while (vb := self.writer.take()) is not None:
                self._left.append(bytes(self._picture(vb)))
                self._done(vb)
            if not waits:
                self._left.clear()
            self._changed.notify_all()

    def _start_reading(self, q: Vb2Queue, count: int) -> None:
        with self._changed:
            self.captured, self.is_reading = 0, True
            self._given = self._heard = time.monotonic()
            self._changed.notify_all()

    def _stop_reading(self, q: Vb2Queue) -> None:
        with self._changed:
            self.is_reading = False
            self.reader.give_back()
            self._changed.notify_all()

    def _run(self, data: object) -> None:
        """Bring pictures from the writer to the reader, in a thread."""
        with self._changed:
            while not (self._is_ended or kthread_should_stop()):
                left = self._due() - time.monotonic()
                if self._can_move():
                    self._move()
                elif left <= 0:
                    self._repeat()
                else:
                    self._changed.wait(min(left, _LOOK))

    def _can_move(self) -> bool:
        """Whether a picture of the writer's can go its way."""
        waits = self.settings[_WAIT] > (0 if self.is_reading else 1)
        has_one = bool(self._left or self.writer.buffers)
        return has_one and not (waits and not self.reader.buffers)

    def _move(self) -> None:
        """Bring one picture to the reader, or let it pass by."""
        vb = None if self._left else self.writer.take()
        data = self._left.popleft() if vb is None else self._picture(vb)
        self._heard = time.monotonic()
        if self.is_reading:
            self._give(data)
        if self.settings[_SUSTAIN]:
            self._last = bytes(data)
        if vb is not None:
            self._done(vb)

    def _picture(self, vb: Any) -> memoryview:
        return vb2_plane_vaddr(vb)[: vb2_get_plane_payload(vb)]

    def _done(self, vb: Any) -> None:
        """Give a buffer back to the writer."""
        vb.sequence, vb.field = self._sequence, c.V4L2_FIELD_NONE
        self._sequence += 1
        self.written += 1
        vb2_buffer_done(vb, VB2_BUF_STATE_DONE)

    def _give(self, data: bytes | memoryview) -> None:
        """Copy a picture into a buffer of the reader's; it is lost if there is none."""
        vb = self.reader.take()
        self._given = time.monotonic()
        if vb is not None:
            vb2_plane_vaddr(vb)[: len(data)] = data
            vb2_set_plane_payload(vb, 0, len(data))
            vb.timestamp, vb.sequence = time.monotonic_ns(), self.captured
            vb.field = c.V4L2_FIELD_NONE
        self.captured += 1
        if vb is not None:
            vb2_buffer_done(vb, VB2_BUF_STATE_DONE)

    def _due(self) -> float:
        """Return when the reader is to get a picture that the writer has not given."""
        if not self.is_reading or not self.reader.buffers:
            return float("inf")
        again = self._given + float(1 / self.writer.modes.rate)
        due = again if self.settings[_SUSTAIN] and self._last is not None else float("inf")
        if self.settings[_TIMEOUT]:
            due = min(due, max(again, self._heard + self.settings[_TIMEOUT] / 1000))
        return due

    def _repeat(self) -> None:
        """Give the reader the last picture again, or a black one."""
        timeout = self.settings[_TIMEOUT]
        if timeout and time.monotonic() >= self._heard + timeout / 1000:
            self._give(self._black())
        elif self._last is not None:
            self._give(self._last)

    def _black(self) -> bytes:
        import numpy as np

        from mapdev.video.pixels import encode_jpeg

        width, height = self.writer.modes.size
        entry = self.writer.modes.pixel_format
        picture = np.zeros((height, width, 3), np.uint8)
        if entry.is_compressed:
            return encode_jpeg(picture)
        data = bytearray(entry.sizeimage(width, height))
        entry.encode(picture, entry.planes(data, width, height))
        return bytes(data)
