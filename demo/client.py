"""A program that knows nothing of mapdev: opens a device, maps it, and draws or does as told.

client.py hold DEVICE LENGTH      prints the address of the mapping, then answers lines:
                                  "load AT" and "store AT BYTE" (hexadecimal)
client.py draw DEVICE WIDTH HEIGHT   draws a picture of 32 bits a pixel
"""

import ctypes
import mmap
import os
import sys


def open_and_map(device: str, length: int) -> mmap.mmap:
    """Map a device from its beginning."""
    descriptor = os.open(device, os.O_RDWR)
    mapping = mmap.mmap(descriptor, length, mmap.MAP_SHARED)
    os.close(descriptor)
    return mapping


def hold(device: str, length: int) -> None:
    """Keep a mapping and look into it, or write into it, when told."""
    mapping = open_and_map(device, length)
    print(hex(ctypes.addressof(ctypes.c_char.from_buffer(mapping))), flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        at, *value = (int(word, 16) for word in words)
        if verb == "store":
            mapping[at] = value[0]
        print(hex(mapping[at]), flush=True)


def draw(device: str, width: int, height: int) -> None:
    """Draw colours that run into each other."""
    screen = open_and_map(device, width * height * 4)
    for y in range(height):
        line = bytearray()
        for x in range(width):
            line += bytes((255 * x // width, 255 * y // height, (x ^ y) & 0xFF, 0xFF))
        screen[y * width * 4 : (y + 1) * width * 4] = bytes(line)


if __name__ == "__main__":
    verb, device, *numbers = sys.argv[1:]
    if verb == "draw":
        draw(device, *map(int, numbers))
    else:
        hold(device, *map(int, numbers))
