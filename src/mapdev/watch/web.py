"""Shows a host in a browser: one page that needs nothing else, served on loopback, with a token.

The page gets the snapshot and the events, each with its line of text and its calls as C, and draws
them. `standalone` puts all that into the page: a file for a lecture, which needs no host.

Who knows no token gets nothing: other users of the machine can reach a port of loopback too. The
name by which the page is asked for has to be an address of loopback, so that no page from elsewhere
reaches it through a name of its own.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mapdev.host.core.snapshot import vm_flags
from mapdev.watch.as_c import lines
from mapdev.watch.client import HostError
from mapdev.watch.model import State
from mapdev.watch.plain import summary

__all__ = ["Page", "standalone"]

_EMPTY = '<script type="application/json" id="data">null</script>'
_MOST = 10_000  # events that are kept
_IN_ONE = 2_000  # events of one answer
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"
)


def _template() -> str:
    return (Path(__file__).parent / "page.html").read_text(encoding="utf-8")


def dressed(event: list[Any]) -> dict[str, Any]:
    """Return an event with what the page shows of it: its line of text, and its calls as C."""
    code = [str(line) for line in lines(event[-1], event[-2])] if event[2] == "call" else []
    if event[2] == "areas":
        event = [*event[:-1], [{**area, "flags": vm_flags(area["vm_flags"])} for area in event[-1]]]
    return {"e": event, "s": summary(event), "c": code}


def _with_flags(snapshot: dict[str, Any]) -> dict[str, Any]:
    processes = [
        {**process, "areas": [
            {**area, "flags": vm_flags(area["vm_flags"])} for area in process["areas"]
        ]}
        for process in snapshot["processes"]
    ]  # fmt: skip
    return {**snapshot, "processes": processes}


def standalone(name: str, snapshot: dict[str, Any], events: Iterable[list[Any]]) -> str:
    """Return the page with everything in it."""
    data = {"name": name, "snapshot": _with_flags(snapshot), "events": list(map(dressed, events))}
    text = json.dumps(data).replace("<", "\\u003c")
    return _template().replace(_EMPTY, _EMPTY.replace("null", text))


class Page:
    """Serves the page of one host until `close`.

    :param name: of the host.
    :param events: what happens; taken in a thread.
    :ivar url: where the page is, with its token.
    """

    def __init__(
        self, name: str, snapshot: dict[str, Any], events: Iterator[list[Any]], port: int = 0
    ) -> None:
        self._name = name
        self._lock = threading.Lock()  # for these four
        self._snapshot = _with_flags(snapshot)
        self._events: list[dict[str, Any]] = []
        self._forgotten = 0  # events that the snapshot has taken in
        self._ended = ""
        self.token = secrets.token_urlsafe(16)
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing of requests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/?token={self.token}"
        threading.Thread(target=self._take, args=(events,), daemon=True).start()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, events: Iterator[list[Any]]) -> None:
        try:
            for event in events:
                with self._lock:
                    self._events.append(dressed(event))
                    if len(self._events) > _MOST + _IN_ONE:
                        self._forget(_IN_ONE)
            self._ended = "the host has ended"
        except HostError as error:
            self._ended = str(error)

    def _forget(self, count: int) -> None:
        """Let the snapshot take in the oldest events."""
        state = State(self._snapshot)
        for event in self._events[:count]:
            state.apply(event["e"])
        self._snapshot = state.snapshot(self._snapshot)
        self._forgotten += count
        del self._events[:count]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request of the page."""
        asked = urlsplit(request.path)
        values = parse_qs(asked.query)
        token = values.get("token", [""])[0]
        host = request.headers.get("Host", "")
        if host not in (f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
            _send(request, 421, "text/plain", "this page is for 127.0.0.1")
        elif not hmac.compare_digest(token.encode(), self.token.encode()):
            _send(request, 403, "text/plain", "the address has no token, or another one")
        elif asked.path == "/":
            _send(request, 200, "text/html", _template())
        elif asked.path == "/events":
            after = values.get("after", ["0"])[0]
            body = self._since(int(after) if after.isdigit() else 0)
            _send(request, 200, "application/json", json.dumps(body))
        else:
            _send(request, 404, "text/plain", "there is no such page")

    def _since(self, after: int) -> dict[str, Any]:
        """Return the events after the first `after`; the snapshot, too, to who has none yet.

        A page that was left behind by more than is kept gets the snapshot again.
        """
        with self._lock:
            ended = self._ended  # before the events are looked at: there are no more then
            is_new = after < max(1, self._forgotten)
            at = 0 if is_new else after - self._forgotten
            events = self._events[at : at + _IN_ONE]
            following = self._forgotten + at + len(events)
            found = {"events": events, "next": following, "ended": ended}
            if is_new:
                found |= {"snapshot": self._snapshot, "name": self._name}
            return found

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


def _send(request: BaseHTTPRequestHandler, status: int, kind: str, text: str) -> None:
    body = text.encode()
    request.send_response(status)
    request.send_header("Content-Type", f"{kind}; charset=utf-8")
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Content-Security-Policy", _POLICY)
    request.send_header("Cache-Control", "no-store")
    request.send_header("Referrer-Policy", "no-referrer")
    request.send_header("X-Content-Type-Options", "nosniff")
    request.end_headers()
    request.wfile.write(body)
