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

import os
import select
import socket
import struct

from mapdev.host.embedded.arch import ARCH, NUMBER_OF
from mapdev.host.embedded.inject import StoppedThread, marked
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.loan import HELPERS_CALL, add_descriptor, call_of, stopped_helper
from mapdev.host.embedded.processes import tgid_of
from mapdev.host.embedded.syscalls import PAGE_SIZE, write_memory
from mapdev.host.embedded.tracee import ClientGone, NotStoppable, Tracee
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
_PATIENCE = 0.1  # seconds between two looks what has become of the agent

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
        self._held: Tracee | None = None

    def run(self, requests: list[Request]) -> list[int]:
        """Have calls made one after another and return their results.

        :raises OSError: the errno of the first that failed; those after it were not made.
        :raises ClientGone: the client is gone, or about to go.
        """
        results: list[int] = []
        try:
            for at in range(0, len(requests), _AT_ONCE):
                part = requests[at : at + _AT_ONCE]
                self._send(part)
                results += self._receive(part)
        finally:
            self._let_go()
        return results

    def lend(self, description: int) -> int:
        """Put a copy of our descriptor into the agent's table and return its number there.

        :raises OSError: EMFILE the client's limit leaves no number.
        :raises ClientGone: as above.
        """
        request: list[Request] = [(HELPERS_CALL, (), None)]
        try:
            self._send(request, unmarked=True)
            call = call_of(self._kernel, self.tid, self._keep_running)
            try:
                return add_descriptor(call, description, None)
            finally:
                call.answer(0)
                self._receive(request)
        finally:
            self._let_go()

    def take_back(self, number: int) -> None:
        """Close a descriptor that was lent."""
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

    def _receive(self, requests: list[Request]) -> list[int]:
        self._wait()
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

    def _wait(self) -> None:
        while not self._poll(select.POLLIN, _PATIENCE):
            self._keep_running()

    def _poll(self, events: int, timeout: float) -> bool:
        poller = select.poll()
        poller.register(self.tie, events)  # a hang-up is always reported
        return bool(poller.poll(timeout * 1000))

    def _keep_running(self) -> None:
        """Let the agent go on although its process was stopped; nobody shall wait for that one."""
        if self._held is not None:
            self._held.keep_running()
            return
        if self._poll(0, 0):
            raise ClientGone
        agent = Tracee(self.tid)
        try:
            agent.seize()
        except NotStoppable:
            text = "is held by a debugger in the middle of a page fault; all others wait for it"
            self._kernel.say_of("held", tgid_of(self.tid), text)
        else:
            self._held = agent

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None and not held.gone:
            held.let_go()


def start_agent(kernel: Kernel, thread: StoppedThread, page: int = 0) -> Agent:
    """Start an agent in the process of the stopped `thread`.

    :param page: the memory of the agent that the process's parent had, of which it has a copy.
    :raises OSError: EAGAIN the client may have no more threads, ENOMEM no more memory.
    :raises ClientGone: it was killed.
    """
    page = page or _make_pages(kernel, thread)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        helper, _ = stopped_helper(
            kernel, thread, lambda call: add_descriptor(call, theirs.fileno(), _TIE)
        )
        try:
            helper.syscall("close_range", _TIE + 1, 0xFFFFFFFF, 0)
        except OSError:
            helper.leave()
            raise
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
