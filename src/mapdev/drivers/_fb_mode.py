"""What a framebuffer's screen looks like for its numbers: formats, modes, and pictures of memory.

Functions on `FbVarScreeninfo` only; which mode is set and where the memory is, the driver knows.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from mapdev.drivers._fb_types import FB_VMODE_CONUPDATE, FbBitfield, FbVarScreeninfo

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = {  # bits per pixel: (offset, length) of red, green, blue, transparency; Pillow's name
    16: (((11, 5), (5, 6), (0, 5), (0, 0)), "BGR;16"),
    24: (((16, 8), (8, 8), (0, 8), (0, 0)), "BGR"),
    32: (((16, 8), (8, 8), (0, 8), (24, 8)), "BGRX"),
}

_MOST_PIXELS = 1 << 15  # in a row: numbers and their products stay far from the structures' limits


def line_length(var: FbVarScreeninfo) -> int:
    """Give the bytes from one line to the next: whole words of 32 bits.

    Source: drivers/video/fbdev/vfb.c (get_line_length)
    """
    return int(-(-var.xres_virtual * var.bits_per_pixel // 32) * 4)


def mode(width: int, height: int, bpp: int) -> FbVarScreeninfo:
    """Give the mode of a screen of `width` x `height` pixels with as much again below it.

    :raises OSError: EINVAL, a number that is none of a screen's.
    """
    for name, value in (("width", width), ("height", height)):
        if not 8 <= value <= _MOST_PIXELS:
            raise OSError(errno.EINVAL, f"{name}={value}: 8 to {_MOST_PIXELS} pixels are possible")
    if bpp not in _FORMATS:
        raise OSError(errno.EINVAL, f"bpp={bpp}: it is one of {', '.join(map(str, _FORMATS))}")
    var = FbVarScreeninfo(width, height, width, 2 * height, bits_per_pixel=bpp)
    # The times of a real screen: 192 pixels and 66 lines that one doesn't see, 60 times a second.
    var.left_margin = var.right_margin = var.hsync_len = 64
    var.upper_margin, var.lower_margin, var.vsync_len = 32, 32, 2
    var.pixclock = 10**12 // ((width + 192) * (height + 66) * 60)
    return var


def check_var(var: FbVarScreeninfo, now: FbVarScreeninfo, memory: int) -> None:
    """Make a mode that a program asks for one that is possible.

    :param var: the mode, completed in place
    :param now: the mode that is set
    :param memory: how much there is, in bytes
    :raises OSError: EINVAL, too small or no such format; ENOMEM, too large.

    Source: drivers/video/fbdev/core/fbmem.c (fb_set_var), drivers/video/fbdev/vfb.c (vfb_check_var)
    """
    if var.xres < 8 or var.yres < 8:
        size = f"{var.xres}x{var.yres}"
        raise OSError(errno.EINVAL, f"width and height are 8 pixels at least, not {size}")
    if var.bits_per_pixel not in _FORMATS:
        known = ", ".join(map(str, _FORMATS))
        raise OSError(errno.EINVAL, f"bpp is one of {known}, not {var.bits_per_pixel}")
    if var.vmode & FB_VMODE_CONUPDATE:
        var.xoffset, var.yoffset = now.xoffset, now.yoffset
    width = max(var.xres_virtual, var.xoffset + var.xres)
    height = max(var.yres_virtual, var.yoffset + var.yres)
    # Python's integers, so that no product or sum overflows unseen before this comparison.
    if -(-width * var.bits_per_pixel // 32) * 4 * height > memory:
        raise OSError(errno.ENOMEM, f"no memory for {width}x{height}")
    var.xres_virtual, var.yres_virtual = width, height
    offsets, _ = _FORMATS[var.bits_per_pixel]
    var.red, var.green, var.blue, var.transp = (FbBitfield(*field) for field in offsets)


def picture(var: FbVarScreeninfo, data: memoryview) -> Image:
    """Give what the screen shows of the memory `data`, as a Pillow image."""
    from PIL import Image  # takes longer to import than most programs run

    line = line_length(var)
    start = var.yoffset * line + var.xoffset * var.bits_per_pixel // 8
    _, name = _FORMATS[var.bits_per_pixel]
    return Image.frombytes("RGB", (var.xres, var.yres), data[start:], "raw", name, line)
