"""Mapped memory handed to the kernel and to others: write(2), read(2), O_DIRECT, futex, ..."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from devices import Buffer

from mapdev.host.embedded.host import EmbeddedHost

Client = Callable[..., str]


def test_write_from_it_and_read_into_it(
    mapdev: EmbeddedHost, client: Client, tmp_path: Path
) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    driver.bytes[:6] = b"device"
    client(
        """
        m = mmap.mmap(os.open('/dev/x', os.O_RDWR), 4 * P)
        view = memoryview(m)
        fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        assert os.write(fd, view[:6]) == 6
        os.lseek(fd, 0, 0)
        assert os.readv(fd, [view[P:P + 6]]) == 6 and m[P:P + 6] == b'device'
        # from the device into its own mapping, and back
        dev = os.open('/dev/x', os.O_RDWR)
        assert os.readv(dev, [view[2 * P:2 * P + 6]]) == 6 and m[2 * P:2 * P + 6] == b'device'
        assert os.pwrite(dev, view[:6], 3 * P) == 6 and m[3 * P:3 * P + 6] == b'device'
        r, w = os.pipe(); os.write(w, view[:6]); assert os.read(r, 6) == b'device'
        """,
        str(tmp_path / "file"),
    )
    assert (tmp_path / "file").read_bytes() == b"device"


def test_direct_io(mapdev: EmbeddedHost, client: Client, tmp_path: Path) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    path = _file_for_direct_io(tmp_path)
    client(
        """
        m = mmap.mmap(os.open('/dev/x', os.O_RDWR), 4 * P); view = memoryview(m)
        fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
        assert os.readv(fd, [view[:8192]]) == 8192 and m[8191] == ord('d')
        m[:4096] = b'D' * 4096
        os.pwrite(fd, view[:4096], 0)
        """,
        str(path),
    )
    assert path.read_bytes() == b"D" * 4096 + b"d" * 4096
    path.unlink()
    assert driver.text(1) == b"D"


def _file_for_direct_io(*directories: Path) -> Path:
    """Return a file of 8 KiB on a file system that has O_DIRECT; tmpfs does only since 6.6."""
    for directory in (*directories, Path("/var/tmp")):
        path = directory / f"mapdev-direct-{os.getpid()}"
        path.write_bytes(b"d" * 8192)
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
        except OSError:
            path.unlink()
        else:
            return path
    pytest.skip("neither the temporary directory nor /var/tmp is on a file system with O_DIRECT")


def test_other_processes_can_read_it_and_not_write(mapdev: EmbeddedHost, client: Client) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        p = raw_mmap(None, P, R | W, SHARED, os.open('/dev/x', os.O_RDWR)); poke(p, b'remote')
        local = ctypes.create_string_buffer(6)
        def iovec(address, size): return ctypes.create_string_buffer(struct.pack('QQ', address, size))
        n = libc.process_vm_readv(os.getpid(), iovec(ctypes.addressof(local), 6), 1, iovec(p, 6), 1, 0)
        assert n == 6 and local.value == b'remote', (n, ctypes.get_errno())
        n = libc.process_vm_writev(os.getpid(), iovec(ctypes.addressof(local), 6), 1, iovec(p, 6), 1, 0)
        assert n == -1 and ctypes.get_errno() == errno.EFAULT, n
        """
    )


def test_a_counter_in_it_and_no_futex(mapdev: EmbeddedHost, static: Callable[[str], str]) -> None:
    mapdev.add(Buffer, "/dev/x")
    done = mapdev.run([static("futex"), "/dev/x"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "200000\n", "")
