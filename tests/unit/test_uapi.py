"""The contract with the module in Python is what a C compiler makes of its header."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mapdev.host.kernel import uapi

HEADER = Path(__file__).parents[2] / "module" / "mapdev.h"
STRUCTS = {
    "init": uapi.Init, "create": uapi.Create, "destroy": uapi.Id, "free": uapi.Id,
    "wake": uapi.Wake, "unmap": uapi.Unmap, "alloc": uapi.Alloc, "pfns": uapi.Pfns,
    "page": uapi.Page, "vma": uapi.Vma, "request": uapi.Request, "area_info": uapi.AreaInfo,
    "reply": uapi.Reply, "mmap": uapi.Mmap, "mapping": uapi.Mapping, "next": uapi.Next,
    "alive": uapi.Alive, "object": uapi.Object, "attribute": uapi.Attribute, "model": uapi.Model,
    "attr_change": uapi.AttrChange, "uevent": uapi.Uevent,
}  # fmt: skip
# Those that are the kernel's, not the header's.
OTHERS = {"PAGE", "HAS_ALL", "ERESTARTSYS"}


def _constants() -> dict[str, int]:
    return {
        name: value for name, value in vars(uapi).items()
        if isinstance(value, int) and name.isupper() and not name.startswith("_")
        and name not in OTHERS
    }  # fmt: skip


@pytest.fixture(scope="module")
def in_c(
    tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str, str], str]
) -> dict[str, int]:
    """What the header says: sizes, offsets, constants."""
    compiler = require_program("cc", "gcc libc6-dev")
    asked = [f"sizeof(struct mapdev_{tag})" for tag in STRUCTS]
    asked += [f"offsetof(struct mapdev_{tag}, {field[0]})"
              for tag, struct in STRUCTS.items() for field in struct._fields_]  # fmt: skip
    asked += [f"(unsigned int)MAPDEV_{name}" for name in _constants()]
    lines = "\n".join(
        f'\tprintf("%s\\t%llu\\n", "{one}", (unsigned long long){one});' for one in asked
    )
    source = f'#include <stddef.h>\n#include <stdio.h>\n#include "{HEADER}"\nint main(void)\n{{\n{lines}\n}}\n'
    program = tmp_path_factory.mktemp("uapi") / "header"
    subprocess.run([compiler, "-x", "c", "-", "-o", program], input=source, text=True, check=True)
    output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in (line.split("\t") for line in output.splitlines())}


@pytest.mark.parametrize("tag", STRUCTS)
def test_structures(tag: str, in_c: dict[str, int]) -> None:
    struct = STRUCTS[tag]
    assert in_c[f"sizeof(struct mapdev_{tag})"] == ctypes.sizeof(struct)
    for name, *_ in struct._fields_:
        assert in_c[f"offsetof(struct mapdev_{tag}, {name})"] == getattr(struct, name).offset, name


def test_constants(in_c: dict[str, int]) -> None:
    constants = _constants()
    assert len(constants) > 90
    for name, value in constants.items():
        assert in_c[f"(unsigned int)MAPDEV_{name}"] == value, name
