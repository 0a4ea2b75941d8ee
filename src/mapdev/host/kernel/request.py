"""Indices of the fields of an unpacked ``struct mapdev_request``: ``got[at.OP]``.

One tuple a request is all that is made of most, since reads, writes and ioctls are many.
"""

from __future__ import annotations

Got = tuple[int, ...]
"""A request, copied out of the memory that the next one is written to: its fields but the data."""

(ID, OP, FLAGS, DEVICE, PID, TGID, F_FLAGS, FILE, AREA, VM_START, VM_END, VM_PGOFF, VM_FLAGS,
 ARG0, ARG1, ARG2, ARG3, ARG4, ARG5, LEN, SLOT) = range(21)  # fmt: skip
