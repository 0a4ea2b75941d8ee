"""Devices for storms: each counts what must come out even, and says what is left of it all."""

import gc
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devices import Buffer, Items

from mapdev import Driver
from mapdev.drivers.lazy import Lazy
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import (
    EPOLLIN,
    EPOLLOUT,
    VM_FAULT_LOCKED,
    File,
    Inode,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    page_count,
    poll_wait,
)


class Balance:
    """How many files are open and areas live, as a driver is told: `files`, `areas`."""

    def __init__(self) -> None:
        self.files = self.areas = 0
        self.vm_ops = VmOperationsStruct(open=self.opened, close=self.closed)

    def opened(self, vma: VmAreaStruct) -> None:
        self.areas += 1

    def closed(self, vma: VmAreaStruct) -> None:
        self.areas -= 1


class Frames(Buffer):
    """Contiguous memory; its mmap counts the area itself, as C drivers do."""

    def probe(self, size: int | str = "64K") -> None:
        super().probe(size)
        self.balance = Balance()

    def open(self, inode: Inode, file: File) -> None:
        self.balance.files += 1

    def release(self, inode: Inode, file: File) -> None:
        self.balance.files -= 1

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        super().mmap(file, vma)
        self.areas.clear()
        self.calls.clear()
        vma.vm_ops = self.balance.vm_ops
        self.balance.opened(vma)


class Faults(Lazy):
    """Pages that come when they are touched, and tell of the first write."""

    def probe(self, size: int | str = "64K") -> None:
        super().probe(size)
        self.balance = Balance()
        self.vm_ops = VmOperationsStruct(
            open=self.balance.opened, close=self.balance.closed, fault=self.fault,
            page_mkwrite=self.page_mkwrite,
        )  # fmt: skip

    def open(self, inode: Inode, file: File) -> None:
        self.balance.files += 1

    def release(self, inode: Inode, file: File) -> None:
        self.balance.files -= 1

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        super().mmap(file, vma)
        self.balance.opened(vma)

    def page_mkwrite(self, vmf: VmFault) -> int:
        return VM_FAULT_LOCKED


class Waits(Items):
    """A queue of items: reads wait, writes wake, poll says which."""

    def probe(self) -> None:
        super().probe()
        self.balance = Balance()

    def open(self, inode: Inode, file: File) -> None:
        self.balance.files += 1

    def release(self, inode: Inode, file: File) -> None:
        self.balance.files -= 1

    def poll(self, file: File) -> int:
        poll_wait(file, self.queue)
        return EPOLLOUT | (EPOLLIN if self.items else 0)


def left(host: EmbeddedHost, drivers: list[Any]) -> dict[str, Any]:
    """What clients may leave behind; to be compared with what it was before there were any."""
    gc.collect()
    counts = host.machine.counts()
    lazy = [driver for driver in drivers if isinstance(driver, Lazy)]
    pages = [page for driver in lazy for page in driver.pages.values()]
    return {
        "frames": (counts.used - len(pages), counts.held),
        "references": sum(page_count(page) - 1 for page in pages),
        "descriptors": _descriptors(),
        "threads": len(os.listdir("/proc/self/task")),
        "python threads": threading.active_count(),
        "spaces": len(list(host.subsystems.spaces)),
        "leases": len(host.machine.leases),
        "files": len(host.subsystems.files.table),
        "parked": len(host._server.waiting),
        "clients": host._server.has_clients,
        "balance": [(driver.balance.files, driver.balance.areas) for driver in drivers],
        "stopped": _stopped_children(),
    }


def _descriptors() -> dict[str, int]:
    """Return how many descriptors we have of each kind."""
    kinds: Counter[str] = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            kinds[os.readlink(f"/proc/self/fd/{name}").partition("[")[0]] += 1
        except OSError:
            continue  # that of the list itself
    return dict(kinds)


def _stopped_children() -> list[str]:
    """Children, by birth or adoption, that nobody lets go on."""
    stopped = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = Path(f"/proc/{name}/stat").read_text()
        except OSError:
            continue
        state, parent = text.rpartition(") ")[2].split()[:2]
        if int(parent) == os.getpid() and state != "Z":
            stopped.append(text[:40])
    return stopped


def add(host: EmbeddedHost) -> list[Any]:
    """Have the three devices that tests/clients/storm.c uses."""
    nodes: dict[str, type[Driver]] = {
        "/dev/frames": Frames, "/dev/faults": Faults, "/dev/waits": Waits
    }  # fmt: skip
    return [host.add(driver, node) for node, driver in nodes.items()]


Static = Callable[[str], str]
