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
from typing import TYPE_CHECKING, Any

from mapdev.host.device import Device
from mapdev.host.dispatch import Dispatcher, WouldWait
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.batch import Batch
from mapdev.host.embedded.files import Files, OpenFile
from mapdev.host.embedded.filter import Descriptors
from mapdev.host.embedded.machine import EmbeddedMachine
from mapdev.host.embedded.node import R_OK, W_OK, may_access
from mapdev.host.embedded.notify import Call
from mapdev.host.embedded.paths import Paths
from mapdev.host.embedded.polling import Polling
from mapdev.host.embedded.processes import comm_of, tgid_of
from mapdev.host.embedded.spaces import Spaces
from mapdev.host.embedded.waiting import Waiting
from mapdev.host.embedded.window import Window
from mapdev.inspect.maps import read_maps
from mapdev.linux.fs import (
    FMODE_LSEEK,
    FMODE_PREAD,
    FMODE_PWRITE,
    FMODE_READ,
    FMODE_WRITE,
    File,
    Inode,
)
from mapdev.linux.log import log
from mapdev.linux.mm import TaskStruct
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
    :ivar scratch_descriptor: where physical memory is in a client for the moment of a mapping.
    :ivar secret: marks the host's own calls in clients.
    :ivar window: where devices are mapped.
    :ivar batch: what makes lists of calls in clients.
    :ivar spaces: the areas of clients.
    :ivar opened, closed, next_call: how `Server` is told of open files, and asked for the next call
        of any client while another one is being handled.
    :ivar postponed: calls that arrived meanwhile.
    :ivar in_host_thread: runs a function in the host's thread and returns its result.
    :ivar current: the call for which driver code runs, None when it runs for none.
    """

    log = log

    def __init__(
        self, machine: EmbeddedMachine, dispatcher: Dispatcher, descriptors: Descriptors
    ) -> None:
        self.machine = machine
        self.dispatch = dispatcher
        self.descriptors = descriptors
        self.scratch_descriptor = descriptors.base + descriptors.room - 1
        self.secret = int.from_bytes(os.urandom(4), "little") | 1
        self.window = Window.of_this_machine()
        self.spaces = Spaces(dispatcher, machine)
        machine.spaces = self.spaces
        machine.bring_in = self.bring_in
        machine.zap = lambda *args: self.in_host_thread(lambda: self._zap(*args))
        self.batch = Batch()
        self.files = Files()
        self.polling = Polling(self.files, dispatcher)
        self.paths = Paths(self.files, (machine.dev, machine.inode))
        self.paths.mapped = self.spaces.mapped
        self.spaces.ended = self.sweep
        self.opened: Callable[[OpenFile], None] = lambda _: None
        self.closed: Callable[[OpenFile], None] = lambda _: None
        self.next_call: Callable[[float], Call | None] = lambda _: None
        self.postponed: deque[Call] = deque()
        self.in_host_thread: Callable[[Callable[[], Any]], Any] = lambda work: work()
        self.current: Call | None = None
        machine.install = self._install_file
        self._next_descriptor = 0
        self._said: set[tuple[str, int]] = set()
        self._mapped_files: dict[int, OpenFile] = {}

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
            self.refresh_areas()  # so that what the driver answers now is true
        if open_file is not None and fd < self.descriptors.base:
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
            number = self._add_descriptor(call, open_file.ready.hand_over(), cloexec)
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

    def _install_file(self, name: str, driver: Any, private: Any, flags: int) -> int:
        """Open a file without a node in the client: what anon_inode_getfd asks for."""
        assert self.current is not None  # whoever has a task has a call
        device = Device(driver, f"anon_inode:{name}", 0)
        open_file = self.new_file(device, flags, (flags & os.O_ACCMODE) + 1 & 3)
        open_file.file.private_data = private
        return self.install(self.current, open_file, bool(flags & os.O_CLOEXEC))

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
        area.open_file.mappings += 1

    def bring_in(self, tid: int, addr: int, size: int, is_write: bool) -> None:
        """Bring in the pages of a range of a client's memory that would come when touched.

        :raises OSError: EFAULT a driver does not give one.
        """
        space = self.spaces.of(tid) if self.spaces.have_pagers else None
        if space is None or space.pager is None:
            return
        if not space.seen and space.overlapping(addr, addr + size):
            self.refresh_areas()  # what is there by now must not be replaced by a page
        task = TaskStruct(tid, space.tgid, lambda: comm_of(tid))
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
        self.batch.close()
        left = {*self.files, *self._mapped_files.values()}
        for open_file in left:
            open_file.has_descriptor = False
            open_file.mappings = 0
            self._release_if_unused(open_file)
        return [f"{open_file.device.node} was still open or mapped" for open_file in left]
