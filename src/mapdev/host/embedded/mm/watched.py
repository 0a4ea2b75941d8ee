"""`WatchedAreas` tells a recorder what clients do to their areas, while somebody watches the host.

`watch` turns each `MmAreas` of a host, and those to come, into a `WatchedAreas`; `unwatch` turns
them back. So areas cost nothing more while nobody watches. Used under the host's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.linux.mm import TaskStruct

if TYPE_CHECKING:
    from mapdev.host.core.events import Recorder
    from mapdev.host.embedded.mm.address_spaces import AddressSpaces

__all__ = ["unwatch", "watch"]


class WatchedAreas(MmAreas):
    """The areas of a process whose changes a recorder is told of.

    :ivar recorder: who is told.
    :ivar doing: what is being done to them, the innermost last.
    """

    recorder: Recorder
    doing: list[str]

    @contextmanager
    def _changing(self, verb: str) -> Iterator[None]:
        self.doing.append(verb)
        try:
            yield
        finally:
            done = self.doing.pop()
            # A new area is a part of what is done: of a split, of a move, or else of an mmap.
            self._changed(self.doing[-1] if done == "mmap" and self.doing else done)

    def _changed(self, verb: str) -> None:
        areas = [(area.open_file.device.node, area) for area in self]
        self.recorder.areas_changed(self.tgid, verb, areas)

    def insert(self, area: DeviceArea) -> None:
        """Add a new area."""
        with self._changing("mmap"):
            super().insert(area)

    def split(self, task: TaskStruct | None, area: DeviceArea, addr: int) -> DeviceArea:
        """Split `area` at `addr`."""
        with self._changing("split"):
            return super().split(task, area, addr)

    def unmap(self, task: TaskStruct | None, start: int, end: int) -> list[DeviceArea]:
        """End what there is in [`start`, `end`)."""
        with self._changing("munmap"):
            return super().unmap(task, start, end)

    def change(
        self, task: TaskStruct | None, start: int, end: int, flags: Callable[[int], int]
    ) -> None:
        """Change the vm_flags of [`start`, `end`)."""
        with self._changing("mprotect"):
            super().change(task, start, end, flags)

    def merge(self, start: int, end: int) -> None:
        """Join neighbours that differ in nothing."""
        if self.doing:
            self._changed(self.doing[-1])  # what there is to join was done by that
        with self._changing("merge"):
            super().merge(start, end)

    def extend(self, new: DeviceArea) -> DeviceArea | None:
        """Let the area before `new` reach to its end."""
        with self._changing("merge"):
            return super().extend(new)

    def move(
        self, task: TaskStruct | None, area: DeviceArea, old: range, new: range, keep: bool
    ) -> DeviceArea:
        """Move addresses `old` of `area` to `new`."""
        with self._changing("mremap"):
            return super().move(task, area, old, new, keep)

    def end(self) -> None:
        """The process has ended, or executes another program."""
        with self._changing("exit"):
            super().end()


def watch(spaces: AddressSpaces, recorder: Recorder) -> None:
    """Have `recorder` told of all changes to areas from now on."""
    for space in spaces:
        _begin(space, recorder)

    def add(method: Callable[[MmAreas], None], space: MmAreas) -> None:
        method(space)
        _begin(space, recorder)._changed("fork")  # of a process that has mapped nothing yet: none

    recorder.replace(spaces, "_add", add)

    def zap(method: Callable[..., None], *args: Any) -> None:
        method(*args)
        for space in spaces:
            areas = [(area.open_file.device.node, area) for area in space]
            recorder.areas_changed(space.tgid, "zap", areas)

    recorder.replace(recorder.host.machine, "unmap_mapping_range", zap)


def _begin(space: MmAreas, recorder: Recorder) -> WatchedAreas:
    space.__class__ = WatchedAreas
    assert isinstance(space, WatchedAreas)
    space.recorder, space.doing = recorder, []
    return space


def unwatch(spaces: AddressSpaces) -> None:
    """Tell nobody any more."""
    for space in spaces:
        if isinstance(space, WatchedAreas):
            del space.recorder, space.doing
        space.__class__ = MmAreas
