"""`mapdev run --watch`: the view in the upper half of the terminal in which the command runs.

The terminal scrolls its lower part only (DECSTBM), where the command writes; the view is painted
above, with the cursor put back afterwards. A program that uses the whole screen, such as an editor,
paints over it: watch that from another terminal, by `mapdev watch`. Where standard error is no
terminal the events are written there, a line each.

Objects: a thread that looks at the recorder from `start` to `stop`. It takes no lock.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from typing import TYPE_CHECKING, Any

from mapdev.linux.log import log
from mapdev.watch import recording
from mapdev.watch.model import Timeline
from mapdev.watch.picture import draw
from mapdev.watch.plain import event_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mapdev.host.core.host import Host

__all__ = ["Recording", "Serving", "Watching"]

_LOOK = 0.1  # seconds between two looks at what has come
_END = 2.0  # seconds that the last events may take to be shown
_FEWEST_ROWS = 18  # of a terminal that is divided


class _Follower:
    """Follows a host's recorder in a thread.

    :param host: whose events are followed from now on; its lock is taken for a moment.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._recorder, self._number, self.snapshot = host.control.begin()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mapdev watch", daemon=True)
        self._thread.start()

    def events(self) -> Iterator[list[Any]]:
        """Yield what happens, in batches, until `stop`; an empty one when nothing did."""
        is_last = False
        while not is_last:
            is_last = self._ended.wait(_LOOK)
            events = self._recorder.since(self._number)
            if events:
                self._number = events[-1][0]
            yield [list(event) for event in events]

    def stop(self) -> None:
        """Show the last events, and end."""
        self._ended.set()
        self._thread.join(_END)
        self._host.control.end()

    def _follow(self) -> None:
        raise NotImplementedError


class Recording(_Follower):
    """Writes a host's events into a file: ``mapdev run --record FILE``.

    :raises OSError: the file can't be made.
    """

    def __init__(self, host: Host, path: str) -> None:
        self._file = open(path, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        self._path = path
        super().__init__(host)

    def _follow(self) -> None:
        try:
            with self._file:
                recording.write(
                    self._file, self.snapshot, (e for batch in self.events() for e in batch)
                )
        except OSError as error:  # the command goes on
            log.error("%s: the recording ends here: %s", self._path, error.strerror)


class Serving(_Follower):
    """Shows a host's events in a browser: ``mapdev run --web``; says where, on standard error."""

    def _follow(self) -> None:
        from mapdev.watch.web import Page

        name = self._host.control.name or str(os.getpid())
        page = Page(name, self.snapshot, (e for batch in self.events() for e in batch))
        print(f"mapdev: open {page.url}", file=sys.stderr, flush=True)
        self._ended.wait()
        page.close()


class Watching(_Follower):
    """Shows a host's events above its command, or on standard error: ``mapdev run --watch``."""

    def __init__(self, host: Host) -> None:
        self._terminal = -1
        is_screen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        if is_screen and shutil.get_terminal_size().lines >= _FEWEST_ROWS:
            self._terminal = os.dup(sys.stderr.fileno())
        self._name = host.control.name
        super().__init__(host)

    def _follow(self) -> None:
        if self._terminal < 0:
            for batch in self.events():
                for event in batch:
                    print("\n".join(event_lines(event)), file=sys.stderr, flush=True)
            return
        timeline = Timeline(self.snapshot)
        size = shutil.get_terminal_size()
        self._divide(size.lines)
        try:
            self._paint(timeline, size)
            for batch in self.events():
                for event in batch:
                    timeline.add(event)
                now = shutil.get_terminal_size()
                if now != size:
                    self._divide(now.lines)
                if batch or now != size:
                    self._paint(timeline, now)
                size = now
        finally:
            self._write("\x1b7\x1b[r\x1b8")
            os.close(self._terminal)

    def _divide(self, rows: int) -> None:
        """Have the terminal scroll its lower half only, with the cursor in there."""
        half = rows // 2
        self._write(f"\x1b[2J\x1b[{half + 1};{rows}r\x1b[{half + 1};1H")

    def _paint(self, timeline: Timeline, size: os.terminal_size) -> None:
        half = size.lines // 2
        title = f"mapdev run --watch  {len(timeline.events)} events"
        if self._name:
            title += f"  (step through them: mapdev watch {self._name})"
        lines = [*draw(timeline, size.columns, half - 1, title), "=" * size.columns]
        shown = [f"\x1b[{row};1H{line[: size.columns]}\x1b[K" for row, line in enumerate(lines, 1)]
        self._write(f"\x1b7{''.join(shown)}\x1b8")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            os.write(self._terminal, text.encode())
