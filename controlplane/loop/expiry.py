"""Expiry events: a binding, membership, role or key that has reached its end is told once, as `permission.expired`.

No decision depends on it: every check compares the ends with the database's clock itself. The cursor lies in the lease's row and
moves in the transaction that tells, so a new leader goes on where the last one was.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.db import connection
from django.db.models import Q, QuerySet

from controlplane.loop.lease import Act, Term
from permissions.models import ApiKey, Membership, Role, RoleBinding
from resilience import telemetry

log = logging.getLogger("controlplane.loop")

# Ends told in one transaction: some milliseconds, and news that a listener's queue holds.
BATCH: Final = 200
# Lines of the log in one step; the rest is counted.
SHOWN: Final = 20
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

# kind → its rows, and the columns that become realm, id, subject (empty where none) and end. A revoked key had its end before.
KINDS: Final[dict[str, tuple[Callable[[], QuerySet[Any]], tuple[str, str, str, str]]]] = {
    "binding": (RoleBinding.objects.all, ("realm__name", "pk", "subject__ref", "valid_until")),
    "membership": (Membership.objects.all, ("team__realm__name", "pk", "member__ref", "valid_until")),
    "role": (Role.objects.all, ("realm__name", "name", "", "valid_until")),
    "key": (partial(ApiKey.objects.filter, revoked_at=None), ("realm__name", "prefix", "subject__ref", "valid_until")),
}
Place = list[int]  # [end in microseconds, row's number]: everything up to and including it has been told


@dataclass(slots=True)
class Expiry:
    batch: int = BATCH
    name: str = "expiry"
    interval_s: float = 1.0

    def look(self, term: Term) -> bool:
        places = term.cursors.get(self.name)
        return places is None or anything_ended(places)

    def step(self, act: Act) -> bool:
        if act.cursor is None:
            # The first leader of all: what had ended before anybody listened is no news.
            act.cursor = {kind: [act.now_us, 0] for kind in KINDS}
            return False
        places: dict[str, Place] = dict(act.cursor)
        news: list[dict[str, Any]] = []
        for kind, (_, columns) in KINDS.items():
            left = self.batch - len(news)
            wanted = ("pk", *(column for column in columns if column))
            for row in ended(kind, places[kind], act.now_us).values(*wanted)[:left] if left else ():
                values: list[Any] = [row[column] if column else None for column in columns]
                realm, name, subject, end = values
                until_us = _us(end)
                places[kind] = [until_us, row["pk"]]
                news.append({"kind": kind, "realm": realm, "id": str(name), "subject": subject or "", "until_us": until_us})
        act.cursor = places
        act.told(partial(tell, news))
        return len(news) == self.batch


def anything_ended(places: dict[str, Place]) -> bool:
    """Whether `ended` has anything for any kind; one statement for all, since it is asked each second."""
    # Not clock_timestamp(): a volatile bound is no bound of an index, and every end to come would be read.
    now = "statement_timestamp()" if connection.vendor == "postgresql" else "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')"
    asked, values = [], []
    for kind, (rows, _) in KINDS.items():
        also = " AND revoked_at IS NULL" if kind == "key" else ""
        asked.append(
            f"EXISTS (SELECT 1 FROM {rows().model._meta.db_table} "  # noqa: S608 - names of ours
            f"WHERE valid_until >= %s AND valid_until <= {now} AND (valid_until > %s OR id > %s){also})"
        )
        since = connection.ops.adapt_datetimefield_value(_moment(places[kind][0]))
        values += [since, since, places[kind][1]]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {' OR '.join(asked)}", values)
        return bool(cursor.fetchone()[0])


def ended(kind: str, place: Place, now_us: int) -> QuerySet[Any]:
    """Rows of a kind that ended after `place` and not after `now_us`, in the order of their ends."""
    rows, _ = KINDS[kind]
    since, until = _moment(place[0]), _moment(now_us)
    return (
        rows()
        .filter(valid_until__gte=since, valid_until__lte=until)
        .filter(Q(valid_until__gt=since) | Q(pk__gt=place[1]))
        .order_by("valid_until", "pk")
    )


def _moment(at_us: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=at_us)


def _us(end: dt.datetime) -> int:
    return (end - _EPOCH) // dt.timedelta(microseconds=1)


def tell(news: list[dict[str, Any]]) -> None:
    """Just before the commit: a leader that is killed in between tells them again, with the same kind, id and end."""
    for item in news:
        telemetry.emit("permission.expired", **item)
        telemetry.count("permsite_loop_expired_total", item["kind"])
    for item in news[:SHOWN]:
        log.info(
            "has ended: %s %s", item["kind"], item["id"], extra={name: item[name] for name in ("realm", "subject", "until_us")}
        )
    if len(news) > SHOWN:
        log.info("has ended: %s more", len(news) - SHOWN)
