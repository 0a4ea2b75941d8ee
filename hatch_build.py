"""Build hook: compiles the C extension `mapdev._native`, if there is a C compiler.

It is optional: without a compiler or Python's headers the package is built without it, and says so.
MAPDEV_PURE=1 leaves it out; MAPDEV_NATIVE=1 makes it an error that it can't be built, for CI and
for who builds wheels. CC, CFLAGS and LDFLAGS are heeded.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_NAME = "_native.abi3.so"
_FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden"]
# Of what runs in clients: it refers to nothing outside, and uses only the registers that it saves.
_GATE = "gate.c"
_GATE_FLAGS = [
    "-ffreestanding", "-fno-builtin", "-fno-stack-protector", "-fno-jump-tables",
    "-fcf-protection=none", "-mgeneral-regs-only", "-fno-asynchronous-unwind-tables",
]  # fmt: skip


def _is_set(name: str) -> bool:
    return os.environ.get(name, "0") not in ("", "0")


def compile_native(root: Path, target: Path) -> None:
    """Make the extension `target` of the sources in `root`.

    :raises OSError: there is no compiler.
    :raises subprocess.CalledProcessError: it failed; `output` says why.
    """
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    headers = sysconfig.get_path("include")
    native = root / "native"
    sources = sorted(str(path) for path in native.glob("*.c") if path.name != _GATE)
    new = target.with_name(f".{target.name}.{os.getpid()}")  # in use, perhaps: not written over
    gate = new.with_suffix(".gate.o")
    try:
        if sysconfig.get_platform().endswith("x86_64"):
            _run([*compiler, *_FLAGS, *_GATE_FLAGS, "-c", str(native / _GATE), "-o", str(gate)])
            sources.append(str(gate))
        _run([
            *compiler, *_FLAGS, "-shared", *shlex.split(os.environ.get("CFLAGS", "")),
            f"-I{headers}", *sources, "-o", str(new),
            *shlex.split(os.environ.get("LDFLAGS", "")), "-lm", "-pthread",
        ])  # fmt: skip
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
        gate.unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    subprocess.run(
        command, check=True, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip


class NativeHook(BuildHookInterface):
    """Adds the extension to wheels and editable installations."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together."""
        root = Path(self.root)
        in_place = root / "src/mapdev" / _NAME
        if version == "editable":
            in_place.unlink(missing_ok=True)  # an old one would be taken for the new one
        if self.target_name != "wheel" or _is_set("MAPDEV_PURE"):
            return
        if version == "editable":
            self._compile(in_place)
            return
        self._directory = tempfile.TemporaryDirectory()
        target = Path(self._directory.name) / _NAME
        if self._compile(target):
            build_data["force_include"][str(target)] = f"mapdev/{_NAME}"
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"cp311-abi3-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled for a wheel."""
        if hasattr(self, "_directory"):
            self._directory.cleanup()

    def _compile(self, target: Path) -> bool:
        try:
            compile_native(Path(self.root), target)
        except (OSError, subprocess.CalledProcessError) as error:
            if _is_set("MAPDEV_NATIVE"):
                raise
            reason = (getattr(error, "output", None) or str(error)).strip()
            self.app.display_warning(
                "mapdev is installed without its C extension and will be slower: it needs a C "
                f"compiler and Python's headers (Debian: gcc python3-dev). {reason}"
            )
            return False
        return True
