"""flock and fcntl locks of a node: between open files, processes and threads; who waits, and how
waiting ends."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest
from devices import Buffer

from mapdev.host.core.host import Host

Client = Callable[..., str]

PRELUDE = textwrap.dedent(
    """
    RDLCK, WRLCK, UNLCK = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
    def record(command, fd, kind, start=0, length=0):
        flock = struct.pack('hh4xqqi4x', kind, os.SEEK_SET, start, length, 0)
        return struct.unpack('hh4xqqi4x', fcntl.fcntl(fd, command, flock))
    def child(function, *args):
        pid = os.fork()
        if not pid:
            try:
                function(*args)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        return pid
    def ended_well(pid):
        assert os.waitpid(pid, 0)[1] == 0
    def device():
        return os.open('/dev/x', os.O_RDWR)
    """
)


@pytest.fixture
def locker(mapdev: Host, client: Client) -> Client:
    """Run code as a client of a device that can be locked."""
    mapdev.add(Buffer, "/dev/x")
    return lambda code: client(PRELUDE + textwrap.dedent(code))


@pytest.mark.parametrize(
    ("lock", "unlock"),
    [
        ("fcntl.flock(fd, fcntl.LOCK_EX)", "fcntl.flock(fd, fcntl.LOCK_UN)"),
        ("fcntl.flock(fd, fcntl.LOCK_EX)", "os.close(fd)"),
        ("record(fcntl.F_SETLKW, fd, WRLCK)", "record(fcntl.F_SETLK, fd, UNLCK)"),
        ("record(fcntl.F_SETLKW, fd, WRLCK)", "os.close(fd)"),
        ("record(fcntl.F_SETLKW, fd, WRLCK)", "os.close(device())"),
        ("record(fcntl.F_OFD_SETLKW, fd, WRLCK)", "record(fcntl.F_OFD_SETLK, fd, UNLCK)"),
        ("record(fcntl.F_OFD_SETLKW, fd, WRLCK)", "os.close(fd)"),
        ("record(fcntl.F_OFD_SETLKW, fd, WRLCK)", "record(fcntl.F_OFD_SETLK, fd, RDLCK)"),
    ],
)
def test_who_waits_goes_on(locker: Client, lock: str, unlock: str) -> None:
    """A child waits until its parent gives the lock back, in each way that there is."""
    wanted = lock.replace("WRLCK", "RDLCK") if "RDLCK" in unlock else lock
    locker(
        f"""
        fd = device()
        {lock}
        ready, done = os.pipe(), os.pipe()
        def wait():
            os.close(globals()['fd'])
            fd = device()
            os.write(ready[1], b'1')
            {wanted}
            os.write(done[1], b'1')
        pid = child(wait)
        os.read(ready[0], 1)
        os.set_blocking(done[0], False)
        time.sleep(0.05)
        raises(errno.EAGAIN, os.read, done[0], 1)
        {unlock}
        ended_well(pid)
        """
    )


@pytest.mark.parametrize("command", ["F_SETLK", "F_OFD_SETLK"])
def test_a_process_that_ends_gives_its_locks_back(locker: Client, command: str) -> None:
    """Also if its parent still has the open file, while the lock is the process's own."""
    locker(
        f"""
        fd, ready = device(), os.pipe()
        def hold():
            own = fd if '{command}' == 'F_SETLK' else device()
            record(fcntl.{command}, own, WRLCK, 10, 5)
            os.write(ready[1], b'1')
            signal.pause()
        pid = child(hold)
        os.read(ready[0], 1)
        raises(errno.EAGAIN, record, fcntl.F_SETLK, fd, RDLCK, 12, 1)
        kind, _, start, length, owner = record(fcntl.F_GETLK, fd, RDLCK)
        assert (kind, start, length) == (WRLCK, 10, 5)
        assert owner == (pid if '{command}' == 'F_SETLK' else -1)
        threading.Timer(0.05, os.kill, (pid, signal.SIGKILL)).start()
        record(fcntl.F_SETLKW, fd, WRLCK)
        os.waitpid(pid, 0)
        """
    )


def test_locks_that_wait_for_each_other(locker: Client) -> None:
    """Whoever would be the last to wait is refused, and only that one."""
    locker(
        """
        fd, ready, results = device(), os.pipe(), os.pipe()
        def take(byte):
            try:
                record(fcntl.F_SETLKW, fd, WRLCK, byte, 1)
            except OSError as error:
                assert error.errno == errno.EDEADLK
                os.write(results[1], b'refused')
            record(fcntl.F_SETLK, fd, UNLCK)
        def other():
            record(fcntl.F_SETLK, fd, WRLCK, 1, 1)
            os.write(ready[1], b'1')
            take(0)
        record(fcntl.F_SETLK, fd, WRLCK, 0, 1)
        pid = child(other)
        os.read(ready[0], 1)
        take(1)
        ended_well(pid)
        assert os.read(results[0], 100) == b'refused'
        """
    )


@pytest.mark.parametrize(
    "lock", ["fcntl.flock(fd, fcntl.LOCK_EX)", "record(fcntl.F_OFD_SETLKW, fd, WRLCK)"]
)
def test_a_signal_ends_the_wait(locker: Client, lock: str) -> None:
    locker(
        f"""
        fd = device()
        {lock}
        fd = device()
        class Alarm(Exception):
            pass
        def handler(*_):
            raise Alarm
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            {lock}
        except Alarm:
            pass
        else:
            raise AssertionError('it was locked twice')
        """
    )


def test_kinds_of_locks_and_nodes(mapdev: Host, locker: Client) -> None:
    """flock is apart from record locks, and each node has its own; a low descriptor is no other."""
    mapdev.add(Buffer, "/dev/y")
    locker(
        """
        fd, other = device(), device()
        low = os.dup2(other, 5)
        fcntl.flock(fd, fcntl.LOCK_EX)
        record(fcntl.F_OFD_SETLK, other, WRLCK)
        for number in other, low:
            raises(errno.EAGAIN, fcntl.flock, number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        raises(errno.EAGAIN, record, fcntl.F_OFD_SETLK, fd, RDLCK)
        raises(errno.EAGAIN, record, fcntl.F_SETLK, low, RDLCK)
        record(fcntl.F_OFD_SETLK, low, WRLCK)
        another = os.open('/dev/y', os.O_RDWR)
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
        record(fcntl.F_OFD_SETLK, another, WRLCK)
        """
    )
