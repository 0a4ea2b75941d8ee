"""Handles calls on a device's descriptors themselves: dup, dup2, dup3, fcntl, syncfs, epoll_ctl.

The kernel keeps the descriptors themselves, so most of these pass. A duplicate must get a number
that the filter sees, though: where the kernel would choose one out of its sight, the thread is made
to ask for a number in the device range instead.

Fidelity: a duplicate's number is not always the lowest that is free.
"""

from __future__ import annotations

import errno
import os
import struct
from fcntl import (
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_GETFL,
    F_GETLEASE,
    F_GETLK,
    F_OFD_GETLK,
    F_OFD_SETLK,
    F_OFD_SETLKW,
    F_SETFD,
    F_SETFL,
    F_SETLEASE,
    F_SETLK,
    F_SETLKW,
    F_SETOWN,
    F_SETSIG,
    F_UNLCK,
)

from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.calls.verdict import (
    ANSWERED,
    PASS_ON,
    Handler,
    Verdict,
    signed32,
)
from mapdev.host.embedded.files.node import owns
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.inject.injection import Injection
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.processes import descriptor_flags, has_capability
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import (
    CAP_LEASE,
    F_SETOWN_EX,
)
from mapdev.linux.fs import FownStruct
from mapdev.linux.numbers import EPOLLET, EPOLLEXCLUSIVE

EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
F_DUPFD_QUERY = 1027
_NSIG = 64
_OF_PATHS = (F_DUPFD, F_DUPFD_CLOEXEC, F_DUPFD_QUERY, F_GETFD, F_SETFD, F_GETFL)
_OWNER = struct.Struct("<ii")  # struct f_owner_ex
_OF_THREAD, _OF_PROCESS, _OF_GROUP = range(3)  # F_OWNER_TID and so on
_RECORD_LOCKS = (F_GETLK, F_SETLK, F_SETLKW, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW)
_SETTABLE = os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT | os.O_NOATIME


def _duplicate(kernel: Subsystems, call: Call, command: int, at_least: int) -> Verdict:
    """Answer `call` with a duplicate of its descriptor, numbered in the device range."""
    fd = call.args[0] & 0xFFFFFFFF
    why = "a device's descriptor can't be duplicated in it"
    with Injection(kernel.injector, call, why, own=True) as injection:
        injection.result = _fcntl(kernel, injection.thread, fd, command, at_least)
    return ANSWERED


def _fcntl(kernel: Subsystems, thread: StoppedThread, fd: int, command: int, at_least: int) -> int:
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


def _is_ours(kernel: Subsystems, call: Call) -> bool:
    """Say whether the descriptor of `call` is a device's, or that of a directory that we list."""
    if kernel.files.of(call) is not None:
        return True
    fd = call.args[0] & 0xFFFFFFFF
    return fd >= kernel.descriptors.base and kernel.directories.at(call.tid, fd) is not None


def _do_dup(kernel: Subsystems, call: Call) -> int | Verdict:
    if not _is_ours(kernel, call) or kernel.fd_allocator.standard_is_closed(call.tid):
        return PASS_ON
    return _duplicate(kernel, call, F_DUPFD, 0)


def _do_dup2(kernel: Subsystems, call: Call) -> int | Verdict:
    new = call.args[1] & 0xFFFFFFFF
    open_file = kernel.files.of(call)
    if open_file is None or new in kernel.descriptors or new >= 1 << 31:
        return PASS_ON
    kernel.messages.say_once(
        "descriptor", call.tid,
        f"wants {open_file.device.node} as descriptor {new}, but mapdev sees only 0 to "
        f"{kernel.descriptors.low - 1} and those from {kernel.descriptors.base} on: use "
        "--descriptors all",
    )  # fmt: skip
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _set_flags(kernel: Subsystems, call: Call, open_file: OpenFile, flags: int) -> int:
    """Set those flags of an open file that can be set later.

    O_ASYNC is for the driver's fasync to set.

    :raises OSError: EPERM O_NOATIME by who does not own the node, EINVAL O_DIRECT.

    Source: fs/fcntl.c (setfl)
    """
    file = open_file.file
    if flags & os.O_NOATIME & ~file.f_flags and not owns(open_file.device, call.tid):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    if flags & os.O_DIRECT:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    if (flags ^ file.f_flags) & os.O_ASYNC and "fasync" in open_file.device.has:
        on = bool(flags & os.O_ASYNC)
        kernel.operations.fasync(call.task, open_file, signed32(call.args[0]), on)
    file.f_flags = file.f_flags & ~_SETTABLE | flags & _SETTABLE
    return 0


def _note_owner(call: Call, open_file: OpenFile, command: int) -> None:
    """Note who gets the signals of a file, and which; the kernel does the same with its file.

    What the kernel will refuse is not noted. In another PID namespace numbers mean others.

    Source: fs/fcntl.c (f_setown, f_setown_ex, do_fcntl)
    """
    owner = open_file.file.f_owner = open_file.file.f_owner or FownStruct()
    if command == F_SETSIG:
        owner.signum = call.args[2] if call.args[2] <= _NSIG else owner.signum
        return
    if command == F_SETOWN:
        pid, kind = signed32(call.args[2]), _OF_PROCESS
        if pid < 0:
            pid, kind = -pid, _OF_GROUP
    else:
        try:
            kind, pid = _OWNER.unpack(call.read_user(call.args[2], _OWNER.size))
        except OSError:
            return
    if kind not in (_OF_THREAD, _OF_PROCESS, _OF_GROUP) or not _exists(call.tid, kind, pid):
        return
    owner.pid_type, owner.pid = kind, pid


def _exists(tid: int, kind: int, pid: int) -> bool:
    """Say whether there is such a thread, process or group for thread `tid`."""
    if not 0 <= pid < 1 << 31:
        return False
    try:
        theirs, ours = os.stat(f"/proc/{tid}/ns/pid"), os.stat("/proc/self/ns/pid")
        if theirs.st_ino != ours.st_ino:
            return not pid
        if pid and kind == _OF_GROUP:
            os.killpg(pid, 0)
        elif pid:
            os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _do_fcntl(kernel: Subsystems, call: Call) -> int | Verdict:
    """Keep a device's flags, and duplicate it; the rest is the kernel's.

    Source: fs/fcntl.c (check_fcntl_cmd, do_fcntl)
    """
    open_file = kernel.files.of(call)
    command, argument = call.args[1] & 0xFFFFFFFF, call.args[2]
    if open_file is None:
        if command in (F_DUPFD, F_DUPFD_CLOEXEC) and _is_ours(kernel, call):
            return _duplicate(kernel, call, command, argument & 0xFFFFFFFF)
        return PASS_ON
    if open_file.path_only and command not in _OF_PATHS:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        return _duplicate(kernel, call, command, argument & 0xFFFFFFFF)
    if command == F_GETFL:
        return open_file.file.f_flags
    if command == F_SETFL:
        return _set_flags(kernel, call, open_file, argument)
    if command == F_GETLEASE:
        return F_UNLCK
    if command == F_SETLEASE:
        # fs/locks.c (generic_setlease): of another's file before that it is no regular one
        may = owns(open_file.device, call.tid) or has_capability(call.tid, CAP_LEASE)
        code = errno.EINVAL if may else errno.EACCES
        raise OSError(code, os.strerror(code))
    if command in (F_SETOWN, F_SETOWN_EX, F_SETSIG):
        _note_owner(call, open_file, command)
    if command in _RECORD_LOCKS:
        from mapdev.host.embedded.calls.locks import do_record_lock  # here, for a quick start

        return do_record_lock(kernel, call, open_file, command)
    return PASS_ON


def _do_epoll_ctl(kernel: Subsystems, call: Call) -> Verdict:
    """Refuse files that epoll can't watch; note who wants an event at each wake-up.

    With EPOLLET somebody is due for one, with EPOLLEXCLUSIVE it may be the next that waits. That
    costs something.

    Of a device at a low number this call is not seen; see `Subsystems.file`.

    :raises OSError: EFAULT the event can't be read, EBADF the file was opened with O_PATH, EPERM
        its driver has no poll operation.

    Source: fs/eventpoll.c (epoll_ctl, do_epoll_ctl)
    """
    operation, event = signed32(call.args[1]), call.args[3]
    open_file = kernel.files.of(call, 2)
    if open_file is None:
        return PASS_ON
    # The kernel reads the event for each operation but this one, also for those it does not know.
    events = 0
    if operation != EPOLL_CTL_DEL:
        events = int.from_bytes(call.read_user(event, ARCH.EPOLL_EVENT_SIZE)[:4], "little")
    # The kernel looks for the epoll instance first: what is none comes last, but for EBADF.
    instance = kernel.files.of(call, 0)
    if instance is not None and instance.path_only:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    try:
        flags = descriptor_flags(call.tid, call.args[0] & 0xFFFFFFFF)
    except OSError:
        return PASS_ON  # EBADF
    if open_file.path_only or flags & os.O_PATH:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if "poll" not in open_file.device.has:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    if operation in (EPOLL_CTL_ADD, EPOLL_CTL_MOD) and events & (EPOLLET | EPOLLEXCLUSIVE):
        open_file.watch_edges()
    return PASS_ON


def _unless_path_only(kernel: Subsystems, call: Call) -> Verdict:
    """Refuse descriptors that were opened with O_PATH; the kernel does the rest on the socket."""
    open_file = kernel.files.of(call)
    if open_file is not None and open_file.path_only:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return PASS_ON


def _do_pidfd_getfd(kernel: Subsystems, call: Call) -> Verdict:
    """Refuse to fetch the number at which physical memory may be lent to another thread."""
    if call.args[1] & 0xFFFFFFFF == kernel.fd_allocator.scratch:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    return PASS_ON


HANDLERS: dict[str, Handler] = {
    "dup": _do_dup,
    "dup2": _do_dup2,
    "dup3": _do_dup2,
    "fcntl": _do_fcntl,
    "epoll_ctl": _do_epoll_ctl,
    "syncfs": _unless_path_only,
    **dict.fromkeys(("epoll_wait", "epoll_pwait", "epoll_pwait2"), _unless_path_only),
    "pidfd_getfd": _do_pidfd_getfd,
}
