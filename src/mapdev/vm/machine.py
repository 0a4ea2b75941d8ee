"""Runs a command in a qemu virtual machine and returns its exit status.

The command sees the host's files, but what it writes stays in the machine's memory and is gone
when it ends. A machine never outlives `run`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mapdev.support import tools
from mapdev.support.tools import UnavailableError, need
from mapdev.vm import initramfs, kvm
from mapdev.vm.kernels import Kernel

PROGRAM, PACKAGE = "qemu-system-x86_64", "qemu-system-x86"
_ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    "tcg": ("-accel", "tcg,thread=multi", "-cpu", "max"),
}
_KVM_TIMEOUT = 15  # seconds, for what takes one or two where it works
_PORTS = ("input", "output", "errors", "status")  # in the order of their numbers, from 1 on
_CHUNK = 65536
_CONSOLE = 6000  # characters of it that are shown when something went wrong


class MachineError(Exception):
    """The machine ended before its command did; the text says how, with the console."""


class Outcome(NamedTuple):
    """The command's exit status, and the kernel's messages from warnings on."""

    status: int
    console: str


def check() -> None:
    """Check that machines can run here.

    :raises UnavailableError: they can't; the text says what is missing.
    """
    if platform.machine() != "x86_64":
        raise UnavailableError(f"virtual machines need an x86_64 host, not {platform.machine()}")
    need(PROGRAM, PACKAGE)


def version() -> tuple[int, ...]:
    """Return qemu's version; before 8, Linux 6.12 crashes now and then when it is emulated."""
    found = re.search(r"version (\d+)\.(\d+)", tools.run(PROGRAM, "--version"))
    return tuple(int(number) for number in found.groups()) if found else ()


def run(
    kernel: Kernel,
    command: Sequence[str],
    *,
    memory: str = "2G",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    module: Path | None = None,
    parameters: Sequence[str] = (),
    disk: bool = False,
    boot: Sequence[str] = (),
    accelerator: str | None = None,
    stdin: int | None = None,
    write: Callable[[int, bytes], object] = os.write,
    ready: Callable[[float], object] = lambda seconds: None,
) -> Outcome:
    """Boot `kernel`, run `command` as this process would, in its directory, and end the machine.

    :param memory: of the machine, as qemu takes it ("2G"); taken from the host as it is used.
    :param timeout: seconds for all of it.
    :param environment: instead of this process's own; $MAPDEV_EMULATED is set without KVM.
    :param module: a kernel module that is loaded first, with `parameters` ("key=value").
    :param disk: /var/tmp is a file system on a disk; else it may be one in memory.
    :param boot: more parameters of the kernel, as "kernelcore=1G".
    :param accelerator: "kvm" or "tcg"; None: what works.
    :param stdin: a descriptor whose contents the command is to read; None: it reads nothing.
    :param write: called with 1 or 2 and what the command has written there.
    :param ready: called with the seconds it took, when the command starts.
    :raises UnavailableError: the machine can't be started here.
    :raises MachineError: it ended before the command did: the kernel crashed.
    :raises TimeoutError: no end after `timeout` seconds; the machine has been ended.
    """
    check()
    if accelerator is None:
        accelerator = "kvm" if kvm.works(lambda: _boots_with_kvm(kernel)) else "tcg"
    variables = dict(os.environ if environment is None else environment)
    if accelerator == "tcg":
        variables["MAPDEV_EMULATED"] = "1"
    with tempfile.TemporaryDirectory(prefix="mapdev-vm-") as name:
        files = Path(name)
        initramfs.write(
            files / "initramfs", kernel, command, directory=str(Path.cwd()), environment=variables,
            module=module, parameters=parameters, disk=disk,
        )  # fmt: skip
        with _qemu(kernel, files, memory, accelerator, boot) as ports:
            talk = _Talk(ports, write, ready)
            _feed(stdin, ports["input"])
            status = talk.until_the_end(timeout)
        console = (files / "console").read_text(errors="replace")
        if status is None:
            raise MachineError(f"{talk.failure}; what the kernel said:\n{console[-_CONSOLE:]}")
        return Outcome(status, console)


def _boots_with_kvm(kernel: Kernel) -> bool:
    try:
        return not run(kernel, ["true"], timeout=_KVM_TIMEOUT, accelerator="kvm").status
    except (MachineError, UnavailableError, TimeoutError):
        return False


@contextlib.contextmanager
def _qemu(
    kernel: Kernel, files: Path, memory: str, accelerator: str, boot: Sequence[str]
) -> Iterator[dict[str, socket.socket]]:
    """Start qemu and yield our ends of its ports; end it if it has not ended then."""
    with contextlib.ExitStack() as stack:
        pairs = {}
        for port in _PORTS:
            pair = socket.socketpair()
            pairs[port] = pair
            for end in pair:
                stack.callback(end.close)
        descriptors = {port: theirs.fileno() for port, (_, theirs) in pairs.items()}
        log = stack.enter_context((files / "qemu").open("w+b"))
        alive = stack.enter_context(_alive())
        process = subprocess.Popen(
            _ends_with_us(alive)
            + _arguments(kernel, files, memory, accelerator, boot, descriptors),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(alive, *descriptors.values()),
            start_new_session=True,  # Ctrl-C is for us: we end the machine
        )
        stack.callback(_end, process)
        for _, theirs in pairs.values():
            theirs.close()  # so that ours hang up with qemu
        yield {port: ours for port, (ours, _) in pairs.items()}
        if process.wait() != 0:
            log.seek(0)
            text = log.read().decode(errors="replace").strip()
            raise UnavailableError(f"{PROGRAM} failed with status {process.returncode}:\n{text}")


# Becomes qemu. The kernel ends it when we are killed (PR_SET_PDEATHSIG), unless we had died before
# that call, which the pipe tells: nobody but us has its other end.
_GUARD = """\
import ctypes, os, select, sys
ctypes.CDLL(None).prctl(1, ctypes.c_ulong(9), 0, 0, 0)
alive = int(sys.argv[1])
if select.select([alive], [], [], 0)[0]:
    os._exit(1)
os.close(alive)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@contextlib.contextmanager
def _alive() -> Iterator[int]:
    """Yield a descriptor that is at its end of file once this process has died."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def _ends_with_us(alive: int) -> list[str]:
    """Return the start of a command line that has the kernel end the program when we are killed.

    :param alive: a descriptor that the program inherits, see `_alive`.
    """
    return [sys.executable, "-I", "-S", "-c", _GUARD, str(alive)]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _arguments(
    kernel: Kernel,
    files: Path,
    memory: str,
    accelerator: str,
    boot: Sequence[str],
    ports: Mapping[str, int],
) -> list[str]:
    # oops=panic: after one nothing that the command does means much. panic=-1: reboot, which
    # -no-reboot turns into an end.
    append = "console=ttyS0 loglevel=5 oops=panic panic=-1 mitigations=off"
    append = " ".join((append, *boot))
    arguments = [
        PROGRAM, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", "q35", "-smp", "2", "-m", memory,
        *_ACCELERATORS[accelerator],
        "-kernel", str(kernel.image), "-initrd", str(files / "initramfs"), "-append", append,
        "-serial", f"file:{files / 'console'}",
        "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
        "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
    ]  # fmt: skip
    for number, (name, descriptor) in enumerate(ports.items(), 1):
        arguments += ["-chardev", f"socket,id={name},fd={descriptor}",
                      "-device", f"virtserialport,nr={number},chardev={name}"]  # fmt: skip
    return arguments


class _Talk:
    """Serves the ports of one machine until it has ended."""

    def __init__(
        self,
        ports: Mapping[str, socket.socket],
        write: Callable[[int, bytes], object],
        ready: Callable[[float], object],
    ) -> None:
        self._ports = ports
        self._write = write
        self._ready = ready
        self._started = time.monotonic()
        self._status = b""
        self.failure = "the machine ended before the command"

    def until_the_end(self, timeout: float | None) -> int | None:
        """Pass everything on until the machine hangs up; return the command's exit status.

        :raises TimeoutError: no end after `timeout` seconds.
        """
        deadline = None if timeout is None else self._started + timeout
        with selectors.DefaultSelector() as selector:
            for port in ("output", "errors", "status"):
                selector.register(self._ports[port], selectors.EVENT_READ, port)
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"no end after {timeout:g} s")
                for key, _ in selector.select(left):
                    data = os.read(key.fd, _CHUNK)
                    if not data:
                        selector.unregister(key.fileobj)
                    self._pass_on(key.data, data)
        return self._result()

    def _pass_on(self, port: str, data: bytes) -> None:
        if port == "status":
            before, self._status = self._status, self._status + data
            if b"ready\n" in self._status and b"ready\n" not in before:
                self._ready(time.monotonic() - self._started)
        elif data:
            self._write(1 if port == "output" else 2, data)

    def _result(self) -> int | None:
        for line in self._status.decode(errors="replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == "exit":
                return int(rest)
            if word == "failed":
                self.failure = f"the module can't be loaded: {rest}"
        return None


def _feed(source: int | None, port: socket.socket) -> None:
    """Pass on what `source` has, in a thread: any kind of file will do."""

    def copy() -> None:
        with contextlib.suppress(OSError):  # the machine has ended
            while source is not None and (data := os.read(source, _CHUNK)):
                port.sendall(data)
            # Not closed: qemu would drop what the machine has not read yet.
            port.shutdown(socket.SHUT_WR)

    threading.Thread(target=copy, daemon=True).start()
