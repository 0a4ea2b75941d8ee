"""`Lookups` looks at files that clients mean, without waiting for who serves the file system.

A FUSE file system is served by a program, which may be a client itself and wait for the host; one
of the network is served by another machine. The host's thread must wait for neither: all clients
would wait with it, and a thread that waits for a FUSE server can't even be killed. So where such a
file system is mounted, a link is read from what the kernel has at hand, and if that is not enough,
or more is wanted, a program of ours (`look`) looks at the file: `LookedUpElsewhere` is raised, the
call stays unanswered, and is handled once more when the answer is known. Used in the host's thread.

Fidelity: a call that waits so is ended by a signal that kills, not by one that is handled.
Source: fs/namei.c (LOOKUP_CACHED)
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import re
import select
import stat
import subprocess
import sys
from collections.abc import Callable

from mapdev.host.embedded.files import look
from mapdev.host.embedded.files.look import ANSWER, FUNCTIONS, REQUEST
from mapdev.host.embedded.libc import file_status, openat2
from mapdev.host.embedded.watcher import Watcher
from mapdev.host.numbers import AT_FDCWD, RESOLVE_CACHED

__all__ = ["LookedUpElsewhere", "Lookups"]

_SERVED = re.compile(r"fuse(blk|\..*)?|nfs4?|cifs|smb3|9p|ceph|afs|coda|orangefs|lustre|gfs2|ocfs2")
_START = re.compile(r"(/proc/\d+/(?:cwd|root|fd/\d+))/+(.*)", re.DOTALL)
_CHANGED = select.POLLPRI | select.POLLERR
_MANY = 256  # files that the program looks at at a time, a thread for each
_PATIENCE = 1.0  # seconds
_NAMESPACES = 16  # whose mounts are kept

Result = str | os.stat_result | OSError | ValueError
Function = Callable[[str], str | os.stat_result]


class LookedUpElsewhere(Exception):  # noqa: N818 - an event, not an error
    """A file that another program must look at: the call is to be handled again then."""

    def __init__(self, tid: int, function: Function, path: str) -> None:
        super().__init__(path)
        self.tid = tid
        self.wanted = function, path


class _Mounts:
    """The mounts of a namespace, read again when they have changed.

    :ivar served: the device numbers of those that are served by others.
    """

    def __init__(self, process: str) -> None:
        self._fd = os.open(f"/proc/{process}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poller = select.poll()
        self._poller.register(self._fd, select.POLLPRI)
        self.served: frozenset[int] = frozenset()
        self.read()

    def fileno(self) -> int:
        return self._fd

    def read(self) -> None:
        """Read all mounts."""
        text, piece = b"", b"x"
        while piece:
            piece = os.pread(self._fd, 1 << 16, len(text))
            text += piece
        found = set()
        for line in text.decode(errors="replace").splitlines():
            fields, _, rest = line.partition(" - ")
            if _SERVED.fullmatch(rest.partition(" ")[0]):
                major, _, minor = fields.split(" ")[2].partition(":")
                found.add(os.makedev(int(major), int(minor)))
        self.served = frozenset(found)

    def refresh(self) -> frozenset[int]:
        """Return `served` as it is now."""
        if any(event & _CHANGED for _, event in self._poller.poll(0)):
            self.read()
        return self.served

    def close(self) -> None:
        os.close(self._fd)


class Lookups:
    """Looks at files for calls of clients.

    :param watcher: tells of mounts.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        # By thread, while its call is handled.
        self._known: dict[int, dict[tuple[Function, str], Result]] = {}
        self._pending: dict[int, tuple[LookedUpElsewhere, Callable[[], None]]] = {}
        self._program: subprocess.Popen[bytes] | None = None
        self._answers = bytearray()
        self._of_others: dict[int, _Mounts] = {}
        self._own: _Mounts | None = None
        with contextlib.suppress(OSError):  # no /proc
            self._own = _Mounts("self")
            watcher.register(self._own.fileno(), select.EPOLLPRI, self._mounts_changed)

    @property
    def may_wait(self) -> bool:
        """Whether a link may lie in a file system that somebody else serves."""
        return self._own is not None and bool(self._own.served)

    def _mounts_changed(self, event: int) -> None:
        if self._own is not None:
            self._own.read()  # poll, in `refresh`, reports no change that epoll has reported

    def close(self) -> None:
        """Watch no mounts any more; calls that still wait get EIO for their file."""
        self._end_program()
        if self._own is not None:
            self._watcher.unwatch(self._own.fileno())
            self._own.close()
            self._own = None
        while self._of_others:
            self._of_others.popitem()[1].close()

    def readlink(self, tid: int, path: str, other_namespace: bool = False) -> str:
        """Return the target of the link at `path`, which is one of ours to reach a client's.

        :param other_namespace: the client may have mounts of its own.
        :raises OSError: as readlink(2).
        :raises LookedUpElsewhere: it has to be read by `start`.
        """
        found = self.look(tid, os.readlink, path, other_namespace)
        assert isinstance(found, str)
        return found

    def look(
        self, tid: int, function: Function, path: str, other_namespace: bool = False
    ) -> str | os.stat_result:
        """Return what one of `look.FUNCTIONS` says of `path`; see `readlink`."""
        served = self._served(tid, other_namespace)
        if not served:
            return function(path)
        known = self._known.get(tid, {}).get((function, path))
        if known is None and function is os.readlink:
            known = self._at_hand(path, served)
        if known is None:
            if len(self._pending) >= _MANY:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
            raise LookedUpElsewhere(tid, function, path)
        if isinstance(known, OSError | ValueError):
            raise known
        return known

    def mode(self, path: str) -> int:
        """Return the mode of a file, 0 if there is none or it is not known without waiting."""
        served = self._own is not None and self._own.refresh()
        try:
            if not served:
                return os.stat(path).st_mode
            fd = openat2(AT_FDCWD, os.fsencode(path), os.O_PATH | os.O_CLOEXEC, RESOLVE_CACHED)
        except OSError:
            return 0
        try:
            return file_status(fd).st_mode
        finally:
            os.close(fd)

    def _served(self, tid: int, other_namespace: bool) -> frozenset[int]:
        if self._own is None:
            return frozenset()
        if other_namespace:
            try:
                number = os.stat(f"/proc/{tid}/ns/mnt").st_ino
                if number != os.stat("/proc/self/ns/mnt").st_ino:
                    return self._mounts_of(number, tid).refresh()
            except OSError:
                pass  # it is about to end, or another user's
        return self._own.refresh()

    def _mounts_of(self, namespace: int, tid: int) -> _Mounts:
        found = self._of_others.pop(namespace, None) or _Mounts(str(tid))
        self._of_others[namespace] = found  # the last that was used is the last
        if len(self._of_others) > _NAMESPACES:
            self._of_others.pop(next(iter(self._of_others))).close()
        return found

    def _at_hand(self, path: str, served: frozenset[int]) -> Result | None:
        """Return what readlink(2) says, or None if that is not known without asking a server."""
        match = _START.fullmatch(path)
        start, rest = (match[1], match[2]) if match else ("", path)
        directory = AT_FDCWD
        try:
            if start:
                directory = os.open(start, os.O_PATH | os.O_CLOEXEC)
            fd = openat2(
                directory, os.fsencode(rest), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC,
                RESOLVE_CACHED,
            )  # fmt: skip
        except OSError as error:
            return None if error.errno == errno.EAGAIN else error
        finally:
            if directory != AT_FDCWD:
                os.close(directory)
        try:
            status = file_status(fd)
            if not stat.S_ISLNK(status.st_mode):
                return OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
            return None if status.st_dev in served else os.readlink("", dir_fd=fd)
        except OSError as error:
            return error
        finally:
            os.close(fd)

    def start(self, wanted: LookedUpElsewhere, again: Callable[[], None]) -> None:
        """Have a file looked at by the program that may wait.

        :param again: handles the call once more, when that is known.
        """
        self._pending[wanted.tid] = wanted, again
        function, name = wanted.wanted
        path = os.fsencode(name)
        request = REQUEST.pack(wanted.tid, FUNCTIONS.index(function), len(path)) + path
        try:
            if self._program is None:
                self._program = _run_program()
                self._watcher.watch(_output_of(self._program), self._answered)
            assert self._program.stdin is not None
            self._program.stdin.write(request)
        except OSError as error:  # it can't be run, or was killed
            self._found(wanted.tid, error)

    def _answered(self) -> None:
        assert self._program is not None
        piece = os.read(_output_of(self._program), 1 << 16)
        if not piece:
            self._end_program()
            return
        self._answers += piece
        while len(self._answers) >= ANSWER.size:
            tid, size = ANSWER.unpack_from(self._answers)
            end = ANSWER.size + size
            if len(self._answers) < end:
                return
            result = pickle.loads(self._answers[ANSWER.size : end])
            del self._answers[:end]
            self._found(tid, result)

    def _end_program(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            self._watcher.unwatch(_output_of(program))
            program.kill()
            for pipe in (program.stdin, program.stdout):
                if pipe is not None:
                    pipe.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                program.wait(_PATIENCE)  # a thread of it that waits for a server can't be killed
        self._answers.clear()
        for tid in tuple(self._pending):
            self._found(tid, OSError(errno.EIO, os.strerror(errno.EIO)))

    def _found(self, tid: int, result: Result) -> None:
        if tid not in self._pending:
            return
        looked, again = self._pending.pop(tid)
        self._known.setdefault(tid, {})[looked.wanted] = result
        again()
        if tid not in self._pending:
            self._known.pop(tid, None)


def _run_program() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", look.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        bufsize=0, process_group=0,
    )  # fmt: skip


def _output_of(program: subprocess.Popen[bytes]) -> int:
    assert program.stdout is not None
    return program.stdout.fileno()
