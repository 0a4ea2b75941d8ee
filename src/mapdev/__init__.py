"""mapdev: Linux character-device drivers in Python, `mmap` included, for unmodified programs.

General layout, from the user inwards; each part knows only those below it:

- `mapdev.cli`, `mapdev.pytest_plugin`: the command and the test fixture
- `mapdev.host`: serves devices; `embedded` does it in user space, `kernel` through a kernel module,
  and `core` is the code that both share
- `mapdev.drivers`: the gallery, drivers to use and to learn from
- `mapdev.driver`: what a driver's author subclasses
- `mapdev.linux`: the kernel's vocabulary, `struct page` to `remap_pfn_range`
- `mapdev.inspect`: live processes as /proc shows them
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

# The package `mapdev.host` is loaded before the function `host` takes its name here: Python sets
# the name of a package in its parent when it is first loaded, and only then.
import mapdev.host  # noqa: F401
from mapdev.driver import Driver, ioctl, parse_number, parse_size

if TYPE_CHECKING:
    from mapdev.buffer import KernelBuffer
    from mapdev.host.core.host import Host
    from mapdev.host.embedded.host import EmbeddedHost
    from mapdev.host.kernel.host import KernelHost

__all__ = ["Driver", "__version__", "alloc", "host", "ioctl", "parse_number", "parse_size"]

__version__ = "0.1.0"


@overload
def host(
    memory: int | str = "1G", *, kind: Literal["embedded"] = ..., **options: Any
) -> EmbeddedHost: ...
@overload
def host(*, kind: Literal["kernel"], **options: Any) -> KernelHost: ...
@overload
def host(*, kind: str, **options: Any) -> Host: ...
def host(memory: int | str = "1G", *, kind: str = "embedded", **options: Any) -> Host:
    """Return a host, to be used in a ``with`` statement: ``with mapdev.host() as host: ...``.

    :param memory: physical memory of the embedded host's machine, for all drivers together, in
        bytes or as ``512M``.
    :param kind: "embedded", in user space, for the programs that it starts; or "kernel", behind
        real device nodes, through the kernel module.
    :param options: those of `mapdev.host.embedded.host.EmbeddedHost` or of
        `mapdev.host.kernel.host.KernelHost`.
    :raises OSError: the host can't be had here; the text says what to do.
    """
    if kind == "kernel":
        from mapdev.host.kernel.host import KernelHost

        return KernelHost(**options)
    if kind != "embedded":
        raise ValueError(f"kind is 'embedded' or 'kernel', not {kind!r}")
    from mapdev.host.embedded.host import EmbeddedHost

    return EmbeddedHost(memory, **options)


def alloc(
    size: int | str, contiguous: bool = True, cache: str = "cached", kind: str | None = None
) -> KernelBuffer:
    """Allocate kernel memory without a driver; see `mapdev.buffer.alloc`."""
    from mapdev import buffer

    return buffer.alloc(size, contiguous, cache, kind)
