"""The check simulator: one question or many, answered and explained for somebody who asks about others. It changes nothing."""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane.services.realms import ASK, may_each, require_in
from permissions import pdp
from permissions.bundle.fields import Problems
from permissions.engine import platform, reasons
from permissions.engine.reasons import InvalidRequestError
from permissions.errors import Forbidden, Invalid, Problem
from permissions.models import Permission, Realm, Resource, RoleBinding, Subject
from permissions.writing import Actor

# Results of who-can and what-can on one page.
LISTED: Final = 100
# What the examples are looked for in: enough for one of each kind, and a page stays quick.
EXAMPLE_SUBJECTS: Final = 8
EXAMPLE_CODES: Final = 12
EXAMPLE_RESOURCES: Final = 6
# The examples tell an allowed question, a denied one that something stands in the way of, and a plain denial.
_IN_THE_WAY: Final = frozenset(
    {reasons.EXPLICIT_DENY, reasons.CONDITION_FALSE, reasons.EXPIRED, reasons.NOT_YET_VALID, reasons.REQUIRES}
)
_KINDS: Final[tuple[Callable[[dict[str, Any]], bool], ...]] = (
    lambda one: bool(one["allowed"]),
    lambda one: one["reason"] in _IN_THE_WAY,
    lambda one: one["reason"] == reasons.NO_GRANT,
)
EXAMPLE_STEP: Final = 20
EXAMPLE_MOST: Final = 120


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the instant it is asked for (None: now)."""

    question: pdp.Request
    at: dt.datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        asked = self.question
        return {
            "subject": asked.subject,
            "permission": asked.permission,
            "resource": asked.resource,
            "context": dict(asked.context),
            "at": None if self.at is None else self.at.isoformat(),
        }


def asked_of(
    subject: str, permission: str, resource: str | None, context: Mapping[str, Any], at: dt.datetime | None = None
) -> Asked:
    """Raises InvalidRequestError naming what is wrong."""
    return Asked(pdp.question(subject, permission, resource or None, context=context, asserted="ignore"), at)


def require_asking(actor: Actor, realm: str, asked: Sequence[Asked]) -> None:
    """About oneself anybody may ask. Raises Forbidden naming the first place where the right to ask about others is missing."""
    scopes = list(dict.fromkeys(one.question.resource for one in asked if one.question.subject != actor.subject))
    for scope, allowed in zip(scopes, may_each(actor, ASK, realm, scopes) if scopes else (), strict=True):
        if not allowed:
            raise Forbidden(f"asking about others needs {ASK} {'on ' + scope if scope else 'in the realm ' + realm}")


def explain(actor: Actor, realm: str, asked: Asked) -> dict[str, Any]:
    """The explanation of the newest state, and what a check is told right now: its layer and how long it takes.

    Raises Forbidden, InvalidRequestError, Unavailable.
    """
    require_asking(actor, realm, [asked])
    began_ns = time.perf_counter_ns()
    decision = pdp.decide(asked.question, realm=realm, at=asked.at)
    check_us = (time.perf_counter_ns() - began_ns) / 1000
    told = pdp.explain_request(asked.question, realm=realm, full=asked.at is None, at=asked.at).to_dict()
    return {
        **told,
        "layer": decision.source,
        "check_us": round(check_us, 1),
        # Within the realm's bound a check may still tell what was true a moment ago.
        "check_agrees": decision.allowed is told["allowed"],
        "check_revision": decision.revision,
    }


def decide_all(actor: Actor, realm: str, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """In order, those of one instant at one revision. Raises as `explain`, and Invalid for too many."""
    if len(asked) > pdp.MAX_BATCH:
        raise Invalid([Problem("", f"holds {len(asked)} checks; at most {pdp.MAX_BATCH} are allowed")])
    require_asking(actor, realm, asked)
    answers: dict[int, dict[str, Any]] = {}
    for at in dict.fromkeys(one.at for one in asked):
        places = [place for place, one in enumerate(asked) if one.at == at]
        decisions = pdp.decide_many([asked[place].question for place in places], realm=realm, full=True, at=at)
        for place, decision in zip(places, decisions, strict=True):
            answers[place] = {
                **asked[place].to_dict(),
                "allowed": decision.allowed,
                "reason": decision.reason,
                "revision": decision.revision,
            }
    return [answers[place] for place in range(len(asked))]


def who_can(actor: Actor, realm: str, asked: Asked) -> dict[str, Any]:
    """Who may do this there: the first LISTED. Raises as `explain`."""
    _now_only(asked)
    question = asked.question
    require_in(actor, ASK, realm, question.resource)
    page = pdp.who_can_page(
        question.permission, question.resource, context=question.context, limit=LISTED, realm=realm, full=True
    )
    return {"results": page.results, "more": page.next_after is not None, "revision": page.revision}


def what_can(actor: Actor, realm: str, asked: Asked, *, here: bool) -> dict[str, Any]:
    """What the subject may do; `here`: at the question's resource alone. Raises as `explain`."""
    _now_only(asked)
    question = asked.question
    resource = question.resource if here else None
    if question.subject != actor.subject:
        require_in(actor, ASK, realm, resource)
    page = pdp.what_can_page(question.subject, resource=resource, context=question.context, limit=LISTED, realm=realm, full=True)
    results = [{"permission": access.permission, "resource": access.resource} for access in page.results]
    return {"results": results, "more": page.next_after is not None, "revision": page.revision}


def _now_only(asked: Asked) -> None:
    if asked.at is not None and asked.at < dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5):
        raise InvalidRequestError("lists answer for now: leave the time empty")


def read_lines(text: str) -> list[Asked]:
    """One question a line, `subject permission [resource]`, parted by tabs or spaces. Raises Invalid naming every bad line."""
    problems = Problems()
    found = []
    lines = text.splitlines()
    for number, line in enumerate(lines[: pdp.MAX_BATCH * 2], start=1):
        words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
        words = [word for word in words if word]
        if not words or words[0].startswith("#"):
            continue
        if not 2 <= len(words) <= 3:
            problems.note(f"line {number}", "must be: subject permission [resource]")
            continue
        try:
            found.append(asked_of(words[0], words[1], words[2] if len(words) == 3 else None, {}))
        except InvalidRequestError as error:
            problems.note(f"line {number}", str(error))
    if len(lines) > pdp.MAX_BATCH * 2:
        problems.note("", f"holds {len(lines)} lines; at most {pdp.MAX_BATCH} checks are allowed")
    if problems:
        raise Invalid(problems[:20])
    return found


def examples(actor: Actor, realm: Realm) -> list[dict[str, Any]]:
    """Three questions of this realm: one allowed, one that something stands in the way of, one that nothing gives."""
    if not may_each(actor, ASK, realm.name, [None])[0]:
        return []
    holders = RoleBinding.objects.filter(realm=realm).exclude(subject__kind="everyone").order_by("pk")
    subjects = list(dict.fromkeys(holders.values_list("subject__ref", flat=True)[: EXAMPLE_SUBJECTS * 4]))
    people = Subject.objects.filter(realm=realm).exclude(kind__in=("everyone", "team")).order_by("ref")
    subjects = list(dict.fromkeys([*people.values_list("ref", flat=True)[:EXAMPLE_SUBJECTS], *subjects]))[:EXAMPLE_SUBJECTS]
    codes = Permission.objects.filter(realm=realm).exclude(code__startswith=platform.PREFIX).order_by("pk")
    places = [None, *Resource.objects.filter(realm=realm).order_by("-pk").values_list("ref", flat=True)[:EXAMPLE_RESOURCES]]
    try:
        asked = [
            asked_of(subject, code, place, {})
            for code in codes.values_list("code", flat=True)[:EXAMPLE_CODES]
            for subject in subjects
            for place in places
        ]
        # All of them would show as a burst of denials on the overview; mixed, a few hold one of each kind. The same each time.
        random.Random(realm.pk).shuffle(asked)  # noqa: S311 - it keeps no secret
        picked: list[dict[str, Any] | None] = [None, None, None]
        for start in range(0, min(len(asked), EXAMPLE_MOST), EXAMPLE_STEP):
            answers = decide_all(actor, realm.name, asked[start : start + EXAMPLE_STEP])
            picked = [one or next(filter(kind, answers), None) for one, kind in zip(picked, _KINDS, strict=True)]
            if all(picked):
                break
    except (InvalidRequestError, pdp.Unavailable):
        return []
    return [one for one in picked if one is not None]
