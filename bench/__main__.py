"""Run the benchmarks: `make bench`, or `python -m bench`; --help says how to run some of them."""

from __future__ import annotations

import argparse
import importlib
import os
import time
from pathlib import Path

from rich.console import Console

from bench.harness import Bench, Missing
from bench.report import Row, print_table, save

NAMES = ("calls", "transfers", "memory", "frames", "mapping", "scattered", "faults", "programs",
         "processor", "looking", "start", "waiting", "watching", "load", "allocator")  # fmt: skip
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure mapdev against what else there is.")
    parser.add_argument("--quick", action="store_true", help="a minute instead of some")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be given again")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    # Or mapdev would be compiled anew at each start, which an installed one never is.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    bench = Bench(arguments.quick)
    console = Console(stderr=True)
    rows: list[Row] = []
    try:
        for name in arguments.only or NAMES:
            start = time.monotonic()
            module = importlib.import_module(f"bench.benchmarks.{name}")
            try:
                with console.status(f"measuring: {name}"):
                    found = list(module.measure(bench))
            except Missing as missing:
                found = [Row(name, why_not=str(missing))]
            for row in found:
                row.benchmark = name
            rows += found
            console.print(f"{name}: {time.monotonic() - start:.0f} s")
    finally:
        bench.close()
    print_table(rows, arguments.markdown)
    path = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    save(rows, path)
    console.print(f"Each round's figures: {path}")


if __name__ == "__main__":
    main()
