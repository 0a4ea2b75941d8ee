"""A thread of ours in a client, which makes system calls there while the client's own threads wait.

Pages that appear when they are touched have to be mapped by somebody in the client, at any moment,
without disturbing the thread that waits for its page. So a client with such areas gets one thread
more, which runs a few instructions of ours (`ARCH.AGENT`): it reads calls from a socket, makes them
and answers with the results. It has a table of descriptors of its own, in which are the socket and
what is lent to it; no code of the client ever runs with them.

Objects: an `Agent` lives until its client's process ends or executes a program, or until `close`.
Used in the host's thread only.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import struct

from mapdev.host.embedded.arch import ARCH, NUMBER_OF
from mapdev.host.embedded.inject import StoppedThread, marked
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.loan import HELPERS_CALL, call_of
from mapdev.host.embedded.processes import tgid_of
from mapdev.host.embedded.syscalls import PAGE_SIZE, write_memory
from mapdev.host.embedded.tracee import ClientGone, Wakeful
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)

_CALL = struct.Struct("<7Q")  # number and six arguments
_MESSAGE = 4096  # bytes, what the agent takes at once; a page is no smaller
_AT_ONCE = _MESSAGE // _CALL.size
_ULONG_MAX = (1 << 64) - 1
_TIE = 0  # the socket's number in the agent's own table
_PATIENCE = 20  # milliseconds between two looks whether the thread was stopped

Request = tuple[str, tuple[int, ...], int | None]
"""A call for an agent: name, arguments, and which argument is a descriptor of the agent's."""


class Agent:
    """The thread, and our end of its socket.

    :ivar tid: its number.
    :ivar page: the two pages of memory that it has: one to work in, one of code.
    """

    def __init__(self, kernel: Kernel, tid: int, page: int, tie: socket.socket) -> None:
        self.tid = tid
        self.page = page
        self.tie = tie
        self._kernel = kernel
        self._mark = kernel.secret << 32
        self._numbers = {_TIE}

    def run(self, requests: list[Request]) -> list[int]:
        """Have calls made one after another and return their results.

        :raises OSError: the errno of the first that failed; those after it were not made.
        :raises ClientGone: the client is gone, or about to go.
        """
        results: list[int] = []
        for at in range(0, len(requests), _AT_ONCE):
            part = requests[at : at + _AT_ONCE]
            self._send(part)
            results += self._receive(part)
        return results

    def lend(self, description: int) -> int:
        """Put a copy of our descriptor into the agent's table and return its number there.

        :raises OSError: EMFILE the client's limit.
        :raises ClientGone: as above.
        """
        number = next(number for number in itertools.count() if number not in self._numbers)
        request: list[Request] = [(HELPERS_CALL, (), None)]
        self._send(request, unmarked=True)
        thread = self._thread()
        call = call_of(self._kernel, thread)
        try:
            call.add_descriptor(description, number, cloexec=True)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise ClientGone from None
            # EBADF: beyond the client's limit, which counts here too
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from None
        finally:
            call.answer(0)
            self._receive(request, thread)
        self._numbers.add(number)
        return number

    def take_back(self, number: int) -> None:
        """Close a descriptor that was lent."""
        self._numbers.discard(number)
        self.run([("close", (number,), None)])

    def close(self) -> None:
        """Let the thread end."""
        self.tie.close()

    def _send(self, requests: list[Request], unmarked: bool = False) -> None:
        mark = 0 if unmarked else self._mark
        message = b"".join(
            _CALL.pack(NUMBER_OF[name], *marked(args, descriptor, mark))
            for name, args, descriptor in requests
        )
        try:
            self.tie.send(message, socket.MSG_NOSIGNAL)
        except OSError:
            raise ClientGone from None

    def _thread(self) -> Wakeful:
        return Wakeful(self.tid, lambda: self._kernel.say_of(
            "stopped", tgid_of(self.tid), "is stopped by a debugger in the middle of a page fault; "
            "all other clients wait for it to be continued or killed"))  # fmt: skip

    def _receive(self, requests: list[Request], thread: Wakeful | None = None) -> list[int]:
        self._wait(thread or self._thread())
        try:
            answer = self.tie.recv(_MESSAGE)
        except OSError:
            answer = b""
        if not answer:
            raise ClientGone
        results = [words[0] for words in _CALL.iter_unpack(answer)]
        if results[-1] > _ULONG_MAX - 4095:
            code = _ULONG_MAX + 1 - results[-1]
            name = requests[len(results) - 1][0]
            raise OSError(code, f"{name} in the client: {os.strerror(code)}")
        return results

    def _wait(self, thread: Wakeful) -> None:
        """Wait for an answer, which must come though the process may be stopped (SIGSTOP)."""
        poller = select.poll()
        poller.register(self.tie, select.POLLIN)
        while not poller.poll(_PATIENCE):
            thread.keep_going()
        thread.let_go()


def start_agent(kernel: Kernel, thread: StoppedThread, page: int = 0) -> Agent:
    """Start an agent in the process of the stopped `thread`.

    :param page: the memory of the agent that the process's parent had, of which it has a copy.
    :raises OSError: EAGAIN the client may have no more threads, ENOMEM no more memory.
    :raises ClientGone: it was killed.
    """
    page = page or _make_pages(kernel, thread)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        call = call_of(kernel, thread.start_helper(HELPERS_CALL))
        helper = kernel.stopped(call)
        try:
            call.add_descriptor(theirs.fileno(), _TIE, cloexec=True)
        except OSError:
            helper.wait_for_death()
            raise ClientGone from None
        helper.stop()
        helper.syscall("close_range", _TIE + 1, 0xFFFFFFFF, 0)
        helper.become_agent(page + PAGE_SIZE, page, _TIE)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Agent(kernel, helper.tid, page, ours)


def _make_pages(kernel: Kernel, thread: StoppedThread) -> int:
    how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    page = thread.syscall("mmap", kernel.window.start, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, how,
                          _ULONG_MAX, 0, descriptor=4)  # fmt: skip
    write_memory(thread.tid, page + PAGE_SIZE, ARCH.AGENT)
    thread.syscall("mprotect", page + PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_EXEC)
    return page
