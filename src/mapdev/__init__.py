"""mapdev: Linux character-device drivers in Python, `mmap` included, for unmodified programs.

General layout, from the user inwards; each part knows only those below it:

- `mapdev.cli`, `mapdev.pytest_plugin`: the command and the test fixture
- `mapdev.host`: who plays the kernel; `mapdev.host.embedded` does it in user space
- `mapdev.drivers`: the gallery, drivers to use and to learn from
- `mapdev.driver`: what a driver's author subclasses
- `mapdev.linux`: the kernel's vocabulary, `struct page` to `remap_pfn_range`
- `mapdev.inspect`: live processes as /proc shows them
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# The package `mapdev.host` is loaded before the function `host` takes its name here: Python sets
# the name of a package in its parent when it is first loaded, and only then.
import mapdev.host  # noqa: F401
from mapdev.driver import Driver, ioctl, parse_size

if TYPE_CHECKING:
    from mapdev.host.embedded.host import EmbeddedHost

__all__ = ["Driver", "__version__", "host", "ioctl", "parse_size"]

__version__ = "0.1.0"


def host(memory: int | str = "1G", **options: Any) -> EmbeddedHost:
    """Return a host, to be used in a ``with`` statement: ``with mapdev.host() as host: ...``.

    :param memory: physical memory for all drivers together, in bytes or as ``512M``.
    :param options: see `mapdev.host.embedded.host.EmbeddedHost`.
    """
    from mapdev.host.embedded.host import EmbeddedHost

    return EmbeddedHost(memory, **options)
