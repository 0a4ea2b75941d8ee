"""Clients that can't be served get a clear message, and do no harm."""

import mmap
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devices import Buffer
from pace import rounds

from mapdev.host.embedded.host import EmbeddedHost

Client = Callable[..., str]


def test_io_uring(mapdev: EmbeddedHost, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    mapdev.add(Buffer, "/dev/x")
    client(
        """
        params = ctypes.create_string_buffer(120)
        assert libc.syscall(ctypes.c_long(425), 4, params) == -1 and ctypes.get_errno() == errno.ENOSYS
        assert libc.syscall(ctypes.c_long(425), 4, params) == -1
        """
    )
    assert caplog.text.count("io_uring") == 1


def test_set_user_id_programs(
    mapdev: EmbeddedHost, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mapdev.add(Buffer, "/dev/x")
    program = tmp_path / "privileged"
    shutil.copy("/bin/true", program)
    program.chmod(0o4755)
    assert mapdev.run([program]).returncode == 0
    assert f"{program} is set-user-ID" in caplog.text


def test_another_architecture(
    mapdev: EmbeddedHost, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the 32-bit program here is for x86")
    source = Path(__file__).parent.parent / "clients" / "i386_open.S"
    program = tmp_path / "i386_open"
    subprocess.run(["cc", "-m32", "-static", "-nostdlib", "-o", program, source], check=True)
    if subprocess.run([program, "/dev/null"], check=False).returncode not in (0, 253):
        pytest.skip("this kernel runs no 32-bit programs")
    mapdev.add(Buffer, "/dev/x")
    assert mapdev.run([program, "/dev/x"]).returncode == 6  # ENXIO
    assert "is a program for i386" in caplog.text
    assert mapdev.run([program, "/dev/null"]).returncode == 253  # -3: an ordinary file is served


TRACED = """
if os.fork() == 0:
    assert libc.ptrace(0, 0, None, None) == 0  # PTRACE_TRACEME
    fd = os.open('/dev/x', os.O_RDWR)
    os.write(fd, b'traced')
"""


def test_a_client_under_a_debugger(mapdev: EmbeddedHost, client: Client) -> None:
    """What a debugger holds can map a device all the same; the driver is asked once."""
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        TRACED
        + """
    p = raw_mmap(None, 2 * P, R | W, SHARED, fd)
    poke(p + 8, b'mapped')
    raw_mmap(p + P, P, R, SHARED | FIXED, fd)
    assert libc.mprotect(p, P, R) == 0 and libc.munmap(p, P) == 0 and peek(p + P, 6) == b'traced'
    os._exit(0)
assert os.wait()[1] == 0
"""
    )
    assert driver.text() == b"traced\0\0mapped"
    assert driver.calls.count("mmap") == 2


def test_a_client_with_threads_under_a_debugger(
    mapdev: EmbeddedHost, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can be in it: EPERM, and a message. All but mmap works."""
    driver = mapdev.add(Buffer, "/dev/x")
    client(
        TRACED
        + """
    def map_it(): raises(errno.EPERM, raw_mmap, None, P, R, SHARED, fd)
    threading.Thread(target=time.sleep, args=[1000], daemon=True).start()
    map_it()
    os._exit(0)
assert os.wait()[1] == 0
"""
    )
    assert driver.text() == b"traced"
    assert "is held by a debugger and had several threads" in caplog.text


def test_the_lent_descriptor_is_of_no_use_to_siblings(mapdev: EmbeddedHost, client: Client) -> None:
    """Another thread that tries to get at physical memory while it is lent gets EBADF."""
    driver = mapdev.add(Buffer, "/dev/x")
    driver.bytes[PAGE_AT : PAGE_AT + 6] = b"secret"
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR); scratch = int(sys.argv[1]); stop = False; got = []
        def steal():
            while not stop:
                for attempt in (lambda: os.pread(scratch, 8, 0), lambda: os.dup(scratch), lambda: os.dup2(scratch, 20),
                                lambda: raw_mmap(None, P, R, SHARED, scratch),
                                lambda: os.open(f'/proc/self/fd/{scratch}', os.O_RDWR)):
                    try: got.append(attempt())
                    except OSError as error: assert error.errno in (errno.EBADF, errno.ENOENT), error
        threads = [threading.Thread(target=steal) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(int(sys.argv[2])): mmap.mmap(fd, P).close()
        stop = True
        for thread in threads: thread.join()
        assert not got, got
        """,
        str(mapdev.subsystems.fd_allocator.scratch),
        str(rounds(300)),
    )


PAGE_AT = 4 * os.sysconf("SC_PAGE_SIZE")


def test_no_path_leads_to_physical_memory(mapdev: EmbeddedHost, client: Client) -> None:
    """A link to an area leads to the device; one to a piece of it would lead to all frames."""
    mapdev.add("vmalloc", "/dev/x")
    client(
        """
        p = raw_mmap(None, 2 * P, R | W, SHARED, os.open('/dev/x', os.O_RDWR))
        def link(pages): return f'/proc/self/map_files/{p:x}-{p + pages * P:x}'
        raises(errno.EPERM if os.geteuid() else errno.EACCES, os.open, link(1), os.O_RDWR)
        if os.geteuid() == 0:
            assert os.readlink(link(2)) == '/dev/x'
            assert os.fstat(os.open(link(2), os.O_RDWR)).st_rdev == os.stat('/dev/x').st_rdev
        """
    )


def test_the_list_of_calls_can_not_be_written(
    mapdev: EmbeddedHost, start: Callable[..., Any]
) -> None:
    """Whatever description of its pages a program gets, none is a way to change them."""
    mapdev.add(Buffer, "/dev/x")
    process = start("p = raw_mmap(None, P, R, SHARED, os.open('/dev/x', os.O_RDWR))\n"
                    "print(flush=True); sys.stdin.readline()")  # fmt: skip
    process.stdout.readline()
    lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if "memfd:mapdev batch" in line]
    assert ranges
    names = ["-".join(f"{int(end, 16):x}" for end in ends) for ends in ranges]
    ways = [f"/proc/{process.pid}/map_files/{name}" for name in names if os.geteuid() == 0]
    batch = mapdev.subsystems.injector.batch
    assert batch is not None
    for way in (*ways, f"/proc/self/fd/{batch.fd}"):
        fd = os.open(way, os.O_RDWR)
        try:
            for change in (
                lambda fd: os.pwrite(fd, b"x", 4096),
                lambda fd: os.ftruncate(fd, 0),
                lambda fd: os.posix_fallocate(fd, 0, 1 << 24),
                lambda fd: mmap.mmap(fd, 4096, prot=mmap.PROT_WRITE),
            ):
                with pytest.raises(PermissionError):
                    change(fd)
        finally:
            os.close(fd)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(60) == 0


def test_a_fork_beside_a_mapping_carries_nothing_off(
    mapdev: EmbeddedHost, static: Callable[[str], str]
) -> None:
    """Children of a fork in another thread have none of our descriptors; release is not late."""
    driver = mapdev.add(Buffer, "/dev/x")
    done = mapdev.run(
        [static("forks"), "/dev/x", str(rounds(200))], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert driver.calls[-1] == "release"


def test_a_client_of_another_host(mapdev: EmbeddedHost) -> None:
    mapdev.add(Buffer, "/dev/x")
    inner = [sys.executable, "-m", "mapdev.cli", "run", "-d", "/dev/y=contiguous", "--", "true"]
    done = mapdev.run(inner, capture_output=True, text=True, timeout=60)
    assert done.returncode == 125
    assert "a client of mapdev itself" in done.stderr and "Traceback" not in done.stderr
