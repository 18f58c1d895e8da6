"""Pinned: one revision with all that a question or a batch needs at it."""

from __future__ import annotations

from dataclasses import dataclass, field

from permissions.engine.reasons import InvalidRequestError
from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import RoleTable
from permissions.engine.types import Request, Source
from permissions.revisions import Head, Token


@dataclass(slots=True)
class Pinned:
    """All hold at `head`; `now_us` is the database's clock, known to `slack_us`. `source`: the deepest layer that had to answer.

    `extra`: by place of the question, the snapshots of a caller that asserts teams or a parent. `is_filtered`: an id was known to
    be unknown without a look. `is_stale`: older than the bound, under the realm's static grace.
    """

    head: Head
    table: RoleTable
    now_us: int
    source: Source
    subjects: dict[str, SubjectSnapshot] = field(default_factory=dict)
    resources: dict[str, ResourceSnapshot] = field(default_factory=dict)
    extra: dict[int, tuple[SubjectSnapshot, ResourceSnapshot | None]] = field(default_factory=dict)
    slack_us: int = 0
    is_filtered: bool = False
    is_stale: bool = False

    def of(self, place: int, request: Request) -> tuple[SubjectSnapshot, ResourceSnapshot | None]:
        if place in self.extra:
            return self.extra[place]
        return self.subjects[request.subject], None if request.resource is None else self.resources[request.resource]


def covers(head: Head, token: Token) -> bool:
    """Whether the head is at least as fresh as the token. Raises InvalidRequestError for a token of another realm."""
    if token.realm_id != head.realm_id:
        raise InvalidRequestError("the token belongs to another realm")
    # A token of another epoch names another history: what is known to be newest is at least as fresh (mode full).
    return token.epoch8 != head.epoch[:8] or token.rev <= head.rev
