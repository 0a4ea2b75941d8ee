"""Programs built with sanitizers, or run by valgrind, which have memory at fixed addresses.

Each maps devices in all ordinary ways (tests/clients/mapper.c); the driver is asked once for each
mmap, and the fixture finds nothing left behind.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mapdev.drivers.contiguous import Contiguous
from mapdev.drivers.lazy import Lazy
from mapdev.drivers.vmalloc import Vmalloc
from mapdev.host.core.host import Host
from mapdev.linux import File, VmAreaStruct

SOURCE = Path(__file__).parent.parent / "clients" / "mapper.c"
PATIENCE = 60  # seconds
PACKAGES = {"gcc": "gcc libc6-dev", "clang": "clang"}
SANITIZERS = [
    *(("gcc", name) for name in ("address", "thread", "undefined", "leak")),
    *(("clang", name) for name in ("address", "thread", "undefined", "memory", "dataflow")),
]
RACY_GO = """
package main

import ("fmt"; "os"; "sync"; "syscall")

func main() {
    var wait sync.WaitGroup
    for _, node := range os.Args[1:] {
        file, err := os.OpenFile(node, os.O_RDWR, 0)
        if err != nil { panic(err) }
        for i := 0; i < 4; i++ {
            wait.Add(1)
            go func(i int) {
                defer wait.Done()
                area, err := syscall.Mmap(int(file.Fd()), 0, 16384,
                    syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
                if err != nil { panic(err) }
                area[4096 * i] = byte(i)
                if area[4096 * i] != byte(i) { panic("it shows something else") }
                if err := syscall.Munmap(area); err != nil { panic(err) }
            }(i)
        }
    }
    wait.Wait()
    fmt.Println("done")
}
"""

Require = Callable[[str, str], str]


class _Counted:
    mmaps = 0

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        super().mmap(file, vma)  # type: ignore[misc]
        self.mmaps += 1


class CountedContiguous(_Counted, Contiguous):
    """Counts how often it is mapped."""


class CountedVmalloc(_Counted, Vmalloc):
    """Counts how often it is mapped."""


class CountedLazy(_Counted, Lazy):
    """Counts how often it is mapped."""


def _build(compiler: str, target: Path, *options: str) -> Path:
    done = subprocess.run(
        [compiler, "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", *options,
         "-o", target, SOURCE],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


def _map_all(mapdev: Host, command: Sequence[str | Path]) -> None:
    for driver in (CountedContiguous, CountedVmalloc, CountedLazy):
        node = f"/dev/{driver.__name__}"
        serving = mapdev.add(driver, node)
        done = mapdev.run([*command, node], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{node}: {done.stdout}\n{done.stderr}"
        assert int(done.stdout) == serving.mmaps, node


@pytest.mark.parametrize(("compiler", "sanitizer"), SANITIZERS)
def test_a_program_with_a_sanitizer(
    mapdev: Host, require_program: Require, tmp_path: Path, compiler: str, sanitizer: str
) -> None:
    path = require_program(compiler, PACKAGES[compiler])
    _map_all(mapdev, [_build(path, tmp_path / "mapper", f"-fsanitize={sanitizer}")])


@pytest.mark.parametrize("tool", ["memcheck", "helgrind"])
def test_valgrind(mapdev: Host, require_program: Require, tmp_path: Path, tool: str) -> None:
    valgrind = require_program("valgrind", "valgrind")
    program = _build(require_program("gcc", PACKAGES["gcc"]), tmp_path / "mapper")
    _map_all(mapdev, [valgrind, "--quiet", f"--tool={tool}", program])


@pytest.mark.parametrize("layout", ["--addr-no-randomize", "--addr-compat-layout"])
@pytest.mark.parametrize("linking", ["-static", "-static-pie", "-pie"])
def test_layouts_of_the_address_space(
    mapdev: Host, require_program: Require, tmp_path: Path, layout: str, linking: str
) -> None:
    """Bottom-up, libraries come to lie where devices are mapped otherwise."""
    setarch = require_program("setarch", "util-linux")
    program = _build(require_program("gcc", PACKAGES["gcc"]), tmp_path / "mapper", linking)
    _map_all(mapdev, [setarch, layout, program])


def test_the_race_detector_of_go(mapdev: Host, require_program: Require, tmp_path: Path) -> None:
    go = require_program("go", "golang-go")
    (tmp_path / "main.go").write_text(RACY_GO)
    # Its cache is kept: the race detector's library takes a minute to compile.
    subprocess.run([go, "build", "-race", "-o", "racy", "main.go"], cwd=tmp_path, check=True,
                   env=os.environ | {"GO111MODULE": "off"})  # fmt: skip
    nodes = ["/dev/contiguous", "/dev/vmalloc", "/dev/lazy"]
    for node in nodes:
        mapdev.add(node.removeprefix("/dev/"), node)
    done = mapdev.run([tmp_path / "racy", *nodes], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
