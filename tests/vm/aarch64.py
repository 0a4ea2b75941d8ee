"""Run a command on aarch64 Linux, in a VM that starts in seconds and needs neither root nor KVM.

    python tests/vm/aarch64.py [--user] [--timeout SECONDS] -- COMMAND [ARG]...

The command finds the project as it is now in /mapdev (its working directory), mapdev itself
importable, the test clients (tests/clients/*.c, static) in $MAPDEV_CLIENTS, pytest, strace, bash
and busybox. Output comes out as it is written, the exit status is the command's. /var/tmp is a
file system with O_DIRECT. What is written in the VM is gone when it ends.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from stat import S_IFREG

import vm_image
from vm_image import GUEST_CLIENTS, GUEST_PROJECT, GUEST_SITE

from mapdev.support.tools import UnavailableError
from mapdev.vm.archive import Archive

TIMED_OUT = 124  # what timeout(1) gives
ENVIRONMENT = {
    "PYTHONPATH": f"/{GUEST_PROJECT}/src:/{GUEST_SITE}",
    "MAPDEV_CLIENTS": f"/{GUEST_CLIENTS}",
    "MAPDEV_EMULATED": "1",  # everything takes some ten times as long: tests do less of the same
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}
# The module may map the registers of the machine's clock.
LOADED = 'insmod "$0" raw=0x9010000+4K && "$@" && rmmod "$0"'
MACHINE = (
    "qemu-system-aarch64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
    "-machine", "virt", "-cpu", "cortex-a57", "-smp", "2", "-m", "2048",
    "-accel", "tcg,thread=multi",
)  # fmt: skip


def check() -> None:
    """Check that the VM can run here.

    :raises UnavailableError: it can't; the text says what is missing.
    """
    for program, package in (
        ("qemu-system-aarch64", "qemu-system-arm"),
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ):
        if shutil.which(program) is None:
            raise UnavailableError(
                f"{program} is missing: tools/setup.sh, or apt-get install {package}"
            )


def run(
    command: Sequence[str], *, user: str = "root", timeout: float = 600, capture: bool = False,
    modules: Sequence[Path] = (),
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Start the VM, run `command` in it as `user` ("root" or "user"), and end the VM.

    The first of `modules` is loaded before the command and unloaded after it, when it has to be
    free. All are in the VM's root directory.

    The result's stdout has the command's output and error output when `capture` is set; otherwise
    they go to this process's own output while they are written.

    :raises UnavailableError: the VM can't be built or started here.
    :raises subprocess.TimeoutExpired: the command takes longer than `timeout` seconds.
    """
    check()
    kernel, base = vm_image.base()
    if modules:
        command = ["sh", "-c", LOADED, f"/{modules[0].name}", *command]
    with tempfile.TemporaryDirectory(prefix="mapdev-vm-") as name:
        directory = Path(name)
        console, status, initrd = (directory / n for n in ("console", "status", "initrd"))
        with initrd.open("wb") as file:
            with base.open("rb") as start:
                shutil.copyfileobj(start, file, 1 << 20)
            file.write(vm_image.project(command, user=user, environment=ENVIRONMENT))
            with Archive(file) as archive:
                for module in modules:
                    archive.add(module.name, S_IFREG | 0o644, module.read_bytes())
        qemu = (
            *MACHINE, "-kernel", str(kernel), "-initrd", str(initrd),
            # init= makes a broken /init a panic, thus an end; else the kernel tries a shell.
            "-append", "console=ttyAMA0 quiet panic=-1 init=/init", "-serial", f"file:{console}",
            "-chardev", "stdio,id=output,signal=off", "-chardev", f"file,id=status,path={status}",
            "-device", "virtio-serial-device", "-device", "virtserialport,nr=1,chardev=output",
            "-device", "virtserialport,nr=2,chardev=status",
        )  # fmt: skip
        # At the end of its standard input qemu takes the port for unplugged: an idle pipe has none.
        idle, keep_open = os.pipe()
        try:
            done = subprocess.run(
                qemu,
                stdin=idle,
                stdout=subprocess.PIPE if capture else None,
                timeout=timeout,
                check=False,
                encoding="utf-8",
                errors="replace",
            )
        finally:
            os.close(idle)
            os.close(keep_open)
        code = status.read_text().strip() if status.exists() else ""
        if not code:
            log = console.read_text(errors="replace") if console.exists() else ""
            raise UnavailableError(
                f"the VM ended without an exit status; its console:\n{log[-4000:]}"
            )
        return subprocess.CompletedProcess(list(command), int(code), done.stdout, None)


def main() -> int:
    """Run the command given as arguments and return its exit status."""
    if "XDG_CACHE_HOME" not in os.environ:  # as tests/conftest.py has it
        os.environ.setdefault("MAPDEV_CACHE", str(vm_image.PROJECT / ".cache"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--user", action="store_true", help="as an ordinary user, not as root")
    parser.add_argument("--timeout", type=float, default=600, help="seconds (default: 600)")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    user = "user" if options.user else "root"
    try:
        return run(options.command, user=user, timeout=options.timeout).returncode
    except UnavailableError as error:
        print(f"aarch64 VM: {error}", file=sys.stderr)
        return 125
    except subprocess.TimeoutExpired:
        print(f"aarch64 VM: no end after {options.timeout:g} s", file=sys.stderr)
        return TIMED_OUT
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
