"""What `mapdev.subsystems.v4l2` offers is documented, with the kernel's file that says the same."""

import importlib
import inspect
import pkgutil

import pytest

from mapdev.subsystems import v4l2

MADE = {"constants", "structures"}
OWN = {"UapiStructure", "UapiUnion", "IOCTL_OPS"}  # no counterpart in the kernel
MODULES = [info.name for info in pkgutil.iter_modules(v4l2.__path__) if info.name not in MADE]


@pytest.mark.parametrize("name", MODULES)
def test_each_name_has_its_source(name):
    module = importlib.import_module(f"mapdev.subsystems.v4l2.{name}")
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        is_own = inspect.isfunction(value) or inspect.isclass(value)
        if not is_own or public in OWN or value.__module__ != module.__name__:
            continue
        if name in ("ctrl_types", "ctrl_names", "ctrl_cluster", "formats", "vb2_fileio",
                    "ioctl_table", "event", "vb2_memory", "valid_ioctls", "vb2_prepare") and not public.startswith(
                    ("v4l2_", "vb2_", "V4l2", "Vb2")):  # fmt: skip
            continue  # inner parts
        assert "Source:" in (value.__doc__ or ""), f"{name}.{public}"


def test_operations_are_found_by_their_names():
    ops = v4l2.V4l2IoctlOps(vidioc_querycap=print)
    assert ops.vidioc_querycap is print and ops.vidioc_g_fmt_vid_cap is None
    with pytest.raises(TypeError, match="vidioc_querycapp"):
        v4l2.V4l2IoctlOps(vidioc_querycapp=print)
    with pytest.raises(AttributeError):
        ops.vidioc_nonsense  # noqa: B018


def test_macros():
    assert v4l2.v4l2_fourcc("Y", "U", "Y", "V") == v4l2.V4L2_PIX_FMT_YUYV
    assert v4l2.V4L2_TYPE_IS_OUTPUT(v4l2.V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE)
    assert not v4l2.V4L2_TYPE_IS_OUTPUT(v4l2.V4L2_BUF_TYPE_VIDEO_CAPTURE)
    assert v4l2.V4L2_TYPE_IS_MULTIPLANAR(v4l2.V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE)
    assert v4l2.V4L2_CTRL_ID2WHICH(v4l2.V4L2_CID_BRIGHTNESS) == v4l2.V4L2_CTRL_CLASS_USER
