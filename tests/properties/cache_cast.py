"""Whom and what the state machine of the cache asks about, and the steps of its writers: the harness's, in a smaller world."""

from __future__ import annotations

import random
from typing import Any

from tests.chaos.consistency import drawing
from tests.chaos.consistency import world as w

SUBJECTS = ("user:u0", "user:u1", "user:p0", "user:ghost0", "team:a", "team:b")
RESOURCES = (None, "org:0", "box:0", "box:1", "doc:0", "doc:1", "doc:lost0")
CODES = ("doc:read", "doc:edit", "doc:share", "doc:purge", "doc:extra")
NEWCOMERS = ("user:ghost0", "user:p0")  # who come and go, so that a filter meets new ids
ENDS_US = (100_000, 300_000, 600_000)
_MODEL = (drawing._role, drawing._role_gone, drawing._group, drawing._permission, drawing._law)
_SMALLER = {
    **{ref: SUBJECTS[number % 2] for number, ref in enumerate(w.USERS)},
    **dict.fromkeys((*w.PASSING, w.ACCOUNT), "user:p0"),
    **{ref: ("team:a", "team:b")[number % 2] for number, ref in enumerate(w.TEAMS)},
    **{ref: ("doc:0", "doc:1")[number % 2] for number, ref in enumerate(w.DOCS)},
    **{ref: ("box:0", "box:1")[number % 2] for number, ref in enumerate(w.FOLDERS[2:])},
    "org:1": "org:0",
}


class Patches:
    """setattr with a way back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def __call__(self, target: Any, name: str, value: Any) -> None:
        self._undo.append((target, name, vars(target)[name]))
        setattr(target, name, value)

    def undo(self) -> None:
        while self._undo:
            setattr(*self._undo.pop())


def steps_of(draw: random.Random, now_us: int, *, raw: bool, with_model: bool) -> list[list[Any]]:
    """One transaction's. More of them end soon than in the harness, where time passes by itself."""
    kinds = drawing._RAW if raw else tuple(kind for kind in drawing._SERVICE if with_model or kind[0] not in _MODEL)
    steps = [_small(step) for step in drawing._steps(draw, now_us, kinds, draw.choice((1, 1, 2)))]
    if draw.random() < 0.15:
        newcomer = draw.choice(NEWCOMERS)
        comings: list[list[Any]] = [
            ["subject_gone", newcomer],
            ["bind", newcomer, draw.choice(w.ROLES), [], [], draw.choice(RESOURCES[:-1]), "", None, None, True],
        ]
        steps = comings[draw.randrange(2) :]
    for step in steps:
        if step[0] in {"bind", "member"} and draw.random() < 0.3:
            step[-1 - (step[0] == "bind")] = now_us + draw.choice(ENDS_US)
    # In the smaller world two teams may have become one.
    return [step for step in steps if "member" not in step[0] or (step[2][:5] != "team:" or step[1] > step[2])]


def _small(step: list[Any]) -> list[Any]:
    """Fewer subjects and nodes, so that steps and questions meet."""
    return [_SMALLER.get(part, part) if isinstance(part, str) else part for part in step]
