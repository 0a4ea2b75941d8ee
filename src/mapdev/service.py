"""Tell the service manager that started this process what it does, as sd_notify(3) does.

A socket's name in $NOTIFY_SOCKET, and lines of text; without one nothing is done.
"""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send `state`, as "READY=1"; nobody there is no error.

    Source: sd_notify(3), systemd.service(5) (Type=notify).
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to,
    ):
        to.sendto(state.encode(), address)
