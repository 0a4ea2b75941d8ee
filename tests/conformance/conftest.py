"""Fixtures of the conformance suite: the hosts, and what was seen on each, a device at a time."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from .expectations import load_expected
from .hosts import HOSTS, build_client, here
from .run import Seen, observe_device

Observe = Callable[[str], Seen]


@pytest.fixture(scope="session", params=here())
def conformance_host(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of the host that is measured."""
    return str(request.param)


@pytest.fixture(scope="session")
def observe(
    conformance_host: str,
    tmp_path_factory: pytest.TempPathFactory,
    require_program: Callable[[str, str], str],
) -> Observe:
    """What was seen of all rows of a device; they are run once, when the first is asked for."""
    if "MAPDEV_CLIENTS" not in os.environ:
        require_program("cc", "gcc libc6-dev")
    directory = tmp_path_factory.mktemp("conformance")
    host = HOSTS[conformance_host](build_client(directory), directory)
    expected = load_expected()
    seen: dict[str, Seen] = {}

    def of_device(device: str) -> Seen:
        if device not in seen:
            seen[device] = observe_device(host, device, expected)
        return seen[device]

    return of_device
