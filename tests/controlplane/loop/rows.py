"""The lease's row, taken, seen, and moved by hand."""

from __future__ import annotations

from django.db import connection

from controlplane.loop import lease
from controlplane.loop.lease import Leadership, Term
from controlplane.models import LoopLease


def taken(holder: str = "a:1:x") -> Term:
    term = lease.take(holder)
    assert term is not None
    return term


def seen() -> Leadership:
    found = lease.peek()
    assert found is not None
    return found


def run_out() -> None:
    """The database's clock is nobody's to move: the end of the lease is moved instead."""
    LoopLease.objects.update(until_us=database_now_us() - 1_000)


def database_now_us() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + lease._NOW[connection.vendor])
        return int(cursor.fetchone()[0])
