"""Calls finit_module and delete_module; insmod and rmmod would say less when they fail."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

_NUMBERS = {"x86_64": (313, 176), "aarch64": (273, 106)}
_libc = ctypes.CDLL(None, use_errno=True)


def finit_module(path: Path, parameters: str) -> None:
    """Load a module.

    :raises OSError: EPERM no CAP_SYS_MODULE, or modules may not be loaded any more; EEXIST it is
        loaded; ENOEXEC it is for another kernel; ENOENT it needs a symbol that this kernel lacks;
        EINVAL a parameter is wrong; ENOSYS this kernel has no modules; EKEYREJECTED, ENOKEY it has
        no signature that is trusted.

    Source: init_module(2)
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call(0, ctypes.c_int(fd), ctypes.c_char_p(os.fsencode(parameters)), ctypes.c_int(0))
    finally:
        os.close(fd)


def delete_module(name: str) -> None:
    """Unload a module, without waiting for its users.

    :raises OSError: EPERM no CAP_SYS_MODULE; ENOENT it is not loaded; EWOULDBLOCK it is in use.

    Source: delete_module(2)
    """
    _call(1, ctypes.c_char_p(name.encode()), ctypes.c_uint(os.O_NONBLOCK))


def _call(which: int, *arguments: object) -> None:
    number = ctypes.c_long(_NUMBERS[platform.machine()][which])
    if _libc.syscall(number, *arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
