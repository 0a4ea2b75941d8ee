"""Storms of signals over clients that wait: each operation takes effect once."""

import asyncio
from collections.abc import Callable

import pytest
from devices import Bare, Items
from pace import rounds

from mapdev.host.embedded.host import EmbeddedHost
from mapdev.linux import File, kthread_run, kthread_should_stop, schedule_timeout_interruptible

Client = Callable[..., str]


class Fed(Items):
    """Gets a new item each millisecond, in a kernel thread."""

    count = 0

    def probe(self, count: int = 0) -> None:
        super().probe()
        self.count = count
        kthread_run(self.feed, None, "feed")

    def feed(self, data: object) -> None:
        for number in range(self.count):
            if kthread_should_stop():
                return
            schedule_timeout_interruptible(1)
            self.put(b"%d" % number)


@pytest.mark.parametrize("restart", [False, True])
def test_a_storm_of_signals(mapdev: EmbeddedHost, client: Client, restart: bool) -> None:
    """Each item arrives, once, whatever interrupts the calls."""
    count = rounds(1000)
    mapdev.add(Fed, "/dev/x", count=count)
    out = client(
        f"""
        signal.signal(signal.SIGALRM, lambda *a: None)
        signal.siginterrupt(signal.SIGALRM, {not restart})
        fd = os.open('/dev/x', os.O_RDWR); got, interrupted = [], 0
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(got) < {count}:
            item = raw_read(fd)
            if item == 'EINTR':
                interrupted += 1
            else:
                got.append(int(item))
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert got == list(range({count})), got
        print(interrupted)
        """
    )
    assert (int(out) > 0) is not restart


def test_a_storm_of_signals_while_many_read(mapdev: EmbeddedHost, client: Client) -> None:
    count = rounds(1000)
    mapdev.add(Fed, "/dev/x", count=count)
    client(
        f"""
        signal.signal(signal.SIGALRM, lambda *a: None)
        signal.siginterrupt(signal.SIGALRM, True)
        fd = os.open('/dev/x', os.O_RDWR); got = []; done = threading.Event()
        def run():
            while len(got) < {count} and not done.is_set():
                item = raw_read(fd)
                if item != 'EINTR':
                    got.append(int(item))
            done.set()
        threads = [threading.Thread(target=run, daemon=True) for _ in range(4)]
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for thread in threads: thread.start()
        while not done.wait(1): pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert sorted(got) == list(range({count}))
        os._exit(0)
        """
    )


def test_async_operations_in_a_storm_of_signals(mapdev: EmbeddedHost, client: Client) -> None:
    """An operation that is cancelled has done nothing; one that ends is answered."""
    count = rounds(300)

    class Numbers(Bare):
        next = 0

        async def read(self, file: File, count: int, pos: int) -> bytes:
            await asyncio.sleep(0.002)
            self.next += 1
            return b"%d" % (self.next - 1)

    mapdev.add(Numbers, "/dev/x")
    client(
        f"""
        signal.signal(signal.SIGALRM, lambda *a: None); signal.siginterrupt(signal.SIGALRM, True)
        fd = os.open('/dev/x', os.O_RDWR); got = []
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
        while len(got) < {count}:
            item = raw_read(fd)
            if item != 'EINTR': got.append(int(item))
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert got == list(range({count})), got
        """
    )
