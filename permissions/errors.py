"""One tree of refusals that an administrator can cause. Each door (API, admin, command) renders it; none adds rules.

`code` is the problem type's last part (`/problems/<code>`), `status` the HTTP status. A refusal changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake and its place: a field path such as `roles[2].permissions[0]`, with the bundle's line where there is one."""

    where: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"line {self.line}, {self.where}" if self.line is not None else self.where
        return f"{place}: {self.message}" if place else self.message


class Refused(Exception):
    """Base of the tree."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Invalid(Refused):
    """The input is wrong; `problems` lists every mistake found, each with its place."""

    code = "invalid"
    status = 400

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(p) for p in self.problems))


class Forbidden(Refused):
    """The actor lacks the managing permission named in the detail."""

    code = "forbidden"
    status = 403


class Escalation(Refused):
    """The write would hand out more than its author holds."""

    code = "escalation"
    status = 403


class NotFound(Refused):
    code = "not_found"
    status = 404


class Conflict(Refused):
    """The write contradicts what is there: a duplicate, a cycle, something in use, a revoke that removes nothing."""

    code = "conflict"
    status = 409


class LastAdministrator(Conflict):
    """The write would leave the realm without anyone who can administer it."""

    code = "last_administrator"
