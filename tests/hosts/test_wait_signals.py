"""Signals to clients whose call waits: EINTR, restart, stop and death, as without a host."""

import os
import signal
from collections.abc import Callable

import pytest
from devices import Items
from innards import look_for_signals
from pace import patience
from watch import await_state, state_of

from mapdev.host.core.host import Host
from mapdev.host.process import Process

Client = Callable[..., str]
Start = Callable[..., Process]


def tell(process: Process) -> None:
    """Let a client go on from where it reads a line."""
    process.stdin.write("go\n")
    process.stdin.flush()


def output(process: Process) -> str:
    """What a client prints until it ends."""
    text: str = process.communicate(timeout=patience(60))[0]
    assert process.returncode == 0, text
    return text


@pytest.mark.parametrize("restart", [False, True])
def test_a_handler(mapdev: Host, start: Start, restart: bool) -> None:
    """Without SA_RESTART the call ends with EINTR; with it, it is made again."""
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        f"""
        signal.signal(signal.SIGUSR1, lambda *a: print('handled', flush=True))
        signal.siginterrupt(signal.SIGUSR1, {not restart})
        print(raw_read(os.open('/dev/x', os.O_RDWR)), flush=True)
        """
    )
    driver.await_reads()
    os.kill(process.pid, signal.SIGUSR1)
    if restart:
        driver.await_reads()  # the same call again
        driver.put(b"item")
        assert output(process).splitlines() == ["handled", "b'item'"]
    else:
        assert output(process).splitlines() == ["handled", "EINTR"]
        assert driver.reads == 1


def test_a_timer(mapdev: Host, client: Client) -> None:
    mapdev.add(Items, "/dev/x")
    client(
        """
        signal.signal(signal.SIGALRM, lambda *a: None); signal.siginterrupt(signal.SIGALRM, True)
        fd = os.open('/dev/x', os.O_RDWR)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # again and again: one may come too early
        assert all(raw_read(fd) == 'EINTR' for _ in range(20))
        signal.setitimer(signal.ITIMER_REAL, 0)  # at its end Python would die of the next
        """
    )


def test_signals_that_change_nothing(mapdev: Host, start: Start) -> None:
    """Ignored, ignored by default and blocked signals let a call wait on."""
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        print(raw_read(os.open('/dev/x', os.O_RDWR)), flush=True)
        assert signal.sigpending() == {signal.SIGUSR2}
        """
    )
    driver.await_reads()
    for number in signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD, signal.SIGCONT, signal.SIGUSR2:
        os.kill(process.pid, number)
    look_for_signals(mapdev)
    assert driver.reads == 1
    driver.put(b"item")
    assert output(process) == "b'item'\n"
    assert driver.reads == 2  # once, and once when it was woken


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_deadly_signal(mapdev: Host, start: Start, number: int) -> None:
    driver = mapdev.add(Items, "/dev/x")
    process = start("os.read(os.open('/dev/x', os.O_RDWR), 1)")
    driver.await_reads()
    os.kill(process.pid, number)
    assert process.wait(patience(30)) == -number
    driver.await_release()


@pytest.mark.parametrize("threads", [1, 3])
def test_stop_and_continue(mapdev: Host, start: Start, threads: int) -> None:
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        f"""
        for _ in range({threads - 1}):
            threading.Thread(target=signal.pause, daemon=True).start()
        print(raw_read(os.open('/dev/x', os.O_RDWR)), flush=True)
        os._exit(0)
        """
    )
    driver.await_reads()
    os.kill(process.pid, signal.SIGSTOP)
    await_state(process.pid, "T")
    look_for_signals(mapdev)
    assert state_of(process.pid) == "T"
    os.kill(process.pid, signal.SIGCONT)
    driver.await_reads()  # without a handler the call is made again
    driver.put(b"item")
    assert output(process) == "b'item'\n"


def test_a_stop_that_another_thread_takes(mapdev: Host, start: Start) -> None:
    """Nothing is pending for the thread that waits, yet it has to stop with the others."""
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        threading.Thread(target=lambda: (print(os.read(fd, 9)), sys.stdout.flush(), os._exit(0))).start()
        signal.pause()
        """
    )
    driver.await_reads()
    os.kill(process.pid, signal.SIGSTOP)
    for tid in os.listdir(f"/proc/{process.pid}/task"):
        await_state(int(tid), "T")
    os.kill(process.pid, signal.SIGCONT)
    driver.await_reads()
    driver.put(b"item")
    assert output(process) == "b'item'\n"


def test_a_stop_when_all_threads_wait(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        threads = [threading.Thread(target=os.read, args=(fd, 9)) for _ in range(3)]
        for thread in threads: thread.start()
        os.read(fd, 9)
        for thread in threads: thread.join()
        """
    )
    driver.await_reads(4)
    os.kill(process.pid, signal.SIGSTOP)
    for tid in os.listdir(f"/proc/{process.pid}/task"):
        await_state(int(tid), "T")
    os.kill(process.pid, signal.SIGCONT)
    driver.await_reads(4)
    driver.put(b"1", b"2", b"3", b"4")
    output(process)


def test_job_control(mapdev: Host, shell: Callable[..., str]) -> None:
    """A shell sees a reader stop, and wakes it."""
    mapdev.add("echo", "/dev/x")
    out = shell(
        """
        set -m
        head -c 3 /dev/x & pid=$!
        kill -STOP $pid; while ! jobs | grep -q Stopped; do :; done
        fg >/dev/null & kill -CONT $pid; printf abc >/dev/x; wait $pid
        """,
        sh="bash",
    )
    assert out.endswith("abc")


def test_a_signal_for_one_thread_of_many(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        signal.signal(signal.SIGUSR1, lambda *a: None); signal.siginterrupt(signal.SIGUSR1, True)
        fd = os.open('/dev/x', os.O_RDWR); results = {}
        def run(name): results[name] = raw_read(fd)
        threads = {name: threading.Thread(target=run, args=(name,)) for name in 'abc'}
        for thread in threads.values(): thread.start()
        sys.stdin.readline()
        signal.pthread_kill(threads['b'].ident, signal.SIGUSR1); threads['b'].join()
        print(results, flush=True)
        for thread in threads.values(): thread.join()
        print(results['a'], results['c'])
        """
    )
    driver.await_reads(3)
    tell(process)
    assert process.stdout.readline() == "{'b': 'EINTR'}\n"
    driver.put(b"x", b"x")
    assert output(process) == "b'x' b'x'\n"


def test_a_signal_that_another_thread_takes(mapdev: Host, start: Start) -> None:
    """The one that waits may be disturbed, but its program never sees it."""
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        seen = []
        signal.signal(signal.SIGUSR1, lambda *a: seen.append(1))
        signal.siginterrupt(signal.SIGUSR1, False)
        results = []
        thread = threading.Thread(target=lambda: results.append(raw_read(fd)))
        fd = os.open('/dev/x', os.O_RDWR); thread.start()
        sys.stdin.readline()
        for _ in range(2000):
            os.kill(os.getpid(), signal.SIGUSR1)
        print(len(seen) > 0, flush=True)
        thread.join(); print(results)
        """
    )
    driver.await_reads()
    tell(process)
    assert process.stdout.readline() == "True\n"
    driver.put(b"item")
    assert output(process) == "[b'item']\n"


def test_exec_by_another_thread(mapdev: Host, start: Start) -> None:
    """It kills the thread that waits; the file closes on exec and is released."""
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        fd = os.open('/dev/x', os.O_RDWR)
        threading.Thread(target=os.read, args=(fd, 9), daemon=True).start()
        sys.stdin.readline()
        os.execv('/bin/sh', ['sh', '-c', 'echo executed'])
        """
    )
    driver.await_reads()
    tell(process)
    assert output(process) == "executed\n"
    driver.await_release()
    driver.put(b"item")
    mapdev.settle()
    assert len(driver.items) == 1


def test_a_transfer_that_has_begun_ends_short(mapdev: Host, start: Start) -> None:
    driver = mapdev.add(Items, "/dev/x")
    process = start(
        """
        signal.signal(signal.SIGUSR1, lambda *a: None); signal.siginterrupt(signal.SIGUSR1, True)
        a, b = bytearray(2), bytearray(2)
        print(os.readv(os.open('/dev/x', os.O_RDWR), [a, b]), a)
        """
    )
    driver.await_reads()
    driver.put(b"ab")
    driver.await_reads(2)
    os.kill(process.pid, signal.SIGUSR1)
    assert output(process) == "2 bytearray(b'ab')\n"


def test_a_traced_client(mapdev: Host, client: Client) -> None:
    """A debugger holds it, so the host can't; the signal ends the call all the same."""
    mapdev.add(Items, "/dev/x")
    out = client(
        """
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        ready, go = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGALRM, lambda *a: None); signal.siginterrupt(signal.SIGALRM, True)
            fd = os.open('/dev/x', os.O_RDWR); os.write(ready[1], b'x'); os.read(go[0], 1)
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)  # the first may come too early
            print(raw_read(fd), flush=True); os._exit(0)
        os.read(ready[0], 1)
        assert libc.ptrace(0x4206, child, None, None) == 0  # PTRACE_SEIZE
        os.write(go[1], b'x')
        while True:
            _, status = os.waitpid(child, 0x40000000)
            if os.WIFEXITED(status):
                break
            assert os.WIFSTOPPED(status), status
            libc.ptrace(7, child, None, os.WSTOPSIG(status))  # PTRACE_CONT, with the signal
        """
    )
    assert out == "EINTR\n"
