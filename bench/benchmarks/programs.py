"""Programs that use no device: what being a client costs them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from bench.harness import Bench
from bench.report import Row

SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int compare(const void *a, const void *b) { return strcmp(a, b); }
int sort_%d(char *lines, size_t count) { qsort(lines, count, 80, compare); return puts(lines); }
"""


def measure(bench: Bench) -> Iterator[Row]:
    spawn = bench.client("spawn")
    sources = bench.directory / "sources"
    sources.mkdir(exist_ok=True)
    for number in range(20):
        (sources / f"f{number}.c").write_text(SOURCE % number)
    compile_all = f"cd {sources} && for f in *.c; do cc -O1 -c $f || exit 1; done"
    commands = {
        "python3 -c 'import json'": ([sys.executable, "-c", "import json"], 10, 1.15),
        "a compile of 20 C files": (["sh", "-c", compile_all], 1, 1.10),
        "find /usr/share": (["find", "/usr/share"], 2, 3.0),
    }
    for what, (command, count, most) in commands.items():
        command = [spawn, bench.count(count), *command]
        results = bench.alternate({
            "ours": lambda command=command: bench.mapdev("Bench", command),
            "theirs": lambda command=command: bench.run(command),
        }, rounds=2 if bench.quick else 6)  # fmt: skip
        ours, theirs = results["ours"], results["theirs"]
        yield Row(what, "without mapdev", ours["run"], theirs["run"], most=most,
                  why_not=ours.why_not or theirs.why_not)  # fmt: skip
