"""Tests, once after each boot of the host, whether KVM works here.

That /dev/kvm can be opened says little: inside of other virtual machines it may fail at the first
instruction, or hang there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mapdev.support.cache import cache_directory

_DEVICE = "/dev/kvm"


def known() -> bool | None:
    """Return whether machines run with KVM, None if that was not tried yet."""
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return False
    note = _note()
    words = note.read_text().split() if note.exists() else []
    return words[1] == "works" if words[:1] == [_boot()] else None


def works(boots: Callable[[], bool]) -> bool:
    """Return whether machines run with KVM; `boots` starts one to find out."""
    found = known()
    if found is None:
        found = boots()
        _note().parent.mkdir(parents=True, exist_ok=True)
        _note().write_text(f"{_boot()} {'works' if found else 'fails'}")
    return found


def _note() -> Path:
    return cache_directory() / "kvm"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
