"""`Display` runs a driver's poll operation and makes the client's socket show the answer.

poll, select and epoll never reach the host: they look at sockets, see `readiness`. So a driver is
asked whenever its answer may have changed: when a file is opened, after each operation, at each
wake-up (`mapdev.host.core.polling`). Nothing is done where the answer is the same. Used in the
host's thread only.
"""

from __future__ import annotations

from typing import cast

from mapdev.driver import DEFAULT_POLLMASK
from mapdev.host.core.files import OpenFile as CoreFile
from mapdev.host.core.operations import Operations
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.linux.log import log
from mapdev.linux.numbers import EPOLLERR


class Display:
    """Asks drivers by `operations`, and shows what they say."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._refused = False

    def show_default(self, open_file: OpenFile) -> None:
        """Show what the kernel answers for a driver without a poll operation."""
        open_file.ready.show(DEFAULT_POLLMASK, False, lambda: None)

    def show(self, file: CoreFile, woken: bool) -> None:
        """Ask the driver of a file, and show its answer."""
        open_file = cast(OpenFile, file)
        mask = self._operations.poll(open_file)
        if not open_file.device.is_character_device:
            mask &= ~EPOLLERR  # of an attribute it comes and goes, of a socket it stays
        if mask != open_file.mask or (woken and open_file.ready.edge):
            open_file.mask = mask
            open_file.ready.show(mask, woken, lambda: self._borrow(open_file))

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
