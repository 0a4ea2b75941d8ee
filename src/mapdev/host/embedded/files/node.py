"""Answers stat, statx and permission checks on a device's node."""

from __future__ import annotations

import os
import stat
import struct

from mapdev.host.core.device import Device
from mapdev.host.embedded.arch import ARCH
from mapdev.host.embedded.processes import has_capability
from mapdev.host.numbers import CAP_FOWNER
from mapdev.linux.fs import imajor, iminor
from mapdev.linux.kernfs import KernfsNode

R_OK, W_OK, X_OK = 4, 2, 1
_STATX = struct.Struct("<IIQIIIHHQQQQ" + "qIi" * 4 + "IIII")
_STATX_SIZE = 256
_STATX_BASIC_STATS = 0x7FF
_BLOCK_SIZE = 4096


def filesystem(path: str = "/dev/") -> int:
    """Return the number of the device that the file system of `path` is on, as in st_dev."""
    try:
        return os.stat(path[: path.index("/", 1)]).st_dev
    except (OSError, ValueError):
        return os.stat("/").st_dev


def _size_and_links(device: Device) -> tuple[int, int]:
    """Return st_size and st_nlink: a directory counts those in it (fs/kernfs/inode.c)."""
    node = device.inode.i_private
    if isinstance(node, KernfsNode):
        if node.is_directory:
            return 0, 2 + sum(child.is_directory for child in node.children.values())
        if node.is_link:  # sysfs has no size for links
            in_sysfs = isinstance(node.target, KernfsNode)
            return 0 if in_sysfs else len(os.fsencode(node.link_text())), 1
        return device.inode.i_size, 1
    return 0, 1


def _filesystem_of(device: Device) -> int:
    return filesystem() if device.is_character_device else filesystem(f"{device.node}/")


def pack_stat(device: Device) -> bytes:
    """Return the node's ``struct stat``, in this architecture's layout."""
    inode = device.inode
    if isinstance(inode.i_private, os.stat_result):
        return _pack_real(inode.i_private)
    size, links = _size_and_links(device)
    packed: bytes = ARCH.pack_stat(
        _filesystem_of(device), inode.i_ino, inode.i_mode, inode.i_uid, inode.i_gid,
        os.makedev(imajor(inode), iminor(inode)), device.times,
        size, links,
    )  # fmt: skip
    return packed


def _pack_real(status: os.stat_result) -> bytes:
    packed: bytes = ARCH.pack_stat(
        status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_rdev,
        (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns), status.st_size,
        status.st_nlink,
    )  # fmt: skip
    return packed


def pack_statx(device: Device) -> bytes:
    """Return the node's ``struct statx``, the basic fields filled in."""
    inode = device.inode
    accessed, modified, changed = ((*divmod(ns, 1_000_000_000), 0) for ns in device.times)
    status = inode.i_private
    if isinstance(status, os.stat_result):
        dev, size, links = status.st_dev, status.st_size, status.st_nlink
    else:
        dev = _filesystem_of(device)
        size, links = _size_and_links(device)
    packed = _STATX.pack(
        _STATX_BASIC_STATS, _BLOCK_SIZE, 0, links, inode.i_uid, inode.i_gid, inode.i_mode, 0,
        inode.i_ino, size, 0, 0, *accessed, *(0, 0, 0), *changed, *modified, imajor(inode),
        iminor(inode), os.major(dev), os.minor(dev),
    )  # fmt: skip
    return packed.ljust(_STATX_SIZE, b"\0")


def may_access(device: Device, tid: int, wanted: int) -> bool:
    """Say whether thread `tid` may use the node as `wanted` (``R_OK``, ``W_OK``, ``X_OK``) asks.

    Source: fs/namei.c (generic_permission)
    """
    mode = device.inode.i_mode
    if wanted & X_OK and not mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
        return False
    if mode & 0o6 & wanted == wanted & 0o6:
        return True
    who = os.stat(f"/proc/{tid}")  # owned by the thread's effective user and group
    if who.st_uid == 0:
        return True
    if who.st_uid == device.inode.i_uid:
        mode >>= 6
    elif who.st_gid == device.inode.i_gid:
        mode >>= 3
    return mode & wanted & 0o7 == wanted


def owns(device: Device, tid: int) -> bool:
    """Say whether thread `tid` owns the node, or may do what its owner may.

    Source: fs/inode.c (inode_owner_or_capable)
    """
    who = os.stat(f"/proc/{tid}").st_uid
    return who == device.inode.i_uid or has_capability(tid, CAP_FOWNER)
