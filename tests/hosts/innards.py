"""What tests ask a host that it has no public way to answer: here, once for each host."""

import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from pace import patience

from mapdev.host.core.host import Host
from mapdev.host.embedded.host import EmbeddedHost

_COUNTERS = Path("/sys/kernel/debug/mapdev")  # the module's


class Belongings(NamedTuple):
    """How many open files, mappings that live, and pages there are."""

    files: int
    mappings: int
    pages: int


def belongings(host: Host) -> Belongings:
    """Return what the host has now; pages that only a client's mapping keeps are included."""
    if isinstance(host, EmbeddedHost):
        counts = host.memory.counts()
        leases = len(host.machine.leases)
        return Belongings(len(host.subsystems.files.table), leases, counts.used + counts.held)
    if not _COUNTERS.exists():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=True)
    numbers = (int((_COUNTERS / name).read_text()) for name in ("files", "areas", "pages"))
    return Belongings(*numbers)


def poll_has_all_events(host: Host) -> bool:
    """Say whether poll on an attribute tells POLLERR as the kernel does; a socket can't."""
    if isinstance(host, EmbeddedHost):
        return host.subsystems.files._device_files.is_there
    return True


def look_for_signals(host: Host) -> None:
    """Return when the host has had every chance to see the signals that were sent until now."""
    if isinstance(host, EmbeddedHost):
        for _ in range(3):
            host._server.jobs.in_thread(host.subsystems.signals.look)
    else:  # the module tells it of one
        time.sleep(patience(0.05))
        host.settle()
