"""kfifo: a ring of a fixed size, of bytes or of equal elements.

A `Kfifo` may be used by one that puts in and one that takes out at once, as in the kernel; by more
under a lock of their own. The elements are those of a ctypes type; data travel as bytes.
"""
# ruff: noqa: N802 - kernel names keep the kernel's spelling

import ctypes
import errno
from ctypes import _SimpleCData
from typing import Any

from mapdev.linux.context import as_bytes
from mapdev.linux.uaccess import copy_from_user, copy_to_user

__all__ = [
    "DEFINE_KFIFO", "Kfifo", "kfifo_alloc", "kfifo_avail", "kfifo_esize", "kfifo_free",
    "kfifo_from_user", "kfifo_get", "kfifo_in", "kfifo_in_spinlocked", "kfifo_initialized",
    "kfifo_is_empty", "kfifo_is_full", "kfifo_len", "kfifo_out", "kfifo_out_peek",
    "kfifo_out_spinlocked", "kfifo_peek", "kfifo_put", "kfifo_reset", "kfifo_size", "kfifo_skip",
    "kfifo_to_user",
]  # fmt: skip


class Kfifo:
    """A ring of elements: ``struct kfifo``.

    Source: include/linux/kfifo.h
    """

    __slots__ = ("_data", "_in", "_out", "esize", "size", "type")

    def __init__(self, type: Any = ctypes.c_ubyte, size: int = 0) -> None:
        """Make an empty one.

        :param type: a ctypes type, of the elements
        :param size: how many elements it holds: a power of 2; 0 for none, until `kfifo_alloc`
        """
        self.type = type
        self.esize = ctypes.sizeof(type)
        self.size = size
        self._data = bytearray(size * self.esize)
        self._in = self._out = 0  # elements that were put in and taken out, ever

    def __len__(self) -> int:
        return self._in - self._out

    def put(self, data: Any) -> int:
        """Put in as many whole elements of some bytes as there is room for; return how many."""
        count = min(len(data) // self.esize, self.size - len(self))
        first = min(count, self.size - self._in % self.size) if self.size else 0
        at, cut, end = (
            self._in % (self.size or 1) * self.esize,
            first * self.esize,
            count * self.esize,
        )
        self._data[at : at + cut] = data[:cut]
        self._data[: end - cut] = data[cut:end]
        self._in += count
        return count

    def look(self, count: int) -> bytes:
        """Return the bytes of the first `count` elements, or of all if there are fewer."""
        count = max(0, min(count, len(self)))
        first = min(count, self.size - self._out % self.size) if self.size else 0
        at = self._out % (self.size or 1) * self.esize
        head = self._data[at : at + first * self.esize]
        return bytes(head + self._data[: (count - first) * self.esize])

    def drop(self, count: int) -> None:
        """Take out the first `count` elements."""
        self._out += min(count, len(self))

    def clear(self) -> None:
        """Take out all elements."""
        self._out = self._in


def DEFINE_KFIFO(type: Any, size: int) -> Kfifo:
    """Make a kfifo of a fixed size.

    :param type: a ctypes type, of the elements; ``ctypes.c_ubyte`` for bytes
    :param size: how many it holds, a power of 2
    :raises OSError: EINVAL, the size is no power of 2 (in C it does not compile)

    Source: include/linux/kfifo.h
    Fidelity: gives the kfifo, where C declares a variable.
    """
    if size < 2 or size & size - 1:
        raise OSError(errno.EINVAL, f"a kfifo of {size} elements: it has to be a power of 2")
    return Kfifo(type, size)


def kfifo_alloc(fifo: Kfifo, size: int, gfp_mask: int) -> int:
    """Give a kfifo room for `size` elements, rounded up to a power of 2.

    :return: 0
    :raises OSError: EINVAL, less than 2 elements

    Source: lib/kfifo.c
    Fidelity: not taken from the machine's memory.
    """
    size = 1 << max(0, size - 1).bit_length()
    if size < 2:
        fifo.__init__(fifo.type)  # type: ignore[misc]
        raise OSError(errno.EINVAL, "a kfifo holds 2 elements at least")
    fifo.__init__(fifo.type, size)  # type: ignore[misc]  # that is what it means
    return 0


def kfifo_free(fifo: Kfifo) -> None:
    """Take the room of a kfifo away.

    Source: lib/kfifo.c
    """
    fifo.__init__(fifo.type)  # type: ignore[misc]  # that is what it means


def kfifo_initialized(fifo: Kfifo) -> bool:
    """Say whether a kfifo has room.

    Source: include/linux/kfifo.h
    """
    return fifo.size > 0


def kfifo_esize(fifo: Kfifo) -> int:
    """Give the bytes of an element.

    Source: include/linux/kfifo.h
    """
    return fifo.esize


def kfifo_size(fifo: Kfifo) -> int:
    """Give how many elements a kfifo holds at most.

    Source: include/linux/kfifo.h
    """
    return fifo.size


def kfifo_len(fifo: Kfifo) -> int:
    """Give how many elements are in a kfifo.

    Source: include/linux/kfifo.h
    """
    return len(fifo)


def kfifo_avail(fifo: Kfifo) -> int:
    """Give for how many elements a kfifo has room.

    Source: include/linux/kfifo.h
    """
    return fifo.size - len(fifo)


def kfifo_is_empty(fifo: Kfifo) -> bool:
    """Say whether a kfifo is empty.

    Source: include/linux/kfifo.h
    """
    return not len(fifo)


def kfifo_is_full(fifo: Kfifo) -> bool:
    """Say whether a kfifo is full.

    Source: include/linux/kfifo.h
    """
    return len(fifo) >= fifo.size


def kfifo_reset(fifo: Kfifo) -> None:
    """Empty a kfifo.

    Source: include/linux/kfifo.h
    """
    fifo.clear()


def kfifo_put(fifo: Kfifo, val: Any) -> int:
    """Put one element in.

    :param val: what the ctypes type takes: a number, a structure
    :return: 1, or 0 if it is full

    Source: include/linux/kfifo.h
    """
    return fifo.put(bytes(val if isinstance(val, fifo.type) else fifo.type(val)))


def _value(fifo: Kfifo, data: bytes) -> Any:
    if not data:
        return None
    value = fifo.type.from_buffer_copy(data)
    return value.value if isinstance(value, _SimpleCData) else value


def kfifo_get(fifo: Kfifo) -> Any:
    """Take one element out.

    :return: its number or structure, None if the kfifo is empty

    Source: include/linux/kfifo.h
    Fidelity: gives the element; in C it is stored by a pointer, and 0 says that there was none.
    """
    value = _value(fifo, fifo.look(1))
    fifo.drop(1)
    return value


def kfifo_peek(fifo: Kfifo) -> Any:
    """Look at the first element, which stays.

    :return: its number or structure, None if the kfifo is empty

    Source: include/linux/kfifo.h
    Fidelity: as for `kfifo_get`.
    """
    return _value(fifo, fifo.look(1))


def kfifo_skip(fifo: Kfifo) -> None:
    """Drop the first element.

    Source: include/linux/kfifo.h
    """
    fifo.drop(1)


def kfifo_in(fifo: Kfifo, buf: Any, n: int | None = None) -> int:
    """Put elements in, as many as there is room for.

    :param buf: their bytes
    :param n: how many elements; all of `buf` unless given
    :return: how many were put in

    Source: lib/kfifo.c
    """
    data = as_bytes(buf)
    return fifo.put(data if n is None else data[: n * fifo.esize])


def kfifo_in_spinlocked(fifo: Kfifo, buf: Any, n: int, lock: Any) -> int:
    """Put elements in while a lock is held.

    :return: how many were put in

    Source: include/linux/kfifo.h
    """
    with lock:
        return kfifo_in(fifo, buf, n)


def kfifo_out(fifo: Kfifo, n: int) -> bytes:
    """Take up to `n` elements out.

    :return: their bytes

    Source: lib/kfifo.c
    Fidelity: gives the bytes; in C they are copied to a buffer, and their number is returned.
    """
    data = fifo.look(n)
    fifo.drop(n)
    return data


def kfifo_out_spinlocked(fifo: Kfifo, n: int, lock: Any) -> bytes:
    """Take up to `n` elements out while a lock is held.

    :return: their bytes

    Source: include/linux/kfifo.h
    """
    with lock:
        return kfifo_out(fifo, n)


def kfifo_out_peek(fifo: Kfifo, n: int) -> bytes:
    """Look at up to `n` elements, which stay.

    :return: their bytes

    Source: lib/kfifo.c
    Fidelity: as for `kfifo_out`.
    """
    return fifo.look(n)


def kfifo_from_user(fifo: Kfifo, frm: int, len: int) -> int:
    """Put in what the program that made the call has at an address, as much as there is room for.

    :param frm: a user address
    :param len: bytes
    :return: how many bytes were copied
    :raises OSError: EFAULT, not all of it is readable

    Source: lib/kfifo.c
    Fidelity: gives the bytes; in C they are counted in a variable.
    """
    count = min(len // fifo.esize, kfifo_avail(fifo)) * fifo.esize
    return fifo.put(copy_from_user(frm, count)) * fifo.esize


def kfifo_to_user(fifo: Kfifo, to: int, len: int) -> int:
    """Copy elements to the program that made the call, and take them out.

    :param to: a user address
    :param len: bytes
    :return: how many bytes were copied
    :raises OSError: EFAULT, not all of it is writable; then nothing is taken out

    Source: lib/kfifo.c
    Fidelity: as for `kfifo_from_user`.
    """
    count = len // fifo.esize
    data = fifo.look(count)
    copy_to_user(to, data)
    fifo.drop(count)
    return data.__len__()
