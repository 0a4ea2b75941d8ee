"""`Listener` receives system calls from a seccomp filter; `Call` answers one or adds a descriptor.

A `Call` lives from the moment it is received until it is answered; its thread waits in the kernel
all that time. With SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19) only SIGKILL ends the wait
once the call is received, so an operation that took effect is always answered; before 5.19 any
signal may, and the answer is then refused with ENOENT.

Source: seccomp_unotify(2), linux/seccomp.h
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import os
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from mapdev.host.core.call import Call as CoreCall
from mapdev.host.embedded.client import ClientMachine, EmbeddedClient
from mapdev.host.embedded.native import NATIVE

if TYPE_CHECKING:
    from mapdev._native import Gate
    from mapdev.host.core.files import OpenFile
    from mapdev.host.core.operations import Operations

SECCOMP_IOCTL_NOTIF_RECV = 0xC0502100
SECCOMP_IOCTL_NOTIF_SEND = 0xC0182101
SECCOMP_IOCTL_NOTIF_ID_VALID = 0x40082102
SECCOMP_IOCTL_NOTIF_ADDFD = 0x40182103
SECCOMP_IOCTL_NOTIF_SET_FLAGS = 0x40082104
SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
SECCOMP_ADDFD_FLAG_SETFD = 1
SECCOMP_ADDFD_FLAG_SEND = 2

NOTIFICATION = struct.Struct("<QIIiIQ6Q")  # struct seccomp_notif
RESPONSE = struct.Struct("<QqiI")  # struct seccomp_notif_resp
_ADDFD = struct.Struct("<QIIII")  # struct seccomp_notif_addfd
_ID = struct.Struct("<Q")
_EMPTY = bytes(NOTIFICATION.size)

Notification = tuple[int, ...]
"""The fields of ``struct seccomp_notif``, as they came."""


class Verdict(enum.Enum):
    """A handler's answer to a system call other than a result."""

    PASS_ON = "the real kernel carries it out"
    ANSWERED = "the handler has answered it"


PASS_ON = Verdict.PASS_ON
ANSWERED = Verdict.ANSWERED


class WaitingCalls(Protocol):
    """The interface of `SignalWatch` that a `Call` uses."""

    def add(self, call: Call) -> None:
        """Look for signals for the thread of `call` from now on."""

    def discard(self, call: Call) -> None:
        """Look no more for those of `call`."""

    def end(self, call: Call) -> None:
        """End `call` for a signal that is pending."""


class FindsFiles(Protocol):
    """The interface of `FileTable` that a `Call` uses."""

    def at(self, tid: int, fd: int) -> OpenFile | None:
        """Return the open file that descriptor `fd` of thread `tid` means."""


class InstallsFiles(Protocol):
    """The interface of `OpenFiles` that a `Call` uses."""

    def install_file(
        self, call: Call, name: str, driver: Any, private_data: Any, flags: int
    ) -> int:
        """Open a file without a node in the client of `call`."""

    @property
    def table(self) -> FindsFiles:
        """All of them."""


class CallHost(Protocol):
    """The interface of the host that a `Call` uses."""

    @property
    def machine(self) -> ClientMachine:
        """Reaches the memory of clients."""

    @property
    def operations(self) -> Operations:
        """Calls drivers."""

    @property
    def signals(self) -> WaitingCalls:
        """Looks for signals for calls that wait."""

    @property
    def files(self) -> InstallsFiles:
        """Open files of devices."""

    @property
    def gate(self) -> Gate | None:
        """Passes on calls in clients."""


class Call(CoreCall):
    """One system call that waits for its answer.

    `nr`, `arch` and `ip` (the address after the system-call instruction) are as in ``struct
    seccomp_data``; `args` are six unsigned 64-bit numbers.

    :ivar has_private_signal: the signal that ends it is for its very thread, so that no other
        thread of the process can have taken it meanwhile.
    """

    has_private_signal: bool

    __slots__ = ("arch", "args", "has_private_signal", "host", "id", "ip", "listener", "nr", "tid")

    def __init__(
        self, listener: Listener, id: int, tid: int, nr: int, arch: int, ip: int, args: list[int]
    ) -> None:
        # Without the constructor of Context: one is made for each call.
        host = listener.host
        self.machine = host.machine
        self.owner = None  # until it is known to be about a device
        self.resumed = None
        self._client = None
        self.host = host
        self.listener = listener
        self.id = id
        self.tid = tid
        self.nr = nr
        self.arch = arch
        self.ip = ip
        self.args = args

    def make_client(self) -> EmbeddedClient:
        """Return the thread that makes the call."""
        files = self.host.files
        return EmbeddedClient(
            self.host.machine, self.tid, install=partial(files.install_file, self),
            open_at=partial(files.table.at, self.tid),
        )  # fmt: skip

    def read_user(self, addr: int, size: int) -> bytes:
        """Return `size` bytes of the client's memory; EFAULT when not all of it is readable."""
        data = self.host.machine.read_user(self.tid, addr, size)
        if len(data) < size:
            raise OSError(errno.EFAULT, f"{addr + len(data):#x} is not readable in the client")
        return data

    def write_user(self, addr: int, data: Any) -> None:
        """Write the client's memory; EFAULT when not all of it is writable."""
        count = self.host.machine.write_user(self.tid, addr, data)
        if count < len(data):
            raise OSError(errno.EFAULT, f"{addr + count:#x} is not writable in the client")

    def take_data(self, addr: int, count: int) -> bytes:
        """Return the bytes at `addr` that are readable, at most `count`."""
        try:
            return self.host.machine.read_user(self.tid, addr, count)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            return b""

    def put_data(self, addr: int, data: Any) -> int:
        """Write `data` at `addr` as far as that is writable; return how many bytes fitted."""
        try:
            return self.host.machine.write_user(self.tid, addr, data)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            return 0

    def finish(self, result: Any) -> None:
        """Answer with what a handler returned: a result, or a `Verdict`."""
        if result is PASS_ON:
            self.listener.send(self.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
        elif result is not ANSWERED:
            self.listener.send(self.id, result, 0, 0)

    def answer(self, result: int) -> bool:
        """Make the call return `result`; False when nobody waits for it any more."""
        return self.listener.send(self.id, result, 0, 0)

    def fail(self, code: int) -> bool:
        """Make the call fail with errno `code`."""
        return self.listener.send(self.id, 0, -code, 0)

    def pass_on(self) -> bool:
        """Let the kernel carry the call out as if there were no filter."""
        return self.listener.send(self.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)

    def time_out(self) -> None:
        """Make the call fail with ETIMEDOUT although its operation still runs; in any thread."""
        self.listener.send_from_elsewhere(self.id, -errno.ETIMEDOUT)

    def is_waited_for(self) -> bool:
        """Say whether the thread still waits: it may have been killed."""
        return self.listener.is_valid(self.id)

    def parked(self) -> None:
        """Look for signals for its thread, and keep its file, from now on."""
        self.host.signals.add(self)
        self.file.get()

    def unparked(self) -> None:
        """Look for them no longer, and let go of the file."""
        self.host.signals.discard(self)
        self.file.put()

    def interrupt(self) -> None:
        """End the call for a signal that is pending."""
        self.host.signals.end(self)
        self.host.operations.interrupted(self)

    def add_descriptor(self, fd: int, at: int | None, cloexec: bool, answer: bool = False) -> int:
        """Put a copy of our descriptor `fd` into the client, at number `at` or the lowest free.

        :param answer: the call returns that number to the client; else it still waits.
        :raises OSError: EBADF `at` is beyond the client's limit, EMFILE no number is free, ENOENT
            the client is gone.
        """
        return add_descriptor(self.listener.fd, self.id, fd, at, cloexec, answer)


def add_descriptor(
    listener: int, id: int, fd: int, at: int | None, cloexec: bool, answer: bool = False
) -> int:
    """Do what `Call.add_descriptor` says, for call `id` of a listener's descriptor; any thread."""
    flags = 0 if at is None else SECCOMP_ADDFD_FLAG_SETFD
    if answer:
        flags |= SECCOMP_ADDFD_FLAG_SEND
    request = _ADDFD.pack(id, flags, fd, at or 0, os.O_CLOEXEC if cloexec else 0)
    # A bytearray, since with bytes fcntl.ioctl returns those and not the call's own result.
    number: int = fcntl.ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, bytearray(request))
    return number


def _respond_in_python(listener: int, id: int, value: int, error: int, flags: int) -> bool:
    """Answer a call (SECCOMP_IOCTL_NOTIF_SEND); False when nobody waits for it any more."""
    try:
        fcntl.ioctl(
            listener, SECCOMP_IOCTL_NOTIF_SEND, RESPONSE.pack(id, value, error, flags)
        )  # fmt: skip
    except OSError as failure:
        if failure.errno in (errno.ENOENT, errno.EINPROGRESS):
            return False
        raise
    return True


_respond = _respond_in_python if NATIVE is None else NATIVE.respond


class Listener:
    """The host's end of one filter; owns its descriptor."""

    def __init__(self, fd: int, host: CallHost) -> None:
        self.fd = fd
        self.host = host
        self._buffer = bytearray(NOTIFICATION.size)
        try:  # 6.6: hand the CPU to whoever waits instead of waking it elsewhere
            fcntl.ioctl(fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise

    def take(self) -> Notification | None:
        """Take the next call; None when its thread died or was interrupted before we got to it."""
        buffer = self._buffer
        buffer[:] = _EMPTY
        try:
            fcntl.ioctl(self.fd, SECCOMP_IOCTL_NOTIF_RECV, buffer)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        gate = self.host.gate
        if gate is not None and gate.redirect(self.fd, buffer):
            return None  # it will be made again
        return NOTIFICATION.unpack(buffer)

    def call(self, notification: Notification) -> Call:
        """Return the call that was taken."""
        id, tid, _, nr, arch, ip, *args = notification
        return Call(self, id, tid, nr, arch, ip, args)

    def receive(self) -> Call | None:
        """Take the next call; None as for `take`."""
        notification = self.take()
        return None if notification is None else self.call(notification)

    def send(self, id: int, value: int, error: int, flags: int) -> bool:
        """Answer call `id`; False when its thread no longer waits, or was answered already."""
        if self.fd < 0:
            return False  # closed, since the last thread with this filter died
        return _respond(self.fd, id, value, error, flags)

    def send_from_elsewhere(self, id: int, error: int) -> None:
        """Make call `id` fail, from another thread than the host's, whose answer comes too late."""
        with contextlib.suppress(OSError):  # answered already, or closed
            fcntl.ioctl(self.fd, SECCOMP_IOCTL_NOTIF_SEND, RESPONSE.pack(id, 0, error, 0))

    def is_valid(self, id: int) -> bool:
        """Say whether the thread of call `id` waits."""
        if self.fd < 0:
            return False
        try:
            fcntl.ioctl(self.fd, SECCOMP_IOCTL_NOTIF_ID_VALID, _ID.pack(id))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the listener: calls that wait and all later ones fail with ENOSYS."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
