"""Processes and their address spaces: ``struct task_struct``, ``struct mm_struct``.

An `MmStruct` keeps no areas: each look asks the machine, so that what it shows is true of the live
process when it is read. Objects live as long as somebody refers to them; the host makes them.
"""

import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from mapdev.linux.context import context
from mapdev.linux.numbers import PF_KTHREAD
from mapdev.linux.vma import VmAreaStruct, vma_pages

if TYPE_CHECKING:
    from mapdev.linux.eventfd import EventfdCtx

__all__ = ["MmStruct", "TaskStruct", "current", "find_vma", "for_each_vma"]


class TaskStruct:
    """A thread of a client, or of the kernel: ``struct task_struct``.

    ``pid`` is the thread's number and ``tgid`` the process's, as in the kernel; ``flags`` has
    PF_KTHREAD or nothing.

    Source: include/linux/sched.h
    """

    __slots__ = ("_comm", "_mm", "_tgid", "flags", "pid")

    def __init__(
        self,
        pid: int,
        tgid: int | Callable[[], int],
        comm: str | Callable[[], str] = "",
        mm: "MmStruct | None" = None,
    ) -> None:
        """Describe a thread.

        :param tgid: the process's number, or a function that finds it out when it is read
        :param comm: the command's name, or a function that finds it out when it is read
        :param mm: its address space; made when it is read unless given
        """
        self.pid = pid
        self.flags = 0
        self._tgid = tgid
        self._comm = comm
        self._mm = mm

    @property
    def tgid(self) -> int:
        """The process that the thread belongs to."""
        if not isinstance(self._tgid, int):
            self._tgid = self._tgid()
        return self._tgid

    @property
    def comm(self) -> str:
        """The command's name, up to 15 characters."""
        return self._comm if isinstance(self._comm, str) else self._comm()

    @property
    def mm(self) -> "MmStruct":
        """The address space."""
        if self._mm is None:
            self._mm = MmStruct(self)
        return self._mm

    # What a host's own kind of task can do; others, such as kernel threads, have no user memory.

    def read(self, addr: int, size: int) -> bytes:
        """Read ``size`` bytes of user memory at ``addr``; EFAULT. See `copy_from_user`."""
        self._no_memory()

    def write(self, addr: int, data: Any) -> None:
        """Write user memory at ``addr``; EFAULT. See `copy_to_user`."""
        self._no_memory()

    def areas(self) -> list[VmAreaStruct]:
        """Give the live areas, sorted, linked by ``vm_next`` and ``vm_prev``; EFAULT.

        Of a task that somebody has described by its numbers the machine knows them, if it can.
        """
        return context().machine.areas(self)

    def install_file(self, name: str, driver: Any, private_data: Any, flags: int) -> int:
        """Open a new file in the task; gives its descriptor there. See `anon_inode_getfd`."""
        raise OSError(errno.ESRCH, "anon_inode_getfd: no client's call is being handled")

    def get_file(self, fd: int) -> Any:
        """Get the open file of a driver that the task has at `fd`; EBADF. See `fget`."""
        raise OSError(errno.EBADF, f"no file of a driver is known at {fd}")

    def get_eventfd(self, fd: int) -> "EventfdCtx":
        """Get the eventfd that the task has at `fd`; EBADF, EINVAL. See `eventfd_ctx_fdget`."""
        raise OSError(errno.EBADF, f"the task {self.pid} has no descriptors")

    def _no_memory(self) -> NoReturn:
        kind = "kernel thread" if self.flags & PF_KTHREAD else "task"
        raise OSError(errno.EFAULT, f"the {kind} {self.comm or self.pid} has no user memory")

    def __repr__(self) -> str:
        """Show the numbers only: the name may need a look at the process."""
        return f"<TaskStruct pid={self.pid}>"


class MmStruct:
    """The address space of a task: ``struct mm_struct``.

    Source: include/linux/mm_types.h
    Fidelity: read afresh at each look, without a lock on the process: two looks may differ. The
    list ``mmap`` went away in Linux 6.1.
    """

    __slots__ = ("task",)

    def __init__(self, task: TaskStruct) -> None:
        """Describe the address space of ``task``."""
        self.task = task

    def areas(self) -> list[VmAreaStruct]:
        """Give the live areas, sorted by address."""
        return self.task.areas()

    @property
    def mmap(self) -> VmAreaStruct | None:
        """The first area; the others follow by ``vm_next``."""
        areas = self.areas()
        return areas[0] if areas else None

    @property
    def map_count(self) -> int:
        """How many areas there are."""
        return len(self.areas())

    @property
    def total_vm(self) -> int:
        """How long all areas are together, in pages."""
        return sum(map(vma_pages, self.areas()))

    def __repr__(self) -> str:
        """Name the task."""
        return f"<MmStruct of {self.task!r}>"


def current() -> TaskStruct:
    """Give the task that made the call which is being handled.

    :raises OSError: ESRCH, no call is being handled (in ``probe``, ``remove`` or outside of a
        driver)

    Source: include/asm-generic/current.h
    Fidelity: in C a variable; the kernel always runs on behalf of some task.
    """
    task = context().task
    if task is None:
        raise OSError(errno.ESRCH, "current(): no client's call is being handled")
    return task


def find_vma(mm: MmStruct, addr: int) -> VmAreaStruct | None:
    """Give the first area that ends after an address, or None.

    :param addr: a user address; it need not lie in the area that is found

    Source: mm/mmap.c
    """
    for vma in mm.areas():
        if vma.vm_end > addr:
            return vma
    return None


def for_each_vma(mm: MmStruct) -> Iterator[VmAreaStruct]:
    """Go through the areas of an address space in the order of their addresses.

    Source: include/linux/mm.h
    Fidelity: an iterator over the areas at the moment of the call, where C has a loop macro over a
    ``vma_iterator``.
    """
    return iter(mm.areas())
