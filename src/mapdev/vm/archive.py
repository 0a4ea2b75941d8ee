"""Write initramfs archives (cpio, format newc).

For the VM's image only. The Linux kernel unpacks several archives laid one after another, so a
large one can be kept and a small one made anew for each start. Written here, not by cpio(1),
since an ordinary user has to be able to give files other owners. It must never follow a link.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO, Self


class Archive:
    """An archive being written to `file`; `close` ends it, and belongs after the last file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inode = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, name: str, mode: int, data: bytes = b"", owner: int = 0) -> None:
        """Add one file: `mode` with its type bits; `data` are a link's target or the contents."""
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (self._inode, mode, owner, owner, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        self._write(b"070701" + b"".join(b"%08X" % field for field in fields) + path)
        self._write(data)

    def add_tree(self, root: Path, prefix: str = "", owner: int = 0) -> None:
        """Add what is below `root` (or `root` itself, when a file), under `prefix`."""
        mode = root.lstat().st_mode
        if prefix:
            if stat.S_ISLNK(mode):
                data = os.fsencode(root.readlink())
            else:
                data = root.read_bytes() if stat.S_ISREG(mode) else b""
            self.add(prefix, mode, data, owner)
        if stat.S_ISDIR(mode):
            for path in sorted(root.iterdir()):
                self.add_tree(path, f"{prefix}/{path.name}" if prefix else path.name, owner)

    def close(self) -> None:
        """Write the end mark."""
        self.add("TRAILER!!!", 0)

    def _write(self, data: bytes) -> None:
        self._file.write(data + bytes(-len(data) % 4))
