"""`Display` makes poll, select and epoll see what a driver's poll operation says.

Where clients have a file of a FUSE mount, they ask the host themselves, and are only to be woken.
Elsewhere they look at sockets, see `readiness`. So a driver is asked whenever its answer may have
changed: when a file is opened, after each operation, at each wake-up (`mapdev.host.core.polling`),
and nothing is done where the answer is the same. Used in the host's thread only.
"""

from __future__ import annotations

from typing import cast

from mapdev.driver import DEFAULT_POLLMASK
from mapdev.host.core.files import OpenFile as CoreFile
from mapdev.host.core.operations import Operations
from mapdev.host.embedded.files.device_files import Node
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.files.readiness import Readiness
from mapdev.linux.log import log
from mapdev.linux.numbers import EPOLLERR


class Display:
    """Asks drivers by `operations`, and shows what they say."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._refused = False

    def show_default(self, open_file: OpenFile) -> None:
        """Show what the kernel answers for a driver without a poll operation."""
        if isinstance(open_file.ready, Readiness):
            open_file.ready.show(DEFAULT_POLLMASK, False, lambda: None)

    def show(self, file: CoreFile, woken: bool) -> None:
        """Ask the driver of a file, and show its answer."""
        open_file = cast(OpenFile, file)
        ready = open_file.ready
        if isinstance(ready, Node):
            ready.wake_up()
            return
        mask = self._operations.poll(open_file)
        device = open_file.device
        if not device.is_character_device or device.driver.has_passing_errors:
            mask &= ~EPOLLERR  # it comes and goes, and of a socket it stays
        if ready is not None and (mask != open_file.mask or (woken and ready.edge)):
            open_file.mask = mask
            ready.show(mask, woken, lambda: self._borrow(open_file))

    def answer(self, open_file: OpenFile) -> int:
        """Ask the driver of a file, since somebody polls it; return the mask."""
        if open_file.path_only:
            return EPOLLERR
        if not open_file.device.driver.has("poll"):
            return DEFAULT_POLLMASK
        return self._operations.poll(open_file)

    def _borrow(self, open_file: OpenFile) -> int | None:
        """Return the client's end of an open file, to be closed at once; None if it can't be had.

        Then `OpenFile.seen` is None, and the next use of the file makes poll right.
        """
        try:
            return open_file.borrow()
        except PermissionError as error:
            open_file.seen = None
            if not self._refused:
                self._refused = True
                log.warning("%s: a client's descriptor can't be had (%s), so what poll has shown "
                            "once stays", open_file.device.node, error.strerror)  # fmt: skip
            return None
