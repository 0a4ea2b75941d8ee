"""What a program sees of each VM_FAULT_* code that a driver's operation answers with.

The expectations are those of arch/x86/mm/fault.c and mm/memory.c; where arm64 differs it says so.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from typing import Any

import pytest
from faulting import Asked

from mapdev.host.core.host import Host
from mapdev.linux import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_FAULT_HWPOISON,
    VM_FAULT_LOCKED,
    VM_FAULT_MAJOR,
    VM_FAULT_NOPAGE,
    VM_FAULT_OOM,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    VmFault,
    get_page,
)

Static = Callable[[str], str]

pytestmark = pytest.mark.when_touched

_AT = 3 * PAGE_SIZE + 0x123
_BUS = f"{int(signal.SIGBUS)} 2 +{_AT}"  # BUS_ADRERR
_POISON = f"{int(signal.SIGBUS)} 4 +{_AT} lsb {PAGE_SHIFT}"  # BUS_MCEERR_AR
_SEGV = f"{int(signal.SIGSEGV)} 1 +{_AT}"  # SEGV_MAPERR

# In the order in which mm_fault_error() looks at the bits.
SIGNALS = [
    (VM_FAULT_SIGBUS, _BUS),
    (VM_FAULT_SIGSEGV, _SEGV),
    (VM_FAULT_HWPOISON, _POISON),
    (VM_FAULT_SIGBUS | VM_FAULT_SIGSEGV, _BUS),
    (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON, _POISON),
    (VM_FAULT_SIGSEGV | VM_FAULT_HWPOISON, _POISON),
    (VM_FAULT_SIGBUS | VM_FAULT_MAJOR, _BUS),
    (VM_FAULT_SIGBUS | VM_FAULT_NOPAGE, _BUS),
    (VM_FAULT_SIGSEGV | VM_FAULT_LOCKED, _SEGV),
]
AGAIN = [VM_FAULT_OOM, VM_FAULT_NOPAGE, VM_FAULT_OOM | VM_FAULT_SIGBUS]


class Answering(Asked):
    """Answers `answer` in operation `where`, the first `times` times; then it gives the page."""

    def probe(self, where: str = "fault", answer: int = 0, times: int = 1 << 30) -> None:
        super().probe()
        self.where, self.answer, self.times = where, answer, times
        if where != "fault":
            setattr(self.vm_ops, where, self.mkwrite)

    def now(self, where: str, vmf: VmFault) -> int:
        self.note(where, vmf)
        if self.where == where and self.times:
            self.times -= 1
            return self.answer
        return 0

    def fault(self, vmf: VmFault) -> int:
        answer = self.now("fault", vmf)
        if not answer:
            vmf.page = self.pages[vmf.pgoff]
            get_page(vmf.page)
        return answer

    def mkwrite(self, vmf: VmFault) -> int:
        return self.now("page_mkwrite", vmf) or VM_FAULT_LOCKED


def touch(mapdev: Host, static: Static, how: str) -> str:
    command = [static("faultcode"), "/dev/x", str(_AT), how]
    done = mapdev.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


@pytest.mark.parametrize("how", ["r", "w"])
@pytest.mark.parametrize(("answer", "seen"), SIGNALS)
def test_a_signal(mapdev: Host, static: Static, answer: int, seen: str, how: str) -> None:
    driver = mapdev.add(Answering, "/dev/x", answer=answer)
    assert touch(mapdev, static, how) == seen
    assert driver.asked == [("fault", 3, how == "w")]


@pytest.mark.parametrize(("answer", "seen"), SIGNALS)
def test_a_refused_first_write(mapdev: Host, static: Static, answer: int, seen: str) -> None:
    driver = mapdev.add(Answering, "/dev/x", where="page_mkwrite", answer=answer)
    assert touch(mapdev, static, "w") == seen
    assert [what for what, _, _ in driver.asked] == ["fault", "page_mkwrite"]


@pytest.mark.parametrize("answer", AGAIN)
def test_the_touch_is_made_again(mapdev: Host, static: Static, caplog: Any, answer: int) -> None:
    """Out of memory, too: the kernel hopes for the OOM killer and returns to the program."""
    driver = mapdev.add(Answering, "/dev/x", answer=answer, times=3)
    assert touch(mapdev, static, "w") == "X"
    assert [what for what, _, _ in driver.asked] == ["fault"] * 4
    assert caplog.text.count("answered by VM_FAULT_OOM") == bool(answer & VM_FAULT_OOM)


def test_a_first_write_that_is_made_again(mapdev: Host, static: Static) -> None:
    driver = mapdev.add(
        Answering, "/dev/x", where="page_mkwrite", answer=VM_FAULT_NOPAGE, times=2
    )  # fmt: skip
    assert touch(mapdev, static, "w") == "X"
    assert [what for what, _, _ in driver.asked].count("page_mkwrite") == 3


@pytest.mark.parametrize(
    "answer", [VM_FAULT_SIGBUS, VM_FAULT_SIGSEGV, VM_FAULT_HWPOISON, VM_FAULT_OOM]
)
def test_within_a_system_call_it_is_efault(
    mapdev: Host, client: Callable[..., str], answer: int
) -> None:
    mapdev.add(Answering, "/dev/x", answer=answer)
    client(
        f"""
        fd = os.open('/dev/x', os.O_RDWR)
        p = raw_mmap(None, 16 * P, R | W, SHARED, fd)
        zero = os.open('/dev/zero', os.O_RDONLY)
        ctypes.set_errno(0)
        assert libc.read(zero, ctypes.c_void_p(p + {_AT}), ctypes.c_size_t(1)) == -1
        assert ctypes.get_errno() == {errno.EFAULT}, ctypes.get_errno()
        """
    )


def test_a_page_that_was_forgotten_is_said(mapdev: Host, static: Static, caplog: Any) -> None:
    class Forgetful(Asked):
        def fault(self, vmf: VmFault) -> int:
            return 0

    mapdev.add(Forgetful, "/dev/x")
    assert touch(mapdev, static, "r") == _BUS
    assert "set no page" in caplog.text
