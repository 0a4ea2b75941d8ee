"""What `mapdev module` says of a machine: of a made-up one where the real thing can't be had."""

from __future__ import annotations

import errno
import mmap
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mapdev.module import headers, load, lockdown, source, state
from mapdev.module.command import main
from mapdev.module.users import User, users
from mapdev.support.tools import UnavailableError


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def module_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "source"
    write(directory, {
        "Kbuild": "obj-m := mapdev.o\n",
        "mapdev.h": "#define MAPDEV_ABI_MAJOR\t2\t/* x */\n#define MAPDEV_ABI_MINOR 5\n",
        "main.c": "", "mapdev.mod.c": "", "main.o": "", "dkms.conf": "",
    })  # fmt: skip
    monkeypatch.setenv("MAPDEV_MODULE_SOURCE", str(directory))
    return directory


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    write(root, {
        "sys/module/mapdev/initstate": "live\n",
        "sys/module/mapdev/version": "2.0\n",
        "sys/module/mapdev/refcnt": "3\n",
        "sys/module/mapdev/parameters/timeout_ms": "5000\n",
        "sys/class/mapdev/mapdev!fb0/dev": "511:2\n",
        "sys/class/mapdev/mapdev!fb0/uevent": "MAJOR=511\nMINOR=2\nDEVNAME=fb0\n",
    })  # fmt: skip
    return root


def test_the_source_and_its_version(module_source: Path) -> None:
    assert source.directory() == module_source
    assert source.version() == "2.5"
    assert [path.name for path in source.files()] == ["Kbuild", "main.c", "mapdev.h"]


def test_dkms_knows_the_version() -> None:
    directory = Path(__file__).parents[2] / "module"
    if not (directory / "Kbuild").exists():
        pytest.skip("the module's source is not in this tree")
    assert f'PACKAGE_VERSION="{source.version()}"\n' in (directory / "dkms.conf").read_text()


def test_no_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAPDEV_MODULE_SOURCE", str(tmp_path))
    with pytest.raises(UnavailableError, match="has no Kbuild"):
        source.directory()


def test_state_of_a_loaded_module(loaded: Path, module_source: Path) -> None:
    found = state.read(loaded)
    assert found == state.State("2.0", 3, {"timeout_ms": "5000"}, {"fb0": (511, 2)})
    assert found.fits


def test_state_of_another_version(loaded: Path, module_source: Path) -> None:
    write(loaded, {"sys/module/mapdev/version": "3.5\n"})
    found = state.read(loaded)
    assert found
    assert not found.fits


def test_not_loaded_or_on_its_way(loaded: Path, tmp_path: Path) -> None:
    assert state.read(tmp_path) is None
    write(loaded, {"sys/module/mapdev/initstate": "coming\n"})
    assert state.read(loaded) is None


def test_who_has_it_open_and_mapped() -> None:
    device = os.stat("/dev/zero").st_rdev
    numbers = {(os.major(device), os.minor(device))}
    with open("/dev/zero", "rb") as file, mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE):
        found = users(numbers)
    mine = {use.how: str(use) for use in found if use.pid == os.getpid()}
    assert "has /dev/zero open" in mine["open"]
    if os.geteuid() == 0:  # an ordinary user may not follow a mapping to its file
        assert f"process {os.getpid()}" in mine["mapped"]


# Has a file open in a file system whose server never answers, in a mount namespace of its own.
HUNG = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def check(result): assert not result, os.strerror(ctypes.get_errno())
check(libc.unshare(0x20000))  # CLONE_NEWNS
check(libc.mount(None, b'/', None, 0x44000, None))  # MS_REC | MS_PRIVATE
fuse = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={fuse},rootmode=40000,user_id=0,group_id=0'.encode()
check(libc.mount(b'hung', sys.argv[1].encode(), b'fuse', 0, options))
fd = os.open(sys.argv[1], os.O_PATH)
zero = os.open('/dev/zero', os.O_RDONLY)
print('ready', flush=True); sys.stdin.read()
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
    reason="needs root and /dev/fuse",
)
def test_who_has_it_open_does_not_wait_for_servers_that_hang(tmp_path: Path) -> None:
    device = os.stat("/dev/zero").st_rdev
    numbers = {(os.major(device), os.minor(device))}
    with subprocess.Popen(
        [sys.executable, "-S", "-c", HUNG, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        found: list[User] = []
        look = threading.Thread(target=lambda: found.extend(users(numbers)), daemon=True)
        look.start()
        look.join(30)
        is_waiting = look.is_alive()
        process.kill()  # which ends the file system
    assert not is_waiting
    assert process.pid in {use.pid for use in found}


def test_headers_that_are_missing() -> None:
    with pytest.raises(UnavailableError, match=r"the headers of Linux 0\.1 are missing: .*0\.1"):
        headers.build_directory("0.1")


def test_no_build_directory(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is no directory to build modules in"):
        headers.release_of(tmp_path)


def test_the_compiler_that_the_kernel_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    write(tmp_path, {"include/config/auto.conf": "CONFIG_CC_VERSION_TEXT=gcc-99 (Debian) 99.0\n",
                     "bin/gcc": ""})  # fmt: skip
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(UnavailableError, match=r"apt-get install .*gcc-99"):
        headers.compiler(tmp_path)
    (programs / "gcc").chmod(0o755)
    assert headers.compiler(tmp_path) == ["CC=gcc"]
    (programs / "gcc").rename(programs / "gcc-99")
    assert headers.compiler(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, None),
        ({"sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, None),
        ({"sys/kernel/security/lockdown": "none [integrity] confidentiality\n"},
         "the kernel is locked down (integrity)"),
        ({"sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
          "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\6\0\0\0\1"},
         "the kernel is locked down (integrity), because of Secure Boot"),
        ({"sys/module/module/parameters/sig_enforce": "Y\n"},
         "the kernel was told to load signed modules only (module.sig_enforce)"),
    ],
)  # fmt: skip
def test_lockdown(tmp_path: Path, files: dict[str, str], reason: str | None) -> None:
    write(tmp_path, files)
    assert lockdown.wants_signatures(tmp_path) == reason


def test_no_more_modules(tmp_path: Path) -> None:
    assert not lockdown.forbids_all(tmp_path)
    write(tmp_path, {"proc/sys/kernel/modules_disabled": "1\n"})
    assert lockdown.forbids_all(tmp_path)


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("ordinary_user")
def test_only_root_may(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/mapdev"])
    monkeypatch.setattr(load, "finit_module", partial(_refuse, errno.EPERM))
    monkeypatch.setattr(load, "delete_module", partial(_refuse, errno.EPERM))
    assert main(["load", "--file", os.devnull, "timeout_ms=1"]) == 1
    assert capsys.readouterr().err == (
        "mapdev: only root may load modules: sudo /opt/bin/mapdev module load timeout_ms=1\n"
    )
    assert main(["unload"]) == 1
    assert "sudo /opt/bin/mapdev module unload" in capsys.readouterr().err


def test_status_without_the_module(capsys: pytest.CaptureFixture[str]) -> None:
    if state.read():
        pytest.skip("it is loaded here")
    assert main(["status"]) == 1
    assert "the module is not loaded: " in capsys.readouterr().err


def test_build_without_headers(capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/lib/modules", platform.release(), "build").exists():
        pytest.skip("the headers of this kernel are installed")
    assert main(["build"]) == 1
    assert f"the headers of Linux {platform.release()} are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["load", "--file", "/nonexistent"], ["build", "--kernel-dir", "/"]]
)
def test_what_is_not_there(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert capsys.readouterr().err.startswith("mapdev: ")


def test_signatures_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "finit_module", partial(_refuse, errno.EKEYREJECTED))
    with pytest.raises(UnavailableError, match=r"signed modules only(.|\n)*mokutil --import"):
        load.load(Path(os.devnull))


def _refuse(number: int, *arguments: object) -> None:
    raise OSError(number, os.strerror(number))


def test_a_parameter_that_the_module_does_not_have(tmp_path: Path) -> None:
    from mapdev.module.load import _check_parameters

    module = tmp_path / "mapdev.ko"
    module.write_bytes(b"\0license=GPL\0parmtype=max_mb:ulong\0parm=max_mb:how much\0")
    _check_parameters(module, ["max_mb=5"])
    _check_parameters(module, ["max-mb=5"])  # as modprobe takes it
    for wrong in "max_kb=5", "max_mb", "=5", "license=GPL":
        with pytest.raises(UnavailableError, match=r"no parameter .*max_mb for key"):
            _check_parameters(module, [wrong])
