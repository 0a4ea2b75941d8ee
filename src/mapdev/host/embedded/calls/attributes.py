"""Calls that set mode, owner and times of a node, or read and set extended attributes of it.

Mode, owner and times last as long as the node. It is up to them who may open it from then on.

Source: fs/open.c, fs/attr.c, fs/utimes.c, fs/xattr.c
Fidelity: attributes of the trusted and security kinds can't be stored (EPERM).
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from collections.abc import Callable

from mapdev.host.core.device import Device
from mapdev.host.embedded.calls.meaning import find_checked
from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Result
from mapdev.host.embedded.files.node import W_OK, may_access, owns
from mapdev.host.embedded.processes import groups, has_capability
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.host.embedded.syscalls.table import BY_NUMBER
from mapdev.host.numbers import (
    AT_EMPTY_PATH,
    AT_SYMLINK_NOFOLLOW,
    CAP_CHOWN,
    CAP_FSETID,
    CAP_SYS_ADMIN,
    UINT_MAX,
)

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


def _is_real(device: Device) -> bool:
    """Say whether it is a real file, which the kernel can't reach: that is left as it is."""
    return isinstance(device.inode.i_private, os.stat_result)


def _chmod(mode: int) -> Change:
    """Set the mode at argument `mode`.

    Source: fs/attr.c (setattr_prepare, setattr_copy)
    """

    def change(kernel: Subsystems, call: Call, device: Device) -> int:
        if _is_real(device) or not owns(device, call.tid):
            raise _error(errno.EPERM)
        inode, bits = device.inode, call.args[mode] & _MODE_BITS
        if bits & stat.S_ISGID and not (
            inode.i_gid in groups(call.tid) or has_capability(call.tid, CAP_FSETID)
        ):
            bits &= ~stat.S_ISGID
        inode.i_mode = inode.i_mode & ~_MODE_BITS | bits
        _touch(device)
        return 0

    return change


def _chown(owner: int) -> Change:
    """Set owner and group, at argument `owner` and the next.

    Source: fs/open.c (chown_common), fs/attr.c (chown_ok, chgrp_ok)
    """

    def change(kernel: Subsystems, call: Call, device: Device) -> int:
        uid, gid = (number & UINT_MAX for number in call.args[owner : owner + 2])
        inode, tid = device.inode, call.tid
        is_owner = os.stat(f"/proc/{tid}").st_uid == inode.i_uid
        may_set_uid = uid == UINT_MAX or (is_owner and uid == inode.i_uid)
        may_set_gid = gid == UINT_MAX or (is_owner and (gid == inode.i_gid or gid in groups(tid)))
        may_set = may_set_uid and may_set_gid
        if _is_real(device) or not (may_set or has_capability(tid, CAP_CHOWN)):
            raise _error(errno.EPERM)
        inode.i_uid = inode.i_uid if uid == UINT_MAX else uid
        inode.i_gid = inode.i_gid if gid == UINT_MAX else gid
        if not stat.S_ISDIR(inode.i_mode):
            both = stat.S_ISGID | stat.S_IXGRP
            gone = stat.S_ISGID if inode.i_mode & both == both else 0
            inode.i_mode &= ~(stat.S_ISUID | gone)
        _touch(device)
        return 0

    return change


def _touch(device: Device) -> None:
    """Note that mode, owner or times were set now."""
    device.times = (*device.times[:2], time.time_ns())


def _set_times(times: int) -> Change:
    """Set the times at argument `times`, if the caller may."""

    def change(kernel: Subsystems, call: Call, device: Device) -> int:
        name, address = BY_NUMBER[call.nr].name, call.args[times]
        now = time.time_ns()
        parts = [_NOW, _NOW]
        seconds = [0, 0]
        if address:
            layout = _TIMES[name]
            numbers = layout.unpack(call.read_user(address, layout.size))
            if name == "utime":
                seconds, parts = list(numbers), [0, 0]
            else:
                seconds, parts = list(numbers[::2]), list(numbers[1::2])
        if name == "utimensat":
            if not all(0 <= part < _SECOND or part in (_NOW, _OMIT) for part in parts):
                raise _error(errno.EINVAL)
        elif address and name != "utime":
            if not all(0 <= part < 1_000_000 for part in parts):
                raise _error(errno.EINVAL)
            parts = [part * 1000 for part in parts]
        if parts == [_OMIT, _OMIT]:
            return 0
        may = owns(device, call.tid) and not _is_real(device)
        if parts == [_NOW, _NOW]:
            if not (may or may_access(device, call.tid, W_OK)):
                raise _error(errno.EACCES)
        elif not may:
            raise _error(errno.EPERM)
        values = (
            old if part == _OMIT else now if part == _NOW else second * _SECOND + part
            for old, second, part in zip(device.times, seconds, parts, strict=False)
        )
        accessed, modified = values
        device.times = accessed, modified, now
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
