"""The standard controls: what each is called, its type, its flags and its menu.

Those of cameras, pictures, JPEG and the queues of codecs are here; a driver with others of the
standard ones gives name and type itself, by `V4l2CtrlConfig`.

Source: drivers/media/v4l2-core/v4l2-ctrls-defs.c
"""

from __future__ import annotations

from collections.abc import Sequence

from mapdev.subsystems.v4l2 import constants as c

__all__ = ["FIXED_RANGES", "flags_of", "menu_of", "name_of", "type_of"]

_NAMES = {
    c.V4L2_CID_USER_CLASS: "User Controls",
    c.V4L2_CID_BRIGHTNESS: "Brightness",
    c.V4L2_CID_CONTRAST: "Contrast",
    c.V4L2_CID_SATURATION: "Saturation",
    c.V4L2_CID_HUE: "Hue",
    c.V4L2_CID_AUDIO_VOLUME: "Volume",
    c.V4L2_CID_AUDIO_BALANCE: "Balance",
    c.V4L2_CID_AUDIO_BASS: "Bass",
    c.V4L2_CID_AUDIO_TREBLE: "Treble",
    c.V4L2_CID_AUDIO_MUTE: "Mute",
    c.V4L2_CID_AUDIO_LOUDNESS: "Loudness",
    c.V4L2_CID_BLACK_LEVEL: "Black Level",
    c.V4L2_CID_AUTO_WHITE_BALANCE: "White Balance, Automatic",
    c.V4L2_CID_DO_WHITE_BALANCE: "Do White Balance",
    c.V4L2_CID_RED_BALANCE: "Red Balance",
    c.V4L2_CID_BLUE_BALANCE: "Blue Balance",
    c.V4L2_CID_GAMMA: "Gamma",
    c.V4L2_CID_EXPOSURE: "Exposure",
    c.V4L2_CID_AUTOGAIN: "Gain, Automatic",
    c.V4L2_CID_GAIN: "Gain",
    c.V4L2_CID_HFLIP: "Horizontal Flip",
    c.V4L2_CID_VFLIP: "Vertical Flip",
    c.V4L2_CID_POWER_LINE_FREQUENCY: "Power Line Frequency",
    c.V4L2_CID_HUE_AUTO: "Hue, Automatic",
    c.V4L2_CID_WHITE_BALANCE_TEMPERATURE: "White Balance Temperature",
    c.V4L2_CID_SHARPNESS: "Sharpness",
    c.V4L2_CID_BACKLIGHT_COMPENSATION: "Backlight Compensation",
    c.V4L2_CID_CHROMA_AGC: "Chroma AGC",
    c.V4L2_CID_COLOR_KILLER: "Color Killer",
    c.V4L2_CID_COLORFX: "Color Effects",
    c.V4L2_CID_AUTOBRIGHTNESS: "Brightness, Automatic",
    c.V4L2_CID_BAND_STOP_FILTER: "Band-Stop Filter",
    c.V4L2_CID_ROTATE: "Rotate",
    c.V4L2_CID_BG_COLOR: "Background Color",
    c.V4L2_CID_CHROMA_GAIN: "Chroma Gain",
    c.V4L2_CID_ILLUMINATORS_1: "Illuminator 1",
    c.V4L2_CID_ILLUMINATORS_2: "Illuminator 2",
    c.V4L2_CID_MIN_BUFFERS_FOR_CAPTURE: "Min Number of Capture Buffers",
    c.V4L2_CID_MIN_BUFFERS_FOR_OUTPUT: "Min Number of Output Buffers",
    c.V4L2_CID_ALPHA_COMPONENT: "Alpha Component",
    c.V4L2_CID_COLORFX_CBCR: "Color Effects, CbCr",
    c.V4L2_CID_COLORFX_RGB: "Color Effects, RGB",
    c.V4L2_CID_CODEC_CLASS: "Codec Controls",
    c.V4L2_CID_MPEG_VIDEO_GOP_SIZE: "Video GOP Size",
    c.V4L2_CID_MPEG_VIDEO_BITRATE: "Video Bitrate",
    c.V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME: "Force Key Frame",
    c.V4L2_CID_MPEG_VIDEO_DEC_PTS: "Video Decoder PTS",
    c.V4L2_CID_MPEG_VIDEO_DEC_FRAME: "Video Decoder Frame Count",
    c.V4L2_CID_CAMERA_CLASS: "Camera Controls",
    c.V4L2_CID_EXPOSURE_AUTO: "Auto Exposure",
    c.V4L2_CID_EXPOSURE_ABSOLUTE: "Exposure Time, Absolute",
    c.V4L2_CID_EXPOSURE_AUTO_PRIORITY: "Exposure, Dynamic Framerate",
    c.V4L2_CID_PAN_RELATIVE: "Pan, Relative",
    c.V4L2_CID_TILT_RELATIVE: "Tilt, Relative",
    c.V4L2_CID_PAN_RESET: "Pan, Reset",
    c.V4L2_CID_TILT_RESET: "Tilt, Reset",
    c.V4L2_CID_PAN_ABSOLUTE: "Pan, Absolute",
    c.V4L2_CID_TILT_ABSOLUTE: "Tilt, Absolute",
    c.V4L2_CID_FOCUS_ABSOLUTE: "Focus, Absolute",
    c.V4L2_CID_FOCUS_RELATIVE: "Focus, Relative",
    c.V4L2_CID_FOCUS_AUTO: "Focus, Automatic Continuous",
    c.V4L2_CID_ZOOM_ABSOLUTE: "Zoom, Absolute",
    c.V4L2_CID_ZOOM_RELATIVE: "Zoom, Relative",
    c.V4L2_CID_ZOOM_CONTINUOUS: "Zoom, Continuous",
    c.V4L2_CID_PRIVACY: "Privacy",
    c.V4L2_CID_IRIS_ABSOLUTE: "Iris, Absolute",
    c.V4L2_CID_IRIS_RELATIVE: "Iris, Relative",
    c.V4L2_CID_AUTO_EXPOSURE_BIAS: "Auto Exposure, Bias",
    c.V4L2_CID_AUTO_N_PRESET_WHITE_BALANCE: "White Balance, Auto & Preset",
    c.V4L2_CID_WIDE_DYNAMIC_RANGE: "Wide Dynamic Range",
    c.V4L2_CID_IMAGE_STABILIZATION: "Image Stabilization",
    c.V4L2_CID_ISO_SENSITIVITY: "ISO Sensitivity",
    c.V4L2_CID_ISO_SENSITIVITY_AUTO: "ISO Sensitivity, Auto",
    c.V4L2_CID_EXPOSURE_METERING: "Exposure, Metering Mode",
    c.V4L2_CID_SCENE_MODE: "Scene Mode",
    c.V4L2_CID_3A_LOCK: "3A Lock",
    c.V4L2_CID_AUTO_FOCUS_START: "Auto Focus, Start",
    c.V4L2_CID_AUTO_FOCUS_STOP: "Auto Focus, Stop",
    c.V4L2_CID_AUTO_FOCUS_STATUS: "Auto Focus, Status",
    c.V4L2_CID_AUTO_FOCUS_RANGE: "Auto Focus, Range",
    c.V4L2_CID_PAN_SPEED: "Pan, Speed",
    c.V4L2_CID_TILT_SPEED: "Tilt, Speed",
    c.V4L2_CID_UNIT_CELL_SIZE: "Unit Cell Size",
    c.V4L2_CID_CAMERA_ORIENTATION: "Camera Orientation",
    c.V4L2_CID_CAMERA_SENSOR_ROTATION: "Camera Sensor Rotation",
    c.V4L2_CID_JPEG_CLASS: "JPEG Compression Controls",
    c.V4L2_CID_JPEG_CHROMA_SUBSAMPLING: "Chroma Subsampling",
    c.V4L2_CID_JPEG_RESTART_INTERVAL: "Restart Interval",
    c.V4L2_CID_JPEG_COMPRESSION_QUALITY: "Compression Quality",
    c.V4L2_CID_JPEG_ACTIVE_MARKER: "Active Markers",
    c.V4L2_CID_IMAGE_SOURCE_CLASS: "Image Source Controls",
    c.V4L2_CID_VBLANK: "Vertical Blanking",
    c.V4L2_CID_HBLANK: "Horizontal Blanking",
    c.V4L2_CID_ANALOGUE_GAIN: "Analogue Gain",
    c.V4L2_CID_IMAGE_PROC_CLASS: "Image Processing Controls",
    c.V4L2_CID_LINK_FREQ: "Link Frequency",
    c.V4L2_CID_PIXEL_RATE: "Pixel Rate",
    c.V4L2_CID_TEST_PATTERN: "Test Pattern",
    c.V4L2_CID_DEINTERLACING_MODE: "Deinterlacing Mode",
    c.V4L2_CID_DIGITAL_GAIN: "Digital Gain",
    c.V4L2_CID_DETECT_CLASS: "Detection Controls",
    c.V4L2_CID_DETECT_MD_MODE: "Motion Detection Mode",
    c.V4L2_CID_DETECT_MD_GLOBAL_THRESHOLD: "MD Global Threshold",
    c.V4L2_CID_DETECT_MD_THRESHOLD_GRID: "MD Threshold Grid",
    c.V4L2_CID_DETECT_MD_REGION_GRID: "MD Region Grid",
}

_MENUS: dict[int, tuple[str, ...]] = {
    c.V4L2_CID_POWER_LINE_FREQUENCY: ("Disabled", "50 Hz", "60 Hz", "Auto"),
    c.V4L2_CID_EXPOSURE_AUTO: (
        "Auto Mode", "Manual Mode", "Shutter Priority Mode", "Aperture Priority Mode",
    ),
    c.V4L2_CID_EXPOSURE_METERING: ("Average", "Center Weighted", "Spot", "Matrix"),
    c.V4L2_CID_AUTO_FOCUS_RANGE: ("Auto", "Normal", "Macro", "Infinity"),
    c.V4L2_CID_COLORFX: (
        "None", "Black & White", "Sepia", "Negative", "Emboss", "Sketch", "Sky Blue",
        "Grass Green", "Skin Whiten", "Vivid", "Aqua", "Art Freeze", "Silhouette", "Solarization",
        "Antique", "Set Cb/Cr",
    ),
    c.V4L2_CID_AUTO_N_PRESET_WHITE_BALANCE: (
        "Manual", "Auto", "Incandescent", "Fluorescent", "Fluorescent H", "Horizon", "Daylight",
        "Flash", "Cloudy", "Shade",
    ),
    c.V4L2_CID_ISO_SENSITIVITY_AUTO: ("Manual", "Auto"),
    c.V4L2_CID_SCENE_MODE: (
        "None", "Backlight", "Beach/Snow", "Candle Light", "Dusk/Dawn", "Fall Colors", "Fireworks",
        "Landscape", "Night", "Party/Indoor", "Portrait", "Sports", "Sunset", "Text",
    ),
    c.V4L2_CID_JPEG_CHROMA_SUBSAMPLING: ("4:4:4", "4:2:2", "4:2:0", "4:1:1", "4:1:0", "Gray"),
    c.V4L2_CID_DETECT_MD_MODE: ("Disabled", "Global", "Threshold Grid", "Region Grid"),
    c.V4L2_CID_CAMERA_ORIENTATION: ("Front", "Back", "External"),
}  # fmt: skip

_BOOLEAN = {
    c.V4L2_CID_AUDIO_MUTE, c.V4L2_CID_AUDIO_LOUDNESS, c.V4L2_CID_AUTO_WHITE_BALANCE,
    c.V4L2_CID_AUTOGAIN, c.V4L2_CID_HFLIP, c.V4L2_CID_VFLIP, c.V4L2_CID_HUE_AUTO,
    c.V4L2_CID_CHROMA_AGC, c.V4L2_CID_COLOR_KILLER, c.V4L2_CID_AUTOBRIGHTNESS,
    c.V4L2_CID_EXPOSURE_AUTO_PRIORITY, c.V4L2_CID_FOCUS_AUTO, c.V4L2_CID_PRIVACY,
    c.V4L2_CID_ILLUMINATORS_1, c.V4L2_CID_ILLUMINATORS_2, c.V4L2_CID_WIDE_DYNAMIC_RANGE,
    c.V4L2_CID_IMAGE_STABILIZATION,
}  # fmt: skip
_BUTTON = {
    c.V4L2_CID_PAN_RESET, c.V4L2_CID_TILT_RESET, c.V4L2_CID_AUTO_FOCUS_START,
    c.V4L2_CID_AUTO_FOCUS_STOP, c.V4L2_CID_DO_WHITE_BALANCE,
    c.V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME,
}  # fmt: skip
_CLASSES = {number for number in _NAMES if number & 0xFFFF == 1}
_TYPES = {
    **dict.fromkeys(_BOOLEAN, c.V4L2_CTRL_TYPE_BOOLEAN),
    **dict.fromkeys(_BUTTON, c.V4L2_CTRL_TYPE_BUTTON),
    **dict.fromkeys(_MENUS, c.V4L2_CTRL_TYPE_MENU),
    **dict.fromkeys(
        (c.V4L2_CID_TEST_PATTERN, c.V4L2_CID_DEINTERLACING_MODE), c.V4L2_CTRL_TYPE_MENU
    ),
    **dict.fromkeys(
        (c.V4L2_CID_LINK_FREQ, c.V4L2_CID_ISO_SENSITIVITY, c.V4L2_CID_AUTO_EXPOSURE_BIAS),
        c.V4L2_CTRL_TYPE_INTEGER_MENU,
    ),
    **dict.fromkeys(_CLASSES, c.V4L2_CTRL_TYPE_CTRL_CLASS),
    **dict.fromkeys(
        (c.V4L2_CID_JPEG_ACTIVE_MARKER, c.V4L2_CID_3A_LOCK, c.V4L2_CID_AUTO_FOCUS_STATUS),
        c.V4L2_CTRL_TYPE_BITMASK,
    ),
    **dict.fromkeys(
        (c.V4L2_CID_MPEG_VIDEO_DEC_PTS, c.V4L2_CID_MPEG_VIDEO_DEC_FRAME, c.V4L2_CID_PIXEL_RATE),
        c.V4L2_CTRL_TYPE_INTEGER64,
    ),
    c.V4L2_CID_DETECT_MD_REGION_GRID: c.V4L2_CTRL_TYPE_U8,
    c.V4L2_CID_DETECT_MD_THRESHOLD_GRID: c.V4L2_CTRL_TYPE_U16,
    c.V4L2_CID_UNIT_CELL_SIZE: c.V4L2_CTRL_TYPE_AREA,
}

FIXED_RANGES = {
    **dict.fromkeys(_BOOLEAN, (0, 1, 1, None)),
    **dict.fromkeys(_BUTTON | _CLASSES, (0, 0, 0, 0)),
    **dict.fromkeys((c.V4L2_CID_BG_COLOR, c.V4L2_CID_COLORFX_RGB), (0, 0xFFFFFF, 1, None)),
    c.V4L2_CID_COLORFX_CBCR: (0, 0xFFFF, 1, None),
    c.V4L2_CID_MPEG_VIDEO_DEC_PTS: (0, 0x1FFFFFFFF, 1, 0),
    c.V4L2_CID_MPEG_VIDEO_DEC_FRAME: (0, 0x7FFFFFFFFFFFFFFF, 1, 0),
}
"""Minimum, maximum, step and default (None: the driver's) of controls where no driver chooses."""

_SLIDERS = (
    c.V4L2_CID_AUDIO_VOLUME, c.V4L2_CID_AUDIO_BALANCE, c.V4L2_CID_AUDIO_BASS,
    c.V4L2_CID_AUDIO_TREBLE, c.V4L2_CID_BRIGHTNESS, c.V4L2_CID_CONTRAST, c.V4L2_CID_SATURATION,
    c.V4L2_CID_HUE, c.V4L2_CID_RED_BALANCE, c.V4L2_CID_BLUE_BALANCE, c.V4L2_CID_GAMMA,
    c.V4L2_CID_SHARPNESS, c.V4L2_CID_CHROMA_GAIN, c.V4L2_CID_DETECT_MD_GLOBAL_THRESHOLD,
)  # fmt: skip
_RELATIVE = (
    c.V4L2_CID_PAN_RELATIVE, c.V4L2_CID_TILT_RELATIVE, c.V4L2_CID_FOCUS_RELATIVE,
    c.V4L2_CID_IRIS_RELATIVE, c.V4L2_CID_ZOOM_RELATIVE,
)  # fmt: skip
_READ_ONLY = (
    c.V4L2_CID_MIN_BUFFERS_FOR_CAPTURE, c.V4L2_CID_MIN_BUFFERS_FOR_OUTPUT, c.V4L2_CID_PIXEL_RATE,
    c.V4L2_CID_AUTO_FOCUS_STATUS, c.V4L2_CID_CAMERA_ORIENTATION, c.V4L2_CID_UNIT_CELL_SIZE,
    c.V4L2_CID_CAMERA_SENSOR_ROTATION,
)  # fmt: skip
_WRITES = c.V4L2_CTRL_FLAG_WRITE_ONLY | c.V4L2_CTRL_FLAG_EXECUTE_ON_WRITE
_FLAGS = {
    **dict.fromkeys(_SLIDERS, c.V4L2_CTRL_FLAG_SLIDER),
    **dict.fromkeys((*_RELATIVE, *_BUTTON), _WRITES),
    **dict.fromkeys(_READ_ONLY, c.V4L2_CTRL_FLAG_READ_ONLY),
    **dict.fromkeys(_CLASSES, c.V4L2_CTRL_FLAG_READ_ONLY | c.V4L2_CTRL_FLAG_WRITE_ONLY),
    **dict.fromkeys(
        (c.V4L2_CID_MPEG_VIDEO_DEC_PTS, c.V4L2_CID_MPEG_VIDEO_DEC_FRAME),
        c.V4L2_CTRL_FLAG_VOLATILE | c.V4L2_CTRL_FLAG_READ_ONLY,
    ),
    c.V4L2_CID_ROTATE: c.V4L2_CTRL_FLAG_MODIFY_LAYOUT,
}


def name_of(number: int) -> str | None:
    """Return what a standard control is called; None of one that is not known."""
    return _NAMES.get(number)


def menu_of(number: int) -> Sequence[str] | None:
    """Return the entries of a standard menu; None where the driver chooses them."""
    return _MENUS.get(number)


def type_of(number: int) -> int:
    """Return the type of a standard control."""
    return _TYPES.get(number, c.V4L2_CTRL_TYPE_INTEGER)


def flags_of(number: int) -> int:
    """Return the flags that a standard control has besides the driver's."""
    return _FLAGS.get(number, 0)
