"""Kernels for the tests, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from availability import unavailable

from mapdev.support.tools import UnavailableError
from mapdev.vm import kernels, machine
from mapdev.vm.kernels import Kernel


@pytest.fixture(scope="session")
def debian_kernel() -> Callable[[str], Kernel]:
    """Return Debian's kernel of a series, on a machine that can boot it."""

    def find(series: str) -> Kernel:
        try:
            machine.check()
            return kernels.find(series)
        except UnavailableError as error:
            unavailable(error)

    return find


@pytest.fixture(scope="session")
def kernel(debian_kernel: Callable[[str], Kernel]) -> Kernel:
    """Return a kernel, for tests to which it does not matter which one it is."""
    return debian_kernel(kernels.DEFAULT)
