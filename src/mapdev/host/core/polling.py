"""`Polling` decides which open files have to run their driver's poll operation again, and when.

What poll, select and epoll show of a file may change with each operation of its driver and with
each wake-up of a wait queue that its poll operation named by `poll_wait`, whichever driver owns the
queue. A driver that names none has its files asked at each wake-up of a queue of its own. How an
answer is shown to clients is the host's business. Used under the host's lock.

Source: fs/select.c, fs/eventpoll.c
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from mapdev.host.core.files import OpenFile

__all__ = ["Polling"]


class Polling:
    """Keeps open files whose driver has a poll operation, by driver and by wait queue.

    :param show: asks the driver of a file and shows the answer; its second argument says whether a
        wait queue was woken, so that an edge-triggered epoll is due for an event.
    :ivar by_driver: the files, by their driver.
    """

    def __init__(self, show: Callable[[OpenFile, bool], None]) -> None:
        self._show = show
        self.by_driver: dict[Hashable, dict[OpenFile, None]] = {}
        self._by_queue: dict[Hashable, dict[OpenFile, None]] = {}
        self._queues: dict[OpenFile, set[Hashable]] = {}  # under which a file is in `_by_queue`

    def add(self, open_file: OpenFile) -> None:
        """Know a new file, if its driver has a poll operation."""
        if open_file.driver.has("poll"):
            self.by_driver.setdefault(open_file.driver, {})[open_file] = None

    def discard(self, open_file: OpenFile) -> None:
        """Forget a file."""
        _remove(self.by_driver, open_file.driver, open_file)
        for queue in self._queues.pop(open_file, ()):
            _remove(self._by_queue, queue, open_file)

    def refresh(self, driver: Hashable) -> None:
        """Show what an operation of `driver` has changed, on any of its files."""
        for open_file in tuple(self.by_driver.get(driver, ())):
            self._ask(open_file, False)

    def woken(self, queue: Hashable, owners: Iterable[Hashable]) -> None:
        """Show what the wake-up of a wait queue has changed.

        :param owners: the driver that the queue belongs to, and the one that woke it.
        """
        files = dict(self._by_queue.get(queue, {}))
        for owner in owners:
            for open_file in self.by_driver.get(owner, ()):
                if not open_file.file.poll_queues:
                    files[open_file] = None
        for open_file in files:
            self._ask(open_file, True)

    def _ask(self, open_file: OpenFile, woken: bool) -> None:
        self._show(open_file, woken)
        self.note_queues(open_file)

    def asked(self, open_file: OpenFile) -> None:
        """Know a file that its client has asked by itself: wake-ups matter from now on.

        Operations do so only while it has named no queue.
        """
        self.note_queues(open_file)
        if open_file.file.poll_queues:
            _remove(self.by_driver, open_file.driver, open_file)
        else:
            self.add(open_file)

    def note_queues(self, open_file: OpenFile) -> None:
        """Know the wait queues that the poll operation has named since it was asked last."""
        named = open_file.file.poll_queues
        known = self._queues.setdefault(open_file, set())
        if len(named) != len(known):
            for queue in named - known:
                self._by_queue.setdefault(queue, {})[open_file] = None
            known |= named


def _remove(index: dict[Any, dict[OpenFile, None]], key: Hashable, of: OpenFile) -> None:
    files = index.get(key)
    if files is not None:
        files.pop(of, None)
        if not files:
            del index[key]
