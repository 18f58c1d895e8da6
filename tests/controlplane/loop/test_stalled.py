"""PostgreSQL ends an act that stands still: its holder may be frozen, with the lease's row locked."""

from __future__ import annotations

import pytest
from django.db import connection

from controlplane.loop import lease
from tests.controlplane.loop.rows import taken


@pytest.mark.django_db(transaction=True)
def test_an_act_says_how_long_it_may_stand_still_and_only_the_act(monkeypatch):
    monkeypatch.setattr(lease, "STALLED_S", 5.0)
    term = taken("a")
    with lease.acting(term, "sweep"), connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('idle_in_transaction_session_timeout'), current_setting('statement_timeout'), "
            "current_setting('lock_timeout')"
        )
        assert cursor.fetchone() == ("5s", "5s", "2s")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout')")
        assert cursor.fetchone() == ("0",)
