"""The buddy allocator: free frames in blocks of a power of two, split and merged on demand.

It knows nothing but numbers of free frames: who has the others, and whether a free is legitimate,
is the caller's to know. A block of order N has ``1 << N`` frames and starts at a multiple of that.
One set of free blocks an order is all its state, so that finding, taking out and asking for a
buddy are each one dictionary operation. No lock: the caller holds the host's.
"""

from mapdev.linux.numbers import MAX_ORDER

MAX_BLOCK = 1 << MAX_ORDER


class Buddy:
    """The free frames of a machine."""

    __slots__ = ("free_blocks", "nr_free")

    def __init__(self, start: int, end: int) -> None:
        """Begin with the frames ``start`` to ``end - 1`` free."""
        # A dictionary keeps the order of insertion: popitem takes the block freed last, as the
        # kernel does, and `free_range` inserts from the top, so that at first low frames go out.
        self.free_blocks: tuple[dict[int, bool], ...] = tuple({} for _ in range(MAX_ORDER + 1))
        self.nr_free = 0
        self.free_range(start, end - start)

    def alloc(self, order: int) -> int:
        """Take a block; gives its first frame, or -1 when there is none."""
        for at in range(order, MAX_ORDER + 1):
            blocks = self.free_blocks[at]
            if blocks:
                pfn, _ = blocks.popitem()
                while at > order:
                    at -= 1
                    self.free_blocks[at][pfn + (1 << at)] = True
                self.nr_free -= 1 << order
                return pfn
        return -1

    def free(self, pfn: int, order: int) -> None:
        """Give a block back; merges it with its buddy as far up as that is free."""
        self.nr_free += 1 << order
        while order < MAX_ORDER:
            buddy = pfn ^ (1 << order)
            if not self.free_blocks[order].pop(buddy, False):
                break
            pfn &= buddy
            order += 1
        self.free_blocks[order][pfn] = True

    def alloc_range(self, nr_pages: int) -> int:
        """Take any number of frames in a row; gives the first, or -1 when there are none."""
        if nr_pages <= MAX_BLOCK:
            order = (nr_pages - 1).bit_length()
            pfn, length = self.alloc(order), 1 << order
        else:
            nr_blocks = -(-nr_pages >> MAX_ORDER)
            pfn, length = self._take_blocks(nr_blocks), nr_blocks << MAX_ORDER
        if pfn >= 0 and length > nr_pages:
            self.free_range(pfn + nr_pages, length - nr_pages)
        return pfn

    def _take_blocks(self, nr_blocks: int) -> int:
        """Take whole largest blocks in a row."""
        blocks = self.free_blocks[MAX_ORDER]
        first = expected = -1
        for pfn in sorted(blocks):
            if pfn != expected:
                first = pfn
            expected = pfn + MAX_BLOCK
            if expected - first == nr_blocks << MAX_ORDER:
                for block in range(first, expected, MAX_BLOCK):
                    del blocks[block]
                self.nr_free -= expected - first
                return first
        return -1

    def free_range(self, pfn: int, nr_pages: int) -> None:
        """Give any frames in a row back, as the largest blocks that fit."""
        if nr_pages <= MAX_BLOCK and not (nr_pages & (nr_pages - 1)) and not pfn & (nr_pages - 1):
            self.free(pfn, nr_pages.bit_length() - 1)
            return
        end = pfn + nr_pages
        while end > pfn:
            # The largest block that ends here: as long as the end is aligned, and not below pfn.
            order = min((end & -end).bit_length() - 1, (end - pfn).bit_length() - 1, MAX_ORDER)
            end -= 1 << order
            self.free(end, order)

    def order_of(self, pfn: int) -> int:
        """Give the order of the free block that a frame is in, or -1 when it is in none."""
        for order in range(MAX_ORDER + 1):
            if pfn >> order << order in self.free_blocks[order]:
                return order
        return -1
