"""Seeking helpers, device numbers and open modes."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from mapdev.linux import (
    FMODE_ATOMIC_POS,
    FMODE_LSEEK,
    FMODE_PREAD,
    FMODE_PWRITE,
    FMODE_READ,
    FMODE_STREAM,
    MAJOR,
    MINOR,
    MKDEV,
    O_CLOEXEC,
    SEEK_CUR,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
    File,
    Inode,
    TaskStruct,
    anon_inode_getfd,
    default_llseek,
    file_inode,
    fixed_size_llseek,
    imajor,
    iminor,
    no_llseek,
    nonseekable_open,
    noop_llseek,
    stream_open,
)
from mapdev.linux.context import Context, enter, reset


@pytest.fixture
def file() -> File:
    file = File(Inode(MKDEV(240, 300)), f_op=None, f_path="/dev/x", f_mode=FMODE_READ)
    file.f_pos = 100
    return file


def test_device_numbers(file: File) -> None:
    assert (imajor(file.f_inode), iminor(file_inode(file))) == (240, 300)
    assert (MAJOR(MKDEV(5, 1 << 19)), MINOR(MKDEV(5, 1 << 19))) == (5, 1 << 19)


@pytest.mark.parametrize(
    ("offset", "whence", "position"),
    [
        (0, SEEK_SET, 0),
        (1000, SEEK_SET, 1000),
        (0, SEEK_CUR, 100),
        (-100, SEEK_CUR, 0),
        (0, SEEK_END, 1000),
        (-1, SEEK_END, 999),
    ],
)
def test_fixed_size(file: File, offset: int, whence: int, position: int) -> None:
    assert fixed_size_llseek(file, offset, whence, 1000) == position
    assert file.f_pos == position


@pytest.mark.parametrize(
    ("offset", "whence"),
    [(-1, SEEK_SET), (1001, SEEK_SET), (-101, SEEK_CUR), (901, SEEK_CUR), (1, SEEK_END), (0, 3)],
)
def test_fixed_size_refuses(file: File, offset: int, whence: int) -> None:
    with pytest.raises(OSError) as caught:
        fixed_size_llseek(file, offset, whence, 1000)
    assert caught.value.errno == errno.EINVAL
    assert file.f_pos == 100


def test_default_goes_past_the_end(file: File) -> None:
    file.f_inode.i_size = 10
    assert default_llseek(file, 5, SEEK_END) == 15
    assert default_llseek(file, 5, SEEK_CUR) == 20
    assert default_llseek(file, 1 << 40, SEEK_SET) == 1 << 40
    assert default_llseek(file, 3, SEEK_DATA) == 3
    assert default_llseek(file, 3, SEEK_HOLE) == 10
    assert file.f_pos == 10


@pytest.mark.parametrize(
    ("offset", "whence", "error"),
    [
        (-1, SEEK_SET, errno.EINVAL),
        (0, 9, errno.EINVAL),
        (0, SEEK_DATA, errno.ENXIO),
        (0, SEEK_HOLE, errno.ENXIO),
    ],
)
def test_default_refuses(file: File, offset: int, whence: int, error: int) -> None:
    with pytest.raises(OSError) as caught:
        default_llseek(file, offset, whence)
    assert caught.value.errno == error


def test_no_and_noop(file: File) -> None:
    assert noop_llseek(file, 7, SEEK_SET) == 100
    with pytest.raises(OSError) as caught:
        no_llseek(file, 0, SEEK_CUR)
    assert caught.value.errno == errno.ESPIPE


def test_open_modes(file: File) -> None:
    positions = FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE
    file.f_mode |= positions | FMODE_ATOMIC_POS
    assert nonseekable_open(file.f_inode, file) == 0
    assert file.f_mode == FMODE_READ | FMODE_ATOMIC_POS
    assert stream_open(file.f_inode, file) == 0
    assert file.f_mode == FMODE_READ | FMODE_STREAM


def test_anon_inode_asks_the_task() -> None:
    class Task(TaskStruct):
        def install_file(self, name: str, driver: Any, private_data: Any, flags: int) -> int:
            assert (name, driver, private_data, flags) == ("[x]", "driver", 5, O_CLOEXEC)
            return 33

    token = enter(Context(None, owner=None, task=Task(1, 1)))  # type: ignore[arg-type]
    assert anon_inode_getfd("[x]", "driver", 5, O_CLOEXEC) == 33
    reset(token)
