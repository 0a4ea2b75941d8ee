"""Boot a virtual machine, measure in it, show what came of it; `make bench-kernel`.

The measuring itself, `--inside`, wants root, our module loaded and a reference driver in C; it
prints rows as JSON, since nothing that is written in the machine outlives it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.harness import HERE, Bench, Missing
from bench.kernel import reference
from bench.report import Row, machine, print_table, save

NAMES = ("calls", "mapping", "memory", "faults")
CLIENTS = ("call", "map", "memory", "fault")
RESULTS = HERE / "results"
TIME_LIMIT = 1200  # seconds: without KVM everything takes some ten times as long


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.kernel", description=__doc__)
    parser.add_argument("--kernel", default="6.12", help="of the machine (default: 6.12)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", action="append", choices=NAMES, help="may be given again")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--inside", metavar="REFERENCE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        _measure(options.quick, options.only or NAMES, Path(options.inside))
        return 0
    return _in_machine(options)


def _in_machine(options: argparse.Namespace) -> int:
    bench = Bench(options.quick)
    try:
        for name in CLIENTS:  # built here, where a compiler is fast
            bench.client(name)
        bench.peer("cuse", "fuse3", "libfuse3-dev")
        module = reference.build(options.kernel)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    finally:
        bench.close()
    command = [sys.executable, "-m", "bench.kernel", "--inside", str(module)]
    command += ["--quick"] * options.quick
    command += [f"--only={name}" for name in options.only or ()]
    machine_command = [
        sys.executable, "-m", "mapdev.cli", "vm", "--kernel", options.kernel,
        "--timeout", str(TIME_LIMIT), "--",
    ]  # fmt: skip
    done = subprocess.run([*machine_command, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    found = json.loads(done.stdout.splitlines()[-1])
    rows = [Row(**row) for row in found["rows"]]
    print_table(rows, options.markdown, found["machine"])
    path = RESULTS / time.strftime("kernel-%Y%m%d-%H%M%S.json")
    save(rows, path, found["machine"])
    print(f"Each round's figures: {path}", file=sys.stderr)
    return 0


def _measure(quick: bool, names: list[str], module: Path) -> None:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    bench = Bench(quick)
    reference.module = module
    rows: list[Row] = []
    try:
        for name in names:
            start = time.monotonic()
            benchmark = importlib.import_module(f"bench.kernel.{name}")
            try:
                found = list(benchmark.measure(bench))
            except Missing as missing:
                found = [Row(name, why_not=str(missing))]
            for row in found:
                row.benchmark = name
            rows += found
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    finally:
        bench.close()
    found_all = [dataclasses.asdict(row) for row in rows]
    print(json.dumps({"machine": machine(), "rows": found_all}))


if __name__ == "__main__":
    sys.exit(main())
