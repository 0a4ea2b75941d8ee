"""`mapdev watch` in a terminal: paints the picture, reads keys, steps through time.

Drawn with the few escape sequences that any terminal since the VT100 has, so that it works over
ssh, at 80 columns, without colour. `mapdev run --watch` has the view above a command in the same
terminal: a library that wants the whole screen for itself would not do.
"""

from __future__ import annotations

import os
import queue
import select
import shutil
import sys
import termios
import threading
import tty
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mapdev.watch.client import HostError
from mapdev.watch.model import Timeline
from mapdev.watch.picture import draw

__all__ = ["KEYS", "run_view", "show_lines"]

KEYS = "space: pause, go on  left, right: step  [ ]: 100 steps  home, end  q: quit"
_LOOK = 0.1  # seconds between two looks at what has come
_STEPS = {"left": -1, "right": 1, "p": -1, "n": 1, "h": -1, "l": 1, "[": -100, "]": 100}
_ENDS = "~ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # of a sequence for a key
_SEQUENCES = {
    b"\x1b[D": "left", b"\x1bOD": "left", b"\x1b[C": "right", b"\x1bOC": "right",
    b"\x1b[H": "home", b"\x1bOH": "home", b"\x1b[1~": "home",
    b"\x1b[F": "end", b"\x1bOF": "end", b"\x1b[4~": "end",
}  # fmt: skip


def show_lines(events: Iterable[Any]) -> None:
    """Print events as they come, one line each and one a call: what a pipe gets."""
    from mapdev.watch.plain import event_lines

    for event in events:
        print("\n".join(event_lines(event)), flush=True)


class _Feed:
    """Takes events in a thread of its own, since keys have to be read meanwhile.

    :ivar ended: why no more come; "" while they do.
    """

    def __init__(self, events: Iterator[Any]) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._events = events
        self.ended = ""
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            for event in self._events:
                self._queue.put(event)
            self.ended = "the host has ended"
        except HostError as error:
            self.ended = str(error)

    def into(self, timeline: Timeline) -> bool:
        """Add what has come to `timeline`; say whether there was any."""
        came = False
        while not self._queue.empty():
            timeline.add(self._queue.get())
            came = True
        return came


@contextmanager
def _cbreak() -> Iterator[None]:
    """Read keys one by one, without echo, on the other screen of the terminal."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        sys.stdout.write("\x1b[?1049h\x1b[?25l")
        yield
    finally:
        sys.stdout.write("\x1b[?25h\x1b[?1049l")
        sys.stdout.flush()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def keys_of(data: bytes) -> list[str]:
    """Return the keys that were pressed, by what the terminal sent: names, or single characters."""
    keys = []
    while data:
        known = next((one for one in _SEQUENCES if data.startswith(one)), data[:1])
        keys.append(_SEQUENCES.get(known, known.decode(errors="replace")))
        data = data[len(known) :]
        if known == b"\x1b" and data:  # a key that is not known here: skip it
            keys.pop()
            end = next((at for at, byte in enumerate(data[1:], 1) if chr(byte) in _ENDS), 0)
            data = data[end + 1 :]
    return keys


def _read_keys(timeout: float) -> list[str]:
    if not select.select([sys.stdin], [], [], timeout)[0]:
        return []
    data = os.read(sys.stdin.fileno(), 256)
    return keys_of(data) if data else ["q"]


def run_view(name: str, snapshot: dict[str, Any], events: Iterator[Any], *, at_end: bool) -> int:
    """Show a host, or a recording, until q is pressed; return the exit status.

    :param at_end: begin with the last event there is, else with the first.
    """
    timeline = Timeline(snapshot)
    feed = _Feed(events)
    with _cbreak():
        if not at_end:
            timeline.pause()
        shown: list[str] = []
        size = (0, 0)
        while True:
            feed.into(timeline)
            columns, rows = shutil.get_terminal_size()
            lines = draw(timeline, columns, rows - 1, _title(name, timeline, feed.ended))
            if lines != shown or size != (columns, rows):
                sys.stdout.write("\x1b[2J" if size != (columns, rows) else "")
                paint([*lines, KEYS], columns)
                shown, size = lines, (columns, rows)
            for key in _read_keys(_LOOK):
                if key in ("q", "\x1b"):
                    return 0
                act_on(key, timeline)


def act_on(key: str, timeline: Timeline) -> None:
    """Do what a key asks for."""
    if key == " ":
        if timeline.follows:
            timeline.pause()
        else:
            timeline.go_to(len(timeline.events))
    elif key in _STEPS:
        timeline.step(_STEPS[key])
    elif key in ("home", "g"):
        timeline.go_to(0)
        timeline.pause()
    elif key in ("end", "G"):
        timeline.go_to(len(timeline.events))


def paint(lines: list[str], columns: int) -> None:
    """Write lines from the top of the terminal on, in one go."""
    out = []
    for row, line in enumerate(lines, 1):
        out.append(f"\x1b[{row};1H{line[:columns]}\x1b[K")
    sys.stdout.write("".join(out))
    sys.stdout.flush()


def _title(name: str, timeline: Timeline, ended: str) -> str:
    how = "live" if timeline.follows else "PAUSED"
    if ended:
        how = f"{ended}; {how}" if not timeline.follows else ended
    where = name.rpartition("/")[2]
    return f"mapdev watch  {timeline.position}/{len(timeline.events)} events  {how}  {where}"
