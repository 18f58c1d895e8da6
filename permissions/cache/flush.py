"""Flush: what an operator wants every process to forget, as a row of the changelog, counted first.

Correctness never needs it. As a revision it reaches each process with Redis dead, is audited, and no older value of the second
layer can be proven past it. Source: consistency, section 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import connection

from permissions import triggers
from permissions.cache import catch_up
from permissions.cache.targets import ALL, PATTERNS, TAGS, matcher
from permissions.engine import names
from permissions.errors import Invalid, NotFound, Problem
from permissions.models import Realm
from permissions.writing import Actor, Write, run_write
from resilience import telemetry

MAX_VALUE: Final = 200
ACTION: Final = "cache_flush"

# Whoever has it, and the members of the teams that have it, whatever their windows: at most so many snapshots carry it.
_HELD: Final = """WITH RECURSIVE held(id) AS ({first}
    UNION SELECT m.member_id FROM held JOIN permissions_membership m ON m.team_id = held.id)
SELECT count(*) FROM held JOIN permissions_subject s ON s.id = held.id WHERE s.kind <> 'everyone'"""
_FIRST: Final = {
    "team": "SELECT t.id FROM permissions_subject t WHERE t.realm_id = %s AND t.ref = %s AND t.kind = 'team'",
    "role": """SELECT b.subject_id FROM permissions_rolebinding b JOIN permissions_role x ON x.id = b.role_id
        WHERE b.realm_id = %s AND x.name = %s""",
    "scope": """SELECT b.subject_id FROM permissions_rolebinding b JOIN permissions_resource x ON x.id = b.scope_id
        WHERE b.realm_id = %s AND x.ref = %s""",
}
_INSIDE: Final = """WITH RECURSIVE inside(id) AS (SELECT r.id FROM permissions_resource r WHERE r.realm_id = %s AND r.ref = %s
    UNION SELECT c.id FROM inside JOIN permissions_resource c ON c.parent_id = inside.id)
SELECT count(*) FROM inside"""
_FITTING: Final = "SELECT count(*) FROM {table} WHERE realm_id = %s AND {fits}"


@dataclass(frozen=True, slots=True)
class Target:
    """What to forget, looked at: `tag` is subject, resource (`value`: a pattern of ids), role, team, scope (a name), or all."""

    tag: str
    value: str = ""

    @property
    def object_id(self) -> str:
        return f"{self.tag}:{self.value}" if self.tag != ALL else ""


@dataclass(frozen=True, slots=True)
class Counted:
    """At most so many snapshots, by what the rows say, could be in a memory; so many are in this process's."""

    rows_subjects: int = 0
    rows_resources: int = 0
    memory_subjects: int = 0
    memory_resources: int = 0

    def as_values(self) -> dict[str, dict[str, int]]:
        return {
            "rows": {"subjects": self.rows_subjects, "resources": self.rows_resources},
            "memory": {"subjects": self.memory_subjects, "resources": self.memory_resources},
        }


@dataclass(frozen=True, slots=True)
class Flushed:
    revision: int
    token: str
    counted: Counted


def target(tag: object, value: object = None) -> Target:
    """Raises Invalid naming what is wrong. A role, team or scope that no row names is none: memories may know it still."""
    if not isinstance(tag, str) or tag not in (*TAGS, ALL):
        given = names.shown(tag) if isinstance(tag, str) else type(tag).__name__
        raise Invalid([Problem("tag", f"must be one of {', '.join((*TAGS, ALL))}, not {given}")])
    if tag == ALL:
        if value not in (None, ""):
            raise Invalid([Problem("value", "must be left out: all is all")])
        return Target(ALL)
    if value is None:
        raise Invalid([Problem("value", f"is missing: {_meaning(tag)}")])
    try:
        text = names.check_text(value, _meaning(tag), max_length=MAX_VALUE)
        if tag in ("team", "scope"):
            names.check_ref(text, _meaning(tag))
    except names.BadNameError as error:
        raise Invalid([Problem("value", str(error))]) from error
    return Target(tag, text)


def _meaning(tag: str) -> str:
    return f"the pattern of {tag} ids" if tag in PATTERNS else f"the {tag}"


def count(realm: str, wanted: Target) -> Counted:
    """Raises NotFound. Reads only."""
    realm_id = Realm.objects.filter(name=realm).values_list("pk", flat=True).first()
    if realm_id is None:
        raise NotFound(f"there is no realm {realm!r}")
    subjects, resources = _rows(realm_id, wanted)
    return Counted(subjects, resources, *_memory(realm, wanted))


def flush(realm: str, wanted: Target, *, actor: Actor, reason: str = "", request_id: str = "") -> Flushed:
    """One revision of the realm. The caller has asked for the right to. Raises NotFound."""
    counted = count(realm, wanted)  # before: nobody is to wait for the realm's lock while rows are counted

    def work(write: Write) -> None:
        kind = "*" if wanted.tag == ALL else "f"
        triggers.mark(write.realm.pk, [(kind, wanted.object_id)])
        write.record(ACTION, "cache", wanted.object_id or ALL, None, {**counted.as_values()})
        write.after(
            lambda done: telemetry.emit("cache.flushed", realm=realm, tag=wanted.tag, value=wanted.value, rev=done.revision)
        )

    _, write = run_write(realm, actor, reason, work, request_id=request_id)
    return Flushed(write.revision, write.token, counted)


def _rows(realm_id: int, wanted: Target) -> tuple[int, int]:
    tag, value = wanted.tag, wanted.value
    if tag in (*PATTERNS, ALL):
        pattern = value if tag != ALL else "*"
        subjects = 0 if tag == "resource" else _fitting("permissions_subject", realm_id, pattern, "kind <> 'everyone' AND ")
        return subjects, 0 if tag == "subject" else _fitting("permissions_resource", realm_id, pattern)
    held = _ask(_HELD.format(first=_FIRST[tag]), realm_id, value)
    return held, _ask(_INSIDE, realm_id, value) if tag == "scope" else 0


def _fitting(table: str, realm_id: int, pattern: str, also: str = "") -> int:
    if connection.vendor == "postgresql":
        for special in ("\\", "%", "_"):
            pattern = pattern.replace(special, "\\" + special)
        return _ask(_FITTING.format(table=table, fits=also + "ref LIKE %s"), realm_id, pattern.replace("*", "%"))
    # SQLite's LIKE takes a for A; GLOB does not, and knows two more special characters.
    return _ask(
        _FITTING.format(table=table, fits=also + "ref GLOB %s"), realm_id, pattern.replace("[", "[[]").replace("?", "[?]")
    )


def _ask(sql: str, *parameters: int | str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.fetchone()[0])


def _memory(realm: str, wanted: Target) -> tuple[int, int]:
    cache = catch_up.find(realm)
    if cache is None:
        return 0, 0
    matches = matcher(wanted.tag, wanted.value)
    subjects = (*cache.subjects.values(), *cache.absent_subjects.values())
    resources = (*cache.resources.values(), *cache.absent_resources.values())
    return sum(map(matches, subjects)), sum(map(matches, resources))
