"""ARCHITECTURE.md shows where everything is: its picture of the folders names each module."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
FOLDERS = TEXT.partition("## Folders")[2].partition("## The dependency rule")[0]
# Of the others the picture says what they hold, and not each file.
SHOWN = (".", "host", "host/core", "host/embedded", "host/embedded/syscalls", "host/embedded/files",
         "host/kernel")  # fmt: skip
PLAIN = {"__init__.py", "__main__.py"}


@pytest.mark.parametrize("folder", SHOWN)
def test_each_module_is_named(folder: str) -> None:
    modules = {path.name for path in (ROOT / "src/mapdev" / folder).glob("*.py")} - PLAIN
    assert modules
    assert modules - set(FOLDERS.replace(";", " ").split()) == set()


def test_each_folder_is_named() -> None:
    source = ROOT / "src/mapdev"
    folders = {path.parent for path in source.rglob("*.py")} - {source}
    assert folders
    assert [f.name for f in sorted(folders) if f"{f.name}/" not in FOLDERS] == []
