"""The eight exercises: their titles, and where their checks, files and pages are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.resources import files
from typing import NamedTuple

from mapdev.driver import Driver
from mapdev.lab.session import Missing, Session

__all__ = ["EXERCISES", "Exercise", "Step", "run"]

CLASS = "Lab"  # the driver, in each file


class Step(NamedTuple):
    """One question of a check.

    :ivar title: what is so when the driver is right.
    :ivar check: raises `Missing` if it is not.
    """

    title: str
    check: Callable[[Session], None]


class Exercise(NamedTuple):
    """An exercise.

    :ivar name: of its module in `mapdev.lab.checks`, and of its page in docs/lab.
    """

    number: int
    name: str
    title: str

    @property
    def steps(self) -> list[Step]:
        """The questions of its check, in order."""
        found: list[Step] = import_module(f"mapdev.lab.checks.{self.name}").STEPS
        return found

    @property
    def driver_file(self) -> str:
        """The name of the file that a student finishes."""
        return f"lab{self.number}.py"

    @property
    def program_file(self) -> str:
        """The name of the program that uses the device, to be watched."""
        return f"use{self.number}.py"

    def start(self, name: str) -> str:
        """Return the text of one of these files, as the exercise begins."""
        return (files("mapdev.lab") / "start" / name).read_text(encoding="utf-8")


EXERCISES = tuple(
    Exercise(number, name, title)
    for number, (name, title) in enumerate(
        (
            ("kmalloc", "kmalloc and remap_pfn_range"),
            ("vmalloc", "vmalloc, page by page"),
            ("pages", "struct page and its counts"),
            ("faults", "faults and fault-around"),
            ("private", "private mappings and copy on write"),
            ("areas", "fork, split, merge"),
            ("caching", "cache modes, and why"),
            ("mistakes", "what goes wrong, and on to a real kernel"),
        ),
        1,
    )
)


def run(exercise: Exercise, driver: type[Driver]) -> tuple[list[Step], Step | None, str]:
    """Ask the questions of an exercise, up to the first that is not answered.

    :return: the steps that are done, the one that is not (None: all are), and what it lacks.
    """
    done: list[Step] = []
    for step in exercise.steps:
        try:
            with Session(driver) as session:
                step.check(session)
        except Missing as missing:
            return done, step, str(missing)
        done.append(step)
    return done, None, ""
