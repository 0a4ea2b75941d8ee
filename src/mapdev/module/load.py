"""Load the module into the running kernel, and unload it; say what to do when that fails."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mapdev.module import lockdown, source, state
from mapdev.module.syscalls import delete_module, finit_module
from mapdev.module.users import users
from mapdev.support.tools import UnavailableError

CONTROL = Path("/dev") / source.NAME
_NO_MODULES = "the running kernel was built without modules; `mapdev vm` boots another one"


def load(module: Path, parameters: Sequence[str] = ()) -> state.State:
    """Load the module, unless it is loaded, and return its state.

    :param parameters: the module's, each "key=value".
    :raises UnavailableError: it can't be loaded, or what is loaded is of another version.
    """
    if not module.exists():
        raise UnavailableError(f"{module} is not there")
    _check_parameters(module, parameters)
    try:
        finit_module(module, " ".join(parameters))
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise UnavailableError(_why_not(error, module, parameters)) from None
        if parameters:
            raise UnavailableError(
                f"the module is loaded, with other parameters maybe: {_command('unload')} first"
            ) from None
    return check()


def _check_parameters(module: Path, parameters: Sequence[str]) -> None:
    """Refuse parameters that the module does not have: the kernel would ignore them.

    :raises UnavailableError: there is one; the text says which there are.
    """
    if not parameters:
        return
    types = re.findall(rb"(?<=\0parmtype=)(\w+):", b"\0" + module.read_bytes())  # of .modinfo
    known = sorted({name.decode() for name in types})
    for parameter in parameters:
        name, equals, _ = parameter.partition("=")
        if known and (not equals or name.replace("-", "_") not in known):
            raise UnavailableError(
                f"the module has no parameter {parameter!r}: write key=value, with "
                f"{', '.join(known)} for key"
            )


def check() -> state.State:
    """Return the state of the module.

    :raises UnavailableError: it is not loaded, or of a version that mapdev can't talk to.
    """
    found = state.read()
    if found is None:
        raise UnavailableError(f"the module is not loaded: {_command('load')}")
    if not found.fits:
        raise UnavailableError(
            f"the module that is loaded is of version {found.version}, this mapdev needs "
            f"{source.version()}: {_command('unload')}, {_command('load')}"
        )
    return found


def unload() -> bool:
    """Unload the module; return whether it was loaded.

    :raises UnavailableError: that may not be, or it is in use; the text says by whom.
    """
    found = state.read()
    try:
        delete_module(source.NAME)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        if error.errno in (errno.EWOULDBLOCK, errno.EBUSY):
            raise UnavailableError(_who_uses(found)) from None
        if error.errno == errno.EPERM:
            raise UnavailableError(_not_permitted("unload")) from None
        if error.errno == errno.ENOSYS:
            raise UnavailableError(_NO_MODULES) from None
        raise UnavailableError(f"the module can't be unloaded: {error.strerror}") from None
    return True


def _why_not(error: OSError, module: Path, parameters: Sequence[str]) -> str:
    release = os.uname().release
    signed = lockdown.wants_signatures()
    match error.errno:
        case errno.EKEYREJECTED | errno.ENOKEY:
            signed = signed or "the kernel loads signed modules only"
            return f"{signed};{lockdown.HOW_TO_SIGN.format(module=module)}"
        case errno.EPERM if os.geteuid() == 0 and signed:
            return f"{signed};{lockdown.HOW_TO_SIGN.format(module=module)}"
        case errno.EPERM:
            return _not_permitted("load", *parameters)
        case errno.ENOEXEC:
            return f"{module} is not for the running kernel, Linux {release}: {_command('build')}"
        case errno.ENOENT:
            return f"{module} needs what Linux {release} does not have: see the end of dmesg"
        case errno.ENOSYS:
            return _NO_MODULES
        case errno.EINVAL:
            return f"the module does not take {' '.join(parameters) or 'this kernel'}: see dmesg"
    return f"{module} can't be loaded: {error.strerror}: see dmesg"


def _not_permitted(what: str, *arguments: str) -> str:
    if os.geteuid():
        return f"only root may {what} modules: sudo {_command(what, *arguments)}"
    if lockdown.forbids_all():
        return (
            f"no module may be {what}ed until the next boot (sysctl kernel.modules_disabled is 1)"
        )
    return f"root may not {what} modules here: CAP_SYS_MODULE is missing, as it is in containers"


def _who_uses(found: state.State | None) -> str:
    numbers = set(found.devices.values()) if found else set()
    if CONTROL.is_char_device():
        device = CONTROL.stat().st_rdev
        numbers.add((os.major(device), os.minor(device)))
    by = [f"  {user}" for user in users(numbers)]
    if os.geteuid() or not by:
        by.append("  a process that is not to be seen from here, or one with a memory mapping only")
    return "\n".join(("the module is in use; when these have ended it can be unloaded:", *by))


def _command(*arguments: str) -> str:
    """Return a command line that is this mapdev's, whatever PATH says."""
    program = Path(sys.argv[0])
    command = (
        [str(program.absolute())]
        if program.name == "mapdev"
        else [sys.executable, "-m", "mapdev.cli"]
    )
    return shlex.join((*command, "module", *arguments))
