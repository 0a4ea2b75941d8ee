"""`Kernel` holds the state that system call handlers share: open files, paths, descriptor numbers.

`Kernel` is to the call handlers in `calls/` what the kernel's own tables are to its system calls.
It owns open files and leases and decides when a file is released. It is used in the host's thread
only, under the host's lock.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from mapdev.host.core.device import Device
from mapdev.host.core.files import Uses, access_mode, new_file
from mapdev.host.core.operations import Operations
from mapdev.host.core.polling import Polling
from mapdev.host.core.waiting import WouldWait
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.descriptors import FdAllocator
from mapdev.host.embedded.files import Files, OpenFile
from mapdev.host.embedded.filter import Descriptors
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.listeners import Listeners
from mapdev.host.embedded.locks import Locks
from mapdev.host.embedded.machine import EmbeddedMachine
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.node import R_OK, W_OK, may_access, owns
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.paths import Paths
from mapdev.host.embedded.polling import Display
from mapdev.host.embedded.signals import SignalWatch
from mapdev.linux.log import log
from mapdev.linux.numbers import PAGE_SIZE

_OPENING_FLAGS = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC  # the driver's open sees them
PATH_MAX = 4096
_WANTED = (R_OK, W_OK, R_OK | W_OK, R_OK | W_OK)  # by O_ACCMODE; mode 3 is for ioctl


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
    :ivar uses: of open files: descriptors, mappings and calls that wait.
    :ivar locks: of all nodes.
    """

    log = log

    def __init__(
        self,
        machine: EmbeddedMachine,
        operations: Operations,
        descriptors: Descriptors,
        signals: SignalWatch,
        listeners: Listeners,
    ) -> None:
        self.machine = machine
        self.operations = operations
        self.signals = signals
        self.descriptors = descriptors
        self.mappings = machine.mappings
        self.spaces = self.mappings.spaces
        self.window = self.mappings.window
        self.messages = Messages()
        self.files = Files()
        self.fd_allocator = FdAllocator(descriptors)
        self.scratch_descriptor = self.fd_allocator.scratch
        self.injector = Injector(self.mappings, self.scratch_descriptor, listeners, self.messages)
        self.display = Display(operations)
        self.polling = Polling(self.display.show)
        self.uses: Uses[OpenFile] = Uses(self._release)
        self.locks = Locks(machine)
        self.paths = Paths(self.files, (self.mappings.dev, self.mappings.inode), self.spaces.mapped)
        self.opened: Callable[[OpenFile], None] = lambda _: None
        self.closed: Callable[[OpenFile], None] = lambda _: None

    # --- who asks, and with what ----------------------------------------------------------

    def file(self, call: Call, argument: int = 0) -> OpenFile | None:
        """Return the device's open file that a descriptor argument of `call` means, if any.

        :raises OSError: EBADF the number is the one at which physical memory is lent. The kernel
            must not look: by then it may be lent to another thread of the client.
        """
        fd = call.args[argument] & 0xFFFFFFFF
        if fd == self.scratch_descriptor and not self._is_clients_own(call.tid, fd):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        open_file = self.files.at(call.tid, fd)
        if open_file is None:
            return None
        call.file, call.owner = open_file, open_file.driver
        if self.spaces.by_tgid and self.spaces.unseen:
            self.mappings.refresh()  # so that what the driver answers now is true
        if fd < self.descriptors.base:
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

    def open(self, call: Call, device: Device, flags: int) -> int:
        """Open `device` for the client; return the descriptor there.

        :param flags: ``O_*`` flags that were checked, as in ``struct open_how``.
        :raises OSError: EMFILE no number is left for a device, EEXIST with O_EXCL, ENOTDIR with
            O_DIRECTORY and O_TMPFILE, EACCES by the node's mode, EPERM with O_NOATIME for who does
            not own it, EINVAL with O_DIRECT, or the driver's own.
        :raises WouldWait: the driver has to wait.

        Source: fs/open.c (do_sys_openat2, do_dentry_open), fs/namei.c (do_open, may_open)
        """
        self.fd_allocator.check_limit(call.tid)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if flags & os.O_DIRECTORY:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        cloexec = bool(flags & os.O_CLOEXEC)
        flags &= ~os.O_CLOEXEC
        if flags & os.O_PATH:
            open_file = OpenFile(device, new_file(device, flags, 0), path_only=True)
            call.file, call.owner = open_file, device.driver
            return self.install(call, open_file, cloexec)
        wanted = _WANTED[flags & os.O_ACCMODE] | (W_OK if flags & os.O_TRUNC else 0)
        if not may_access(device, call.tid, wanted):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        if flags & os.O_NOATIME and not owns(device, call.tid):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        open_file = self.new_file(device, flags)
        call.file, call.owner = open_file, device.driver
        return self._finish_open(call, open_file, cloexec)

    def _finish_open(self, call: Call, open_file: OpenFile, cloexec: bool) -> int:
        try:
            self.operations.open(call)
        except WouldWait as wait:
            wait.again = partial(self._finish_open, call, open_file, cloexec)
            wait.abandon = open_file.ready.close
            raise
        except BaseException:
            open_file.ready.close()
            raise
        file = open_file.file
        if file.f_flags & os.O_DIRECT:  # the kernel, too, asks the driver first
            self.uses.put(open_file)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        file.f_flags &= ~_OPENING_FLAGS
        return self.install(call, open_file, cloexec)

    def new_file(self, device: Device, flags: int) -> OpenFile:
        """Return a new open file, not yet in any client."""
        if flags & os.O_SYNC:  # two bits, one of which is O_DSYNC
            flags |= os.O_DSYNC
        return OpenFile(device, new_file(device, flags | ARCH.O_LARGEFILE, access_mode(flags)))

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
        self._show_new(open_file)  # while we still have the client's end
        open_file.ready.forget_theirs()
        return number

    def _show_new(self, open_file: OpenFile) -> None:
        """Have poll show what a new file is ready for."""
        if open_file.path_only:
            return
        if open_file.driver.has("poll"):
            self.polling.add(open_file)
            self.polling.refresh(open_file.driver)
        else:
            self.display.show_default(open_file)

    def install_file(self, call: Call, name: str, driver: Any, private: Any, flags: int) -> int:
        """Open a file without a node in the client of `call`: what anon_inode_getfd asks for."""
        device = Device(driver, f"anon_inode:{name}", 0)
        open_file = self.new_file(device, flags & ~os.O_CLOEXEC & ~_OPENING_FLAGS)
        open_file.file.private_data = private
        return self.install(call, open_file, bool(flags & os.O_CLOEXEC))

    def hung_up(self, open_file: OpenFile) -> None:
        """The last descriptor of `open_file` is gone."""
        self.files.discard(open_file)
        self.locks.closed(open_file)
        self.uses.put(open_file)

    def _release(self, open_file: OpenFile) -> None:
        """Nobody uses `open_file` any more."""
        self.polling.discard(open_file)
        self.closed(open_file)
        open_file.ready.close()
        if not open_file.path_only:
            self.operations.release(open_file)
            self.polling.refresh(open_file.driver)

    def close(self) -> list[str]:
        """Release what is still open, since no client lives; return a line for each."""
        self.spaces.close()
        self.injector.close()
        self.locks.close()
        left = dict.fromkeys((*self.files, *self.mappings.files))
        for open_file in left:
            open_file.uses = 0
            self.files.discard(open_file)
            self._release(open_file)
        return [f"{open_file.device.node} was still open or mapped" for open_file in left]
