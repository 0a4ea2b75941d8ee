"""The pytest plugin: a `mapdev` fixture, a host that is checked for leaks at teardown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mapdev.host.core.host import Host

_KINDS = ("embedded", "kernel")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line say which host `mapdev` is."""
    group = parser.getgroup("mapdev")
    group.addoption(
        "--mapdev-host", choices=_KINDS, default=_KINDS[0],
        help="the host that `mapdev` is (default: embedded); kernel needs the module loaded",
    )  # fmt: skip


@pytest.fixture
def mapdev(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Serve devices to the programs that a test runs.

    ``mapdev.add(driver, "/dev/x")`` makes a device, ``mapdev.run([...])`` runs a program and gives
    a `subprocess.CompletedProcess`. When the test is over, whatever a driver or a client left
    behind (frames, descriptors, mappings, processes) fails it.

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
    with host(kind=kind) as serving:
        yield serving
    if serving.leaks:
        pytest.fail("left behind: " + "; ".join(serving.leaks), pytrace=False)
