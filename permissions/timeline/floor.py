"""Which revisions can be read back, and which of them was in force at an instant."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from permissions import revisions
from permissions.engine.reasons import InvalidRequestError
from permissions.models import Changelog, HistoryFloor
from permissions.revisions import Head

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class NotKept(InvalidRequestError):
    """The rows of that time cannot be read back: too old, of another history, or never kept. The text says from when they can."""


@dataclass(frozen=True, slots=True)
class Floor:
    """The oldest revision of the realm's present epoch whose rows can be read back, and since when they were in force."""

    rev: int
    at: dt.datetime


def floor_of(head: Head) -> Floor:
    """Raises NotKept where nothing of the past is kept."""
    row = HistoryFloor.objects.filter(realm_id=head.realm_id).values_list("epoch", "rev", "at").first()
    if row is None:
        raise NotKept(f"no history of rows is kept of the realm {head.name!r} (setting ROW_HISTORY)")
    epoch, rev, at = row
    if revisions.epoch_text(epoch) != head.epoch:
        raise NotKept(f"the history of the realm {head.name!r} began anew, and its rows of before cannot be read back")
    return Floor(rev, at)


def _text(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_text(at_us: int) -> str:
    try:
        return _text(_EPOCH + dt.timedelta(microseconds=at_us))
    except OverflowError:
        return f"{at_us} µs"


def revision_at(head: Head, floor: Floor, at_us: int) -> int:
    """The revision in force at the instant, by the changelog's times. Raises NotKept for one before the floor.

    A change counts from the moment it was made in its transaction, which is a little before it was committed.
    """
    at = _EPOCH + dt.timedelta(microseconds=at_us)
    if at < floor.at:
        raise NotKept(
            f"{instant_text(at_us)} is before the history of rows of the realm {head.name!r}, "
            f"which begins at {_text(floor.at)} with revision {floor.rev}"
        )
    found = (
        Changelog.objects.filter(realm_id=head.realm_id, rev__lte=head.rev, at__lte=at)
        .order_by("-rev")
        .values_list("rev", flat=True)
        .first()
    )
    return max(floor.rev, found or 0)


def check_kept(head: Head, floor: Floor, revision: int) -> None:
    """Raises NotKept for a revision below the floor, or above the head."""
    if revision < floor.rev:
        raise NotKept(
            f"revision {revision} is before the history of rows of the realm {head.name!r}, "
            f"which begins with revision {floor.rev} at {_text(floor.at)}"
        )
    if revision > head.rev:
        raise NotKept(f"the realm {head.name!r} has not reached revision {revision}; it is at {head.rev}")
