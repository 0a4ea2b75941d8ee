"""Finds out why this machine may refuse an unsigned module: lockdown, Secure Boot, settings."""

from __future__ import annotations

import re
from pathlib import Path

from mapdev.module.state import ROOT

_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def wants_signatures(root: Path = ROOT) -> str | None:
    """Return why the kernel loads signed modules only, None when it loads any.

    Source: kernel_lockdown(7), module.sig_enforce in kernel-parameters.rst
    """
    lockdown = re.search(r"\[(\w+)\]", _text(root / "sys/kernel/security/lockdown"))
    if lockdown and lockdown[1] != "none":
        cause = ", because of Secure Boot" if secure_boot(root) else ""
        return f"the kernel is locked down ({lockdown[1]}){cause}"
    if _text(root / "sys/module/module/parameters/sig_enforce") == "Y":
        return "the kernel was told to load signed modules only (module.sig_enforce)"
    return None


def forbids_all(root: Path = ROOT) -> bool:
    """Return whether no module at all may be loaded any more, until the next boot."""
    return _text(root / "proc/sys/kernel/modules_disabled") == "1"


def secure_boot(root: Path = ROOT) -> bool:
    """Return whether the machine was started with Secure Boot.

    Source: UEFI specification, 3.3 Globally Defined Variables; efivarfs puts 4 bytes before it.
    """
    try:
        return (root / _SECURE_BOOT).read_bytes()[4:5] == b"\1"
    except OSError:
        return False


HOW_TO_SIGN = """
enrol a key of yours, once, and sign the module with it:
    sudo mokutil --import KEY.der    (and reboot; making a key: https://wiki.debian.org/SecureBoot)
    /lib/modules/$(uname -r)/build/scripts/sign-file sha256 KEY.priv KEY.der {module}
    sudo mapdev module load --file {module}
or turn Secure Boot off; or use `mapdev vm`, which needs neither"""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
