"""Handles sockets for uevents: socket(2) with NETLINK_KOBJECT_UEVENT, and the calls on them.

The client gets a descriptor of the device range behind which is a `UeventSocket`: bind, recvmsg
and the like are answered here. Real uevents, too, come to it, by way of a real socket of the host.

Source: net/netlink/af_netlink.c, net/socket.c, net/core/sock.c, include/uapi/linux/netlink.h
Fidelity: ancillary data are credentials only; setsockopt knows what libraries set and takes the
rest without effect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Callable

from mapdev.host.core.udev import UDEV
from mapdev.host.core.uevent_socket import Message, UeventSocket, UeventSockets
from mapdev.host.embedded.calls.transfer import import_iovec
from mapdev.host.embedded.calls.verdict import Handler, Result
from mapdev.host.embedded.files.open_file import OpenFile
from mapdev.host.embedded.processes import tgid_of
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER

_AF_NETLINK, _KOBJECT_UEVENT = 16, 15
_ADDRESS = struct.Struct("<HHII")  # struct sockaddr_nl
_MSGHDR = struct.Struct("<QI4xQQQQi4x")
_FLAGS_AT, _CONTROL_SIZE_AT, _NAME_SIZE_AT = 48, 40, 8
_CREDENTIALS = struct.Struct("<QiiIII")  # a struct cmsghdr with a struct ucred
_SOL_SOCKET = 1
_SO_PASSCRED, _SO_RCVBUF, _SO_RCVBUFFORCE = 16, 8, 33
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_FPROG = struct.Struct("<H6xQ")
_MSG_PEEK, _MSG_TRUNC, _MSG_DONTWAIT, _MSG_CTRUNC = 0x2, 0x20, 0x40, 0x8
_MOST_INSTRUCTIONS = 4096


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _do_socket(kernel: Subsystems, call: Call) -> Result:
    """Make a socket for uevents."""
    kind = call.args[1] & 0xF
    if kind not in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        raise _error(errno.ESOCKTNOSUPPORT)
    new = UeventSocket(kernel.uevents, tgid_of(call.tid))
    new.kind = kind
    flags = os.O_RDWR | call.args[1] & (os.O_CLOEXEC | os.O_NONBLOCK)
    number = kernel.files.install_file(call, "uevents", new, None, flags, stat.S_IFSOCK)
    kernel.uevents.add(new)
    _real_events(kernel)
    return number


def _real_events(kernel: Subsystems) -> None:
    """Listen to the real machine's uevents, for all sockets; once, and if we may."""
    if kernel.uevents.real is not None:
        return
    try:
        real = socket.socket(_AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _KOBJECT_UEVENT)
        real.bind((0, 1 | UDEV))
    except OSError:
        return
    kernel.uevents.real = real
    kernel.files.watch_other(real.fileno(), lambda _: _pass_on_real(kernel.uevents, real))


def _pass_on_real(uevents: UeventSockets, real: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError, InterruptedError):
        while True:
            data, (port, groups) = real.recvfrom(65536)
            uevents.deliver(data, groups, port)


def carry_out(kernel: Subsystems, call: Call, open_file: OpenFile) -> Result:
    """Carry out a call on a socket for uevents."""
    uevents = open_file.driver
    assert isinstance(uevents, UeventSocket)
    method = _CALLS.get(BY_NUMBER[call.nr].name)
    if method is None:
        raise _error(errno.EOPNOTSUPP)
    return method(kernel, call, uevents)


def _bind(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    size = call.args[2] & 0xFFFFFFFF
    if size < _ADDRESS.size:
        raise _error(errno.EINVAL)
    family, _, port, groups = _ADDRESS.unpack(call.read_user(call.args[1], _ADDRESS.size))
    if family != _AF_NETLINK:
        raise _error(errno.EINVAL)
    uevents.port = port or uevents.port
    uevents.groups = groups
    return 0


def _connect(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    raise _error(errno.EPERM)


def _put_address(call: Call, address: int, size_at: int, data: bytes) -> None:
    """Write an address, and its size, as move_addr_to_user does."""
    room = int.from_bytes(call.read_user(size_at, 4), "little", signed=True)
    if room < 0:
        raise _error(errno.EINVAL)
    call.write_user(address, data[:room])
    call.write_user(size_at, len(data).to_bytes(4, "little"))


def _getsockname(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    data = _ADDRESS.pack(_AF_NETLINK, 0, uevents.port, uevents.groups)
    _put_address(call, call.args[1], call.args[2], data)
    return 0


def _getpeername(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    _put_address(call, call.args[1], call.args[2], _ADDRESS.pack(_AF_NETLINK, 0, 0, 0))
    return 0


def _setsockopt(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    level, name = call.args[1] & 0xFFFFFFFF, call.args[2] & 0xFFFFFFFF
    address, size = call.args[3], call.args[4] & 0xFFFFFFFF
    if level != _SOL_SOCKET:
        return 0
    if name == _SO_DETACH_FILTER:
        uevents.filter = b""
        return 0
    if name == _SO_ATTACH_FILTER:
        if size != _FPROG.size:
            raise _error(errno.EINVAL)
        count, at = _FPROG.unpack(call.read_user(address, size))
        if not 0 < count <= _MOST_INSTRUCTIONS:
            raise _error(errno.EINVAL)
        uevents.filter = call.read_user(at, 8 * count)
        return 0
    if size < 4:
        raise _error(errno.EINVAL)
    value = int.from_bytes(call.read_user(address, 4), "little", signed=True)
    if name == _SO_PASSCRED:
        uevents.passes_credentials = bool(value)
    elif name in (_SO_RCVBUF, _SO_RCVBUFFORCE):
        uevents.buffer = 2 * max(value, 1024)
    return 0


def _getsockopt(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    level, name = call.args[1] & 0xFFFFFFFF, call.args[2] & 0xFFFFFFFF
    values = {
        socket.SO_TYPE: uevents.kind, socket.SO_DOMAIN: _AF_NETLINK,
        socket.SO_PROTOCOL: _KOBJECT_UEVENT, socket.SO_ERROR: 0, socket.SO_RCVBUF: uevents.buffer,
        socket.SO_SNDBUF: 212992, _SO_PASSCRED: int(uevents.passes_credentials),
        socket.SO_ACCEPTCONN: 0,
    }  # fmt: skip
    if level != _SOL_SOCKET or name not in values:
        raise _error(errno.ENOPROTOOPT)
    room = int.from_bytes(call.read_user(call.args[4], 4), "little", signed=True)
    if room < 0:
        raise _error(errno.EINVAL)
    call.write_user(call.args[3], values[name].to_bytes(4, "little")[:room])
    call.write_user(call.args[4], min(room, 4).to_bytes(4, "little"))
    return 0


def _take(kernel: Subsystems, call: Call, uevents: UeventSocket, flags: int) -> Message:
    peek, may_wait = bool(flags & _MSG_PEEK), not flags & _MSG_DONTWAIT
    message: Message = kernel.operations.call_method(call, "recvmsg", uevents.take, peek, may_wait)
    return message


def _finish_later(
    kernel: Subsystems,
    call: Call,
    uevents: UeventSocket,
    flags: int,
    put: Callable[[Message], int],
) -> int:
    """Take a message and give it to the client by `put`, maybe after a wait."""
    from mapdev.host.core.waiting import WouldWait

    try:
        message = _take(kernel, call, uevents, flags)
    except WouldWait as wait:
        wait.again = lambda: _finish_later(kernel, call, uevents, flags, put)
        raise
    return put(message)


def _recvfrom(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    _, buffer, size, flags, address, size_at = call.args

    def put(message: Message) -> int:
        data = message.data[:size]
        if data:
            call.write_user(buffer, data)
        if address:
            _put_address(call, address, size_at, _sender(message))
        return len(message.data) if flags & _MSG_TRUNC else len(data)

    return _finish_later(kernel, call, uevents, flags, put)


def _sender(message: Message) -> bytes:
    return _ADDRESS.pack(_AF_NETLINK, 0, message.sender, message.group)


def _recvmsg(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    header, flags = call.args[1], call.args[2]
    return _finish_later(
        kernel, call, uevents, flags,
        lambda message: _put_message(kernel, call, uevents, header, flags, message),
    )  # fmt: skip


def _put_message(
    kernel: Subsystems, call: Call, uevents: UeventSocket, header: int, flags: int,
    message: Message,
) -> int:  # fmt: skip
    """Fill in the ``struct msghdr`` at `header`, as ____sys_recvmsg does."""
    name, name_size, vector, count, control, control_size, _ = _MSGHDR.unpack(
        call.read_user(header, _MSGHDR.size)
    )
    left, shown = message.data, 0
    for buffer, size in import_iovec(kernel, call, vector, count):
        piece, left = left[:size], left[size:]
        if piece:
            call.write_user(buffer, piece)
        shown += len(piece)
    got = _MSG_TRUNC if left else 0
    if name:
        call.write_user(name, _sender(message)[:name_size])
        call.write_user(header + _NAME_SIZE_AT, _ADDRESS.size.to_bytes(4, "little"))
    filled = 0
    if uevents.passes_credentials:
        # What libraries trust comes from root: the kernel, or the daemon.
        data = _CREDENTIALS.pack(_CREDENTIALS.size, _SOL_SOCKET, socket.SCM_CREDENTIALS,
                                 message.sender, 0, 0)  # fmt: skip
        if control_size >= _CREDENTIALS.size:
            call.write_user(control, data)
            filled = min(control_size, -(-_CREDENTIALS.size // 8) * 8)
        else:
            got |= _MSG_CTRUNC
    call.write_user(header + _CONTROL_SIZE_AT, filled.to_bytes(8, "little"))
    call.write_user(header + _FLAGS_AT, got.to_bytes(4, "little"))
    return len(message.data) if flags & _MSG_TRUNC else shown


def _recvmmsg(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    """Receive one message: a caller that wants more asks again."""
    header, flags = call.args[1], call.args[3]
    if not call.args[2] & 0xFFFFFFFF:
        return 0

    def put(message: Message) -> int:
        size = _put_message(kernel, call, uevents, header, flags, message)
        call.write_user(header + _MSGHDR.size, size.to_bytes(4, "little"))
        return 1

    return _finish_later(kernel, call, uevents, flags, put)


def _send(kernel: Subsystems, call: Call, uevents: UeventSocket) -> int:
    raise _error(errno.EPERM)


_CALLS: dict[str, Callable[[Subsystems, Call, UeventSocket], int]] = {
    "bind": _bind,
    "connect": _connect,
    "getsockname": _getsockname,
    "getpeername": _getpeername,
    "setsockopt": _setsockopt,
    "getsockopt": _getsockopt,
    "recvfrom": _recvfrom,
    "recvmsg": _recvmsg,
    "recvmmsg": _recvmmsg,
    "sendto": _send,
    "sendmsg": _send,
    "sendmmsg": _send,
}

HANDLERS: dict[str, Handler] = {"socket": _do_socket}
