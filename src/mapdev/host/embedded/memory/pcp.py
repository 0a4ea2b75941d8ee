"""`SingleFrames` keeps a stock of single free frames, as the kernel's per-CPU page lists do.

They are taken from the buddy allocator in batches and handed out in an order in which no frame
follows its neighbour, so that memory built of single frames is visibly scattered. Frames in here
are free but can't merge: `drain` gives them back when somebody needs a larger block. No lock:
the caller holds the host's.
"""

from math import gcd

from mapdev.host.embedded.memory.buddy import Buddy

BATCH = 64
HIGH = 4 * BATCH  # more than this many freed frames go back to the buddy allocator
_CHOICE = 3  # of three frames at most two are neighbours of a fourth


def scatter(items: list[int]) -> list[int]:
    """Put sorted, distinct numbers in an order in which none is followed by its neighbour.

    With fewer than four numbers there may be no such order.
    """
    count = len(items)
    # Steps through the list by about the golden section of its length. A step that is prime to the
    # length visits all, one of at least 2 in either direction passes over the neighbours.
    for stride in range(count * 5 // 8, 1, -1):
        if gcd(stride, count) == 1 and count - stride >= 2:
            return [items[index * stride % count] for index in range(count)]
    return items[1::2] + items[0::2]


class SingleFrames:
    """A stock of single free frames over a buddy allocator."""

    __slots__ = ("_buddy", "_last", "_stock")

    def __init__(self, buddy: Buddy) -> None:
        """Begin empty."""
        self._buddy = buddy
        self._stock: list[int] = []
        self._last = -2  # the frame handed out last

    def __len__(self) -> int:
        """How many frames are in stock."""
        return len(self._stock)

    def __contains__(self, pfn: object) -> bool:
        """Tell whether a frame is in stock."""
        return pfn in self._stock

    def alloc(self) -> int:
        """Take a frame, or -1 when there is none."""
        stock = self._stock
        if len(stock) < _CHOICE:
            self._refill()
            stock = self._stock
        for at in range(1, min(_CHOICE, len(stock)) + 1):
            distance = stock[-at] - self._last
            if distance != 1 and distance != -1:
                self._last = stock.pop(-at)
                return self._last
        if not stock:
            return -1
        self._last = stock.pop()
        return self._last

    def free(self, pfn: int) -> None:
        """Give a frame back."""
        self._stock.append(pfn)
        if len(self._stock) > HIGH:
            # The oldest ones: those at the top were in use a moment ago.
            for old in self._stock[:BATCH]:
                self._buddy.free(old, 0)
            del self._stock[:BATCH]

    def drain(self) -> None:
        """Give all frames to the buddy allocator, so that they can merge."""
        for pfn in self._stock:
            self._buddy.free(pfn, 0)
        self._stock.clear()

    def _refill(self) -> None:
        order = BATCH.bit_length() - 1
        batch: list[int] = []
        while order >= 0 and len(batch) + (1 << order) <= BATCH:
            pfn = self._buddy.alloc(order)
            if pfn < 0:
                order -= 1
            else:
                batch.extend(range(pfn, pfn + (1 << order)))
        batch.sort()
        self._stock[:0] = reversed(scatter(batch))
