"""Run the Python examples of the documentation as tests: README.md and docs/**/*.md.

The examples of one document share a namespace, in their order, and an embedded host named `host`
inside which they run, so that they may call the kernel's functions. A document passes only if its
drivers leave nothing behind. An example that is not to be run has `<!-- skip: next -->` before it.
"""

from __future__ import annotations

from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import mapdev


def _enter_host(namespace: dict[str, Any]) -> None:
    host = mapdev.host(memory="64M").__enter__()
    namespace.update(host=host, _document_host=host)  # an example may have a `host` of its own


def _leave_host(namespace: dict[str, Any]) -> None:
    host = namespace["_document_host"]
    host.__exit__(None, None, None)
    assert not host.leaks, f"the examples left behind: {host.leaks}"


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
    setup=_enter_host,
    teardown=_leave_host,
).pytest()
