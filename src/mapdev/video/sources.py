"""Sources of pictures: `open_source` makes one from what a user wrote.

=====================  ====================================================================
``pattern``            a test picture with a running time (`mapdev.video.pattern`)
``still.png``          an image that Pillow reads
``directory/``         the images of a directory by their names, one after another, again and again
``movie.mp4``          a video file, again and again (`mapdev.video.movie`)
``file.py:name``       a Python function or generator of NumPy arrays; ``package.module:name`` too
=====================  ====================================================================

A function is called with the number of the picture, if it takes an argument. What it returns, or a
generator yields, is an array of shape (height, width, 3), uint8, RGB; or (height, width), uint8 or
uint16, grey; or `bytes`, a JPEG; or a Pillow image.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mapdev.video.pattern import Pattern, Picture
from mapdev.video.pixels import decode_jpeg
from mapdev.video.yuv import Pixels

__all__ = ["Source", "SourceError", "open_source", "picture_of"]

_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


class SourceError(ValueError):
    """There is no such source, or it gives what is no picture; the text says what to do."""


class Source(Protocol):
    """Gives pictures.

    :ivar size: width and height of its pictures, None if it draws them in any
    """

    size: tuple[int, int] | None

    def picture(self, number: int, seconds: float, size: tuple[int, int]) -> Picture:
        """Return a picture, not necessarily in `size`.

        :param number: of the picture, from 0; some may have been left out
        :param seconds: since the first one
        :param size: width and height that are wanted
        """


def picture_of(value: Any) -> Picture:
    """Make a picture of what a user's function returned.

    :raises SourceError: it is none
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return Picture(decode_jpeg(value), jpeg=bytes(value))
        except ValueError as error:
            raise SourceError(f"bytes are to be a JPEG: {error}") from error
    if hasattr(value, "convert"):  # a Pillow image
        value = value.convert("RGB")
    pixels = np.asarray(value)
    if pixels.ndim == 2 and pixels.dtype == np.uint8:
        pixels = pixels[..., None].repeat(3, 2)
    is_rgb = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if not (is_rgb or (pixels.ndim == 2 and pixels.dtype == np.uint16)) or not pixels.size:
        raise SourceError(
            f"a picture is an array of shape (height, width, 3) of uint8, or (height, width) of "
            f"uint8 or uint16, or a JPEG's bytes; not {pixels.dtype} of shape {pixels.shape}"
        )
    return Picture(pixels)


class Still:
    """Images, each shown for one picture, again and again; one image is a still."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._shown: tuple[int, Pixels] | None = None
        self.size: tuple[int, int] | None = None
        self.size = self.picture(0, 0, (0, 0)).pixels.shape[1::-1]
        self._shown = None

    def picture(self, number: int, seconds: float, size: tuple[int, int]) -> Picture:
        """Return image `number`, modulo how many there are."""
        from PIL import Image

        at = number % len(self._paths)
        if self._shown is not None and self._shown[0] == at:
            return Picture(self._shown[1], (0, 0))
        try:
            with Image.open(self._paths[at]) as image:
                self._shown = at, np.asarray(image.convert("RGB"))
        except OSError as error:
            raise SourceError(f"{self._paths[at]} is no image: {error}") from error
        return Picture(self._shown[1])


class Function:
    """A Python function that returns pictures, or a generator (function) that yields them."""

    def __init__(self, function: Any, name: str) -> None:
        self._function = function
        self._name = name
        self._rest: Iterator[Any] | None = None
        self._wants_number = False
        self._first: Picture | None = None
        if isinstance(function, Iterator):
            self._rest = function
        elif not callable(function):
            raise SourceError(f"{name} is no function and no generator, but {function!r:.60}")
        elif not inspect.isgeneratorfunction(function):
            self._wants_number = bool(inspect.signature(function).parameters)
        self._first = self._next(0)
        self.size: tuple[int, int] | None = self._first.pixels.shape[1::-1]

    def picture(self, number: int, seconds: float, size: tuple[int, int]) -> Picture:
        """Ask for the next picture."""
        if self._first is not None:
            first, self._first = self._first, None
            if number == 0 or not self._wants_number:
                return first
        return self._next(number)

    def _next(self, number: int) -> Picture:
        if self._rest is None and not inspect.isgeneratorfunction(self._function):
            return picture_of(self._function(*[number] * self._wants_number))
        for _ in range(2):  # a generator function that has come to its end is called again
            if self._rest is None:
                self._rest = self._function()
            for value in self._rest:
                return picture_of(value)
            if not inspect.isgeneratorfunction(self._function):
                break
            self._rest = None
        raise SourceError(f"{self._name} has no more pictures")


def _images(directory: Path) -> list[Path]:
    found = sorted(path for path in directory.iterdir() if path.suffix.lower() in _IMAGES)
    if not found:
        raise SourceError(f"{directory} has no images: {', '.join(sorted(_IMAGES))}")
    return found


def _load(text: str) -> Any:
    """Return what ``file.py:name`` or ``package.module:name`` means."""
    place, _, name = text.rpartition(":")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            if "" not in sys.path:
                sys.path.insert(0, "")  # modules of the current directory are found
            module = importlib.import_module(place)
    except Exception as error:
        raise SourceError(f"{place} can't be loaded: {error!r}") from error
    if not hasattr(module, name):
        raise SourceError(f"{place} has no {name!r}")
    return getattr(module, name)


def open_source(source: Any) -> Source:
    """Make a source of what a user wrote.

    :param source: text as in the module's table, a path; a function, generator, or `Source`
    :raises SourceError: there is none
    """
    if hasattr(source, "picture"):
        return source  # type: ignore[no-any-return]
    if isinstance(source, (str, Path)):
        return _from_text(str(source))
    return Function(source, getattr(source, "__name__", "the source"))


def _from_text(text: str) -> Source:
    if text == "pattern":
        return Pattern()
    path = Path(text)
    if path.is_dir():
        return Still(_images(path))
    if path.is_file():
        if path.suffix.lower() in _IMAGES:
            return Still([path])
        from mapdev.video.movie import open_movie

        return open_movie(path)
    if ":" in text:
        return Function(_load(text), text)
    raise SourceError(
        f"no source {text!r}: write pattern, the name of an image, a directory of images or a "
        "video file, or file.py:function"
    )
