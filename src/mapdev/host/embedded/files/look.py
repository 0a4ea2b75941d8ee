"""The program that looks at files for `Lookups`: run by itself, without the rest of mapdev.

It takes requests from standard input and answers on standard output, in any order, a thread for
each. It ends when its standard input does. Whatever a thread waits for, nothing waits for it: it
has none of the host's descriptors.

A request is a number of eight bytes, an index of `FUNCTIONS` and the length of a path, four bytes
each, and the path. An answer is the number, a length, and the pickled result of the function or the
error that it raised.
"""

import os
import pickle
import struct
import sys
import threading

FUNCTIONS = (os.readlink, os.stat, os.lstat, os.path.realpath)
REQUEST = struct.Struct("<QII")
ANSWER = struct.Struct("<QI")


def _answer(number: int, index: int, path: str) -> None:
    try:
        result: object = FUNCTIONS[index](path)
    except (OSError, ValueError) as error:
        result = error
    text = pickle.dumps(result)
    with _LOCK:
        os.write(1, ANSWER.pack(number, len(text)) + text)


_LOCK = threading.Lock()


def _main() -> None:
    while header := sys.stdin.buffer.read(REQUEST.size):
        number, index, size = REQUEST.unpack(header)
        path = os.fsdecode(sys.stdin.buffer.read(size))
        threading.Thread(target=_answer, args=(number, index, path), daemon=True).start()
    os._exit(0)


if __name__ == "__main__":
    _main()
