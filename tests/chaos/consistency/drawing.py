"""Which transaction comes next: drawn at random, without a look at any row. A transaction is a style and the steps of each realm.

Styles: `service` (permission_write and the use cases), `raw` (SQL inside permission_write), `foreign` (SQL from outside, which
the triggers' guard locks), `rolled_back`, `savepoint` (its first step is undone), `bulk`.
"""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from tests.chaos.consistency import world as w

Step = list[Any]


class Transaction(NamedTuple):
    style: str
    steps: dict[str, list[Step]]
    undone: list[Step] = []  # noqa: RUF012 - never changed


SEED: Final[list[Step]] = [
    *(["permission", code, [], code == w.CRITICAL] for code in w.CODES if code != w.EXTRA),
    ["group", w.GROUP, ["doc:edit", "doc:share"]],
    ["role", "reader", [["allow", "doc:read", ""]], [], [], None, None],
    ["role", "editor", [["allow", "doc:edit", ""]], ["reader"], [], None, None],
    ["role", "sharer", [["allow", "doc:share", ""]], ["reader"], [], None, None],
    ["role", "keeper", [["allow", "doc:*", ""], ["exclude", "doc:share", ""]], [], [w.GROUP], None, None],
    *(["subject", ref, True, False, n % 6 or None] for n, ref in enumerate((*w.USERS, *w.PASSING))),
    *(["team", ref] for ref in w.TEAMS),
    ["resource", "org:0", None, True],
    ["resource", "org:1", None, True],
    *(["resource", f"box:{n}", f"org:{n % 2}", True] for n in range(4)),
    *(["resource", ref, f"box:{n % 4}", True] for n, ref in enumerate(w.DOCS)),
    ["member", "team:b", "team:a", None, None],
    ["member", "team:a", "user:u0", None, None],
    ["bind", "user:u1", "reader", [], [], None, "", None, None, True],
]

_WINDOWS_S: Final = (0.15, 0.3, 0.6, 1.0, 2.0)


def _window(draw: random.Random, now_us: int, share: float = 0.25) -> tuple[int | None, int | None]:
    """Mostly none; else an end shortly ahead, or a start, or both."""
    if draw.random() > share:
        return None, None
    first = now_us + int(draw.choice(_WINDOWS_S) * draw.uniform(0.5, 1.0) * 1e6)
    kind = draw.randrange(4)
    if kind == 0:
        return first, None
    if kind == 1:
        return first, first + int(draw.choice(_WINDOWS_S) * 1e6)
    return None, first


def _holder(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.3:
        return draw.choice(w.TEAMS)
    if kind < 0.34:
        return "user:*"
    if kind < 0.44:
        return draw.choice((*w.PASSING, w.ACCOUNT))
    return draw.choice(w.USERS)


def _scope(draw: random.Random) -> str | None:
    return None if draw.random() < 0.25 else draw.choice((*w.FOLDERS, *w.DOCS))


def _role_name(draw: random.Random) -> str:
    return w.PASSING_ROLE if draw.random() < 0.1 else draw.choice(w.ROLES)


def _bind(draw: random.Random, now_us: int) -> Step:
    start, end = _window(draw, now_us)
    condition = draw.choice((w.LEVEL, w.STRICT_LEVEL, w.MFA)) if draw.random() < 0.1 else ""
    propagate = draw.random() > 0.1
    if draw.random() < 0.25:
        code = draw.choice(("doc:read", "doc:edit", "doc:*", "doc:purge", "box:open"))
        allow, deny = ([code], []) if draw.random() < 0.6 else ([], [code])
        return ["bind", _holder(draw), None, allow, deny, _scope(draw), condition, start, end, propagate]
    return ["bind", _holder(draw), _role_name(draw), [], [], _scope(draw), condition, start, end, propagate]


def _unbind(draw: random.Random, now_us: int) -> Step:
    return ["unbind", _holder(draw), None if draw.random() < 0.25 else _role_name(draw), _scope(draw)]


def _clear(draw: random.Random, now_us: int) -> Step:
    return ["clear", _holder(draw)]


def _member(draw: random.Random, now_us: int) -> Step:
    team = draw.randrange(len(w.TEAMS))
    # Only a team of a smaller number lies in another: no cycle can come up.
    inner = w.TEAMS[draw.randrange(team)] if team and draw.random() < 0.3 else draw.choice((*w.USERS, *w.PASSING))
    if draw.random() < 0.45:
        return ["unmember", w.TEAMS[team], inner]
    return ["member", w.TEAMS[team], inner, *_window(draw, now_us)]


def _role(draw: random.Random, now_us: int) -> Step:
    name = _role_name(draw)
    place = w.ROLES.index(name) if name in w.ROLES else 0
    lines = []
    for code in draw.sample(w.CODES[:5], draw.randint(1, 3)):
        effect = draw.choice(("allow", "allow", "allow", "exclude", "deny"))
        condition = draw.choice((w.LEVEL, w.MFA)) if draw.random() < 0.15 and effect != "exclude" else ""
        lines.append([effect, code, condition])
    if draw.random() < 0.3:
        lines.append(["allow", "doc:*", ""])
    inherits = [w.ROLES[draw.randrange(place)]] if place and draw.random() < 0.5 else []
    groups = [w.GROUP] if draw.random() < 0.3 else []
    return ["role", name, lines, inherits, groups, *_window(draw, now_us, 0.15)]


def _role_gone(draw: random.Random, now_us: int) -> Step:
    return ["role_gone", w.PASSING_ROLE]


def _group(draw: random.Random, now_us: int) -> Step:
    return ["group", w.GROUP, sorted(draw.sample(("doc:edit", "doc:share", "doc:read", "box:*"), draw.randint(1, 2)))]


def _resource(draw: random.Random, now_us: int) -> Step:
    inherit = draw.random() > 0.25
    if draw.random() < 0.4:
        return ["resource", draw.choice(w.FOLDERS[2:]), draw.choice((None, "org:0", "org:1")), inherit]
    return ["resource", draw.choice(w.DOCS), draw.choice((None, *w.FOLDERS)), inherit]


def _resource_gone(draw: random.Random, now_us: int) -> Step:
    return ["resource_gone", draw.choice(w.DOCS)]


def _subject(draw: random.Random, now_us: int) -> Step:
    ref = draw.choice((*w.USERS, *w.PASSING))
    return ["subject", ref, draw.random() > 0.15, draw.random() < 0.15, draw.choice((None, 1, 2, 3, 4, 5))]


def _locked(draw: random.Random, now_us: int) -> Step:
    return ["locked", draw.choice((*w.USERS, *w.TEAMS[:1])), draw.random() < 0.3]


def _subject_gone(draw: random.Random, now_us: int) -> Step:
    return ["subject_gone", draw.choice(w.PASSING)]


def _team(draw: random.Random, now_us: int) -> Step:
    return ["team", draw.choice(w.TEAMS[2:])]


def _permission(draw: random.Random, now_us: int) -> Step:
    if draw.random() < 0.5:
        if draw.random() < 0.4:
            return ["permission_gone", w.EXTRA]
        return ["permission", w.EXTRA, ["doc:read"] if draw.random() < 0.5 else [], False]
    return ["permission", "doc:share", ["doc:read"] if draw.random() < 0.5 else [], draw.random() < 0.1]


def _law(draw: random.Random, now_us: int) -> Step:
    return ["law", draw.random() < 0.1, draw.choice(("deny", "everyone"))]


def _account(draw: random.Random, now_us: int) -> Step:
    return ["account", w.ACCOUNT, draw.random() < 0.6]


_SERVICE: Final = (
    (_bind, 30),
    (_unbind, 20),
    (_clear, 6),
    (_member, 14),
    (_role, 8),
    (_role_gone, 1),
    (_group, 2),
    (_resource, 9),
    (_resource_gone, 2),
    (_subject, 6),
    (_subject_gone, 2),
    (_team, 2),
    (_permission, 2),
    (_law, 1),
)
_RAW: Final = ((_locked, 6), (_unbind, 4), (_clear, 2), (_member, 2))


def _steps(draw: random.Random, now_us: int, of: tuple[Any, ...], number: int) -> list[Step]:
    kinds, weights = zip(*of, strict=True)
    return [kind(draw, now_us) for kind in draw.choices(kinds, weights, k=number)]


def transaction(draw: random.Random, now_us: int) -> Transaction:
    kind = draw.random()
    realm = draw.choice(w.REALMS)
    if kind < 0.05:
        return Transaction("foreign", {name: [_locked(draw, now_us)] for name in w.REALMS})
    if kind < 0.07:
        step = _account(draw, now_us)
        return Transaction("foreign", {name: [step] for name in w.REALMS})
    if kind < 0.15:
        return Transaction("raw", {realm: _steps(draw, now_us, _RAW, draw.randint(1, 2))})
    if kind < 0.21:
        return Transaction("rolled_back", {realm: _steps(draw, now_us, _SERVICE, draw.randint(1, 3))})
    if kind < 0.26:
        return Transaction("savepoint", {realm: _steps(draw, now_us, _SERVICE, 1)}, _steps(draw, now_us, _SERVICE, 1))
    if kind < 0.30:
        users = draw.sample(w.USERS, 4)
        role, scope = draw.choice(w.ROLES), _scope(draw)
        steps: list[Step] = [["bind", user, role, [], [], scope, "", None, None, True] for user in users]
        if draw.random() < 0.4:
            steps = [["unbind", user, role, scope] for user in users]
        return Transaction("bulk", {realm: steps})
    return Transaction("service", {realm: _steps(draw, now_us, _SERVICE, draw.choice((1, 1, 1, 2, 3)))})
