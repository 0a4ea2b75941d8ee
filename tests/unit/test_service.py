"""What the service manager is told, and the files by which it is asked to serve devices."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from mapdev.service import notify

FILES = Path(__file__).parents[2] / "module" / "service"


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_the_service_manager_is_told(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tmp_path / "notify")
    address = name if kind == "file" else "\0" + name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify("READY=1")


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if not (analyze := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is missing")
    unit = tmp_path / "mapdev@test.service"
    unit.write_text((FILES / "mapdev@.service").read_text())
    done = subprocess.run(
        [analyze, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    said = [line for line in done.stderr.splitlines() if "mapdev" in line]
    assert not said
