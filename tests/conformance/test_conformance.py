"""Each pair of row and device gives what a kernel gives, or exactly the difference that is known."""

from __future__ import annotations

import os
import platform

import pytest

from .conftest import Observe
from .expectations import CANNOT, UNSTABLE, Pair, is_equal, load_expected, load_known, normalise

EXPECTED = load_expected()
DEVICES = list(dict.fromkeys(pair.device for pair in EXPECTED))
KERNEL = ".".join(platform.release().split(".")[:2])
AGAIN = "if that is as it should be: make conformance ARGS=--update"


@pytest.mark.parametrize("pair", EXPECTED, ids=str)
def test_row(pair: Pair, observe: Observe, conformance_host: str) -> None:
    seen = observe(pair.device).observed[pair]
    if seen.startswith(CANNOT):
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"this machine {seen}")
        pytest.skip(f"this machine {seen}")
    known = load_known(conformance_host, KERNEL).get(pair)
    expected = EXPECTED[pair]
    if known is None:
        assert is_equal(seen, expected), (
            f"\nkernels give {list(dict.fromkeys(map(normalise, expected)))}"
            f"\nbut here is  {normalise(seen)}"
        )
        return
    if known.observed == UNSTABLE:
        pytest.xfail(f"it is another each time: {known.reason}")
    assert not is_equal(seen, expected), f"it is no difference any more; {AGAIN}"
    assert normalise(seen) == known.observed, f"it differs in another way than is known; {AGAIN}"


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_is_left_behind(device: str, observe: Observe) -> None:
    assert observe(device).left_behind == []
