"""Run all tests in two pytest processes side by side: python tools/run_tests.py [PYTEST OPTION]...

One has those in virtual machines, whose emulation keeps a processor busy, the other one the rest,
which waits a good part of its time. With paths of tests among the arguments it is one pytest.

The output of the machines' tests is shown when both have ended. Exit status: 0, or pytest's of one
that failed; 5 (no tests) counts only if neither had any.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MACHINES = "tests/vm"
PYTEST = [sys.executable, "-m", "pytest"]
NO_TESTS, INTERRUPTED = 5, 130
# Options that are of no use, or of another meaning, when there are two processes.
SINGLE = ("--pdb", "--trace", "--lf", "--last-failed", "--ff", "--sw", "--stepwise", "--collect",
          "--co", "--fixtures", "--markers", "--version", "--help", "-h", "--junit")  # fmt: skip


def names_tests(arguments: Sequence[str]) -> bool:
    """Say whether the arguments choose tests by path, or want one process for another reason."""
    return any(
        argument.startswith(SINGLE)
        or (not argument.startswith("-") and (ROOT / argument.partition("::")[0]).exists())
        for argument in arguments
    )


def status_of(statuses: Sequence[int]) -> int:
    """Return the exit status for those of all processes."""
    failed = [status for status in statuses if status not in (0, NO_TESTS)]
    if failed:
        return failed[0]
    return NO_TESTS if all(status == NO_TESTS for status in statuses) else 0


def main(arguments: Sequence[str]) -> int:
    """Run the tests and return the exit status."""
    if names_tests(arguments):
        return subprocess.call([*PYTEST, *arguments], cwd=ROOT)
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        # Not pytest's cache in both: the last failures of one would replace those of the other.
        machines = subprocess.Popen(
            [*PYTEST, MACHINES, "-p", "no:cacheprovider", *arguments],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            rest = subprocess.call([*PYTEST, f"--ignore={MACHINES}", *arguments], cwd=ROOT)
            print(f"{time.monotonic() - began:.0f} s; those in virtual machines:", flush=True)
            status = status_of([rest, machines.wait()])
        except KeyboardInterrupt:
            status = INTERRUPTED  # pytest has got it as well, and ends its machines
            machines.wait()
        except BaseException:
            machines.kill()
            machines.wait()
            raise
        said.seek(0)
        sys.stdout.buffer.write(said.read())
    print(f"all in {time.monotonic() - began:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
