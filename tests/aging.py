"""How old what a process knows is, moved by tests; and the database taken away from its cache."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from permissions import revisions
from permissions.cache import database
from permissions.cache.realm import STATES


def age(seconds: float, realm: str = "default") -> None:
    """As if the head had been asked for `seconds` earlier."""
    STATES[realm].known_head_ns -= int(seconds * 1e9)


def never_age(realm: str = "default") -> None:
    """A machine that stalls between two checks is no failure."""
    STATES[realm].known_head_ns += 10**15


def as_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the writes that follow were another process's: nothing tells this one."""
    monkeypatch.setattr("permissions.writing._listeners", [])


class Gone:
    """A database that answers nobody. `asked`: how often it was tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._patch = monkeypatch.context()
        inner = self._patch.__enter__()
        inner.setattr(database, "_port", lambda: self)
        inner.setattr(database, "_read_model", self._fail)
        inner.setattr(revisions, "head", self._fail)

    def come_back(self) -> None:
        self._patch.__exit__(None, None, None)

    def read_heads(self, *_: object) -> None:
        self._fail()

    def read_snapshots(self, *_: object) -> None:
        self._fail()

    def _fail(self, *_: object, **__: object) -> None:
        self.asked += 1
        raise OperationalError("the server closed the connection")
