"""The clock of a camera: by itself, held, stepped; what two threads make of it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mapdev.video.clock import FrameClock, Tick

LIMIT = 20.0  # seconds


class Driver:
    """Takes pictures in a thread of its own, as a camera does."""

    def __init__(self, clock: FrameClock) -> None:
        self.clock = clock
        self.ticks: list[Tick] = []
        self.buffers = 1000
        self._thread: threading.Thread | None = None

    def start(self, numerator: int = 1, denominator: int = 100) -> None:
        self.clock.start(numerator, denominator)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.clock.stop()
        if self._thread is not None:
            self._thread.join(LIMIT)
            assert not self._thread.is_alive()

    def _run(self) -> None:
        while (tick := self.clock.next_frame(lambda: self.buffers > 0)) is not None:
            self.ticks.append(tick)
            self.buffers -= 1
            self.clock.taken(tick)


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver(FrameClock())
    yield driver
    driver.stop()


def eventually(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(int(LIMIT * 100)):
        if condition():
            return
        waited.wait(0.01)
    raise AssertionError("it did not happen")


def test_it_runs_by_itself(driver: Driver) -> None:
    driver.start(1, 200)
    eventually(lambda: len(driver.ticks) >= 10)
    driver.stop()
    numbers = [tick.number for tick in driver.ticks]
    assert numbers == list(range(len(numbers))), "none is left out, however late it is"
    assert not any(tick.is_stepped for tick in driver.ticks)
    for before, tick in itertools.pairwise(driver.ticks):
        passed = tick.timestamp - before.timestamp
        assert passed > 0 and passed % 5_000_000 == 0


def test_a_camera_that_is_late_is_late_from_then_on(driver: Driver) -> None:
    driver.clock.start(1, 100)
    threading.Event().wait(0.055)
    ticks = [driver.clock.next_frame(lambda: True) for _ in range(3)]
    assert [tick.number for tick in ticks if tick is not None] == [0, 1, 2]
    first, second, third = (tick.timestamp for tick in ticks if tick is not None)
    assert second - first >= 10_000_000 and third - second >= 10_000_000


def test_the_first_picture_may_take_a_while(driver: Driver) -> None:
    begin = time.monotonic_ns()
    driver.clock.start(1, 1000, delay=0.05)
    tick = driver.clock.next_frame(lambda: True)
    assert tick is not None and tick.number == 0 and tick.timestamp - begin >= 50_000_000
    driver.clock.hold(at=3)
    driver.clock.start(1, 1000, delay=0.05)
    stepping = threading.Thread(target=driver.clock.step, args=(1, LIMIT))
    stepping.start()
    tick = driver.clock.next_frame(lambda: True)
    assert tick == Tick(0, 3_000_000_000, True)
    driver.clock.taken(tick)
    stepping.join(LIMIT)


def test_a_held_clock_gives_the_same_each_time(driver: Driver) -> None:
    driver.clock.hold(at=2)
    for _ in range(2):
        driver.ticks.clear()
        driver.start(1, 25)
        driver.clock.step()
        driver.clock.step(2)
        driver.stop()
        assert driver.ticks == [
            (number, 2_000_000_000 + number * 40_000_000, True) for number in range(3)
        ]


def test_a_step_waits_for_a_program(driver: Driver) -> None:
    stepping = threading.Thread(target=driver.clock.step, args=(3, LIMIT))
    stepping.start()
    driver.buffers = 0
    driver.start()
    driver.buffers = 2
    driver.clock.look()
    eventually(lambda: len(driver.ticks) == 2)
    assert stepping.is_alive()
    driver.buffers = 1
    driver.clock.look()
    stepping.join(LIMIT)
    assert not stepping.is_alive() and len(driver.ticks) == 3


def test_a_step_that_nobody_takes(driver: Driver) -> None:
    with pytest.raises(TimeoutError, match="no program took 2 of 2 pictures"):
        driver.clock.step(2, timeout=0.01)
    driver.start()
    driver.clock.step(1, LIMIT)
    assert [tick.number for tick in driver.ticks] == [0], "what was given up is not made up for"


def test_two_threads_step(driver: Driver) -> None:
    driver.clock.hold()
    driver.start()
    threads = [threading.Thread(target=driver.clock.step, args=(5, LIMIT)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert [tick.number for tick in driver.ticks] == list(range(20))


def test_skipped_pictures_are_left_out(driver: Driver) -> None:
    driver.clock.hold()
    driver.start()
    driver.clock.step()
    driver.clock.skip(3)
    driver.clock.step()
    assert [tick.number for tick in driver.ticks] == [0, 4]
    driver.stop()
    driver.ticks.clear()
    driver.clock.skip(2)
    for _ in range(2):
        driver.start()
        driver.clock.step()
        driver.stop()
    assert [tick.number for tick in driver.ticks] == [2, 0], "those of the next stream alone"


def test_it_goes_on_when_it_is_released(driver: Driver) -> None:
    driver.clock.hold()
    driver.start(1, 500)
    driver.clock.step(2)
    driver.clock.release()
    eventually(lambda: len(driver.ticks) > 5)
    assert driver.ticks[2].number == 2, "the time that it was held has not passed"
    assert "running" in repr(driver.clock)


def test_a_stop_ends_the_wait(driver: Driver) -> None:
    driver.clock.hold()
    driver.start()
    driver.stop()
    assert driver.ticks == []
