"""`Connection` speaks the FUSE protocol for files that can be polled and closed, and nothing else.

Requests that are answered: a look-up and an open by the host's own thread (`opener`); POLL, each
time that poll, select or epoll asks a file; FLUSH, at each close of a descriptor, unless the file
was opened without; RELEASE, when the last descriptor is gone.

Source: include/uapi/linux/fuse.h, fs/fuse/{dev,file,dir}.c
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
from typing import NamedTuple

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, STATFS = 1, 2, 3, 4, 14, 17
RELEASE, FLUSH, INIT = 18, 25, 26
INTERRUPT, DESTROY, POLL, BATCH_FORGET = 36, 38, 40, 42
_NO_REPLY = (FORGET, INTERRUPT, BATCH_FORGET)
_NOTIFY_POLL = 1
FOPEN_DIRECT_IO, FOPEN_NONSEEKABLE, FOPEN_NOFLUSH = 1 << 0, 1 << 2, 1 << 5
POLL_SCHEDULE_NOTIFY = 1

ROOT = 1  # its number as a node
_MAJOR, _MINOR = 7, 35  # the version that we speak: the first with FOPEN_NOFLUSH, Linux 5.16
_SIZE = 1 << 14  # bytes, more than any request has
_FOR_EVER = 1 << 40  # seconds
_MANY = 0xFFFF  # requests that nobody waits for

_IN = struct.Struct("<IIQQIIII")  # struct fuse_in_header
_OUT = struct.Struct("<IiQ")  # struct fuse_out_header
_VERSION = struct.Struct("<2I")
_INIT_OUT = struct.Struct("<4IHHII36x")
_ATTR = struct.Struct("<Q52x4I4xI4x")  # struct fuse_attr: ino, mode, nlink, uid, gid, blksize
_ENTRY = struct.Struct("<4Q8x")  # struct fuse_entry_out without its attributes
_ATTR_OUT = struct.Struct("<Q8x")
_STATFS_OUT = struct.Struct("<40x3I28x")  # struct fuse_kstatfs: bsize, namelen, frsize
_OPEN_OUT = struct.Struct("<QI4x")
_POLL_IN = struct.Struct("<QQII")
_POLL_OUT = struct.Struct("<I4x")
_FH = struct.Struct("<Q")


class Request(NamedTuple):
    """One request of the kernel.

    :ivar id: names it in its reply.
    :ivar node: the number of the file that it is about.
    :ivar tid: the thread that it comes from; 0 if nobody waits for it.
    """

    operation: int
    id: int
    node: int
    tid: int
    body: bytes

    def poll(self) -> tuple[int, int, int]:
        """Return the kernel's name for the open file, flags, and the events wanted, of a POLL."""
        _, handle, flags, events = _POLL_IN.unpack_from(self.body)
        return handle, flags, events


class Connection:
    """One FUSE mount, from our side.

    :param fd: of /dev/fuse, non-blocking; ours from now on.
    :param root: of the root directory; ours too.
    :raises OSError: EOPNOTSUPP the kernel is too old.
    """

    def __init__(self, fd: int, root: int) -> None:
        self.fd = fd
        self.root = root
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        poller.poll(1000)  # it was sent when the mount was made
        request = self.read()
        if request is None or request.operation != INIT:
            raise OSError(errno.EIO, "FUSE does not begin")
        if _VERSION.unpack_from(request.body) < (_MAJOR, _MINOR):
            raise OSError(errno.EOPNOTSUPP, "this FUSE is too old")
        self.reply(request, 0, _INIT_OUT.pack(_MAJOR, _MINOR, 0, 0, _MANY, _MANY, 4096, 1))

    def read(self) -> Request | None:
        """Return the next request, None if there is none."""
        while True:
            try:
                data = os.read(self.fd, _SIZE)
            except (FileNotFoundError, InterruptedError):
                continue  # of a thread that was killed
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno == errno.ENODEV:  # the connection was aborted
                    return None
                raise
            _, operation, number, node, _, _, tid, _ = _IN.unpack_from(data)
            return Request(operation, number, node, tid, data[_IN.size :])

    def reply(self, request: Request, error: int = 0, data: bytes = b"") -> None:
        """Answer `request`, with `data` or a positive errno; not all are to be answered."""
        if request.operation not in _NO_REPLY:
            self._write(_OUT.pack(_OUT.size + len(data), -error, request.id) + data)

    def reply_poll(self, request: Request, mask: int) -> None:
        """Answer a POLL with ``EPOLL*`` bits."""
        self.reply(request, 0, _POLL_OUT.pack(mask))

    def reply_entry(self, request: Request, node: int) -> None:
        """Answer a LOOKUP: the name is that of regular file `node`, for ever."""
        entry = _ENTRY.pack(node, 0, _FOR_EVER, _FOR_EVER) + _attributes(node, stat.S_IFREG)
        self.reply(request, 0, entry)

    def reply_attributes(self, request: Request) -> None:
        """Answer a GETATTR, or a SETATTR, which changes nothing."""
        kind = stat.S_IFDIR if request.node == ROOT else stat.S_IFREG
        self.reply(request, 0, _ATTR_OUT.pack(_FOR_EVER) + _attributes(request.node, kind))

    def reply_statfs(self, request: Request) -> None:
        """Answer a STATFS: an empty file system, whose names may be as long as usual."""
        self.reply(request, 0, _STATFS_OUT.pack(4096, 255, 4096))

    def reply_open(self, request: Request, flush: bool) -> None:
        """Answer an OPEN.

        :param flush: each close of a descriptor shall be a FLUSH.
        """
        flags = FOPEN_DIRECT_IO | FOPEN_NONSEEKABLE | (0 if flush else FOPEN_NOFLUSH)
        self.reply(request, 0, _OPEN_OUT.pack(request.node, flags))

    def notify_poll(self, handle: int) -> None:
        """Wake up who polls an open file, by the number that its POLL gave."""
        self._write(_OUT.pack(_OUT.size + _FH.size, _NOTIFY_POLL, 0) + _FH.pack(handle))

    def _write(self, message: bytes) -> None:
        try:
            os.write(self.fd, message)
        except OSError as error:
            # ENOENT: nobody waits for it any more.
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENOTCONN):
                raise

    def close(self) -> None:
        """End it: clients' polls of its files say POLLERR from now on."""
        os.close(self.root)
        os.close(self.fd)


def _attributes(node: int, kind: int) -> bytes:
    # The owner must be known in our user namespace, or nobody may open it for writing.
    return _ATTR.pack(node, kind | 0o700, 1, os.getuid(), os.getgid(), 4096)
