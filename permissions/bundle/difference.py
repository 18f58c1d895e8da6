"""The changes of a bundle as a person reads them: `+ role editor`, `~ role viewer: permissions +post:read -post:edit`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from permissions.bundle.changes import Change, Kind
from permissions.bundle.compact import SETS, to_dict
from permissions.bundle.specs import BindingSpec, Spec

SIGNS: Final[Mapping[Kind, str]] = {"add": "+", "change": "~", "remove": "-"}
DONE: Final[Mapping[Kind, str]] = {"add": "added", "change": "changed", "remove": "removed"}
# A screen or two of each kind; a catalogue of thousands is summed up.
MAX_LINES: Final = 40
MAX_ITEMS: Final = 12
MAX_TEXT: Final = 60


def describe(binding: BindingSpec) -> str:
    """A binding in one line: who, what, where, under which conditions."""
    line = to_dict(binding)
    what = [f"role {binding.role}"] if binding.role else []
    what += [f"{key} {_listed(line[key])}" for key in ("allow", "deny") if key in line]
    where = f"on {binding.scope}" if binding.scope else "on the realm"
    rest = [f"{key} {_value(line[key])}" for key in line if key not in ("subject", "role", "allow", "deny", "scope")]
    return " ".join([binding.subject, *what, where]) + (f" ({', '.join(rest)})" if rest else "")


def _listed(items: Sequence[Any]) -> str:
    shown = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in items[:MAX_ITEMS]]
    return ", ".join(shown) + (f" and {len(items) - MAX_ITEMS:,} more" if len(items) > MAX_ITEMS else "")


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _item(item: Any) -> str:
    """A list's item in a `+… -…` run: a code with its condition, a member with its window."""
    if isinstance(item, str):
        return item
    rest = ", ".join(f"{key} {value}" for key, value in item.items() if key not in ("code", "id"))
    return f"{item.get('code', item.get('id'))} ({rest})" if rest else json.dumps(item, ensure_ascii=False)


def _field(key: str, before: Any, after: Any) -> str:
    if key not in SETS:
        return f"{key} {_value(before)} → {_value(after)}"
    old, new = list(map(_item, before or ())), list(map(_item, after or ()))
    steps = [f"+{item}" for item in new if item not in set(old)] + [f"-{item}" for item in old if item not in set(new)]
    more = f" … {len(steps) - MAX_ITEMS:,} more" if len(steps) > MAX_ITEMS else ""
    return f"{key} {' '.join(steps[:MAX_ITEMS])}{more}" if steps else ""


def _fields(before: Spec, after: Spec) -> str:
    old, new = to_dict(before), to_dict(after)
    # Compared as JSON: Python takes 1, 1.0 and True for equal.
    keys = [key for key in {**new, **old} if json.dumps(old.get(key)) != json.dumps(new.get(key))]
    kinds = [] if type(before) is type(after) else [f"becomes a {type(after).__name__.removesuffix('Spec').lower()}"]
    return "; ".join(kinds + [part for key in keys if (part := _field(key, old.get(key), new.get(key)))])


def _line(change: Change) -> str:
    noun = change.section.removesuffix("s")
    sign = SIGNS[change.kind]
    spec = change.after or change.before
    if isinstance(spec, BindingSpec):
        return f"{sign} {noun} {describe(spec)}"
    if change.before is not None and change.after is not None:
        return f"{sign} {noun} {change.id}: {_fields(change.before, change.after)}"
    return f"{sign} {noun} {change.id}"


def _runs(changes: Iterable[Change]) -> Iterator[tuple[Change, list[Change]]]:
    for _, run in groupby(changes, key=lambda change: (change.kind == "remove", change.section)):
        group = list(run)
        yield group[0], group


def render(changes: Sequence[Change]) -> str:
    """One line a change, long runs cut with their number, and the counts at the end."""
    if not changes:
        return "nothing to change"
    lines: list[str] = []
    for first, run in _runs(changes):
        spoken = [change for change in run if not change.implied]
        silent = [change.id for change in run if change.implied]
        lines += [_line(change) for change in spoken[:MAX_LINES]]
        if len(spoken) > MAX_LINES:
            rest = Counter(DONE[change.kind] for change in spoken[MAX_LINES:])
            lines.append(f"  … {' and '.join(f'{n:,} more {first.section} {done}' for done, n in rest.items())}")
        if silent:
            what = first.section if len(silent) > 1 else first.section.removesuffix("s")
            lines.append(f"+ {len(silent):,} {what} named by other lines: {_listed(silent)}")
    counts = Counter(change.kind for change in changes)
    lines.append(", ".join(f"{counts[kind]:,} {done}" for kind, done in DONE.items()))
    return "\n".join(lines)
