"""The listener of a seccomp filter: system calls come in, answers and descriptors go out.

A `Call` lives from the moment it is received until it is answered; its thread waits in the kernel
all that time. With SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19) only SIGKILL ends the wait
once the call is received, so an operation that took effect is always answered; before 5.19 any
signal may, and the answer is then refused with ENOENT.

Source: seccomp_unotify(2), linux/seccomp.h
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

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


class Call:
    """One system call that waits for its answer.

    `nr`, `arch` and `ip` (the address after the system-call instruction) are as in ``struct
    seccomp_data``; `args` are six unsigned 64-bit numbers.
    """

    __slots__ = ("arch", "args", "id", "ip", "listener", "nr", "tid")

    def __init__(
        self, listener: Listener, id: int, tid: int, nr: int, arch: int, ip: int, args: list[int]
    ) -> None:
        self.listener = listener
        self.id = id
        self.tid = tid
        self.nr = nr
        self.arch = arch
        self.ip = ip
        self.args = args

    def answer(self, value: int) -> bool:
        """Make the call return `value`; False when nobody waits for it any more."""
        return self.listener.send(self.id, value, 0, 0)

    def fail(self, code: int) -> bool:
        """Make the call fail with errno `code`."""
        return self.listener.send(self.id, 0, -code, 0)

    def pass_on(self) -> bool:
        """Let the kernel carry the call out as if there were no filter."""
        return self.listener.send(self.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)

    def is_waited_for(self) -> bool:
        """Say whether the thread still waits: it may have been killed."""
        return self.listener.is_valid(self.id)

    def add_descriptor(self, fd: int, at: int | None, cloexec: bool, answer: bool = False) -> int:
        """Put a copy of our descriptor `fd` into the client, at number `at` or the lowest free.

        :param answer: the call returns that number to the client; else it still waits.
        :raises OSError: EBADF `at` is beyond the client's limit, EMFILE no number is free, ENOENT
            the client is gone.
        """
        flags = 0 if at is None else SECCOMP_ADDFD_FLAG_SETFD
        if answer:
            flags |= SECCOMP_ADDFD_FLAG_SEND
        request = _ADDFD.pack(self.id, flags, fd, at or 0, os.O_CLOEXEC if cloexec else 0)
        # A bytearray, since with bytes fcntl.ioctl returns those and not the call's own result.
        number: int = fcntl.ioctl(self.listener.fd, SECCOMP_IOCTL_NOTIF_ADDFD, bytearray(request))
        return number


class Listener:
    """The host's end of one filter; owns its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._buffer = bytearray(NOTIFICATION.size)
        self._response = bytearray(RESPONSE.size)
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
        response = self._response
        RESPONSE.pack_into(response, 0, id, value, error, flags)
        try:
            fcntl.ioctl(self.fd, SECCOMP_IOCTL_NOTIF_SEND, response)
        except OSError as failure:
            if failure.errno in (errno.ENOENT, errno.EINPROGRESS):
                return False
            raise
        return True

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
