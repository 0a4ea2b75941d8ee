"""Video4Linux on the kernel host: v4l2-compliance at real nodes."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import m2m_device
import pytest
import video_devices

import mapdev


@pytest.mark.parametrize(
    ("device", "parameters"),
    [
        (video_devices.Capture, {"mplane": True}),
        (video_devices.Output, {}),
        (m2m_device.Inverter, {}),
    ],
    ids=["capture", "output", "m2m"],
)
def test_compliance(device: Any, parameters: dict[str, Any]) -> None:
    if shutil.which("v4l2-compliance") is None:
        pytest.skip("v4l2-compliance is missing: v4l-utils")
    with mapdev.host(kind="kernel") as host:
        host.add(device, "/dev/video0", **parameters)
        done = host.run(
            ["v4l2-compliance", "-d", "/dev/video0", "-s3"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
    wrong = [line for line in done.stdout.split("\n") if "fail:" in line or "warn:" in line]
    assert wrong == []
    assert "Failed: 0, Warnings: 0" in done.stdout, done.stdout
