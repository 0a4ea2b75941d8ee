"""The pytest plugin: a `mapdev` fixture, a host that is checked for leaks at teardown.

An outcome that a driver's operation raises (`pytest.fail`, `pytest.skip`, a failed `assert`)
becomes the test's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mapdev.host.core.host import Host

_KINDS = ("embedded", "kernel")
_HOST: pytest.StashKey[Host] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line say which host `mapdev` is."""
    group = parser.getgroup("mapdev")
    group.addoption(
        "--mapdev-host", choices=_KINDS, default=_KINDS[0],
        help="the host that `mapdev` is (default: embedded); kernel needs the module loaded",
    )  # fmt: skip
    group.addoption(
        "--mapdev-timeout", type=float, metavar="SECONDS",
        help="end an operation of a driver that takes longer: its program gets ETIMEDOUT",
    )  # fmt: skip


def _take_outcome(host: Host) -> BaseException | None:
    """Return the first outcome of pytest that a driver raised, which is dealt with then."""
    outcomes = (
        pytest.fail.Exception, pytest.skip.Exception, pytest.exit.Exception, AssertionError,
    )  # fmt: skip
    for error in host.failures:
        if isinstance(error, outcomes):
            host.failures.remove(error)
            return error
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """End a test as an operation of its driver asked for, with the message and traceback of that.

    Whatever the test itself came to says less: its program got EIO.
    """
    try:
        return (yield)
    finally:
        host = item.stash.get(_HOST, None)
        outcome = _take_outcome(host) if host is not None else None
        if outcome is not None:
            raise outcome


@pytest.fixture
def mapdev(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Serve devices to the programs that a test runs.

    ``mapdev.add(driver, "/dev/x")`` makes a device, ``mapdev.run([...])`` runs a program and gives
    a `subprocess.CompletedProcess`. When the test is over, whatever a driver or a client left
    behind (frames, descriptors, mappings, processes) fails it. `pytest.fail` and `pytest.skip` in a
    driver's operation end the test; what else it raises that is no `Exception` is an error.

    It is the embedded host, unless the option ``--mapdev-host`` says otherwise, or the test does:
    ``@pytest.mark.parametrize("mapdev", ["embedded", "kernel"], indirect=True)``. Where the kernel
    host can't be had, such a test is skipped, with the reason.
    """
    from mapdev import host

    kind = getattr(request, "param", None) or request.config.getoption("--mapdev-host")
    if kind not in _KINDS:
        raise pytest.UsageError(f"mapdev is one of {', '.join(_KINDS)}, not {kind!r}")
    if kind == "kernel":
        from mapdev.host.kernel.host import is_available

        if why_not := is_available():
            pytest.skip(f"no kernel host: {why_not}")
    timeout = request.config.getoption("--mapdev-timeout")
    options = {} if timeout is None else {"timeout": timeout}
    with host(kind=kind, **options) as serving:
        request.node.stash[_HOST] = serving
        yield serving
    # The test's item lives as long as the session, and would keep drivers with all their memory.
    del request.node.stash[_HOST]
    outcome = _take_outcome(serving)
    if outcome is not None:  # it came after the test itself
        raise outcome
    for failure in serving.failures:
        pytest.fail(f"a driver raised {failure!r}, which is no error of a call", pytrace=False)
    if serving.leaks:
        pytest.fail("left behind: " + "; ".join(serving.leaks), pytrace=False)
