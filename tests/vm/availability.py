"""What a test does that can't have its virtual machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from mapdev.support.tools import UnavailableError


def unavailable(error: UnavailableError) -> NoReturn:
    """Skip the test; in CI, where nothing may be missing, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(error))
    pytest.skip(f"{error} (tools/setup.sh test installs all that is needed)")
