"""The state that system calls work on: devices, open files, mappings, and who asks.

`Kernel` is to the call handlers in `calls/` what the kernel's own tables are to its system calls.
It owns open files and leases and decides when a file is released. It is used in the host's thread
only, under the host's lock.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from mapdev.host.device import Device
from mapdev.host.dispatch import Dispatcher, WouldWait
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.descriptors import FdAllocator
from mapdev.host.embedded.files import Files, OpenFile
from mapdev.host.embedded.filter import Descriptors
from mapdev.host.embedded.injector import Injector
from mapdev.host.embedded.listeners import Listeners
from mapdev.host.embedded.machine import EmbeddedMachine
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.node import R_OK, W_OK, may_access
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.paths import Paths
from mapdev.host.embedded.polling import Polling
from mapdev.host.embedded.processes import comm_of, tgid_of
from mapdev.host.embedded.syscalls import PAGE_SIZE
from mapdev.host.embedded.waiting import Waiting
from mapdev.linux.fs import (
    FMODE_LSEEK,
    FMODE_PREAD,
    FMODE_PWRITE,
    FMODE_READ,
    FMODE_WRITE,
    File,
)
from mapdev.linux.log import log
from mapdev.linux.mm import TaskStruct

_DROPPED_FLAGS = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC | os.O_CLOEXEC
PATH_MAX = 4096


class ClientTask(TaskStruct):
    """A thread of a client; what is not known of it is found out when it is asked for."""

    __slots__ = ()

    def __init__(self, tid: int) -> None:
        self.pid = tid
        self.flags = 0
        self._mm = None
        self._tgid = 0

    @property
    def tgid(self) -> int:
        """The process that the thread belongs to."""
        if not self._tgid:
            self._tgid = tgid_of(self.pid)
        return self._tgid  # type: ignore[return-value]

    @property
    def comm(self) -> str:
        """The command's name."""
        return comm_of(self.pid)


class Kernel:
    """Everything that a call handler may need.

    :ivar descriptors: the numbers that devices have in clients.
    :ivar fd_allocator: chooses among them.
    :ivar scratch_descriptor: where physical memory is in a client for the moment of a mapping.
    :ivar window: where devices are mapped.
    :ivar mappings: of devices, in all clients; `spaces` is its.
    :ivar injector: makes system calls in clients.
    :ivar messages: what the user is told of clients.
    :ivar opened, closed: how `Server` is told of open files.
    :ivar current: the call for which driver code runs, None when it runs for none.
    """

    log = log

    def __init__(
        self,
        machine: EmbeddedMachine,
        dispatcher: Dispatcher,
        descriptors: Descriptors,
        listeners: Listeners,
    ) -> None:
        self.machine = machine
        self.dispatch = dispatcher
        self.descriptors = descriptors
        self.mappings = machine.mappings
        self.spaces = self.mappings.spaces
        self.window = self.mappings.window
        self.messages = Messages()
        self.files = Files()
        self.fd_allocator = FdAllocator(descriptors, self.files)
        self.scratch_descriptor = self.fd_allocator.scratch
        self.injector = Injector(self.mappings, self.scratch_descriptor, listeners, self.messages)
        self.polling = Polling(self.files, dispatcher)
        self.paths = Paths(self.files, (self.mappings.dev, self.mappings.inode), self.spaces.mapped)
        self.opened: Callable[[OpenFile], None] = lambda _: None
        self.closed: Callable[[OpenFile], None] = lambda _: None
        self.current: Call | None = None
        machine.install = self._install_file

    # --- who asks, and with what ----------------------------------------------------------

    def task(self, call: Call) -> TaskStruct:
        """Return the thread that makes `call`."""
        return ClientTask(call.tid)

    def file(self, call: Call, argument: int = 0) -> OpenFile | None:
        """Return the device's open file that a descriptor argument of `call` means, if any.

        :raises OSError: EBADF the number is the one at which physical memory is lent. The kernel
            must not look: by then it may be lent to another thread of the client.
        """
        fd = call.args[argument] & 0xFFFFFFFF
        if fd == self.scratch_descriptor and not self._is_clients_own(call.tid, fd):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        open_file = self.files.at(call.tid, fd)
        if open_file is not None and self.spaces.unseen:
            self.mappings.refresh()  # so that what the driver answers now is true
        if open_file is not None and fd < self.descriptors.base:
            open_file.ready.edge = True  # the filter does not show what epoll_ctl does with it
        return open_file

    def _is_clients_own(self, tid: int, fd: int) -> bool:
        try:
            status = os.stat(f"/proc/{tid}/fd/{fd}")
        except OSError:
            return False
        return status.st_ino != self.mappings.inode

    def read_path(self, call: Call, addr: int) -> str | None:
        """Return the path at `addr` in the client; None when it can't be read or is too long."""
        path = b""
        while len(path) < PATH_MAX:
            size = min(256, PAGE_SIZE - addr % PAGE_SIZE)
            try:
                piece = self.machine.read_user(call.tid, addr, size)
            except OSError as error:
                if error.errno == errno.EPERM:
                    text = (
                        "its memory can't be read (does it run with more privileges than mapdev?), "
                        "so it sees no devices"
                    )
                    self.messages.say_once("unreadable", call.tid, text)
                return None
            end = piece.find(b"\0")
            if end >= 0:
                return os.fsdecode(path + piece[:end])
            path += piece
            addr += size
        return None

    # --- open files -------------------------------------------------------------------------

    def open(self, call: Call, device: Device, flags: int) -> int | Waiting:
        """Open `device` for the client; return the descriptor there, or what the driver waits for.

        :raises OSError: EEXIST with O_EXCL, ENOTDIR with O_DIRECTORY, EACCES by the node's mode,
            EMFILE no number is left for a device, or the driver's own.
        """
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if flags & os.O_DIRECTORY:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path_only = bool(flags & os.O_PATH)
        mode = 0 if path_only else (flags & os.O_ACCMODE) + 1 & 3
        wanted = (R_OK if mode & 1 else 0) | (W_OK if mode & 2 else 0)
        if not may_access(device, call.tid, wanted):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        open_file = self.new_file(device, flags, mode, path_only)
        cloexec = bool(flags & os.O_CLOEXEC)
        if path_only:
            return self.install(call, open_file, cloexec)
        return self._finish_open(call, open_file, cloexec)

    def _finish_open(self, call: Call, open_file: OpenFile, cloexec: bool) -> int | Waiting:
        try:
            self.dispatch.open(open_file.device, self.task(call), open_file.file)
        except WouldWait as wait:
            return Waiting(wait, open_file, lambda: self._finish_open(call, open_file, cloexec),
                           abandon=open_file.ready.close)  # fmt: skip
        except BaseException:
            open_file.ready.close()
            raise
        return self.install(call, open_file, cloexec)

    def new_file(self, device: Device, flags: int, mode: int, path_only: bool = False) -> OpenFile:
        """Return a new open file, not yet in any client."""
        f_mode = FMODE_READ * (mode & 1) | FMODE_WRITE * (mode >> 1) | FMODE_PREAD | FMODE_PWRITE
        if device.driver.has("llseek"):
            f_mode |= FMODE_LSEEK
        f_flags = flags & ~_DROPPED_FLAGS | ARCH.O_LARGEFILE
        file = File(device.inode, device.driver, f_flags, f_mode, device.node)
        return OpenFile(device, file, path_only)

    def install(self, call: Call, open_file: OpenFile, cloexec: bool) -> int:
        """Put a descriptor of `open_file` into the client and return its number."""
        self.files.add(open_file)
        self.opened(open_file)
        try:
            number = self.fd_allocator.add(call, open_file.ready.hand_over(), cloexec)
        except OSError as error:
            open_file.ready.forget_theirs()
            self.hung_up(open_file)
            if error.errno == errno.EMFILE:
                raise
            raise OSError(errno.EMFILE, f"no descriptor for {open_file.device.node}: "
                          f"{error.strerror}") from None  # fmt: skip
        open_file.seen = call.tid, number
        self.polling.opened(open_file)  # while we still have the client's end
        open_file.ready.forget_theirs()
        return number

    def _install_file(self, name: str, driver: Any, private: Any, flags: int) -> int:
        """Open a file without a node in the client: what anon_inode_getfd asks for."""
        assert self.current is not None  # whoever has a task has a call
        device = Device(driver, f"anon_inode:{name}", 0)
        open_file = self.new_file(device, flags, (flags & os.O_ACCMODE) + 1 & 3)
        open_file.file.private_data = private
        return self.install(self.current, open_file, bool(flags & os.O_CLOEXEC))

    def hung_up(self, open_file: OpenFile) -> None:
        """The last descriptor of `open_file` is gone."""
        open_file.has_descriptor = False
        self.files.discard(open_file)
        self._release_if_unused(open_file)

    def unmapped(self, open_file: OpenFile) -> None:
        """One mapping of `open_file` is gone from all clients."""
        open_file.mappings -= 1
        self._release_if_unused(open_file)

    def done_waiting(self, open_file: OpenFile) -> None:
        """One call of `open_file` waits no longer."""
        open_file.waiting -= 1
        self._release_if_unused(open_file)

    def _release_if_unused(self, open_file: OpenFile) -> None:
        if not open_file.is_unused:
            return
        self.closed(open_file)
        open_file.ready.close()
        if not open_file.path_only:
            self.dispatch.release(open_file.device, open_file.file)
            self.polling.refresh(open_file.device.driver)

    def close(self) -> list[str]:
        """Release what is still open, since no client lives; return a line for each."""
        self.spaces.close()
        self.injector.close()
        left = {*self.files, *self.mappings.files}
        for open_file in left:
            open_file.has_descriptor = False
            open_file.mappings = 0
            self._release_if_unused(open_file)
        return [f"{open_file.device.node} was still open or mapped" for open_file in left]
