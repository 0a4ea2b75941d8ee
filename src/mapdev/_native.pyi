"""The C extension: see native/native.h. Used by way of `mapdev.host.embedded.native` only."""

from collections.abc import Iterable
from typing import Any

VERSION: int

class Names:
    """Names by which a path may lead to something of the host's; any thread may change them."""

    def add(self, name: bytes, is_merged: bool, is_twice: bool = ..., /) -> None: ...
    def discard(self, name: bytes, is_merged: bool, /) -> None: ...

class Gate:
    """Passes on calls in clients; see native/gate.h. Used by its host's thread only."""

    def __new__(
        cls,
        names: Names,
        rules: Iterable[tuple[int, int, int, int, int, int, bool, bool]],
        prefixes: Iterable[bytes],
        base: int,
        secret: int,
        filters: int,
        /,
    ) -> Gate: ...
    def add_state(self, bits: int, stays: bool, /) -> None: ...
    def redirect(self, listener: int, notification: bytes | bytearray, /) -> bool: ...
    def close_in(self, tid: int, /) -> None: ...
    def counts(self) -> tuple[int, int]: ...
    def check(self, number: int, a: int, b: int, c: int, d: int, e: int, f: int, /) -> int: ...

class Quick:
    """Waits for calls of clients, and passes on those that concern no device."""

    def __new__(
        cls,
        epoll: int,
        listeners: dict[int, Any],
        links: dict[str, Any],
        names: Names,
        checks: Iterable[tuple[int, int, int, int, int, bool]],
        prefixes: Iterable[bytes],
        base: int,
        arch: int,
        page_size: int,
        /,
    ) -> Quick: ...
    def use(self, gate: Gate, /) -> None: ...
    def wait(
        self,
        due: float | None,
        needs_all_calls: bool,
        has_spaces: bool,
        roots_differ: bool,
        has_visitors: bool,
        may_wait: bool,
        /,
    ) -> tuple[list[tuple[int, int]], tuple[int, ...] | None]: ...
    def is_foreign(
        self,
        notification: bytes,
        needs_all_calls: bool,
        has_spaces: bool,
        roots_differ: bool,
        has_visitors: bool,
        may_wait: bool,
        /,
    ) -> bool: ...

def read_memory(pid: int, addr: int, size: int, /) -> bytes: ...
def write_memory(pid: int, addr: int, data: bytes, /) -> int: ...
def ptrace(request: int, tid: int, addr: int = ..., data: int = ..., /) -> int: ...
def pidfd_getfd(pidfd: int, fd: int, /) -> int: ...
def link_of(tid: int, fd: int, /) -> str: ...
def respond(listener: int, id: int, value: int, error: int, flags: int, /) -> bool: ...
