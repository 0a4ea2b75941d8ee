"""poll by a kernel thread: aio asks from a worker, which no signal reaches.

Source: fs/aio.c, aio_poll_complete_work
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from typing import Any

from mapdev.host.kernel import uapi

from .daemon import Client, Daemon, answer, opened

_X86 = os.uname().machine == "x86_64"
_IO_SETUP, _IO_SUBMIT, _IO_GETEVENTS = (206, 209, 208) if _X86 else (0, 2, 4)
_IOCB_CMD_POLL = 5


def _syscall(*arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return int(result)


class _Aio:
    """An aio context with one poll in it."""

    def __init__(self, fd: int, events: int) -> None:
        self._context = ctypes.c_ulong()
        _syscall(_IO_SETUP, 4, ctypes.byref(self._context))
        iocb = struct.pack("<QIIHhIQQqQII", 7, 0, 0, _IOCB_CMD_POLL, 0, fd, events, 0, 0, 0, 0, 0)
        self._iocb = ctypes.create_string_buffer(iocb)
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(self._iocb))
        assert _syscall(_IO_SUBMIT, self._context, 1, pointers) == 1

    def wait(self) -> int:
        """Return the events that the poll found."""
        event = ctypes.create_string_buffer(32)
        assert _syscall(_IO_GETEVENTS, self._context, 1, 1, event, None) == 1
        return int(struct.unpack("<QQqq", event.raw[:32])[2])


def _poll_by_aio() -> int:
    with opened() as fd:
        return _Aio(fd, select.POLLIN).wait()


def _asked_by_a_worker(daemon: Daemon) -> uapi.Request:
    """Return the second POLL, which comes of a wake-up and a worker, unanswered."""
    daemon.reply(daemon.get(uapi.OPEN))
    first = daemon.get(uapi.POLL)
    daemon.reply(first, 0)
    for _ in range(200):  # until the request is on the wait queue
        daemon.wake(0, file=first.file)  # with a mask aio would not ask
        request, _ = daemon.next(timeout_ms=100)
        if request.op == uapi.POLL:
            assert request.tgid != first.tgid, "it was not a worker"
            return request
    raise AssertionError("the worker does not ask")


def test_a_client_of_aio_can_be_killed() -> None:
    """The daemon answers poll neither now nor later, and has no time limit: a worker has one."""
    with Daemon(timeout_ms=0xFFFFFFFF) as daemon:
        daemon.create()
        client = Client(_poll_by_aio)
        request = _asked_by_a_worker(daemon)
        assert daemon.reply(request, kind=uapi.REPLY_WAIT) == errno.EOPNOTSUPP
        client.kill()
        client.wait()
        assert daemon.get(uapi.GONE).arg[0] == request.id
        daemon.get(uapi.RELEASE)


def test_a_worker_does_nothing_for_the_daemon(daemon: Daemon) -> None:
    """It has neither memory nor descriptors, whatever it borrows the page tables of."""
    daemon.create()
    anonymous = daemon.create(name="", flags=uapi.CREATE_ANON)
    client = Client(_poll_by_aio)
    request = _asked_by_a_worker(daemon)
    here = ctypes.create_string_buffer(b"mine")
    result = daemon.command(request, uapi.COPY_FROM, addr=ctypes.addressof(here), len=4)
    assert uapi.signed(result.arg[0]) == -errno.EFAULT
    result = daemon.command(request, uapi.INSTALL, addr=os.O_RDWR, len=anonymous.id)
    assert uapi.signed(result.arg[0]) == -errno.EINVAL
    result = daemon.command(request, uapi.AREAS)
    assert uapi.signed(result.arg[0]) == -errno.ESRCH
    daemon.reply(request, select.POLLIN)
    daemon.serve({}, client)
    assert client.result() == select.POLLIN


def test_a_poll_that_can_not_wait(daemon: Daemon) -> None:
    """REPLY_WAIT is refused, and the call goes on: a later reply is its result."""
    daemon.create()

    def client() -> int:
        with opened() as fd:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            return poller.poll(20000)[0][1]

    process = Client(client)
    daemon.reply(daemon.get(uapi.OPEN))
    request = daemon.get(uapi.POLL)
    assert daemon.reply(request, kind=uapi.REPLY_WAIT) == errno.EOPNOTSUPP
    assert daemon.alive(request)
    assert daemon.reply(request, select.POLLIN) == 0
    daemon.serve({}, process)
    assert process.result() == select.POLLIN


def test_what_is_shown_needs_no_worker_to_wait(daemon: Daemon) -> None:
    daemon.create()
    client = Client(_poll_by_aio)
    opening = daemon.get(uapi.OPEN)
    assert daemon.next(answer(opening, 0, flags=uapi.REPLY_SHOW))[1] == 0
    client.asleep()
    daemon.show(opening.file, select.POLLIN, select.POLLIN)
    daemon.serve({}, client)
    assert client.result() == select.POLLIN
    assert uapi.POLL not in daemon.ops()
