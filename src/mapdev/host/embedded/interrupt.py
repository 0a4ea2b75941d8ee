"""Ends a parked call for a signal, as the kernel does: -ERESTARTSYS, then the signal.

The call is answered with that error while the thread is held for an instant by ptrace. When it is
let go it is on its way out of the call with a look for signals due, so the kernel delivers the
signal and turns the error into EINTR or a restart of the call, as the handler's SA_RESTART says.
Nothing of the thread is changed. Called in the host's thread, which is the tracer.

Source: arch/x86/kernel/signal.c (handle_signal), kernel/ptrace.c
"""

from __future__ import annotations

import contextlib
import errno

from mapdev.host.embedded.inject.tracee import (
    PTRACE_DETACH,
    PTRACE_INTERRUPT,
    ClientGone,
    NotStoppable,
    Tracee,
)
from mapdev.host.embedded.processes import is_single_threaded
from mapdev.host.embedded.syscalls.notify import Call
from mapdev.linux.errnos import ERESTARTSYS


def interrupt(call: Call, is_private: bool) -> None:
    """End `call` for a signal that is pending.

    :param is_private: the signal is for this thread, so no other can have taken it meanwhile.
    """
    thread = Tracee(call.tid)
    try:
        thread.seize()
    except ClientGone:
        return
    except NotStoppable:
        # A debugger holds it. The kernel will look for signals, unless another thread of the
        # process has taken this one; then the bare error would reach the program.
        certain = is_private or is_single_threaded(call.tid)
        call.fail(ERESTARTSYS if certain else errno.EINTR)
        return
    with contextlib.suppress(ClientGone):
        thread.ptrace(PTRACE_INTERRUPT)
        call.fail(ERESTARTSYS)
        thread.wait()
        thread.ptrace(PTRACE_DETACH)
