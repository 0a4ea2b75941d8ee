"""The main job on real programs: they draw on a screen that is a Python driver, through mmap.

Run by `make demo`; an argument is the folder for the picture. Prints what happened on both sides of
each mapping, checks all of it, and exits with 1 when something did not hold.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import mapdev
from mapdev.drivers.contiguous import Contiguous
from mapdev.drivers.framebuffer import Framebuffer
from mapdev.drivers.vmalloc import Vmalloc
from mapdev.inspect import MapsLine, read_maps
from mapdev.linux import (
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_DONTDUMP,
    VM_DONTEXPAND,
    VM_IO,
    VM_PFNMAP,
    VM_READ,
    VM_SHARED,
    VM_WRITE,
    Page,
    PageCompound,
    PageHead,
    PageSlab,
    TaskStruct,
    find_vma,
    pfn_to_page,
    virt_to_phys,
    vmalloc_to_pfn,
)
from mapdev.watch.web import standalone

HERE = Path(__file__).parent
CLIENT = [sys.executable, "-I", str(HERE / "client.py")]
WIDTH, HEIGHT = 640, 480
SIZE = 16 * PAGE_SIZE
TIMEOUT = 15  # seconds, for each program

VM_FLAGS = {
    VM_READ: "READ",
    VM_WRITE: "WRITE",
    VM_SHARED: "SHARED",
    VM_IO: "IO",
    VM_PFNMAP: "PFNMAP",
    VM_DONTEXPAND: "DONTEXPAND",
    VM_DONTDUMP: "DONTDUMP",
}

console = Console(highlight=False, soft_wrap=True)
failures: list[str] = []


def check(holds: bool, what: str) -> None:
    """Print whether something is as it should be, and remember when it isn't."""
    console.print(f"  [green]yes[/]  {what}" if holds else f"  [red bold]NO[/]   {what}")
    if not holds:
        failures.append(what)


def command_line(args: list[str]) -> str:
    """Give a command as one would type it, the paths of this demo shortened."""
    words = [Path(word).name if word in (sys.executable, CLIENT[2]) else word for word in args]
    return "$ " + " ".join(words)


def run(host: Any, args: list[str]) -> str:
    """Run a program as a client, show its command line, and return what it printed."""
    console.print(f"[bold]{command_line(args)}[/]")
    done = host.run(args, capture_output=True, text=True, timeout=TIMEOUT)
    if done.returncode:
        console.print(done.stderr.strip(), style="red")
        failures.append(f"{args[0]} exited with {done.returncode}")
    return str(done.stdout)


class Holder:
    """A live client that holds a mapping."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self.address = self._answer()

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline() or "-1", 16)

    def say(self, verb: str, *numbers: int) -> int:
        """Send a line such as "load 10" and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join([verb, *(f"{number:x}" for number in numbers)]) + "\n")
        self.process.stdin.flush()
        return self._answer()


@contextmanager
def holding(host: Any, node: str, length: int) -> Iterator[Holder]:
    """Have a client that maps a device, for as long as the block runs."""
    args = [*CLIENT, "hold", node, str(length)]
    console.print(f"[bold]{command_line(args)} &[/]")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = host.popen(args, **pipes)
    try:
        yield Holder(process)
    finally:
        process.communicate(timeout=TIMEOUT)


def draw(host: Any, screen: Framebuffer) -> None:
    """Let real programs draw, and compare with what they draw into a plain file."""
    if fbset := shutil.which("fbset"):
        console.print(run(host, [fbset, "-fb", "/dev/fb0"]).strip())
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        console.print("[yellow]ffmpeg is missing (apt-get install ffmpeg): a Python program draws")
        run(host, [*CLIENT, "draw", "/dev/fb0", str(WIDTH), str(HEIGHT)])
        check(len(set(screen.data[: WIDTH * 4])) > 10, "the picture has arrived in the driver")
        return
    quiet = [ffmpeg, "-loglevel", "error", "-nostdin"]
    source = f"mandelbrot=size={WIDTH}x{HEIGHT}:start_scale=1.4:end_scale=0.3"
    background = ["-f", "lavfi", "-i", source, "-frames:v", "1", "-pix_fmt", "bgra"]
    run(host, [*quiet, *background, "-f", "fbdev", "/dev/fb0"])
    plain = subprocess.run([*quiet, *background, "-f", "rawvideo", "-"], capture_output=True)
    drawn = bytes(screen.data[: WIDTH * HEIGHT * 4])
    check(drawn == plain.stdout, "each pixel is what ffmpeg writes into a plain file")
    inset = ["-f", "lavfi", "-i", "testsrc=size=240x180", "-frames:v", "1", "-pix_fmt", "bgra"]
    place = ["-xoffset", str(WIDTH - 260), "-yoffset", str(HEIGHT - 200)]
    run(host, [*quiet, *inset, "-f", "fbdev", *place, "/dev/fb0"])
    if fbcat := shutil.which("fbcat"):
        seen = host.run([fbcat, "/dev/fb0"], capture_output=True, timeout=TIMEOUT).stdout
        shown = screen.image().tobytes()
        check(seen.endswith(shown), "fbcat, another program, sees the same screen as the driver")


def show_area(client: Holder, length: int) -> list[MapsLine]:
    """Print the client's mapping as the kernel shows it, and as the vocabulary does."""
    end = client.address + length
    lines = [line for line in read_maps(client.pid) if client.address <= line.start < end]
    console.print(f"/proc/{client.pid}/maps, {len(lines)} areas:", style="dim")
    for line in lines[:4]:
        console.print(f"  {line}")
    if len(lines) > 4:
        console.print(f"  ... {len(lines) - 4} more", style="dim")
    vma = find_vma(TaskStruct(client.pid, client.pid).mm, client.address)
    check(vma is not None and vma.vm_start == client.address, "find_vma(task.mm, address) finds it")
    if vma is not None:
        names = " ".join(name for flag, name in VM_FLAGS.items() if vma.vm_flags & flag)
        where = f"vm_start={vma.vm_start:#x} vm_end={vma.vm_end:#x} vm_pgoff={vma.vm_pgoff}"
        console.print(f"       struct vm_area_struct: {where}\n       vm_flags: VM_ {names}")
    return lines


def flag_names(page: Page) -> str:
    """Name what the flags of a page say of it."""
    part = ("head" if PageHead(page) else "tail") if PageCompound(page) else ""
    return " ".join(filter(None, ["slab" if PageSlab(page) else "", part])) or "-"


def show_frames(client: Holder, pages: list[Page], shown: int = 4) -> None:
    """Print the first frames behind a mapping: what is in their ``struct page``."""
    table = Table("user address", "pfn", "physical address", "refcount", "mapcount", "flags")
    for number, page in enumerate(pages[:shown]):
        physical = page.pfn << PAGE_SHIFT
        table.add_row(
            hex(client.address + number * PAGE_SIZE),
            *(hex(page.pfn), hex(physical)),
            *(str(page.refcount), str(page.mapcount), flag_names(page)),
        )
    console.print(table)
    if len(pages) > shown:
        console.print("pfn of all: " + " ".join(f"{page.pfn:x}" for page in pages))


def both_sides(client: Holder, data: memoryview, at: int) -> None:
    """Let each side write a byte that the other one then looks at."""
    client.say("store", at, 0xAB)
    check(data[at] == 0xAB, f"the client stores 0xab at {at:#x}, the driver sees {data[at]:#x}")
    data[at + 1] = 0xCD
    seen = client.say("load", at + 1)
    check(seen == 0xCD, f"the driver stores 0xcd at {at + 1:#x}, the client sees {seen:#x}")


def screen_part(host: Any, folder: Path) -> Path:
    """Show the framebuffer: drawn on by programs, mapped by a client, saved as a picture."""
    console.rule("a screen: /dev/fb0 is the Python class Framebuffer")
    screen = host.add(Framebuffer, "/dev/fb0", width=WIDTH, height=HEIGHT)
    draw(host, screen)
    folder.mkdir(exist_ok=True)
    out = folder / "screen.png"
    screen.save(out)
    with holding(host, "/dev/fb0", screen.size) as client:
        show_area(client, screen.size)
        first = screen.fix.smem_start >> PAGE_SHIFT
        show_frames(client, [pfn_to_page(first + number) for number in range(4)])
        both_sides(client, screen.data, screen.size - PAGE_SIZE)
    return out


def buffer_part(host: Any, driver: type[Contiguous] | type[Vmalloc]) -> None:
    """Show a buffer whose frames are in a row, or scattered, behind one row of addresses."""
    node = f"/dev/{driver.name}"
    console.rule(f"memory: {node} is the Python class {driver.__name__}")
    device = host.add(driver, node, size=SIZE)
    starts = range(device.address, device.address + SIZE, PAGE_SIZE)
    if driver is Contiguous:
        pfns = [virt_to_phys(address) >> PAGE_SHIFT for address in starts]
    else:
        pfns = [vmalloc_to_pfn(address) for address in starts]
    with holding(host, node, SIZE) as client:
        lines = show_area(client, SIZE)
        show_frames(client, [pfn_to_page(pfn) for pfn in pfns])
        in_a_row = [second == first + 1 for first, second in pairwise(pfns)]
        if driver is Contiguous:
            check(all(in_a_row), "the frames are in a row")
        else:
            check(not any(in_a_row), "the frames are scattered: no two neighbours in a row")
        mapped = [
            (line.offset >> PAGE_SHIFT) + number
            for line in lines
            for number in range((line.end - line.start) >> PAGE_SHIFT)
        ]
        check(mapped == pfns, "the kernel maps just these, in this order (offset = pfn * page)")
        for number in (0, 15):
            both_sides(client, device.data, number * PAGE_SIZE + 8)


def save_as_page(events: list[Any], snapshot: Any, path: Path) -> None:
    """Write what happened as a page for a browser, which needs nothing else."""
    path.write_text(standalone("make demo", snapshot, map(list, events)), encoding="utf-8")
    console.print(f"What happened, step by step, for a browser: [bold]{path}[/]")


def main() -> int:
    """Run all parts; return the exit status."""
    place = Path(sys.argv[1]) if sys.argv[1:] else HERE / "out"
    with mapdev.host() as host:
        recorder, _, snapshot = host.control.begin()
        picture = screen_part(host, place)
        buffer_part(host, Contiguous)
        buffer_part(host, Vmalloc)
        events = recorder.since(0)
        host.control.end()
        console.rule("after it")
    check(not host.leaks, "all clients and devices are gone, and left nothing behind")
    for line in host.leaks:
        console.print(f"       {line}")
    console.print(f"The screen is in [bold]{picture}[/]")
    save_as_page(events, snapshot, place / "demo.html")
    if failures:
        console.print(f"[red bold]{len(failures)} things did not hold:[/]")
        for failure in failures:
            console.print(f"  {failure}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
