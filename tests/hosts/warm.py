"""Python clients that are forked, not started: in a virtual machine that saves seconds for each.

A `WarmPython` is an interpreter that has imported what clients need and forks one for each request.
The fork is orphaned at once, and this process has said that it adopts orphans, so that it can be
waited for here like a program that was started here. Good for hosts that serve all programs; the
embedded host serves only what it starts itself.

Objects: a `WarmClient` is used like `subprocess.Popen`.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any

_PR_SET_CHILD_SUBREAPER = 36
_MOST = 1 << 20  # bytes of a request

# Runs after the prelude; what follows the loop is the client.
_SERVER = f"""
import json, socket
def serve(channel):
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, {_MOST}, 3)
        if not data:
            os._exit(0)
        first = os.fork()
        if not first:
            second = os.fork()
            if second:
                channel.send(str(second).encode())
                os._exit(0)
            channel.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return json.loads(data)
        os.waitpid(first, 0)
        for descriptor in descriptors:
            os.close(descriptor)
request = serve(socket.socket(fileno=int(sys.argv[1])))
sys.argv[1:] = request['args']
code = compile(request['code'], '<string>', 'exec')
del serve, json, socket, request
exec(code)
"""


class WarmPython:
    """An interpreter that forks clients.

    :param prelude: what each client finds done.
    """

    def __init__(self, prelude: str) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        number = theirs.fileno()
        command = [sys.executable, "-S", "-c", prelude + _SERVER, str(number)]
        self._process = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.DEVNULL)
        theirs.close()
        self._channel = ours

    def start(self, code: str, args: Sequence[str] = (), errors: bool = False) -> WarmClient:
        """Run code as a client; its error output is kept if `errors` is set."""
        pipes = [os.pipe(), os.pipe(), os.pipe() if errors else (-1, os.dup(2))]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        request = json.dumps({"code": code, "args": [*args]}).encode()
        socket.send_fds(self._channel, [request], theirs)
        pid = int(self._channel.recv(100))
        for descriptor in theirs:
            os.close(descriptor)
        return WarmClient(pid, pipes[0][1], pipes[1][0], pipes[2][0])

    def close(self) -> None:
        """End the interpreter."""
        self._channel.close()
        self._process.wait(30)


class WarmClient:
    """A client: the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: IO[str] = os.fdopen(stdin, "w")
        self.stdout: IO[str] = os.fdopen(stdout)
        self.stderr: IO[str] | None = os.fdopen(stderr) if stderr >= 0 else None
        self._pidfd = os.pidfd_open(pid)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the end has been seen."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, or the signal's number with a minus."""
        if self.returncode is None:
            poller = select.poll()
            poller.register(self._pidfd, select.POLLIN)
            if not poller.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("a client", timeout or 0)
            os.close(self._pidfd)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def communicate(self, text: str | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write `text`, if any, to its standard input, and return what it prints until it ends."""
        if text is not None:
            self.stdin.write(text)
        self.stdin.close()
        read: dict[IO[str], str] = {}
        streams = [self.stdout, self.stderr] if self.stderr is not None else [self.stdout]
        threads = [
            threading.Thread(target=lambda s=stream: read.update({s: s.read()}), daemon=True)
            for stream in streams
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired("a client", timeout or 0)
        self.wait(timeout)
        return tuple(read[stream] if stream else None for stream in (self.stdout, self.stderr))

    def close(self) -> None:
        """Kill it, if it lives, and close its streams."""
        self.kill()
        self.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
