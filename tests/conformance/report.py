"""Run the suite and say how far a host conforms: python -m tests.conformance.report [--update].

Without --update the data files stay as they are, and the status is 1 if they are not true. With it
known_differences.tsv and docs/conformance.md are written anew, keeping the reasons that were given.
"""

from __future__ import annotations

import argparse
import sys

from .expectations import (
    CANNOT,
    UNEXPLAINED,
    UNSTABLE,
    Known,
    Pair,
    load_expected,
    load_known,
    normalise,
    save_known,
    updated,
)
from .hosts import HOSTS
from .page import PAGE, summary, write_page
from .run import observe_all


def main() -> int:
    """Run the suite as the command line says."""
    parser = argparse.ArgumentParser(prog="make conformance", description=__doc__)
    parser.add_argument("--host", choices=HOSTS, default=next(iter(HOSTS)))
    parser.add_argument("--update", action="store_true", help="write the data files anew")
    options = parser.parse_args()

    expected = load_expected()
    known = load_known(options.host)
    observed = observe_all(options.host)
    for pair in _unstable(observed, observe_all(options.host)):
        print(f"{pair} is different each time")
        observed[pair] = UNSTABLE
    differences = updated(known, observed, expected)

    _print_summary(expected, differences)
    for pair, seen in observed.items():
        if seen.startswith(CANNOT):
            print(f"{pair}: this machine {seen}")
    changes = _changes(known, differences)
    for change in changes:
        print(change)
    if options.update:
        save_known(options.host, differences)
        write_page()
        unexplained = [
            str(pair) for pair, (_, reason) in differences.items() if reason.startswith(UNEXPLAINED)
        ]
        if unexplained:
            print(
                f"{len(unexplained)} have no reason yet, or one to be looked at: see '{UNEXPLAINED}'"
            )
        print(f"known_differences.tsv and {PAGE.name} are written")
        return 0
    if changes:
        print("known_differences.tsv is not true any more; --update writes it anew")
    return bool(changes)


def _unstable(first: dict[Pair, str], second: dict[Pair, str]) -> list[Pair]:
    return [pair for pair in first if normalise(first[pair]) != normalise(second[pair])]


def _print_summary(expected: dict[Pair, list[str]], differences: dict[Pair, Known]) -> None:
    print(f"{'device':12} pairs equal         but for /proc/PID/maps")
    for count in summary(expected, differences):
        print(f"{count.device:12} {count.pairs:5} {count.equal:5} {count.share:7.1%}", end="")
        print(f" {count.share_but_for_maps:7.1%}")


def _changes(before: dict[Pair, Known], now: dict[Pair, Known]) -> list[str]:
    """What a run has found that known_differences.tsv does not say."""
    lines = [f"equal now: {pair}" for pair in before if pair not in now]
    for pair, (seen, _) in now.items():
        if pair not in before:
            lines.append(f"differs now: {pair}: {seen}")
        elif before[pair].observed != seen:
            lines.append(f"differs in another way: {pair}: {seen}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
