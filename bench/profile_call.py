"""Show where the time of one call goes: `python -m bench.profile_call [--svg FILE] [OPERATION]...`.

Three looks at the host's thread, each in a run of its own: its system calls and context switches
(strace -c, /proc), its functions (cProfile), and its stages. A stage is what a few functions take
without those below them, by a clock that they are wrapped in. The clock costs time itself, so the
shares are what counts; they are scaled to what a call takes without it. Stages marked * are one
system call each, with Python's way to it.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import functools
import os
import pstats
import shutil
import signal
import subprocess
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mapdev
from bench.drivers import Bench as Device
from bench.harness import Bench
from mapdev.driver import Driver
from mapdev.host.core.operations import Operations
from mapdev.host.embedded.files import open_file
from mapdev.host.embedded.files.open_files import OpenFiles
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.embedded.machine import EmbeddedMachine
from mapdev.host.embedded.server import Server
from mapdev.host.embedded.syscalls import notify, quick
from mapdev.host.embedded.syscalls.notify import Listener

CALLS, SHORT = 10_000, 4_000
RUNS = 12
LABELS = {"ping": "ioctl", "exchange": "ioctl, struct"}
COLORS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#999933",
          "#88ccee", "#cc6677", "#44aa99", "#ddcc77")  # fmt: skip

WAIT = "*epoll_wait"
SEND = "*ioctl: send the answer; the client wakes, goes on, calls again"
STAGES: dict[str, list[tuple[Any, str]]] = {
    "the host's loop: unpack, is it ours, lock": [(Server, "serve")],
    "make a Call": [(Listener, "call")],
    "find the handler; its checks": [(Server, "_handle")],
    "which open file it is": [(OpenFiles, "of")],
    "operations: context, errors, result": [(Operations, "ioctl"), (Operations, "read"),
                                            (Operations, "write")],
    "the driver's method": [(Driver, "ioctl"), (Device, "read"), (Device, "write")],
    "the client's memory": [(EmbeddedMachine, "read_user"), (EmbeddedMachine, "write_user")],
    "send: pack the answer": [(Listener, "send")],
}  # fmt: skip


class Clock:
    """Adds the time that passes to the stage on top of a stack."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._stack = ["outside"]
        self._since = time.perf_counter_ns()

    def _note(self) -> None:
        now = time.perf_counter_ns()
        self.spent[self._stack[-1]] += now - self._since
        self._since = now

    def wrap(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._note()
            self._stack.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._note()
                self._stack.pop()

        return timed


@contextlib.contextmanager
def clocked(host: EmbeddedHost) -> Iterator[Clock]:
    """Have a clock in the functions of all stages."""
    clock = Clock()
    server = host._server

    def ioctl(fd: int, request: int, *rest: Any) -> Any:
        return timed_ioctls.get(request, ioctl_itself)(fd, request, *rest)

    ioctl_itself = notify.fcntl.ioctl
    timed_ioctls = {
        number: clock.wrap(name, ioctl_itself) for number, name in (
            (notify.SECCOMP_IOCTL_NOTIF_RECV, "*ioctl: receive the call"),
            (notify.SECCOMP_IOCTL_NOTIF_SEND, SEND))
    }  # fmt: skip
    changes: list[tuple[Any, str, Any]] = [
        (notify, "fcntl", types.SimpleNamespace(ioctl=ioctl)),
        (quick, "ioctl", ioctl),
        (open_file, "os", _like(os, readlink=clock.wrap("*readlink the descriptor", os.readlink))),
        (server, "_epoll", _like(server._epoll, poll=clock.wrap(WAIT, server._epoll.poll))),
    ]
    for stage, functions in STAGES.items():
        for owner, name in functions:
            changes.append((owner, name, clock.wrap(stage, getattr(owner, name))))
    before = [(owner, name, vars(owner).get(name, getattr(owner, name)))
              for owner, name, _ in changes]  # fmt: skip
    for change in changes:
        setattr(*change)
    host.settle()  # so that the loop begins anew, with these
    try:
        yield clock
    finally:
        for change in before:
            setattr(*change)


class _Like:
    def __init__(self, original: Any, changed: dict[str, Any]) -> None:
        self._original = original
        self.__dict__.update(changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _like(original: Any, **changed: Any) -> Any:
    """Give an object that is like `original` but for some attributes."""
    return _Like(original, changed)


def run(bench: Bench, host: EmbeddedHost, operation: str, calls: int = CALLS) -> float:
    """Have a client make calls, half of them to warm up; give nanoseconds for each."""
    size = 4096 if operation in ("read", "write") else 0
    what = f"{operation}:{size}:{calls // 2}"
    command = ["taskset", "-c", str(bench.core), bench.client("call"), "/dev/bench", "1", what]
    done = host.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[1])


def stages(bench: Bench, host: EmbeddedHost, operation: str) -> list[tuple[str, float]]:
    """Give the microseconds of each stage of one call, scaled to those of a call without clock.

    Of many short runs the fastest counts: what else runs on the core would all go to one stage.
    """
    plain = min(run(bench, host, operation, SHORT) for _ in range(RUNS)) / 1000
    found: list[Counter[str]] = []
    for _ in range(RUNS):
        with clocked(host) as clock:
            run(bench, host, operation, SHORT)
        del clock.spent["outside"]
        found.append(clock.spent)
    spent = min(found, key=lambda times: times.total())
    scale = plain / spent.total()
    order = [WAIT, "*ioctl: receive the call", *STAGES, "*readlink of /proc/TID/fd/N", SEND]
    return [(stage, spent[stage] * scale) for stage in order if spent[stage] * scale > 0.05]


def system_calls(bench: Bench, host: EmbeddedHost, operation: str) -> None:
    """Print how many system calls and context switches one call of a client costs the host."""
    thread = host._server._thread.native_id
    status = Path(f"/proc/{os.getpid()}/task/{thread}/status")

    def switches() -> list[int]:
        return [int(line.split()[1]) for line in status.read_text().splitlines() if "ctxt" in line]

    before = switches()
    run(bench, host, operation)
    waits, others = (after - b for after, b in zip(switches(), before, strict=True))
    print(f"  the host's thread went to sleep {waits / CALLS:.2f} times, was preempted "
          f"{others / CALLS:.2f} times")  # fmt: skip
    strace = shutil.which("strace")
    if strace is None:
        print("  system calls: strace is missing (apt-get install strace)")
        return
    tracer = subprocess.Popen([strace, "-c", "-U", "calls,name", "-p", str(thread)],
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    time.sleep(0.5)
    run(bench, host, operation)
    tracer.send_signal(signal.SIGINT)
    for line in tracer.communicate()[1].splitlines():
        words = line.split()
        if words and words[0].isdigit() and int(words[0]) > CALLS // 2 and words[1] != "total":
            print(f"  {int(words[0]) / CALLS:.2f} {words[1]}")


def functions(bench: Bench, host: EmbeddedHost, operation: str) -> None:
    """Print the functions that take most, by cProfile, which makes Python's share look larger."""
    profile = cProfile.Profile()
    host._server.submit(profile.enable)
    run(bench, host, operation)
    host._server.submit(profile.disable)
    pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(16)


def draw(found: dict[str, list[tuple[str, float]]]) -> str:
    """Give an SVG picture: a bar for each operation, a colour for each stage."""
    names = list(dict.fromkeys(stage for parts in found.values() for stage, _ in parts))
    color = {name: COLORS[at % len(COLORS)] for at, name in enumerate(names)}
    longest = max(sum(time for _, time in parts) for parts in found.values())
    height = 46 * len(found) + 20 * len(names) + 30
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {height}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="800" height="{height}" fill="white"/>']  # fmt: skip
    y = 10
    for operation, parts in found.items():
        total = sum(time for _, time in parts)
        lines.append(f'<text x="6" y="{y + 20}">{LABELS.get(operation, operation)}</text>')
        x = 80.0
        for stage, spent in parts:
            width = spent / longest * 640
            title = f"<title>{stage}: {spent:.1f} us</title>"
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="30" '
                         f'fill="{color[stage]}">{title}</rect>')  # fmt: skip
            x += width
        lines.append(f'<text x="{x + 5:.0f}" y="{y + 20}">{total:.0f} us</text>')
        y += 46
    for name in names:
        times = ", ".join(f"{LABELS.get(operation, operation)}: {spent:.1f}"
                          for operation, parts in found.items()
                          for stage, spent in parts if stage == name)  # fmt: skip
        lines.append(f'<rect x="10" y="{y}" width="12" height="12" fill="{color[name]}"/>'
                     f'<text x="30" y="{y + 11}">{name.lstrip("*")} ({times})</text>')  # fmt: skip
        y += 20
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Show where the time of one call goes.")
    parser.add_argument("operation", nargs="*", default=["ping", "read"])
    parser.add_argument("--svg", type=Path, help="draw the stages into this file")
    arguments = parser.parse_args()
    bench = Bench(quick=True)
    found = {}
    os.sched_setaffinity(0, {bench.core})
    with mapdev.host() as host:
        host.add(Device, "/dev/bench", size="64K")
        for operation in arguments.operation:
            found[operation] = stages(bench, host, operation)
            total = sum(spent for _, spent in found[operation])
            print(f"{operation}: {total:.1f} us, of which")
            for stage, spent in found[operation]:
                print(f"  {spent:5.1f} us  {stage}")
            system_calls(bench, host, operation)
            functions(bench, host, operation)
    bench.close()
    if arguments.svg:
        arguments.svg.write_text(draw(found))


if __name__ == "__main__":
    main()
