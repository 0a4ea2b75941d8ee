"""The demo ends well, with all the programs it would like to have and without any.

With ffmpeg and MAPDEV_PICTURES=docs/assets it makes the picture in the documentation anew.
"""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

DEMO = Path(__file__).parents[2] / "demo" / "demo.py"


@pytest.mark.parametrize("path", ["", "/nonexistent"])
def test_demo(require_program: Any, tmp_path: Path, path: str) -> None:
    if not path:
        require_program("ffmpeg", "ffmpeg")
    env = {"PATH": path} if path else None
    command = [sys.executable, str(DEMO), str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert ("ffmpeg is missing" in done.stdout) == bool(path)
    assert "the frames are in a row" in done.stdout
    assert "the frames are scattered" in done.stdout
    page = (tmp_path / "demo.html").read_text(encoding="utf-8")
    assert "remap_pfn_range(vma, vma->vm_start, pfn, " in html.unescape(page)
    with Image.open(tmp_path / "screen.png") as picture:
        assert picture.size == (640, 480)
        assert len(set(picture.convert("L").tobytes())) > 100
    where = os.environ.get("MAPDEV_PICTURES")
    if where and not path:
        shutil.copy(tmp_path / "screen.png", Path(where) / "demo-screen.png")
