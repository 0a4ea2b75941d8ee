"""Random calls on a device, against a plain model of it: data, errors, signals, areas, balance.

CI does this for less than a minute. `make fuzz ARGS="--hypothesis-seed=N"` goes on for longer,
MAPDEV_FUZZ says how much; hypothesis prints the calls that led to a failure.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz_devices import KINDS, PAGES, SIZE, Counted
from fuzz_model import READ, WRITE, Area, Areas, P
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import mapdev
from mapdev.host.embedded.host import EmbeddedHost

CLIENT = Path(__file__).parent / "fuzz_client.py"
EXAMPLES = int(os.environ.get("MAPDEV_FUZZ", "0")) or (1 if "MAPDEV_EMULATED" in os.environ else 8)
SETTINGS = settings(
    max_examples=EXAMPLES, stateful_step_count=40, deadline=None, print_blob=True, database=None,
    suppress_health_check=list(HealthCheck), phases=[Phase.generate],
)  # fmt: skip
MAP_SHARED, MAYMOVE, FIXED, DONTNEED, MS_SYNC = 1, 1, 2, 4, 4
pages = st.integers(0, PAGES)
protections = st.sampled_from([0, READ, READ | WRITE])


class Machine(RuleBasedStateMachine):
    """One client of one device of the class `kind`."""

    kind = "frames"
    host: EmbeddedHost

    def __init__(self) -> None:
        super().__init__()
        self.node = f"/dev/{self.kind}"
        self.driver: Any = next(d.driver for d in self.host.devices if d.node == self.node)
        self.driver.data[:] = bytes(SIZE)
        self.data = bytearray(SIZE)
        self.areas = Areas()
        program = [sys.executable, "-S", str(CLIENT)]
        self.client = self.host.popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.descriptors = [self.do("open", self.node)]

    def teardown(self) -> None:
        self.client.communicate()
        self.host.settle()
        assert self.client.returncode == 0
        assert (self.driver.areas, self.driver.files) == (0, 0)
        assert not len(self.host.machine.leases) and not list(self.host.subsystems.spaces)

    def do(self, *call: Any) -> Any:
        assert self.client.stdin is not None and self.client.stdout is not None
        self.client.stdin.write(json.dumps(call).encode() + b"\n")
        self.client.stdin.flush()
        return json.loads(self.client.stdout.readline())

    def place(self, page: int) -> int:
        """Return an address: one of `page` pages around the areas, end to end."""
        starts = [at for area in self.areas.all for at in range(area.start, area.end + P, P)]
        return starts[page * 7 % len(starts)]

    # --- descriptors -----------------------------------------------------------------------------

    @precondition(lambda self: len(self.descriptors) < 6)
    @rule(dup=st.booleans())
    def open(self, dup: bool) -> None:
        self.descriptors.append(self.do(*(("dup", self.fd) if dup else ("open", self.node))))
        assert isinstance(self.descriptors[-1], int)

    @property
    def fd(self) -> int:
        return self.descriptors[-1]

    @precondition(lambda self: len(self.descriptors) > 1)
    @rule()
    def close(self) -> None:
        fd = self.descriptors.pop()
        assert self.do("close", fd) is None and self.do("close", fd) == "EBADF"

    @rule(pos=st.integers(0, SIZE + 1), data=st.binary(min_size=1, max_size=9))
    def write(self, pos: int, data: bytes) -> None:
        room = max(0, min(len(data), SIZE - pos))
        wanted = room or ("EFBIG" if pos > SIZE else "ENOSPC")
        assert self.do("pwrite", self.fd, data.hex(), pos) == wanted
        self.data[pos : pos + room] = data[:room]

    @rule(pos=st.integers(0, SIZE + 1), count=st.integers(0, 9))
    def read(self, pos: int, count: int) -> None:
        assert self.do("pread", self.fd, count, pos) == self.data[pos : pos + count].hex()

    @rule(pos=st.integers(-1, SIZE + 1))
    def lseek(self, pos: int) -> None:
        wanted = pos if 0 <= pos <= SIZE else "EINVAL"
        assert self.do("lseek", self.fd, pos, 0) == wanted

    # --- areas -----------------------------------------------------------------------------------

    @precondition(lambda self: len(self.areas.all) < 8)
    @rule(offset=pages, length=pages, prot=protections)
    def mmap(self, offset: int, length: int, prot: int) -> None:
        result = self.do("mmap", 0, length * P, prot, MAP_SHARED, self.fd, offset * P)
        if not length or offset + length > PAGES:
            assert result == "EINVAL"
            return
        assert not self.areas.take(result, result + length * P) and result % P == 0
        self.areas.add(Area(result, result + length * P, offset * P, prot))

    @precondition(lambda self: self.areas.all)
    @rule(page=pages, length=st.integers(1, PAGES))
    def munmap(self, page: int, length: int) -> None:
        start = self.place(page)
        assert self.do("munmap", start, length * P) == 0
        self.areas.take(start, start + length * P)

    @precondition(lambda self: self.areas.all)
    @rule(page=pages, length=st.integers(1, PAGES), prot=protections)
    def mprotect(self, page: int, length: int, prot: int) -> None:
        start = at = self.place(page)
        end = start + length * P
        while at < end and (area := self.areas.find(at)) is not None:
            at = area.end
        assert self.do("mprotect", start, length * P, prot) == (0 if at >= end else "ENOMEM")
        self.areas.protect(start, min(at, end), prot)

    @precondition(lambda self: self.areas.all)
    @rule(page=pages, fixed=st.booleans())
    def mremap(self, page: int, fixed: bool) -> None:
        """Move one page, onto another part of the areas or to a place in the open."""
        start, target = self.place(page), self.place(page + 3)
        if not fixed or start == target or self.areas.find(start) is None:
            return
        assert self.do("mremap", start, P, P, MAYMOVE | FIXED, target) == target
        self.areas.take(target, target + P)
        (moved,) = self.areas.take(start, start + P)
        self.areas.add(Area(target, target + P, moved.offset, moved.prot))

    @precondition(lambda self: self.areas.all)
    @rule(page=pages)
    def madvise(self, page: int) -> None:
        """Pages that a driver put in for good can't be dropped; others come back the same."""
        if self.kind == "pages":
            return  # they would be gone
        start = self.place(page)
        wanted = 0 if self.kind == "faults" else "EINVAL"
        if self.areas.find(start) is None:
            wanted = "ENOMEM"
        assert self.do("madvise", start, P, DONTNEED) == wanted

    @precondition(lambda self: self.areas.all)
    @rule(page=pages)
    def msync(self, page: int) -> None:
        start = self.place(page)
        wanted = "ENOMEM" if self.areas.find(start) is None else "EINVAL"  # there is no fsync
        assert self.do("msync", start, P, MS_SYNC) == wanted

    @precondition(lambda self: self.areas.all)
    @rule(page=pages, byte=st.integers(0, P - 1), value=st.integers(0, 255), child=st.booleans())
    def store(self, page: int, byte: int, value: int, child: bool) -> None:
        at = self.place(page) + byte
        area = self.areas.find(at)
        if area is None or not area.prot & WRITE:
            assert self.do("try store", at) == "SIGSEGV"
            return
        if child:
            value = 0
        assert self.do(*(("try store", at) if child else ("store", at, value))) == 0
        self.data[area.offset + at - area.start] = value

    @precondition(lambda self: self.areas.all)
    @rule(page=pages, byte=st.integers(0, P - 1), child=st.booleans())
    def load(self, page: int, byte: int, child: bool) -> None:
        at = self.place(page) + byte
        area = self.areas.find(at)
        if area is None or not area.prot & READ:
            assert self.do("try load", at) == "SIGSEGV"
        else:
            wanted = self.data[area.offset + at - area.start]
            assert self.do("try load" if child else "load", at) == wanted

    # --- what must always be ---------------------------------------------------------------------

    @invariant()
    def same_data(self) -> None:
        there = bytes(self.driver.data)
        wrong = [hex(at) for at in range(SIZE) if there[at] != self.data[at]]
        assert not wrong, wrong

    @invariant()
    def same_areas(self) -> None:
        lines = []
        for fields in (line.split() for line in self.do("maps")):
            start, end = (int(number, 16) for number in fields[0].split("-"))
            lines.append((start, end, fields[1], int(fields[2], 16)))
        assert lines == [area.line for area in self.areas.all]
        assert self.driver.areas == len(lines)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_against_a_model(kind: str, caplog: Any) -> None:
    with mapdev.host() as host:
        driver: Counted = host.add(KINDS[kind], f"/dev/{kind}")
        machine = type(f"Machine_{kind}", (Machine,), {"kind": kind, "host": host})
        machine.TestCase.settings = SETTINGS
        machine.TestCase().runTest()
        assert driver.files == 0
    assert host.leaks == [] and "host itself" not in caplog.text
