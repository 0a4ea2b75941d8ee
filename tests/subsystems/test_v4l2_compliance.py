"""v4l2-compliance of v4l-utils, unmodified, on devices of each kind: no failures, no warnings."""

import os
import re

import m2m_device
import pytest
import video_devices

import mapdev
from mapdev.host.embedded.files import device_files


@pytest.fixture(autouse=True)
def v4l_utils(require_program):
    require_program("v4l2-compliance", "v4l-utils")


def compliance(host, *options):
    """Run v4l2-compliance and return how many tests there were; none may fail or warn."""
    done = host.run(
        ["v4l2-compliance", *options], capture_output=True, text=True, timeout=240,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    report = f"{done.stdout}\n{done.stderr}"
    assert [line for line in report.split("\n") if "fail:" in line or "warn:" in line] == []
    total = re.search(r"Total.*: (\d+), Succeeded: (\d+), Failed: 0, Warnings: 0", report)
    assert total is not None and done.returncode == 0, report
    assert total[1] == total[2], report
    return int(total[1])


@pytest.mark.parametrize("mplane", [False, True], ids=["single", "multi"])
@pytest.mark.parametrize("device", [video_devices.Capture, video_devices.Output])
def test_streaming(device, mplane):
    with mapdev.host() as host:
        host.add(device, "/dev/video0", mplane=mplane)
        assert compliance(host, "-d", "/dev/video0", "-s") >= 52


def test_all_formats():
    with mapdev.host() as host:
        host.add(video_devices.Capture, "/dev/video0")
        assert compliance(host, "-d", "/dev/video0", "-s5", "-f") >= 60


def test_contiguous_memory():
    with mapdev.host() as host:
        host.add(video_devices.Capture, "/dev/video0", memory="dma_contig")
        assert compliance(host, "-d", "/dev/video0", "-s5") >= 50


def test_memory_of_another_device():
    with mapdev.host() as host:
        host.add(video_devices.Capture, "/dev/video0")
        host.add(video_devices.Capture, "/dev/video1")
        options = ("-d", "/dev/video0", "-e", "/dev/video1", "-s5")
        assert compliance(host, *options) >= 54


@pytest.mark.parametrize("mplane", [False, True], ids=["single", "multi"])
def test_memory_to_memory(mplane):
    with mapdev.host() as host:
        host.add(m2m_device.Inverter, "/dev/video0", mplane=mplane)
        assert compliance(host, "-d", "/dev/video0", "-s10") >= 52


@pytest.mark.parametrize(
    "device", [video_devices.Capture, video_devices.Output, m2m_device.Inverter]
)
def test_without_fuse(device, monkeypatch):
    """As in most containers: sockets show what poll says."""

    def refuse():
        raise FileNotFoundError(2, "No such file or directory", "/dev/fuse")

    monkeypatch.setattr(device_files, "mount", refuse)
    with mapdev.host() as host:
        host.add(device, "/dev/video0")
        assert compliance(host, "-d", "/dev/video0", "-s5") >= 52
