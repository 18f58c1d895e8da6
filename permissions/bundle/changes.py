"""One step from the realm as it is to the realm as a bundle says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from permissions.bundle.specs import Spec

Kind = Literal["add", "change", "remove"]


@dataclass(frozen=True, slots=True)
class Change:
    """`id` is the line's own name; of a binding, which has none, its canonical text. `implied`: named without a line of its own.

    A subject that becomes a team (or the reverse) is a change with specs of two kinds, in the section of the new one.
    """

    kind: Kind
    section: str
    id: str
    before: Spec | None
    after: Spec | None
    implied: bool = False
