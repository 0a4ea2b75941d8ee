"""What the tests of both hosts need: clients, hosts, and marks for what only one of them does.

They run on the host that `--mapdev-host` names; for the kernel host in a machine that has the
module: mapdev vm --kernel 6.12 -- pytest tests/hosts --mapdev-host kernel

Three marks say where a host differs, each with the reason:

- `embedded_only`, `kernel_only`: a difference that docs/fidelity.md names. On the other host the
  test is not selected.
- `fails_on`: a host's fault that is to be mended; the test fails there until it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import pytest
from client_fixtures import client, shell, start, static, warm

import mapdev
from mapdev.host.core.host import Host
from mapdev.host.embedded.faults.userfault import UFFD_USER_MODE_ONLY
from mapdev.host.embedded.libc import userfaultfd

__all__ = ["client", "new_host", "shell", "start", "static", "warm"]

MARKS = (
    "embedded_only(reason): the kernel host differs here, for a reason that is documented",
    "kernel_only(reason): the embedded host differs here, for a reason that is documented",
    "when_touched: sees that pages come when they are touched, which takes a userfaultfd",
    "fails_on(host, reason): a fault of that host, 'embedded' or 'kernel', or of 'both'",
)


def pytest_configure(config: pytest.Config) -> None:
    for mark in MARKS:
        config.addinivalue_line("markers", mark)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kind = config.getoption("--mapdev-host")
    other = "kernel_only" if kind == "embedded" else "embedded_only"
    left_out = [item for item in items if item.get_closest_marker(other)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    all_at_once = kind == "embedded" and not _may_have_userfaultfd()
    for item in items:
        if all_at_once and item.get_closest_marker("when_touched"):
            item.add_marker(pytest.mark.skip(reason="no userfaultfd is allowed here"))
        for mark in item.iter_markers("fails_on"):
            host, reason = mark.args
            if host in (kind, "both"):
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def _may_have_userfaultfd() -> bool:
    try:
        os.close(userfaultfd(os.O_CLOEXEC | UFFD_USER_MODE_ONLY))
    except OSError:
        return False
    return True


@pytest.fixture
def new_host(request: pytest.FixtureRequest) -> Callable[..., Host]:
    """Make a host of the kind that is tested, with options of its own, for a `with` statement."""
    return partial(mapdev.host, kind=request.config.getoption("--mapdev-host"))
