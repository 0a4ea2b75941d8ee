"""The pytest plugin, used by a test suite of its own."""

import pytest

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from mapdev import Driver
from mapdev.linux import alloc_page, GFP_KERNEL

class Leaky(Driver):
    def read(self, file, count, pos):
        alloc_page(GFP_KERNEL)
        return b""

class Fine(Driver):
    def read(self, file, count, pos):
        return b"fine"[pos:pos + count]

def test_fine(mapdev):
    driver = mapdev.add(Fine, "/dev/x")
    done = mapdev.run(["cat", "/dev/x"], capture_output=True)
    assert done.stdout == b"fine" and done.returncode == 0

def test_leaky(mapdev):
    mapdev.add(Leaky, "/dev/x")
    mapdev.run(["cat", "/dev/x"])

def test_left_running(mapdev):
    mapdev.add(Fine, "/dev/x")
    mapdev.popen(["sleep", "100"])

def test_by_name(mapdev):
    mapdev.add("contiguous", "/dev/x", size="8K")
    assert len(mapdev.run(["cat", "/dev/x"], capture_output=True).stdout) == 8192
"""


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*left behind: leaky: never freed*"])
    result.stdout.fnmatch_lines(["*left behind: process * (sleep) had not ended*"])
