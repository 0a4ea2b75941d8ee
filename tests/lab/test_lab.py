"""`mapdev lab`: starts fail with help, solutions pass, usual mistakes are named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from wrong import WRONG, Wrong

from mapdev.host.loading import load
from mapdev.lab.exercises import EXERCISES, Exercise, run

SOLUTIONS = Path(__file__).parent / "solutions"
LAB = [sys.executable, "-m", "mapdev.cli", "lab"]
PAGES = Path(__file__).parents[2] / "docs/lab"
each_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: one.name)


def check(exercise: Exercise, file: Path) -> tuple[int, str]:
    """Return how many questions are answered, and what is missing."""
    done, missed, why = run(exercise, load(f"{file}:Lab"))
    assert (missed is None) == (len(done) == len(exercise.steps)) == (not why)
    return len(done), why


@each_exercise
def test_a_solution_passes(exercise: Exercise) -> None:
    assert check(exercise, SOLUTIONS / exercise.driver_file) == (len(exercise.steps), "")


@each_exercise
def test_a_start_fails_with_a_message_that_helps(exercise: Exercise, tmp_path: Path) -> None:
    done = subprocess.run([*LAB, str(exercise.number), "--start", str(tmp_path / "new")],
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    file = tmp_path / "new" / exercise.driver_file
    assert f"wrote {file}\n" in done.stdout and exercise.program_file in done.stdout
    done = subprocess.run([*LAB, str(exercise.number), file], capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.count("MISSING") == 1
    message = done.stdout.partition("MISSING")[2].splitlines()[1:]
    assert len(" ".join(line for line in message if line.startswith(" " * 11))) > 80
    assert all(len(line) <= 80 for line in message)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: f"{one.exercise}-{one.name}")
def test_a_mistake_is_named(wrong: Wrong, tmp_path: Path) -> None:
    exercise = EXERCISES[wrong.exercise - 1]
    text = (SOLUTIONS / exercise.driver_file).read_text()
    for old, new in wrong.changes:
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / exercise.driver_file
    file.write_text(text)
    _, why = check(exercise, file)
    rest = why
    for words in wrong.says:
        assert words in rest, why
        rest = rest.partition(words)[2]


@each_exercise
def test_the_program_of_an_exercise_runs(exercise: Exercise, tmp_path: Path) -> None:
    """What it prints, and what is to be watched, is what the exercise's page says."""
    program = tmp_path / exercise.program_file
    program.write_text(exercise.start(exercise.program_file))
    done = subprocess.run(
        [*LAB[:-1], "run", "--watch", "-d", f"/dev/lab={SOLUTIONS / exercise.driver_file}:Lab", "--",
         sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    page = (PAGES / f"{exercise.number}-{exercise.name}.md").read_text()
    assert done.stdout.strip() and done.stdout in page
    watched = page.partition("```c\n")[2].partition("```")[0].splitlines()
    assert watched
    for line in watched:
        assert line in done.stderr, line
    assert page.startswith(f"# {exercise.number}. {exercise.title}\n")
    for command in "mapdev lab N --start .", "mapdev lab N\n", "mapdev run --watch":
        assert command.replace("N", str(exercise.number)) in page


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 0, "4  faults and fault-around\n"),
        (["9"], 2, "there are exercises 1 to 8"),
        (["one"], 2, "there are exercises 1 to 8"),
        (["1"], 2, "there is no file lab1.py; `mapdev lab 1 --start .` writes one"),
        (["1", "--vm"], 2, "--vm is for exercise 8"),
        (["--start", "."], 2, "of which exercise?"),
        (["1", "--start", "/dev/null/x"], 1, "Not a directory"),
    ],
)
def test_usage(arguments: list[str], status: int, says: str, tmp_path: Path) -> None:
    done = subprocess.run([*LAB, *arguments], capture_output=True, text=True, timeout=60,
                          check=False, cwd=tmp_path)  # fmt: skip
    assert done.returncode == status and says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_files_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "lab1.py"
    file.write_text("import nothing_of_this_name\n")
    again = [*LAB, "1", "--start", str(tmp_path)]
    done = subprocess.run(again, capture_output=True, text=True, timeout=60, check=True)
    assert f"{file} is there already" in done.stdout and "nothing_of" in file.read_text()
    for text, says in (
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        ("Lab = 1\n", "no driver class 'Lab'"),
        ("from mapdev import Driver\nclass Lab(Driver):\n    def mmap(self): ...\n",
         "as the operation is: write def mmap(self, file, vma)"),
        ("from mapdev import Driver\nclass Lab(Driver):\n    def probe(self): 1 / 0\n",
         "probe raised ZeroDivisionError: division by zero (line 3 of lab1.py)"),
        ("import time\nfrom mapdev import Driver\nclass Lab(Driver):\n    def probe(self):\n"
         "        while True: pass\n", "probe raised"),
    ):  # fmt: skip
        file.write_text(text)
        done = subprocess.run([*LAB, "1", str(file)], capture_output=True, text=True, timeout=60,
                              check=False)  # fmt: skip
        assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
        assert says in " ".join(done.stdout.split()), done.stdout
