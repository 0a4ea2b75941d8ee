"""Handles calls by which a thread names memory that the kernel writes to later, by itself.

When a thread ends, the kernel reports no fault of it any more; and where an ordinary user's
userfaultfd hears of faults in user mode alone, a signal or another processor is such a moment too.
So the page is brought in when it is named.

Source: fs/userfaultfd.c (handle_userfault), kernel/fork.c (mm_release), kernel/rseq.c
"""

from __future__ import annotations

import contextlib

from mapdev.host.embedded.calls.verdict import PASS_ON, Handler, Verdict
from mapdev.host.embedded.processes import live_threads
from mapdev.host.embedded.subsystems import Subsystems
from mapdev.host.embedded.syscalls.notify import Call

_TID, _ROBUST_LIST_HEAD, _RSEQ = 4, 24, 32  # bytes
_RSEQ_UNREGISTER = 1
_ALONE = 2  # threads, with the host's worker


def _bring_in(kernel: Subsystems, call: Call, size: int, is_write: bool = True) -> Verdict:
    with contextlib.suppress(OSError):  # the kernel will not get it either
        kernel.mappings.bring_in(call.tid, call.args[0], size, is_write)
    return PASS_ON


def _do_set_tid_address(kernel: Subsystems, call: Call) -> Verdict:
    # Of a process without other threads the number is not erased: nobody could see it.
    is_alone = len(live_threads(call.task.tgid)) <= _ALONE
    return PASS_ON if is_alone else _bring_in(kernel, call, _TID)


def _do_rseq(kernel: Subsystems, call: Call) -> Verdict:
    return PASS_ON if call.args[2] & _RSEQ_UNREGISTER else _bring_in(kernel, call, _RSEQ)


HANDLERS: dict[str, Handler] = {
    "set_tid_address": _do_set_tid_address,
    "set_robust_list": lambda kernel, call: _bring_in(kernel, call, _ROBUST_LIST_HEAD, False),
    "rseq": _do_rseq,
}
