"""The structures and numbers of V4L2 are those of the kernel's headers, on both processors."""

import ctypes
import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from mapdev.subsystems.v4l2 import constants, structures

TOOL = Path(__file__).parents[2] / "tools" / "v4l2_uapi.py"
HEADERS = Path("/usr/include/linux/videodev2.h")


def load_tool():
    spec = importlib.util.spec_from_file_location("v4l2_uapi", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def assertions(tool):
    """Yield a C assertion for the size of each structure and for the place of each field."""
    for made in tool.structures():
        cls = getattr(structures, tool.class_name(made.name))
        kind = "union" if made.is_union else "struct"
        yield f"_Static_assert(sizeof({kind} {made.name}) == {ctypes.sizeof(cls)}, {made.name!r});"
        for name, _ in made.fields:
            if name not in made.anonymous:
                at = getattr(cls, name).offset
                yield (
                    f"_Static_assert(__builtin_offsetof({kind} {made.name}, {name}) == {at}, "
                    f'"{made.name}.{name}");'
                )
    for name, value in vars(constants).items():
        if name.isupper() and isinstance(value, int) and value < 1 << 63:
            yield f'_Static_assert((long long)({name}) == {value}LL, "{name}");'


@pytest.mark.skipif(not HEADERS.exists(), reason="linux-libc-dev is missing")
@pytest.mark.parametrize("compiler", ["gcc", "aarch64-linux-gnu-gcc"])
def test_the_compiler_agrees(compiler, tmp_path, require_program):
    require_program(compiler, {"gcc": "gcc"}.get(compiler, "gcc-aarch64-linux-gnu"))
    tool = load_tool()
    body = "\n".join(line.replace("'", '"') for line in assertions(tool))
    assert body.count("_Static_assert") > 2500
    # These headers are the same for all processors; the compiler for another may have older ones.
    (tmp_path / "linux").mkdir()
    for name in tool.HEADERS:
        shutil.copy(HEADERS.with_name(name), tmp_path / "linux")
    source = tmp_path / "check.c"
    source.write_text(f"{tool.source_text()}\n{body}\n")
    done = subprocess.run(
        [compiler, "-c", "-w", "-std=gnu11", f"-I{tmp_path}", "-o", tmp_path / "check.o", source],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.skipif(not HEADERS.exists(), reason="linux-libc-dev is missing")
def test_the_modules_are_what_the_tool_makes_of_these_headers(tmp_path):
    tool = load_tool()
    if tool._version() != constants.HEADERS_VERSION:
        pytest.skip(f"the headers here are of {tool._version()}, not {constants.HEADERS_VERSION}")
    made = tool.constants()
    known = {name: value for name, value in vars(constants).items() if name in made}
    assert known == made
