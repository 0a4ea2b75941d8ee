"""Refuses socket calls on a device, which the socket behind its descriptor would carry out."""

from __future__ import annotations

import errno
import os

from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.notify import Call


def _not_a_socket(kernel: Kernel, call: Call) -> int | Verdict:
    if kernel.file(call) is None:
        return PASS_ON
    raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))


HANDLERS: dict[str, Handler] = dict.fromkeys(
    (
        "sendto", "recvfrom", "sendmsg", "recvmsg", "sendmmsg", "recvmmsg", "getsockopt",
        "setsockopt", "getsockname", "getpeername", "connect", "bind", "listen", "accept",
        "accept4", "shutdown",
    ),
    _not_a_socket,
)  # fmt: skip
