"""`make test`: two pytest processes side by side, whose outcomes are one."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a copy of the runner and two tests, one of them in a machine's folder."""
    for name, text in {
        "tools/run_tests.py": (PROJECT / "tools/run_tests.py").read_text(),
        "tests/test_plain.py": "def test_plain(): pass\n",
        "tests/vm/test_machine.py": "def test_machine(): pass\n",
        "pytest.ini": "[pytest]\ntestpaths = tests\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def run(project: Path, *arguments: str) -> tuple[int, str]:
    options = ["-v", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments]
    done = subprocess.run(
        [sys.executable, str(project / "tools/run_tests.py"), *options],
        capture_output=True, text=True, timeout=120, check=False, cwd=project,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("failing", ["tests/test_plain.py", "tests/vm/test_machine.py"])
def test_a_failure_of_either_is_one_of_all(project: Path, failing: str) -> None:
    file = project / failing
    file.write_text(file.read_text().replace("pass", "assert False"))
    status, said = run(project)
    assert status == 1
    assert said.count("test session starts") == 2
    assert "1 failed" in said and "1 passed" in said


def test_options_go_to_both(project: Path) -> None:
    status, said = run(project, "-k", "plain")
    assert (status, said.count("1 passed")) == (0, 1)
    assert "test_plain PASSED" in said and "test_machine PASSED" not in said
    status, said = run(project, "-k", "nothing_of_the_kind")
    assert status == 5


def test_paths_are_run_by_one_process(project: Path) -> None:
    status, said = run(project, "tests/test_plain.py::test_plain")
    assert (status, said.count("test session starts")) == (0, 1)
    assert "test_machine" not in said
    status, said = run(project, "--collect-only")
    assert (status, said.count("test session starts")) == (0, 1)
