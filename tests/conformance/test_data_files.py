"""The data files and the page say the same, and are about rows that exist; and comparing compares."""

from __future__ import annotations

import re

from .expectations import (
    UNEXPLAINED,
    Known,
    Pair,
    is_equal,
    load_expected,
    load_known,
    normalise,
    reason_in_maps,
    updated,
)
from .hosts import CLIENTS, HOSTS
from .page import PAGE, render

ROW = Pair("munmap_tail", "pfn")
MAPS = "rw-s off=00004000 dev=00:05 ino=nonzero path={} page4=PAGE04"


def test_the_page_says_what_the_data_files_say() -> None:
    assert PAGE.read_text() == render(), "make conformance ARGS=--update"


def test_every_known_difference_is_explained_and_of_a_pair_that_is_asked() -> None:
    for host in HOSTS:
        known = load_known(host)
        assert not [str(pair) for pair in known.keys() - load_expected().keys()]
        assert not [
            str(pair) for pair, (_, why) in known.items() if not why or why.startswith(UNEXPLAINED)
        ]


def test_each_row_of_the_client_is_expected_of_some_device() -> None:
    sources = "".join(path.read_text() for path in CLIENTS.glob("*.c"))
    rows = re.findall(r"^\tROW\((\w+)\),$", sources, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {pair.row for pair in load_expected()}


def test_what_is_behind_an_area_is_not_compared_but_the_rest_of_its_line_is() -> None:
    node, memfd = MAPS.format("/dev/ref_pfn"), MAPS.format("/memfd:mapdev (deleted)")
    assert is_equal(memfd, [node])
    assert is_equal(MAPS.format("").replace("ino=nonzero", "ino=0"), [node])
    assert not is_equal(memfd.replace("rw-s", "r--s"), [node])
    assert not is_equal(memfd.replace("off=00004000", "off=00014000"), [node])
    assert not is_equal(memfd.replace("PAGE04", "PAGE05"), [node])


def test_flags_and_resident_sizes_are_not_compared_but_what_follows_them_is() -> None:
    seen = "OK Rss=64 kB Private_Dirty=4 kB Anonymous=4 kB VmFlags=rd wr nr len+1=ENXIO"
    assert normalise(seen) == "OK Anonymous=4 kB len+1=ENXIO"
    assert normalise("Locked=0 kB VmFlags=rd sd mm munlock=0") == "Locked=0 kB munlock=0"
    assert normalise("readlink=/dev/ref_pfn open=ok") == normalise("readlink=/memfd:x (y) open=ok")
    assert normalise("readlink=ENOENT open=ok") == "readlink=ENOENT open=ok"


def test_a_pair_is_equal_if_any_one_kernel_gave_that() -> None:
    assert is_equal("ENOMEM drv[-]", ["OK drv[-]", "ENOMEM drv[-]"])
    assert not is_equal("EINVAL drv[-]", ["OK drv[-]", "ENOMEM drv[-]"])


def test_an_update_keeps_reasons_and_asks_for_new_ones() -> None:
    other, new = ROW._replace(device="fault"), Pair("zap", "pfn")
    expected = {ROW: ["0"], other: ["0"], new: ["ok"]}
    known = {ROW: Known("1", "because")}
    assert updated(known, {ROW: "1", other: "1", new: "1"}, expected) == {
        ROW: Known("1", "because"),
        other: Known("1", "because"),
        new: Known("1", UNEXPLAINED),
    }
    assert updated(known, {ROW: "0"}, expected) == {}


def test_a_difference_that_has_changed_is_to_be_explained_again() -> None:
    expected = {ROW: ["0 nvma=3 off=1"]}
    once = updated({ROW: Known("1", "because")}, {ROW: "2"}, expected)
    assert once == {ROW: Known("2", "? was: because")}
    assert updated(once, {ROW: "3"}, expected) == {ROW: Known("3", "? was: because")}
    in_maps = updated(once, {ROW: "0 nvma=9 off=2"}, expected)
    assert in_maps[ROW].reason == reason_in_maps("0 nvma=9 off=2", expected[ROW]) != ""


def test_what_a_machine_can_not_be_asked_stays_known() -> None:
    known = {ROW: Known("1", "because")}
    seen = {ROW: "cannot: do that", Pair("zap", "pfn"): "cannot: do that"}
    assert updated(known, seen, {pair: ["0"] for pair in seen}) == known


def test_what_only_readers_of_maps_see_is_told_from_what_programs_see() -> None:
    kernel = ["0 nvma=3 drv[vm_open+2] rw-s off=00004000"]
    offset = reason_in_maps("0 nvma=3 drv[vm_open+2] rw-s off=PHYS(pfn<<12)", kernel)
    areas = reason_in_maps("0 nvma=16 drv[vm_open+2] rw-s off=00004000", kernel)
    both = reason_in_maps("0 nvma=16 drv[vm_open+2] rw-s off=PHYS(pfn<<12)", kernel)
    assert offset and areas and both == f"{offset}; {areas}"
    assert not reason_in_maps("0 nvma=16 drv[-] rw-s off=00004000", kernel)
