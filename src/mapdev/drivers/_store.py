"""An object of a store, for `remote`: look, fetch a part, replace parts. Any store of fsspec.

An object has a version: its ETag, or time and size. Whoever holds an `Object` has the object as it
was at one moment, `begin`; a part of another version is never given out, and never written over. A
store is asked for its version after each part that came, and before each write. It knows no "write
if it is still that one" that all stores have, so that a writer elsewhere who comes between our look
and our write is overwritten.

A file is written in place. Other stores know whole objects only: a changed one is put together in a
temporary file, which needs room for all of it, and sent. If that fails half-way, in a store where a
half of it is there then, the file is kept for the next try.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from mapdev.linux.log import log

__all__ = ["Object"]

# What stores of fsspec call the version of an object, and what a change of it shows in.
_VERSION = (
    "ETag", "etag", "generation", "sha", "Content-MD5", "Digest", "Last-Modified", "LastModified",
    "last_modified", "mtime", "modified", "modificationTime", "updated", "size", "ino",
)  # fmt: skip
_PACKAGES = {  # what to install for a store, if that is not fsspec with its name
    "https": "'fsspec[http]'", "s3a": "'fsspec[s3]'", "gcs": "'fsspec[gs]'", "az": "'fsspec[abfs]'",
    "abfss": "'fsspec[abfs]'", "webhdfs": "requests", "github": "requests",
}  # fmt: skip
_NO_WRITER = ("http", "https")  # fsspec would send a form there


class Object:
    """An object of a store.

    :ivar size: bytes.
    :ivar version: by what a change of it is told.
    :ivar changed: the store has another one by now.
    """

    def __init__(self, url: str, writable: bool) -> None:
        """Find the object.

        :param writable: `replace` will be called.
        :raises OSError: ENOPKG, a package is missing; EINVAL, the URL names no store; EIO, the
            store does not answer, or says neither how long the object is nor by what to tell a
            change; EACCES, EROFS, it can't be written.
        """
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise OSError(
                errno.ENOPKG, f"{url} needs fsspec: pip install 'mapdev[remote]'"
            ) from None
        protocol = url.partition("://")[0] if "://" in url else "file"
        try:
            self._store, self.path = url_to_fs(
                url, skip_instance_cache=True, use_listings_cache=False
            )
        except ImportError as error:
            package = _PACKAGES.get(protocol, f"'fsspec[{protocol}]'")
            raise OSError(
                errno.ENOPKG, f"{url} needs a package: pip install {package} ({error})"
            ) from None
        except ValueError as error:
            raise OSError(errno.EINVAL, f"{url}: {error}") from None
        except Exception as error:
            raise OSError(errno.EIO, f"{url}: {error!r}") from None
        self._is_file = "file" in _protocols(self._store)
        self._unsent: IO[bytes] | None = None  # all of it, if a part of it may have been sent
        self.begin()
        if writable:
            self._check_writable(protocol)

    def _check_writable(self, protocol: str) -> None:
        if protocol in _NO_WRITER:
            raise OSError(errno.EROFS, f"{self.path}: a web server's pages can be read only")
        if self._is_file and not os.access(self.path, os.W_OK):
            code = (
                errno.EROFS
                if os.access(self.path, os.R_OK) and _is_on_read_only(self.path)
                else errno.EACCES
            )
            raise OSError(code, f"{self.path}: {os.strerror(code)}")

    def begin(self) -> None:
        """Take the object as it is now.

        :raises OSError: EIO, it can't be had.
        """
        self.version = self._look()
        self.size = int(self.version["size"])
        self.changed = False
        self._forget_unsent()

    def close(self) -> None:
        """Forget what is kept here of it."""
        self._forget_unsent()

    def is_same(self) -> bool:
        """Say whether the store has it as it was at the beginning.

        :raises OSError: EIO, the store does not answer.
        """
        self.changed = self.changed or self._look() != self.version
        return not self.changed

    def _look(self) -> dict[str, Any]:
        """Return size and version of the object as it is in the store."""
        try:
            self._store.invalidate_cache()
            found = self._store.info(self.path)
        except Exception as error:
            raise OSError(errno.EIO, f"{self.path}: {error!r}") from None
        if found.get("size") is None:
            raise OSError(errno.EIO, f"{self.path}: the store does not say how long it is")
        version = {name: str(found[name]) for name in _VERSION if found.get(name) is not None}
        if len(version) == 1:  # in memory, say: the store may tell when asked
            try:
                version["modified"] = str(self._store.modified(self.path))
            except Exception:
                raise OSError(
                    errno.EIO,
                    f"{self.path}: the store has neither ETag nor time to tell a change by",
                ) from None
        return version

    def fetch(self, start: int, end: int) -> bytes:
        """Return bytes of the object, as it was at the beginning.

        :raises OSError: EIO, they can't be had, and the log says why.
        """
        try:
            if self.changed:
                raise OSError(errno.EIO, f"{self.path} has changed; open it anew")
            try:
                data: bytes = self._store.cat_file(self.path, start=start, end=end)
            except Exception as error:
                raise OSError(errno.EIO, f"{self.path}: {error!r}") from None
            if not self.is_same():
                raise OSError(errno.EIO, f"{self.path} has changed in the store; open it anew")
            if len(data) != end - start:
                raise OSError(
                    errno.EIO,
                    f"{self.path}: {len(data)} bytes came of {end - start}"
                    + (": its server knows no ranges" if len(data) > end - start else ""),
                )
        except OSError as error:
            log.error("remote: %s", error.strerror)
            raise
        return data

    def replace(self, parts: Mapping[int, bytes]) -> None:
        """Write parts of the object, by where they begin, and take it as it is then.

        :raises OSError: EIO, it has changed, or the store failed; EACCES, EROFS, ENOSPC, EDQUOT, it
            refuses. The log says why, and all of it is still to be written.
        """
        try:
            if not self.is_same():
                raise OSError(
                    errno.EIO, f"{self.path} has changed in the store: it is not written over"
                )
            try:
                if self._is_file:
                    self._write_in_place(parts)
                else:
                    self._send_whole(parts)
            except Exception as error:
                self._refuse(error)
        except OSError as error:
            log.error("remote: %s", error.strerror)
            raise
        size = self.size
        self.begin()
        self.changed = self.size != size

    def _write_in_place(self, parts: Mapping[int, bytes]) -> None:
        try:
            with Path(self.path).open("r+b", buffering=0) as file:
                for start, data in parts.items():
                    if os.pwrite(file.fileno(), data, start) != len(data):
                        raise OSError(errno.ENOSPC, "no space left")
                os.fsync(file.fileno())
        except OSError:
            self.version = self._look()  # a part that was written is ours
            raise

    def _send_whole(self, parts: Mapping[int, bytes]) -> None:
        whole = self._unsent
        if whole is None:
            whole = self._unsent = tempfile.NamedTemporaryFile(prefix="mapdev-remote-")  # noqa: SIM115
            try:
                self._store.get_file(self.path, whole.name)
                if whole.seek(0, os.SEEK_END) != self.size or not self.is_same():
                    raise OSError(errno.EIO, "it has changed meanwhile")
            except BaseException:
                self._forget_unsent()
                raise
        for start, data in parts.items():
            os.pwrite(whole.fileno(), data, start)
        try:
            self._store.put_file(whole.name, self.path)
        except Exception:
            now = self._look()
            if now == self.version:
                self._forget_unsent()  # nothing has been done
            else:
                self.version = now  # that is a part of ours: the rest is sent the next time
            raise

    def _forget_unsent(self) -> None:
        if self._unsent is not None:
            self._unsent.close()
            self._unsent = None

    def _refuse(self, error: Exception) -> NoReturn:
        code = getattr(error, "errno", None)
        if isinstance(error, NotImplementedError):
            code = errno.EROFS
        elif isinstance(error, PermissionError):
            code = code or errno.EACCES
        if code not in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            code = errno.EACCES if code == errno.EPERM else errno.EIO
        raise OSError(code, f"{self.path} can't be written: {error!r}") from None


def _protocols(store: Any) -> tuple[str, ...]:
    return (store.protocol,) if isinstance(store.protocol, str) else tuple(store.protocol)


def _is_on_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
