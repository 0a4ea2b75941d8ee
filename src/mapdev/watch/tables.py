"""Prints tables on plain text terminals: 80 columns where that can be, no colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["print_table", "size", "visible", "wrapped"]

_WIDTH = 80


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()
) -> None:
    """Print rows below their headings.

    :param right: the columns, from 0, that are aligned to the right.
    """
    table = [[visible(str(cell)) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    aligned = set(right)
    for row in table:
        cells = [
            cell.rjust(width) if index in aligned else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def wrapped(text: str, indent: int) -> str:
    """Return `text` in lines of 80 columns, each indented."""
    space = " " * indent
    return textwrap.fill(visible(text), _WIDTH, initial_indent=space, subsequent_indent=space,
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def visible(text: str) -> str:
    """Return `text` with control characters, and bytes that are no text, as escapes like ``\\x1b``.

    It is of other people's programs and files, and is not to move a terminal's cursor.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def size(count: int) -> str:
    """Return a number of bytes as smaps writes it: ``16 kB``."""
    return f"{count >> 10} kB"
