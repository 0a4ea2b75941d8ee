"""Chooses between the C extension `mapdev._native` and the Python code that it stands in for.

The extension only makes the embedded host faster. It is missing where there was no C compiler at
installation, and is not used with MAPDEV_PURE=1 in the environment, or when it was built from other
sources than this Python code (its VERSION is another one). Then everything works all the same.
"""

from __future__ import annotations

import os
from types import ModuleType

__all__ = ["NATIVE", "WHY_NOT", "description"]

_VERSION = 4  # MAPDEV_NATIVE_VERSION in native/native.h


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get("MAPDEV_PURE", "0") not in ("", "0"):
        return None, "MAPDEV_PURE is set"
    try:
        import mapdev._native as extension
    except ModuleNotFoundError:
        return None, "it was not built: there was no C compiler when mapdev was installed"
    except ImportError as error:
        return None, f"it can't be loaded: {error}"
    if extension.VERSION != _VERSION:
        return None, "it was built from other sources: install mapdev again"
    return extension, ""


NATIVE, WHY_NOT = _load()
"""The extension, or None and why it is not used."""


def description() -> str:
    """Return a line for the user: whether the extension is in use, and if not, why."""
    if NATIVE is not None:
        return "the C extension is in use"
    return f"the C extension is not in use, so calls take longer: {WHY_NOT}"
