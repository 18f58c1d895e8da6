"""A lease row that moves by hand, and tasks that tell what they did."""

from __future__ import annotations

import pytest
from django.db import connection

from controlplane.loop import lease
from controlplane.models import LoopLease


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is one transaction: the limits set in it would hold for all that follows, on a machine that may be busy."""
    monkeypatch.setattr(lease, "STALLED_S", 600.0)


def run_out() -> None:
    """The database's clock is nobody's to move: the end of the lease is moved instead."""
    LoopLease.objects.update(until_us=database_now_us() - 1_000)


def database_now_us() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + lease._NOW[connection.vendor])
        return int(cursor.fetchone()[0])
