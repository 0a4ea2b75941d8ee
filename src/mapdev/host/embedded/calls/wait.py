"""Operations that may have to wait, as handlers of system calls run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mapdev.host.dispatch import WouldWait
from mapdev.host.embedded.files import OpenFile
from mapdev.host.embedded.kernel import Kernel
from mapdev.host.embedded.waiting import Waiting


def run_operation(
    kernel: Kernel,
    open_file: OpenFile,
    run: Callable[..., int],
    *args: Any,
    progress: Callable[[], int] | None = None,
) -> int | Waiting:
    """Return the result of `run`, or what its operation waits for; then poll sees what changed.

    :param run: runs an operation of the driver of `open_file`; called with `args`, and again if the
        operation has to wait.
    :param progress: returns what the call has transferred, its result if a signal comes.
    """
    try:
        return run(*args)
    except WouldWait as wait:
        return Waiting(
            wait, open_file,
            lambda: run_operation(kernel, open_file, run, *args, progress=progress),
            progress() if progress else 0,
        )  # fmt: skip
    finally:
        if kernel.files.polled:
            kernel.polling.refresh(open_file.device.driver)
