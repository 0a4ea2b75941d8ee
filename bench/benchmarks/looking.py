"""Programs that look for devices: listing /dev, walking /sys/class, asking libudev.

Each is compared with the same program that meets the real machine alone, and with one under
umockdev, which shows a device of the same class.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from bench.harness import Bench, Missing, Samples
from bench.report import Row

TREE = """\
P: /devices/virtual/bench/bench
N: bench
E: DEVNAME=/dev/bench
E: SUBSYSTEM=bench
A: value=1\\n
"""


def measure(bench: Bench) -> Iterator[Row]:
    spawn = bench.client("spawn")
    description = bench.directory / "tree"
    description.write_text(TREE)
    commands = {
        "ls /dev": (["ls", "/dev"], 20),
        "find -L /sys/class -maxdepth 2": (["find", "-L", "/sys/class", "-maxdepth", "2"], 4),
        "libudev's enumerate, a subsystem (udevadm trigger -n)": (
            ["udevadm", "trigger", "-n", "-s", "mem"], 4
        ),
    }  # fmt: skip
    for what, (program, count) in commands.items():
        command = [spawn, bench.count(count), *program]

        def umockdev(command: list[object] = command) -> Samples:
            wrapper = shutil.which("umockdev-run")
            if wrapper is None:
                raise Missing("umockdev is missing: apt-get install umockdev")
            return bench.run([wrapper, "--device", description, "--", *command])

        results = bench.alternate({
            "ours": lambda command=command: bench.mapdev("InTree", command),
            "real": lambda command=command: bench.run(command),
            "umockdev": umockdev,
        }, rounds=2 if bench.quick else 6)  # fmt: skip
        ours = results["ours"]
        for side, name in (("real", "without mapdev"), ("umockdev", "umockdev")):
            theirs = results[side]
            yield Row(what, name, ours["run"], theirs["run"],
                      why_not=ours.why_not or theirs.why_not)  # fmt: skip
