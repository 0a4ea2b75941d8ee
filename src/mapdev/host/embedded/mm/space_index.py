"""`SpaceIndex` says which address spaces have a property that each call has to ask for.

Most have none, and there may be hundreds: to go through all of them at each call would make calls
dearer the more clients there are. `MmAreas` notes its own changes here while it is in use.

Used in the host's thread only.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Space = TypeVar("Space")  # `MmAreas`, whose module imports this one


class SpaceIndex(Generic[Space]):
    """Address spaces in use, by property.

    :ivar unseen: those with areas at which calls are not handed over (`MmAreas.seen`).
    :ivar shared: those that another process may have as well (`MmAreas.is_shared`).
    :ivar faulting: those with a fault handler.
    :ivar stale: those whose fault handler has `stale` pages, or had lately.
    """

    def __init__(self) -> None:
        self.unseen: set[Space] = set()
        self.shared: set[Space] = set()
        self.faulting: set[Space] = set()
        self.stale: set[Space] = set()

    def forget(self, space: Space) -> None:
        """Note that `space` is not in use any more."""
        for spaces in (self.unseen, self.shared, self.faulting, self.stale):
            spaces.discard(space)


def put(spaces: set[Space], space: Space, is_in: bool) -> None:
    """Put `space` into a set, or take it out."""
    if is_in:
        spaces.add(space)
    else:
        spaces.discard(space)
