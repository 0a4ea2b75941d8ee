"""What VIDIOC_ENUM_FMT calls pixel formats, and which of them are compressed.

Source: drivers/media/v4l2-core/v4l2-ioctl.c (v4l_fill_fmtdesc)
"""

from __future__ import annotations

from typing import Any

from mapdev.linux import printk
from mapdev.subsystems.v4l2 import constants as c

__all__ = ["v4l_fill_fmtdesc"]

_RAW = {
    c.V4L2_PIX_FMT_RGB332: "8-bit RGB 3-3-2",
    c.V4L2_PIX_FMT_RGB444: "16-bit A/XRGB 4-4-4-4",
    c.V4L2_PIX_FMT_ARGB444: "16-bit ARGB 4-4-4-4",
    c.V4L2_PIX_FMT_XRGB444: "16-bit XRGB 4-4-4-4",
    c.V4L2_PIX_FMT_RGB555: "16-bit A/XRGB 1-5-5-5",
    c.V4L2_PIX_FMT_ARGB555: "16-bit ARGB 1-5-5-5",
    c.V4L2_PIX_FMT_XRGB555: "16-bit XRGB 1-5-5-5",
    c.V4L2_PIX_FMT_RGB565: "16-bit RGB 5-6-5",
    c.V4L2_PIX_FMT_RGB565X: "16-bit RGB 5-6-5 BE",
    c.V4L2_PIX_FMT_BGR24: "24-bit BGR 8-8-8",
    c.V4L2_PIX_FMT_RGB24: "24-bit RGB 8-8-8",
    c.V4L2_PIX_FMT_BGR32: "32-bit BGRA/X 8-8-8-8",
    c.V4L2_PIX_FMT_ABGR32: "32-bit BGRA 8-8-8-8",
    c.V4L2_PIX_FMT_XBGR32: "32-bit BGRX 8-8-8-8",
    c.V4L2_PIX_FMT_RGB32: "32-bit A/XRGB 8-8-8-8",
    c.V4L2_PIX_FMT_ARGB32: "32-bit ARGB 8-8-8-8",
    c.V4L2_PIX_FMT_XRGB32: "32-bit XRGB 8-8-8-8",
    c.V4L2_PIX_FMT_BGRA32: "32-bit ABGR 8-8-8-8",
    c.V4L2_PIX_FMT_RGBA32: "32-bit RGBA 8-8-8-8",
    c.V4L2_PIX_FMT_RGBX32: "32-bit RGBX 8-8-8-8",
    c.V4L2_PIX_FMT_GREY: "8-bit Greyscale",
    c.V4L2_PIX_FMT_Y10: "10-bit Greyscale",
    c.V4L2_PIX_FMT_Y12: "12-bit Greyscale",
    c.V4L2_PIX_FMT_Y14: "14-bit Greyscale",
    c.V4L2_PIX_FMT_Y16: "16-bit Greyscale",
    c.V4L2_PIX_FMT_Y16_BE: "16-bit Greyscale BE",
    c.V4L2_PIX_FMT_Z16: "16-bit Depth",
    c.V4L2_PIX_FMT_PAL8: "8-bit Palette",
    c.V4L2_PIX_FMT_YVU410: "Planar YVU 4:1:0",
    c.V4L2_PIX_FMT_YVU420: "Planar YVU 4:2:0",
    c.V4L2_PIX_FMT_YUYV: "YUYV 4:2:2",
    c.V4L2_PIX_FMT_YYUV: "YYUV 4:2:2",
    c.V4L2_PIX_FMT_YVYU: "YVYU 4:2:2",
    c.V4L2_PIX_FMT_UYVY: "UYVY 4:2:2",
    c.V4L2_PIX_FMT_VYUY: "VYUY 4:2:2",
    c.V4L2_PIX_FMT_YUV422P: "Planar YUV 4:2:2",
    c.V4L2_PIX_FMT_YUV411P: "Planar YUV 4:1:1",
    c.V4L2_PIX_FMT_YUV444: "16-bit A/XYUV 4-4-4-4",
    c.V4L2_PIX_FMT_YUV565: "16-bit YUV 5-6-5",
    c.V4L2_PIX_FMT_YUV24: "24-bit YUV 4:4:4 8-8-8",
    c.V4L2_PIX_FMT_YUV32: "32-bit A/XYUV 8-8-8-8",
    c.V4L2_PIX_FMT_YUV410: "Planar YUV 4:1:0",
    c.V4L2_PIX_FMT_YUV420: "Planar YUV 4:2:0",
    c.V4L2_PIX_FMT_NV12: "Y/CbCr 4:2:0",
    c.V4L2_PIX_FMT_NV21: "Y/CrCb 4:2:0",
    c.V4L2_PIX_FMT_NV16: "Y/CbCr 4:2:2",
    c.V4L2_PIX_FMT_NV61: "Y/CrCb 4:2:2",
    c.V4L2_PIX_FMT_NV24: "Y/CbCr 4:4:4",
    c.V4L2_PIX_FMT_NV42: "Y/CrCb 4:4:4",
    c.V4L2_PIX_FMT_NV12M: "Y/CbCr 4:2:0 (N-C)",
    c.V4L2_PIX_FMT_NV21M: "Y/CrCb 4:2:0 (N-C)",
    c.V4L2_PIX_FMT_NV16M: "Y/CbCr 4:2:2 (N-C)",
    c.V4L2_PIX_FMT_NV61M: "Y/CrCb 4:2:2 (N-C)",
    c.V4L2_PIX_FMT_YUV420M: "Planar YUV 4:2:0 (N-C)",
    c.V4L2_PIX_FMT_YVU420M: "Planar YVU 4:2:0 (N-C)",
    c.V4L2_PIX_FMT_YUV422M: "Planar YUV 4:2:2 (N-C)",
    c.V4L2_PIX_FMT_YUV444M: "Planar YUV 4:4:4 (N-C)",
    c.V4L2_PIX_FMT_SBGGR8: "8-bit Bayer BGBG/GRGR",
    c.V4L2_PIX_FMT_SGBRG8: "8-bit Bayer GBGB/RGRG",
    c.V4L2_PIX_FMT_SGRBG8: "8-bit Bayer GRGR/BGBG",
    c.V4L2_PIX_FMT_SRGGB8: "8-bit Bayer RGRG/GBGB",
    c.V4L2_PIX_FMT_SBGGR10: "10-bit Bayer BGBG/GRGR",
    c.V4L2_PIX_FMT_SGBRG10: "10-bit Bayer GBGB/RGRG",
    c.V4L2_PIX_FMT_SGRBG10: "10-bit Bayer GRGR/BGBG",
    c.V4L2_PIX_FMT_SRGGB10: "10-bit Bayer RGRG/GBGB",
    c.V4L2_PIX_FMT_SBGGR12: "12-bit Bayer BGBG/GRGR",
    c.V4L2_PIX_FMT_SGBRG12: "12-bit Bayer GBGB/RGRG",
    c.V4L2_PIX_FMT_SGRBG12: "12-bit Bayer GRGR/BGBG",
    c.V4L2_PIX_FMT_SRGGB12: "12-bit Bayer RGRG/GBGB",
    c.V4L2_PIX_FMT_SBGGR16: "16-bit Bayer BGBG/GRGR",
    c.V4L2_META_FMT_UVC: "UVC Payload Header Metadata",
    c.V4L2_META_FMT_VIVID: "Vivid Metadata",
}

_COMPRESSED = {
    c.V4L2_PIX_FMT_MJPEG: "Motion-JPEG",
    c.V4L2_PIX_FMT_JPEG: "JFIF JPEG",
    c.V4L2_PIX_FMT_DV: "1394",
    c.V4L2_PIX_FMT_MPEG: "MPEG-1/2/4",
    c.V4L2_PIX_FMT_H264: "H.264",
    c.V4L2_PIX_FMT_H264_NO_SC: "H.264 (No Start Codes)",
    c.V4L2_PIX_FMT_H263: "H.263",
    c.V4L2_PIX_FMT_MPEG1: "MPEG-1 ES",
    c.V4L2_PIX_FMT_MPEG2: "MPEG-2 ES",
    c.V4L2_PIX_FMT_MPEG4: "MPEG-4 Part 2 ES",
    c.V4L2_PIX_FMT_XVID: "Xvid",
    c.V4L2_PIX_FMT_VP8: "VP8",
    c.V4L2_PIX_FMT_VP9: "VP9",
    c.V4L2_PIX_FMT_HEVC: "HEVC",
    c.V4L2_PIX_FMT_FWHT: "FWHT",
}


def v4l_fill_fmtdesc(desc: Any) -> None:
    """Fill in the description and the flags of a format, whatever the driver wrote there.

    Source: drivers/media/v4l2-core/v4l2-ioctl.c
    Fidelity: knows the formats that are not one vendor's; of others the driver's description stays,
    or it is the four characters.
    """
    name = _RAW.get(desc.pixelformat)
    if name is None and desc.pixelformat in _COMPRESSED:
        name = _COMPRESSED[desc.pixelformat]
        desc.flags |= c.V4L2_FMT_FLAG_COMPRESSED
    if name is not None:
        desc.description = name.encode()
    elif not desc.description:
        characters = (desc.pixelformat & 0x7FFFFFFF).to_bytes(4, "little")
        printk(f"Unknown pixelformat {desc.pixelformat:#010x}\n")
        desc.description = bytes(byte if 32 <= byte < 127 else 46 for byte in characters)
