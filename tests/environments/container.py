"""Runs a command in a container by runc, as Docker would, or with a setting that is in the way."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.environments.profiles import CAPABILITIES, seccomp

PROJECT = Path(__file__).parents[2]
_ROOTS_OWN = [*CAPABILITIES, "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_IPC_LOCK"]  # root's, if all


@dataclass(frozen=True)
class Sandbox:
    """What a container is like.

    :ivar uid: the user; 0 is root.
    :ivar profile: a seccomp profile by name, with Docker's set of capabilities; "" is neither.
    :ivar read_only: nothing but /tmp and /dev/shm can be written.
    :ivar has_tmp: there is a /tmp that can be written.
    :ivar shm: the size of /dev/shm, in bytes.
    :ivar proc: options of the mount of /proc, or None for no /proc at all.
    :ivar no_new_privileges: PR_SET_NO_NEW_PRIVS is set.
    """

    uid: int = 0
    profile: str = ""
    read_only: bool = False
    has_tmp: bool = True
    shm: int = 64 << 20
    proc: tuple[str, ...] | None = ()
    no_new_privileges: bool = False


def run(
    root: Path, sandbox: Sandbox, command: list[str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `command` in a container whose root file system is `root`, with the project at /src.

    :raises subprocess.TimeoutExpired: it took longer than `timeout` seconds; it is killed.
    """
    name = f"mapdev-{id(sandbox):x}"
    with tempfile.TemporaryDirectory() as bundle:
        config = Path(bundle, "config.json")
        config.write_text(json.dumps(_config(root, sandbox, command)))
        try:
            return subprocess.run(
                ["runc", "run", "-b", bundle, name], capture_output=True, text=True,
                errors="replace", timeout=timeout, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
        finally:
            subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)


def _config(root: Path, sandbox: Sandbox, command: list[str]) -> dict[str, Any]:
    capabilities = CAPABILITIES if sandbox.profile else _ROOTS_OWN
    held = capabilities if sandbox.uid == 0 else []
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": sandbox.read_only},
        "hostname": "container",
        "process": {
            "user": {"uid": sandbox.uid, "gid": sandbox.uid},
            "args": command,
            "env": [
                "PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONPATH=/src/src",
                "PYTHONDONTWRITEBYTECODE=1",
                "MAPDEV_CACHE=/dev/shm/cache",
                f"TMPDIR={'/tmp' if sandbox.has_tmp else '/dev/shm'}",
                "HOME=/nonexistent",
            ],
            "cwd": "/src",
            "capabilities": {
                "bounding": capabilities, "effective": held, "permitted": held,
            },
            "noNewPrivileges": sandbox.no_new_privileges,
        },
        "mounts": _mounts(sandbox),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                              "/proc/sysrq-trigger"],
        },
    }  # fmt: skip
    if sandbox.profile:
        config["linux"]["seccomp"] = seccomp(sandbox.profile, capabilities)
    return config


def _mounts(sandbox: Sandbox) -> list[dict[str, Any]]:
    mounts = [
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666",
               "mode=0620"),
        _mount("/dev/shm", "tmpfs", "nosuid", "nodev", "mode=1777", f"size={sandbox.shm}"),
        _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        {"destination": "/src", "type": "bind", "source": str(PROJECT), "options": ["rbind", "ro"]},
    ]  # fmt: skip
    if sandbox.has_tmp:
        mounts.append(_mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777"))
    else:
        mounts.append(_mount("/tmp", "tmpfs", "nosuid", "nodev", "ro"))
    if sandbox.proc is not None:
        mounts.insert(0, _mount("/proc", "proc", *sandbox.proc))
    return mounts


def _mount(where: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": where, "type": kind, "source": kind, "options": list(options)}
