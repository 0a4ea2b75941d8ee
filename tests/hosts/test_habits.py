"""Drivers in the habits of C and of the books: what they return, how they wait, what they print."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import pytest

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    DECLARE_WAIT_QUEUE_HEAD,
    DEFINE_KFIFO,
    EAGAIN,
    EFAULT,
    EINVAL,
    EIO,
    ENOMEM,
    ENOSPC,
    ENOTTY,
    ERESTARTSYS,
    FMODE_READ,
    FMODE_WRITE,
    GFP_KERNEL,
    KERN_DEBUG,
    O_NONBLOCK,
    PAGE_SHARED,
    PAGE_SIZE,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
    File,
    Inode,
    Semaphore,
    VmAreaStruct,
    access_ok,
    current,
    down_interruptible,
    get_user,
    kfifo_in,
    kfifo_is_empty,
    kfifo_out,
    kfree,
    kzalloc,
    nonseekable_open,
    poll_wait,
    pr_err,
    pr_info,
    printk,
    put_user,
    remap_pfn_range,
    simple_read_from_buffer,
    up,
    vfree,
    vmalloc_to_pfn,
    vmalloc_user,
    wait_event_interruptible,
    wake_up_interruptible,
)

Client = Callable[..., str]


class Scull(Driver):
    """A store in quanta, with its own llseek and ioctl."""

    def probe(self) -> None:
        self.data: dict[int, bytearray] = {}
        self.quantum, self.size = 4000, 0
        self.sem = Semaphore(1)

    def open(self, inode: Inode, filp: File) -> int:
        filp.private_data = self
        return 0

    def release(self, inode: Inode, filp: File) -> int:  # type: ignore[override]
        return 0

    def read(self, filp: File, count: int, f_pos: int) -> Any:
        if down_interruptible(self.sem):
            return -ERESTARTSYS
        try:
            if f_pos >= self.size:
                return 0
            q, rest = divmod(f_pos, self.quantum)
            return self.data[q][rest : rest + min(count, self.size - f_pos)]
        finally:
            up(self.sem)

    def write(self, filp: File, buf: bytes, f_pos: int) -> int:
        if down_interruptible(self.sem):
            return -ERESTARTSYS
        q, rest = divmod(f_pos, self.quantum)
        page = self.data.setdefault(q, bytearray(self.quantum))
        count = min(len(buf), self.quantum - rest)
        page[rest : rest + count] = buf[:count]
        self.size = max(self.size, f_pos + count)
        up(self.sem)
        return count

    def llseek(self, filp: File, off: int, whence: int) -> int:
        base = {SEEK_SET: 0, SEEK_CUR: filp.f_pos, SEEK_END: self.size}.get(whence)
        if base is None or base + off < 0:
            return -EINVAL
        filp.f_pos = base + off
        return filp.f_pos

    def ioctl(self, filp: File, cmd: int, arg: int) -> int:
        if cmd >> 8 & 0xFF != ord("k"):
            return -ENOTTY
        if not access_ok(arg, 4):
            return -EFAULT
        number = cmd & 0xFF
        if number == 1:
            self.quantum = get_user(arg)
        elif number == 5:
            return put_user(self.quantum, arg)
        elif number == 7:
            return self.quantum
        else:
            return -ENOTTY
        return 0


def test_scull(mapdev: Host, client: Client) -> None:
    mapdev.add(Scull, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        assert os.write(fd, b'x' * 5000) == 4000
        assert os.lseek(fd, 0, 0) == 0 and len(os.read(fd, 9999)) == 4000 and os.read(fd, 9) == b''
        assert os.lseek(fd, -1, 2) == 3999
        raises(errno.EINVAL, os.lseek, fd, -1, 0)
        assert fcntl.ioctl(fd, 0x6b07) == 4000
        fcntl.ioctl(fd, 0x40046b01, struct.pack('i', 100))
        assert fcntl.ioctl(fd, 0x80046b05, bytes(4)) == struct.pack('i', 100)
        raises(errno.ENOTTY, fcntl.ioctl, fd, 0x6b09)
        raises(errno.ENOTTY, fcntl.ioctl, fd, 0x5401, bytes(64))
        """
    )


class Pipe(Driver):
    """A ring between readers and writers, whose semaphore is given back before each wait."""

    def probe(self) -> None:
        self.inq, self.outq = DECLARE_WAIT_QUEUE_HEAD("inq"), DECLARE_WAIT_QUEUE_HEAD("outq")
        self.buffer = bytearray()
        self.sem = Semaphore(1)
        self.readers = self.writers = 0

    def open(self, inode: Inode, filp: File) -> int:
        self.readers += bool(filp.f_mode & FMODE_READ)
        self.writers += bool(filp.f_mode & FMODE_WRITE)
        return nonseekable_open(inode, filp)

    def read(self, filp: File, count: int, f_pos: int) -> Any:
        if down_interruptible(self.sem):
            return -ERESTARTSYS
        while not self.buffer:
            up(self.sem)
            if filp.f_flags & O_NONBLOCK:
                return -EAGAIN
            printk(KERN_DEBUG + '"%s" reading: going to sleep\n', current().comm)
            if wait_event_interruptible(self.inq, lambda: self.buffer):
                return -ERESTARTSYS
            if down_interruptible(self.sem):
                return -ERESTARTSYS
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        up(self.sem)
        wake_up_interruptible(self.outq)
        return data

    def write(self, filp: File, buf: bytes, f_pos: int) -> int:
        if down_interruptible(self.sem):
            return -ERESTARTSYS
        while len(self.buffer) >= 64:
            up(self.sem)
            if filp.f_flags & O_NONBLOCK:
                return -EAGAIN
            if wait_event_interruptible(self.outq, lambda: len(self.buffer) < 64):
                return -ERESTARTSYS
            if down_interruptible(self.sem):
                return -ERESTARTSYS
        count = min(len(buf), 64 - len(self.buffer))
        self.buffer += buf[:count]
        up(self.sem)
        wake_up_interruptible(self.inq)
        return count

    def poll(self, filp: File) -> int:
        poll_wait(filp, self.inq, None)
        poll_wait(filp, self.outq, None)
        mask = POLLIN | POLLRDNORM if self.buffer else 0
        return mask | (POLLOUT | POLLWRNORM if len(self.buffer) < 64 else 0)


def test_a_pipe(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Pipe, "/dev/x")
    client(
        """
        import select
        fd = os.open('/dev/x', os.O_RDWR)
        poll = select.poll(); poll.register(fd, select.POLLIN | select.POLLOUT)
        assert poll.poll(0) == [(fd, select.POLLOUT)]
        assert os.write(fd, b'x' * 99) == 64 and poll.poll(0) == [(fd, select.POLLIN)]
        nonblocking = os.open('/dev/x', os.O_RDWR | os.O_NONBLOCK)
        raises(errno.EAGAIN, os.write, nonblocking, b'x')
        assert len(os.read(fd, 99)) == 64
        raises(errno.EAGAIN, os.read, nonblocking, 9)
        raises(errno.ESPIPE, os.lseek, fd, 0, 0)
        if os.fork() == 0:
            os.write(fd, b'late'); os._exit(0)
        assert os.read(fd, 99) == b'late'
        os.wait()
        """
    )
    assert driver.sem.count == 1 and driver.readers == driver.writers == 2


class Various(Driver):
    """A vmalloc'ed area mapped page by page, allocation in open, a message, a kfifo."""

    def probe(self) -> int:  # type: ignore[override]
        self.area = vmalloc_user(4 * PAGE_SIZE)
        self.fifo = DEFINE_KFIFO(ctypes.c_char, 64)
        return 0 if self.area else -ENOMEM

    def remove(self) -> None:
        vfree(self.area)

    def open(self, inode: Inode, filp: File) -> int:
        filp.private_data = kzalloc(8, GFP_KERNEL)
        return 0 if filp.private_data else -ENOMEM

    def release(self, inode: Inode, filp: File) -> None:
        kfree(filp.private_data)

    def mmap(self, filp: File, vma: VmAreaStruct) -> int:  # type: ignore[override]
        if vma.vm_end - vma.vm_start > 4 * PAGE_SIZE:
            return -EIO
        for at in range(0, vma.vm_end - vma.vm_start, PAGE_SIZE):
            pfn = vmalloc_to_pfn(self.area + at)
            ret = remap_pfn_range(vma, vma.vm_start + at, pfn, PAGE_SIZE, PAGE_SHARED)
            if ret < 0:
                return ret
        return 0

    def read(self, filp: File, count: int, ppos: int) -> bytes:
        if kfifo_is_empty(self.fifo):
            return simple_read_from_buffer(count, ppos, b"hello\n")
        return kfifo_out(self.fifo, count)

    def write(self, filp: File, buf: bytes, ppos: int) -> int:
        pr_info("wrote %zu of %lu at %p\n", len(buf), 64, 0x1000)
        if len(buf) > 64:
            pr_err("no space: %d %%\n", 100)
            return -ENOSPC
        return kfifo_in(self.fifo, buf, len(buf))


def test_various(mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mapdev")
    mapdev.add(Various, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        m = mmap.mmap(fd, 2 * P); m[P] = 5; assert m[P] == 5
        raises(errno.EIO, mmap.mmap, fd, 5 * P)
        assert os.read(fd, 99) == b'hello\\n' and os.read(fd, 99) == b''
        assert os.write(fd, b'abc') == 3 and os.read(fd, 2) == b'ab'
        raises(errno.ENOSPC, os.write, fd, bytes(65))
        """
    )
    assert "wrote 3 of 64 at 0x1000" in caplog.messages and "no space: 100 %" in caplog.messages


def test_a_condition_that_is_no_function(
    mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(Driver):
        def read(self, filp: File, count: int, ppos: int) -> bytes:
            wait_event_interruptible(DECLARE_WAIT_QUEUE_HEAD("q"), False)  # type: ignore[arg-type]
            return b""

    mapdev.add(Wrong, "/dev/x")
    client("raises(errno.EIO, os.read, os.open('/dev/x', 0), 1)")
    assert "the condition of a wait is a function that is asked again, not False" in caplog.text
