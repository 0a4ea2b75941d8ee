"""Docker's and Podman's default seccomp profiles, out of Debian's packages, for a runtime's config.

The profiles are not ours, so they are fetched when they are needed. They name capabilities and
architectures by which a rule is in force; a runtime wants the rules that are.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.environments.roots import root_of

from mapdev.support.cache import made_once, recipe_of

# By name: the package, and where the profile is in it.
SOURCES = {
    "docker": ("golang-github-docker-docker-dev",
               "usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"),
    "podman": ("golang-github-containers-common", "usr/share/containers/seccomp.json"),
}  # fmt: skip
# Docker gives these to the containers that it starts (docs.docker.com, "Runtime privilege").
CAPABILITIES = [
    f"CAP_{name}"
    for name in ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
                 "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID",
                 "SYS_CHROOT")
]  # fmt: skip
_OURS = {"amd64", "x86"}
EPERM = 1


def seccomp(name: str, capabilities: list[str]) -> dict[str, Any]:
    """Return the profile `name`, as it is for a container with `capabilities` on x86-64."""
    package, where = SOURCES[name]
    recipe = recipe_of(Path(__file__))
    folder = made_once(f"profile-{name}", recipe, lambda directory: _fetch(package, directory))
    profile = json.loads((folder / where).read_text())
    rules = [_rule(rule) for rule in profile["syscalls"] if _is_in_force(rule, capabilities)]
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile.get("defaultErrnoRet") or EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    }


def _fetch(package: str, directory: Path) -> None:
    # Docker's profile of Debian 12 is an old one, which allowed less.
    root = root_of("trixie")
    command = ["chroot", root, "sh", "-c", f"cd /tmp && apt-get -qq download {package}"]
    subprocess.run(command, check=True, timeout=300, stdin=subprocess.DEVNULL)
    (archive,) = (root / "tmp").glob(f"{package}_*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, directory], check=True, timeout=300)


def _is_in_force(rule: dict[str, Any], capabilities: list[str]) -> bool:
    wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
    return (
        all(name in capabilities for name in wanted.get("caps") or ())
        and not any(name in capabilities for name in unwanted.get("caps") or ())
        and (not wanted.get("arches") or bool(_OURS & set(wanted["arches"])))
        and not _OURS & set(unwanted.get("arches") or ())
    )


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    kept = {"names": rule["names"], "action": rule["action"]}
    if rule.get("args"):
        kept["args"] = rule["args"]
    if rule.get("errnoRet") is not None:
        kept["errnoRet"] = rule["errnoRet"]
    return kept
