"""The pytest plugin: a `mapdev` fixture, a host that is checked for leaks at teardown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mapdev.host.embedded.host import EmbeddedHost


@pytest.fixture
def mapdev() -> Iterator[EmbeddedHost]:
    """Serve devices to the programs that a test runs.

    ``mapdev.add(driver, "/dev/x")`` makes a device, ``mapdev.run([...])`` runs a program and gives
    a `subprocess.CompletedProcess`. When the test is over, whatever a driver or a client left
    behind (frames, descriptors, mappings, processes) fails it.
    """
    from mapdev import host

    with host() as embedded:
        yield embedded
    if embedded.leaks:
        pytest.fail("left behind: " + "; ".join(embedded.leaks), pytrace=False)
