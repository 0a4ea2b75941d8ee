"""`mapdev maps`, `mapdev pages` and `mapdev frames`, on real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mapdev
from mapdev.host import place
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.inspect import read_maps
from mapdev.linux import (
    GFP_COMP,
    GFP_KERNEL,
    PAGE_SIZE,
    File,
    VmAreaStruct,
    alloc_pages,
    free_pages,
    kmalloc,
    page_address,
    page_to_pfn,
    remap_pfn_range,
)

MAPDEV = [sys.executable, "-m", "mapdev.cli"]
CLIENT = """
import ctypes, mmap, os, sys
fd = os.open("/dev/buf", os.O_RDWR)
buf = mmap.mmap(fd, 4 * mmap.PAGESIZE)
fd = os.open("/dev/lazy", os.O_RDWR)
lazy = mmap.mmap(fd, 4 * mmap.PAGESIZE)
lazy[mmap.PAGESIZE] = 1
for m in buf, lazy:
    print(ctypes.addressof(ctypes.c_char.from_buffer(m)))
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def own_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))


def run(*args: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *MAPDEV, *args], capture_output=True, text=True, timeout=60, check=False
    )


def ask(*args: str) -> Any:
    done = run(*args, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


class Mapped:
    """A client that has mapped both devices."""

    def __init__(self, host: EmbeddedHost) -> None:
        self.host = host
        self.process = host.popen(
            [sys.executable, "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.buf, self.lazy = (int(self.process.stdout.readline()) for _ in range(2))
        assert self.process.stdout.readline() == "\n"
        self.pid = str(self.process.pid)


@pytest.fixture
def mapped() -> Iterator[Mapped]:
    with mapdev.host("64M") as host:
        host.add("vmalloc", "/dev/buf", size=4 * PAGE_SIZE)
        host.add("lazy", "/dev/lazy", size=4 * PAGE_SIZE)
        host.listen()
        mapped = Mapped(host)
        yield mapped
        process = mapped.process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.close()


def test_maps_of_a_process_without_devices() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        done = run("maps", str(process.pid))
        found = ask("maps", str(process.pid))
        lines = read_maps(process.pid)
        process.kill()
    assert [(area["vm_start"], area["vm_end"], area["file"]) for area in found] == [
        (line.start, line.end, line.path) for line in lines
    ]
    for line in lines:
        assert f"{line.start:012x}-{line.end:012x}" in done.stdout
    assert "VM_READ VM_EXEC VM_MAYREAD VM_MAYWRITE VM_MAYEXEC" in done.stdout


def test_areas_of_devices_are_shown_as_the_driver_knows_them(mapped: Mapped) -> None:
    found = {area["file"]: area for area in ask("maps", mapped.pid)}
    buf, lazy = found["/dev/buf"], found["/dev/lazy"]
    assert (buf["vm_start"], buf["vm_end"]) == (mapped.buf, mapped.buf + 4 * PAGE_SIZE)
    assert {"VM_IO", "VM_PFNMAP", "VM_DONTEXPAND", "VM_DONTDUMP"} <= set(buf["flags"])
    assert lazy["vm_start"] == mapped.lazy and lazy["device"]["vm_ops"] == ["fault"]
    assert not any("memfd:mapdev (deleted)" in name for name in found)
    text = run("maps", mapped.pid).stdout
    assert "vm_ops: fault" in text and f"(host {os.getpid()})" in text


def test_pages_of_devices_have_the_frames_of_the_host(mapped: Mapped) -> None:
    with mapped.host.lock:
        areas = {device.node: vma for _, device, vma in mapped.host.mapped_areas()}
        pfns = [run.pfn + page for run in sorted(areas["/dev/buf"].mapped)
                for page in range(run.nr_pages)]  # fmt: skip
        (lazy,) = areas["/dev/lazy"].mapped
    pages = ask("pages", mapped.pid, "/dev/buf")
    assert [page["pfn"] for page in pages] == pfns
    assert {(page["driver"], page["kind"], page["order"]) for page in pages} == {
        ("vmalloc", "vmalloc", 0)
    }
    (touched,) = ask("pages", mapped.pid, "lazy")  # the last part of the path will do
    assert (touched["addr"], touched["pfn"]) == (mapped.lazy + PAGE_SIZE, lazy.pfn)
    assert (touched["mapcount"], touched["refcount"]) == (1, 2)
    every = ask("pages", mapped.pid, "/dev/lazy", "--all")
    assert [page["pfn"] for page in every] == [None, lazy.pfn, None, None]
    (one,) = ask("pages", mapped.pid, f"{mapped.buf + PAGE_SIZE + 7:#x}")
    assert one["pfn"] == pfns[1]


def test_frames_of_a_host(mapped: Mapped) -> None:
    found = ask("frames")
    assert sum(run["nr_pages"] for run in found) == 5
    for runs in found:
        for page in range(runs["nr_pages"]):
            state = mapped.host.machine.frame(runs["pfn"] + page)
            assert (runs["refcount"], runs["mapcount"], runs["order"]) == (
                state.refcount, state.mapcount, state.order
            )  # fmt: skip
    (lazy,) = ask("frames", str(os.getpid()), "--driver", "lazy")
    assert lazy["mapped"] == [[mapped.process.pid, mapped.lazy + PAGE_SIZE]]
    assert f"{lazy['pfn']:x}   lazy" in run("frames").stdout


class Careless(mapdev.Driver):
    """Frees what a client still maps."""

    def probe(self) -> None:
        self.object = kmalloc(100, GFP_KERNEL)
        self.page = alloc_pages(GFP_KERNEL | GFP_COMP, 1)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        pfn = page_to_pfn(self.page)
        remap_pfn_range(vma, vma.vm_start, pfn, 2 * PAGE_SIZE, vma.vm_page_prot)

    def read(self, file: File, count: int, pos: int) -> bytes:
        free_pages(page_address(self.page), 1)
        return b""


def test_frames_name_the_slab_and_those_that_are_held_back() -> None:
    program = "import mmap, os, sys\nfd = os.open('/dev/x', os.O_RDWR)\n"
    program += "m = mmap.mmap(fd, 2 * mmap.PAGESIZE)\nos.read(fd, 1)\nprint(flush=True)\nsys.stdin.read()\n"
    with mapdev.host("64M") as host:
        host.add(Careless, "/dev/x")
        host.listen()
        slab, block = sorted(ask("frames"), key=lambda run: int(run["nr_pages"]))
        assert (slab["slab"], slab["flags"]) == ("kmalloc-128", ["PG_slab"])
        assert (block["nr_pages"], block["order"], block["kind"]) == (2, 1, "pages")
        with host.popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdin is not None
            process.stdout.readline()
            (held,) = [run for run in ask("frames") if "PG_held" in run["flags"]]
            process.stdin.close()
    assert (held["pfn"], held["nr_pages"], held["kind"]) == (block["pfn"], 2, None)
    assert [pid for pid, _ in held["mapped"]] == [process.pid]


def test_which_host_is_meant() -> None:
    assert "no host of yours runs" in run("frames").stderr
    with mapdev.host("64M") as one, mapdev.host("64M") as two:
        names = one.listen(), two.listen()
        assert names == (str(os.getpid()), f"{os.getpid()}.2")
        done = run("frames")
        assert done.returncode == 1 and "several hosts run" in done.stderr
        assert all(name in done.stderr for name in names)
        assert run("frames", names[1]).returncode == 0
        assert "no host is called '7'" in run("frames", "7").stderr
    assert place.names() == []


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (("maps", str(1 << 22)), 1, "No such process"),
        (("pages", str(1 << 22), "x"), 1, "No such process"),
        (("pages", "self", "x"), 2, "no process number"),
        (("maps",), 2, "PID"),
        (("frames", "--frobnicate"), 2, "unrecognized"),
    ],
)
def test_errors(args: tuple[str, ...], status: int, says: str) -> None:
    done = run(*args)
    assert done.returncode == status and says in done.stderr and "Traceback" not in done.stderr


def test_what_is_not_mapped() -> None:
    pid = str(os.getpid())
    assert "nothing is mapped at 0x10" in run("pages", pid, "10").stderr
    assert "nothing called 'what' is mapped" in run("pages", pid, "what").stderr


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="drops root's rights")
def test_without_privilege_it_says_what_root_would_see() -> None:
    prefix = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    done = run("maps", "1", prefix=prefix)
    assert done.returncode == 1 and "Permission denied" in done.stderr
    assert "root would see its areas: sudo" in done.stderr
    with subprocess.Popen([*prefix, "sleep", "60"]) as process:
        while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            pass
        assert run("maps", str(process.pid), prefix=prefix).returncode == 0
        done = run("pages", str(process.pid), "[stack]", prefix=prefix)
        process.kill()
    assert done.returncode == 0 and "present" in done.stdout
    assert "need CAP_SYS_ADMIN; root would see them" in done.stderr


def test_a_socket_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mapdev.host("64M") as host:
        path = Path(place.path_of(host.listen()))
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "mapdev").mkdir(mode=0o755)
    with mapdev.host("64M") as host, pytest.raises(PermissionError, match="yours alone"):
        host.listen()


def test_the_socket_of_a_killed_host_is_forgotten() -> None:
    program = (
        "import mapdev, os, signal\n"
        "host = mapdev.host('64M'); print(host.listen(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    name = done.stdout.strip()
    assert place.names() == [name]
    assert "no host of yours runs" in run("frames").stderr
    assert place.names() == []
