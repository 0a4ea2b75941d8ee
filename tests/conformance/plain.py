"""The reference devices that rows about files, not memory, are asked of.

Each lacks or has other operations than the rest; what they are in C is in reference/plain.c.
"""

from __future__ import annotations

from mapdev import Driver
from mapdev.linux import (
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    FasyncStruct,
    File,
    Inode,
    fasync_helper,
    nonseekable_open,
    poll_wait,
    stream_open,
    wait_event_interruptible,
)

from .control import Operation
from .devices import Pages, Reference, bytes_of

CHUNK = 8  # bytes that a stream gives or takes at a time


class Bare(Pages):
    """Nothing but open and release."""


class Stream(Pages):
    """No position, and `CHUNK` bytes at a time of what page 0 begins with."""

    def open(self, inode: Inode, file: File) -> None:
        super().open(inode, file)
        stream_open(inode, file)

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.count(Operation.READ)
        self.asked = (count, 0)
        return bytes(bytes_of(self.pages[0])[: min(count, CHUNK)])

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.count(Operation.WRITE)
        self.asked = (len(data), 0)
        data = data[:CHUNK]
        bytes_of(self.pages[0])[: len(data)] = data
        return len(data)


class Seekless(Reference):
    """A position that only read and write move."""

    llseek = Driver.llseek

    def open(self, inode: Inode, file: File) -> None:
        super().open(inode, file)
        nonseekable_open(inode, file)


class Ready(Stream):
    """A stream that has to be waited for, until the mask that it is told says otherwise."""

    def wait(self, wanted: int) -> None:
        wait_event_interruptible(self.queue, lambda: self.mask & (wanted | EPOLLHUP))

    def read(self, file: File, count: int, pos: int) -> bytes:
        self.wait(EPOLLIN)
        return super().read(file, count, pos)

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.wait(EPOLLOUT)
        return super().write(file, data, pos)

    def poll(self, file: File) -> int:
        poll_wait(file, self.queue)
        return self.mask


class Commands(Reference):
    """Operations that return what they are told: all ioctl commands, fsync, flush and fasync."""

    def probe(self) -> None:
        self.asked_for = FasyncStruct()
        super().probe()

    def ioctl(self, file: File, cmd: int, arg: int) -> int:
        self.count(Operation.IOCTL)
        self.command = (cmd, arg)
        self.fail()
        return self.result

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        self.count(Operation.FSYNC)
        self.asked = (int(datasync), start)
        self.command = (self.command[0], end)
        self.fail()

    def flush(self, file: File) -> None:
        self.count(Operation.FLUSH)
        self.fail()

    def fasync(self, fd: int, file: File, on: int) -> int:
        self.count(Operation.FASYNC)
        self.fail()
        return self.result or fasync_helper(fd, file, on, self.asked_for)


class Refuse(Reference):
    """An open operation that fails as told, which is not counted: no release follows."""

    def open(self, inode: Inode, file: File) -> None:
        self.open_flags = file.f_flags
        self.fail()
        super().open(inode, file)


DEVICES: dict[str, type[Pages]] = {
    "bare": Bare,
    "stream": Stream,
    "seekless": Seekless,
    "ready": Ready,
    "commands": Commands,
    "refuse": Refuse,
}
