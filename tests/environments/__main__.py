"""The command: python -m tests.environments [--list] [NAME...]."""

from __future__ import annotations

import argparse
import datetime
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.environments.container import Sandbox, run
from tests.environments.roots import PROJECT, python_of, root_of

PAGE = PROJECT / "docs" / "environments.md"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->\n"
TESTS = ["tests/hosts", "tests/embedded/test_no_userfaultfd.py", "tests/unit/test_yama.py"]
LIMIT = 1500.0  # seconds for one environment
_COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped)")


class Environment(NamedTuple):
    """Where the tests run: a release of Debian, in a sandbox."""

    what: str
    release: str = "bookworm"
    sandbox: Sandbox = Sandbox()


ENVIRONMENTS = {
    "debian-12": Environment("Debian 12, root"),
    "debian-12-user": Environment("Debian 12, user", sandbox=Sandbox(uid=1000)),
    "debian-13": Environment("Debian 13, root", "trixie"),
    "debian-unstable": Environment("Debian unstable, root", "sid"),
    "docker": Environment("Docker's default profile, root", sandbox=Sandbox(profile="docker")),
    "docker-user": Environment(
        "Docker's default profile, user", sandbox=Sandbox(uid=1000, profile="docker")
    ),
    "docker-13": Environment(
        "Docker's default profile, Debian 13", "trixie", Sandbox(profile="docker")
    ),
    "podman": Environment("Podman's default profile, root", sandbox=Sandbox(profile="podman")),
    "read-only": Environment(
        "Docker's profile, read-only root, no /tmp",
        sandbox=Sandbox(profile="docker", read_only=True, has_tmp=False),
    ),
    "small-shm": Environment(
        "Docker's profile, /dev/shm of 1 MiB", sandbox=Sandbox(profile="docker", shm=1 << 20)
    ),
    "hidepid": Environment(
        "user, /proc with hidepid=2", sandbox=Sandbox(uid=1000, proc=("hidepid=2",))
    ),
    "no-new-privileges": Environment(
        "Docker's profile, user, no_new_privs",
        sandbox=Sandbox(uid=1000, profile="docker", no_new_privileges=True),
    ),
}


class Result(NamedTuple):
    """What came of the tests in one environment: a row of the table."""

    python: str
    counts: dict[str, int]
    failed: list[str]

    @property
    def verdict(self) -> str:
        """Say in a word or two how it went."""
        if not self.counts.get("passed"):
            return "no"
        bad = sum(self.counts.get(kind, 0) for kind in ("failed", "error", "errors"))
        return "yes" if not bad else f"{bad} of {bad + self.counts['passed']} tests fail"


def test(environment: Environment) -> Result:
    """Run the tests in `environment`."""
    root = root_of(environment.release)
    command = ["python", "-m", "pytest", *TESTS, "-q", "-rfE", "--tb=short", "-p",
               "mapdev.pytest_plugin", "-p", "no:cacheprovider", "--timeout=100",
               "--timeout-method=signal", "-o", "addopts="]  # fmt: skip
    try:
        done = run(root, environment.sandbox, command, LIMIT)
        output = done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        output = f"{error.stdout or b''}\nFAILED no end in {LIMIT:.0f} s"
    lines = output.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    counts = {kind: int(number) for number, kind in _COUNTS.findall(lines[-1] if lines else "")}
    if not counts:
        print(output[-4000:], file=sys.stderr)
    return Result(python_of(root), counts, failed)


def row(environment: Environment, result: Result) -> str:
    """Return a line of the table."""
    counts = ", ".join(f"{number} {kind}" for kind, number in result.counts.items()) or "none ran"
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return (
        f"| {environment.what} | {result.python} | {result.verdict} | {counts} | "
        f"{today}, Linux {platform.release().split('-')[0]} |"
    )


def update(path: Path, rows: dict[str, str]) -> None:
    """Put `rows`, by the environment's description, into the table of the page at `path`."""
    before, _, rest = path.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    known = {line.split("|")[1].strip(): line for line in table.splitlines()[2:]}
    known.update(rows)
    ordered = [known[e.what] for e in ENVIRONMENTS.values() if e.what in known]
    header = "| environment | Python | works | tests | tried |\n| --- | --- | --- | --- | --- |\n"
    path.write_text(
        before + BEGIN + header + "".join(f"{line}\n" for line in ordered) + END + after
    )


def main() -> int:
    """Run what the command line names; 1 if a test failed somewhere."""
    parser = argparse.ArgumentParser(prog="python -m tests.environments", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="environments; all by default")
    parser.add_argument("--list", action="store_true", help="list the environments and end")
    options = parser.parse_args()
    unknown = set(options.names) - set(ENVIRONMENTS)
    if options.list or unknown:
        for name, environment in ENVIRONMENTS.items():
            print(f"{name:20} {environment.what}")
        return 2 if unknown else 0
    status = 0
    for name in options.names or ENVIRONMENTS:
        environment = ENVIRONMENTS[name]
        print(f"{name}: {environment.what} ...", flush=True)
        begin = time.monotonic()
        result = test(environment)
        print(f"{name}: {result.verdict} ({time.monotonic() - begin:.0f} s)", flush=True)
        for line in result.failed:
            print(f"    {line}", flush=True)
        status |= result.verdict != "yes"
        update(PAGE, {environment.what: row(environment, result)})
    return status


if __name__ == "__main__":
    sys.exit(main())
