"""How the embedded host comes to know of signals to clients whose call waits."""

import signal
import time
from collections.abc import Callable

from devices import Items
from pace import patience

from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.syscalls.launch import ClientProcess


def test_a_signal_that_the_host_passes_on_is_seen_at_once(
    mapdev: EmbeddedHost, start: Callable[..., ClientProcess]
) -> None:
    driver = mapdev.add(Items, "/dev/x")
    process = start("os.read(os.open('/dev/x', os.O_RDWR), 1)")
    driver.await_reads()
    with mapdev.lock:
        mapdev.subsystems.signals.due = time.monotonic() + 1000  # not seen in any other way
    process.terminate()
    assert process.wait(patience(30)) == -signal.SIGTERM
