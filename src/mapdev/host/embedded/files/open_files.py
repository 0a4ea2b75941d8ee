"""`OpenFiles` opens devices for clients, finds the open file a call means, and releases it.

It owns all open files of a host. What ends one is a hang-up of its socket (see `open_file`), the
end of its last mapping, or of the last call of it that waits. Used in the host's thread only,
under the host's lock.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from mapdev.host.core.device import Device
from mapdev.host.core.files import access_mode, new_file
from mapdev.host.core.operations import Operations
from mapdev.host.core.polling import Polling
from mapdev.host.core.waiting import Waiting, WouldWait
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.client import ClientMachine, EmbeddedClient
from mapdev.host.embedded.files.descriptors import FdAllocator
from mapdev.host.embedded.files.device_files import DeviceFiles, Node
from mapdev.host.embedded.files.display import Display
from mapdev.host.embedded.files.flushed_files import FlushedFiles
from mapdev.host.embedded.files.locks import Locks
from mapdev.host.embedded.files.node import R_OK, W_OK, may_access, owns
from mapdev.host.embedded.files.open_file import FileTable, OpenFile
from mapdev.host.embedded.files.readiness import Readiness
from mapdev.host.embedded.files.shadows import Shadows
from mapdev.host.embedded.inject.helpers import Helpers
from mapdev.host.embedded.libc import file_status
from mapdev.host.embedded.messages import Messages
from mapdev.host.embedded.mm.mappings import Mappings
from mapdev.host.embedded.processes import hides_descriptor, yama_forbids
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.watcher import Watcher
from mapdev.linux.fs import File
from mapdev.linux.log import log

_NOT_FOR_PROGRAMS = 512  # errnos from here on are the kernel's own
_OPENING_FLAGS = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC  # the driver's open sees them
_WANTED = (R_OK, W_OK, R_OK | W_OK, R_OK | W_OK)  # by O_ACCMODE; mode 3 is for ioctl


class OpenFiles:
    """All open files of a host.

    :param table: where they are found by what /proc shows.
    :param numbers: chooses the descriptor's number in a client.
    :param helpers: threads of clients whose closes are no program's.
    :ivar flushed: files whose driver is told of each close.
    :param shadows: are told what is opened and closed.
    :param locks: of all nodes: the last close of a file ends its own.
    :param waiting: calls that wait: the last close ends those of clients that are dead.
    """

    def __init__(
        self,
        table: FileTable,
        numbers: FdAllocator,
        machine: ClientMachine,
        operations: Operations,
        mappings: Mappings,
        locks: Locks,
        shadows: Shadows,
        waiting: Waiting,
        watcher: Watcher,
        messages: Messages,
        helpers: Helpers,
    ) -> None:
        self.table = table
        self._messages = messages
        self._numbers = numbers
        self._base = numbers.base
        self._operations = operations
        self._mappings = mappings
        self._spaces = mappings.spaces
        self._locks = locks
        self._shadows = shadows
        self._waiting = waiting
        self._watcher = watcher
        self._display = Display(operations)
        self._machine = machine
        self._device_files = DeviceFiles(watcher)
        self.flushed = FlushedFiles(watcher, helpers)
        self.polling = Polling(self._display.show)

    # --- which one a call means -----------------------------------------------------------

    def of(self, call: Call, argument: int = 0) -> OpenFile | None:
        """Return the device's open file that a descriptor argument of `call` means, if any.

        :raises OSError: EBADF the number is the one at which physical memory is lent. The kernel
            must not look: by then it may be lent to another thread of the client. EIO the host may
            not see what it is and the kernel would find a socket there.
        """
        fd = call.args[argument] & 0xFFFFFFFF
        if fd == self._numbers.scratch and not self._is_clients_own(call.tid, fd):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        open_file = self.table.at(call.tid, fd)
        if open_file is None:
            if fd >= self._base and len(self.table) and hides_descriptor(call.tid, fd):
                self._refuse_hidden(call.tid)
            return None
        call.file, call.owner = open_file, open_file.device.owner
        if self._spaces.by_tgid and self._spaces.unseen:
            self._mappings.refresh()  # so that what the driver answers now is true
        if fd < self._base:
            open_file.watch_edges()  # the filter does not show what epoll_ctl does with it
        return open_file

    def _refuse_hidden(self, tid: int) -> NoReturn:
        why = yama_forbids() or "it runs as another user, or has made itself undumpable"
        self._messages.say_once(
            "hidden descriptor", tid,
            f"uses a descriptor of a device, but mapdev may not see it any more ({why}): it gets "
            "EIO. Run mapdev as that user or as root",
        )  # fmt: skip
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _is_clients_own(self, tid: int, fd: int) -> bool:
        try:
            status = file_status(f"/proc/{tid}/fd/{fd}")
        except OSError:
            return False
        return status.st_ino != self._mappings.inode

    def begin(self) -> None:
        """Make now what the first open file needs."""
        _ = self._device_files.is_there

    # --- open -------------------------------------------------------------------------------

    def open(self, call: Call, device: Device, flags: int) -> int:
        """Open `device` for the client; return the descriptor there.

        :param flags: ``O_*`` flags that were checked, as in ``struct open_how``.
        :raises OSError: EMFILE no number is left for a device, EEXIST with O_EXCL, ENOTDIR with
            O_DIRECTORY and O_TMPFILE, EACCES by the node's mode, EPERM with O_NOATIME for who does
            not own it, EINVAL with O_DIRECT, or the driver's own.
        :raises WouldWait: the driver has to wait.

        Source: fs/open.c (do_sys_openat2, do_dentry_open), fs/namei.c (do_open, may_open)
        """
        self._numbers.check_limit(call.tid)
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if flags & os.O_DIRECTORY:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        cloexec = bool(flags & os.O_CLOEXEC)
        flags &= ~os.O_CLOEXEC
        if flags & os.O_PATH:
            file = new_file(device, flags, 0)
            open_file = self._made(device, file, True)
            call.file, call.owner = open_file, device.owner
            return self.install(call, open_file, cloexec)
        wanted = _WANTED[flags & os.O_ACCMODE] | (W_OK if flags & os.O_TRUNC else 0)
        if not may_access(device, call.tid, wanted):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        if flags & os.O_NOATIME and not owns(device, call.tid):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        open_file = self.new_file(device, flags)
        call.file, call.owner = open_file, device.owner
        return self._finish_open(call, open_file, cloexec)

    def _finish_open(self, call: Call, open_file: OpenFile, cloexec: bool) -> int:
        try:
            self._operations.open(call)
        except WouldWait as wait:
            wait.again = partial(self._finish_open, call, open_file, cloexec)
            raise
        file = open_file.file
        if file.f_flags & os.O_DIRECT:  # the kernel, too, asks the driver first
            open_file.put()
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        file.f_flags &= ~_OPENING_FLAGS
        return self.install(call, open_file, cloexec)

    def _made(self, device: Device, file: File, path_only: bool) -> OpenFile:
        return OpenFile(device, file, path_only, self._release)

    def new_file(self, device: Device, flags: int) -> OpenFile:
        """Return a new open file, not yet in any client."""
        if flags & os.O_SYNC:  # two bits, one of which is O_DSYNC
            flags |= os.O_DSYNC
        file = new_file(device, flags | ARCH.O_LARGEFILE, access_mode(flags))
        return self._made(device, file, False)

    def install(self, call: Call, open_file: OpenFile, cloexec: bool) -> int:
        """Put a descriptor of `open_file` into the client and return its number."""
        try:
            ready = self._make_ready(open_file)
        except OSError:
            open_file.put()
            raise
        self.table.add(open_file)
        try:
            number = self._numbers.add(call, partial(ready.put, call, cloexec))
        except OSError as error:
            ready.forget_theirs()
            self.hung_up(open_file)
            if error.errno == errno.EMFILE:
                raise
            raise OSError(errno.EMFILE, f"no descriptor for {open_file.device.node}: "
                          f"{error.strerror}") from None  # fmt: skip
        open_file.seen = call.tid, number
        self._shadows.open(open_file)
        self._show_new(open_file)  # while we still have the client's end
        ready.forget_theirs()
        return number

    def _make_ready(self, open_file: OpenFile) -> Node | Readiness:
        """Make what clients will have of `open_file`.

        :raises OSError: EMFILE we have too many descriptors.
        """
        has_flush = "flush" in open_file.device.has and not open_file.path_only
        if not (self.flushed if has_flush else self._device_files).is_there:
            sockets = open_file.ready = Readiness(partial(self._watch_another, open_file))
            self._watch(open_file, sockets)
            return sockets
        if has_flush:
            node = self.flushed.make()
            node.flushed = partial(self._flush, open_file)
        else:
            node = self._device_files.make()
        open_file.ready = node
        node.asked = partial(self._answer_poll, open_file)
        node.gone = partial(self._hang_up, open_file)
        return node

    def _answer_poll(self, open_file: OpenFile, events: int) -> int:
        open_file.file.poll_events = events
        try:
            mask = self._display.answer(open_file)
        finally:
            open_file.file.poll_events = None
        self.polling.asked(open_file)
        return mask

    def _show_new(self, open_file: OpenFile) -> None:
        """Have poll show what a new file is ready for."""
        if open_file.path_only or isinstance(open_file.ready, Node):
            return
        if open_file.driver.has("poll"):
            self.polling.add(open_file)
            self.polling.refresh(open_file.driver)
        else:
            self._display.show_default(open_file)

    def install_file(
        self,
        call: Call,
        name: str,
        driver: Any,
        private: Any,
        flags: int,
        kind: int = stat.S_IFCHR,
    ) -> int:
        """Open a file without a node in the client of `call`: what anon_inode_getfd asks for.

        :param kind: what stat shows that it is, ``S_IF*``.
        """
        device = Device(driver, f"anon_inode:{name}", 0)
        device.inode.i_mode = kind | stat.S_IMODE(device.inode.i_mode)
        open_file = self.new_file(device, flags & ~os.O_CLOEXEC & ~_OPENING_FLAGS)
        open_file.file.private_data = private
        return self.install(call, open_file, bool(flags & os.O_CLOEXEC))

    def _watch(self, open_file: OpenFile, sockets: Readiness) -> None:
        """Learn when the last descriptor is gone: a hang-up, which is reported unasked."""
        self._watcher.register(sockets.tracker.fileno(), 0, lambda _: self._hang_up(open_file))

    def watch_other(self, fd: int, readable: Callable[[int], object]) -> None:
        """Call a function when a descriptor of the host's own becomes readable."""
        self._watcher.register(fd, select.EPOLLIN, readable)

    def _watch_another(
        self, open_file: OpenFile, sockets: Readiness, before: socket.socket
    ) -> None:
        self._watcher.unwatch(before.fileno())
        self._watch(open_file, sockets)

    def _unwatch(self, open_file: OpenFile) -> None:
        ready = open_file.ready
        if isinstance(ready, Readiness) and ready.tracker.fileno() in self._watcher.handlers:
            self._watcher.unwatch(ready.tracker.fileno())

    def _flush(self, open_file: OpenFile, tid: int) -> int:
        """Run the driver's flush for a thread that closes a descriptor; return the errno of that.

        FUSE lets no errors through that programs are not to see, and takes ENOSYS for its own.
        """
        try:
            self._operations.flush(EmbeddedClient(self._machine, tid), open_file)
        except OSError as error:
            code = error.errno or errno.EIO
            return code if code < _NOT_FOR_PROGRAMS and code != errno.ENOSYS else errno.EIO
        finally:
            self.polling.refresh(open_file.driver)
        return 0

    def _hang_up(self, open_file: OpenFile) -> None:
        self._unwatch(open_file)
        if isinstance(open_file.ready, Readiness) and "flush" in open_file.device.has:
            self._flush_untold(open_file)
        for call in self._waiting:  # those of clients that are dead
            if call.file is open_file and not call.is_waited_for():
                self._waiting.forget(call)
        self.hung_up(open_file)

    def _flush_untold(self, open_file: OpenFile) -> None:
        """Run the driver's flush once: without FUSE only the last close is seen, and afterwards."""
        if open_file.path_only or open_file.device.is_gone:
            return
        try:
            self._operations.flush(None, open_file)
        except OSError as error:
            log.warning("%s: flush failed, and no program can be told: %s",
                        open_file.device.node, error)  # fmt: skip

    def hung_up(self, open_file: OpenFile) -> None:
        """The last descriptor of `open_file` is gone."""
        self.table.discard(open_file)
        self._locks.closed(open_file)
        open_file.put()

    def _release(self, open_file: OpenFile) -> None:
        """Nobody uses `open_file` any more."""
        self.polling.discard(open_file)
        self._unwatch(open_file)
        if open_file.ready is not None:
            open_file.ready.close()
        self._shadows.closed(open_file)
        if not open_file.path_only:
            self._operations.release(open_file)
            self.polling.refresh(open_file.driver)

    def close(self) -> list[str]:
        """Release what is still open or mapped, since no client lives; return a line for each."""
        left = dict.fromkeys((*self.table, *self._mappings.files))
        for open_file in left:
            open_file.uses = 0
            self.table.discard(open_file)
            self._release(open_file)
        self._device_files.close()
        self.flushed.close()
        return [f"{open_file.device.node} was still open or mapped" for open_file in left]
