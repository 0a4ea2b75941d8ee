"""Live processes, read from /proc as the vocabulary's objects; it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mapdev.inspect.maps import MapsLine, read_maps

if TYPE_CHECKING:
    from mapdev.inspect.kpage import KPAGEFLAGS, FrameFiles, flag_names
    from mapdev.inspect.pagemap import PagemapEntry, Region, read_pagemap, scan
    from mapdev.inspect.pages import LivePage, Sharer, find_sharers, read_pages
    from mapdev.inspect.smaps import LiveArea, read_areas

__all__ = [
    "KPAGEFLAGS", "FrameFiles", "LiveArea", "LivePage", "MapsLine", "PagemapEntry", "Region",
    "Sharer", "find_sharers", "flag_names", "read_areas", "read_maps", "read_pagemap",
    "read_pages", "scan",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for: a host needs `maps` only, and has to start quickly."""
    from importlib import import_module

    for module in ("kpage", "pagemap", "pages", "smaps"):
        found = import_module(f"mapdev.inspect.{module}")
        if name in found.__all__:
            return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
