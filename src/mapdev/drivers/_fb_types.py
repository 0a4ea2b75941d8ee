"""The framebuffer's ioctls: structures and numbers that programs pass, as ctypes.

Only layout and numbers, nothing that acts; each name is that of the C structure in CapWords. The
numbers are from before ioctl numbers said size and direction, except for `FBIO_WAITFORVSYNC`.

Source: include/uapi/linux/fb.h
"""

from __future__ import annotations

import ctypes
from typing import Self

from mapdev.linux import _IOW

FBIOGET_VSCREENINFO = 0x4600
FBIOPUT_VSCREENINFO = 0x4601
FBIOGET_FSCREENINFO = 0x4602
FBIOGETCMAP = 0x4604
FBIOPUTCMAP = 0x4605
FBIOPAN_DISPLAY = 0x4606
FBIOBLANK = 0x4611
FBIO_WAITFORVSYNC = _IOW(ord("F"), 0x20, ctypes.c_uint32)

FB_TYPE_PACKED_PIXELS = 0
FB_VISUAL_TRUECOLOR = 2
FB_ACCEL_NONE = 0

# fb_var_screeninfo.activate: when new values hold
FB_ACTIVATE_NOW = 0
FB_ACTIVATE_MASK = 15

# fb_var_screeninfo.vmode
FB_VMODE_YWRAP = 256
FB_VMODE_CONUPDATE = 512  # keep the offsets

FB_BLANK_UNBLANK = 0
FB_BLANK_POWERDOWN = 4


class _Structure(ctypes.Structure):
    """A structure that can be assigned as in C."""

    def assign(self, other: Self) -> None:
        """Copy all fields of `other`."""
        ctypes.memmove(ctypes.byref(self), ctypes.byref(other), ctypes.sizeof(self))


class FbBitfield(_Structure):
    """Where in a pixel one colour is, in bits from the least significant one."""

    _fields_ = (
        ("offset", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
        ("msb_right", ctypes.c_uint32),
    )


class FbVarScreeninfo(_Structure):
    """What a program may change: resolution, offset of the screen, pixel format, timing."""

    _fields_ = (
        ("xres", ctypes.c_uint32),  # what is on screen, in pixels
        ("yres", ctypes.c_uint32),
        ("xres_virtual", ctypes.c_uint32),  # what is in memory, in pixels
        ("yres_virtual", ctypes.c_uint32),
        ("xoffset", ctypes.c_uint32),  # where in memory the screen begins
        ("yoffset", ctypes.c_uint32),
        ("bits_per_pixel", ctypes.c_uint32),
        ("grayscale", ctypes.c_uint32),
        ("red", FbBitfield),
        ("green", FbBitfield),
        ("blue", FbBitfield),
        ("transp", FbBitfield),
        ("nonstd", ctypes.c_uint32),
        ("activate", ctypes.c_uint32),
        ("height", ctypes.c_uint32),  # of the picture in mm
        ("width", ctypes.c_uint32),
        ("accel_flags", ctypes.c_uint32),
        ("pixclock", ctypes.c_uint32),  # picoseconds a pixel; the other times are in pixels, lines
        ("left_margin", ctypes.c_uint32),
        ("right_margin", ctypes.c_uint32),
        ("upper_margin", ctypes.c_uint32),
        ("lower_margin", ctypes.c_uint32),
        ("hsync_len", ctypes.c_uint32),
        ("vsync_len", ctypes.c_uint32),
        ("sync", ctypes.c_uint32),
        ("vmode", ctypes.c_uint32),
        ("rotate", ctypes.c_uint32),
        ("colorspace", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
    )


class FbFixScreeninfo(_Structure):
    """What a program may only read: the memory and how a line lies in it."""

    _fields_ = (
        ("id", ctypes.c_char * 16),
        ("smem_start", ctypes.c_ulong),  # physical address
        ("smem_len", ctypes.c_uint32),  # bytes
        ("type", ctypes.c_uint32),
        ("type_aux", ctypes.c_uint32),
        ("visual", ctypes.c_uint32),
        ("xpanstep", ctypes.c_uint16),  # 0: can't pan that way
        ("ypanstep", ctypes.c_uint16),
        ("ywrapstep", ctypes.c_uint16),
        ("line_length", ctypes.c_uint32),  # bytes
        ("mmio_start", ctypes.c_ulong),
        ("mmio_len", ctypes.c_uint32),
        ("accel", ctypes.c_uint32),
        ("capabilities", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16 * 2),
    )


class FbCmap(_Structure):
    """A part of the palette: four arrays of 16-bit values in the client's memory."""

    _fields_ = (
        ("start", ctypes.c_uint32),  # first entry
        ("len", ctypes.c_uint32),  # entries
        ("red", ctypes.c_size_t),  # user addresses; transp may be 0
        ("green", ctypes.c_size_t),
        ("blue", ctypes.c_size_t),
        ("transp", ctypes.c_size_t),
    )
