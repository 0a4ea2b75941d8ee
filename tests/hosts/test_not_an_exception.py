"""What is no `Exception`, raised in an operation: EIO, in `failures`, and the host goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import pytest
from pace import patience

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    EPOLLIN,
    File,
    Inode,
    VmAreaStruct,
    VmFault,
    VmOperationsStruct,
    kthread_run,
    kthread_stop,
)

RAISED = {
    "fail": lambda: pytest.fail("the driver says so"),
    "skip": lambda: pytest.skip("the driver skips"),
    "xfail": lambda: pytest.xfail("the driver expects it"),
    "SystemExit": lambda: sys.exit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
}
# What the client does, and what it then prints.
CODE = {
    "open": ("try: os.open('/dev/x', os.O_RDWR)", "EIO"),
    "read": ("try: os.read(fd(), 1)", "EIO"),
    "later": ("try: os.read(fd(), 1)", "EIO"),
    "write": ("try: os.write(fd(), b'x')", "EIO"),
    "ioctl": ("try: fcntl.ioctl(fd(), 1)", "EIO"),
    "fsync": ("try: os.fsync(fd())", "EIO"),
    "llseek": ("try: os.lseek(fd(), 1, 0)", "EIO"),
    "mmap": ("try: mmap.mmap(fd(), 4096)", "EIO"),
    "poll": ("try: print(len(select.select([fd()], [], [], 0)[0]))", "1"),
    "fault": ("try: mmap.mmap(fd(), 4096)[0]", ""),  # SIGBUS
    "close": ("try: mmap.mmap(fd(), 4096).close(); print('closed')", "closed"),
    "release": ("try: os.close(fd()); print('closed')", "closed"),
    "kthread": ("try: print(os.read(fd(), 1))", "b''"),
}


class Raising(Driver):
    """Raises in one of its operations, or in what it starts."""

    def probe(self, where: str, what: str) -> None:
        self.where, self.what = where, what
        self.here("probe")

    def here(self, where: str) -> None:
        if self.where == where:
            self.throw()

    def throw(self, data: object = None) -> None:
        made = RAISED[self.what]()
        raise made

    def open(self, inode: Inode, file: File) -> None:
        self.here("open")

    def release(self, inode: Inode, file: File) -> None:
        self.here("release")

    def read(self, file: File, count: int, pos: int) -> object:
        if self.where == "later":
            return self.later()
        if self.where == "kthread":
            kthread_stop(kthread_run(self.throw, None, "raises"))
        self.here("read")
        return b""

    async def later(self) -> bytes:
        self.throw()
        return b""

    def write(self, file: File, data: bytes, pos: int) -> None:
        self.here("write")

    def llseek(self, file: File, offset: int, whence: int) -> int:
        self.here("llseek")
        return 0

    def ioctl(self, file: File, cmd: int, arg: int) -> None:
        self.here("ioctl")

    def fsync(self, file: File, start: int, end: int, datasync: bool) -> None:
        self.here("fsync")

    def poll(self, file: File) -> int:
        self.here("poll")
        return EPOLLIN

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        self.here("mmap")
        vma.vm_ops = VmOperationsStruct(
            fault=self.fault if self.where == "fault" else None, close=self.close
        )

    def fault(self, vmf: VmFault) -> None:
        self.throw()

    def close(self, vma: VmAreaStruct) -> None:
        self.here("close")

    def remove(self) -> None:
        self.here("remove")


PROGRAM = """
import errno, fcntl, mmap, os, select
def fd(): return os.open('/dev/x', os.O_RDWR)
{code}
except OSError as error: print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("what", RAISED)
@pytest.mark.parametrize("where", CODE)
def test_an_operation(new_host: Callable[..., Host], where: str, what: str) -> None:
    code, prints = CODE[where]
    with new_host() as host:
        host.add(Raising, "/dev/x", where=where, what=what)
        done = host.run([sys.executable, "-S", "-c", PROGRAM.format(code=code)], text=True,
                        capture_output=True, timeout=patience(60))  # fmt: skip
        assert done.stdout.strip() == prints, done.stderr
        raised = [type(error) for error in host.failures]
        assert raised and len(set(raised)) == 1 and not issubclass(raised[0], Exception)
        assert host.run(["true"], timeout=patience(60)).returncode == 0  # it goes on
    assert host.leaks == []


@pytest.mark.parametrize("what", RAISED)
def test_remove(new_host: Callable[..., Host], what: str) -> None:
    with new_host() as host:
        host.add(Raising, "/dev/x", where="remove", what=what)
    assert len(host.failures) == 1 and not isinstance(host.failures[0], Exception)


@pytest.mark.parametrize("what", RAISED)
def test_probe(new_host: Callable[..., Host], what: str) -> None:
    """Whoever adds the device gets it; there is none then."""
    with new_host() as host:
        try:
            host.add(Raising, "/dev/x", where="probe", what=what)
        except BaseException as error:
            raised = error
        assert not isinstance(raised, Exception)
        assert host.devices == [] and host.failures == []
        assert host.run(["test", "-e", "/dev/x"], timeout=patience(60)).returncode == 1
