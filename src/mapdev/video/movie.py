"""`Movie`: the pictures of a video file, decoded by PyAV or by the ffmpeg program.

PyAV is used if it is installed (``pip install av``), else the program. Pictures come in the order
of the file, each once, whatever the file's rate is; after the last comes the first.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mapdev.video.pattern import Picture
from mapdev.video.sources import SourceError
from mapdev.video.yuv import Pixels

__all__ = ["Movie", "open_movie"]


class Movie:
    """A video file.

    :param decode: gives the pictures of the file, from the first
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self.size: tuple[int, int] | None = size
        self._path = path
        self._rest: Iterator[Pixels] = iter(())

    def picture(self, number: int, seconds: float, size: tuple[int, int]) -> Picture:
        """Return the next picture."""
        for _ in range(2):
            for pixels in self._rest:
                return Picture(pixels)
            self._rest = self.decode()
        raise SourceError(f"{self._path} has no pictures")

    def decode(self) -> Iterator[Pixels]:
        """Give the pictures of the file, from the first."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop decoding."""
        self._rest = iter(())


class _ByPyAV(Movie):
    def __init__(self, path: Path) -> None:
        self._path = path
        first = next(self.decode(), None)
        if first is None:
            raise SourceError(f"{path} has no pictures")
        super().__init__(path, (first.shape[1], first.shape[0]))

    def decode(self) -> Iterator[Pixels]:
        import av

        try:
            with av.open(str(self._path)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, IndexError) as error:
            raise SourceError(f"{self._path} is no video file: {error}") from error


class _ByProgram(Movie):
    def __init__(self, path: Path, ffmpeg: str) -> None:
        command = [
            "ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
            "stream=width,height", "-of", "csv=p=0:s=x", str(path),
        ]  # fmt: skip
        command[0] = str(Path(ffmpeg).with_name("ffprobe"))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        width, _, height = done.stdout.split("\n")[0].strip("x").partition("x")
        if not width.isdecimal() or not height.isdecimal():
            raise SourceError(f"{path} is no video file: {done.stderr.strip() or 'no pictures'}")
        super().__init__(path, (int(width), int(height)))
        self._ffmpeg = ffmpeg

    def decode(self) -> Iterator[Pixels]:
        assert self.size is not None
        width, height = self.size
        command = [
            self._ffmpeg, "-v", "error", "-nostdin", "-noautorotate", "-i", str(self._path),
            "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            try:
                while data := _read(process.stdout, width * height * 3):
                    yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
            finally:
                process.kill()


def _read(stream: object, size: int) -> bytes:
    """Read all of `size` bytes; nothing at the end, where a part is left out."""
    parts: list[bytes] = []
    while size and (part := stream.read(size)):  # type: ignore[attr-defined]
        parts.append(part)
        size -= len(part)
    return b"" if size else b"".join(parts)


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def open_movie(path: Path) -> Movie:
    """Open a video file.

    :raises SourceError: it is none, or there is nothing to decode it
    """
    if has_pyav():
        return _ByPyAV(path)
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise SourceError(
            f"{path} may be a video file, which PyAV or ffmpeg decode: pip install av, or "
            "apt-get install ffmpeg"
        )
    return _ByProgram(path, ffmpeg)
