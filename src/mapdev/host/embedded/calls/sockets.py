"""Refuses socket calls on a device, which the socket behind its descriptor would carry out.

A Unix socket can't be bound or connected to the path of a node.

Source: net/unix/af_unix.c (unix_bind_bsd, unix_find_bsd)
Fidelity: an address that is as long as one of the internet is not looked at by connect: ENOENT.
"""

from __future__ import annotations

import errno
import os
import socket

from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.numbers import AT_FDCWD

_FAMILY_SIZE, _ADDRESS_SIZE = 2, 110  # of struct sockaddr_un


def _not_a_socket(kernel: Subsystems, call: Call) -> Result:
    open_file = kernel.files.of(call)
    if open_file is None:
        return PASS_ON
    if open_file.device.is_socket:
        from mapdev.host.embedded.calls.netlink import carry_out  # the first is rare

        return carry_out(kernel, call, open_file)
    raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))


def _with_address(code: int, follow: bool) -> Handler:
    """Make a handler of a call that fails with `code` if its address is the path of a node."""

    def handle(kernel: Subsystems, call: Call) -> Result:
        result = _not_a_socket(kernel, call)
        if result is not PASS_ON:
            return result
        path = _unix_path(kernel, call)
        found = kernel.paths.find(call.tid, AT_FDCWD, path, follow) if path else None
        if found is None or not _is_socket(call):
            return PASS_ON
        failure = errno.ENOTDIR if found.has_slash and follow else code
        raise OSError(failure, os.strerror(failure))

    return handle


def _unix_path(kernel: Subsystems, call: Call) -> str:
    """Return the path in a Unix socket's address; empty if it has none, or is no such address."""
    address, size = call.args[1], call.args[2] & 0xFFFFFFFF
    if not _FAMILY_SIZE < size <= _ADDRESS_SIZE:
        return ""
    try:
        raw = kernel.machine.read_user(call.tid, address, size)
    except OSError:
        return ""  # the kernel will say so
    if len(raw) < size or int.from_bytes(raw[:_FAMILY_SIZE], "little") != socket.AF_UNIX:
        return ""
    return os.fsdecode(raw[_FAMILY_SIZE:].partition(b"\0")[0])


def _is_socket(call: Call) -> bool:
    try:
        link = os.readlink(f"/proc/{call.tid}/fd/{call.args[0] & 0xFFFFFFFF}")
    except OSError:
        return False
    return link.startswith("socket:")


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(
        (
            "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "getsockopt",
            "setsockopt", "getsockname", "getpeername", "listen", "accept", "accept4", "shutdown",
        ),
        _not_a_socket,
    ),
    "bind": _with_address(errno.EADDRINUSE, follow=False),
    "connect": _with_address(errno.ECONNREFUSED, follow=True),
}  # fmt: skip
