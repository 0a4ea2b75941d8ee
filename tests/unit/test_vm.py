"""Which kernel a name or a path stands for, and what the machine's initramfs has in it."""

from __future__ import annotations

import lzma
import os
import struct
import subprocess
from pathlib import Path

import pytest

from mapdev.support import cache
from mapdev.support.tools import UnavailableError
from mapdev.vm import initramfs, kernels, machine
from mapdev.vm.kernels import Kernel

RELEASE = "6.6.6-test"


def bz_image(path: Path) -> Path:
    """Write the start of a kernel image: Documentation/arch/x86/boot.rst."""
    header = bytearray(0x400)
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x20E, 0x100)
    text = f"{RELEASE} (someone@somewhere) #1 SMP".encode()
    header[0x300 : 0x300 + len(text)] = text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header)
    return path


def module(path: Path, *needs: str, packed: bool = False) -> None:
    data = b"\x7fELF" + f"\0license=GPL\0depends={','.join(needs)}\0name=x\0".encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(data) if packed else data)


def test_an_unpacked_package(tmp_path: Path) -> None:
    bz_image(tmp_path / "boot" / f"vmlinuz-{RELEASE}")
    modules = tmp_path / "lib/modules" / RELEASE
    (modules / "build").mkdir(parents=True)
    found = kernels.find(str(tmp_path))
    assert found.release == RELEASE
    assert (found.modules, found.build) == (modules, modules / "build")
    assert kernels.find(str(found.image)).modules == modules


def test_an_image_beside_its_modules(tmp_path: Path) -> None:
    """As Debian has it since 7.3."""
    modules = tmp_path / "lib/modules" / RELEASE
    image = bz_image(modules / "vmlinuz")
    assert kernels.find(str(image)).modules == modules
    (tmp_path / "boot").mkdir()
    assert kernels.find(str(tmp_path))[:3] == (RELEASE, image, modules)
    image.unlink()
    with pytest.raises(UnavailableError, match="neither boot/vmlinuz"):
        kernels.find(str(tmp_path))


def test_a_build_tree(tmp_path: Path) -> None:
    generated = tmp_path / "include/generated"
    generated.mkdir(parents=True)
    (generated / "utsrelease.h").write_text(f'#define UTS_RELEASE "{RELEASE}"\n')
    (tmp_path / "vmlinux").touch()
    with pytest.raises(UnavailableError, match=r"has no arch/x86/boot/bzImage: make "):
        kernels.find(str(tmp_path))
    image = bz_image(tmp_path / "arch/x86/boot/bzImage")
    found = kernels.find(str(tmp_path))
    assert found[:4] == (RELEASE, image, tmp_path, tmp_path)


def test_what_names_usr_src_is_made_independent_of_the_place(tmp_path: Path) -> None:
    modules, headers = tmp_path / "lib/modules/1-a", tmp_path / "usr/src/linux-headers-1-a"
    modules.mkdir(parents=True)
    headers.mkdir(parents=True)
    (modules / "build").symlink_to("/usr/src/linux-headers-1-a")
    (headers / "Makefile").write_text("include /usr/src/linux-headers-1-common/Makefile\n")
    kernels.relocate(tmp_path)
    assert (modules / "build").resolve() == headers
    assert (headers / "Makefile").read_text() == (
        "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-1-common/Makefile\n"
    )


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    modules = tmp_path / "modules"
    module(modules / "net/9pnet_virtio.ko.xz", "9pnet", "virtio_ring", packed=True)
    module(modules / "net/9pnet.ko")
    module(modules / "fs/9p.ko.xz", "9pnet", packed=True)
    module(modules / "fs/overlay.ko")
    (modules / "modules.builtin").write_text(
        "".join(f"kernel/virtio/{name}.ko\n" for name in
                ("virtio_pci", "virtio_console", "virtio-rng", "virtio_ring"))
    )  # fmt: skip
    return Kernel("6.12.1-test", tmp_path / "image", modules, None, "a test's")


def test_modules_come_after_those_that_they_need(kernel: Kernel) -> None:
    found = dict(initramfs._modules(kernel))
    assert list(found) == ["9pnet", "9pnet_virtio", "9p", "overlay"]
    assert all(data.startswith(b"\x7fELF") for data in found.values())


def test_a_kernel_that_lacks_one(kernel: Kernel) -> None:
    (kernel.modules / "fs/overlay.ko").unlink()
    with pytest.raises(UnavailableError, match="a test's has no module overlay"):
        list(initramfs._modules(kernel))


def test_the_command_of_a_machine(kernel: Kernel, tmp_path: Path) -> None:
    image = tmp_path / "initramfs"
    initramfs.write(
        image, kernel, ["echo", "a b", "$c"], directory="/some where",
        environment={"QUOTE": "it's", "BASH_FUNC_f%%": "() { :; }"},
    )  # fmt: skip
    data = image.read_bytes()
    assert (
        b"export QUOTE='it'\"'\"'s'\ncd '/some where' || exit 125\nexec echo 'a b' '$c'\n" in data
    )
    assert b"BASH_FUNC" not in data


def test_the_cache_keeps_the_newest_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAPDEV_CACHE", str(tmp_path))
    made: list[Path] = []
    for recipe in ("a", "a", "b"):
        directory = cache.made_once("thing", recipe, made.append)
        assert directory == tmp_path / f"thing-{recipe}"
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["thing-b"]


def test_what_could_not_be_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAPDEV_CACHE", str(tmp_path))

    def fail(work: Path) -> None:
        (work / "half").touch()
        raise UnavailableError("no network")

    with pytest.raises(UnavailableError):
        cache.made_once("thing", "a", fail)
    directory = cache.made_once("thing", "a", lambda work: (work / "whole").touch())
    assert [path.name for path in directory.iterdir()] == ["whole"]


def test_qemu_does_not_start_when_its_parent_has_died_already() -> None:
    """The kernel tells only who has asked by then: the pipe tells what came before."""
    theirs, ours = os.pipe()
    command = [*machine._ends_with_us(theirs), "echo", "started"]
    done = subprocess.run(command, pass_fds=(theirs,), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "started\n")
    os.close(ours)
    done = subprocess.run(command, pass_fds=(theirs,), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    os.close(theirs)
