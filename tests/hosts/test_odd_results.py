"""What operations return that is neither None, 0 nor -errno: the driver's mistake, which is told."""

import errno
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.host.loading import DriverError
from mapdev.linux import VM_FAULT_SIGBUS, File, Inode, VmAreaStruct, VmFault, VmOperationsStruct

Client = Callable[..., str]
ODD = [1, 4096, "text", True, 1.5, -4096, object(), [], b""]
OPENED = "fd = os.open('/dev/x', os.O_RDWR)\n"


def indent(code: str) -> str:
    return "\n" + textwrap.indent(code, "    ")


class Odd(Driver):
    """Returns from one of its operations what a test says."""

    def probe(self, where: str = "", result: Any = None) -> Any:
        self.where, self.result = where, result
        self.vm_ops = VmOperationsStruct(
            fault=self.fault, open=self.opened, close=self.closed, may_split=self.may_split,
            mremap=self.mremap, mprotect=self.mprotect,
        )  # fmt: skip
        return self.of("probe")

    def of(self, where: str) -> Any:
        if self.where != where:
            return None
        if isinstance(self.result, Exception):
            raise self.result
        return next(self.result) if isinstance(self.result, Iterator) else self.result

    def open(self, inode: Inode, file: File) -> Any:
        return self.of("open")

    def release(self, inode: Inode, file: File) -> Any:
        return self.of("release")

    def mmap(self, file: File, vma: VmAreaStruct) -> Any:
        vma.vm_ops = self.vm_ops
        return self.of("mmap")

    def fault(self, vmf: VmFault) -> Any:
        return self.of("vm_fault") if self.where == "vm_fault" else VM_FAULT_SIGBUS

    def opened(self, vma: VmAreaStruct) -> Any:
        return self.of("vm_open")

    def closed(self, vma: VmAreaStruct) -> Any:
        return self.of("vm_close")

    def may_split(self, vma: VmAreaStruct, addr: int) -> Any:
        return self.of("vm_may_split")

    def mremap(self, vma: VmAreaStruct) -> Any:
        return self.of("vm_mremap")

    def mprotect(self, vma: VmAreaStruct, start: int, end: int, flags: int) -> Any:
        return self.of("vm_mprotect")


# The operation, and how a program has it run.
FAILS = """
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int,
                        ctypes.c_void_p]
def fails(code, function, *args):
    ctypes.set_errno(0)
    assert function(*args) in (-1, FAILED)
    assert ctypes.get_errno() == code, (ctypes.get_errno(), code)
"""
MAPPED = FAILS + OPENED + "p = raw_mmap(None, 2 * P, R | W, SHARED, fd)\n"
CALLS = {
    "open": "raises(ERRNO, os.open, '/dev/x', os.O_RDWR)",
    "mmap": OPENED + "raises(ERRNO, raw_mmap, None, P, R, SHARED, fd)",
    "vm_may_split": MAPPED + "fails(ERRNO, libc.munmap, p, P)",
    "vm_mremap": MAPPED + "to = raw_mmap(None, 2 * P, R, PRIVATE | ANON, -1)\n"
    "fails(ERRNO, libc.mremap, p, 2 * P, 2 * P, 3, to)",  # MREMAP_MAYMOVE | MREMAP_FIXED
    "vm_mprotect": MAPPED + "fails(ERRNO, libc.mprotect, p, 2 * P, R)",
}


@pytest.mark.parametrize("where", CALLS)
def test_an_odd_result_is_eio_and_told(
    mapdev: Host, client: Client, caplog: Any, where: str
) -> None:
    mapdev.add(Odd, "/dev/x", where=where, result=iter(ODD))
    client(f"for _ in range({len(ODD)}):" + indent(CALLS[where].replace("ERRNO", "errno.EIO")))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"/dev/x: {where} returned {result!r}, not 0, -errno or None; the client gets EIO"
        for result in ODD
    ]


@pytest.mark.parametrize("where", CALLS)
def test_results_in_the_manner_of_c(mapdev: Host, client: Client, caplog: Any, where: str) -> None:
    driver = mapdev.add(Odd, "/dev/x", where=where, result=-errno.EDOM)
    client(CALLS[where].replace("ERRNO", "errno.EDOM"))
    for driver.result in (0, False, None):
        client(OPENED + "raw_mmap(None, P, R, SHARED, fd)")
    assert "/dev/x" not in caplog.text


@pytest.mark.parametrize("result", [ValueError("broken"), OSError("broken")])
@pytest.mark.parametrize(
    ("where", "outcome"),
    [
        ("open", "the client gets EIO"), ("mmap", "the client gets EIO"),
        ("release", "no program can be told"), ("vm_open", "no program can be told"),
        ("vm_close", "no program can be told"),
        pytest.param("vm_fault", "the client gets SIGBUS", marks=pytest.mark.when_touched),
    ],
)  # fmt: skip
def test_what_comes_of_a_failure_is_said_as_it_is(
    mapdev: Host, client: Client, caplog: Any, where: str, outcome: str, result: Exception
) -> None:
    """Only a call that gives an errno is said to have given EIO; each failure is told once."""
    mapdev.add(Odd, "/dev/x", where=where, result=result)
    client(
        """
        try:
            fd = os.open('/dev/x', os.O_RDWR)
            p = raw_mmap(None, P, R, SHARED, fd)
        except OSError as error:
            assert error.errno == errno.EIO
        else:
            if os.fork() == 0:
                peek(p)
                os._exit(0)
            os.wait()
        """
    )
    told = [record.getMessage() for record in caplog.records if "/dev/x" in record.getMessage()]
    assert told
    assert all(where in text and outcome in text for text in told)
    assert len(told) == {"vm_close": 2}.get(where, 1)  # of the child's area, too
    assert "Input/output error" not in caplog.text


def test_a_traced_failure_names_no_errno_where_none_is_given(
    new_host: Callable[..., Host], client: Client
) -> None:
    lines: list[str] = []

    def trace(device: Any, operation: str, arguments: str, result: str, seconds: float) -> None:
        lines.append(f"{operation} = {result}")

    for where in ("release", "vm_close", "vm_fault"):
        with new_host(trace=trace) as host:
            host.add(Odd, "/dev/x", where=where, result=ValueError("broken"))
            host.run(["true"])
            done = host.run(
                ["python3", "-c", "import mmap, os; f = os.open('/dev/x', os.O_RDWR); "
                 "m = mmap.mmap(f, 4096); os.fork() or m[0]; os.wait()"]
            )  # fmt: skip
            assert done.returncode in (0, 1)
    text = "\n".join(lines)
    assert "vm_fault = VM_FAULT_SIGBUS" in text
    assert "release = failed" in text
    assert "vm_close = failed" in text
    assert "EIO" not in text


@pytest.mark.parametrize("result", [1, "text", object()])
def test_probe_that_returns_something(mapdev: Host, result: Any) -> None:
    with pytest.raises(DriverError, match=r"Odd.probe returned .*, not None, 0 or -errno"):
        mapdev.add(Odd, "/dev/x", where="probe", result=result)


def test_probe_in_the_manner_of_c(mapdev: Host) -> None:
    with pytest.raises(OSError, match="No such device") as caught:
        mapdev.add(Odd, "/dev/x", where="probe", result=-errno.ENODEV)
    assert caught.value.errno == errno.ENODEV
    mapdev.add(Odd, "/dev/x", where="probe", result=0)
