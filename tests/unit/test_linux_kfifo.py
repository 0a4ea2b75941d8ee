"""kfifo against a plain list, and its elements."""

from __future__ import annotations

import ctypes
import errno
import random

import pytest

from mapdev.linux import (
    DEFINE_KFIFO,
    GFP_KERNEL,
    Kfifo,
    kfifo_alloc,
    kfifo_avail,
    kfifo_esize,
    kfifo_free,
    kfifo_from_user,
    kfifo_get,
    kfifo_in,
    kfifo_initialized,
    kfifo_is_empty,
    kfifo_is_full,
    kfifo_len,
    kfifo_out,
    kfifo_out_peek,
    kfifo_peek,
    kfifo_put,
    kfifo_reset,
    kfifo_size,
    kfifo_skip,
    kfifo_to_user,
)
from mapdev.linux.context import Context, enter, reset


def test_bytes_as_in_a_list() -> None:
    chance = random.Random(1)
    fifo, model = DEFINE_KFIFO(ctypes.c_ubyte, 16), b""
    for _ in range(3000):
        if chance.random() < 0.5:
            data = chance.randbytes(chance.randrange(20))
            taken = kfifo_in(fifo, data, len(data))
            assert taken == min(len(data), 16 - len(model))
            model += data[:taken]
        else:
            count = chance.randrange(20)
            assert kfifo_out_peek(fifo, count) == model[:count]
            assert kfifo_out(fifo, count) == model[:count]
            model = model[count:]
        assert kfifo_len(fifo) == len(model) and kfifo_avail(fifo) == 16 - len(model)
        assert kfifo_is_empty(fifo) == (not model) and kfifo_is_full(fifo) == (len(model) == 16)
    kfifo_reset(fifo)
    assert kfifo_out(fifo, 1) == b"" and kfifo_size(fifo) == 16


def test_elements_of_a_type() -> None:
    class Event(ctypes.Structure):
        _fields_ = (("code", ctypes.c_uint16), ("value", ctypes.c_int32))

    numbers = DEFINE_KFIFO(ctypes.c_int32, 4)
    assert [kfifo_put(numbers, number) for number in (1, -2, 3, 4, 5)] == [1, 1, 1, 1, 0]
    assert kfifo_peek(numbers) == 1 and kfifo_get(numbers) == 1 and kfifo_get(numbers) == -2
    kfifo_skip(numbers)
    assert kfifo_get(numbers) == 4 and kfifo_get(numbers) is None and kfifo_peek(numbers) is None
    assert kfifo_in(numbers, b"\1\0\0\0\2\0\0") == 1  # whole elements only
    events = Kfifo(Event)
    assert not kfifo_initialized(events) and kfifo_put(events, Event(1, 2)) == 0
    assert kfifo_alloc(events, 5, GFP_KERNEL) == 0 and kfifo_size(events) == 8
    kfifo_put(events, Event(7, -8))
    got = kfifo_get(events)
    assert (got.code, got.value, kfifo_esize(events)) == (7, -8, 8)
    kfifo_free(events)
    assert kfifo_size(events) == 0


@pytest.mark.parametrize("size", [0, 1, 3, 100, -8])
def test_sizes_that_can_t_be(size: int) -> None:
    with pytest.raises(OSError) as failure:
        DEFINE_KFIFO(ctypes.c_ubyte, size)
    assert failure.value.errno == errno.EINVAL
    if size < 2:
        with pytest.raises(OSError) as failure:
            kfifo_alloc(Kfifo(), size, GFP_KERNEL)
        assert failure.value.errno == errno.EINVAL


class User(Context):
    """A program with some memory at 0x1000."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.bytes = bytearray(b"0123456789")

    def read_user(self, addr: int, size: int) -> bytes:
        if addr - 0x1000 + size > len(self.bytes):
            raise OSError(errno.EFAULT, "")
        return bytes(self.bytes[addr - 0x1000 :][:size])

    def write_user(self, addr: int, data: bytes) -> None:
        if addr - 0x1000 + len(data) > len(self.bytes):
            raise OSError(errno.EFAULT, "")
        self.bytes[addr - 0x1000 : addr - 0x1000 + len(data)] = data


def test_from_and_to_a_program() -> None:
    user = User()
    token = enter(user)
    try:
        fifo = DEFINE_KFIFO(ctypes.c_uint16, 4)
        assert kfifo_from_user(fifo, 0x1000, 5) == 4
        assert kfifo_from_user(fifo, 0x1004, 99) == 4  # as much as there is room for
        assert kfifo_from_user(fifo, 0x1000, 99) == 0
        with pytest.raises(OSError, match="Errno 14"):
            kfifo_to_user(fifo, 0x1008, 8)
        assert kfifo_len(fifo) == 4  # nothing is lost
        assert kfifo_to_user(fifo, 0x1002, 99) == 8
        assert bytes(user.bytes) == b"0101234567"
        with pytest.raises(OSError, match="Errno 14"):
            kfifo_from_user(fifo, 0x1008, 4)
        assert kfifo_is_empty(fifo)
    finally:
        reset(token)
