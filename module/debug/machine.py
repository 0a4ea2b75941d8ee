"""Boots the debug kernel and runs a command in it.

A run has a directory, which both sides see: `plan` says what to do, `console` is what the kernel
said, `status` the command's exit status, `kmemleak` and `page_owner` what was left behind,
`trouble` what else went wrong. guest.py is the machine's first process. The kernel's processes are
a session of their own and end with the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kernel import CannotError, say

GUEST = Path(__file__).with_name("guest.py")
TIMED_OUT = 124  # what timeout(1) gives


@contextlib.contextmanager
def run_directory(keep: Path | None) -> Iterator[Path]:
    """Give a directory for a run: `keep`, emptied, or one that is removed afterwards."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        for name in ("plan", "console", "messages", "status", "kmemleak", "page_owner", "trouble"):
            (keep / name).unlink(missing_ok=True)
        yield keep.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="mapdev-debug-") as name:
            yield Path(name)


def run(
    linux: Path,
    command: Sequence[str],
    directory: Path,
    *,
    module: Path | None,
    parameters: Sequence[str] = (),
    memory: str = "1536M",
    timeout: float = 600,
    cwd: Path = Path("/"),
    leaks: bool = True,
) -> int:
    """Boot `linux`, load the module, run the command, unload the module; give the command's status.

    With `leaks` memory is searched for what was lost, before and after the module is unloaded.

    :raises CannotError: the machine does not start.
    """
    plan = {
        "command": list(command),
        "cwd": str(cwd),
        "module": module and str(module),
        "parameters": list(parameters),
        "leaks": leaks,
        "environment": {**os.environ, "MAPDEV_DEBUG_KERNEL": "1", "TMPDIR": "/tmp"},
    }
    (directory / "plan").write_text(json.dumps(plan))
    arguments = [
        str(linux), f"mem={memory}", f"uml_dir={directory}/", "umid=machine",
        "rootfstype=hostfs", "rootflags=/", "rw",
        "con=null", "con0=null,fd:3", "con1=null,fd:1", "ignore_loglevel", "printk.time=1",
        "page_owner=on", "kmemleak=on", "slub_debug=F", "no_hash_pointers", "panic=-1",
        f"init={sys.executable}", "--", "-I", str(GUEST), str(directory),
    ]  # fmt: skip
    if any(" " in argument for argument in arguments):
        raise CannotError("paths with spaces can't be handed to a kernel")
    # The processes of the machine lose the memory that the C library has told the host's kernel of
    # as their rseq area: it would answer with SIGSEGV.
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}
    if shutil.disk_usage("/dev/shm").total > 1 << 30:
        environment["TMPDIR"] = "/dev/shm"  # for the machine's memory, a file without a name
    with (directory / "console").open("wb") as console, (directory / "messages").open("wb") as log:
        process = subprocess.Popen(
            # The kernel's messages go to descriptor 3, what the command writes to standard output.
            ["sh", "-c", f'exec "$@" 3>&{console.fileno()}', "sh", *arguments],
            stdin=subprocess.DEVNULL,
            stderr=log,
            pass_fds=(console.fileno(),),
            env=environment,
            start_new_session=True,
        )
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            say(f"no end after {timeout:g} s")
            return TIMED_OUT
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return result(directory)


def result(directory: Path) -> int:
    """Give the status that the guest has written down."""
    status = directory / "status"
    if status.exists():
        return int(status.read_text())
    said = "".join((directory / n).read_text(errors="replace") for n in ("messages", "console"))
    if "Run " not in said:
        raise CannotError(f"the kernel does not start:\n{said[-4000:]}")
    say("the machine ended before the command did; the kernel's last words:\n" + said[-3000:])
    return 125
