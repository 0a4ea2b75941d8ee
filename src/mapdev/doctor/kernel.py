"""What the kernel host needs: whether its module is there, could be built, may be loaded.

Nothing here is in the way of the embedded host, so that nothing here fails.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from mapdev.doctor.finding import Finding
from mapdev.host.numbers import CAP_SYS_MODULE
from mapdev.module import headers, lockdown, source, state
from mapdev.support.tools import UnavailableError, install


def _module() -> Finding:
    found = state.read()
    if found is None:
        return Finding("module", None, "not loaded: sudo mapdev module load")
    if not found.fits:
        return Finding("module", None, f"loaded, but of version {found.version}, not "
                       f"{source.version()}: mapdev module unload, then load")  # fmt: skip
    return Finding("module", True, f"loaded, version {found.version}")


def _headers() -> Finding:
    try:
        return Finding("headers", True, f"in {headers.build_directory()}")
    except UnavailableError as error:
        return Finding("headers", None, str(error))


def _compiler() -> Finding:
    if shutil.which("make") is None:
        return Finding("compiler", None, f"make is missing: {install('make')}")
    build = Path("/lib/modules") / platform.release() / "build"
    try:
        wanted = headers.compiler(build)
    except UnavailableError as error:
        return Finding("compiler", None, str(error))
    return Finding("compiler", True, " ".join(["there", *wanted]))


def _signatures() -> Finding:
    if not Path("/proc/modules").exists():
        return Finding("signatures", None, "the running kernel was built without modules")
    if lockdown.forbids_all():
        return Finding("signatures", None, "no module may be loaded until the next boot "
                       "(kernel.modules_disabled)")  # fmt: skip
    cause = lockdown.wants_signatures()
    if cause:
        return Finding("signatures", None, f"{cause}: the module has to be signed with a key that "
                       "is enrolled (mokutil --import)")  # fmt: skip
    return Finding("signatures", True, "not asked for: the kernel loads any module")


def _privilege() -> Finding:
    status = Path("/proc/self/status").read_text()
    effective = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
    if effective & 1 << CAP_SYS_MODULE:
        return Finding("privilege", True, "this process may load modules")
    if os.geteuid():
        return Finding("privilege", None, "root has to load the module: sudo mapdev module load")
    return Finding("privilege", None, "root can't load it here: no CAP_SYS_MODULE (a container?)")


def _machine() -> Finding:
    from mapdev.vm import kvm, machine

    try:
        machine.check()
    except UnavailableError as error:
        return Finding("mapdev vm", None, str(error))
    if machine.version() < (8,):
        return Finding("mapdev vm", None, f"{machine.PROGRAM} is older than 8: emulated kernels "
                       "crash now and then; Debian's backports have a later one")  # fmt: skip
    how = {True: "and KVM", False: "without KVM: slower", None: "and /dev/kvm, not yet tried"}
    return Finding("mapdev vm", True, f"{machine.PROGRAM} is there, {how[kvm.known()]}")


CHECKS: tuple[Callable[[], Finding], ...] = (
    _module, _headers, _compiler, _signatures, _privilege, _machine,
)  # fmt: skip
