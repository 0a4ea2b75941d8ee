"""Build a kernel that finds mistakes in the module, boot it in seconds, and run the tests in it.

    module/debug-kernel build                  the kernel (minutes, once) and the module
    module/debug-kernel run                    the tests of the module, in the debug kernel
    module/debug-kernel run -- COMMAND [ARG]...
    module/debug-kernel self-test              does it find mistakes made on purpose?
    module/debug-kernel report LOG             the findings in a kernel log

The kernel is the distribution's, as a User Mode Linux: a program that needs neither root nor KVM,
with KASAN, lockdep, kmemleak, failures on purpose and more (module/debug/config). The command sees
this machine's files, in the same places, as root; what it writes is gone afterwards. The module is
loaded before and unloaded after it. The exit status is the command's, or 99 if that is 0 and the
kernel had anything to report. MAPDEV_DEBUG_KERNEL=1 is set for the command.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import machine
import report

import kernel
from kernel import CannotError

PROJECT = Path(__file__).resolve().parent.parent.parent
MODULE = PROJECT / "module"
FAULTS = MODULE / "debug/faults"
TESTS = ("tests/kernel",)
FILES = "test_*.py allocation_failures.py"  # the latter only here: no other kernel can have it
FOUND = 99


def default_command() -> list[str]:
    """Give the command that runs the module's tests."""
    python = PROJECT / ".venv/bin/python"
    if not python.exists():
        raise CannotError("there is no .venv: run tools/setup.sh test first")
    tests = [name for name in TESTS if (PROJECT / name).exists()]
    if not tests:
        raise CannotError(f"there are no tests in {', '.join(TESTS)}")
    return [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-rs",
            "-o", f"python_files={FILES}", *tests]  # fmt: skip


def build(options: argparse.Namespace) -> int:
    """Build kernel and module."""
    tree = kernel.build(options.version, options.jobs)
    print(f"kernel: {tree / 'linux'}")
    if options.module:
        print(f"module: {kernel.build_module(tree, MODULE, 'mapdev')}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a command in the debug kernel and print what that has to say."""
    tree = kernel.build(options.version, options.jobs)
    module = kernel.build_module(tree, MODULE, "mapdev") if options.module else None
    command = options.command or default_command()
    with machine.run_directory(options.keep) as directory:
        status = machine.run(
            tree / "linux",
            command,
            directory,
            module=module,
            parameters=options.parameter,
            memory=options.memory,
            timeout=options.timeout,
            cwd=Path.cwd() if options.command else PROJECT,
        )
        findings = report.collect(directory, module, tree)
        report.show(findings, directory)
        if options.keep:
            print(f"debug kernel: logs are in {directory}", file=sys.stderr)
    return status or (FOUND if findings else 0)


def self_test(options: argparse.Namespace) -> int:
    """Make every mistake that the kernel should find, one a boot, and see that it does."""
    tree = kernel.build(options.version, options.jobs)
    module = kernel.build_module(tree, FAULTS, "faults")
    missed = 0
    for fault, expected in report.SELF_TEST.items():
        with machine.run_directory(None) as directory:
            script = f"echo {fault} >/sys/kernel/debug/faults; sleep 0.1"
            if fault == "hung-task":
                script = f"echo 1 >/proc/sys/kernel/hung_task_timeout_secs; sleep 1; {script}"
            command = ["sh", "-c", script]
            machine.run(
                tree / "linux", command, directory, module=module,
                leaks=fault == "none" or "leak" in fault,
            )  # fmt: skip
            findings = report.collect(directory, module, tree)
        found = any(expected in line for finding in findings for line in finding.lines)
        stray = fault == "none" and findings
        print(f"{'FAILED' if stray or (expected and not found) else 'ok':8}{fault}", flush=True)
        if stray or (expected and not found):
            missed += 1
            report.show(findings, None)
    return 1 if missed else 0


def show_report(options: argparse.Namespace) -> int:
    """Print the findings in a log."""
    findings = report.find(options.log.read_text(errors="replace"))
    report.show(findings, None)
    return FOUND if findings else 0


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        "debug-kernel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="build | run | self-test | report")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--version", default="6.12", help="of Debian's linux-source (%(default)s)")
    common.add_argument("--jobs", type=int, default=os.cpu_count(), help="of make (%(default)s)")
    common.add_argument("--no-module", dest="module", action="store_false", help="kernel only")
    one = commands.add_parser("build", parents=[common], help="build kernel and module")
    one.set_defaults(go=build)
    one = commands.add_parser("run", parents=[common], help="run a command, or the tests")
    one.add_argument("--memory", default="1536M", help="of the machine (%(default)s)")
    one.add_argument("--timeout", type=float, default=1800, help="in seconds (%(default)s)")
    one.add_argument("--keep", type=Path, metavar="DIR", help="leave the logs in DIR")
    one.add_argument(
        "--parameter", action="append", default=[], metavar="NAME=VALUE", help="of the module"
    )
    one.add_argument("command", nargs="*", metavar="COMMAND")
    one.set_defaults(go=run)
    one = commands.add_parser("self-test", parents=[common], help="see that mistakes are found")
    one.set_defaults(go=self_test)
    one = commands.add_parser("report", help="the findings in a kernel log")
    one.add_argument("log", type=Path)
    one.set_defaults(go=show_report)
    return parser


if __name__ == "__main__":
    try:
        options = arguments().parse_args()
        sys.exit(options.go(options))
    except CannotError as error:
        sys.exit(f"debug kernel: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
