"""Mistakes in operations of areas: told in the log, and answered as the kernel would."""

from collections.abc import Callable
from typing import Any

import pytest
from faulting import Asked

from mapdev.host.core.host import Host
from mapdev.linux import (
    FAULT_FLAG_WRITE,
    VM_FAULT_LOCKED,
    VM_FAULT_NOPAGE,
    VM_FAULT_SIGBUS,
    VmFault,
    get_page,
    lock_page,
    vm_insert_page,
)

Client = Callable[..., str]
POKE = "fd = os.open('/dev/x', os.O_RDWR); p = raw_mmap(None, P, R | W, SHARED, fd); poke(p, b'x')"
PEEK = """
fd = os.open('/dev/x', os.O_RDWR)
if os.fork() == 0:
    peek(raw_mmap(None, P, R, SHARED, fd))
    os._exit(0)
assert os.WTERMSIG(os.wait()[1]) == signal.SIGBUS
"""


class Mistaken(Asked):
    """Does in `fault`, `map_pages` or `page_mkwrite` what a test says."""

    def probe(self, **does: Callable[..., Any]) -> None:
        super().probe()
        for name, function in does.items():
            setattr(self.vm_ops, name, function)

    def give(self, vmf: VmFault) -> int:
        vmf.page = self.pages[vmf.pgoff]
        get_page(vmf.page)
        return 0


@pytest.mark.parametrize("page", [5, "page", 0x1000, object()])
def test_what_is_no_page(mapdev: Host, client: Client, caplog: Any, page: Any) -> None:
    def fault(vmf: VmFault) -> int:
        vmf.page = page
        return 0

    mapdev.add(Mistaken, "/dev/x", fault=fault)
    client(PEEK)
    assert "is no page: alloc_page, virt_to_page... give one" in caplog.text
    assert "Traceback" not in caplog.text


def test_page_mkwrite_without_a_locked_page_is_touched_again(
    mapdev: Host, client: Client, caplog: Any
) -> None:
    asked = []

    def page_mkwrite(vmf: VmFault) -> int:
        asked.append(vmf.pgoff)
        if len(asked) < 4:
            return 0
        lock_page(vmf.page)
        return VM_FAULT_LOCKED

    driver = mapdev.add(Mistaken, "/dev/x", page_mkwrite=page_mkwrite)
    driver.vm_ops.fault = driver.give
    client(POKE)
    assert len(asked) == 4
    assert caplog.text.count("page_mkwrite did not return VM_FAULT_LOCKED") == 1


@pytest.mark.parametrize("answer", [-5, "x", 1 << 40, 1.5])
def test_what_map_pages_returns_that_is_no_answer(
    mapdev: Host, client: Client, caplog: Any, answer: Any
) -> None:
    driver = mapdev.add(Mistaken, "/dev/x", map_pages=lambda vmf, first, last: answer)
    driver.vm_ops.fault = driver.give
    client(PEEK)
    assert f"vm_map_pages returned {answer!r}, not VM_FAULT_* bits" in caplog.text


def test_answers_of_map_pages(mapdev: Host, client: Client) -> None:
    """An error is the answer; NOPAGE without the page has it touched again; 0 asks fault."""
    faults = []
    answers = [VM_FAULT_NOPAGE, VM_FAULT_NOPAGE, 0]

    def map_pages(vmf: VmFault, first: int, last: int) -> int:
        if vmf.pgoff == 1:
            vm_insert_page(vmf.vma, vmf.address, driver.pages[1])
            return VM_FAULT_NOPAGE
        if vmf.pgoff == 2:
            return VM_FAULT_SIGBUS
        return answers.pop(0)

    def fault(vmf: VmFault) -> int:
        faults.append(vmf.pgoff)
        return driver.give(vmf)

    driver = mapdev.add(Mistaken, "/dev/x", map_pages=map_pages)
    driver.vm_ops.fault = fault
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        p = raw_mmap(None, 4 * P, R, SHARED, fd)
        peek(p); peek(p + P)
        if os.fork() == 0:
            peek(p + 2 * P)
        assert os.WTERMSIG(os.wait()[1]) == signal.SIGBUS
        """
    )
    assert faults == [0] and answers == []


def test_what_is_traced_of_a_fault(new_host: Callable[..., Host]) -> None:
    lines: list[str] = []

    def trace(device: object, operation: str, arguments: str, result: str, seconds: float) -> None:
        lines.append(f"{operation}({arguments}) = {result}")

    with new_host(trace=trace) as host:
        driver = host.add(Mistaken, "/dev/x", page_mkwrite=lambda vmf: VM_FAULT_LOCKED)
        driver.vm_ops.fault = driver.give
        code = (
            "import mmap, os; m = mmap.mmap(os.open('/dev/x', os.O_RDWR), mmap.PAGESIZE); m[0] = 1"
        )
        host.run(["python3", "-S", "-c", code], check=True, timeout=60)
    faults = [line for line in lines if line.startswith("vm_fault(0x")]
    assert len(faults) == 1
    assert "page 0x0" in faults[0] and "FAULT_FLAG_WRITE" in faults[0]
    assert FAULT_FLAG_WRITE == 1
    (told,) = (line for line in lines if line.startswith("vm_page_mkwrite(0x"))
    assert told.endswith("= VM_FAULT_LOCKED") and "FAULT_FLAG_MKWRITE" in told
