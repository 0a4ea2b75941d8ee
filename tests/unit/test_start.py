"""What starting a program needs, and what it can do without."""

import subprocess
import sys

import pytest

from mapdev.cli import _plain_run
from mapdev.driver import Driver, parse_size
from mapdev.host.embedded.syscalls.table import SYSCALLS
from mapdev.host.loading import DriverError, check_parameters

# Each takes longer to import than all of a host's own work at start, or leads to one that does.
HEAVY = {
    "argparse", "asyncio", "dataclasses", "importlib.metadata", "importlib.util", "inspect",
    "json", "logging", "pathlib", "platform", "queue", "shutil", "tempfile", "urllib.parse",
    "mapdev.doctor", "mapdev.gallery", "mapdev.host.embedded.faults.handler",
    "mapdev.host.embedded.inject.injection",
}  # fmt: skip
RUN = """
import sys
before = set(sys.modules)
from mapdev.cli import main
status = main(["run", "-d", "/dev/x=contiguous", "--", "true"])
print(*sorted(set(sys.modules) - before))
sys.exit(status)
"""


def test_what_is_not_imported_to_run_a_program() -> None:
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "mapdev.run" in imported and not imported & HEAVY


def test_families_of_calls_are_imported_with_their_first_call() -> None:
    families = {f"mapdev.host.embedded.calls.{call.family}" for call in SYSCALLS}
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert families & set(done.stdout.split()) == {"mapdev.host.embedded.calls.path"}


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("run -- true", ([], ["true"], False)),
        ("run -d a -v -d b=c -- cat -v --", (["a", "b=c"], ["cat", "-v", "--"], True)),
        ("run -d a true", None),
        ("run -d a --", None),
        ("run -d -- true", None),
        ("run -d -v -- true", None),
        ("run -m 1G -- true", None),
        ("run -h -- true", None),
        ("run stray -- true", None),
        ("drivers", None),
        ("", None),
    ],
)
def test_the_usual_form_is_read_without_argparse(line: str, read: object) -> None:
    assert _plain_run(line.split()) == read


def test_sizes_that_are_read_quickly_and_others() -> None:
    for unit, shift in ("k", 10), ("M", 20), ("g", 30):
        assert parse_size(f"5{unit}") == parse_size(f" 5 {unit}iB ") == 5 << shift
    assert parse_size("2T") == 2 << 40
    assert parse_size("0x10") == parse_size("16") == parse_size("16b") == 16
    for text in "", "K", "5X", "05K", "-1K", "1.5G":
        with pytest.raises(ValueError, match=r"size|literal"):
            parse_size(text)


def test_parameters_are_checked_whatever_probe_is() -> None:
    class Plain(Driver):
        def probe(self, size, colour="red"):  # type: ignore[no-untyped-def, override]
            pass

    class Keywords(Driver):
        def probe(self, *, size=1, **others):  # type: ignore[no-untyped-def, override]
            pass

    for values in {"size": "1"}, {"size": "1", "colour": "blue"}:
        check_parameters(Plain, values)
    for values in {}, {"colour": "blue"}, {"size": "1", "shape": "round"}, {"self": "1"}:
        with pytest.raises(DriverError, match="its parameters are: size, colour='red'"):
            check_parameters(Plain, values)
    check_parameters(Keywords, {"size": "1", "shape": "round"})
    check_parameters(Driver, {})
    with pytest.raises(DriverError, match="its parameters are: none"):
        check_parameters(Driver, {"size": "1"})
