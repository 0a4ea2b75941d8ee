"""The hosts on which the suite can run: each lets the client ask rows of a device.

A host here is a class with a name and a method `observe`. To add one, write the class and put it
into `HOSTS`; what it is known to do differently goes into known_differences.tsv under its name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import mapdev

from .control import Control
from .expectations import CANNOT
from .kernel import Kernel
from .peculiar import DEVICES

CLIENTS = Path(__file__).parent / "clients"
FLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
FAULTING = ("fault", "faultpfn")
# Rows in which the kernel itself touches a page that is not there yet.
FAULTS_IN_CALLS = {
    "sig_past_device_end", "sys_write_from", "sys_read_into", "sys_procmem", "sys_vmsplice",
    "sys_odirect",
}  # fmt: skip
_WHY_NO_FAULTS = "serve faults inside system calls: root, or vm.unprivileged_userfaultfd=1"
PATIENCE = 120  # seconds for all rows of a device: the client itself ends a row that hangs


class Host(Protocol):
    """What the suite needs of a host."""

    name: str

    def observe(self, device: str, rows: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Run rows with a device that is new: their observations, and what was left behind.

        A row without an observation is one of which the client never came to speak.
        """


def build_client(directory: Path) -> Path:
    """Compile the client, or find the one that was compiled for this machine elsewhere."""
    built = os.environ.get("MAPDEV_CLIENTS")
    if built and (program := Path(built) / "conformance").exists():
        return program
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler: apt-get install gcc libc6-dev")
    program = directory / "client"
    sources = sorted(CLIENTS.glob("*.c"))
    subprocess.run([compiler, *FLAGS, "-o", program, *sources], check=True)
    return program


class Embedded:
    """The embedded host: reference devices in Python, in the process that runs the suite."""

    name = "embedded"

    def start(self) -> mapdev.host.core.host.Host:
        """The host that serves the devices."""
        return mapdev.host(memory="64M")

    def __init__(self, client: Path, directory: Path) -> None:
        self.client = client
        self.directory = directory  # where clients run: rows about O_DIRECT make a file there

    def observe(self, device: str, rows: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Run rows, in a host of their own."""
        with self.start() as host, tempfile.TemporaryFile("w+") as output:
            if device in DEVICES:
                driver = host.add(DEVICES[device], f"/dev/ref_{device}")
                host.add(driver, f"/devnx/ref_{device}")
                host.add(Control, "/dev/ref_ctl", devices={device: driver})
            command = [self.client, ",".join(rows), device]
            process = host.popen(command, stdout=output, cwd=self.directory)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            output.seek(0)
            lines = output.read().splitlines()
        seen = dict(line.split("\t", 1) for line in lines)
        if self.name == "embedded" and device in FAULTING and not _serves_faults_in_calls():
            seen |= dict.fromkeys(FAULTS_IN_CALLS & set(seen), CANNOT + _WHY_NO_FAULTS)
        return seen, host.leaks


def _serves_faults_in_calls() -> bool:
    setting = Path("/proc/sys/vm/unprivileged_userfaultfd")
    return os.geteuid() == 0 or setting.read_text().strip() == "1"


class KernelHost(Embedded):
    """The kernel host: the same devices, through our module in the kernel that runs the suite."""

    name = "kernel-host"

    def start(self) -> mapdev.host.core.host.Host:
        """The host that serves the devices; rows about a mount with noexec need one."""
        where = Path("/devnx")
        if not where.is_mount():
            where.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "devnx", where], check=True)
        return mapdev.host(kind="kernel")


HOSTS: dict[str, Callable[[Path, Path], Host]] = {
    Embedded.name: Embedded,
    KernelHost.name: KernelHost,
    Kernel.name: Kernel,
}


def here() -> list[str]:
    """The hosts that the tests measure where they run; those with other kernels are in tests/vm."""
    return [KernelHost.name if Path("/sys/module/mapdev").exists() else Embedded.name]
