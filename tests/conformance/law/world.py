"""A bundle, a table of questions, and every door asked for each: whoever disagrees with another door fails the test."""

from __future__ import annotations

import datetime as dt
import textwrap
from typing import Any

import pytest

from permissions import pdp
from permissions.engine.reasons import InvalidRequestError
from permissions.errors import Invalid
from tests.worlds import apply

FUTURE = dt.datetime(2090, 6, 1, tzinfo=dt.UTC)
GRANTED = "granted"


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def law(bundle: str, table: str = "", **options: Any) -> None:
    """Applies `bundle` and holds every row of `table` (`subject permission resource = reason`; resource `-`: the realm)."""
    pdp.reset()
    apply(bundle, realm=options.pop("into", None))
    if table:
        holds(table, **options)


def rows_of(table: str) -> list[tuple[str, str, str | None, str]]:
    rows = []
    for line in textwrap.dedent(table).strip().splitlines():
        question, wanted = (part.strip() for part in line.split("#")[0].rsplit(" = ", 1))
        subject, permission, resource = question.split()
        rows.append((subject, permission, None if resource == "-" else resource, wanted))
    return rows


def holds(table: str, *, searched: bool = True, **options: Any) -> None:
    """`reason` may be `denied` where the page names none. Check, batch, explain and the searches must agree."""
    wrong = []
    rows = rows_of(table)
    asked = {key: value for key, value in options.items() if key in {"context", "realm", "at"}}
    extras = {key: value for key, value in options.items() if key not in asked}
    many_options = {key: value for key, value in asked.items() if key != "context"}
    for subject, permission, resource, wanted in rows:
        decision = pdp.check(subject, permission, resource, **options)
        place = f"{subject} {permission} {resource or '-'}"
        said = decision.reason
        if not (said == wanted or (wanted == "denied" and not decision.allowed)) or decision.allowed != (said == GRANTED):
            wrong.append(f"check {place}: {said}, the law says {wanted}")
        explained = pdp.explain(subject, permission, resource, **options).decision
        if (explained.allowed, explained.reason) != (decision.allowed, said):
            wrong.append(f"explain {place}: {explained.reason}, check says {said}")
        if searched and not extras:
            wrong += _searches(subject, permission, resource, decision, asked)
    if not extras and "context" not in asked:
        batch = pdp.check_many([(s, p, r) for s, p, r, _ in rows], **many_options)
        alone = [pdp.check(s, p, r, **asked) for s, p, r, _ in rows]
        if [d.reason for d in batch] != [d.reason for d in alone]:
            wrong.append("check_many differs from check")
    assert not wrong, "\n".join(wrong)


def _searches(subject: str, permission: str, resource: str | None, decision: Any, asked: dict[str, Any]) -> list[str]:
    wrong = []
    place = f"{subject} {permission} {resource or '-'}"
    kind = subject.partition(":")[0]
    known = decision.reason != "unknown_subject"
    if known:
        found = pdp.who_can(permission, resource, type=kind, **asked)
        if (subject in found) != decision.allowed:
            wrong.append(f"who_can {place}: {found}, check says {decision.reason}")
        if any(name.endswith(":*") for name in found):
            wrong.append(f"who_can {place}: a wildcard in {found}")
    codes = [access.permission for access in pdp.what_can(subject, resource=resource, **asked)] if resource else []
    if resource and (permission in codes) != decision.allowed and known:
        wrong.append(f"what_can {place}: {codes}, check says {decision.reason}")
    return wrong


def refuses(bundle: str, *said: str, **options: Any) -> str:
    """Applying `bundle` is refused with a message that holds each of `said`; it is answered."""
    with pytest.raises(Invalid) as caught:
        apply(bundle, **options)
    message = str(caught.value)
    for word in said:
        assert word in message, message
    return message


def malformed(subject: str, permission: str, resource: str | None = None, **options: Any) -> None:
    for door in (pdp.check, pdp.explain):
        with pytest.raises(InvalidRequestError):
            door(subject, permission, resource, **options)
