"""How many alerts are open, as the last evaluation of this process left them: figures of the leader's frames."""

from __future__ import annotations

from typing import TypedDict


class Counts(TypedDict):
    """None before the first evaluation of this process. `alerts_at`: seconds since 1970, of the last one."""

    firing: int | None
    pending: int | None
    alerts_at: float | None


_last: Counts = {"firing": None, "pending": None, "alerts_at": None}


def counts() -> Counts:
    return _last


def count(firing: int, pending: int, at: float) -> None:
    global _last  # noqa: PLW0603 - one dict swapped as a whole, so that a reader in another thread sees one evaluation
    _last = {"firing": firing, "pending": pending, "alerts_at": at}


def reset() -> None:
    """No longer the leader: its numbers would grow stale."""
    global _last  # noqa: PLW0603 - as above
    _last = {"firing": None, "pending": None, "alerts_at": None}
