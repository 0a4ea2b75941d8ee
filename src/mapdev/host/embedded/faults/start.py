"""Starts the page fault handler of a client: by userfaultfd, or where that is refused, eager."""

from __future__ import annotations

import contextlib
import errno

from mapdev.host.core.operations import Operations
from mapdev.host.embedded.faults.eager import EagerHandler, NoUserfault
from mapdev.host.embedded.faults.handler import UserfaultHandler
from mapdev.host.embedded.faults.userfault import Userfault, make_in
from mapdev.host.embedded.inject.injector import Injector
from mapdev.host.embedded.inject.thread import StoppedThread
from mapdev.host.embedded.inject.tracee import ClientGone
from mapdev.host.embedded.mm.fault_handler import FaultHandler
from mapdev.host.embedded.mm.vma_tree import MmAreas
from mapdev.host.embedded.processes import tgid_of
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.log import log

_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def start_fault_handler(
    injector: Injector,
    operations: Operations,
    thread: StoppedThread,
    space: MmAreas,
    parent: FaultHandler | None = None,
) -> UserfaultHandler:
    """Start a fault handler for `space`, in the stopped `thread` of its process.

    :param parent: the fault handler of the process that this one was forked from.
    :raises OSError: EAGAIN, ENOMEM as for `start_worker`.
    """
    kind: type[UserfaultHandler] = UserfaultHandler
    try:
        userfault: Userfault = make_in(thread, tgid_of(thread.tid))
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        kind, userfault = EagerHandler, NoUserfault()
        injector.messages.say_of(
            "userfaultfd", space.tgid,
            "gets all pages of a device when it maps them, not when it touches them, since no "
            f"userfaultfd is allowed here ({error.strerror}); see `mapdev doctor`",
        )  # fmt: skip
    try:
        fault_handler = kind(
            injector, operations, space, userfault, thread, parent.page if parent else 0
        )
    except BaseException:
        userfault.close()
        raise
    if not userfault.kernel_too:
        injector.messages.say_of(
            "userfaultfd", space.tgid,
            "touches pages of a device inside system calls with EFAULT if they are not there yet, "
            "since this machine allows no userfaultfd for them: run as root, or set "
            "vm.unprivileged_userfaultfd=1 (sysctl)",
        )  # fmt: skip
    space.fault_handler = fault_handler
    return fault_handler


def take_in(injector: Injector, operations: Operations, call: Call) -> None:
    """Start a fault handler by a recruit, when the thread that has started it makes `call` again.

    It need not fault anything: it has the worker by which calls are made in the process.
    """
    recruit = injector.recruits.called_again(call)
    space = injector.spaces.of(call.tid)
    if recruit is None or space is None:
        return
    thread = injector.stopped(recruit)
    try:
        thread.seize()
        thread.stop()
        if space.fault_handler is None:
            start_fault_handler(injector, operations, thread, space)
    except OSError as error:
        log.warning("%d: no thread of mapdev can be in it (%s)", space.tgid, error.strerror)
    except ClientGone:
        return
    else:
        injector.recruits.succeeded(space.tgid)
    with contextlib.suppress(ClientGone):
        thread.leave()
