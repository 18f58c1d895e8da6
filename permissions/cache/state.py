"""State: what one process knows of a realm at one revision. Published as one reference, replaced as a whole.

Invariant: every snapshot in `subjects` and `resources` was read from a database snapshot whose head is `head`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from permissions.engine.scopes import ResourceSnapshot, SubjectSnapshot
from permissions.engine.table import RoleTable
from permissions.revisions import Head

# Chosen: about 30 MB of subjects. Past it the dict starts anew, which costs a refill and never a wrong answer.
MAX_SNAPSHOTS: Final = 100_000


@dataclass(slots=True, eq=False)
class State:
    """`known_head_ns`: when `head` was last known to be the newest (boot-time clock, nanoseconds, taken before asking).

    `offset_us`: database clock minus ours. `max_age_ns`: how old an answer without a token may be.
    """

    head: Head
    table: RoleTable
    critical: frozenset[str]
    max_age_ns: int
    known_head_ns: int
    offset_us: int
    subjects: dict[str, SubjectSnapshot] = field(default_factory=dict)
    resources: dict[str, ResourceSnapshot] = field(default_factory=dict)

    def keep(self, subjects: dict[str, SubjectSnapshot], resources: dict[str, ResourceSnapshot]) -> None:
        if len(self.subjects) + len(subjects) > MAX_SNAPSHOTS:
            self.subjects.clear()
        if len(self.resources) + len(resources) > MAX_SNAPSHOTS:
            self.resources.clear()
        self.subjects.update(subjects)
        self.resources.update(resources)
