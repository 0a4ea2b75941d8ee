"""`mapdev doctor`: tries what the hosts need, and says what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mapdev.doctor import embedded, kernel
from mapdev.doctor.finding import Finding


def findings(checks: Sequence[Callable[[], Finding]]) -> Iterator[Finding]:
    """Make all checks, the cheap ones first."""
    for check in checks:
        try:
            yield check()
        except Exception as error:
            yield Finding(check.__name__.strip("_"), False, f"could not be checked: {error!r}")


def examine() -> int:
    """Print what the checks found; return 1 when something is in the embedded host's way."""
    status = _show(findings(embedded.CHECKS))
    print("mapdev can work here" if not status else "mapdev can't work here: see FAIL above")
    print("\nthe kernel host, which most programs do without:")
    _show(findings(kernel.CHECKS))
    return status


def _show(found: Iterator[Finding]) -> int:
    status = 0
    for what, ok, text in found:
        mark = {True: "ok  ", None: "note", False: "FAIL"}[ok]
        print(f"{mark}  {what + ':':<13} {text}", flush=True)
        status = max(status, int(ok is False))
    return status
