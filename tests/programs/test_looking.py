"""Programs that look for devices: ls, find, tree, globs, udevadm, lsof, inotifywait and others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mapdev.drivers.sensor import Sensor

TIMEOUT = 120  # seconds


@pytest.fixture
def sensor(mapdev: Any) -> Any:
    """The gallery's sensor, which is a class device."""
    return mapdev.add("sensor", "/dev/sensor0")


def output(mapdev: Any, *command: object, status: int = 0) -> str:
    """Run a program and return what it prints."""
    words = [str(word) for word in command]
    done = mapdev.run(words, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == status, (command, done.stdout, done.stderr)
    text: str = done.stdout
    return text


@pytest.fixture
def monitor(mapdev: Any, require_program: Any) -> Iterator[Any]:
    """Start `udevadm monitor`, and wait until it listens."""
    require_program("udevadm", "udev")
    started: list[Any] = []

    def start(*options: str) -> Any:
        command = ["stdbuf", "-oL", "udevadm", "monitor", *options]
        process = mapdev.popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        while process.stdout.readline().strip():
            pass
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_ls(mapdev: Any, sensor: Any, require_program: Any) -> None:
    assert "sensor0" in output(mapdev, "ls", "/dev").split()
    assert output(mapdev, "ls", "-l", "/dev/sensor0").startswith("crw-rw-rw- 1 ")
    assert "sensor0 -> ../../devices/virtual/sensor/sensor0" in output(
        mapdev, "ls", "-l", "/sys/class/sensor/"
    )
    busybox = require_program("busybox", "busybox")
    lines = output(mapdev, busybox, "ls", "-l", "/dev").splitlines()
    assert any(line.startswith("crw-rw-rw-") and line.endswith(" sensor0") for line in lines)


def test_find(mapdev: Any, sensor: Any, require_program: Any) -> None:
    assert output(mapdev, "find", "/dev", "-type", "c", "-name", "sensor*") == "/dev/sensor0\n"
    at = "/sys/devices/virtual/sensor/sensor0"
    found = output(mapdev, "find", at).splitlines()
    assert found[0] == at and f"{at}/power/control" in found and f"{at}/temp" in found
    assert output(mapdev, "find", "/sys/class/sensor/", "-type", "l").split() == [
        "/sys/class/sensor/sensor0"
    ]
    tree = require_program("tree", "tree")
    shown = output(mapdev, tree, "/sys/class/sensor/")
    assert "sensor0 -> ../../devices/virtual/sensor/sensor0" in shown
    assert "control" in output(mapdev, tree, at)


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_globs(mapdev: Any, sensor: Any, shell: str, require_program: Any) -> None:
    program = require_program(shell, shell)
    text = output(
        mapdev,
        program,
        "-c",
        "echo /dev/sensor[0-9] /sys/class/sens*/*/temp; cd /dev; echo sensor[0-9]",
    )
    assert text == "/dev/sensor0 /sys/class/sensor/sensor0/temp\nsensor0\n"
    code = (
        "import glob; print(glob.glob('/dev/sensor[0-9]'), glob.glob('/sys/class/sensor/*/te*p'))"
    )
    assert output(mapdev, sys.executable, "-c", code) == (
        "['/dev/sensor0'] ['/sys/class/sensor/sensor0/temp']\n"
    )


def test_a_shell_reads_and_writes_attributes(mapdev: Any, sensor: Any) -> None:
    script = "cd /sys/class/sensor/sensor0 && cat temp && echo 30000 > limit && cat limit && pwd -P"
    assert output(mapdev, "sh", "-c", script) == (
        "21000\n30000\n/sys/devices/virtual/sensor/sensor0\n"
    )
    assert sensor.limit == 30000
    # dash calls it an I/O error, whatever it is.
    code = "with open('/sys/class/sensor/sensor0/limit', 'w') as file: file.write('hot')"
    done = mapdev.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode and "Invalid argument" in done.stderr


def test_readlink(mapdev: Any, sensor: Any) -> None:
    number = f"{os.major(0xF000)}:0"
    assert output(mapdev, "readlink", "-f", f"/sys/dev/char/{number}/subsystem") == (
        "/sys/class/sensor\n"
    )
    assert output(mapdev, "realpath", "/sys/class/sensor/sensor0/temp") == (
        "/sys/devices/virtual/sensor/sensor0/temp\n"
    )
    assert output(mapdev, "stat", "-f", "-c", "%T", "/sys/class/sensor/sensor0/temp") == "sysfs\n"


def test_udevadm_info(mapdev: Any, sensor: Any, require_program: Any) -> None:
    require_program("udevadm", "udev")
    text = output(mapdev, "udevadm", "info", "-a", "-n", "/dev/sensor0")
    for line in ('KERNEL=="sensor0"', 'SUBSYSTEM=="sensor"', 'ATTR{temp}=="21000"',
                 'ATTR{power/control}=="auto"'):  # fmt: skip
        assert line in text, text
    text = output(mapdev, "udevadm", "info", "--query=property", "/sys/class/sensor/sensor0")
    assert "DEVNAME=/dev/sensor0\n" in text and "SUBSYSTEM=sensor\n" in text
    assert "USEC_INITIALIZED=" in text and "ID_SENSOR=1\n" in text
    assert "DEVLINKS=/dev/sensors/by-id/fake\n" in text
    assert output(mapdev, "udevadm", "trigger", "-n", "-v", "-s", "sensor") == (
        "/sys/devices/virtual/sensor/sensor0\n"
    )
    assert output(mapdev, "cat", "/dev/sensors/by-id/fake") == "21000\n"


def test_udevadm_monitor(mapdev: Any, sensor: Any, monitor: Any) -> None:
    both = monitor("--kernel", "--udev")
    chosen = monitor("--udev", "--property", "-s", "sensor")
    mapdev.remove(sensor)
    mapdev.add("sensor", "/dev/sensor1")
    output(mapdev, "sh", "-c", "echo change > /sys/class/sensor/sensor1/uevent")
    seen = []
    while len(seen) < 6:
        line = both.stdout.readline().split()
        assert line, seen
        if "sensor" in line[-2]:
            seen.append((line[0].partition("[")[0], line[-3], line[-2].rpartition("/")[2]))
    assert [event for event in seen if event[0] == "KERNEL"] == [
        ("KERNEL", "remove", "sensor0"), ("KERNEL", "add", "sensor1"),
        ("KERNEL", "change", "sensor1"),
    ]  # fmt: skip
    assert {event[1:] for event in seen if event[0] == "UDEV"} == {
        ("remove", "sensor0"), ("add", "sensor1"), ("change", "sensor1"),
    }  # fmt: skip
    found = ""
    while "SYNTH_UUID" not in found:
        line = chosen.stdout.readline()
        assert line, found
        found += line
    assert "DEVNAME=/dev/sensor1\n" in found and "ID_SENSOR=1\n" in found


@pytest.fixture
def holder(mapdev: Any, sensor: Any) -> Iterator[Any]:
    """A program that has the node open."""
    process = mapdev.popen(["sh", "-c", "exec 3</dev/sensor0; echo; read x"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        process.stdout.readline()
        yield process
    finally:
        process.communicate(b"\n", timeout=TIMEOUT)


def test_lsof(mapdev: Any, holder: Any, require_program: Any) -> None:
    lsof = require_program("lsof", "lsof")
    assert os.readlink(f"/proc/{holder.pid}/fd/3")
    assert output(mapdev, "readlink", f"/proc/{holder.pid}/fd/3") == "/dev/sensor0\n"
    assert "/dev/sensor0" in output(mapdev, lsof, "-w", "-p", holder.pid)


def test_fuser(mapdev: Any, holder: Any, require_program: Any) -> None:
    """It asks for the status of each descriptor of each process, the host's own ones too."""
    fuser = require_program("fuser", "psmisc")
    done = mapdev.run([fuser, "/dev/sensor0"], capture_output=True, text=True, timeout=TIMEOUT)
    assert str(holder.pid) in done.stdout.split(), done.stderr


def test_udevadm_trigger_and_settle(
    mapdev: Any, sensor: Any, monitor: Any, require_program: Any
) -> None:
    """Without udev's daemon settle has nothing to wait for; trigger's uevents come."""
    heard = monitor("--udev", "-s", "sensor")
    at = "/sys/devices/virtual/sensor/sensor0"
    assert output(mapdev, "udevadm", "trigger", "-v", "-c", "change", "-s", "sensor") == f"{at}\n"
    assert f" change   {at[4:]} (sensor)" in heard.stdout.readline()
    # It waits for the event that it has caused.
    options = ["--settle", "-c", "bind", "--name-match=/dev/sensor0"]
    output(mapdev, "udevadm", "trigger", *options)
    assert f" bind     {at[4:]} (sensor)" in heard.stdout.readline()
    output(mapdev, "udevadm", "settle", "--timeout=20", "--exit-if-exists=/dev/sensor0")
    output(mapdev, "udevadm", "settle", "--timeout=20")


GO = """
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	err := filepath.WalkDir("/sys/class", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && filepath.Dir(path) == "/sys/class/sensor" {
			real, wrong := filepath.EvalSymlinks(path)
			temp, worse := os.ReadFile(path + "/temp")
			fmt.Println(real, entry.Type() == fs.ModeSymlink, string(temp[:2]), wrong, worse)
		}
		return err
	})
	names, wrong := filepath.Glob("/dev/sensor*[0-9]")
	fmt.Println(err, names, wrong)
	os.Chdir("/sys/class/sensor")
	fmt.Println(os.Getwd())
}
"""


def test_a_static_program_in_go_walks_the_classes(
    mapdev: Any, sensor: Any, require_program: Any, tmp_path: Any
) -> None:
    go = require_program("go", "golang-go")
    (tmp_path / "walk.go").write_text(GO)
    environment = os.environ | {"CGO_ENABLED": "0", "GOCACHE": str(tmp_path / "cache")}
    subprocess.run([go, "build", "-o", "walk", "walk.go"], cwd=tmp_path, env=environment,
                   check=True, timeout=TIMEOUT)  # fmt: skip
    assert b"ld-linux" not in (tmp_path / "walk").read_bytes()
    assert output(mapdev, tmp_path / "walk") == (
        "/sys/devices/virtual/sensor/sensor0 true 21 <nil> <nil>\n"
        "<nil> [/dev/sensor0] <nil>\n/sys/class/sensor <nil>\n"
    )


def test_a_static_program_in_c_looks_everywhere(
    mapdev: Any, sensor: Any, build_client: Any
) -> None:
    """opendir, seekdir, glob, nftw, fts, realpath and the like of the C library, linked in."""
    assert output(mapdev, build_client("look")) == "done\n"


def test_inotifywait(mapdev: Any, sensor: Any, require_program: Any) -> None:
    program = require_program("inotifywait", "inotify-tools")
    command = [program, "-m", "-t", str(TIMEOUT), "-e", "create,delete", "/dev"]
    process = mapdev.popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert "Watches established.\n" in iter(
            process.stdout.readline, ""
        )  # it ends by itself, at the latest
        mapdev.remove(sensor)
        mapdev.add("sensor", "/dev/sensor7")
        seen = []
        for line in iter(process.stdout.readline, ""):
            seen.append(line)
            if line == "/dev/ CREATE sensor7\n":
                break
        assert "/dev/ DELETE sensor0\n" in seen and "/dev/ DELETE,ISDIR sensors\n" in seen, seen
        assert "/dev/ CREATE sensor7\n" in seen
    finally:
        process.kill()
        process.communicate()


PYUDEV = """
import sys, pyudev
context = pyudev.Context()
found = [device.device_node for device in context.list_devices(subsystem='sensor')]
assert found == ['/dev/sensor0'], found
device = pyudev.Devices.from_device_file(context, '/dev/sensor0')
assert device.is_initialized and device.get('ID_SENSOR') == '1', dict(device)
assert device.attributes.asstring('temp') == '21000' and device.driver is None
assert list(device.device_links) == ['/dev/sensors/by-id/fake']
assert [d.sys_name for d in context.list_devices(ID_SENSOR='1')] == ['sensor0']
monitor = pyudev.Monitor.from_netlink(context)
monitor.filter_by('sensor')
monitor.start()
print('ready', flush=True)
for _ in range(2):
    device = monitor.poll(timeout=60)
    print(device.action, device.sys_name, device.get('ID_SENSOR'), flush=True)
"""


def test_pyudev(mapdev: Any, sensor: Any) -> None:
    pytest.importorskip("pyudev", reason="pip install pyudev")
    process = mapdev.popen([sys.executable, "-c", PYUDEV], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        mapdev.remove(sensor)
        mapdev.add(Sensor, "/dev/sensor0")
        assert process.communicate(timeout=TIMEOUT)[0] == "remove sensor0 1\nadd sensor0 1\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
