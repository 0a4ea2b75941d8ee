"""The log: ``logging.getLogger("mapdev")``, without the import of `logging` until it is used.

Most runs log nothing, and to import `logging` takes a good part of the time in which a program
should have started. All of it may be used in any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logging import Logger
else:
    Logger = object

__all__ = ["log"]


class _Log(Logger):
    """A proxy of the logger, which imports `logging` when it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._preparations: list[Callable[[], None]] = []

    def before_first_use(self, prepare: Callable[[], None]) -> None:
        """Have `prepare`, which sets `logging` up, called before anything is logged."""
        self._preparations.append(prepare)

    def prepare(self) -> None:
        """Set `logging` up now, since somebody else uses it."""
        while self._preparations:
            self._preparations.pop()()

    def __getattr__(self, name: str) -> Any:
        import logging

        self.prepare()
        return getattr(logging.getLogger(self._name), name)


log = _Log("mapdev")
