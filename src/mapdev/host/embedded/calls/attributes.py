"""Calls that set mode, owner and times of a node, or read and set extended attributes of it.

A node is there for as long as its host, as its host made it: nobody can change it. What sets an
attribute to what it is succeeds.

Source: fs/open.c, fs/attr.c, fs/utimes.c, fs/xattr.c
Fidelity: mode and owner can't be changed (EPERM); times can be set, and stay what they are;
attributes of the trusted and security kinds can't be stored (EPERM).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

from mapdev.host.core.device import Device
from mapdev.host.embedded.calls.meaning import find_checked
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result
from mapdev.host.embedded.files.node import W_OK, may_access, owns
from mapdev.host.embedded.processes import has_capability
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER
from mapdev.host.numbers import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, CAP_SYS_ADMIN, UINT_MAX

_MODE_BITS = 0o7777
_TIMES = {
    name: struct.Struct(layout)
    for name, layout in (("utime", "<2q"), ("utimes", "<4q"), ("futimesat", "<4q"),
                         ("utimensat", "<4q"))
}  # fmt: skip
_SECOND = 1_000_000_000
_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2  # UTIME_NOW, UTIME_OMIT
_NAME_MAX, _SIZE_MAX = 255, 65536
_KINDS = ("user.", "trusted.", "security.", "system.posix_acl_")

Change = Callable[[Subsystems, Call, Device], int]
"""Carries out a call on a device's node."""


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def _by_path(change: Change, flags: int = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) -> Handler:
    """Make a handler of a call whose path may be a node's, with these flags if it has any."""

    def handle(kernel: Subsystems, call: Call) -> Result:
        found = find_checked(kernel, call, flags)
        if found is None:
            return PASS_ON
        result = change(kernel, call, found.device)
        kernel.shadows.changed(found.device)
        return result

    return handle


def _by_descriptor(change: Change) -> Handler:
    """Make a handler of a call whose descriptor may be a device's: EBADF with O_PATH."""

    def handle(kernel: Subsystems, call: Call) -> Result:
        open_file = kernel.files.of(call)
        if open_file is None:
            return PASS_ON
        if open_file.path_only:
            raise _error(errno.EBADF)
        result = change(kernel, call, open_file.device)
        kernel.shadows.changed(open_file.device)
        return result

    return handle


def _is_in_sysfs(device: Device) -> bool:
    """Say whether mode and owner can be changed, as those of names in sysfs can."""
    return device.node.startswith("/sys/")


def _chmod(mode: int) -> Change:
    def change(kernel: Subsystems, call: Call, device: Device) -> int:
        if _is_in_sysfs(device) and owns(device, call.tid):
            inode = device.inode
            inode.i_mode = inode.i_mode & ~_MODE_BITS | call.args[mode] & _MODE_BITS
            return 0
        same = not (call.args[mode] ^ device.inode.i_mode) & _MODE_BITS
        if not (same and owns(device, call.tid)):
            raise _error(errno.EPERM)
        return 0

    return change


def _chown(owner: int) -> Change:
    def change(kernel: Subsystems, call: Call, device: Device) -> int:
        uid, gid = (number & UINT_MAX for number in call.args[owner : owner + 2])
        inode = device.inode
        if _is_in_sysfs(device) and os.stat(f"/proc/{call.tid}").st_uid == 0:
            inode.i_uid = inode.i_uid if uid == UINT_MAX else uid
            inode.i_gid = inode.i_gid if gid == UINT_MAX else gid
            return 0
        same = uid in (UINT_MAX, inode.i_uid) and gid in (UINT_MAX, inode.i_gid)
        if not (same and (uid == gid == UINT_MAX or owns(device, call.tid))):
            raise _error(errno.EPERM)
        return 0

    return change


def _set_times(times: int) -> Change:
    """Check times, at argument `times`, and the permission to set them."""

    def change(kernel: Subsystems, call: Call, device: Device) -> int:
        name, address = BY_NUMBER[call.nr].name, call.args[times]
        if not address:
            if not (owns(device, call.tid) or may_access(device, call.tid, W_OK)):
                raise _error(errno.EACCES)
            return 0
        layout = _TIMES[name]
        parts = layout.unpack(call.read_user(address, layout.size))[1::2]
        if name == "utimensat":
            if not all(0 <= part < _SECOND or part in (_NOW, _OMIT) for part in parts):
                raise _error(errno.EINVAL)
        elif name != "utime" and not all(0 <= part < 1_000_000 for part in parts):
            raise _error(errno.EINVAL)
        if not owns(device, call.tid):
            raise _error(errno.EPERM)
        return 0

    return change


_futimens = _by_descriptor(_set_times(2))
_utimens = _by_path(_set_times(2))


def _do_utimensat(kernel: Subsystems, call: Call) -> Result:
    """Set the times of a descriptor, if there is no path."""
    if call.args[1]:
        return _utimens(kernel, call)
    if call.args[3] & UINT_MAX:
        return PASS_ON  # EINVAL, whatever the descriptor is
    return _futimens(kernel, call)


def _attribute(kernel: Subsystems, call: Call) -> str:
    """Return the name of the extended attribute, without the part that is up to the user.

    :raises OSError: EFAULT, ERANGE it can't be read or has no fit length; EINVAL it has nothing
        behind the namespace; EOPNOTSUPP nobody has such attributes.

    Source: fs/xattr.c (xattr_permission, xattr_resolve_name)
    """
    name = kernel.paths.read(call.tid, call.args[1])
    if name is None:
        raise _error(errno.EFAULT)
    if not 0 < len(os.fsencode(name)) <= _NAME_MAX:
        raise _error(errno.ERANGE)
    for kind in _KINDS:
        if name.startswith(kind):
            if name == "security." or (
                name == "trusted." and has_capability(call.tid, CAP_SYS_ADMIN)
            ):
                raise _error(errno.EINVAL)  # of user attributes of a node nobody asks the name
            return kind
    raise _error(errno.EOPNOTSUPP)


def _get_attribute(kernel: Subsystems, call: Call, device: Device) -> int:
    _attribute(kernel, call)
    raise _error(errno.ENODATA)


def _set_attribute(kernel: Subsystems, call: Call, device: Device) -> int:
    """Refuse to store an attribute: user attributes are for files and directories only."""
    if call.args[4] & UINT_MAX & ~3:
        raise _error(errno.EINVAL)
    if call.args[3] > _SIZE_MAX:
        raise _error(errno.E2BIG)
    call.read_user(call.args[2], call.args[3])
    kind = _attribute(kernel, call)
    is_user = kind == "user." and _is_in_sysfs(device)  # which has none of those
    raise _error(errno.EOPNOTSUPP if is_user else errno.EPERM)


def _remove_attribute(kernel: Subsystems, call: Call, device: Device) -> int:
    kind = _attribute(kernel, call)
    stored = kind != "user." and owns(device, call.tid)
    raise _error(errno.ENODATA if stored else errno.EPERM)


HANDLERS: dict[str, Handler] = {
    "chmod": _by_path(_chmod(1)),
    "fchmod": _by_descriptor(_chmod(1)),
    "fchmodat": _by_path(_chmod(2)),
    "fchmodat2": _by_path(_chmod(2)),
    "chown": _by_path(_chown(1)),
    "lchown": _by_path(_chown(1)),
    "fchown": _by_descriptor(_chown(1)),
    "fchownat": _by_path(_chown(2)),
    "utimensat": _do_utimensat,
    "utime": _by_path(_set_times(1)),
    "utimes": _by_path(_set_times(1)),
    "futimesat": _by_path(_set_times(2)),
    "getxattr": _by_path(_get_attribute),
    "lgetxattr": _by_path(_get_attribute),
    "fgetxattr": _by_descriptor(_get_attribute),
    "setxattr": _by_path(_set_attribute),
    "lsetxattr": _by_path(_set_attribute),
    "fsetxattr": _by_descriptor(_set_attribute),
    "removexattr": _by_path(_remove_attribute),
    "lremovexattr": _by_path(_remove_attribute),
    "fremovexattr": _by_descriptor(_remove_attribute),
}
