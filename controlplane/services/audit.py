"""The audit of a realm, looked through and taken out: filters, the head of its chain, the last verification, exports."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db.models import Q, QuerySet

from controlplane.models import OperationRun
from controlplane.models.jobs import DONE
from controlplane.services.realms import AUDIT_VIEW, realm_named, require_in
from controlplane.services.rights import EXPORT, control_realm, on_page, require
from permissions import audit
from permissions.bundle.compact import date_text
from permissions.bundle.fields import BadDateError, parse_date
from permissions.errors import Invalid, Problem
from permissions.models import AuditEvent
from permissions.writing import Actor, run_write

AUDIT_PAGE: Final = on_page("audit")
PAGE: Final = 50
# Rows of one export. More is what a backup is for; whoever is told to narrow it knows that something is missing.
MOST_EXPORTED: Final = 100_000
CHUNK: Final = 500
# Events that a search by subject looks into: their contents have no index.
LOOKED_AT: Final = 50_000
MAX_TEXT: Final = 600
FORMATS: Final = ("csv", "jsonl")
COLUMNS: Final = (
    "seq", "at", "actor", "actor_kind", "action", "object_type", "object_id", "reason", "request_id", "revision", "before",
    "after", "hash",
)  # fmt: skip
# What a spreadsheet takes for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_ERASED: Final = audit.ERASED


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty: any. `object`: `type` or `type id`. `since` and `until`: RFC 3339, or a day."""

    actor: str = ""
    action: str = ""
    object: str = ""
    subject: str = ""
    request_id: str = ""
    revision: str = ""
    since: str = ""
    until: str = ""

    @property
    def is_empty(self) -> bool:
        return not any(getattr(self, one.name) for one in fields(self))


NAMES: Final = tuple(one.name for one in fields(Filter))


def filter_of(read: Callable[[str], str]) -> Filter:
    return Filter(**{name: read(name) for name in NAMES})


def events(actor: Actor, realm_name: str, wanted: Filter) -> QuerySet[AuditEvent]:
    """Newest first. Raises Forbidden, NotFound for a realm that is not there, Invalid naming the filter that cannot be read."""
    realm = realm_named(actor, realm_name)
    require_in(actor, AUDIT_VIEW, realm.name)
    rows = AuditEvent.objects.filter(realm_name=realm.name)
    return rows.filter(_condition(realm.name, wanted)).order_by("-seq")


def _condition(realm_name: str, wanted: Filter) -> Q:
    wrong = []
    found = Q()
    for name in NAMES:
        text = getattr(wanted, name)
        if not text:
            continue
        # U+0000 is an error of PostgreSQL that names no filter.
        if len(text) > MAX_TEXT or not text.isprintable():
            wrong.append(Problem(name, f"must be at most {MAX_TEXT} printable characters"))
            continue
        try:
            found &= _READERS[name](realm_name, text)
        except ValueError as error:
            wrong.append(Problem(name, str(error)))
    if wrong:
        raise Invalid(wrong)
    return found


def _object(_realm: str, text: str) -> Q:
    kind, _, ident = text.partition(" ")
    return Q(object_type=kind, object_id=ident) if ident else Q(object_type=kind) | Q(object_id=kind)


def _subject(realm: str, text: str) -> Q:
    """The subject itself, and what names it as its holder; not its teams, which are objects of their own."""
    last = AuditEvent.objects.filter(realm_name=realm).order_by("-seq").values_list("seq", flat=True).first() or 0
    about = Q(object_type__in=("subject", "session"), object_id=text) | Q(before__subject=text) | Q(after__subject=text)
    return Q(seq__gt=last - LOOKED_AT) & about


def _revision(_realm: str, text: str) -> Q:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError("must be a whole number")
    return Q(revision=int(text))


def instant(text: str) -> dt.datetime:
    """RFC 3339; a day means its beginning, and what a browser's field says is UTC. Raises ValueError."""
    if len(text) == 10:
        text = f"{text}T00:00:00Z"
    elif len(text) in (16, 19) and "T" in text:
        text = f"{text}:00Z" if len(text) == 16 else f"{text}Z"
    try:
        return parse_date(text)
    except BadDateError as error:
        raise ValueError(str(error)) from error


_READERS: Final[Mapping[str, Callable[[str, str], Q]]] = {
    "actor": lambda _realm, text: Q(actor=text),
    "action": lambda _realm, text: Q(action=text),
    "object": _object,
    "subject": _subject,
    "request_id": lambda _realm, text: Q(request_id=text),
    "revision": _revision,
    "since": lambda _realm, text: Q(at__gte=instant(text)),
    "until": lambda _realm, text: Q(at__lt=instant(text)),
}


def event_line(event: AuditEvent) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": date_text(event.at),
        "actor": event.actor,
        "actor_kind": event.actor_kind,
        "action": event.action,
        "object_type": event.object_type,
        "object_id": event.object_id,
        "reason": event.reason,
        "request_id": event.request_id,
        "revision": event.revision,
        "before": event.before,
        "after": event.after,
        "hash": event.hash,
    }


# The chain
def head(realm_name: str) -> dict[str, Any] | None:
    """The newest entry of the chain: what to compare with a head that was kept elsewhere. None: no entry yet."""
    last = AuditEvent.objects.filter(realm_name=realm_name).order_by("-seq").first()
    return None if last is None else {"seq": last.seq, "at": date_text(last.at), "hash": last.hash}


def last_verification(realm_name: str) -> dict[str, Any] | None:
    """The newest finished walk over this realm's chain by a job; None where there is none that is kept."""
    runs = OperationRun.objects.filter(kind="verify_audit", state=DONE).order_by("-created_at")[:20]
    for run in runs:
        for chain in (run.result or {}).get("chains", ()):
            if chain["realm"] == realm_name and run.ended_at is not None:
                return {"at": date_text(run.ended_at), "by": run.actor, **chain}
    return None


# Taking out
def export_begin(
    actor: Actor, realm_name: str, wanted: Filter, kind: str, request_id: str = ""
) -> tuple[QuerySet[AuditEvent], int]:
    """The rows, and how many; recorded before the first of them leaves. Raises Forbidden, NotFound, Invalid."""
    require(actor, EXPORT, AUDIT_PAGE)
    if kind not in FORMATS:
        raise Invalid([Problem("format", f"must be one of {', '.join(FORMATS)}")])
    rows = events(actor, realm_name, wanted)
    # Those that come in while it runs, its own entry among them, are not of it.
    last = rows.values_list("seq", flat=True).first() or 0
    rows = rows.filter(seq__lte=last)
    number = rows[: MOST_EXPORTED + 1].count()
    if number > MOST_EXPORTED:
        raise Invalid([Problem("", f"more than {MOST_EXPORTED} entries match: narrow it by since and until")])
    told: dict[str, object] = {"realm": realm_name, "format": kind, "entries": number}
    told |= {name: getattr(wanted, name) for name in NAMES if getattr(wanted, name)}
    run_write(
        control_realm(),
        actor,
        "",
        lambda write: write.record("control_audit_export", "audit", realm_name, None, told),
        request_id=request_id,
    )
    return rows, number


async def exported(rows: QuerySet[AuditEvent], kind: str) -> AsyncIterator[bytes]:
    """Piece by piece, oldest first: the whole is never in memory."""
    if kind == "csv":
        yield csv_text([COLUMNS]).encode()
    after = 0
    while True:
        chunk = await sync_to_async(_chunk)(rows, after)
        if not chunk:
            return
        after = chunk[-1].seq
        yield (csv_text(_cells(event) for event in chunk) if kind == "csv" else _json_lines(chunk)).encode()


def _chunk(rows: QuerySet[AuditEvent], after: int) -> list[AuditEvent]:
    return list(rows.filter(seq__gt=after).order_by("seq")[:CHUNK])


def _json_lines(chunk: Sequence[AuditEvent]) -> str:
    return "".join(json.dumps(event_line(event), ensure_ascii=False) + "\n" for event in chunk)


def _cells(event: AuditEvent) -> list[str]:
    line = event_line(event)
    return [_cell(line[name]) for name in COLUMNS]


def _cell(value: Any) -> str:
    """A text that a spreadsheet does not compute: what was typed by somebody must not run on the desk of whoever reads it."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_text(lines: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    return out.getvalue()


def is_erased(event: AuditEvent) -> bool:
    return _ERASED in (event.before, event.after)
