"""A static program that maps a device: each side sees at once what the other one writes."""

from __future__ import annotations

import mmap
import subprocess
from typing import Any

import pytest

PAGE = mmap.PAGESIZE
SIZE = 16 * PAGE


class Holder:
    """A live client, tests/clients/hold.c: says a line, returns the number that is answered."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.address = self._answer()

    def _answer(self) -> int:
        line = self.process.stdout.readline()
        if line.startswith("error "):
            raise OSError(int(line.split()[1]), "the client was told so")
        return int(line, 16)

    def __call__(self, verb: str, *numbers: int) -> int:
        self.process.stdin.write(" ".join([verb, *(f"{n:x}" for n in numbers)]) + "\n")
        self.process.stdin.flush()
        return self._answer()


@pytest.fixture
def hold(mapdev: Any, build_client: Any) -> Any:
    program = build_client("hold")
    started = []

    def start(*words: object) -> Holder:
        command = [program, "/dev/buffer", *map(str, words)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(mapdev.popen(command, **pipes))
        return Holder(started[-1])

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        assert process.wait(10) in (0, 1)


@pytest.fixture(params=["contiguous", "vmalloc"])
def device(request: pytest.FixtureRequest, mapdev: Any) -> Any:
    return mapdev.add(request.param, "/dev/buffer", size=SIZE)


def test_each_side_sees_the_other(device: Any, hold: Any) -> None:
    client = hold(SIZE)
    for at in range(0, SIZE, PAGE):
        client("store", at + 1, at // PAGE)
        device.data[at + 2] = 0xFF - at // PAGE
    assert [device.data[at + 1] for at in range(0, SIZE, PAGE)] == list(range(16))
    loaded = [client("load", at + 2) for at in range(0, SIZE, PAGE)]
    assert loaded == [0xFF - page for page in range(16)]


def test_read_and_write_see_the_mapping(device: Any, hold: Any) -> None:
    client = hold(SIZE)
    client("store", 5000, 0x42)
    assert client("pread", 5000) == 0x42
    client("pwrite", SIZE - 9, 0x43)
    assert client("load", SIZE - 9) == device.data[SIZE - 9] == 0x43


def test_two_clients_share_it(device: Any, hold: Any) -> None:
    whole, part = hold(SIZE), hold(PAGE, 3 * PAGE)
    whole("store", 3 * PAGE + 7, 0x11)
    assert part("load", 7) == 0x11
    part("store", 8, 0x22)
    assert whole("load", 3 * PAGE + 8) == 0x22


def test_a_child_shares_it(device: Any, hold: Any) -> None:
    client = hold(SIZE)
    assert client("fork store", PAGE + 1, 0x33) == 0x33
    assert client("load", PAGE + 1) == device.data[PAGE + 1] == 0x33


def test_the_mapping_outlives_close(device: Any, hold: Any) -> None:
    client = hold(SIZE)
    assert client("close") == 0
    client("store", 0, 0x44)
    assert device.data[0] == 0x44


@pytest.mark.parametrize("where", [(SIZE + 1,), (PAGE, SIZE), (2 * PAGE, SIZE - PAGE)])
def test_past_the_end(device: Any, hold: Any, where: tuple[int, ...]) -> None:
    with pytest.raises(OSError, match="22"):
        hold(*where)
