"""Records of a walk: who claims what at which node, and what becomes of it."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

from permissions.engine.table import PLAIN, Held, LineKey, RoleSet, Standing
from permissions.engine.types import Condition


class Tier(IntEnum):
    """The order within a node under overlay."""

    EVERYONE = 1
    ROLES_AND_TEAMS = 2
    OWN_DIRECT = 3


class Outcome(IntEnum):
    """What conditions say. Of joined ones the smallest counts (rule 1)."""

    FALSE = 0
    ERROR = 1
    TRUE = 2


class Deny(IntEnum):
    NONE = 0
    BY_ERROR = 1
    PLAIN = 2


class Failure(IntFlag):
    """Why allows that name the code gave nothing."""

    NONE = 0
    NOT_YET_VALID = 1
    EXPIRED = 2
    CONDITION_FALSE = 4
    CONDITION_ERROR = 8


class Claim(NamedTuple):
    """One way in which something held names the code. `held` is None where it comes from a role set."""

    held: Held | None
    key: LineKey = PLAIN
    standing: Standing = Standing.HOLDS
    conditions: tuple[Condition, ...] = ()


class Spot(NamedTuple):
    """What is held at one node in one tier. `place` counts from the realm, 0, to the leaf."""

    place: int
    tier: Tier
    roles: RoleSet | None
    lines: tuple[Held, ...]


class Verdict(NamedTuple):
    """On one code by itself, its requirements left out. `deciding`: every allow that counted, or every deny met that counted."""

    allowed: bool
    reason: str
    deciding: tuple[Claim, ...] = ()
