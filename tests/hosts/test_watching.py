"""What a watcher is told of the operations of a driver: who, what, with which result, and when."""

from __future__ import annotations

import sys
import time
from typing import Any

from mapdev import Driver, ioctl
from mapdev.host.core.host import Host
from mapdev.linux import (
    _IO,
    GFP_KERNEL,
    PAGE_SHIFT,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    kzalloc,
    remap_pfn_range,
    virt_to_phys,
)

PROGRAM = """
import fcntl, mmap, os, threading
fd = os.open('/dev/x', os.O_RDWR)
for number in 5, 0x1234567, 6:
    try:
        assert fcntl.ioctl(fd, 0x7401, number) == number % 7
    except OSError as error:
        print(error.errno)
m = mmap.mmap(fd, mmap.PAGESIZE)
thread = threading.Thread(target=lambda: fcntl.ioctl(fd, 0x7401, 4))
thread.start()
thread.join()
try:
    fcntl.ioctl(fd, 0x7402)
except OSError as error:
    print(error.errno)
print(os.getpid())
"""


class Watched(Driver):
    """One page, and a command that fails for a certain number."""

    def probe(self) -> None:
        self.address = kzalloc(PAGE_SIZE, GFP_KERNEL)

    @ioctl(_IO(0x74, 1))
    def seventh(self, file: File, arg: int) -> int:
        if arg == 6:
            raise OSError(28, "six")
        return arg % 7

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        pfn = virt_to_phys(self.address) >> PAGE_SHIFT
        remap_pfn_range(vma, vma.vm_start, pfn, PAGE_SIZE, vma.vm_page_prot)


def test_operations_are_told_with_their_process(mapdev: Host) -> None:
    mapdev.add(Watched, "/dev/x")
    began = time.time_ns()
    recorder, last, _ = mapdev.control.begin()
    try:
        done = mapdev.run(
            [sys.executable, "-S", "-c", PROGRAM], capture_output=True, text=True, timeout=60
        )
        mapdev.settle()
        events = recorder.since(last)
    finally:
        mapdev.control.end()
    assert done.returncode == 0, done.stderr
    six, unknown, pid = map(int, done.stdout.split())
    assert (six, unknown) == (28, 25)
    calls: list[Any] = [event for event in events if event[2] == "call"]
    assert [event[3:8] for event in calls if event[5] == "ioctl"] == [
        (pid, "/dev/x", "ioctl", "seventh, 5", "5"),
        (pid, "/dev/x", "ioctl", "seventh, 0x1234567", str(0x1234567 % 7)),
        (pid, "/dev/x", "ioctl", "seventh, 6", "-1 ENOSPC (six)"),
        (pid, "/dev/x", "ioctl", "seventh, 4", "4"),
        (pid, "/dev/x", "ioctl", "_IO('t', 2), 0", "-1 ENOTTY (no ioctl 0x7402)"),
    ]
    assert [event[5] for event in calls][:2] == ["open", "ioctl"]
    (mapped,) = [event for event in calls if event[5] == "mmap"]
    assert [call[0] for call in mapped[10]] == ["virt_to_phys", "remap_pfn_range"]
    assert [event[0] for event in events] == list(range(last + 1, last + 1 + len(events)))
    times = [event[1] for event in calls]
    assert began < times[0] and times == sorted(times) and times[-1] < time.time_ns()
    assert all(0 < event[8] < 10 for event in calls)


def test_nothing_is_told_when_nobody_watches_any_more(mapdev: Host) -> None:
    mapdev.add(Watched, "/dev/x")
    mapdev.control.begin()
    mapdev.control.end()
    assert "_run" not in vars(mapdev.operations) and "run" not in vars(mapdev.operations)
    recorder, last, _ = mapdev.control.begin()
    mapdev.control.end()
    mapdev.run([sys.executable, "-S", "-c", PROGRAM], check=True, capture_output=True, timeout=60)
    assert recorder.since(last) == []
