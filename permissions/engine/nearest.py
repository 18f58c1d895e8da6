"""The nearest missing grants: what stands between a denial and an allow, the smallest step first.

Each is a dict with `kind`, `text` for a person, and the ids concerned. Kinds: `subject`, `realm`, `permission` (nothing can be
granted before), `deny`, `condition`, `expired`, `not_yet_valid`, `private`, `elsewhere`, `excluded`, `role`, `none`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

from permissions.engine import reasons
from permissions.engine.provenance import exclusion_of
from permissions.engine.table import NOTHING
from permissions.engine.telling import HOLDS, PRIVATE, Step, TellingWalk
from permissions.engine.types import BindingFact

# Enough to choose from; a longer list is read by nobody. Chosen.
MAX_ROLES: Final = 5
MAX_ELSEWHERE: Final = 5

_FIRST: Final = {
    reasons.UNKNOWN_SUBJECT: ("subject", "the realm does not know {subject}"),
    reasons.SUBJECT_INACTIVE: ("subject", "{subject} is inactive or locked"),
    reasons.REALM_SUSPENDED: ("realm", "the realm is suspended"),
    reasons.UNKNOWN_PERMISSION: ("permission", "{code} is not registered in this realm"),
}


def nearest_grants(walk: TellingWalk, code: str, reason: str, steps: list[Step]) -> list[dict[str, Any]]:
    """For a denial of `code` for `reason`. `steps` are the walk's own."""
    if reason in _FIRST:
        kind, text = _FIRST[reason]
        return [{"kind": kind, "text": text.format(subject=walk.subject.ref, code=code)}]
    if not walk.table.is_registered(code):
        return [{"kind": "permission", "text": f"{code} is not registered in this realm", "permission": code}]
    found = [_denied(step) for step in steps if step.effect == "deny" and step.decided]
    found += [_failed(walk, step) for step in steps if step.effect == "allow" and step.outcome != HOLDS]
    if not any(step.effect == "allow" and step.outcome == HOLDS for step in steps):
        found += _elsewhere(walk, code)
        found += _excluded(walk, code)
        found += _roles(walk, code)
    return found or [{"kind": "none", "text": f"no role of this realm gives {code}", "permission": code}]


def _denied(step: Step) -> dict[str, Any]:
    return {"kind": "deny", "text": f"in the way: {step.line()}", "binding": step.binding.id}


def _failed(walk: TellingWalk, step: Step) -> dict[str, Any]:
    binding = step.binding
    kind = step.outcome if step.outcome in ("expired", "not_yet_valid", PRIVATE) else "condition"
    if kind == PRIVATE:
        node = walk.nodes[walk.open_from]
        text = f"{node} is private and keeps away binding {binding.id} at {binding.scope or 'the realm'}"
        return {"kind": kind, "text": text, "binding": binding.id, "node": node}
    if kind == "condition":
        failed = [(text, outcome) for text, outcome in step.conditions if outcome != HOLDS]
        said = " and ".join(f"{text} ({outcome.removeprefix('condition_')})" for text, outcome in failed)
        return {"kind": kind, "text": f"binding {binding.id} waits for its condition: {said}", "binding": binding.id}
    windows = [(binding.valid_from_us, binding.valid_until_us), (step.from_us, step.until_us)]
    ends = [until for _, until in windows if until is not None and until <= walk.now_us]
    begins = [start for start, _ in windows if start is not None and start > walk.now_us]
    if kind == "expired":
        when = f"ended at {_shown(min(ends))}" if ends else "comes through a membership that has ended"
    else:
        when = f"begins at {_shown(max(begins))}" if begins else "comes through a membership that has not begun"
    return {"kind": kind, "text": f"binding {binding.id} of {binding.holder} {when}", "binding": binding.id}


def _elsewhere(walk: TellingWalk, code: str) -> Iterator[dict[str, Any]]:
    """Bindings that would give the code, but hang on another branch of the tree or do not propagate to here."""
    shown = 0
    for binding in sorted(walk.facts.bindings, key=lambda binding: binding.id):
        if shown < MAX_ELSEWHERE and not walk.is_on_chain(binding) and _gives(walk, binding, code):
            shown += 1
            where = binding.scope or "the realm"
            how = f"at {where}" if binding.propagate else f"at {where} only"
            text = f"{binding.holder} has it {how} (binding {binding.id})"
            yield {"kind": "elsewhere", "text": text, "binding": binding.id, "scope": binding.scope or None}


def _gives(walk: TellingWalk, binding: BindingFact, code: str) -> bool:
    bit = walk.table.index.bits[code]
    if binding.role is None:
        return bool(walk.table.direct(binding.allow) >> bit & 1)
    role = walk.table.roles.get(binding.role, NOTHING)
    return bool(role.allow >> bit & 1) or any(line.mask >> bit & 1 for line in role.allow_lines)


def _excluded(walk: TellingWalk, code: str) -> Iterator[dict[str, Any]]:
    for name in sorted({b.role for b in walk.facts.bindings if b.role is not None and walk.is_on_chain(b)}):
        taken = exclusion_of(walk.table, name, code)
        if taken is not None:
            text = f"role {name} would give it, but {taken.role} excludes {taken.pattern}"
            yield {"kind": "excluded", "text": text, "role": name, "by": taken.role, "pattern": taken.pattern}


def _roles(walk: TellingWalk, code: str) -> Iterator[dict[str, Any]]:
    """Roles that give the code without condition, the smallest first: the least that would do."""
    bit = walk.table.index.bits[code]
    givers = [(role.allow.bit_count(), name) for name, role in walk.table.roles.items() if role.allow >> bit & 1]
    for size, name in sorted(givers)[:MAX_ROLES]:
        yield {
            "kind": "role",
            "text": f"role {name} ({size} permission{'s' if size != 1 else ''}) would give it",
            "role": name,
            "permissions": size,
        }


def _shown(instant_us: int) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=instant_us)).isoformat().replace("+00:00", "Z")
