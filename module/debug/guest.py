"""The first process of the debug kernel: lays out the machine, runs the command, ends the machine.

The host's files are below an overlay, so that nothing written reaches them, except in the run's
directory. It must never return: the kernel would panic.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
BIND, DETACH, POWER_OFF = 4096, 2, 0x4321FEDC
PIVOT_ROOT, DELETE_MODULE, FINIT_MODULE = 155, 176, 313  # system calls of x86-64
RUN = Path("/run/mapdev-debug-kernel")
LEAKS = Path("/sys/kernel/debug/kmemleak")
OWNERS = Path("/sys/kernel/debug/page_owner")
MIN_AGE = 6  # seconds; kmemleak passes over what is younger than 5


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library that gives 0, or -1 and an errno."""
    if getattr(LIBC, name)(*arguments):
        error = ctypes.get_errno()
        raise OSError(error, f"{name}{arguments}: {os.strerror(error)}")


def mount(source: str, target: str, kind: str, options: str = "", flags: int = 0) -> None:
    """Mount a file system; its mount point is made if need be."""
    with contextlib.suppress(OSError):
        Path(target).mkdir(parents=True, exist_ok=True)
    words = (source.encode(), target.encode(), kind.encode())
    call("mount", *words, ctypes.c_ulong(flags), options.encode())


def lay_out(directory: str) -> None:
    """Put an overlay over the host's files, and the file systems of a machine on it."""
    os.chdir(directory)
    mount("tmp", "/tmp", "tmpfs", "size=70%")
    for name in ("upper", "work", "root"):
        Path(f"/tmp/{name}").mkdir()
    mount("root", "/tmp/root", "overlay", "lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work")
    mount("run", "/tmp/root/run", "tmpfs", "mode=755")
    mount(".", f"/tmp/root{RUN}", "", flags=BIND)
    Path("/tmp/root/mnt").mkdir(exist_ok=True)
    os.chdir("/tmp/root")
    call("syscall", PIVOT_ROOT, b".", b"mnt")
    os.chdir("/")
    mount("proc", "/proc", "proc")
    mount("sys", "/sys", "sysfs")
    mount("debug", "/sys/kernel/debug", "debugfs")
    mount("dev", "/dev", "devtmpfs")
    mount("pts", "/dev/pts", "devpts", "mode=620,ptmxmode=666")
    mount("shm", "/dev/shm", "tmpfs", "mode=1777")
    call("umount2", b"/mnt", DETACH)
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        with contextlib.suppress(FileExistsError):
            Path(f"/dev/{name}").symlink_to(f"/proc/self/{target}")
    subprocess.run(("ip", "link", "set", "lo", "up"), stderr=subprocess.DEVNULL, check=False)


def say(text: str) -> None:
    """Put a line into the kernel's log."""
    Path("/dev/kmsg").write_text(f"<5>debug-kernel: {text}\n")


def load(module: str, parameters: list[str]) -> None:
    """Load a module."""
    with Path(module).open("rb") as file:
        call("syscall", FINIT_MODULE, file.fileno(), " ".join(parameters).encode(), 0)


def run(plan: dict[str, Any]) -> int:
    """Run the command, its output on the second console, and give its exit status."""
    console = os.open("/dev/tty1", os.O_WRONLY | os.O_NOCTTY)
    subprocess.run(("stty", "-F", "/dev/tty1", "-opost"), stderr=subprocess.DEVNULL, check=False)
    try:
        process = subprocess.Popen(
            plan["command"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            cwd=plan["cwd"],
            env=plan["environment"],
            start_new_session=True,
        )
    except OSError as error:
        os.write(console, f"{error}\n".encode())
        return 127
    while True:  # the first process has the orphans as well
        pid, status = os.wait()
        if pid == process.pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def end_processes() -> None:
    """End all that the command left running."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)
        deadline = time.monotonic() + 5
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < deadline:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.05)


def symbols(name: str) -> list[tuple[int, str]]:
    """Give addresses and names of the module's functions, sorted."""
    found = re.findall(
        rf"^(\w+) [tT] (\S+)\t\[{name}\]", Path("/proc/kallsyms").read_text(), re.MULTILINE
    )
    return sorted((int(address, 16), symbol) for address, symbol in found)


def unload(name: str) -> str:
    """Unload the module; give what went wrong, or nothing."""
    for _ in range(50):  # the last release of a file may still be under way
        try:
            call("syscall", DELETE_MODULE, name.encode(), os.O_NONBLOCK)
            return ""
        except OSError as error:
            trouble = str(error)
        time.sleep(0.1)
    users = [line for line in Path("/proc/modules").read_text().splitlines() if name in line]
    return f"the module can't be unloaded: {trouble}: {users}\n"


def leaks() -> str:
    """Give what kmemleak finds: it has to see memory twice, and not too young."""
    time.sleep(MIN_AGE)
    for _ in range(2):
        LEAKS.write_text("scan")
    text = LEAKS.read_text()
    LEAKS.write_text("clear")
    return text


def named(text: str, known: list[tuple[int, str]]) -> str:
    """Put the module's names back where an unloaded module has left mere addresses."""
    starts = [address for address, _ in known]

    def name(match: re.Match[str]) -> str:
        address = int(match[1], 16)
        at = bisect.bisect_right(starts, address) - 1
        if at < 0 or address - starts[at] > 1 << 16:
            return match[0]
        return f"{known[at][1]}+{address - starts[at]:#x} [unloaded]"

    return re.sub(r"\b(?:0x)?([0-9a-f]{8,16})\b(?= *$)", name, text, flags=re.MULTILINE)


def pages() -> list[str]:
    """Give what page_owner knows of each page that is in use: a read gives one."""
    found = []
    descriptor = os.open(OWNERS, os.O_RDONLY)
    while text := os.read(descriptor, 4096):
        found.append(text.decode(errors="replace"))
    os.close(descriptor)
    return found


def look_back(plan: dict[str, Any]) -> None:
    """Write down what was left: memory, pages, a module that can't be unloaded."""
    name = Path(plan["module"]).stem if plan["module"] else ""
    loaded = bool(name) and Path(f"/sys/module/{name}").exists()
    known = symbols(name) if loaded else []
    if plan["leaks"]:
        (RUN / "kmemleak").write_text(leaks())
    if not loaded:
        return
    trouble(unload(name))
    if plan["leaks"]:
        with (RUN / "kmemleak").open("a") as file:
            file.write(named(leaks(), known))
        # The module's buffers are pages, which kmemleak does not know.
        owned = [named(page, known) for page in pages()]
        owned = [page for page in owned if f"[{name}]" in page or "[unloaded]" in page]
        (RUN / "page_owner").write_text("".join(owned))


def trouble(text: str) -> None:
    """Write down what went wrong, a finding of its own."""
    with (RUN / "trouble").open("a") as file:
        file.write(text)


def main() -> None:
    """Do all that, and switch the machine off."""
    try:
        lay_out(sys.argv[1])
        plan = json.loads((RUN / "plan").read_text())
        if plan["leaks"]:
            LEAKS.write_text("scan=off")
            LEAKS.write_text("scan")
            LEAKS.write_text("clear")  # what was lost before us
        if plan["module"]:
            load(plan["module"], plan["parameters"])
        say("the command starts")
        status = run(plan)
        say(f"the command ended with {status}")
        (RUN / "status").write_text(str(status))
        end_processes()
        look_back(plan)
    except BaseException:
        traceback.print_exc()
        with contextlib.suppress(OSError):
            trouble(traceback.format_exc())
    os.sync()
    call("reboot", POWER_OFF)


main()
