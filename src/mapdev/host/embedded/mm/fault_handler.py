"""The interface by which address spaces and calls on areas reach the page fault handler.

The modules of this folder know this interface; `faults.handler` implements it. So neither the
list of areas nor the calls on it depend on how touches are noticed and pages mapped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Protocol

from mapdev.host.embedded.mm.vma import DeviceArea
from mapdev.linux.mm import TaskStruct

if TYPE_CHECKING:
    from mapdev.host.embedded.inject.thread import StoppedThread


class FaultHandler(Protocol):
    """Maps pages of one client's areas when they are touched; addresses and ends are bytes."""

    @property
    def stale(self) -> Collection[object]:
        """Pages that can't be touched for a moment; `renew` ends that."""

    @property
    def page(self) -> int:
        """The address of the two pages that the host has in the client for this."""

    def make_way(self, start: int, end: int) -> None:
        """Take those two pages out of [`start`, `end`), where the client wants something else."""

    def stand_in(self) -> StoppedThread:
        """Return a new thread of the client, stopped, for calls that another can't make."""

    def adopt(self, area: DeviceArea) -> int:
        """Get ready to map memory in `area`; return the index of its lease."""

    def fill(self, area: DeviceArea, start: int, end: int) -> None:
        """Map what is mapped in [`start`, `end`) of `area`, and have the rest ask when touched."""

    def reserve(self, area: DeviceArea, holes: Iterable[tuple[int, int]]) -> None:
        """Have touches of `holes` ask the driver."""

    def bring_in(
        self, start: int, end: int, is_write: bool, task: TaskStruct, area: DeviceArea
    ) -> bool:
        """Pre-fault all pages of [`start`, `end`) of `area`; False if one can't be had."""

    def zap(self, area: DeviceArea, start: int, end: int) -> None:
        """Take the pages of [`start`, `end`) away: the next touch asks the driver again."""

    def hide(self, area: DeviceArea, start: int, end: int) -> None:
        """Take the pages of [`start`, `end`) away for good: the next touch is SIGBUS."""

    def protected(self, start: int, end: int) -> set[int]:
        """Return write-protected pages of [`start`, `end`), whose first write asks the driver."""

    def protect(self, pages: Iterable[int]) -> None:
        """Write-protect each of `pages`, so that the next write asks the driver."""

    def forget(self, area: DeviceArea) -> None:
        """Note that `area` is gone, or will be as soon as the client's call goes on."""

    def let_go(self, lease: int) -> None:
        """Take the memory of a lease back if no area has it any more."""

    def is_told_of(self, page: int) -> bool:
        """Say whether the userfaultfd would report a touch of `page`, an address, if unmapped."""

    def settle(self) -> None:
        """Wait until all is mapped in the client that is noted as mapped."""

    def renew(self) -> None:
        """Let touches ask the driver again where pages were `stale` long enough."""

    def about_to_exit(self, tid: int, code: int) -> None:
        """Note that thread `tid` is about to end; the process does with the last, by `code`."""

    def close(self) -> None:
        """Note that the client is gone, or has executed another program."""
