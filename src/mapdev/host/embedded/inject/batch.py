"""`Batch` holds lists of system calls that a client's thread makes without a ptrace stop for each.

A call is seven words: its number and six arguments. A `Worker` and a stopped thread both take lists
of them. For a stopped thread the client has some pages of the host, a `Batch`: a few instructions
(`ARCH.BATCH`) that make the calls of the list behind them, up to the first that fails, and trap.
The client can read and execute these pages, and not write to them: they are sealed; the host writes
the list through a mapping of its own. A child of fork does not get them.

Objects: one `Batch` for a host, as the host waits for each list's end. Which clients have it
mapped, and where, their `MmAreas` know.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from array import array
from collections.abc import Sequence

from mapdev.host.embedded.arch import ARCH, NAME_OF, NUMBER_OF
from mapdev.host.numbers import ULONG_MAX
from mapdev.linux.numbers import PAGE_SHIFT, PAGE_SIZE

Request = tuple[str, tuple[int, ...], int | None]
"""A call: name, arguments, and which argument is a descriptor that the filter would see."""

CALL = struct.Struct("<7Q")  # number and six arguments
SIZE = 1 << 20  # bytes in a client: a page of code, the rest for the list
_MOST = (SIZE - PAGE_SIZE) // CALL.size * CALL.size
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | 0x10  # F_SEAL_FUTURE_WRITE
_FEW = 16  # calls that are packed faster one by one
_MMAP = NUMBER_OF["mmap"]


class CallError(OSError):
    """A call of a list failed in the client; those before it were made, those after it were not.

    :ivar index: which one.
    """

    def __init__(self, result: int, number: int, index: int) -> None:
        code = ULONG_MAX + 1 - result
        name = NAME_OF.get(number, str(number))
        super().__init__(code, f"{name} in the client: {os.strerror(code)}")
        self.index = index


def is_error(result: int) -> bool:
    """Say whether what a call left in a register is an error."""
    return result > ULONG_MAX - 4096


def marked(args: Sequence[int], descriptor: int | None, mark: int) -> list[int]:
    """Return six arguments of a call of ours, so marked that the filter lets it pass.

    :param descriptor: index of an argument that is a descriptor the filter would see.
    :param mark: the secret, in the upper half.
    """
    values = [*args, *(0,) * (5 - len(args)), mark][:6]
    if descriptor is not None:
        values[descriptor] = values[descriptor] & 0xFFFFFFFF | mark
    return [value & ULONG_MAX for value in values]


def pack(requests: Sequence[Request], mark: int) -> bytes:
    """Return `requests` as words; `mark` as in `marked`."""
    return b"".join(
        CALL.pack(NUMBER_OF[name], *marked(args, descriptor, mark))
        for name, args, descriptor in requests
    )


def pack_mmaps(
    addrs: Sequence[int], pfns: Sequence[int], counts: Sequence[int], prot: int, flags: int,
    number: int, mark: int,
) -> bytes:  # fmt: skip
    """Return the calls that map runs of pages.

    :param addrs: where in the client.
    :param pfns: which pages of the file `number`.
    :param counts: how many.
    """
    if len(addrs) < _FEW:
        number = number & 0xFFFFFFFF | mark
        return b"".join(
            CALL.pack(_MMAP, addr, nr_pages << PAGE_SHIFT, prot, flags, number, pfn << PAGE_SHIFT)
            for addr, pfn, nr_pages in zip(addrs, pfns, counts, strict=True)
        )
    request: Request = ("mmap", (0, 0, prot, flags, number, 0), 4)
    words = array("Q", pack([request], mark) * len(addrs))
    words[1::7] = array("Q", addrs)
    words[2::7] = array("Q", [*map(PAGE_SIZE.__mul__, counts)])
    words[6::7] = array("Q", [*map(PAGE_SIZE.__mul__, pfns)])
    return words.tobytes()


class Batch:
    """Pages with code and a list of system calls, which clients map and run.

    :ivar fd: a description of them that can't be written through.
    """

    def __init__(self) -> None:
        fd = os.memfd_create("mapdev batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, SIZE)
            self._memory = mmap.mmap(fd, SIZE)
            # From now on nobody can make another mapping or description by which it is written or
            # shortened, by way of /proc/PID/map_files for one: ours alone stays. Since Linux 5.1.
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            self.fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)
        self._memory[: len(ARCH.BATCH)] = ARCH.BATCH

    def parts(self, calls: bytes) -> Sequence[bytes]:
        """Divide a list into such as can be written at once."""
        return [calls[at : at + _MOST] for at in range(0, len(calls), _MOST)]

    def write(self, part: bytes) -> None:
        """Put a list where it will be read."""
        self._memory[PAGE_SIZE : PAGE_SIZE + len(part)] = part

    def close(self) -> None:
        """Take it away; clients that still have it mapped keep it."""
        self._memory.close()
        os.close(self.fd)
