"""mmap of vmalloc'ed memory, against the same calls made by a C program in its own process."""

from __future__ import annotations

from collections.abc import Iterator

from bench.harness import Bench, Samples
from bench.report import Row

PEER = "C loop of mmap(MAP_FIXED)"


def measure(bench: Bench) -> Iterator[Row]:
    client = bench.client("map")
    for name, size, rounds in (("64 MiB", 64 << 20, 3), ("1 GiB", 1 << 30, 2)):
        runs = bench.directory / f"runs-{name.replace(' ', '')}"

        def ours(size: int = size, runs: object = runs) -> Samples:
            device = f"Scattered,size={size},runs={runs}"
            batches = 2 if size < 1 << 30 else 1
            return bench.mapdev(device, [client, "/dev/bench", batches, f"{size}:1"], memory="4G")

        def theirs(runs: object = runs) -> Samples:
            return bench.run([bench.peer("fixed"), runs, 3])

        ours_too = bench.alternate({"ours": ours, "theirs": theirs}, 1 if bench.quick else rounds)
        mine, their = ours_too["ours"], ours_too["theirs"]
        pieces = len(runs.read_text().splitlines()) if runs.exists() else 0
        yield Row(f"mmap of {name} from vmalloc: {pieces:,} runs of frames", PEER,
                  mine[f"mmap:{size}"], their["mmap"], most=2,
                  why_not=mine.why_not or their.why_not)  # fmt: skip
