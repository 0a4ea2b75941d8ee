"""Edge-triggered epoll by a program in Python: an event at each wake-up."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from pace import patience
from polled import POLL, Masked

from mapdev.host.core.host import Host
from mapdev.host.process import Process
from mapdev.linux import EPOLLIN, EPOLLOUT

Start = Callable[..., Process]


EDGE = """
e = select.epoll(); e.register(fd, {events})
print(len(e.poll(0)), len(e.poll(0)), flush=True)
for line in sys.stdin:
    print(e.poll(10)[0][1], e.poll(0), flush=True)
"""


@pytest.mark.parametrize("mask", [EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT])
def test_an_edge_at_each_wake_up(mapdev: Host, start: Start, mask: int) -> None:
    driver = mapdev.add(Masked, "/dev/x", mask=mask)
    process = start(
        POLL
        + "fd = os.open('/dev/x', os.O_RDWR)\n"
        + EDGE.format(events=f"{mask} | select.EPOLLET")
    )
    assert process.stdout.readline() == "1 0\n"
    for _ in range(100):  # more than the bytes that are left unread
        driver.become(mask)
        mapdev.settle()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{mask} []\n"


def test_an_edge_for_what_stays_while_something_else_changes(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    process = start(
        POLL
        + "fd = os.open('/dev/x', os.O_RDWR)\n"
        + EDGE.format(events="select.EPOLLIN | select.EPOLLET")
    )
    assert process.stdout.readline() == "1 0\n"
    driver.become(EPOLLIN | EPOLLOUT)
    mapdev.settle()
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "1 []\n"


def test_edges_on_a_redirected_device(mapdev: Host) -> None:
    """The filter does not show epoll_ctl on a low number."""
    driver = mapdev.add(Masked, "/dev/x", mask=EPOLLIN)
    code = (
        "import fcntl, select; fcntl.ioctl(0, 1, 1)\n"
        "e = select.epoll(); e.register(0, select.EPOLLIN | select.EPOLLET)\n"
        "print(e.poll(), e.poll(0), flush=True); print(e.poll(), flush=True)"
    )
    command = ["sh", "-c", 'exec "$0" -S -c "$1" </dev/x', sys.executable, code]
    process = mapdev.popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "[(0, 1)] []\n"
    driver.become(EPOLLIN)
    assert process.communicate(timeout=patience(30))[0] == "[(0, 1)]\n"
