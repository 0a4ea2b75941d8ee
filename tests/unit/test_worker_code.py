"""The worker's machine code is what its source says, on both processors."""

import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from mapdev.host.embedded import arch
from mapdev.host.embedded.arch import aarch64, x86_64

SOURCES = Path(arch.__file__).parent


@pytest.mark.parametrize(
    ("module", "prefix"), [(x86_64, "x86_64-linux-gnu-"), (aarch64, "aarch64-linux-gnu-")]
)
def test_code_and_source_agree(
    module: ModuleType, prefix: str, tmp_path: Path, require_program: object
) -> None:
    assert callable(require_program)
    name = module.__name__.rpartition(".")[2]
    assembler, copier = shutil.which(f"{prefix}as"), shutil.which(f"{prefix}objcopy")
    if assembler is None or copier is None:
        package = f"binutils-{name.replace('_', '-')}-linux-gnu"
        require_program(f"{prefix}as", package)
    source = SOURCES / f"{name}_worker.S"
    # What cc -E would do to this source is to drop its comments; as does that by itself.
    built, code = tmp_path / "worker.o", tmp_path / "worker.bin"
    subprocess.run([str(assembler), "-o", built, source], check=True)
    subprocess.run([str(copier), "-O", "binary", "-j", ".text", built, code], check=True)
    assert code.read_bytes() == module.WORKER
