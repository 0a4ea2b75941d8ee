"""The kernel's error numbers: those of programs, and those that only drivers see.

An operation returns them negative, as in C, or raises `OSError` with one.

Source: include/uapi/asm-generic/errno.h, include/linux/errno.h
"""

import errno as _errno

ERESTARTSYS = 512
ERESTARTNOINTR = 513
ERESTARTNOHAND = 514
ENOIOCTLCMD = 515
ERESTART_RESTARTBLOCK = 516
EPROBE_DEFER = 517
ENOTSUPP = 524
EIOCBQUEUED = 529

globals().update({name: number for number, name in _errno.errorcode.items()})
EAGAIN = EWOULDBLOCK = _errno.EAGAIN
EDEADLK = EDEADLOCK = _errno.EDEADLK
EOPNOTSUPP = _errno.EOPNOTSUPP

__all__ = [name for name in tuple(globals()) if name.startswith("E")]
