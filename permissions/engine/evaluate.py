"""(table, snapshots, request, now) -> Decision: steps 3 to 8 of the order of a decision, save maintenance.

A plain question (a known subject whose bindings are role sets, deny_overrides, no condition, deny or requirement near the code)
is answered here from the memo of role sets; every other one by `engine/walk.py`, which alone knows the whole law. The plain way
may only ever say what the walk would say: `tests/properties` holds both to the reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from permissions.engine import reasons
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import RoleSet, RoleTable
from permissions.engine.types import Decision, Request
from permissions.engine.walk import Walk


def evaluate(
    table: RoleTable,
    subject: SubjectSnapshot,
    resource: ResourceSnapshot | None,
    request: Request,
    now_us: int,
    *,
    superuser_allowed: bool = False,
    slack_us: int = 0,
) -> Decision:
    """Decide. `subject` must be younger than its `until_us` at `now_us`; `resource` is None where the request names none.

    `slack_us`: how far the clock that gave `now_us` may be off.
    """
    place = table.quick.get(request.permission)
    if place is not None and subject.is_plain and not (superuser_allowed and subject.superuser):
        if resource is None:
            is_plain = table.is_plain_realm
        else:
            is_plain = not resource.open_from and (
                table.is_plain_realm if table.is_uniform else table.combining_of(resource.type) == "deny_overrides"
            )
        if is_plain:
            answer = _plain(table, subject, resource, place)
            if answer is not None:
                return answer
    walk = Walk(table, subject, resource, request, now_us, slack_us)
    return walk.decide(request.permission, superuser_allowed=superuser_allowed)


def _plain(
    table: RoleTable, subject: SubjectSnapshot, resource: ResourceSnapshot | None, place: tuple[int, int]
) -> Decision | None:
    """The answer where role sets alone decide, else None."""
    byte, bit = place
    allowed = 0
    roles = subject.realm_roles
    if roles is not None:
        masks = table.memo.get(roles) or table.masks(roles)
        if masks.special[byte] & bit:
            return None
        allowed = masks.allow[byte] & bit
    if (resource is not None and subject.scopes) or table.everyone:
        others = _other_role_sets(table, subject, resource)
        if others is None:
            return None
        for roles in others:
            masks = table.masks(roles)
            if masks.special[byte] & bit:
                return None
            allowed |= masks.allow[byte] & bit
    if allowed:
        return Decision(True, reasons.GRANTED)
    # What is out of its window gives nothing, yet it may be the reason.
    return None if subject.apart else Decision(False, reasons.NO_GRANT)


def _other_role_sets(table: RoleTable, subject: SubjectSnapshot, resource: ResourceSnapshot | None) -> list[RoleSet] | None:
    """Those beside the subject's own at the realm; None where everyone holds something that is no role set."""
    nodes = resource.nodes if resource is not None else ()
    found = [subject.scopes[node] for node in nodes if node in subject.scopes]
    everyone = table.everyone.get(subject.type)
    if everyone is not None:
        if everyone.lines:
            return None
        if everyone.realm_roles is not None:
            found.append(everyone.realm_roles)
        found += [everyone.scopes[node] for node in nodes if node in everyone.scopes]
    return found


def allowed_codes(  # noqa: PLR0917 - the same positions as evaluate, then the codes
    table: RoleTable,
    subject: SubjectSnapshot,
    resource: ResourceSnapshot | None,
    request: Request,
    now_us: int,
    codes: Iterable[str] | None = None,
    *,
    superuser_allowed: bool = False,
) -> list[str]:
    """Every registered code, or those of `codes`, for which `evaluate` says yes, ascending; `request.permission` is ignored."""
    if superuser_allowed and subject.superuser:
        candidates: Iterable[str] = table.codes
    else:
        # All that any allow gives anywhere on the chain: nothing outside it can be allowed, and one pass over masks is far
        # cheaper than a check for each of 40,000 codes.
        candidates = table.index.codes_of(Walk(table, subject, resource, request, now_us).mentioned())
    if codes is not None:
        asked = set(codes)
        candidates = [code for code in candidates if code in asked]
    question = dataclasses.replace(request)
    found: list[str] = []
    for code in candidates:
        question.permission = code
        if evaluate(table, subject, resource, question, now_us, superuser_allowed=superuser_allowed).allowed:
            found.append(code)
    return found
