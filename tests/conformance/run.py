"""Running the suite on a host: all rows of a device with one client, as the tests and the report do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from .expectations import NO_ANSWER, Pair, load_expected
from .hosts import HOSTS, Host, build_client


class Seen(NamedTuple):
    """What was seen of one device."""

    observed: dict[Pair, str]
    left_behind: list[str]


def observe_device(host: Host, device: str, expected: dict[Pair, list[str]]) -> Seen:
    """Run all rows that something is expected of; what the client did not say is `NO_ANSWER`."""
    rows = [pair.row for pair in expected if pair.device == device]
    said, left_behind = host.observe(device, rows)
    observed = {Pair(row, device): said.get(row, NO_ANSWER).strip() for row in rows}
    return Seen(observed, left_behind)


def observe_all(name: str) -> dict[Pair, str]:
    """Run the whole suite on the host of that name."""
    expected = load_expected()
    observed: dict[Pair, str] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        host = HOSTS[name](build_client(Path(directory)), Path(directory))
        for device in dict.fromkeys(pair.device for pair in expected):
            observed.update(observe_device(host, device, expected).observed)
    return observed
