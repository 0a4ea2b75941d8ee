"""Processor architectures: one module for each defines the same names; `ARCH` is this machine's.

`ARCH` is the module of the processor that we run on. A new architecture is a new module here.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

__all__ = ["ARCH", "NAME_OF", "NUMBER_OF", "SUPPORTED"]

SUPPORTED = ("x86_64", "aarch64")
_MACHINE = os.uname().machine

if _MACHINE not in SUPPORTED:
    raise ImportError(
        f"mapdev's embedded host runs on {' and '.join(SUPPORTED)}, not on {_MACHINE}"
    )

ARCH: ModuleType = importlib.import_module(f"{__name__}.{_MACHINE}")
NUMBER_OF: dict[str, int] = ARCH.SYSCALLS
NAME_OF = {number: name for name, number in NUMBER_OF.items()}
