"""stress-ng's stressor of device nodes, as it is, on each driver of the gallery.

It opens a node in many ways and makes whatever calls it can think of on it, ioctls of other
devices, mmap and splice among them, from several processes.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from pathlib import Path

from mapdev.host.core.host import Host
from mapdev.host.loading import gallery

SECONDS = 1  # on each node
PATIENCE = 30

AFTERWARDS = f"""
import mmap, os, sys
for node in sys.argv[1:]: os.close(os.open(node, os.O_RDONLY))
fd = os.open(sys.argv[1], os.O_RDWR)
area = mmap.mmap(fd, {mmap.PAGESIZE})
area[:5] = b"alive"
print(os.read(fd, 5))
"""


def test_stress_ng(
    mapdev: Host, require_program: Callable[[str, str], str], tmp_path: Path
) -> None:
    program = require_program("stress-ng", "stress-ng")
    names = sorted(gallery(), key=lambda name: name != "contiguous")
    nodes = [f"/dev/stressed-{name}" for name in names]
    (tmp_path / "object").write_bytes(bytes(100_000))
    for name, node in zip(names, nodes, strict=True):
        parameters = {"url": f"{tmp_path}/object"} if name == "remote" else {}
        mapdev.add(name, node, **parameters)
    for node in nodes:
        command = [program, "--dev", "2", "--dev-file", node, "--timeout", str(SECONDS)]
        done = mapdev.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        assert "1 of 1 devices opened and exercised" in done.stderr
    done = mapdev.run([sys.executable, "-c", AFTERWARDS, *nodes], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("b'alive'\n", "")
