"""`ControlSocket` answers `mapdev frames`, `mapdev watch` and the like about a running host.

A stream socket of the host's user alone (mode 0600; others are turned away by their credentials
too), see `place`. A request is one line of JSON, and so is each line of the answer:

- ``{"ask": "describe"}``: one line, as `snapshot.describe` gives it
- ``{"ask": "frames"}``: one line, as `snapshot.frames` gives it
- ``{"ask": "watch"}``: ``{"number": N, "snapshot": {...}}``, then an event a line until the host
  or the connection ends; the snapshot shows the host as it was after event N
- anything else, or a host that is busy for long: ``{"error": "..."}``

Objects: a thread that accepts connections, and one for each connection. The recorder lives from the
first watcher to the last. Locks: the host's, for what is read of the host and for `_watchers`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from mapdev.host import place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mapdev.host.core.events import Recorder
    from mapdev.host.core.host import Host

__all__ = ["ControlSocket"]

_PATIENCE = 5.0  # seconds that a driver's operation may keep an answer waiting
_LOOK = 0.05  # seconds between two looks for new events
_LONGEST = 4096  # bytes of a request


class ControlSocket:
    """Answers questions about `host` until `close`.

    :param host: whose lock is taken for each answer.
    :ivar name: what `mapdev watch` calls the host; "" if there is no socket.
    """

    def __init__(self, host: Host) -> None:
        self.name = ""
        self._host = host
        self._socket: socket.socket | None = None
        self._path = ""
        self._ended = threading.Event()
        self._recorder: Recorder | None = None
        self._watchers = 0
        self._threads: list[threading.Thread] = []

    def listen(self) -> None:
        """Make the socket, and serve it from now on.

        :raises OSError: there is no place for it.
        """
        directory = place.directory(make=True)
        for number in range(1, 100):
            name = str(os.getpid()) if number == 1 else f"{os.getpid()}.{number}"
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            path = f"{directory}/{name}{place.SUFFIX}"
            try:
                listener.bind(path)  # in a directory of mode 0700: nobody else comes before chmod
                os.chmod(path, 0o600)  # noqa: PTH101 - pathlib takes long to import
                listener.listen(8)
            except OSError:
                listener.close()
                if not _forget_stale(path):
                    continue
                return self.listen()
            self.name, self._path, self._socket = name, path, listener
            threading.Thread(target=self._accept, name="mapdev control", daemon=True).start()
            return None
        raise OSError(f"too many hosts in {directory}")

    def _accept(self) -> None:
        assert self._socket is not None
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            thread = threading.Thread(
                target=self._serve, args=(connection,), name="mapdev watcher", daemon=True
            )
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        import json

        with connection, contextlib.suppress(OSError):  # it hung up
            if not _is_allowed(connection):
                return
            connection.settimeout(_PATIENCE)
            try:
                ask = json.loads(connection.makefile("rb").readline(_LONGEST))["ask"]
                answers = {"describe": self._describe, "frames": self._frames}
                if ask == "watch":
                    self._watch(connection)
                    return
                answer = answers[ask]()
            except TimeoutError as error:
                answer = {"error": str(error)}
            except (ValueError, KeyError, TypeError):
                answer = {"error": "no such request"}
            connection.sendall(json.dumps(answer).encode() + b"\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the host's lock.

        :raises TimeoutError: a driver's operation keeps it.
        """
        if not self._host.lock.acquire(timeout=_PATIENCE):
            raise TimeoutError("the host is busy: an operation of a driver takes long")
        try:
            yield
        finally:
            self._host.lock.release()

    def _describe(self) -> Any:
        from mapdev.host.core.snapshot import describe

        with self._locked():
            return describe(self._host)

    def _frames(self) -> Any:
        from mapdev.host.core.snapshot import frames

        with self._locked():
            return frames(self._host)

    # --- watching ---------------------------------------------------------------------------

    def begin(self) -> tuple[Recorder, int, Any]:
        """Begin to watch: return the recorder, the number of its last event, and a snapshot.

        :raises TimeoutError: a driver's operation keeps the host's lock.
        """
        from mapdev.host.core.events import Recorder
        from mapdev.host.core.snapshot import describe

        with self._locked():
            if self._recorder is None:
                self._recorder = Recorder(self._host)
                self._recorder.attach()
            self._watchers += 1
            return self._recorder, self._recorder.last, describe(self._host)

    def end(self) -> None:
        """End one `begin`; the last one leaves the host as it was."""
        with self._host.lock:
            self._watchers -= 1
            if not self._watchers and self._recorder is not None:
                self._recorder.detach()
                self._recorder = None

    def _watch(self, connection: socket.socket) -> None:
        import json

        recorder, number, snapshot = self.begin()
        try:
            connection.settimeout(None)  # who pauses is waited for: the recorder forgets, not we
            head = {"number": number, "snapshot": snapshot}
            connection.sendall(json.dumps(head).encode() + b"\n")
            is_last = False
            while not is_last:
                is_last = self._ended.wait(_LOOK)
                events = recorder.since(number)
                if events:
                    number = events[-1][0]
                    lines = [json.dumps(event) + "\n" for event in events]
                    connection.sendall("".join(lines).encode())
                elif _has_hung_up(connection):
                    return
        finally:
            self.end()

    def close(self) -> None:
        """Send watchers the last events, and take the socket away."""
        self._ended.set()
        if self._socket is None:
            return
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108 - pathlib takes long to import
        for thread in self._threads:
            thread.join(_LOOK * 10)


def _is_allowed(connection: socket.socket) -> bool:
    """Say whether who has connected is our user, or root."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return uid in (0, os.getuid())


def _has_hung_up(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return False


def _forget_stale(path: str) -> bool:
    """Remove the socket of a process that has ended; say whether it was one."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)  # noqa: PTH108
        return True
    except OSError:
        pass
    return False
