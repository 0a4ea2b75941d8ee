"""What shows a host: the picture in lines of text, keys, time, recordings, calls as C."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from mapdev.linux import __GFP_ZERO, GFP_KERNEL, PAGE_SIZE, VmAreaStruct
from mapdev.linux.mapping import CACHE_WRITECOMBINE
from mapdev.watch import recording
from mapdev.watch.as_c import as_c, lines
from mapdev.watch.command import replay
from mapdev.watch.model import Timeline
from mapdev.watch.picture import draw
from mapdev.watch.plain import event_lines
from mapdev.watch.tables import visible
from mapdev.watch.terminal import act_on, keys_of

EMPTY: dict[str, Any] = {"devices": [], "allocations": [], "processes": []}
START = 0x100100100000
AREA = [START, START + 4 * PAGE_SIZE, 1, 0xFB, 3]


def device(number: int) -> list[Any]:
    return [number, 0, "device", 0, {"node": "/dev/x", "driver": "one", "numbers": "240:0"}]


def allocated(number: int, pfn: int, pages: int = 1) -> list[Any]:
    return [number, 0, "alloc", 0, {
        "owner": "one", "kind": "pages", "addr": pfn << 12, "size": pages * PAGE_SIZE,
        "slab": None, "runs": [[pfn, pages]],
    }]  # fmt: skip


def mapped(number: int, pid: int, runs: list[list[Any]]) -> list[Any]:
    area = {"node": "/dev/x", "vm_start": START, "vm_end": START + 8 * PAGE_SIZE, "vm_pgoff": 0,
            "vm_flags": 0xFB, "vm_ops": [], "runs": runs}  # fmt: skip
    return [number, 0, "areas", pid, "program", "mmap", [], [area]]


def timeline(*events: list[Any], most: int = 10_000) -> Timeline:
    found = Timeline(EMPTY, most)
    for event in events:
        found.add(event)
    return found


@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 8), (132, 50), (200, 12)])
def test_the_picture_fits(width: int, height: int) -> None:
    many = [allocated(number, 40 * number, 20) for number in range(2, 200)]
    runs = [[START + at * PAGE_SIZE, 40 * (at + 2), 1, "pfn"] for at in range(8)]
    shown = draw(timeline(device(1), *many, mapped(200, 77, runs)), width, height, "x" * 300)
    assert len(shown) == height and max(map(len, shown)) <= width
    assert all(line.isascii() and line.isprintable() for line in shown)


def test_what_the_picture_shows() -> None:
    run = [START, 0x21, 2, "pfn"]
    shown = draw(timeline(device(1), allocated(2, 0x20, 4), mapped(3, 77, [run])), 80, 24, "title")
    text = "\n".join(shown)
    assert shown[0] == "title"
    assert ">    20 a**a............" in text and "a one /dev/x" in text
    assert f">{START:x}-{START + 8 * PAGE_SIZE:x}" in text and "> /dev/x +0 2/8" in text
    again = draw(timeline(device(1), allocated(2, 0x20, 4), mapped(3, 77, [run]), device(4)),
                 80, 24, "")  # fmt: skip
    assert any("20 aAAa" in line for line in again)


def test_what_was_freed_and_is_still_mapped() -> None:
    run = [START, 0x21, 1, "pfn"]
    freed = [4, 0, "free", 0, 0x21 << 12]
    shown = draw(timeline(allocated(2, 0x21), mapped(3, 77, [run]), freed), 80, 24, "")
    assert any("20 .?" in line for line in shown)


def test_stepping_and_following() -> None:
    time = timeline(*[allocated(number, number) for number in range(1, 6)])
    assert time.position == 5 and len(time.state.allocations) == 5
    act_on("left", time)
    assert time.position == 4 and len(time.state.allocations) == 4 and not time.follows
    time.add(allocated(6, 6))
    assert time.position == 4
    act_on("home", time)
    assert time.position == 0 and time.event is None and not time.state.allocations
    for key in "n", "l", "right":
        act_on(key, time)
    assert time.position == 3
    act_on(" ", time)
    assert time.position == 6 and time.follows
    act_on(" ", time)
    time.add(allocated(7, 7))
    assert time.position == 6
    act_on("G", time)
    assert time.position == 7
    act_on("[", time)
    assert time.position == 0
    act_on("]", time)
    assert time.position == 7


@pytest.mark.parametrize("back", [0, 3, 40])
def test_the_oldest_events_are_forgotten_and_their_effect_is_not(back: int) -> None:
    time = timeline(*[allocated(number, number) for number in range(1, 50)], most=50)
    time.step(-back)
    for number in range(50, 120):
        time.add(allocated(number, number))
    assert len(time.events) <= 55
    time.go_to(len(time.events))
    assert len(time.state.allocations) == 119
    time.go_to(0)
    assert len(time.state.allocations) == time.events[0][0] - 1


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        (b"\x1b[D\x1b[D\x1b[C", ["left", "left", "right"]),
        (b"\x1bOD \x1b[4~q", ["left", " ", "end", "q"]),
        (b"\x1b", ["\x1b"]),
        (b"\x1b[15~x", ["x"]),
        (b"\x1b[Ap", ["p"]),
        (b"", []),
    ],
)
def test_keys(sent: bytes, keys: list[str]) -> None:
    assert keys_of(sent) == keys


def test_a_recording_that_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    text = io.StringIO()
    recording.write(text, EMPTY, [device(1), allocated(2, 3), device(3)])
    lines = text.getvalue().splitlines(keepends=True)
    path = tmp_path / "recording"
    for wrong in ("garbage", "[1]", "{}", "null", '[1, 2, "alloc", 0, {"owner": 5}]', '"text"',
                  '[1, "x", "device", 0, {}]'):  # fmt: skip
        path.write_text("".join([*lines[:2], wrong + "\n", *lines[3:]]))
        with pytest.raises(recording.FormatError, match="line 3 is damaged"):
            recording.read(str(path))
        assert replay([str(path), "--plain"]) == replay([str(path), "--html", "/dev/null"]) == 1
    path.write_text("".join(lines)[:-5])
    assert len(list(recording.read(str(path))[1])) == 2
    assert "the last event is cut off" in caplog.text
    assert replay([str(path), "--html", "/dev/full"]) == 1
    assert "/dev/full: No space left on device" in capsys.readouterr().err


def test_what_others_write_moves_no_cursor() -> None:
    assert visible("plain, ä") == "plain, ä"
    assert visible("\x1b[2J\n\x07\udcff") == "\\x1b[2J\\n\\x07\\udcff"
    call = [1, 10**18, "call", 5, "/dev/\x1b[2J", "read", "\n", "\x9b31m", 0.1, None, []]
    assert all(line.isprintable() for line in event_lines(call))


def test_a_recording(tmp_path: Path) -> None:
    events = [device(1), allocated(2, 3)]
    text = io.StringIO()
    assert recording.write(text, EMPTY, events) == 2
    (tmp_path / "whole").write_text(text.getvalue())
    (tmp_path / "cut").write_text(text.getvalue()[:-20])
    snapshot, read = recording.read(str(tmp_path / "whole"))
    assert (snapshot, list(read)) == (EMPTY, events)
    assert list(recording.read(str(tmp_path / "cut"))[1]) == events[:1]
    for wrong in "", "hello", "[1]", json.dumps({"mapdev": 1}), '{"a": 1}\n':
        (tmp_path / "wrong").write_text(wrong)
        with pytest.raises(recording.FormatError, match="no recording"):
            recording.read(str(tmp_path / "wrong"))
    (tmp_path / "later").write_text(json.dumps({"mapdev": 99, "snapshot": EMPTY}))
    with pytest.raises(recording.FormatError, match="version 99"):
        recording.read(str(tmp_path / "later"))


VMA = ["vma", START]


@pytest.mark.parametrize(
    ("call", "code", "values"),
    [
        (["kmalloc", [100, GFP_KERNEL], 0x7F00], "addr = kmalloc(size, GFP_KERNEL);",
         "size=0x64, addr = 0x7f00"),
        (["alloc_page", [GFP_KERNEL | __GFP_ZERO], ["page", 7]],
         "page = alloc_page(GFP_KERNEL | __GFP_ZERO);", "page = pfn 0x7"),
        (["remap_pfn_range", [VMA, START, 5, 4 * PAGE_SIZE, 3], None],
         "remap_pfn_range(vma, vma->vm_start, pfn, vma->vm_end - vma->vm_start, "
         "vma->vm_page_prot);", f"addr={START:#x}, pfn=5, size={4 * PAGE_SIZE:#x}"),
        (["remap_pfn_range", [VMA, START + PAGE_SIZE, 5, PAGE_SIZE, 3 | CACHE_WRITECOMBINE], -22],
         "remap_pfn_range(vma, vma->vm_start + 0x1000, pfn, PAGE_SIZE, "
         "pgprot_writecombine(vma->vm_page_prot));",
         f"addr={START + PAGE_SIZE:#x}, pfn=5, = -EINVAL"),
        (["vm_insert_page", [VMA, START, ["page", 0x70]], None],
         "vm_insert_page(vma, vma->vm_start, page);", f"addr={START:#x}, pfn=0x70"),
        (["vm_flags_clear", [VMA, 0x20], None], "vm_flags_clear(vma, VM_MAYWRITE);", ""),
        (["copy_to_user", [0x1000, ["bytes", 12]], None],
         "copy_to_user((void __user *)addr, buf, arg1);", "addr=0x1000, length=0xc"),
        (["vmf_insert_pfn", [VMA, START, 9], 0x100], "vmf_insert_pfn(vma, vma->vm_start, pfn);",
         f"addr={START:#x}, pfn=9, = 0x100"),
    ],
)  # fmt: skip
def test_calls_as_c(call: list[Any], code: str, values: str) -> None:
    line = as_c(call, AREA)
    if call[0] != "copy_to_user":  # its parameters are others in C
        assert line.code == code
    assert line.values == values


def test_calls_that_repeat_are_written_once() -> None:
    pair = [
        ["vmalloc_to_pfn", [0x7000], 5],
        ["remap_pfn_range", [VMA, START, 5, PAGE_SIZE, 3], None],
    ]
    found = lines([["kzalloc", [8, GFP_KERNEL], 1], *pair * 8, ["get_page", [["page", 1]], None]],
                  AREA)  # fmt: skip
    assert [line.times for line in found] == [1, 8, 8, 1]
    assert "addr, pfn" in found[2].code and "vma->vm_start" not in found[2].code
    (first, second) = lines([*pair * 32, 136], AREA)  # and so many that were not kept
    assert (first.times, second.times) == (100, 100)
    assert [line.code for line in lines([pair[0], 7], AREA)][-1] == "/* and 7 more calls */"
    assert lines([], None) == []


def test_each_event_is_a_line_with_its_calls() -> None:
    vma = VmAreaStruct(START, START + PAGE_SIZE)
    event = [9, 10**9, "call", 77, "/dev/x", "mmap", str(vma), "0", 0.1, AREA,
             [["kfree", [0x7000], None]]]  # fmt: skip
    first, second = event_lines(event)
    assert first.startswith("     9 ") and "77 /dev/x: mmap(<VmAreaStruct" in first
    assert second.strip() == "kfree(addr);  /* addr=0x7000 */"
    for other in device(1), allocated(2, 3), mapped(3, 77, []), [4, 0, "free", 0, 0x1000]:
        assert len(event_lines(other)) == 1


def test_stepping_back_through_ten_thousand_events() -> None:
    """Each moment is what it was: as many allocations as had been made, and not freed, by then."""
    events = [
        allocated(number, number) if number % 3 else [number, 0, "free", 0, (number - 1) << 12]
        for number in range(1, 12_001)
    ]
    stepped = timeline(*events)
    assert len(stepped.events) >= 10_000 and stepped.follows
    oldest = stepped.events[0][0]
    for number in (11_999, 11_000, 6_001, oldest):
        stepped.go_to(number - oldest + 1)
        assert stepped.event is not None and stepped.event[0] == number and not stepped.follows
        left = {
            at << 12 for at in range(1, number + 1) if at % 3 and not (at % 3 == 2 and at < number)
        }
        assert set(stepped.state.allocations) == left
    stepped.step(-100)
    assert stepped.position == 0
    stepped.step(20_000)
    assert stepped.follows and stepped.state.number == 12_000
