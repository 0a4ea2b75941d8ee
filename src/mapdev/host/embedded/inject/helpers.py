"""`Helpers` knows the threads that the host has started in clients with descriptors of their own.

Such a thread has copies of its client's descriptors and closes them, which no program has asked
for: drivers are not told of that. Filled in the host's thread, asked in any.
"""

from __future__ import annotations

from mapdev.host.embedded.processes import read_file

_MANY = 256  # after which those that have ended are forgotten


class Helpers:
    """Threads of the host in clients, by number and start time: numbers are used again.

    :ivar is_wanted: somebody will ask; until then none is noted.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self._began: dict[int, bytes] = {}

    def add(self, tid: int) -> None:
        """Know a thread that was just started."""
        if self.is_wanted:
            if len(self._began) >= _MANY:
                self._began = {
                    of: began for of, began in self._began.items() if _start_of(of) == began
                }
            self._began[tid] = _start_of(tid)

    def __contains__(self, tid: int) -> bool:
        began = self._began.get(tid)
        return began is not None and began == _start_of(tid)


def _start_of(tid: int) -> bytes:
    """Return when a thread began; nothing if it is gone."""
    try:
        text = read_file(f"/proc/{tid}/stat")
    except OSError:
        return b""
    return text[text.rindex(b")") :].split()[20]
