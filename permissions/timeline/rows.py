"""Rows of a past revision: those of now, with every row that has changed since put back to what it was."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from django.apps import apps
from django.db.models import F

from permissions.engine.reasons import Unavailable
from permissions.models import RowHistory
from permissions.selectors import PART, to_us
from permissions.triggers.history import KEPT, USER_FLAGS

Row = Mapping[str, Any]

# Entries. So many take about ten seconds and 300 MB to read, for one question.
MOST_ENTRIES: Final = 500_000
# Values looked for, whose rows of now are kept in memory.
MOST_KEPT: Final = 200_000
_COLUMNS: Final = {kept.kind: kept.columns for kept in KEPT.values()}
# What SQLite keeps as text inside the entry.
_JSON: Final = frozenset({"resource_types", "obligations", "attributes", "allow", "deny"})
_TIMES: Final = frozenset({"valid_from", "valid_until"})
_FLAGS: Final = frozenset(
    {"critical", "high_risk", "suspended", "active", "locked", "inherit", "propagate", *USER_FLAGS.values()}
)
# How a table without a realm of its own is found by it.
_OWNED: Final = {
    kept.kind: f"{kept.owner[1].removesuffix('_id')}__realm_id" if kept.owner else "realm_id" for kept in KEPT.values()
}


def plain(old: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's row as the reader has rows: times in microseconds, flags as such, JSON read."""
    row: dict[str, Any] = {}
    for name, value in old.items():
        if value is not None and name in _TIMES:
            moment = dt.datetime.fromisoformat(value)
            row[name] = to_us(moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC))
        elif value is not None and name in _FLAGS:
            row[name] = bool(value)
        elif name in _JSON and isinstance(value, str):
            row[name] = json.loads(value)
        else:
            row[name] = value
    return row


class Rows:
    """All that has changed in a realm since a revision, by table and id. Of one database snapshot, which must stay open.

    For each row, ascending, what it was until each revision that changed it began (None: it was not there).
    """

    def __init__(self, realm_id: int, since: int) -> None:
        self.realm_id = realm_id
        self.since = since
        self._chains: dict[str, dict[int, list[tuple[int, dict[str, Any] | None]]]] = defaultdict(dict)
        self._found: dict[tuple[str, str], dict[Any, set[int]]] = {}
        # Rows of now by what they were looked for: a replay asks for the same ones line after line, of one snapshot.
        self._current: dict[tuple[str, str, Any], list[tuple[int, dict[str, Any]]]] = {}
        self._read()

    def _read(self) -> None:
        entries = RowHistory.objects.filter(realm_id=self.realm_id, rev__gt=self.since).order_by("id")
        values: Any = entries.values_list("rev", "kind", "row_id", "old")
        for number, (rev, kind, row_id, old) in enumerate(values.iterator(chunk_size=2_000)):
            if number >= MOST_ENTRIES:
                raise Unavailable(f"more than {MOST_ENTRIES} changes of rows lie between; ask for a later time", retry_after_s=60)
            if row_id is None:
                for added in old:
                    self._add(kind, added, rev, None)
            else:
                self._add(kind, row_id, rev, None if old is None else plain(old))

    def _add(self, kind: str, row_id: int, rev: int, old: dict[str, Any] | None) -> None:
        chain = self._chains[kind].setdefault(row_id, [])
        # The first entry of a revision has what was before it; the later ones, what was within it.
        if not chain or chain[-1][0] < rev:
            chain.append((rev, old))

    def before(self, kind: str, row_id: int, rev: int) -> tuple[bool, dict[str, Any] | None]:
        """Whether the row has changed after `rev`; and if so, what it was at it."""
        for changed, old in self._chains[kind].get(row_id, ()):
            if changed > rev:
                return True, old
        return False, None

    def _having(self, kind: str, column: str, values: Collection[Any]) -> Iterable[int]:
        """Ids of rows that once had one of the values there."""
        index = self._found.get((kind, column))
        if index is None:
            index = defaultdict(set)
            for row_id, chain in self._chains[kind].items():
                for _, old in chain:
                    if old is not None:
                        index[row_id if column == "id" else old[column]].add(row_id)
            self._found[kind, column] = index
        return {row_id for value in values for row_id in index.get(value, ())}

    def find(self, rev: int, kind: str, column: str, values: Collection[Any]) -> dict[int, Row]:
        """By id, the realm's rows at `rev` that have one of the values in the column."""
        wanted = set(values)
        found: dict[int, Row] = {}
        self._read_current(kind, column, wanted)
        for value in wanted:
            for row_id, row in self._current[kind, column, value]:
                if not self.before(kind, row_id, rev)[0]:
                    found[row_id] = row
        for row_id in self._having(kind, column, wanted):
            has_changed, old = self.before(kind, row_id, rev)
            if has_changed and old is not None and (row_id if column == "id" else old[column]) in wanted:
                found[row_id] = old
        return found

    def _read_current(self, kind: str, column: str, values: Collection[Any]) -> None:
        missing = [value for value in values if (kind, column, value) not in self._current]
        if len(self._current) + len(missing) > MOST_KEPT:
            self._current.clear()
            missing = list(values)
        for value in missing:
            self._current[kind, column, value] = []
        for part in _parts(missing):
            for row_id, row in _read_now(kind, self._now(kind).filter(**{f"{column}__in": part})):
                self._current[kind, column, row_id if column == "id" else row[column]].append((row_id, row))

    def all(self, rev: int, kind: str) -> dict[int, Row]:
        """By id, all of the realm's rows at `rev`."""
        found: dict[int, Row] = {}
        for row_id, row in _read_now(kind, self._now(kind)):
            if not self.before(kind, row_id, rev)[0]:
                found[row_id] = row
        for row_id in self._chains[kind]:
            has_changed, old = self.before(kind, row_id, rev)
            if has_changed and old is not None:
                found[row_id] = old
        return found

    def _now(self, kind: str) -> Any:
        model: Any = apps.get_model("permissions", kind)
        if kind == "realm":
            return model._default_manager.filter(pk=self.realm_id)
        return model._default_manager.filter(**{_OWNED[kind]: self.realm_id})


def _read_now(kind: str, rows: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    users = {key: F(f"user__{flag}") for flag, key in USER_FLAGS.items()} if kind == "subject" else {}
    for row in rows.order_by().values("id", *_COLUMNS[kind], **users).iterator(chunk_size=5_000):
        for name in _TIMES & row.keys():
            row[name] = to_us(row[name])
        yield row.pop("id"), row


def _parts(values: Collection[Any]) -> Iterator[list[Any]]:
    everything = list(values)
    for start in range(0, len(everything), PART):
        yield everything[start : start + PART]
