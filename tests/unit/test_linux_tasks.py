"""Context, tasks, address spaces and user memory, on a machine that is a stub."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from mapdev.linux import (
    PAGE_SIZE,
    MmStruct,
    TaskStruct,
    VmAreaStruct,
    alloc_page,
    copy_from_user,
    copy_to_user,
    current,
    find_vma,
    for_each_vma,
)
from mapdev.linux.context import Context, enter, machine, reset


class Task(TaskStruct):
    """A task with two areas and a page of user memory at 0x1000."""

    def __init__(self, pid: int, tgid: int, comm: str) -> None:
        super().__init__(pid, tgid, comm)
        self.bytes = bytearray(PAGE_SIZE)

    def areas(self) -> list[VmAreaStruct]:
        first = VmAreaStruct(0x1000, 0x1000 + 2 * PAGE_SIZE)
        second = VmAreaStruct(0x100000, 0x100000 + PAGE_SIZE)
        first.vm_next, second.vm_prev = second, first
        return [first, second]

    def read(self, addr: int, size: int) -> bytes:
        return bytes(self.bytes[addr - 0x1000 : addr - 0x1000 + size])

    def write(self, addr: int, data: Any) -> None:
        self.bytes[addr - 0x1000 : addr - 0x1000 + len(data)] = data


@pytest.fixture
def task() -> Any:
    task = Task(12, 10, comm="cat")
    token = enter(Context(None, owner=None, task=task))  # type: ignore[arg-type]
    yield task
    reset(token)


def test_no_host() -> None:
    with pytest.raises(RuntimeError, match=r"inside `with mapdev.host\(\):`"):
        alloc_page()
    with pytest.raises(RuntimeError, match="no host runs this code"):
        machine()


def test_contexts_nest(task: TaskStruct) -> None:
    inner = TaskStruct(20, 20)
    token = enter(Context(machine(), task=inner))
    assert current() is inner
    reset(token)
    assert current() is task


def test_no_current_outside_of_a_call() -> None:
    token = enter(Context(None, owner=None))  # type: ignore[arg-type]
    with pytest.raises(ProcessLookupError, match="no client's call"):
        current()
    reset(token)


def test_comm_may_be_looked_up_when_read() -> None:
    names = iter(["sh", "cat"])
    task = TaskStruct(1, 1, comm=lambda: next(names))
    assert (task.comm, task.comm) == ("sh", "cat")
    assert TaskStruct(1, 1, comm="dd").comm == "dd"


def test_mm_is_made_once_or_given(task: TaskStruct) -> None:
    assert task.mm is task.mm
    shared = task.mm
    assert TaskStruct(13, 10, mm=shared).mm is shared


def test_areas_of_a_task(task: TaskStruct) -> None:
    mm: MmStruct = task.mm
    assert mm.map_count == 2
    assert mm.total_vm == 3
    first = mm.mmap
    assert first is not None
    assert first.vm_next is not None
    assert first.vm_next.vm_start == 0x100000
    assert [vma.vm_start for vma in for_each_vma(mm)] == [0x1000, 0x100000]


def test_find_vma_finds_the_first_that_ends_after(task: TaskStruct) -> None:
    def found(addr: int) -> int | None:
        vma = find_vma(task.mm, addr)
        return None if vma is None else vma.vm_start

    end = 0x1000 + 2 * PAGE_SIZE
    assert found(0) == 0x1000
    assert found(end - 1) == 0x1000
    assert found(end) == 0x100000  # the end is not part of an area
    assert found(0x100000 + PAGE_SIZE) is None


def test_user_memory(task: TaskStruct) -> None:
    copy_to_user(0x1004, b"abc")
    copy_to_user(0x1007, bytearray(b"de"))
    copy_to_user(0x1009, memoryview(b"f"))
    assert copy_from_user(0x1003, 8) == b"\0abcdef\0"


def test_errors_are_os_errors() -> None:
    token = enter(Context(None, owner=None))  # type: ignore[arg-type]
    with pytest.raises(OSError) as caught:
        copy_from_user(0, 1)
    assert caught.value.errno == errno.ESRCH
    reset(token)
