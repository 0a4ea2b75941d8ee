"""Whether KVM is of use here: that is tried once after each boot of the host.

That /dev/kvm can be opened says little: inside of other virtual machines it may fail at the first
instruction, or hang there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mapdev.support.cache import cache_directory

_DEVICE = "/dev/kvm"


def works(boots: Callable[[], bool]) -> bool:
    """Return whether machines run with KVM; `boots` starts one to find out."""
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    note = cache_directory() / "kvm"
    known = note.read_text().split() if note.exists() else []
    if known[:1] != [boot]:
        known = [boot, "works" if boots() else "fails"]
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(" ".join(known))
    return known[1] == "works"
