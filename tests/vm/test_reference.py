"""The conformance suite on plain kernels with the reference driver in C, each in a virtual machine.

Whatever differs from expected.tsv is an error, of the data, of the driver or of the client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from availability import unavailable
from tests.conformance.expectations import kernels as columns
from tests.conformance.expectations import load_expected
from tests.conformance.hosts import build_client
from tests.conformance.kernel import Kernel, module
from tests.conformance.run import observe_device

from mapdev.support.tools import UnavailableError
from mapdev.vm import kernels, machine

# The devices of a file system that no disk is behind have numbers in the order of their mounting.
_DEVICE_NUMBER = re.compile(r" dev=00:[0-9a-f]{2} ")
# What the kernel says, once, about remap_pfn_range of an address that is not a page's: a row of api.
_TOLD = re.compile(r"^.*WARNING: .* remap_pfn_range\w*\+.*$", re.M)
_COMPLAINTS = re.compile(
    r"^.*\b(?:WARNING|BUG|Oops|INFO: task|refcount_t|general protection).*$", re.M
)


@pytest.mark.parametrize("series", kernels.SERIES)
def test_a_driver_in_c_gives_what_is_expected_to_the_letter(
    series: str,
    debian_kernel: Callable[[str], kernels.Kernel],
    require_program: Callable[[str, str], str],
    tmp_path: Path,
) -> None:
    require_program("cc", "gcc libc6-dev")
    kernel = debian_kernel(series)
    try:
        module(kernel)
    except UnavailableError as error:
        pytest.fail(str(error))
    host = Kernel(build_client(tmp_path), tmp_path, series)
    expected = load_expected()
    ours = [at for at, name in enumerate(columns()) if name.startswith(f"linux-{series}.")]
    different = []
    try:
        for device in dict.fromkeys(pair.device for pair in expected):
            seen, left_behind = observe_device(host, device, expected)
            assert left_behind == []
            for pair, text in seen.items():
                wanted = {_comparable(expected[pair][at]) for at in ours}
                if _comparable(text) not in wanted:
                    different.append(f"{pair}\n  expected {wanted}\n  but seen {_comparable(text)}")
    except UnavailableError as error:
        unavailable(error)
    except (machine.MachineError, TimeoutError) as error:
        pytest.fail(str(error))
    print(host.console)
    assert not different, "\n".join(different)
    complaints = _COMPLAINTS.findall(host.console)
    assert [line for line in complaints if not _TOLD.match(line)] == []


def _comparable(observation: str) -> str:
    return _DEVICE_NUMBER.sub(" dev=00:xx ", observation.strip())
