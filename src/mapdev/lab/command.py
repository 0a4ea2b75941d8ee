"""`mapdev lab`: lists the exercises, writes their files, and checks what a student has written.

Exit status: 0 all of the exercise is done; 1 something is missing; 2 wrong usage, or there is no
such file.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from mapdev.host.loading import DriverError, load
from mapdev.lab.exercises import CLASS, EXERCISES, Exercise, run

__all__ = ["main"]

_PAGES = "docs/lab"


def main(argv: Sequence[str]) -> int:
    """Run ``mapdev lab`` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="mapdev lab",
        description="Eight exercises on drivers that map memory. Without a number, list them; with "
        "one, check the driver in FILE and say what is missing.",
        epilog=f"A page on each is in {_PAGES}.",
    )
    parser.add_argument("number", nargs="?", type=_exercise, metavar="N", help="1 to 8")
    parser.add_argument("file", nargs="?", metavar="FILE", help="the driver; default: labN.py")
    parser.add_argument(
        "--start", metavar="DIR",
        help="write the files with which the exercise begins into DIR; none that is there is "
        "overwritten",
    )  # fmt: skip
    parser.add_argument(
        "--vm", action="store_true",
        help="exercise 8, when it is done: ask the same of the driver on a real kernel, in a "
        "virtual machine (see `mapdev vm`)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    exercise: Exercise | None = arguments.number
    if exercise is None:
        if arguments.start is not None or arguments.vm:
            parser.error("of which exercise? mapdev lab N")
        return _list()
    if arguments.start is not None:
        return _start(exercise, Path(arguments.start))
    if arguments.vm and exercise.number != len(EXERCISES):
        parser.error(f"--vm is for exercise {len(EXERCISES)}")
    return _check(exercise, arguments.file or exercise.driver_file, arguments.vm)


def _exercise(text: str) -> Exercise:
    for exercise in EXERCISES:
        if text == str(exercise.number):
            return exercise
    raise argparse.ArgumentTypeError(f"there are exercises 1 to {len(EXERCISES)}")


def _list() -> int:
    for exercise in EXERCISES:
        print(f"{exercise.number}  {exercise.title}")
    print("\nmapdev lab N --start DIR   write the files of exercise N into DIR")
    print("mapdev lab N [FILE]        check labN.py, or FILE, and say what is missing")
    return 0


def _start(exercise: Exercise, directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in exercise.driver_file, exercise.program_file:
            path = directory / name
            if path.exists():
                print(f"{path} is there already, and stays as it is")
            else:
                path.write_text(exercise.start(name), encoding="utf-8")
                print(f"wrote {path}")
    except OSError as error:
        print(f"mapdev lab: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"then: mapdev lab {exercise.number} {directory / exercise.driver_file}")
    return 0


def _check(exercise: Exercise, file: str, in_vm: bool) -> int:
    if not Path(file).is_file():
        print(
            f"mapdev lab: there is no file {file}; `mapdev lab {exercise.number} --start .` "
            "writes one", file=sys.stderr,
        )  # fmt: skip
        return 2
    print(f"lab {exercise.number}: {exercise.title}  ({file})")
    try:
        driver = load(f"{file}:{CLASS}")
    except DriverError as error:
        return _missing("a driver class that can be loaded", str(error), [])
    done, missed, why = run(exercise, driver)
    for step in done:
        print(f"  done     {step.title}")
    if missed is not None:
        left = exercise.steps[len(done) + 1 :]
        return _missing(missed.title, why, [step.title for step in left])
    if in_vm:
        from mapdev.lab.real import check_on_real_kernel

        return check_on_real_kernel(file)
    print("all of it is done")
    return 0


def _missing(title: str, why: str, left: list[str]) -> int:
    print(f"  MISSING  {title}")
    for line in why.splitlines():
        print(textwrap.fill(line, 80, initial_indent=" " * 11, subsequent_indent=" " * 11))
    for other in left:
        print(f"  later    {other}")
    return 1
