"""The framebuffer's structures in Python have the layout that the C compiler gives them."""

from __future__ import annotations

import ctypes
import subprocess
from typing import Any

from mapdev.drivers import _fb_types as fb

STRUCTURES: dict[str, type[ctypes.Structure]] = {
    "fb_bitfield": fb.FbBitfield,
    "fb_var_screeninfo": fb.FbVarScreeninfo,
    "fb_fix_screeninfo": fb.FbFixScreeninfo,
    "fb_cmap": fb.FbCmap,
}


def test_layout(build_client: Any) -> None:
    printed = subprocess.run([build_client("fb_layout")], stdout=subprocess.PIPE, text=True)
    lines = [line.split() for line in printed.stdout.splitlines()]
    assert len(lines) > 10
    for name, field, number in lines:
        if name == "FBIO_WAITFORVSYNC":
            assert int(number) == fb.FBIO_WAITFORVSYNC
        elif field == "sizeof":
            assert ctypes.sizeof(STRUCTURES[name]) == int(number), name
        else:
            assert getattr(STRUCTURES[name], field).offset == int(number), (name, field)
