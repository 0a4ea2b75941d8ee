"""The page of `--web`: who gets it, and that it shows what the host says, in a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import mapdev
from mapdev.host.core.snapshot import describe
from mapdev.host.embedded.host import EmbeddedHost
from mapdev.host.loading import gallery
from mapdev.linux import PAGE_SIZE
from mapdev.watch.beside import Recording
from mapdev.watch.client import watch
from mapdev.watch.web import Page, standalone

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("CI"), reason="chromium is not installed"
)
EMPTY: dict[str, Any] = {"devices": [], "allocations": [], "processes": [], "page_size": PAGE_SIZE}
CLIENT = """
import mmap, os, sys
how = sys.argv[1]
fd = os.open('/dev/x', os.O_RDWR if how == 'write' else os.O_RDONLY)
prot = mmap.PROT_READ | (mmap.PROT_WRITE if how == 'write' else 0)
maps = [mmap.mmap(fd, mmap.PAGESIZE, prot=prot) for _ in range(2) if how != 'open']
for m in maps[1:]:
    m[0]
    if how == 'write': m[0] = 1
print('ready', flush=True); sys.stdin.read()
"""
# What programs may do with a mapping of a driver of the gallery; they open the others only.
HOW = {
    "contiguous": "write", "vmalloc": "write", "lazy": "write", "framebuffer": "write",
    "registers": "write", "ticker": "read", "remote": "read",
}  # fmt: skip


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page("a host", EMPTY, iter([[1, 0, "free", 0, 0x1000]]))
    yield page
    page.close()


def get(url: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(url, headers={} if host is None else {"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), dict(error.headers)


def test_who_knows_no_token_gets_nothing(page: Page) -> None:
    for path in "/", "/events", "/?token=", "/?token=x", f"/events?token={page.token}x", "/x":
        status, text, _ = get(f"http://127.0.0.1:{page.port}{path}")
        assert status == 403 and page.token not in text
    assert get(f"http://127.0.0.1:{page.port}/x?token={page.token}")[0] == 404
    assert get(page.url, "example.org")[0] == 421
    assert get(page.url, f"localhost:{page.port}")[0] == 200


def test_the_page_fetches_nothing_from_elsewhere(page: Page) -> None:
    status, text, headers = get(page.url)
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    addresses = set(re.findall(r"https?://[^\"'\s]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nobody fetches


def test_events_come_once_and_the_oldest_are_taken_in(page: Page) -> None:
    url = f"http://127.0.0.1:{page.port}/events?token={page.token}&after="
    for _ in range(100):
        first = json.loads(get(url + "0")[1])
        if first["ended"]:
            break
    assert [event["e"][0] for event in first["events"]] == [1] and first["next"] == 1
    assert first["snapshot"]["devices"] == [] and first["name"] == "a host"
    again = json.loads(get(url + "1")[1])
    assert again["events"] == [] and "snapshot" not in again
    many = Page("many", EMPTY, iter(alloc(number) for number in range(1, 14_001)))
    url = f"http://127.0.0.1:{many.port}/events?token={many.token}&after="
    found: list[Any] = []
    after, is_over = 0, False
    while not is_over:
        answer = json.loads(get(url + str(after))[1])
        is_over = answer["ended"] and not answer["events"]
        if "snapshot" in answer:
            found = [[0, 0, "alloc", 0, one] for one in answer["snapshot"]["allocations"]]
        found += [event["e"] for event in answer["events"]]
        after = answer["next"]
    many.close()
    assert [event[4]["addr"] for event in found] == [n * PAGE_SIZE for n in range(1, 14_001)]


def alloc(number: int) -> list[Any]:
    return [number, 0, "alloc", 0, {"owner": "one", "kind": "pages", "addr": number * PAGE_SIZE,
            "size": PAGE_SIZE, "slab": None, "runs": [[number, 1]]}]  # fmt: skip


class Shown(HTMLParser):
    """What the drawing of a page shows: areas, entries, frames, allocations, how many lines."""

    def __init__(self, dom: str) -> None:
        super().__init__()
        self.areas: set[tuple[int, int, int, str, int]] = set()
        self.frames: set[int] = set()
        self.allocations: set[tuple[int, str, int]] = set()
        self.entries: dict[int, int] = {}
        self.colours: dict[int, str] = {}  # of lines, by the frame to which they lead
        self.lines = self.elements = 0
        self.feed(dom)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: value or "" for name, value in attrs}
        self.elements += 1
        self.lines += tag == "line"
        if "data-vm-start" in of:
            self.areas.add((int(of["data-pid"]), int(of["data-vm-start"]), int(of["data-vm-end"]),
                            of["data-node"], int(of["data-mapped"])))  # fmt: skip
        elif "data-entry" in of:
            self.entries[int(of["data-entry"])] = int(of["data-frame"])
            self.colours[int(of["data-frame"])] = of["stroke"]
        elif "data-pfn" in of:
            first = int(of["data-pfn"])
            self.frames.update(range(first, first + int(of["data-pages"])))
        elif "data-addr" in of:
            self.allocations.add(
                (int(of["data-addr"]), of["data-owner"], int(of["data-frames"]))
            )  # fmt: skip


# What a container may lack: memory in /dev/shm, namespaces for a sandbox, a graphics card, a keyring.
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
    "--disable-breakpad", "--disable-extensions", "--disable-background-networking",
    "--no-first-run", "--password-store=basic",
)  # fmt: skip


def browse(url: str, profile: Path, *options: str, virtual: bool = True) -> str:
    """Run the browser and return what it printed; if it failed, its own words are the message.

    :param virtual: five seconds of the page's time go by at once.
    """
    if virtual:
        options = ("--virtual-time-budget=5000", *options)
    # It aborts when the path of a socket in its folder for temporary files is too long.
    with tempfile.TemporaryDirectory(prefix="mapdev-", dir="/tmp") as short:
        return _browse(url, profile, {"TMPDIR": short, "HOME": short}, *options)


def _browse(url: str, profile: Path, variables: dict[str, str], *options: str) -> str:
    assert CHROMIUM is not None, "chromium is not installed"
    environment = {**os.environ, **variables}
    for name in "DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR":
        environment.pop(name, None)
    process = subprocess.Popen(
        [CHROMIUM, *OPTIONS, f"--user-data-dir={profile}", *options, url], env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, said = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=30)
        pytest.fail(f"the browser was not done after 120 s; it said:\n{said[-4000:]}")
    if process.returncode:
        pytest.fail(f"the browser's status is {process.returncode}; it said:\n{said[-4000:]}")
    return out


@needs_browser
def test_the_browser_runs_where_paths_are_long_and_homes_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("a" * 100)
    long.mkdir()
    for name in "TMPDIR", "XDG_RUNTIME_DIR":
        monkeypatch.setenv(name, str(long))
    monkeypatch.setenv("HOME", str(long / "missing"))
    assert "<body>" in browse("about:blank", long / "profile", "--dump-dom")


def test_a_browser_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that aborts after a few words: the message has them, and which signal it was."""
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\necho no shared memory >&2\nkill -ABRT $$\n")
    browser.chmod(0o755)
    monkeypatch.setattr(sys.modules[__name__], "CHROMIUM", str(browser))
    with pytest.raises(pytest.fail.Exception, match=r"is -6; it said:\nno shared memory"):
        browse("about:blank", tmp_path / "profile", "--dump-dom")


def expected(host: EmbeddedHost) -> tuple[set[Any], set[int], set[Any]]:
    with host.lock:
        now = describe(host)
    areas, frames = set(), set()
    for process in now["processes"]:
        for area in process["areas"]:
            mapped = sum(run[2] for run in area["runs"])
            areas.add((process["pid"], area["vm_start"], area["vm_end"], area["node"], mapped))
            for _, pfn, count, _ in area["runs"]:
                frames.update(range(pfn, pfn + count))
    for found in now["allocations"]:
        for pfn, count in found["runs"]:
            frames.update(range(pfn, pfn + count))
    allocations = {(found["addr"], found["owner"], sum(run[1] for run in found["runs"]))
                   for found in now["allocations"]}  # fmt: skip
    return areas, frames, allocations


@needs_browser
@pytest.mark.parametrize("driver", sorted(gallery()))
def test_the_page_shows_what_the_host_says(
    driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)
    how = HOW.get(driver, "open")
    (tmp_path / "object").write_bytes(bytes(1 << 20))
    parameters: dict[str, dict[str, Any]] = {
        "registers": {"base": 0}, "remote": {"url": f"file://{tmp_path}/object"}
    }  # fmt: skip
    with mapdev.host("64M") as host:
        snapshot, events = watch(host.listen())
        page = Page("a host", snapshot, events)
        host.add(driver, "/dev/x", **parameters.get(driver, {}))
        with host.popen(
            [sys.executable, "-S", "-c", CLIENT, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout is not None and client.stdin is not None
            assert client.stdout.readline() == b"ready\n"
            shown = Shown(browse(page.url, tmp_path / "live", "--dump-dom"))
            wanted = expected(host)
            client.stdin.close()
        page.close()
    assert (shown.areas, shown.frames, shown.allocations) == wanted
    assert len(shown.areas) == (0 if how == "open" else 2)
    assert shown.lines >= (0 if how == "open" else 1)


def many_frames() -> tuple[list[Any], int, int]:
    """Events of a device with 50,000 scattered frames, mapped page by page: start and pages too."""
    pages, start = 50_000, 1 << 44
    runs = [[start + page * PAGE_SIZE, 64 + page * 7919 % pages, 1, "pfn"] for page in range(pages)]
    area = {"node": "/dev/x", "vm_start": start, "vm_end": start + pages * PAGE_SIZE,
            "vm_pgoff": 0, "vm_flags": 0xFB, "vm_ops": [], "runs": runs}  # fmt: skip
    found = {"owner": "one", "kind": "vmalloc", "addr": 1 << 46, "size": pages * PAGE_SIZE,
             "slab": None, "runs": [run[1:3] for run in runs]}  # fmt: skip
    events = [
        [1, 0, "device", 0, {"node": "/dev/x", "driver": "one", "numbers": "240:0"}],
        [2, 0, "alloc", 0, found],
        [3, 0, "areas", 77, "</script><b id=evil>", "mmap", [], [area]],
    ]
    return events, start, pages


@needs_browser
def test_a_standalone_page_at_fifty_thousand_frames(tmp_path: Path) -> None:
    """Scattered frames, page by page: what is drawn is bounded by the pixels, not by the frames."""
    events, start, pages = many_frames()
    text = standalone("many", EMPTY, events)
    assert len(text) < 6_000_000
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    dom = browse(f"file://{tmp_path}/page.html", tmp_path / "profile", "--dump-dom")
    drawing = dom[dom.index("<svg") : dom.index("</svg>")]
    shown = Shown(drawing)
    assert shown.areas == {(77, start, start + pages * PAGE_SIZE, "/dev/x", pages)}
    assert len(shown.frames) == pages and shown.allocations == {(1 << 46, "one", pages)}
    assert 600 < shown.lines <= 4000 and shown.elements < 6000
    assert "entries is drawn" in drawing
    assert 'id="evil"' not in dom


# Draws the page anew for each frame of the screen, for some seconds, and says how that went. The
# picture that it asks for comes when that is over, so that the browser does not end before.
MEASURE = """
<img src="/wait">
<script>
{
const SECONDS = 4, took = [];
let frames = 0, began = 0;
function again(now) {
  began = began || now;
  if (now - began > SECONDS * 1000) {
    const svg = document.querySelector('#drawing svg').outerHTML.length;
    fetch('/result', {method: 'POST', body: JSON.stringify(
      {frames, seconds: (now - began) / 1000, svg, took: took.sort((a, b) => a - b)})});
    return;
  }
  const start = performance.now();
  goTo(frames % 2 ? events.length : events.length - 1);  // with the area, and without
  took.push(performance.now() - start);
  frames++;
  requestAnimationFrame(again);
}
requestAnimationFrame(again);
}
</script>
"""


@needs_browser
def test_frames_a_second_at_fifty_thousand_frames(tmp_path: Path) -> None:
    """The figures of docs/performance.md: a step through time is drawn at once."""
    events, _, _ = many_frames()
    text = standalone("many", EMPTY, events).replace("</body>", MEASURE + "</body>")
    results: list[dict[str, Any]] = []
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/wait":
                is_over.wait(60)
            self.answer(text.encode() if self.path == "/" else b"")

        def do_POST(self) -> None:
            results.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(b"")
            is_over.set()

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browse(f"http://127.0.0.1:{server.server_address[1]}/", tmp_path / "profile", "--dump-dom",
               "--timeout=60000", virtual=False)  # fmt: skip
        server.shutdown()
    (found,) = results
    rate = found["frames"] / found["seconds"]
    middle = found["took"][len(found["took"]) // 2]
    print(f"{rate:.1f} frames a second, {middle:.1f} ms to draw one, {len(text):,} bytes of page, "
          f"{found['svg']:,} bytes of drawing")  # fmt: skip
    assert rate > 1 and found["svg"] < 1_500_000


LECTURE = """
import ctypes, mmap, os, sys
libc = ctypes.CDLL(None)
buf = mmap.mmap(os.open('/dev/buf', os.O_RDWR), 8 * mmap.PAGESIZE)
lazy = mmap.mmap(os.open('/dev/lazy', os.O_RDWR), 8 * mmap.PAGESIZE)
buf[::mmap.PAGESIZE]
for page in 1, 2, 6:
    lazy[page * mmap.PAGESIZE] = 1
print('ready', flush=True); sys.stdin.read()
"""


def entries_in_proc(pid: int, areas: set[tuple[int, int]]) -> dict[int, int]:
    """Return which frame is mapped at which address, in given areas, by /proc/PID alone.

    The host's physical memory is a file: a frame is a page of it. maps says which part of the file
    is at which address, pagemap whether there is an entry.
    """
    found = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            offset = int(line.split()[2], 16)
            for addr in range(start, end, PAGE_SIZE):
                if any(first <= addr < last for first, last in areas):
                    pagemap.seek(addr // PAGE_SIZE * 8)
                    if int.from_bytes(pagemap.read(8), "little") >> 63:
                        found[addr] = (offset + addr - start) // PAGE_SIZE
    return found


@needs_browser
def test_a_picture_for_the_documentation(tmp_path: Path) -> None:
    """It is docs/assets/watch.png, and shows what /proc says; MAPDEV_PICTURES makes it anew."""
    file = tmp_path / "lecture"
    with mapdev.host("64M") as host:
        recording = Recording(host, str(file))
        host.add("vmalloc", "/dev/buf", size="32K")
        host.add("lazy", "/dev/lazy")
        with host.popen(
            [sys.executable, "-S", "-c", LECTURE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as client:
            assert client.stdout is not None and client.stdin is not None
            assert client.stdout.readline() == b"ready\n"
            recording.stop()
            page, picture = tmp_path / "page.html", tmp_path / "picture.png"
            subprocess.run(
                [sys.executable, "-m", "mapdev.cli", "replay", str(file), "--html", str(page)],
                check=True, timeout=60,
            )  # fmt: skip
            shown = Shown(browse(f"file://{page}", tmp_path / "profile", "--dump-dom"))
            places = {(start, end) for _, start, end, _, _ in shown.areas}
            entries = entries_in_proc(client.pid, places)
            client.stdin.close()
    assert {(pid, node, mapped) for pid, _, _, node, mapped in shown.areas} == {
        (client.pid, "/dev/buf", 8), (client.pid, "/dev/lazy", 3)
    }  # fmt: skip
    assert len(entries) == 11 and shown.entries == entries
    assert shown.frames == set(entries.values()) and shown.lines == 11
    *of_buffer, one, two, three = (shown.colours[entries[addr]] for addr in sorted(entries))
    assert len(set(of_buffer)) == 1 and len({of_buffer[0], one, two, three}) == 4  # by allocation
    browse(f"file://{page}", tmp_path / "profile", f"--screenshot={picture}",
           "--window-size=1300,760")  # fmt: skip
    with Image.open(picture) as image:
        assert image.size == (1300, 760)
        colours = image.convert("RGB").getcolors(1 << 20)
        assert colours is not None and {(42, 120, 184), (194, 87, 26)} <= {
            one for _, one in colours
        }
    if where := os.environ.get("MAPDEV_PICTURES"):
        shutil.copy(picture, Path(where) / "watch.png")


STEPS = """
<script>
{
goTo(events.length - 1); const before = document.querySelectorAll('[data-vm-start]').length;
goTo(events.length);
const point = what => document.querySelector(what).dispatchEvent(
  new MouseEvent('mouseover', {bubbles: true}));
const told = {};
for (const [name, what] of [['area', '[data-vm-start]'], ['frame', '[data-pfn]'],
                            ['allocation', '[data-addr]']]) {
  point(what);
  told[name] = document.getElementById('details').textContent;
}
const slider = document.getElementById('slider');
slider.value = 2;
slider.dispatchEvent(new Event('input'));
const early = document.querySelectorAll('[data-pfn]').length;
const where = document.getElementById('where').textContent;
const again = new DOMParser().parseFromString(standalone(), 'text/html');
const drawn = new DOMParser().parseFromString(
  document.querySelector('#drawing svg').outerHTML, 'image/svg+xml');
document.body.textContent = 'RESULT' + JSON.stringify({before, told, early, where,
  events: JSON.parse(again.querySelector('#data').textContent).events.length,
  svg: drawn.documentElement.nodeName}) + 'RESULT';
}
</script>
"""


@needs_browser
def test_pointing_and_going_through_time(tmp_path: Path) -> None:
    start, flags = 1 << 44, 0xFB
    area = {"node": "/dev/x", "vm_start": start, "vm_end": start + 2 * PAGE_SIZE, "vm_pgoff": 3,
            "vm_flags": flags, "vm_ops": ["fault"], "runs": [[start, 0x40, 2, "pfn"]]}  # fmt: skip
    addr = 0x7F0000001000
    found = {"owner": "one", "kind": "pages", "addr": addr, "size": 2 * PAGE_SIZE, "slab": None,
             "runs": [[0x40, 2]]}  # fmt: skip
    vma = [start, start + 2 * PAGE_SIZE, 3, flags, 3]
    remap = ["remap_pfn_range", [["vma", start], start, 0x40, 2 * PAGE_SIZE, 3], None]
    events = [
        [1, 0, "device", 0, {"node": "/dev/x", "driver": "one", "numbers": "240:0"}],
        [2, 0, "alloc", 0, found],
        [3, 0, "call", 0, "one", "probe", "", "0", 0.1, None, [["kmalloc", [8192, 3264], addr]]],
        [4, 0, "call", 77, "/dev/x", "mmap", "", "0", 0.1, vma, [remap]],
        [5, 0, "areas", 77, "program", "mmap", [], [area]],
    ]
    text = standalone("many", EMPTY, events).replace("</body>", STEPS + "</body>")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    dom = browse(f"file://{tmp_path}/page.html", tmp_path / "profile", "--dump-dom")
    told = json.loads(html.unescape(dom.rpartition("RESULT")[0].rpartition("RESULT")[2]))
    assert (told["before"], told["early"], told["events"]) == (0, 1, 5)
    assert told["svg"] == "svg"  # what "Save SVG" saves is well-formed
    assert told["where"].startswith("event 2/5")
    of_area = told["told"]["area"]
    assert of_area.startswith("struct vm_area_struct\n")
    for line in (
        "process       77 program", "vm_file       /dev/x", f"vm_start      {start:#x}",
        f"vm_end        {start + 2 * PAGE_SIZE:#x}", "vm_pgoff      3", "vm_ops        fault",
        "vm_flags      0xfb VM_READ VM_WRITE VM_SHARED VM_MAYREAD", "page table    2 entries",
        "made by event 4: 77 /dev/x: mmap()",
        "remap_pfn_range(vma, vma->vm_start, pfn, vma->vm_end - vma->vm_start, vma->vm_page_prot);",
    ):  # fmt: skip
        assert line in of_area
    assert "pfn           0x40 to 0x41" in told["told"]["frame"]
    assert "77 /dev/x at" in told["told"]["frame"]
    assert f"allocation    one: pages at {addr:#x}" in told["told"]["frame"]
    assert "made by event 3: one: probe()" in told["told"]["allocation"]
    assert "addr = kmalloc(size, GFP_KERNEL);" in told["told"]["allocation"]
