"""A worker thread in a client makes system calls there while the client's own threads wait.

On a page fault somebody in the client has to map the page, at any moment, without disturbing the
thread that waits for it. So a client with areas that fault gets one thread more, which runs a few
instructions of the host (`ARCH.WORKER`): it reads calls from a socket, makes them and answers with
the results, or, for what was posted, with failures only. It has a table of
descriptors of its own, in which are the socket and what is lent to it; no code of the client ever
runs with them.

Objects: an `Worker` lives until its client's process ends or executes a program, or until `close`.
Used in the host's thread only.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence

from mapdev.host.embedded.arch import ARCH, NUMBER_OF
from mapdev.host.embedded.inject.batch import CALL, CallError, Request, is_error, pack
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.inject.recruit import HELPERS_CALL
from mapdev.host.embedded.inject.thread import StoppedThread, set_to_work
from mapdev.host.embedded.inject.tracee import (
    PTRACE_DETACH,
    PTRACE_INTERRUPT,
    ClientGone,
    NotStoppable,
    Tracee,
    Wakeful,
)
from mapdev.host.embedded.libc import write_memory
from mapdev.host.embedded.processes import tgid_of
from mapdev.host.numbers import MADV_DONTDUMP, ULONG_MAX
from mapdev.linux.numbers import (
    MAP_ANONYMOUS,
    MAP_FIXED_NOREPLACE,
    MAP_PRIVATE,
    PAGE_SIZE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
)

_MESSAGE = 4096  # bytes, what the worker takes at once; a page is no smaller
_AT_ONCE = _MESSAGE // CALL.size * CALL.size
_SOCKET = 0  # the socket's number in the worker's own table
_AT_ONCE_OR_NOT = int(socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
_PATIENCE = 20  # milliseconds between two looks whether the thread was stopped


class Worker:
    """A worker thread of a client, and the host's end of its socket.

    :ivar tid: its number.
    :ivar has_posts: it may not have made yet what was posted, or what it was to make while a
        debugger held it.
    :param failed: called with the error of something posted.
    :ivar page: the two pages of memory that it has: one to work in, one of code.
    """

    def __init__(
        self,
        injector: Injector,
        tid: int,
        page: int,
        channel: socket.socket,
        failed: Callable[[OSError], None],
    ) -> None:
        self.tid = tid
        self.page = page
        self.socket = channel
        self._injector = injector
        self._mark = injector.secret << 32
        self._sent = b""
        self.has_posts = False
        self.failed = failed
        self._late: deque[bytes] = deque()  # calls whose answer nobody waits for any more
        self._numbers = {_SOCKET}

    def run(self, requests: Sequence[Request]) -> None:
        """Have calls made one after another, up to the first that fails.

        If a debugger has stopped the worker, they are made when that lets it go on: nobody waits.

        :raises CallError: that of the call that failed.
        :raises ClientGone: the client is gone, or about to go.
        """
        self.make(pack(requests, self._mark))

    def make(self, calls: bytes) -> None:
        """Do what `run` does, for calls that are packed."""
        for at in range(0, len(calls), _AT_ONCE):
            self._send(calls[at : at + _AT_ONCE])
            self._receive(at // CALL.size)

    def post(self, calls: bytes, left_over: bytes) -> None:
        """Have calls made, without waiting; should one fail, `failure` will tell.

        :param left_over: for calls that point to it, see `behind`: 8 bytes or more, less than 56.
        :raises ClientGone: the client is gone, or about to go.
        """
        message = calls + left_over
        try:
            self.socket.send(message, _AT_ONCE_OR_NOT)
        except BlockingIOError:  # so many threads wait, and the process is stopped
            self.settle()
            if self.has_posts:  # a debugger has stopped it
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)) from None
            self.post(calls, left_over)
        except OSError:
            raise ClientGone from None
        self.has_posts = True

    def behind(self, nr_calls: int) -> int:
        """Return the address in the client of what is left over behind so many calls."""
        return self.page + nr_calls * CALL.size

    def settle(self) -> None:
        """Wait until all is made that was posted, unless a debugger has stopped the worker.

        :raises ClientGone: the client is gone, or about to go: it is if something failed.
        """
        if self.has_posts:
            self.has_posts = False
            self.run([("madvise", (0, 0, 0), None)])  # of no memory: nothing

    def failure(self) -> OSError | None:
        """Return why something posted failed, now that the worker speaks unasked.

        :raises ClientGone: it has ended.
        """
        try:
            answer = self.socket.recv(_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None  # it was heard already
        except OSError:
            answer = b""
        if not answer:
            raise ClientGone
        return _error_in(answer, 0, self._late.popleft() if self._late else b"")

    def lend(self, description: int) -> int:
        """Put a copy of our descriptor into the worker's table and return its number there.

        :raises OSError: EMFILE the client's limit.
        :raises ClientGone: as above.
        """
        number = next(number for number in itertools.count() if number not in self._numbers)
        self._send(pack([(HELPERS_CALL, (), None)], 0))  # without a mark: it is handed over
        thread = Wakeful(self.tid)
        try:
            call = self._injector.call_of(thread)
        except NotStoppable:
            self._late.append(b"")
            raise OSError(errno.EPERM, os.strerror(errno.EPERM)) from None
        try:
            call.add_descriptor(description, number, cloexec=True)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise ClientGone from None
            # EBADF: beyond the client's limit, which counts here too
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from None
        finally:
            call.answer(0)
            self._receive(0, thread)
        self._numbers.add(number)
        return number

    def take_back(self, number: int) -> None:
        """Close a descriptor that was lent."""
        self._numbers.discard(number)
        self.run([("close", (number,), None)])

    def move(self, start: int, end: int) -> None:
        """Work in other pages than those at [`start`, `end`), which the client wants for itself.

        :raises OSError: ENOMEM there is no room, or a debugger holds the thread.
        :raises ClientGone: as above.
        """
        self.settle()
        old, page = self.page, _find_room(self._injector, self._map_pages, (start, end))
        self.run([("madvise", (page, 2 * PAGE_SIZE, MADV_DONTDUMP), None)])
        write_memory(self.tid, page + PAGE_SIZE, ARCH.WORKER)
        self.run([("mprotect", (page + PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_EXEC), None)])
        try:
            # It waits for calls, for which it may begin anew.
            thread = Tracee(self.tid)
            thread.seize()
            thread.ptrace(PTRACE_INTERRUPT)
            thread.wait()
            registers = thread.get_registers()
            set_to_work(registers, page, _SOCKET, self._mark)
            thread.set_registers(registers)
            thread.ptrace(PTRACE_DETACH)
        except NotStoppable:
            self.run([("munmap", (page, 2 * PAGE_SIZE), None)])
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
        self.page = page
        self.run([("munmap", (old, 2 * PAGE_SIZE), None)])

    def stand_in(self) -> StoppedThread:
        """Start another thread, to make calls in place of one that can't be stopped; it is stopped.

        It has all signals blocked, and ends by `StoppedThread.leave`.

        :raises NotStoppable: a debugger holds the worker too.
        :raises OSError: EAGAIN the client may have no more threads.
        :raises ClientGone: as above.
        """
        self.settle()
        Tracee(self.tid).seize()
        self._send(pack([(HELPERS_CALL, (), None)], 0))  # without a mark: it is handed over
        worker = self._injector.stopped(self._injector.call_of(Tracee(self.tid)))
        worker.stop()
        try:
            helper = worker.start_helper(HELPERS_CALL)
            stand_in = self._injector.stopped(self._injector.call_of(helper))
        finally:
            if not worker.gone:
                worker.become_worker(self.page, _SOCKET)
        stand_in.stop()
        return stand_in

    def _map_pages(self, place: int, flags: int) -> int:
        how = PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, ULONG_MAX, 0
        self._send(pack([("mmap", (place, 2 * PAGE_SIZE, *how), 4)], self._mark))
        return self._receive(0)

    def close(self) -> None:
        """Let the thread end."""
        self.socket.close()

    def _send(self, calls: bytes) -> None:
        self._sent = calls
        try:
            self.socket.send(calls, socket.MSG_NOSIGNAL)
        except OSError:
            raise ClientGone from None

    def _receive(self, before: int, thread: Wakeful | None = None) -> int:
        """Return the result of the last call that was sent; 0 if a debugger holds the worker."""
        while True:
            try:
                self._wait(thread or Wakeful(self.tid))
            except NotStoppable:
                self._late.append(self._sent)
                self.has_posts = True
                return 0
            try:
                answer = self.socket.recv(_MESSAGE)
            except OSError:
                answer = b""
            if not answer:
                raise ClientGone
            if not self._late:
                break
            if error := _error_in(answer, 0, self._late.popleft()):
                self.failed(error)
                raise ClientGone
        self.has_posts = False  # all before it has been made too
        error = _error_in(answer, before, self._sent)
        if answer[8 : CALL.size] != self._sent[8 : CALL.size]:  # of what was posted before
            self.failed(error or OSError(errno.EIO, os.strerror(errno.EIO)))
            raise ClientGone
        if error is not None:
            raise error
        result: int = CALL.unpack_from(answer, len(answer) - CALL.size)[0]
        return result

    def _wait(self, thread: Wakeful) -> None:
        """Wait for an answer, which must come though the process may be stopped (SIGSTOP).

        :raises NotStoppable: a debugger holds the worker.
        """
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        patience = 0 if self._late else _PATIENCE
        while not poller.poll(patience):
            try:
                thread.keep_going()
            except NotStoppable:
                self._injector.messages.say_of(
                    "stopped", tgid_of(self.tid), "is stopped by a debugger in the middle of a "
                    "page fault; who looks at that page waits until it is continued or killed"
                )  # fmt: skip
                raise
            patience = _PATIENCE
        thread.let_go()


def _find_room(
    injector: Injector, map_pages: Callable[[int, int], int], avoid: tuple[int, int] = (0, 0)
) -> int:
    """Map a worker's pages where calls of clients are seen, or else anywhere; return the address.

    :param map_pages: maps them, given the address and flags for that.
    :param avoid: a range where they must not be.
    :raises OSError: as mmap(2).
    """
    for place in injector.window.hidden_places(0):
        if place + 2 * PAGE_SIZE <= avoid[0] or avoid[1] <= place:
            try:
                return map_pages(place, MAP_FIXED_NOREPLACE)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
    return map_pages(0, 0)


def _error_in(answer: bytes, before: int, sent: bytes) -> CallError | None:
    """Return the error that an answer ends with.

    :param before: how many calls were made before it.
    :param sent: the calls that were to be made, as far as they are known.
    """
    last = len(answer) - CALL.size
    result = CALL.unpack_from(answer, last)[0]
    if not is_error(result):
        return None
    number = CALL.unpack_from(sent, last)[0] if sent else NUMBER_OF["mmap"]
    return CallError(result, number, before + last // CALL.size)


def start_worker(
    injector: Injector, thread: StoppedThread, page: int, failed: Callable[[OSError], None]
) -> Worker:
    """Start a worker in the process of the stopped `thread`.

    :param page: the memory of the worker that the process's parent had, of which it has a copy; 0:
        there is none.
    :param failed: see `Worker`.
    :raises OSError: EAGAIN the client may have no more threads, ENOMEM no more memory.
    :raises ClientGone: it was killed.
    """
    page = page or _make_pages(injector, thread)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        call = injector.call_of(thread.start_helper(HELPERS_CALL))
        helper = injector.stopped(call)
        try:
            call.add_descriptor(theirs.fileno(), _SOCKET, cloexec=True)
        except OSError:
            helper.wait_for_death()
            raise ClientGone from None
        helper.stop()
        helper.syscall("close_range", _SOCKET + 1, 0xFFFFFFFF, 0)
        helper.become_worker(page, _SOCKET)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Worker(injector, helper.tid, page, ours, failed)


def _make_pages(injector: Injector, thread: StoppedThread) -> int:
    def map_pages(place: int, flags: int) -> int:
        how = PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, ULONG_MAX, 0
        return thread.syscall("mmap", place, 2 * PAGE_SIZE, *how, descriptor=4)

    page = _find_room(injector, map_pages)
    # No neighbour of the client's own shall become one area with them.
    thread.syscall("madvise", page, 2 * PAGE_SIZE, MADV_DONTDUMP)
    write_memory(thread.tid, page + PAGE_SIZE, ARCH.WORKER)
    thread.syscall("mprotect", page + PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_EXEC)
    return page
