"""Asks the questions of exercise 8 on a real kernel: the driver behind the kernel host in a VM."""

from __future__ import annotations

import sys
from pathlib import Path

from mapdev.lab.prelude import PRELUDE

__all__ = ["check_on_real_kernel"]

_QUESTIONS = """
import platform
fd = open_it()
size = os.lseek(fd, 0, os.SEEK_END)
pages = size // PAGE
def check(holds, what):
    print('  done    ' if holds else '  MISSING ', what)
    if not holds: sys.exit(1)
print('on Linux', platform.release())
addr = map_it(fd, pages)
check(not any(get(addr + page * PAGE) for page in range(pages)), 'the buffer is cleared')
put(addr + 2 * PAGE, 77)
check(os.pread(fd, 8, 2 * PAGE) == (77).to_bytes(8, sys.byteorder),
      'read sees what a mapping wrote')
check(get(map_it(fd, 1, 2)) == 77, 'a mapping from an offset on begins there')
check(tried(map_it, fd, pages + 1) == tried(map_it, fd, 1, pages) == 'EINVAL',
      'a mapping past the end is refused')
check(os.pread(fd, 100, size - 30) == bytes(30) and os.pread(fd, 100, size) == b'',
      'read stops at the end')
check(os.pwrite(fd, bytes(100), size - 30) == 30 and tried(os.pwrite, fd, b'x', size) == 'ENOSPC',
      'write stops at the end')
os.close(open_it())
check(get(addr + 2 * PAGE) == 77, 'the buffer lives as long as the device')
"""


def check_on_real_kernel(file: str) -> int:
    """Ask in a virtual machine, print the answers, and return the exit status.

    :param file: the driver, which is finished.
    """
    from mapdev.vm.command import main

    device = f"/dev/lab={Path(file).resolve()}:Lab"
    status = main(["-d", device, "--", sys.executable, "-I", "-S", "-c", PRELUDE + _QUESTIONS])
    print("all of it is done" if not status else "the driver is not as it should be there")
    return 1 if status else 0
