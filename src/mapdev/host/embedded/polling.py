"""When drivers are asked what their files are ready for, so that poll in clients sees it.

poll, select and epoll never reach the host: they look at sockets, see `readiness`. So a driver is
asked whenever its answer may have changed: when a file is opened, after each operation, at each
wake-up. Nothing is done where the answer is the same. Used in the host's thread only.
"""

from __future__ import annotations

from collections.abc import Hashable

from mapdev.driver import DEFAULT_POLLMASK, Driver
from mapdev.host.dispatch import Dispatcher
from mapdev.host.embedded.files import Files, OpenFile
from mapdev.linux.log import log


class Polling:
    """Asks the drivers of `files`."""

    def __init__(self, files: Files, dispatch: Dispatcher) -> None:
        self._files = files
        self._dispatch = dispatch
        self._refused = False

    def opened(self, open_file: OpenFile) -> None:
        """Show what a new file is ready for."""
        driver = open_file.device.driver
        if driver.has("poll"):
            self.refresh(driver)
        elif not open_file.path_only:
            open_file.ready.show(DEFAULT_POLLMASK, False, lambda: None)

    def refresh(self, driver: Driver) -> None:
        """Show what an operation of `driver` has changed, on any of its files."""
        polled = self._files.polled.get(driver)
        if polled:
            for open_file in tuple(polled):
                self._ask(open_file, False)

    def woken(self, queue: Hashable, driver: Hashable) -> None:
        """Show what the wake-up of a wait queue of `driver` has changed."""
        for open_file in tuple(self._files.polled.get(driver, ())):
            queues = open_file.file.poll_queues
            if not queues or queue in queues:
                self._ask(open_file, True)

    def _ask(self, open_file: OpenFile, woken: bool) -> None:
        mask = self._dispatch.poll(open_file.device, open_file.file, open_file.mask)
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
