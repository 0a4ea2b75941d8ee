"""The program that reads links for `Lookups`: run by itself, without the rest of mapdev.

It takes paths from standard input and answers on standard output, each in any order, a thread for
each. It ends when its standard input does. Whatever a thread waits for, nothing waits for it: it
has none of the host's descriptors.

A request is a number of eight bytes, a length of four and a path; an answer a number, an errno of
four bytes or 0, a length and the target.
"""

import os
import struct
import sys
import threading

REQUEST = struct.Struct("<QI")
ANSWER = struct.Struct("<QII")


def _answer(number: int, path: bytes) -> None:
    try:
        code, target = 0, os.readlink(path)
    except OSError as error:
        code, target = error.errno or 0, b""
    os.write(1, ANSWER.pack(number, code, len(target)) + target)  # at once: below PIPE_BUF


def _main() -> None:
    while header := sys.stdin.buffer.read(REQUEST.size):
        number, size = REQUEST.unpack(header)
        path = sys.stdin.buffer.read(size)
        threading.Thread(target=_answer, args=(number, path), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    _main()
