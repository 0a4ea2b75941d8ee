"""The plain kernel as a host: the reference devices in C, in a virtual machine.

Where the expectations come from, so that nothing may differ. The machine is booted once, when the
first device is asked for, and runs the rows of all devices.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mapdev.module.build import build
from mapdev.support.tools import UnavailableError
from mapdev.vm import kernels, machine

from .expectations import Pair, load_expected

SOURCE = Path(__file__).parent / "reference"
FLAGS = ("W=1", "KCFLAGS=-Werror")
PATIENCE = 300  # seconds for all of it: without KVM it takes some 20
_DEVICE = "@ "  # how a line begins that says whose rows follow
_SCRIPT = """\
mkdir -p /devnx && mount -t tmpfs -o noexec devnx /devnx && cp -a /dev/ref_* /devnx/ || exit
cd /var/tmp || exit
{rows}
umount /devnx && cd / && {busybox} rmmod {module}
"""
_BUSYBOX = "/run/mapdev/busybox"  # the one that started the machine


def module(kernel: kernels.Kernel) -> Path:
    """The reference driver, built for this kernel; a warning of the compiler is an error.

    :raises UnavailableError: it can't be built.
    """
    if kernel.build is None:
        raise UnavailableError(f"there are no headers of Linux {kernel.release}")
    return build(kernel.build, FLAGS, SOURCE)


class Kernel:
    """The kernel host's measure: a kernel, and drivers in C."""

    name = "kernel"

    def __init__(
        self,
        client: Path,
        directory: Path,
        series: str = kernels.DEFAULT,
        pairs: Iterable[Pair] | None = None,
    ) -> None:
        self.client = client
        self.pairs = load_expected() if pairs is None else pairs
        self.series = series
        self.console = ""  # what the kernel said, from warnings on
        self._seen: dict[str, dict[str, str]] = {}
        self._left_behind: list[str] = []

    def observe(self, device: str, rows: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """What was seen of rows; all pairs are run together."""
        if not self._seen:
            self._run()
        return self._seen.get(device, {}), self._left_behind

    def _run(self) -> None:
        kernel = kernels.find(self.series)
        output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        outcome = machine.run(
            kernel, ["sh", "-c", self._script()], module=module(kernel), disk=True,
            timeout=PATIENCE, write=lambda number, data: output[number].extend(data),
        )  # fmt: skip
        self.console = outcome.console
        if outcome.status:
            self._left_behind = [output[2].decode(errors="replace")]
        self._seen = dict(_sections(output[1].decode(errors="replace")))

    def _script(self) -> str:
        rows: dict[str, list[str]] = {}
        for pair in self.pairs:
            rows.setdefault(pair.device, []).append(pair.row)
        lines = [
            f"echo {shlex.quote(_DEVICE + device)}; {shlex.join((str(self.client), ','.join(names), device))}"
            for device, names in rows.items()
        ]
        return _SCRIPT.format(rows="\n".join(lines), busybox=_BUSYBOX, module="reference")


def _sections(output: str) -> Iterator[tuple[str, dict[str, str]]]:
    """What the client said of each device."""
    for section in output.split(f"\n{_DEVICE}"):
        device, _, lines = section.removeprefix(_DEVICE).partition("\n")
        yield device, dict(line.split("\t", 1) for line in lines.splitlines() if "\t" in line)
