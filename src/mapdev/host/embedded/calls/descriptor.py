"""Handles system calls on a device's descriptors themselves: dup, dup2, dup3, fcntl, epoll_ctl.

The kernel keeps the descriptors themselves, so most of these pass. A duplicate must get a number
that the filter sees, though: where the kernel would choose one out of its sight, the thread is made
to ask for a number in the device range instead.

Fidelity: a duplicate's number is not always the lowest that is free.
"""

from __future__ import annotations

import contextlib
import errno
import os
from fcntl import F_DUPFD, F_DUPFD_CLOEXEC, F_GETFL, F_SETFL

from mapdev.host.embedded.calls.verdict import (
    ANSWERED,
    PASS_ON,
    Handler,
    Verdict,
    signed32,
)
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.notify import Call
from mapdev.linux.numbers import EPOLLET, EPOLLEXCLUSIVE

EPOLL_CTL_ADD, EPOLL_CTL_MOD = 1, 3
_SETTABLE = os.O_APPEND | os.O_NONBLOCK | os.O_ASYNC | os.O_DIRECT | os.O_NOATIME


def _duplicate(kernel: Kernel, call: Call, command: int, at_least: int) -> Verdict:
    """Answer `call` with a duplicate of its descriptor, numbered in the device range."""
    fd = call.args[0] & 0xFFFFFFFF
    why = "a device's descriptor can't be duplicated in it"
    with Injection(kernel.injector, call, why) as injection:
        injection.result = _fcntl(kernel, injection.thread, fd, command, at_least)
    return ANSWERED


def _fcntl(kernel: Kernel, thread: StoppedThread, fd: int, command: int, at_least: int) -> int:
    """Duplicate `fd` to a number in the device range, or to a low one if the limit ends before."""
    base = kernel.descriptors.base
    try:
        return thread.syscall("fcntl", fd, command, max(at_least, base), descriptor=0)
    except OSError as error:
        if error.errno != errno.EINVAL or at_least >= base:
            raise
    number = thread.syscall("fcntl", fd, command, at_least, descriptor=0)
    if number in kernel.descriptors:
        return number
    thread.syscall("close", number)
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def _do_dup(kernel: Kernel, call: Call) -> int | Verdict:
    if kernel.file(call) is None or kernel.fd_allocator.standard_is_closed(call.tid):
        return PASS_ON
    return _duplicate(kernel, call, F_DUPFD, 0)


def _do_dup2(kernel: Kernel, call: Call) -> int | Verdict:
    new = call.args[1] & 0xFFFFFFFF
    open_file = kernel.file(call)
    if open_file is None or new in kernel.descriptors or new >= 1 << 31:
        return PASS_ON
    kernel.messages.say_once(
        "descriptor", call.tid,
        f"wants {open_file.device.node} as descriptor {new}, but mapdev sees only 0 to "
        f"{kernel.descriptors.low - 1} and those from {kernel.descriptors.base} on: use "
        "--descriptors all",
    )  # fmt: skip
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _do_fcntl(kernel: Kernel, call: Call) -> int | Verdict:
    open_file = kernel.file(call)
    if open_file is None:
        return PASS_ON
    command, argument = call.args[1] & 0xFFFFFFFF, call.args[2]
    file = open_file.file
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        return _duplicate(kernel, call, command, argument & 0xFFFFFFFF)
    if command == F_GETFL:
        return file.f_flags
    if command == F_SETFL:
        file.f_flags = file.f_flags & ~_SETTABLE | argument & _SETTABLE
        return 0
    return PASS_ON


def _do_epoll_ctl(kernel: Kernel, call: Call) -> Verdict:
    """Note that somebody wants an event at each wake-up, which costs something.

    With EPOLLET it is due for one, with EPOLLEXCLUSIVE it may be the next that waits.

    Of a device at a low number this call is not seen; see `Kernel.file`.
    """
    operation, event = signed32(call.args[1]), call.args[3]
    open_file = kernel.file(call, 2)
    if open_file is not None and operation in (EPOLL_CTL_ADD, EPOLL_CTL_MOD):
        with contextlib.suppress(OSError):  # the kernel will say what is wrong
            events = int.from_bytes(kernel.machine.read_user(call.tid, event, 4), "little")
            open_file.ready.edge |= bool(events & (EPOLLET | EPOLLEXCLUSIVE))
    return PASS_ON


def _do_pidfd_getfd(kernel: Kernel, call: Call) -> Verdict:
    """Refuse to fetch the number at which physical memory may be lent to another thread."""
    if call.args[1] & 0xFFFFFFFF == kernel.scratch_descriptor:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    return PASS_ON


HANDLERS: dict[str, Handler] = {
    "dup": _do_dup,
    "dup2": _do_dup2,
    "dup3": _do_dup2,
    "fcntl": _do_fcntl,
    "epoll_ctl": _do_epoll_ctl,
    "pidfd_getfd": _do_pidfd_getfd,
}
