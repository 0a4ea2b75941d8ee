#!/usr/bin/env python3
"""Print what the kernel's headers for V4L2 define, as Python modules for mapdev.subsystems.v4l2.

    tools/v4l2_uapi.py [DIRECTORY]

reads the headers that Debian's linux-libc-dev installs, with gcc's preprocessor, and writes
``constants.py`` and ``structures.py`` into the directory, ``src/mapdev/subsystems/v4l2`` unless
given. Run it by hand when there are newer headers; what it wrote is checked in. Numbers are what
gcc computes; structures are read from the text, and their sizes and offsets are compared with gcc's
by `check_program`, also for aarch64: tests/subsystems/test_v4l2_uapi.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HEADERS = ("videodev2.h", "v4l2-controls.h", "v4l2-common.h", "dma-buf.h")
_INCLUDE = Path("/usr/include/linux")
_TYPES = {
    "__u8": "c_uint8", "__s8": "c_int8", "__u16": "c_uint16", "__s16": "c_int16",
    "__u32": "c_uint32", "__s32": "c_int32", "__u64": "c_uint64", "__s64": "c_int64",
    "__le32": "c_uint32", "char": "c_char", "int": "c_int32", "unsigned": "c_uint32",
    "unsigned int": "c_uint32", "unsigned long": "c_ulong", "long": "c_long",
    "v4l2_std_id": "c_uint64",
}  # fmt: skip
# Arrays of __u8 that hold text: of c_char they are assigned as bytes.
_TEXT = {"driver", "card", "bus_info", "description", "name"}
_SUBJECT = re.compile(r"v4l2_|dma_buf_")
_TOKEN = re.compile(r"[A-Za-z_]\w*|0[xX][0-9a-fA-F]+|\d+|<<|>>|\S")
_FOREIGN = {"timeval": ("tv_sec", "tv_usec"), "timespec": ("tv_sec", "tv_nsec")}

Field = tuple[str, str]


def source_text() -> str:
    """Return a C program that includes all headers."""
    # Two constants of the headers need a macro that user space does not get.
    mask = "#define GENMASK(h, l) (~0ULL >> (63 - (h)) & ~0ULL << (l))\n"
    return (
        mask
        + "#include <sys/time.h>\n#include <time.h>\n"
        + "".join(f"#include <linux/{name}>\n" for name in HEADERS)
    )


def _gcc(source: str, *options: str, compiler: str = "gcc") -> subprocess.CompletedProcess[str]:
    command = [compiler, "-x", "c", *options, "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=False)


def class_name(name: str) -> str:
    """Return the Python name of a C structure: CapWords."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


# --- constants ----------------------------------------------------------------------------------


def _candidates() -> list[str]:
    """Return names that may be constants, in the order of the headers."""
    found: dict[str, None] = {}
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", " ", (_INCLUDE / header).read_text(), flags=re.DOTALL)
        pattern = r"^#\s*define[ \t]+([A-Z]\w*)[ \t]+\S|\benum\s+\w*\s*\{(.*?)\}"
        for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
            if match[1]:
                found[match[1]] = None
            else:
                body = re.sub(r"^#.*$", "", match[2], flags=re.MULTILINE)
                for entry in body.split(","):
                    name = entry.split("=")[0].strip()
                    if name:
                        found[name] = None
    return list(found)


def constants() -> dict[str, int]:
    """Return the names whose values gcc can compute, with these."""
    names = _candidates()
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "constants"
        while True:
            first = 3 + source_text().count("\n")
            lines = [f'p("{name}", (long long)(({name}) | 0));' for name in names]  # no strings
            source = (
                "#include <stdio.h>\n" + source_text()
                + '#define p(n, v) printf("%s %lld\\n", n, v)\nint main(void) {\n'
                + "\n".join(lines) + "\n}\n"
            )  # fmt: skip
            done = _gcc(source, "-o", str(program))
            if done.returncode == 0:
                break
            wrong = {int(n) for n in re.findall(r"<stdin>:(\d+):\d+: error", done.stderr)}
            kept = [name for line, name in enumerate(names, first + 1) if line not in wrong]
            if len(kept) == len(names):
                raise SystemExit(done.stderr)
            names = kept
        printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return {name: int(value) for name, value in (line.split() for line in printed.splitlines())}


# --- structures ---------------------------------------------------------------------------------


class Structure:
    """A C structure or union: its fields, as expressions of Python."""

    def __init__(self, name: str, is_union: bool) -> None:
        self.name = name
        self.is_union = is_union
        self.is_packed = False
        self.fields: list[Field] = []
        self.anonymous: list[str] = []
        self.inner: list[Structure] = []

    def lines(self) -> Iterator[str]:
        """Yield its class, after those of the structures inside."""
        for inner in self.inner:
            yield from inner.lines()
        base = "UapiUnion" if self.is_union else "UapiStructure"
        yield f"class {class_name(self.name)}({base}):"
        yield f'    """``{"union" if self.is_union else "struct"} {self.name}``."""'
        yield ""
        if self.is_packed:
            yield "    _pack_ = 1"
        if self.anonymous:
            yield f"    _anonymous_ = ({', '.join(repr(name) for name in self.anonymous)},)"
        yield "    _fields_ = ("
        for name, kind in self.fields:
            yield f'        ("{name}", {kind}),'
        yield "    )"
        yield ""
        yield ""


class _Parser:
    """Reads the declarations of structures from preprocessed C."""

    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        self.at = 0

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead]

    def structures(self) -> Iterator[Structure]:
        while self.at + 3 < len(self.tokens):
            kind, name, brace = (self.peek(ahead) for ahead in range(3))
            if kind in ("struct", "union") and brace == "{" and _SUBJECT.match(name):
                self.at += 2
                yield self._body(name, kind == "union")
            else:
                self.at += 1

    def _body(self, name: str, is_union: bool) -> Structure:
        made = Structure(name, is_union)
        assert self.next() == "{"
        while self.peek() != "}":
            self._member(made)
        self.next()
        made.is_packed = self._attribute()
        return made

    def _attribute(self) -> bool:
        if self.peek() != "__attribute__":
            return False
        start = self.at
        depth = 0
        self.next()
        while True:
            depth += {"(": 1, ")": -1}.get(self.next(), 0)
            if not depth:
                return "packed" in "".join(self.tokens[start : self.at])

    def _member(self, made: Structure) -> None:
        if self.peek() in ("struct", "union") and self.peek(1) == "{":
            kind = self.next()
            field = f"u{len(made.inner)}"
            inner = self._body(f"{made.name}_{field}", kind == "union")
            made.inner.append(inner)
            if self.peek() == ";":
                made.anonymous.append(field)
                self.next()
                made.fields.append((field, class_name(inner.name)))
                return
            self._declarators(made, class_name(inner.name))
            return
        words = []
        while re.match(r"[A-Za-z_]", self.peek()) and self.peek(1) not in (";", "[", ",", ":"):
            words.append(self.next())
        words = [word for word in words if word != "const"]
        if words[:1] in (["struct"], ["union"]):
            foreign = words[1] in _FOREIGN
            self._declarators(made, class_name(words[1] if not foreign else f"uapi_{words[1]}"))
        elif words[:1] == ["enum"]:
            self._declarators(made, "c_uint32")
        else:
            self._declarators(made, _TYPES.get(" ".join(words), " ".join(words)))

    def _declarators(self, made: Structure, kind: str) -> None:
        while True:
            own = kind
            while self.peek() == "*":
                self.next()
                own = "c_size_t"  # an address in the program's memory
            name = self.next()
            counts = []
            while self.peek() == "[":
                self.next()
                expression = []
                while self.peek() != "]":
                    expression.append(self.next())
                self.next()
                counts.append(eval("".join(expression)))
            if counts and own == "c_uint8" and name in _TEXT:
                own = "c_char"
            for count in reversed(counts):
                own = f"{own} * {count}" if "*" not in own else f"({own}) * {count}"
            made.fields.append((name, own))
            if self.next() == ";":
                return


def structures() -> list[Structure]:
    """Return the structures that the headers declare, in their order."""
    return list(_Parser(_gcc(source_text(), "-E", "-P").stdout).structures())


# --- what is written ----------------------------------------------------------------------------


def _version() -> str:
    defined = _gcc("#include <linux/version.h>\n", "-E", "-dM").stdout
    code = int(re.search(r"LINUX_VERSION_CODE (\d+)", defined)[1])  # type: ignore[index]
    return f"{code >> 16}.{code >> 8 & 255}.{code & 255}"


def _opening(what: str, imports: str) -> str:
    headers = ", ".join(f"include/uapi/linux/{name}" for name in HEADERS)
    return (
        f'"""{what}, made by tools/v4l2_uapi.py: don\'t edit.\n\nSource: Linux {_version()}:\n'
        f'{headers}\n"""\n# ruff: noqa: E501\n\n{imports}'
    )


def constants_text() -> str:
    """Return the module with the constants."""
    lines = [
        f"{name} = {value if abs(value) < 10 else hex(value)}"
        for name, value in constants().items()
    ]
    return (
        _opening("The constants of V4L2", "")
        + f'HEADERS_VERSION = "{_version()}"\n' + "\n".join(lines) + "\n"
    )  # fmt: skip


def structures_text() -> str:
    """Return the module with the structures."""
    imports = (
        "from ctypes import (\n    c_char, c_int8, c_int16, c_int32, c_int64, c_long, c_size_t,\n"
        "    c_uint8, c_uint16, c_uint32, c_uint64, c_ulong,\n)  # fmt: skip\n\n"
        "from mapdev.subsystems.v4l2.uapi_base import UapiStructure, UapiUnion\n\n\n"
    )
    body = "\n".join(line for made in structures() for line in made.lines()).rstrip() + "\n"
    foreign = ""
    for name, fields in _FOREIGN.items():
        made = Structure(f"uapi_{name}", False)
        made.fields = [(field, "c_long") for field in fields]
        foreign += "\n".join(made.lines()).replace(f"uapi_{name}``", f"{name}``") + "\n"
    used = [
        kind for kind in re.findall(r"c_\w+", imports)
        if re.search(rf"\b{kind}\b", body + foreign)
    ]  # fmt: skip
    names = ", ".join(dict.fromkeys(used))
    imports = re.sub(r"\(\n.*?\)  # fmt: skip", lambda _: names, imports, flags=re.DOTALL)
    return _opening("The structures of V4L2", imports) + foreign + body


def main() -> None:
    """Write both modules."""
    default = Path(__file__).parent.parent / "src/mapdev/subsystems/v4l2"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    (target / "constants.py").write_text(constants_text())
    (target / "structures.py").write_text(structures_text())
    for name in ("constants.py", "structures.py"):
        for action in (["check", "-q", "--select", "I", "--fix"], ["format", "-q"]):
            subprocess.run(["ruff", *action, str(target / name)], check=False)


if __name__ == "__main__":
    main()
