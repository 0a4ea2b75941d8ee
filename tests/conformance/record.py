"""Write down what kernels answer: python -m tests.conformance.record ROW[,ROW...]:DEVICE[,DEVICE...]...

The driver in C is asked on each of Debian's kernels in a virtual machine; what it says goes
into expected.tsv, in the column of that kernel. Lines of other pairs stay as they are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from mapdev.vm import kernels

from .expectations import NO_ANSWER, Pair, record_expected
from .expectations import kernels as columns
from .hosts import build_client
from .kernel import Kernel


def main() -> int:
    """Record as the command line says."""
    parser = argparse.ArgumentParser(prog="record", description=__doc__)
    parser.add_argument("--kernel", action="append", choices=kernels.SERIES, help="only this one")
    parser.add_argument("--dry", action="store_true", help="print, and leave the file as it is")
    parser.add_argument("pairs", nargs="+", metavar="ROWS:DEVICES")
    options = parser.parse_args()

    pairs = [
        Pair(row, device)
        for rows, _, devices in (group.partition(":") for group in options.pairs)
        for device in devices.split(",")
        for row in rows.split(",")
    ]
    recorded: dict[Pair, dict[int, str]] = {pair: {} for pair in pairs}
    for series in options.kernel or kernels.SERIES:
        column = max(at for at, name in enumerate(columns()) if name.startswith(f"linux-{series}."))
        for pair, seen in _observe(series, pairs).items():
            recorded[pair][column] = seen
            print(f"{series} {pair}\t{seen}")
    unclear = [
        pair
        for pair, seen in recorded.items()
        if any("HUNG" in text or text in ("", NO_ANSWER) for text in seen.values())
    ]
    for pair in unclear:
        print(f"{pair} is not recorded: nothing is said, or the row hung")
        del recorded[pair]
    if not options.dry:
        record_expected(recorded)
    return bool(unclear)


def _observe(series: str, pairs: list[Pair]) -> dict[Pair, str]:
    """What a kernel answers."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        host = Kernel(build_client(Path(directory)), Path(directory), series, pairs)
        seen: dict[Pair, str] = {}
        for device in dict.fromkeys(pair.device for pair in pairs):
            rows = [pair.row for pair in pairs if pair.device == device]
            said, _ = host.observe(device, rows)
            seen |= {Pair(row, device): said.get(row, NO_ANSWER).strip() for row in rows}
        print(host.console, file=sys.stderr)
    return seen


if __name__ == "__main__":
    sys.exit(main())
