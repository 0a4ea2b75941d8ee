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


OUTCOMES = """
import asyncio, os, pytest, sys
from mapdev import Driver
from mapdev.linux import VmOperationsStruct, kthread_run

RAISED = {
    "fail": lambda: pytest.fail("the driver says so"),
    "skip": lambda: pytest.skip("the driver skips"),
    "exit": lambda: sys.exit(3),
    "interrupt": lambda: exec("raise KeyboardInterrupt"),
    "cancelled": lambda: exec("raise asyncio.CancelledError"),
    "generator": lambda: exec("raise GeneratorExit"),
}
CODE = {
    "read": "os.read(fd, 1)", "later": "os.read(fd, 1)", "write": "os.write(fd, b'x')",
    "ioctl": "fcntl.ioctl(fd, 1)", "poll": "p = select.poll(); p.register(fd); p.poll(0)",
    "mmap": "mmap.mmap(fd, 4096)", "fault": "mmap.mmap(fd, 4096)[0]", "close": "mmap.mmap(fd, 4096).close()",
    "release": "os.close(fd)", "kthread": "os.read(fd, 1)", "open": "", "remove": "",
}

class Raising(Driver):
    def probe(self, where, what):
        self.where, self.what = where, RAISED[what]
        self.ops = VmOperationsStruct(fault=self.fault if where == "fault" else None, close=self.close)
        if where == "poll":
            type(self).poll
    def here(self, where):
        if self.where == where:
            self.what()
    def open(self, inode, file): self.here("open")
    def release(self, inode, file): self.here("release")
    def read(self, file, count, pos):
        if self.where == "later":
            return self.later()
        self.here("read")
        if self.where == "kthread":
            kthread_run(lambda data: self.what(), None, "raises").stop(10)
        return b""
    async def later(self): self.what()
    def write(self, file, data, pos): self.here("write")
    def ioctl(self, file, cmd, arg): self.here("ioctl")
    def poll(self, file):
        self.here("poll")
        return 5
    def mmap(self, file, vma):
        self.here("mmap")
        vma.vm_ops = self.ops
    def fault(self, vmf): self.here("fault")
    def close(self, vma): self.here("close")
    def remove(self): self.here("remove")

@pytest.mark.parametrize("what", RAISED)
@pytest.mark.parametrize("where", CODE)
def test_it(mapdev, where, what):
    mapdev.add(Raising, "/dev/x", where=where, what=what)
    code = "import fcntl, mmap, os, select; fd = os.open('/dev/x', os.O_RDWR); "
    mapdev.run([sys.executable, "-S", "-c", code + CODE[where]], capture_output=True, timeout=60)
    again = mapdev.run(["true"], timeout=60)  # the host goes on
    assert again.returncode == 0
"""


def test_what_an_operation_raises_that_is_no_exception(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(OUTCOMES)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-rA", timeout=300)
    outcomes = result.parseoutcomes()
    # fail and skip in 11 operations are the outcome of the test; in remove, which comes after it,
    # that of its teardown. The 4 others are an error each.
    assert outcomes["failed"] == 11, outcomes
    assert outcomes["skipped"] >= 12, outcomes
    assert outcomes["errors"] >= 4 * 12 + 1, outcomes
    result.stdout.fnmatch_lines(["*the driver says so*", "*SystemExit(3)*"])


EXIT = """
import os, pytest, sys
from mapdev import Driver

class Exits(Driver):
    def read(self, file, count, pos): pytest.exit("the driver ends the session", 7)

def test_it(mapdev):
    mapdev.add(Exits, "/dev/x")
    mapdev.run([sys.executable, "-S", "-c", "import os; os.read(os.open('/dev/x', 0), 1)"], timeout=60)

def test_another():
    pass
"""


def test_an_operation_that_ends_the_session(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(EXIT)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120)
    assert result.ret == 7
    result.stdout.fnmatch_lines(["*the driver ends the session*"])
    assert "passed" not in result.parseoutcomes()


SLOW = """
import sys
from mapdev import Driver

class Slow(Driver):
    def read(self, file, count, pos):
        while True: pass

def test_it(mapdev):
    mapdev.add(Slow, "/dev/x")
    code = "import os; os.read(os.open('/dev/x', 0), 1)"
    done = mapdev.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert "TimeoutError" in done.stderr
"""


def test_the_option_timeout(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SLOW)
    options = ("-p", "no:cacheprovider", "--mapdev-timeout", "0.5")
    pytester.runpytest_subprocess(*options, timeout=120).assert_outcomes(passed=1)


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*left behind: leaky: never freed*"])
    result.stdout.fnmatch_lines(["*left behind: process * (sleep) had not ended*"])


ASSERTS = """
import sys
from mapdev import Driver
from mapdev.linux import TimerList, WaitQueueHead, jiffies, kthread_run, mod_timer

class Asserts(Driver):
    def read(self, file, count, pos):
        assert count == 5, "the program reads five bytes"
        return b""
    def write(self, file, data, pos):
        self.timer = TimerList(self.late)
        mod_timer(self.timer, jiffies())
    def late(self, timer):
        assert False, "in a timer"

READ = "import os; os.read(os.open('/dev/x', 0), 1)"

def test_read(mapdev):
    mapdev.add(Asserts, "/dev/x")
    mapdev.run([sys.executable, "-S", "-c", READ], capture_output=True, timeout=60)

def test_timer(mapdev):
    mapdev.add(Asserts, "/dev/x")
    mapdev.run(["sh", "-c", "echo x >/dev/x"], check=True, timeout=60)
    for _ in range(6000):
        if mapdev.failures: break
        mapdev.run(["sleep", "0.01"], timeout=60)
"""


def test_an_assertion_in_a_driver_fails_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ASSERTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=200)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*the program reads five bytes*", "*in a timer*"])


KEPT = """
import gc, weakref
from mapdev import Driver

class Fine(Driver):
    pass

kept = []

def test_it(mapdev):
    kept.append(weakref.ref(mapdev.add(Fine, "/dev/x")))
    kept.append(weakref.ref(mapdev))

def test_later():
    gc.collect()
    assert [it() for it in kept] == [None, None]
"""


def test_a_test_that_is_over_keeps_neither_its_host_nor_its_drivers(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(KEPT)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120)
    result.assert_outcomes(passed=2)
