"""`mapdev drivers`: the drivers that go by a name, with their parameters and what they are."""

from __future__ import annotations

import inspect

from mapdev.host.loading import DriverError, gallery, load, parameters


def show() -> int:
    """Print the gallery; return the exit status, 1 when a driver can't be loaded."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("driver", "parameters", "what it is"):
        table.add_column(heading)
    status = 0
    for name in sorted(gallery()):
        try:
            driver = load(name)
        except DriverError as error:
            table.add_row(name, "", f"[red]{error}[/red]")
            status = 1
            continue
        values = "\n".join(
            f"{parameter.name}={_brief(parameter.default)}" for parameter in parameters(driver)
        )
        table.add_row(name, values, (inspect.getdoc(driver) or "").partition("\n\n")[0])
    Console().print(table)
    return status


def _brief(value: object) -> str:
    """Show a default as it would be typed: large numbers are addresses."""
    return f"{value:#x}" if isinstance(value, int) and value > 1 << 20 else str(value)
