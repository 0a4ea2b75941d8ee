"""The state that system calls work on: devices, open files, mappings, and who asks.

`Kernel` is to the call handlers in `calls/` what the kernel's own tables are to its system calls.
It owns open files and leases and decides when a file is released. It is used in the host's thread
only, under the host's lock.
"""

from __future__ import annotations

import errno
import os
import resource
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mapdev.host.core.device import Device
from mapdev.host.core.files import Uses, access_mode, new_file
from mapdev.host.core.operations import Operations
from mapdev.host.core.polling import Polling
from mapdev.host.core.waiting import WouldWait
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.batch import Batch
from mapdev.host.embedded.client import EmbeddedClient
from mapdev.host.embedded.files import Files, OpenFile
from mapdev.host.embedded.filter import Descriptors
from mapdev.host.embedded.machine import EmbeddedMachine
from mapdev.host.embedded.node import R_OK, W_OK, may_access
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.paths import Paths
from mapdev.host.embedded.polling import Display
from mapdev.host.embedded.processes import comm_of, tgid_of
from mapdev.host.embedded.signals import SignalWatch
from mapdev.host.embedded.spaces import Spaces
from mapdev.host.embedded.window import Window
from mapdev.inspect.maps import read_maps
from mapdev.linux.fs import Inode
from mapdev.linux.log import log
from mapdev.linux.numbers import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_IO,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
)
from mapdev.linux.vma import vma_pages

if TYPE_CHECKING:
    from mapdev.host.embedded.areas import DeviceArea
    from mapdev.host.embedded.inject import StoppedThread

_DROPPED_FLAGS = os.O_CREAT | os.O_EXCL | os.O_NOCTTY | os.O_TRUNC | os.O_CLOEXEC
PATH_MAX = 4096
_WANTED = (0, R_OK, W_OK, R_OK | W_OK)  # by FMODE_READ and FMODE_WRITE


class Kernel:
    """Everything that a call handler may need.

    :ivar descriptors: the numbers that devices have in clients.
    :ivar scratch_descriptor: where physical memory is in a client for the moment of a mapping.
    :ivar secret: marks the host's own calls in clients.
    :ivar window: where devices are mapped.
    :ivar batch: what makes lists of calls in clients.
    :ivar spaces: the areas of clients.
    :ivar opened, closed, next_call: how `Server` is told of open files, and asked for the next call
        of any client while another one is being handled.
    :ivar postponed: calls that arrived meanwhile.
    :ivar in_host_thread: runs a function in the host's thread and returns its result.
    :ivar uses: of open files: descriptors, mappings and calls that wait.
    """

    log = log

    def __init__(
        self,
        machine: EmbeddedMachine,
        operations: Operations,
        descriptors: Descriptors,
        signals: SignalWatch,
    ) -> None:
        self.machine = machine
        self.operations = operations
        self.signals = signals
        self.descriptors = descriptors
        self.scratch_descriptor = descriptors.base + descriptors.room - 1
        self.secret = int.from_bytes(os.urandom(4), "little") | 1
        self.window = Window.of_this_machine()
        self.spaces = Spaces(operations, machine)
        machine.spaces = self.spaces
        machine.bring_in = self.bring_in
        machine.zap = lambda *args: self.in_host_thread(lambda: self._zap(*args))
        self.batch = Batch()
        self.files = Files()
        self.display = Display(operations)
        self.polling = Polling(self.display.show)
        self.uses: Uses[OpenFile] = Uses(self._release)
        self.paths = Paths(self.files, (machine.dev, machine.inode))
        self.paths.mapped = self.spaces.mapped
        self.spaces.ended = self.sweep
        self.opened: Callable[[OpenFile], None] = lambda _: None
        self.closed: Callable[[OpenFile], None] = lambda _: None
        self.next_call: Callable[[float], Call | None] = lambda _: None
        self.postponed: deque[Call] = deque()
        self.in_host_thread: Callable[[Callable[[], Any]], Any] = lambda work: work()
        self._next_descriptor = 0
        self._said: set[tuple[str, int]] = set()
        self._mapped_files: dict[int, OpenFile] = {}

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
        if self.spaces.unseen:
            self.refresh_areas()  # so that what the driver answers now is true
        if fd < self.descriptors.base:
            open_file.ready.edge = True  # the filter does not show what epoll_ctl does with it
        return open_file

    def _is_clients_own(self, tid: int, fd: int) -> bool:
        try:
            status = os.stat(f"/proc/{tid}/fd/{fd}")
        except OSError:
            return False
        return status.st_ino != self.machine.inode

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
                    self.say_once("unreadable", call, text)
                return None
            end = piece.find(b"\0")
            if end >= 0:
                return os.fsdecode(path + piece[:end])
            path += piece
            addr += size
        return None

    def say_once(self, topic: str, call: Call, text: str) -> None:
        """Tell the user, once for each process, why a client is not served as it expects."""
        self.say_of(topic, tgid_of(call.tid), text)

    def say_of(self, topic: str, tgid: int, text: str) -> None:
        """Tell the user something of process `tgid`, once."""
        if (topic, tgid) not in self._said:
            self._said.add((topic, tgid))
            log.warning("%s (process %d): %s", comm_of(tgid) or "a client", tgid, text)

    def stopped(self, call: Call) -> StoppedThread:
        """Return the thread of `call`, to be stopped and used for calls of ours."""
        from mapdev.host.embedded.inject import StoppedThread  # here, for a quick start

        return StoppedThread(call, self.secret)

    # --- open files -------------------------------------------------------------------------

    def open(self, call: Call, device: Device, flags: int) -> int:
        """Open `device` for the client; return the descriptor there.

        :raises OSError: EEXIST with O_EXCL, ENOTDIR with O_DIRECTORY, EACCES by the node's mode,
            EMFILE no number is left for a device, or the driver's own.
        :raises WouldWait: the driver has to wait.
        """
        if flags & os.O_CREAT and flags & os.O_EXCL:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if flags & os.O_DIRECTORY:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        path_only = bool(flags & os.O_PATH)
        mode = 0 if path_only else access_mode(flags)
        if not may_access(device, call.tid, _WANTED[mode]):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        open_file = self.new_file(device, flags, mode, path_only)
        call.file, call.owner = open_file, device.driver
        cloexec = bool(flags & os.O_CLOEXEC)
        if path_only:
            return self.install(call, open_file, cloexec)
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
        return self.install(call, open_file, cloexec)

    def new_file(self, device: Device, flags: int, mode: int, path_only: bool = False) -> OpenFile:
        """Return a new open file, not yet in any client."""
        f_flags = flags & ~_DROPPED_FLAGS | ARCH.O_LARGEFILE
        return OpenFile(device, new_file(device, f_flags, mode), path_only)

    def install(self, call: Call, open_file: OpenFile, cloexec: bool) -> int:
        """Put a descriptor of `open_file` into the client and return its number."""
        self.files.add(open_file)
        self.opened(open_file)
        try:
            number = self._add_descriptor(call, open_file.ready.hand_over(), cloexec)
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

    def _add_descriptor(self, call: Call, fd: int, cloexec: bool) -> int:
        if self.standard_is_closed(call.tid):
            # A daemon or a shell that closed 0, 1 or 2 expects open() to fill the gap.
            return call.add_descriptor(fd, None, cloexec)
        try:
            return call.add_descriptor(fd, self.free_descriptor(call.tid), cloexec)
        except OSError as error:
            # EBADF: the client has lowered its limit below the device range since it started.
            if error.errno == errno.EBADF and self._has_low_descriptor(call.tid):
                return call.add_descriptor(fd, None, cloexec)
            raise

    def _has_low_descriptor(self, tid: int) -> bool:
        low = range(self.descriptors.low)
        return not all(os.path.lexists(f"/proc/{tid}/fd/{fd}") for fd in low)

    def standard_is_closed(self, tid: int) -> bool:
        """Say whether descriptor 0, 1 or 2 is closed, so that it is the lowest free one."""
        return not all(os.path.lexists(f"/proc/{tid}/fd/{fd}") for fd in range(3))

    def free_descriptor(self, tid: int) -> int:
        """Return a number for a device that is free in the client.

        The last number of the range stays free for the host's own use, see `scratch_descriptor`.

        :raises OSError: EMFILE the client's limit leaves none.
        """
        base, room, _ = self.descriptors
        crowded = len(self.files) > room // 2  # in all clients together
        for _ in range(8 if crowded else room):
            number: int = base + self._next_descriptor
            self._next_descriptor = (self._next_descriptor + 1) % (room - 1)
            if not os.path.lexists(f"/proc/{tid}/fd/{number}"):
                return number
        limit: int = resource.prlimit(tid, resource.RLIMIT_NOFILE)[0]
        used = {int(name) for name in os.listdir(f"/proc/{tid}/fd")}
        for number in (*range(base, base + room - 1), *range(base + room, limit)):
            if number not in used:
                return number
        raise OSError(
            errno.EMFILE,
            f"the client may have {limit} descriptors, and those from {base} on, which devices "
            "use, are taken: raise its limit (ulimit -n)",
        )

    def install_file(self, call: Call, name: str, driver: Any, private: Any, flags: int) -> int:
        """Open a file without a node in the client of `call`: what anon_inode_getfd asks for."""
        device = Device(driver, f"anon_inode:{name}", 0)
        open_file = self.new_file(device, flags, access_mode(flags))
        open_file.file.private_data = private
        return self.install(call, open_file, bool(flags & os.O_CLOEXEC))

    # --- mappings ---------------------------------------------------------------------------

    def mapped(self, index: int, area: DeviceArea, tgid: int, holds: bool = True) -> None:
        """Count the mapping `area`, made through description `index`, as a use of its file.

        The index is that of its lease.

        :param holds: it keeps the frames that are mapped; if not, another mapping does already.
        """
        as_made = area.piece(area.vm_start, area.vm_end)
        if not holds:
            as_made.forget(area.vm_start, area.vm_end)
        self.machine.leases.add(index, as_made, tgid)
        self._mapped_files[index] = area.open_file
        self.uses.get(area.open_file)

    def bring_in(self, tid: int, addr: int, size: int, is_write: bool) -> None:
        """Bring in the pages of a range of a client's memory that would come when touched.

        :raises OSError: EFAULT a driver does not give one.
        """
        space = self.spaces.of(tid) if self.spaces.have_pagers else None
        if space is None or space.pager is None:
            return
        if not space.seen and space.overlapping(addr, addr + size):
            self.refresh_areas()  # what is there by now must not be replaced by a page
        task = EmbeddedClient(self.machine, tid, space.tgid)
        needed = VM_WRITE if is_write else VM_READ
        for area in space.overlapping(addr, addr + size):
            start, end = max(addr, area.vm_start), min(addr + size, area.vm_end)
            if not area.faults or not area.vm_flags & needed:
                continue
            if not space.pager.bring_in(start, end, is_write, task, area):
                raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    def populate(self, tid: int, start: int, end: int) -> None:
        """Bring in what is to be there at once, as MAP_POPULATE and mlock ask for.

        :raises OSError: EFAULT a driver does not give a page.

        Source: mm/gup.c (populate_vma_page_range)
        """
        space = self.spaces.of(tid)
        for area in space.overlapping(start, end) if space is not None else ():
            if not area.vm_flags & (VM_IO | VM_PFNMAP):
                is_private = area.vm_flags & (VM_WRITE | VM_SHARED) == VM_WRITE
                low, high = max(start, area.vm_start), min(end, area.vm_end)
                self.bring_in(tid, low, high - low, is_private)

    def _zap(self, inode: Inode, start: int, size: int) -> None:
        """Take bytes `start` to `start + size` of a device out of areas that fault."""
        first = start >> PAGE_SHIFT
        end = start + size + PAGE_SIZE - 1 >> PAGE_SHIFT if size else 1 << 64
        if self.spaces.unseen:
            self.refresh_areas()
        for space in self.spaces:
            for area in space:
                if area.open_file.file.f_inode is inode and area.faults and space.pager:
                    last = area.vm_pgoff + vma_pages(area)
                    low, high = max(first, area.vm_pgoff), min(end, last)
                    if low < high:
                        base = area.vm_start - (area.vm_pgoff << PAGE_SHIFT)
                        space.pager.zap(
                            area, base + (low << PAGE_SHIFT), base + (high << PAGE_SHIFT)
                        )

    def refresh_areas(self) -> None:
        """Find out what clients did to areas that they have outside of the window."""
        self.spaces.refresh(self.machine.is_frames)
        for space in self.spaces:
            space.seen = all(self.window.holds(area.vm_start, area.vm_end) for area in space)

    def sweep(self) -> None:
        """Find out which mappings ended, and let go of what they kept."""
        if self.spaces.unseen:
            self.refresh_areas()
        for lease in self.machine.leases.sweep() if self.machine.has_leases else ():
            self.unmapped(self._mapped_files.pop(lease.index))

    def shows_device(self, call: Call, addr: int) -> bool:
        """Say whether a device is mapped at `addr` in the client."""
        if not self.machine.has_leases or not len(self.machine.leases):
            return False
        space = self.spaces.of(call.tid)
        if space is not None and space.find(addr) is not None:
            return True
        return any(line.start <= addr < line.end and self.machine.is_frames(line)
                   for line in read_maps(call.tid))  # fmt: skip

    def hung_up(self, open_file: OpenFile) -> None:
        """The last descriptor of `open_file` is gone."""
        self.files.discard(open_file)
        self.uses.put(open_file)

    def unmapped(self, open_file: OpenFile) -> None:
        """One mapping of `open_file` is gone from all clients."""
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
        self.batch.close()
        left = dict.fromkeys((*self.files, *self._mapped_files.values()))
        for open_file in left:
            open_file.uses = 0
            self.files.discard(open_file)
            self._release(open_file)
        return [f"{open_file.device.node} was still open or mapped" for open_file in left]
