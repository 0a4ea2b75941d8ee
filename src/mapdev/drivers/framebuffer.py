"""Framebuffer: a screen as memory, the whole of /dev/fb0 as programs know it.

A program asks for the layout of the pixels (FBIOGET_VSCREENINFO: what it may change, resolution and
format; FBIOGET_FSCREENINFO: what it may not, the memory and the length of a line), maps the
memory and draws. Nobody tells the driver that a pixel changed, and nobody needs to: the display
reads the same memory. Here the display is `Framebuffer.image`, or `save` into a file.

The memory holds two screens, one above the other. A program draws into the one that is not shown
and then has the screen begin there (FBIOPAN_DISPLAY): a picture changes all at once.

It comes from `dma_alloc_coherent`, as for a real display that fetches pixels by itself: frames in a
row however large, and the address at which the hardware sees them, which is what smem_start is.

The ioctl numbers are older than the convention that a number says which way its structure goes,
so that each handler says it: "w" for what the driver writes, "r" for what it reads.

Source: drivers/video/fbdev/vfb.c, drivers/video/fbdev/core/fbmem.c
"""

from __future__ import annotations

import ctypes
import errno
import os
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from mapdev.driver import ioctl, parse_number
from mapdev.drivers import _fb_types as fb
from mapdev.drivers._buffer import Buffer
from mapdev.drivers._fb_mode import check_var, line_length, mode, picture
from mapdev.linux import (
    GFP_KERNEL,
    PAGE_ALIGN,
    PAGE_SHIFT,
    File,
    VmAreaStruct,
    copy_from_user,
    copy_to_user,
    default_llseek,
    dma_alloc_coherent,
    io_remap_pfn_range,
    pgprot_writecombine,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class Framebuffer(Buffer):
    """A framebuffer of 16, 24 or 32 bits per pixel, with room for two screens."""

    major: ClassVar[int] = 29

    def probe(self, width: int | str = 640, height: int | str = 480, bpp: int | str = 32) -> None:
        """Allocate two screens of `width` x `height` pixels and show the first.

        :raises OSError: EINVAL, there is no such format; ENOMEM.
        """
        numbers = {"width": width, "height": height, "bpp": bpp}
        self.var = mode(*(parse_number(value, name) for name, value in numbers.items()))
        size = PAGE_ALIGN(line_length(self.var) * self.var.yres_virtual)
        check_var(self.var, self.var, size)
        address, physical = dma_alloc_coherent(None, size, GFP_KERNEL)
        self.use(address, size)
        self.fix = fb.FbFixScreeninfo(b"mapdev", physical, size, fb.FB_TYPE_PACKED_PIXELS)
        self.fix.visual = fb.FB_VISUAL_TRUECOLOR
        self.fix.xpanstep = self.fix.ypanstep = 1
        self.fix.line_length = line_length(self.var)
        self.palette = [array("H", range(0, 0x10000, 0x101)) for _ in range(4)]
        self.blank_level = 0

    @ioctl(fb.FBIOGET_FSCREENINFO, fb.FbFixScreeninfo, "w")
    def get_fscreeninfo(self, file: File, fix: fb.FbFixScreeninfo) -> None:
        """Tell where the memory is and how long a line."""
        fix.assign(self.fix)

    @ioctl(fb.FBIOGET_VSCREENINFO, fb.FbVarScreeninfo, "w")
    def get_vscreeninfo(self, file: File, var: fb.FbVarScreeninfo) -> None:
        """Tell resolution, offsets, pixel format and timing."""
        var.assign(self.var)

    @ioctl(fb.FBIOPUT_VSCREENINFO, fb.FbVarScreeninfo, "rw")
    def put_vscreeninfo(self, file: File, var: fb.FbVarScreeninfo) -> None:
        """Set a mode, as far as the memory goes; tell what was made of it."""
        check_var(var, self.var, self.size)
        if var.activate & fb.FB_ACTIVATE_MASK == fb.FB_ACTIVATE_NOW:
            self.var.assign(var)
            self.fix.line_length = line_length(var)

    @ioctl(fb.FBIOPAN_DISPLAY, fb.FbVarScreeninfo, "rw")
    def pan_display(self, file: File, var: fb.FbVarScreeninfo) -> None:
        """Let the screen begin at another pixel of the memory.

        :raises OSError: EINVAL, it would end outside, or wrap around, which it can't.
        """
        now, x, y = self.var, var.xoffset, var.yoffset
        fits = x + now.xres <= now.xres_virtual and y + now.yres <= now.yres_virtual
        if not fits or var.vmode & fb.FB_VMODE_YWRAP:
            raise OSError(errno.EINVAL, f"the screen can't begin at {x}, {y}")
        now.xoffset, now.yoffset = x, y

    @ioctl(fb.FBIOGETCMAP, fb.FbCmap, "r")
    def get_cmap(self, file: File, cmap: fb.FbCmap) -> None:
        """Copy a part of the palette into the client's arrays."""
        for user, channel, part in self._channels(cmap):
            copy_to_user(user, channel[part].tobytes())

    @ioctl(fb.FBIOPUTCMAP, fb.FbCmap, "r")
    def put_cmap(self, file: File, cmap: fb.FbCmap) -> None:
        """Change a part of the palette; true colours don't depend on it."""
        for user, channel, part in self._channels(cmap):
            channel[part] = array("H", copy_from_user(user, 2 * cmap.len))

    def _channels(self, cmap: fb.FbCmap) -> Iterator[tuple[int, array[int], slice]]:
        """Pair the client's arrays with ours; EINVAL when the part is not within the palette."""
        if not 0 < cmap.len <= 256 - cmap.start:
            raise OSError(errno.EINVAL, f"no {cmap.len} palette entries from {cmap.start}")
        users = [cmap.red, cmap.green, cmap.blue] + [cmap.transp] * bool(cmap.transp)
        for user, channel in zip(users, self.palette, strict=False):
            yield user, channel, slice(cmap.start, cmap.start + cmap.len)

    @ioctl(fb.FBIOBLANK)
    def blank(self, file: File, level: int) -> None:
        """Switch the screen off (more than 0) and on again (0)."""
        self.blank_level = min(level, fb.FB_BLANK_POWERDOWN)

    @ioctl(fb.FBIO_WAITFORVSYNC, ctypes.c_uint32)
    def wait_for_vsync(self, file: File, crtc: ctypes.c_uint32) -> None:
        """Return at once. Fidelity: nobody scans this screen, so it has no pause to wait for."""

    def llseek(self, file: File, offset: int, whence: int) -> int:
        """Move anywhere; SEEK_END counts from 0, as for every framebuffer."""
        return default_llseek(file, offset, whence)

    def mmap(self, file: File, vma: VmAreaStruct) -> None:
        """Map the pixels, as memory that may combine writes."""
        self.check_range(vma)
        pfn = (self.fix.smem_start >> PAGE_SHIFT) + vma.vm_pgoff
        prot = pgprot_writecombine(vma.vm_page_prot)
        io_remap_pfn_range(vma, vma.vm_start, pfn, vma.vm_end - vma.vm_start, prot)

    def image(self) -> Image:
        """Return what is on screen now, as a Pillow image."""
        return picture(self.var, memoryview(bytes(self.size)) if self.blank_level else self.data)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what is on screen now as a PNG file."""
        self.image().save(path, format="PNG")
