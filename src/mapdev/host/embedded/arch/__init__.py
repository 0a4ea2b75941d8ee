"""What differs between processors, and nothing else: one module for each, all with the same names.

`ARCH` is the module of the processor that we run on. A new architecture is a new module here.
"""

from __future__ import annotations

import platform
from types import ModuleType

from mapdev.host.embedded.arch import aarch64, x86_64

__all__ = ["ARCH", "NAME_OF", "NUMBER_OF", "SUPPORTED"]

SUPPORTED: dict[str, ModuleType] = {"x86_64": x86_64, "aarch64": aarch64}

if platform.machine() not in SUPPORTED:
    raise ImportError(
        f"mapdev's embedded host runs on {' and '.join(SUPPORTED)}, not on {platform.machine()}"
    )

ARCH = SUPPORTED[platform.machine()]
NUMBER_OF: dict[str, int] = ARCH.SYSCALLS
NAME_OF = {number: name for name, number in NUMBER_OF.items()}
