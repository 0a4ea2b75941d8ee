"""Makes a FUSE mount that no directory shows, with or without privileges.

Whoever may mount does it directly. Anybody else needs a user namespace of his own, which a process
with threads can't enter: so this file is run as a program there, which hands both descriptors over
a socket and ends. It uses nothing of mapdev for that reason.

Source: fs/fuse/inode.c, fsopen(2), fsmount(2), user_namespaces(7)
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on all processors
_CLOEXEC = 1
_SET_STRING, _CMD_CREATE = 1, 6  # FSCONFIG_*
_NAMESPACES = 0x10000000 | 0x20000  # CLONE_NEWUSER, CLONE_NEWNS
_PATIENCE = 10  # seconds, for the other program

_libc = ctypes.CDLL(None, use_errno=True)


def mount() -> tuple[int, int]:
    """Mount a new FUSE file system; return descriptors of its connection and of its root.

    :raises OSError: it can't be had here: no /dev/fuse, no user namespaces, a sandbox.
    """
    try:
        return _mount()
    except PermissionError:
        return _mount_elsewhere()


def _mount() -> tuple[int, int]:
    connection = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    context = -1
    try:
        context = _syscall(_FSOPEN, b"fuse", ctypes.c_uint(_CLOEXEC))
        for key, value in (
            ("source", "mapdev"), ("fd", connection), ("rootmode", "40000"),
            ("user_id", os.getuid()), ("group_id", os.getgid()),
        ):  # fmt: skip
            _configure(context, _SET_STRING, key.encode(), str(value).encode())
        _configure(context, _CMD_CREATE, None, None)
        return connection, _syscall(
            _FSMOUNT, ctypes.c_int(context), ctypes.c_uint(_CLOEXEC), ctypes.c_uint(0)
        )
    except BaseException:
        os.close(connection)
        raise
    finally:
        if context >= 0:
            os.close(context)


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    _syscall(_FSCONFIG, ctypes.c_int(context), ctypes.c_uint(command), key, value, ctypes.c_int(0))


def _syscall(number: int, *args: object) -> int:
    result: int = _libc.syscall(ctypes.c_long(number), *args)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _mount_elsewhere() -> tuple[int, int]:
    """Have a program mount it in a user namespace of its own."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            ours.settimeout(_PATIENCE)
            command = [sys.executable, "-I", "-S", __file__, str(theirs.fileno())]
            program = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            _, fds, _, _ = socket.recv_fds(ours, 1, 2)
        finally:
            program.kill()
            program.wait()
    for fd in fds:
        os.set_inheritable(fd, False)
    if len(fds) != 2:
        for fd in fds:
            os.close(fd)
        raise PermissionError("neither FUSE nor user namespaces are allowed")
    return fds[0], fds[1]


def main() -> None:
    """Mount in a new user namespace, as the same user, and send both descriptors."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(_NAMESPACES):
        sys.exit(1)
    for name, text in (
        ("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1"),
    ):  # fmt: skip
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        socket.send_fds(channel, [b"\0"], _mount())


if __name__ == "__main__":
    main()
