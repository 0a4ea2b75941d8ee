"""The same questions about a class device's directory, asked of a stock kernel and of this host.

sysfs_answers.tsv has the answers of Linux 6.12 (Debian), as root, about /sys/class/mem/null. It is
made again by running sysfs_questions.py in `mapdev vm --kernel 6.12`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mapdev import Driver
from mapdev.host.embedded.host import EmbeddedHost

HERE = Path(__file__).parent
# What docs/fidelity.md says of them.
DIFFERENT = {
    "a link": "../../../../class/nulls",
    "sendfile": "EINVAL",
    "splice": "EINVAL",
    "setxattr trusted": "EPERM",
}
WITHOUT_FUSE = {"poll before it was read": "[2]"}


class Null(Driver):
    """A class device without attributes of its own."""

    dev_class = "nulls"


def answers(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines())


@pytest.mark.skipif(os.getuid() != 0, reason="the answers are those that root gets")
def test_answers(mapdev: EmbeddedHost) -> None:
    mapdev.add(Null, "/dev/null0")
    command = [sys.executable, "-S", HERE / "sysfs_questions.py", "/sys/class/nulls/null0"]
    done = mapdev.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    kernel = answers((HERE / "sysfs_answers.tsv").read_text())
    here = answers(done.stdout)
    assert list(kernel) == list(here) and len(here) > 100
    different = {name: answer for name, answer in here.items() if answer != kernel[name]}
    has_fuse = mapdev.subsystems.files._device_files.is_there
    assert different == (DIFFERENT if has_fuse else DIFFERENT | WITHOUT_FUSE)
