"""What the embedded host needs, tried here and now.

Each check does the real thing in a small way instead of guessing from a version; the last one runs
a program on a device.
"""

from __future__ import annotations

import errno
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mapdev.doctor.finding import Finding
from mapdev.host.embedded.processes import yama_forbids

_OLDEST = (5, 14)
# Descriptors of the host: its own, those for a client with an open device (the listener, the
# tracker of the open file, and while it starts a socket and a pidfd), and those for a mapping.
_HOSTS_OWN, _A_CLIENT, _AN_AREA = 40, 8, 4
_FEW = 16  # programs
_PATIENCE = 60  # seconds
_LIBC_AND_LOADER = 2


def _kernel() -> Finding:
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if version < _OLDEST:
        return Finding("kernel", False, f"Linux {release}; mapdev needs 5.14 or later")
    if version < (5, 19):
        return Finding("kernel", None, f"Linux {release}: from 5.19 on, signals during calls are "
                       "handled exactly as in the kernel")  # fmt: skip
    if version < (6, 6):
        return Finding("kernel", None, f"Linux {release}: from 6.6 on, calls are faster")
    return Finding("kernel", True, f"Linux {release}")


def _architecture() -> Finding:
    machine = platform.machine()
    fine = machine in ("x86_64", "aarch64")
    return Finding(
        "processor", fine, machine if fine else f"{machine}; it has to be x86_64 or aarch64"
    )


def _seccomp() -> Finding:
    try:
        actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    except OSError:
        return Finding("seccomp", False, "the kernel was built without seccomp filters")
    fine = "user_notif" in actions
    return Finding("seccomp", fine, "user notification is there" if fine else
                   "this kernel has no user notification (SECCOMP_RET_USER_NOTIF)")  # fmt: skip


def _ptrace() -> Finding:
    why = yama_forbids()
    if why:
        return Finding("ptrace", False, f"{why}, so programs see no device")
    return Finding("ptrace", True, "no Yama rule keeps mapdev from the programs that it starts")


def _poll() -> Finding:
    """Mount FUSE, else fetch a descriptor of a child, as the host does to take POLLIN back."""
    from mapdev.host.embedded.files.fuse import Connection
    from mapdev.host.embedded.files.fuse_mount import mount
    from mapdev.host.embedded.libc import fetch_descriptor

    try:
        Connection(*mount()).close()
    except OSError as error:
        why = f"FUSE can't be mounted ({error.strerror}): poll shows POLLERR and POLLHUP for good"
    else:
        return Finding("poll", True, "FUSE is there, so poll shows what drivers answer")

    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        os.close(fetch_descriptor(child.pid, 0))
    except OSError as error:
        return Finding("poll", None, f"{why}, and pidfd_getfd fails ({error.strerror}): what poll "
                       "has shown once stays")  # fmt: skip
    finally:
        child.communicate()
    return Finding("poll", None, why)


def _faults() -> Finding:
    """Make a userfaultfd, as the host has a program do whose pages come when they are touched."""
    from mapdev.host.embedded.faults.userfault import UFFD_USER_MODE_ONLY
    from mapdev.host.embedded.libc import userfaultfd

    text = "pages come when they are touched"
    try:
        os.close(userfaultfd(os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EPERM:
            return _no_userfaultfd(error)
    else:
        return Finding("page faults", True, text)
    try:
        os.close(userfaultfd(os.O_CLOEXEC | UFFD_USER_MODE_ONLY))
    except OSError as error:
        return _no_userfaultfd(error)
    return Finding("page faults", None, f"{text}; inside system calls that is EFAULT: run as root, "
                   "or sysctl vm.unprivileged_userfaultfd=1")  # fmt: skip


def _no_userfaultfd(error: OSError) -> Finding:
    return Finding("page faults", None, f"no userfaultfd ({error.strerror}): all pages of an area "
                   "come when it is mapped. In a container: a seccomp profile that allows it, such "
                   "as --security-opt seccomp=unconfined")  # fmt: skip


def _descriptors() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        return Finding("descriptors", True, "no limit")
    free = max(0, hard - _HOSTS_OWN)
    text = (
        f"the hard limit is {hard}, which mapdev uses: good for {free // _A_CLIENT} programs with "
        f"one open device each, or for {free // _AN_AREA} mappings"
    )
    if free // _A_CLIENT < _FEW:
        return Finding("descriptors", None, f"{text}; raise it: ulimit -Hn (limits.conf)")
    return Finding("descriptors", True, text)


def _areas() -> Finding:
    count = int(Path("/proc/sys/vm/max_map_count").read_text())
    return Finding("areas", True, f"a process may have {count} areas: the most runs of scattered "
                   "frames that one program can map (sysctl vm.max_map_count)")  # fmt: skip


def _extension() -> Finding:
    """Say which of the two ways to serve calls is in use; each works."""
    from mapdev.host.embedded import native

    return Finding("extension", None if native.NATIVE is None else True, native.description())


def _gate() -> Finding:
    """Run a program that looks at files, and see whether it does so itself."""
    from mapdev.host.embedded.host import EmbeddedHost
    from mapdev.host.embedded.syscalls import gate

    if why := gate.why_not():
        return Finding("gate", None, f"programs hand over each call with a path: {why}")
    with EmbeddedHost("1M", prepare=False, preload=True) as host:
        host.run([sys.executable, "-S", "-c", "pass"], capture_output=True, timeout=_PATIENCE)
        found = host.subsystems.gate
        images = found.counts()[0] if found is not None else 0
    if images < _LIBC_AND_LOADER:
        return Finding("gate", None, "programs hand over each call with a path: their C library "
                       "could not be redirected")  # fmt: skip
    return Finding("gate", True, gate.description(True))


def _works() -> Finding:
    """Let a program open, read and map a device."""
    import mapdev
    from mapdev.drivers.contiguous import Contiguous

    code = (
        "import mmap, os; m = mmap.mmap(os.open('/dev/mapdev-doctor', os.O_RDWR), 4096); m[0] = 42"
    )
    try:
        with mapdev.host("16M") as host:
            host.add(Contiguous, "/dev/mapdev-doctor", size="4K")
            command = [sys.executable, "-I", "-S", "-c", code]
            done = host.run(command, stderr=subprocess.PIPE, text=True, timeout=30)
            if done.returncode:
                return Finding(
                    "a device", False, f"a program could not map it: {done.stderr.strip()}"
                )
    except Exception as error:
        return Finding("a device", False, f"could not be served: {error}")
    return Finding("a device", True, "a program opened and mapped one")


CHECKS: tuple[Callable[[], Finding], ...] = (
    _architecture, _kernel, _seccomp, _ptrace, _poll, _faults, _descriptors, _areas, _extension,
    _gate, _works,
)  # fmt: skip
