"""`Messages` logs why a client is not served as it expects, once for each process."""

from __future__ import annotations

from mapdev.host.embedded.processes import comm_of, tgid_of
from mapdev.linux.log import log


class Messages:
    """Logs each message once."""

    def __init__(self) -> None:
        self._said: set[tuple[str, int]] = set()

    def say_once(self, topic: str, tid: int, text: str) -> None:
        """Log a message about the process of thread `tid`, once for each `topic`."""
        self.say_of(topic, tgid_of(tid), text)

    def say_of(self, topic: str, tgid: int, text: str) -> None:
        """Log a message about process `tgid`, once for each `topic`."""
        if (topic, tgid) not in self._said:
            self._said.add((topic, tgid))
            log.warning("%s (process %d): %s", comm_of(tgid) or "a client", tgid, text)
