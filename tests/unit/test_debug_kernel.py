"""What the debug kernel's log is read for: findings are found, ends where they end, and nothing else."""

import sys
from pathlib import Path

import pytest

DEBUG = Path(__file__).resolve().parents[2] / "module/debug"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(DEBUG))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("report", "kernel"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import report

    return report


QUIET = """\
[    0.000000] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar
[    1.450000] epollctl add err fd 41, Operation not permitted
[    2.000000] mapdev: loading out-of-tree module taints kernel.
[    9.000000] debug-kernel: the command starts
[    9.100000] FAULT_INJECTION: forcing a failure.
[    9.200000] python3: page allocation failure: order:0, mode:0xcc0(GFP_KERNEL)
[   12.960000] sh (31) used greatest stack depth: 14256 bytes left
"""

KASAN = """\
[    9.1] ==================================================================
[    9.1] BUG: KASAN: slab-use-after-free in fault+0x32/0x40 [faults]
[    9.1] Write of size 1 at addr 0000000093ab7740 by task sh/32
[    9.1]
[    9.1] Stack:
[    9.1]  692b7740 0d256ee4 692b7790 6003d64f
[    9.1] Call Trace:
[    9.1]  [<60043b00>] ? dump_trace+0x0/0x2c0
[    9.1]  [<692b7740>] fault+0x32/0x40 [faults]
[    9.1]
[    9.1] Allocated by task 32:
[    9.1]  fault+0x12/0x40 [faults]
[    9.1] ==================================================================
[    9.1] Disabling lock debugging due to kernel taint
"""

WARNING = """\
[    9.3] ------------[ cut here ]------------
[    9.3] WARNING: CPU: 0 PID: {pid} at faults.c:120 fault_warning+0x10/0x20 [faults]
[    9.3] Call Trace:
[    9.3]  [<692b7740>] fault_warning+0x10/0x20 [faults]
[    9.3] ---[ end trace 0000000000000000 ]---
[    9.3] something else
"""


def test_an_ordinary_log_has_no_findings(report):
    assert report.find(QUIET) == []


def test_a_finding_ends_where_the_kernel_ends_it_and_has_real_calls_only(report):
    (kasan,) = report.find(QUIET + KASAN + QUIET)
    assert kasan.lines[0].startswith("BUG: KASAN: slab-use-after-free")
    assert kasan.lines[-1] == " fault+0x12/0x40 [faults]"
    assert not any("dump_trace" in line or "Stack:" in line for line in kasan.lines)


def test_all_of_several_findings_are_found(report):
    found = report.find(WARNING.format(pid=1) + KASAN + WARNING.format(pid=2))
    assert [finding.lines[0].split(":")[0] for finding in found] == ["WARNING", "BUG", "WARNING"]
    assert found[0].lines[-1] == " [<692b7740>] fault_warning+0x10/0x20 [faults]"


def test_the_same_finding_is_told_once(report, tmp_path):
    (tmp_path / "console").write_text(WARNING.format(pid=1) + WARNING.format(pid=2))
    (finding,) = report.collect(tmp_path, None, tmp_path)
    assert finding.count == 2


def test_what_a_run_left_behind_is_found(report, tmp_path):
    (tmp_path / "kmemleak").write_text(
        "unreferenced object 0x1 (size 128):\n    a+0x1/0x2\n"
        "unreferenced object 0x2 (size 64):\n    b+0x1/0x2\n"
        "unreferenced object 0x3 (size 64):\n    b+0x1/0x2\n"
    )
    (tmp_path / "page_owner").write_text(
        "Page allocated via order 0\n fault_page_leak+0x10 [unloaded]\n\n"
        "Page allocated via order 0\n allocate_slab+0x10/0x20\n fault_leak+0x10 [unloaded]\n"
    )
    (tmp_path / "trouble").write_text("the module can't be unloaded: busy\n")
    first = [finding.lines[0] for finding in report.collect(tmp_path, None, tmp_path)]
    assert first == [
        "unreferenced object 0x1 (size 128):",
        "unreferenced object 0x2 (size 64):",
        "Page allocated via order 0",
        "the module can't be unloaded: busy",
    ]
