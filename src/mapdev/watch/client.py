"""Finds the hosts that run, and asks them: the other end of `mapdev.host.control_socket`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

from mapdev.host import place

__all__ = ["HostError", "ask", "find", "hosts", "watch"]

_PATIENCE = 15.0  # seconds


class HostError(Exception):
    """There is no such host, or it does not answer; the text says what to do."""


def hosts() -> list[str]:
    """Return the names of the hosts that run; sockets of those that were killed are removed."""
    found = []
    for name in place.names():
        try:
            _connect(name).close()
        except ConnectionRefusedError:
            os.unlink(place.path_of(name))  # noqa: PTH108
        except (OSError, ValueError):
            continue
        else:
            found.append(name)
    return found


def find(name: str | None) -> str:
    """Return the host that is meant: the one called `name`, or the only one there is.

    :raises HostError: there is none, or more than one.
    """
    running = hosts()
    if name is not None:
        if name in running:
            return name
        there = f"there are: {', '.join(running)}" if running else "no host runs"
        raise HostError(f"no host is called {name!r}; {there}")
    if len(running) == 1:
        return running[0]
    if not running:
        raise HostError(
            "no host of yours runs: start one with `mapdev run -d /dev/buf=vmalloc -- COMMAND`, or "
            "call listen() of a host in Python"
        )
    raise HostError(f"several hosts run; say which one: {', '.join(running)}")


def _connect(name: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_PATIENCE)
        connection.connect(place.path_of(name))
    except BaseException:
        connection.close()
        raise
    return connection


def _lines(name: str, request: str) -> Iterator[Any]:
    try:
        with _connect(name) as connection:
            connection.sendall(json.dumps({"ask": request}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                for number, line in enumerate(answers):
                    if not number:
                        connection.settimeout(None)
                    answer = json.loads(line)
                    if isinstance(answer, dict) and "error" in answer:
                        raise HostError(f"host {name}: {answer['error']}")
                    yield answer
    except OSError as error:
        raise HostError(f"host {name} does not answer: {error.strerror or error}") from None


def ask(name: str, request: str) -> Any:
    """Return the answer of host `name` to a request of one line.

    :raises HostError: it has ended, or is busy.
    """
    for answer in _lines(name, request):
        return answer
    raise HostError(f"host {name} has ended")


def watch(name: str) -> tuple[Any, Iterator[Any]]:
    """Watch host `name`: return its snapshot, and an iterator over what happens from now on.

    The iterator ends with the host.

    :raises HostError: it has ended, or is busy.
    """
    lines = _lines(name, "watch")
    head = next(lines, None)
    if head is None:
        raise HostError(f"host {name} has ended")
    return head["snapshot"], lines
