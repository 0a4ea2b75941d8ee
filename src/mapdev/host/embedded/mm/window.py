"""`Window` is the range of addresses at which devices are mapped in clients; it is otherwise empty.

The filter sees addresses, not areas. So devices are mapped where nothing else is, and calls like
munmap are handed over only if they concern that range: all other memory is managed at full speed.
A client that insists on another address (MAP_FIXED, a hint) gets it; what it does to such an area
is found out later, see `address_spaces`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mapdev.host.embedded.processes import read_file

_GUARD = 1 << 32  # bytes at both ends: calls of up to this length can't reach in from outside
_HIGHEST_FIVE_LEVELS = 1 << 47  # addresses beyond are given out only to those who ask for them


class Window(NamedTuple):
    """The range [`start`, `end`), in bytes; both are multiples of 4 GiB.

    :ivar task_size: the end of all addresses that a client may have.
    """

    start: int
    end: int
    task_size: int

    @classmethod
    def of_this_machine(cls) -> Window:
        """Choose the range: far above programs at low addresses, below all that the kernel places.

        The kernel puts position-independent programs at two thirds of the address space, and
        libraries and stacks at its end; 47, 48 or 39 bits are usual.
        """
        areas = read_file("/proc/self/maps").splitlines()
        stack = next(area for area in areas if area.endswith(b"[stack]"))
        highest = int(stack.partition(b" ")[0].partition(b"-")[2], 16)
        top = min(1 << (highest - 1).bit_length(), max(_HIGHEST_FIVE_LEVELS, 1 << 48))
        return cls(top // 8, top // 8 * 5, top)

    @property
    def first(self) -> int:
        """The lowest address that devices get."""
        return self.start + _GUARD

    @property
    def last(self) -> int:
        """The end of the addresses that devices get."""
        return self.end - _GUARD

    def hidden_places(self, offset: int) -> Iterator[int]:
        """Yield addresses for the host's own memory in a client, behind each other's by `offset`.

        They are in the guards, where no device is mapped but calls on memory are handed over. A
        program may have any of them for itself: AddressSanitizer's shadow has the first.
        """
        for guard in (self.start, self.last):
            yield guard + offset
            yield guard + _GUARD // 4 * 3 + offset

    def holds(self, start: int, end: int) -> bool:
        """Say whether calls on [`start`, `end`) are seen."""
        return self.first <= start and end <= self.last
