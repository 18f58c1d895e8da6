"""Assertions: questions kept with the answers they must have; made, removed and run. Running one changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import IntegrityError

from controlplane.services.realms import ASK, may_each
from permissions import pdp
from permissions.bundle.compact import date_text
from permissions.bundle.fields import Fields, Problems, parse_date
from permissions.engine import names
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Request
from permissions.errors import Conflict, Invalid, NotFound, Problem
from permissions.models import Assertion, Realm
from permissions.services.guards import require
from permissions.writing import Actor, Write

KEYS: Final = ("name", "subject", "permission", "resource", "context", "at", "expected")
# Of a realm. All of them are run before a change is applied, so that they must be done in a second or so.
MOST: Final = 1_000

PASSED: Final = "passed"
FAILED: Final = "failed"
BROKEN: Final = "broken"  # it cannot be decided any more, such as one of an instant that history no longer reaches
NOT_ASKED: Final = "not_asked"  # the caller may not ask it


@dataclass(frozen=True, slots=True)
class AssertionSpec:
    name: str
    question: Request
    expected: bool
    at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`allowed` and `reason` are None where nothing was decided; `problem` then says why."""

    assertion: Assertion
    outcome: str
    allowed: bool | None = None
    reason: str | None = None
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            **assertion_line(self.assertion),
            "outcome": self.outcome,
            "allowed": self.allowed,
            "reason": self.reason,
            "problem": self.problem,
        }


def read_assertion(data: object) -> AssertionSpec:
    """A line, as the API and the page have it. Raises Invalid naming every mistake, or the one that the question has."""
    problems = Problems()
    fields = Fields(data, "", problems, KEYS)
    name = fields.required("name", lambda value: names.check_text(value, "name", max_length=names.MAX_NAME))
    for key in ("subject", "permission"):
        fields.required(key, _text)
    fields.optional("resource", _text)
    context = fields.attributes("context") if fields.data.get("context") is not None else {}
    if fields.is_mapping and "expected" not in fields.data:
        problems.note("", "the key 'expected' is missing")
    expected = fields.flag("expected", default=False)
    at = None
    if fields.data.get("at") is not None:
        try:
            at = parse_date(fields.data["at"])
        except ValueError as error:
            fields.note("at", str(error))
    if problems:
        raise Invalid(problems)
    try:
        asked = pdp.question(
            fields.data["subject"],
            fields.data["permission"],
            fields.data.get("resource") or None,
            context=context,
            asserted="ignore",
        )
    except InvalidRequestError as error:
        raise Invalid([Problem("", str(error))]) from error
    return AssertionSpec(name, asked, expected, at)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise names.BadNameError("must be a text")
    return value


def assertion_line(row: Assertion) -> dict[str, Any]:
    return {
        "id": row.pk,
        "name": row.name,
        "subject": row.subject,
        "permission": row.permission,
        "resource": row.resource or None,
        "context": row.context,
        "at": None if row.at is None else date_text(row.at),
        "expected": row.expected,
        "created_at": date_text(row.created_at),
        "created_by": row.created_by,
    }


# Writing
def assertion_create(*, write: Write, spec: AssertionSpec) -> Assertion:
    """Raises Forbidden, Conflict for a name that is taken or a realm that is full."""
    require(write, "policy", "create")
    rows = Assertion.objects.filter(realm=write.realm)
    if rows.filter(name=spec.name).exists():
        raise Conflict(f"an assertion {names.shown(spec.name)} is there already")
    if rows.count() >= MOST:
        raise Conflict(f"this realm has {MOST} assertions, and takes no more")
    row = Assertion(
        realm=write.realm,
        name=spec.name,
        subject=spec.question.subject,
        permission=spec.question.permission,
        resource=spec.question.resource or "",
        context=dict(spec.question.context),
        at=spec.at,
        expected=spec.expected,
        created_by=write.actor.name[:600],
    )
    try:
        row.save()
    except IntegrityError as error:  # names that the database takes for one
        raise Conflict(f"an assertion {names.shown(spec.name)} is there already") from error
    write.record("assertion.create", "assertion", row.name, None, _audited(row))
    return row


def assertion_delete(*, write: Write, assertion_id: int) -> None:
    """Raises Forbidden, NotFound."""
    require(write, "policy", "delete")
    row = Assertion.objects.filter(realm=write.realm, pk=assertion_id).first()
    if row is None:
        raise NotFound(f"there is no assertion {assertion_id} in the realm {names.shown(write.realm.name)}")
    write.record("assertion.delete", "assertion", row.name, _audited(row), None)
    row.delete()


def _audited(row: Assertion) -> dict[str, object]:
    return {key: value for key, value in assertion_line(row).items() if key not in {"id", "created_at", "created_by"}}


# Running
def run(*, actor: Actor, realm: Realm, rows: Iterable[Assertion]) -> list[Outcome]:
    """In order; those that the actor may not ask about are told so. Raises Unavailable while no decision can be given."""
    found = list(rows)
    scopes = sorted({row.resource for row in found if row.subject != actor.subject})
    may = dict(zip(scopes, may_each(actor, ASK, realm.name, [scope or None for scope in scopes]), strict=True))
    asked = [row for row in found if row.subject == actor.subject or may[row.resource]]
    outcomes = {outcome.assertion.pk: outcome for outcome in _decided(realm.name, asked)}
    return [outcomes.get(row.pk) or Outcome(row, NOT_ASKED, problem=f"asking it needs {ASK}") for row in found]


def _decided(realm: str, rows: Sequence[Assertion]) -> Iterator[Outcome]:
    """Those of one instant together, at one revision."""
    for at in dict.fromkeys(row.at for row in rows):
        same = [row for row in rows if row.at == at]
        try:
            yield from _together(realm, same, at)
        except InvalidRequestError:
            for row in same:  # one that cannot be decided must not hide the answers of the others
                try:
                    yield from _together(realm, [row], at)
                except InvalidRequestError as error:
                    yield Outcome(row, BROKEN, problem=str(error))


def _together(realm: str, rows: Sequence[Assertion], at: dt.datetime | None) -> list[Outcome]:
    questions = [
        pdp.question(row.subject, row.permission, row.resource or None, context=row.context, asserted="ignore") for row in rows
    ]
    decisions = pdp.decide_many(questions, realm=realm, full=True, at=at)
    return [
        Outcome(row, PASSED if decision.allowed is row.expected else FAILED, decision.allowed, decision.reason)
        for row, decision in zip(rows, decisions, strict=True)
    ]
