"""Fixtures for tests of the embedded host; the modules in tests/hosts belong to these tests too."""

from client_fixtures import client, shell, start, static, warm

__all__ = ["client", "shell", "start", "static", "warm"]
