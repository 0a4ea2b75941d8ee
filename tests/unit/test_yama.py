"""What is said where Yama keeps mapdev from the programs that it starts."""

import errno
import os

import pytest

from mapdev.doctor import embedded as doctor
from mapdev.host.embedded import processes


@pytest.mark.parametrize(
    ("scope", "capable", "said"),
    [(0, False, ""), (1, False, ""), (2, True, ""), (2, False, "as root"), (3, True, "root too"),
     (None, False, "")],
)  # fmt: skip
def test_yama(monkeypatch: pytest.MonkeyPatch, scope: int | None, capable: bool, said: str) -> None:
    def read_file(path: str) -> bytes:
        assert path == "/proc/sys/kernel/yama/ptrace_scope"
        if scope is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return b"%d\n" % scope

    monkeypatch.setattr(processes, "read_file", read_file)
    monkeypatch.setattr(processes, "has_capability", lambda *_: capable)
    why = processes.yama_forbids()
    assert said in why and bool(said) == bool(why)
    finding = doctor._ptrace()
    assert finding.ok is (not said) and said in finding.text
