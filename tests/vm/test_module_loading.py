"""`mapdev module` with real kernels: built here, loaded and unloaded in a machine.

The module is a small one of the same name, so that what goes wrong can be arranged.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mapdev.module.build import build
from mapdev.support.tools import UnavailableError
from mapdev.vm import machine
from mapdev.vm.kernels import Kernel

MAIN = """
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
static int limit = 1;
module_param(limit, int, 0444);
static const struct file_operations fops = { .owner = THIS_MODULE };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "mapdev", .fops = &fops };
module_misc_device(device);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a control device that does nothing");
MODULE_VERSION("1.0");
"""
HEADER = "#define MAPDEV_ABI_MAJOR 1\n#define MAPDEV_ABI_MINOR 0\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAPDEV_MODULE_SOURCE", str(tmp_path))
    (tmp_path / "Kbuild").write_text("obj-m := mapdev.o\nmapdev-y := main.o\n")
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "mapdev.h").write_text(HEADER)
    monkeypatch.setenv("MAPDEV_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def directory(kernel: Kernel) -> Path:
    """Return the build directory of a kernel, found before the cache becomes another one."""
    assert kernel.build
    return kernel.build


def test_it_is_built_once_for_each_source(
    directory: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(directory)
    assert first.name == "mapdev.ko"
    assert f"building the module for Linux {first.parent.name[7:-17]}" in capsys.readouterr().err
    assert build(directory) == first
    assert capsys.readouterr().err == ""
    assert sorted(path.name for path in source.iterdir()) == [
        "Kbuild",
        "cache",
        "main.c",
        "mapdev.h",
    ]
    (source / "main.c").write_text(MAIN.replace("does nothing", "does little"))
    second = build(directory)
    assert second != first
    assert not first.exists()


def test_what_the_compiler_says_is_shown(directory: Path, source: Path) -> None:
    (source / "main.c").write_text(MAIN + "int broken(void) { return undeclared; }\n")
    with pytest.raises(UnavailableError, match=r"can't be built for Linux 6(.|\n)*undeclared"):
        build(directory)
    (source / "main.c").write_text(MAIN)
    assert build(directory).exists()


# Run in the machine, by one Python: each start of another takes a second there.
INSIDE = """
import subprocess, sys
from mapdev.module.command import main

def module(*words):
    status = main(words)
    print(f"status {status}", file=sys.stderr)

module("load", "--file", sys.argv[1], "limit=x")
module("load", "--file", "/etc/passwd")
module("load", "--file", sys.argv[1], "limit=7")
with open("/dev/mapdev") as device:
    module("status")
    module("load", "--file", sys.argv[1], "limit=8")
    user = subprocess.Popen(["sleep", "1000"], stdin=device)
module("unload")
user.kill()
user.wait()
module("unload")
module("unload")
module("status")
"""


def test_load_status_unload(kernel: Kernel, directory: Path, source: Path) -> None:
    said: list[bytes] = []
    outcome = machine.run(
        kernel, [sys.executable, "-c", INSIDE, str(build(directory))], timeout=120,
        write=lambda _, data: said.append(data),
    )  # fmt: skip
    output = b"".join(said).decode()
    print(output)
    assert outcome.status == 0
    answers = re.split(r"status (\d+)\n", output)
    texts, statuses = answers[0::2], answers[1::2]
    assert statuses == ["1", "1", "0", "0", "1", "1", "0", "0", "1"]
    assert "the module does not take limit=x" in texts[0]
    assert "/etc/passwd is not for the running kernel" in texts[1]
    assert "the module is loaded, version 1.0" in texts[2]
    assert "version:    1.0\nreferences: 1\nparameter:  limit=7\n" in output
    assert "the module is loaded, with other parameters maybe" in texts[4]
    assert re.search(r"process \d+ \(sleep\) has /dev/mapdev open", texts[5])
    assert "the module is unloaded" in texts[6]
    assert "the module was not loaded" in texts[7]
    assert "the module is not loaded: " in texts[8]
