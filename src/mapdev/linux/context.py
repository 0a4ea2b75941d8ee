"""`Context` names machine, driver and task of the running code; `Machine` is a host's interface.

The host sets a `Context` in a context variable before it runs driver code; the vocabulary's
functions find it there, so that a driver calls them as in C. This module must know no host: what it
needs of one is the `Machine` protocol. A context belongs to one operation of one device, or to one
kernel thread; a `Machine` is called under its host's lock, but for what says otherwise.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from mapdev.linux.fs import File, Inode
    from mapdev.linux.kobject import DeviceTree
    from mapdev.linux.kthread import Kthread
    from mapdev.linux.mm import TaskStruct
    from mapdev.linux.vma import Kind, VmAreaStruct

__all__ = [
    "Alarm", "Context", "FrameState", "Machine", "Owner", "Progress", "RealModel", "WouldBlock",
    "context", "current_context", "enter", "machine", "must_fail", "reset",
]  # fmt: skip

Owner = Hashable | None


class FrameState(NamedTuple):
    """A snapshot of the state of one frame."""

    flags: int  # PG_* bits, see page.py
    refcount: int
    mapcount: int
    order: int  # of the allocation or free block it belongs to; for other lengths rounded up
    head: int  # first frame of that allocation; the frame itself when it is free
    nr_pages: int  # length of that allocation in pages; 0 when it is free
    owner: Owner


class RealModel(Protocol):
    """A real kernel's device model, which has to know of what drivers make here.

    Its errors are OSError, upon which what was about to be made is not there.
    """

    def class_added(self, cls: Any) -> None:
        """Make a class (EEXIST)."""

    def class_removed(self, cls: Any) -> None:
        """Remove a class."""

    def bus_added(self, bus: Any) -> None:
        """Make a bus (EEXIST)."""

    def bus_removed(self, bus: Any) -> None:
        """Remove a bus."""

    def driver_added(self, drv: Any) -> None:
        """Make the driver of a bus (EEXIST)."""

    def driver_removed(self, drv: Any) -> None:
        """Remove the driver of a bus."""

    def device_added(self, dev: Any) -> None:
        """Make a device that has no number; those with one get a node (EEXIST, EINVAL)."""

    def device_removed(self, dev: Any) -> None:
        """Remove such a device (EBUSY: it has children)."""

    def uevent(self, dev: Any, action: str, envp: Sequence[str]) -> None:
        """Tell programs of a device; of its coming and going the kernel tells by itself."""


class Machine(Protocol):
    """The interface of a host to the vocabulary; its errors are OSError.

    A frame number out of range raises EINVAL "pfn 0x.. is not a frame of this machine (0 to 0x..)".
    Sizes are bytes, ``pfn`` and ``nr_pages`` are pages.
    """

    # Devices: changed under the lock
    device_tree: DeviceTree

    @property
    def nr_frames(self) -> int:
        """How many frames there are: 0 to ``nr_frames - 1``."""

    # Pages
    def alloc_pages(self, order: int, gfp: int, owner: Owner) -> int:
        """Allocate ``1 << order`` frames, naturally aligned; gives the first (ENOMEM)."""

    def alloc_contig(self, nr_pages: int, gfp: int, owner: Owner) -> int:
        """Allocate any number of frames in a row; gives the first (ENOMEM)."""

    def free_pages(self, pfn: int, order: int) -> None:
        """Drop the allocation's reference; EINVAL for a double free, wrong order or no head."""

    def free_contig(self, pfn: int, nr_pages: int) -> None:
        """Undo `alloc_contig`; EINVAL as for `free_pages`."""

    def frame(self, pfn: int) -> FrameState:
        """Give a snapshot of one frame's state."""

    def get_page(self, pfn: int) -> None:
        """Take a reference; EINVAL when the frame is free."""

    def put_page(self, pfn: int) -> None:
        """Drop a reference; the last one frees; EINVAL when the frame is free."""

    def page_address(self, pfn: int) -> int:
        """Give the frame's address in the direct map."""

    def virt_to_pfn(self, addr: int) -> int:
        """Find the frame of a direct-map address; EINVAL for any other."""

    # vmalloc
    def vmalloc(self, size: int, gfp: int, owner: Owner, vm_flags: int = 0) -> int:
        """Allocate an area; ``vm_flags`` may hold VM_USERMAP (EINVAL for size 0, ENOMEM)."""

    def vfree(self, addr: int) -> None:
        """Free the area that starts at ``addr``; EINVAL when none does."""

    def vmalloc_to_pfn(self, addr: int) -> int:
        """Find the frame behind a vmalloc address; EINVAL when there is none."""

    def vmalloc_runs(
        self, addr: int, first: int, nr_pages: int
    ) -> tuple[Kind, Sequence[tuple[int, int]]]:
        """Give what a part of the area that starts at ``addr`` is to be mapped as.

        The part, from page ``first`` on, must lie in the area; neighbours are joined.

        :return: a kind and what belongs into ``Mapped`` with it: runs (pfn, nr_pages)
        """

    def vmalloc_size(self, addr: int) -> int:
        """Give the usable bytes of the area that starts at ``addr``; EINVAL when none does."""

    def vmalloc_flags(self, addr: int) -> int:
        """Give the area's VM_ALLOC and VM_USERMAP bits; EINVAL when none starts at ``addr``."""

    def is_vmalloc_addr(self, addr: int) -> bool:
        """Tell whether the address lies in the vmalloc range, allocated or not."""

    # kmalloc
    def kmalloc(self, size: int, gfp: int, owner: Owner) -> int:
        """Allocate physically contiguous memory (ENOMEM)."""

    def kfree(self, addr: int) -> None:
        """Free what `kmalloc` gave; EINVAL for anything else."""

    def ksize(self, addr: int) -> int:
        """Give the usable bytes of what `kmalloc` gave; EINVAL for anything else."""

    def memory(self, addr: int, size: int) -> memoryview:
        """Give a writable view; EFAULT when any of it is not allocated."""

    # Mappings
    def areas(self, task: TaskStruct) -> list[VmAreaStruct]:
        """Give the live areas of any task; EFAULT where only a client's own call can tell."""

    def unmap_mapping_range(self, inode: Inode, start: int, size: int) -> None:
        """Take bytes of a device's file out of all areas that map them; size 0: to the end."""

    # Waiting: from any thread, without the lock
    def wake_up(self, queue: Hashable, owner: Owner, nr: int | None = None) -> None:
        """Run again what waits on `queue`, which is the driver `owner`'s, and ask its files.

        Of those that wait exclusively, the first `nr` that can be woken; all of them for None.
        """

    def set_fasync(self, file: File, on: bool) -> None:
        """Know that the owner of an open file is to be signalled, or not any more."""

    def kill_fasync(self, file: File, fd: int, sig: int, band: int) -> None:
        """Signal the owner of an open file: descriptor `fd` is ready for `band`."""

    def set_alarm(self, when: float, function: Callable[[], None]) -> Alarm:
        """Call `function` under the host's lock at a time of `time.monotonic`."""

    def add_kthread(self, kthread: Kthread) -> None:
        """Know of a thread that was started, so that it ends with its owner."""

    def driver_raised(self, error: BaseException) -> None:
        """Know what a driver raised that is no `Exception`: it must fail the run."""


class Alarm(Protocol):
    """A function that is to be called at some time."""

    def cancel(self) -> bool:
        """Don't call it, in any thread; say whether it was still to be called."""

    def wait(self) -> None:
        """Return when it doesn't run, in any thread; at once where it runs itself."""


class WouldBlock(BlockingIOError):  # noqa: N818 - an event, not an error
    """An operation can't go on before `queue` is woken; EAGAIN for whoever can't wait.

    :ivar deadline: when it can go on in any case, by `time.monotonic`; None for never.
    :ivar is_exclusive: `wake_up` wakes only the first of these.
    :ivar is_interruptible: a signal ends the wait.
    """

    def __init__(
        self,
        queue: Hashable,
        deadline: float | None = None,
        is_exclusive: bool = False,
        is_interruptible: bool = True,
    ) -> None:
        """Name the queue, and how the wait may end."""
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.queue = queue
        self.deadline = deadline
        self.is_exclusive = is_exclusive
        self.is_interruptible = is_interruptible


class Progress:
    """What an operation that has to wait has got past already: it is run again from its beginning.

    Waits are known by what they wait for, and by how many for the same came before in this run.

    :ivar held: locks that the operation holds; it lets go of them when it has to wait.
    """

    __slots__ = ("__weakref__", "_known", "_run", "held")

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[tuple[Hashable, int], Any] = {}
        self._run: dict[Hashable, int] = {}
        self.held: list[Any] = []

    def next(self, what: Hashable) -> tuple[Hashable, int]:
        """Give the name of the next wait for `what`."""
        count = self._run[what] = self._run.get(what, 0) + 1
        return what, count

    def get(self, wait: tuple[Hashable, int]) -> Any:
        """Give what was noted of a wait in an earlier run, or in this one; None if nothing."""
        return self._known.get(wait)

    def note(self, wait: tuple[Hashable, int], value: Any) -> None:
        """Note something of a wait."""
        self._known[wait] = value

    def rewind(self) -> None:
        """Begin another run."""
        self._run.clear()


class Context:
    """One stretch of driver code: the machine it runs on and for whom it runs."""

    __slots__ = ("machine", "owner", "progress", "task")

    progress: Progress | None

    def __init__(
        self, machine: Machine, owner: Owner = None, task: TaskStruct | None = None
    ) -> None:
        """Make a context.

        :param machine: who plays the kernel
        :param owner: the device whose code runs, which owns what it allocates (None: the user of
            ``mapdev.host()``)
        :param task: the task that made the call, `current()`; None outside of a call
        """
        self.machine = machine
        self.owner = owner
        self.progress = None
        self.task = task

    def user(self) -> TaskStruct:
        """Give the task whose memory copy_from_user means.

        :raises OSError: ESRCH, no call is being handled
        """
        if self.task is None:
            raise OSError(errno.ESRCH, "no client's call is being handled")
        return self.task

    def read_user(self, addr: int, size: int) -> bytes:
        """Read memory of the task; ESRCH, EFAULT. Hosts have quicker ways for calls."""
        return self.user().read(addr, size)

    def write_user(self, addr: int, data: Any) -> None:
        """Write memory of the task; ESRCH, EFAULT."""
        self.user().write(addr, data)

    def __repr__(self) -> str:
        """Show the three parts."""
        return f"Context(machine={self.machine!r}, owner={self.owner!r}, task={self.task!r})"


_context: ContextVar[Context] = ContextVar("mapdev.context")


def context() -> Context:
    """Give the context of the code that runs.

    :raises RuntimeError: no host runs this code
    """
    try:
        return _context.get()
    except LookupError:
        raise RuntimeError(
            "no host runs this code: call kernel functions from a driver's operations, or inside "
            "`with mapdev.host():`"
        ) from None


def current_context() -> Context | None:
    """Give the context of the code that runs, None when no host runs it."""
    return _context.get(None)


def machine() -> Machine:
    """Give the machine of the code that runs.

    :raises RuntimeError: no host runs this code
    """
    return context().machine


def must_fail(error: BaseException) -> bool:
    """Say whether the run must fail for what a driver raised: it is no error of a call.

    Such are a failed assertion, ``SystemExit`` and the like, and the outcomes of a test: the one
    that pytest.exit raises is an `Exception`, unlike all others.
    """
    if isinstance(error, AssertionError) or not isinstance(error, Exception):
        return True
    return type(error).__module__ == "_pytest.outcomes"


# For hosts: make a `Context` the one of what follows in this thread, and give back the one that was
# there before by what that returned. Not functions of their own: each call to a driver has both.
enter = _context.set
reset = _context.reset


def as_bytes(data: Any) -> Any:
    """Give the bytes of an object with the buffer protocol, in a view if that needs no copy.

    :raises TypeError: it has no buffer
    """
    if type(data) is bytes:
        return data
    view = memoryview(data)
    if "O" in view.format:
        raise TypeError("objects are not bytes")
    if view.c_contiguous:
        try:
            return view.cast("B")
        except (TypeError, ValueError):
            pass  # the format of a structure, which can't be cast
    return view.tobytes()
