"""The flush operation: it runs at each close of a descriptor, and its error is that of close."""

import errno
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from devices import Buffer

from mapdev import Driver
from mapdev.host.core.host import Host
from mapdev.linux import (
    EPOLLIN,
    GFP_KERNEL,
    PAGE_SHIFT,
    File,
    Inode,
    VmAreaStruct,
    WaitQueueHead,
    current,
    get_zeroed_page,
    poll_wait,
    remap_pfn_range,
    virt_to_phys,
    wait_event_interruptible,
    wake_up,
)

Client = Callable[..., str]
PATIENCE = 20


class Closing(Driver):
    """Notes who closes, and what comes after."""

    def probe(self) -> None:
        self.result = 0
        self.log: list[str] = []
        self.pids: list[int] = []
        self.page = get_zeroed_page(GFP_KERNEL)
        self.queue = WaitQueueHead()
        self.is_ready = False

    def flush(self, file: File) -> None:
        self.log.append("flush")
        self.pids.append(current().tgid)
        self.is_ready = True
        wake_up(self.queue)
        if self.result:
            raise OSError(self.result, "as told")

    def release(self, inode: Inode, file: File) -> None:
        self.log.append("release")

    def write(self, file: File, data: bytes, pos: int) -> int:
        self.log.append("write")
        return len(data)

    def read(self, file: File, count: int, pos: int) -> bytes:
        wait_event_interruptible(self.queue, lambda: self.is_ready)
        return b"x"

    def poll(self, file: File) -> int:
        poll_wait(file, self.queue)
        return EPOLLIN if self.is_ready else 0

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        pfn = virt_to_phys(self.page) >> PAGE_SHIFT
        remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, vma.vm_page_prot)


def test_each_close(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Closing, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        os.write(fd, b'1')
        os.close(os.dup(fd))
        os.write(fd, b'2')
        os.dup2(0, os.dup2(fd, 9))
        os.close(fd)
        with open('/dev/null') as f: f.read()
        fd = os.open('/dev/x', os.O_RDWR)
        os.write(fd, b'3')
        """
    )
    mapdev.settle()
    assert driver.log == ["write", "flush", "write", "flush", "flush", "release", "write", "flush",
                          "release"]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        (errno.EIO, errno.EIO), (errno.ENOSPC, errno.ENOSPC), (errno.EAGAIN, errno.EAGAIN),
        (errno.EINTR, errno.EINTR), (512, errno.EINTR), (513, errno.EINTR), (514, errno.EINTR),
        (516, errno.EINTR), (errno.EDQUOT, errno.EDQUOT),
    ],
)  # fmt: skip
def test_error(mapdev: Host, client: Client, code: int, seen: int) -> None:
    driver = mapdev.add(Closing, "/dev/x")
    driver.result = code
    client(
        f"""
        fd = os.open('/dev/x', os.O_RDWR)
        raises({seen}, os.close, fd)
        raises(errno.EBADF, os.close, fd)
        fd = os.open('/dev/x', os.O_RDWR)
        assert os.dup2(0, fd) == fd
        os.closerange(fd, fd + 1)
        """
    )
    mapdev.settle()
    assert driver.log == ["flush", "release"] * 2


def test_who_closes(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Closing, "/dev/x")
    text = client(
        """
        import subprocess
        fd = os.open('/dev/x', os.O_RDWR)
        pids = [os.getpid()]
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        pids.append(pid)
        fd = os.open('/dev/x', os.O_RDWR)
        os.set_inheritable(fd, True)
        pid = os.posix_spawn('/bin/true', ['true'], os.environ)
        os.waitpid(pid, 0)
        pids.append(pid)
        print(*pids)
        """
    )
    mapdev.settle()
    parent, child, program = map(int, text.split())
    # The first one is not inheritable: exec closes it.
    assert driver.pids == [child, program, program, parent, parent]


def test_killed_and_kill_of_a_thread_group(mapdev: Host) -> None:
    driver = mapdev.add(Closing, "/dev/x")
    with mapdev.popen(
        ["python3", "-c", "import os, time, threading; a = os.open('/dev/x', 2);"
         "b = os.dup(a); threading.Thread(target=time.sleep, args=(60,)).start();"
         "print('on', flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline() == b"on\n"
        assert driver.log == []
        program.send_signal(signal.SIGKILL)
        assert program.wait(PATIENCE) == -signal.SIGKILL
    mapdev.settle()
    assert driver.log == ["flush", "flush", "release"]


def test_mapping_in_a_program_with_threads(mapdev: Host, client: Client) -> None:
    """The host maps by a helper thread, whose copies of the descriptors are no program's."""
    driver = mapdev.add(Closing, "/dev/x")
    client(
        """
        import threading, time
        fds = [os.open('/dev/x', os.O_RDWR) for _ in range(5)]
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        for fd in fds:
            with mmap.mmap(fd, 4096) as area: area[0] = 1
        os.write(fds[0], b'x')
        for fd in fds: os.close(fd)
        """
    )
    mapdev.settle()
    # An mmap object of Python has a copy of its descriptor.
    assert driver.log == [*["flush"] * 5, "write", *["flush", "release"] * 5]


def test_mapping_keeps_it_open(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Closing, "/dev/x")
    client(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        area = mmap.mmap(fd, 4096)
        os.close(fd)
        del area
        fd = os.open('/dev/x', os.O_RDWR)
        os.write(fd, b'x')
        """
    )
    mapdev.settle()
    assert driver.log.index("flush") < driver.log.index("write")
    assert sorted(driver.log) == ["flush"] * 3 + ["release"] * 2 + ["write"]


def test_it_wakes(mapdev: Host, client: Client) -> None:
    """What flush does is seen by who waits, in read and in poll."""
    mapdev.add(Closing, "/dev/x")
    client(
        """
        import select, threading, time
        fd, other = os.open('/dev/x', os.O_RDWR), os.open('/dev/x', os.O_RDWR)
        def read(): seen.append(os.read(fd, 1))
        seen = []
        reader = threading.Thread(target=read); reader.start()
        time.sleep(0.1)
        assert not seen
        poller = select.poll(); poller.register(fd, select.POLLIN)
        assert not poller.poll(0)
        os.close(other)
        assert poller.poll(20_000) == [(fd, select.POLLIN)]
        reader.join(20)
        assert seen == [b'x']
        """
    )


def test_programs_are_started_meanwhile(mapdev: Host) -> None:
    """A program that is being started closes copies of the host's descriptors."""
    driver = mapdev.add(Closing, "/dev/x")
    command = ["sh", "-c", "i=0; while [ $i -lt 100 ]; do : < /dev/x; i=$((i+1)); done"]
    with mapdev.popen(command) as program:
        end = time.monotonic() + PATIENCE
        while program.poll() is None:
            subprocess.run(["true"], check=True, timeout=PATIENCE)
            assert time.monotonic() < end
    mapdev.settle()
    # In the shell: the descriptor of open, and its copy at 0 when that is put back.
    assert driver.log == ["flush", "flush", "release"] * 100


def test_without(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Buffer, "/dev/x")
    assert not driver.has("flush")
    client("os.close(os.open('/dev/x', os.O_RDWR))")


def test_removed(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Closing, "/dev/x")
    with mapdev.popen(
        ["python3", "-c", "import os, sys; fd = os.open('/dev/x', 2); print('on', flush=True)\n"
         "sys.stdin.read()\ntry: os.close(fd)\nexcept OSError as e: print(e.errno)"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline() == b"on\n"
        mapdev.remove("/dev/x")
        text, _ = program.communicate(timeout=PATIENCE)
    assert int(text) == errno.ENODEV
    mapdev.settle()
    assert "flush" not in driver.log


def test_path_only(mapdev: Host, client: Client) -> None:
    driver = mapdev.add(Closing, "/dev/x")
    client("os.close(os.open('/dev/x', os.O_PATH))")
    mapdev.settle()
    assert driver.log == []


def test_a_mistake(mapdev: Host, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    class Wrong(Driver):
        def flush(self, file: File) -> None:
            raise ZeroDivisionError

    mapdev.add(Wrong, "/dev/x")
    client("raises(errno.EIO, os.close, os.open('/dev/x', os.O_RDWR))")
    mapdev.settle()
    assert "flush failed" in caplog.text
    caplog.clear()
