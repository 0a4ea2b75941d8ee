"""The kernel's vocabulary for drivers: its types, functions and numbers, under its names.

One module a subject: page (struct page), gfp, slab, vmalloc and dma (allocation), vma, mm and fs
(areas, processes, files), mapping (remap_pfn_range and relatives), uaccess (user memory), access
(kernel memory as a memoryview), kobject, sysfs, device, cdev and miscdevice (the device model),
kernfs (its tree of names), wait, awaiting, completion and kthread (waiting, kernel threads),
jiffies, timer and workqueue (time), kfifo, locking, eventfd, fasync, printk, numbers, errnos,
ioctl_numbers, and context, the seam to the host. Each says in `__all__` what is public. Pure
semantics: nothing here does a system call or knows a host. Units: addresses, sizes and offsets are
bytes; pfn and pgoff are pages; ranges are half-open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # What begins with underscores comes from its own module: mypy finds nothing else of it.
    from mapdev.linux.gfp import *  # noqa: F403
    from mapdev.linux.ioctl_numbers import *  # noqa: F403
    from mapdev.linux.numbers import *  # noqa: F403
    from mapdev.linux.vocabulary import *  # noqa: F403

    __all__: list[str]
else:
    # A host imports some of the modules, a driver takes names from all of them. So these are
    # imported when the first name is asked for: half of them would be imported for nothing by
    # `mapdev run` with devices of the gallery, and a program should start at once.

    def __getattr__(name: str) -> Any:
        if name.endswith("__") and name != "__all__":  # the import system asks for such
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import mapdev.linux.vocabulary as vocabulary  # not `from`: that would ask here again

        globals().update({each: getattr(vocabulary, each) for each in vocabulary.__all__})
        globals()["__all__"] = vocabulary.__all__
        globals().pop("__getattr__", None)
        if name not in globals():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted(__getattr__("__all__") if "__getattr__" in globals() else globals())
