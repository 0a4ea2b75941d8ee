"""`UeventSocket` is a program's socket for uevents: bound groups, a filter, and what has come.

A netlink socket of the kind NETLINK_KOBJECT_UEVENT gets what its groups are sent, each message
whole. It is served like a device's open file, so that poll and waiting work as for any driver; the
calls that only sockets have are methods here. `UeventSockets` knows all of them.

Objects: a socket lives from socket(2) to its last close. Messages may come in any thread.

Source: net/netlink/af_netlink.c, lib/kobject_uevent.c, net/core/filter.c
"""

from __future__ import annotations

import errno
import os
import struct
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from mapdev.driver import Driver
from mapdev.linux.fs import File, Inode, stream_open
from mapdev.linux.numbers import EPOLLIN, EPOLLOUT, EPOLLRDNORM, EPOLLWRNORM
from mapdev.linux.wait import WaitQueueHead, poll_wait, wait_event_interruptible

if TYPE_CHECKING:
    from socket import socket

__all__ = ["Message", "UeventSocket", "UeventSockets", "run_filter"]

_MOST = 1000  # messages that a socket keeps
_BUFFER = 212992  # bytes: what SO_RCVBUF says first
_INSTRUCTION = struct.Struct("<HBBI")  # struct sock_filter
_LD_W, _LD_H, _LD_B, _JEQ, _JGT, _JGE, _JSET, _JA, _AND, _RET = (
    0x20, 0x28, 0x30, 0x15, 0x25, 0x35, 0x45, 0x05, 0x54, 0x06)  # fmt: skip
_SIZES = {_LD_W: 4, _LD_H: 2, _LD_B: 1}
_ALL = 0xFFFFFFFF


class Message(NamedTuple):
    """What a socket has got.

    :ivar group: the group that it was sent to.
    :ivar sender: the port and the process that sent it, 0 for the kernel.
    """

    data: bytes
    group: int
    sender: int = 0


class UeventSocket(Driver):
    """One socket for uevents.

    :param sockets: all of them.
    :param port: by which netlink knows it (nl_pid).
    """

    name = "uevent socket"

    def __init__(self, sockets: UeventSockets, port: int) -> None:
        self._sockets = sockets
        self.port = port
        self.kind = 0  # SOCK_RAW or SOCK_DGRAM
        self.groups = 0
        self.passes_credentials = False
        self.buffer = _BUFFER
        self.filter = b""
        self._messages: deque[Message] = deque()
        self._has_lost = False
        self._queue = WaitQueueHead()

    def open(self, inode: Inode, file: File) -> None:
        """Have no position."""
        stream_open(inode, file)

    def release(self, inode: Inode, file: File) -> None:
        """Listen no more."""
        self._sockets.discard(self)

    def poll(self, file: File) -> int:
        """Say whether a message has come."""
        poll_wait(file, self._queue)
        readable = EPOLLIN | EPOLLRDNORM if self._messages or self._has_lost else 0
        return readable | EPOLLOUT | EPOLLWRNORM

    def deliver(self, message: Message) -> None:
        """Take a message, if it is for a group of the socket and passes its filter."""
        if not self.groups & message.group or not run_filter(self.filter, message.data):
            return
        if len(self._messages) >= _MOST:
            self._has_lost = True
        else:
            self._messages.append(message)
        self._queue.wake()

    def take(self, peek: bool, may_wait: bool) -> Message:
        """Return the next message.

        :param peek: leave it there.
        :raises OSError: ENOBUFS messages were lost, EAGAIN none is there and it must not wait.
        """
        if self._has_lost:
            self._has_lost = False
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        if not self._messages:
            if not may_wait:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            wait_event_interruptible(self._queue, lambda: self._messages)
        return self._messages[0] if peek else self._messages.popleft()

    def read(self, file: File, count: int, pos: int) -> bytes:
        """Return the next message, cut to `count` bytes."""
        return self.take(False, True).data[:count]

    def write(self, file: File, data: bytes, pos: int) -> int:
        """Refuse to send, which only the kernel and the administrator may."""
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


class UeventSockets:
    """All sockets for uevents of a host.

    :ivar real: a socket of the host's own, for those of the real machine; the host's to make.
    """

    def __init__(self) -> None:
        self.real: socket | None = None
        self._sockets: dict[UeventSocket, None] = {}

    def add(self, socket: UeventSocket) -> None:
        """Have a socket get messages."""
        self._sockets[socket] = None

    def discard(self, socket: UeventSocket) -> None:
        """Forget a socket."""
        self._sockets.pop(socket, None)

    def deliver(self, data: bytes, group: int, sender: int = 0) -> None:
        """Give a message to all sockets that listen to its group; in any thread."""
        for socket in tuple(self._sockets):
            socket.deliver(Message(data, group, sender))


def run_filter(program: bytes, data: bytes) -> int:
    """Run a socket's filter on a message; return how many bytes it lets through.

    What libudev's filters are made of is known: loads, comparisons, and. Whatever else is in one
    lets all through; libudev looks at each message itself as well.
    """
    if not program:
        return _ALL
    code = list(_INSTRUCTION.iter_unpack(program))
    at = value = 0
    for _ in code:  # jumps lead forwards only
        if at >= len(code):
            break
        opcode, yes, no, operand = code[at]
        at += 1
        if opcode in _SIZES:
            piece = data[operand : operand + _SIZES[opcode]]
            if len(piece) < _SIZES[opcode]:
                return 0
            value = int.from_bytes(piece, "big")
        elif opcode == _AND:
            value &= operand
        elif opcode == _JA:
            at += operand
        elif opcode in (_JEQ, _JGT, _JGE, _JSET):
            holds = (
                value == operand if opcode == _JEQ else value > operand if opcode == _JGT
                else value >= operand if opcode == _JGE else bool(value & operand)
            )  # fmt: skip
            at += yes if holds else no
        elif opcode == _RET:
            return int(operand)
        else:
            return _ALL
    return _ALL
