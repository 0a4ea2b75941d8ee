"""The embedded host's memory: frames in a sparse memfd, and the allocators on top of them.

`PhysicalMemory` is all that others use. Below it, each layer knows only those under it:
vmalloc (addresses), slab (small objects), holds (clients) -> frames (who has which frame) ->
buddy and pcp (free frames), mem_map (state of each frame), store (the memfd and its direct map).
"""

from mapdev.host.allocation import Allocation
from mapdev.host.embedded.memory.frames import Counts, Hold
from mapdev.host.embedded.memory.physical import PhysicalMemory

__all__ = ["Allocation", "Counts", "Hold", "PhysicalMemory"]
