"""Live processes, read from /proc as the vocabulary's objects; it changes nothing."""

from mapdev.inspect.maps import MapsLine, read_maps

__all__ = ["MapsLine", "read_maps"]
