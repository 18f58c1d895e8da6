"""Several limits on one call, all or nothing: looks at every rule, and writes only if each of them admits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from resilience.laws import fixed_window, gcra, sliding_log, sliding_window, token_bucket
from resilience.laws.keyspace import Keyspace, Law, Reply

LAWS: Final[dict[str, Law]] = {
    "fixed_window": fixed_window.law,
    "gcra": gcra.law,
    "sliding_log": sliding_log.law,
    "sliding_window": sliding_window.law,
    "token_bucket": token_bucket.law,
}


def law(db: Keyspace, keys: Sequence[str], args: Sequence[int | str], now: int) -> Reply:
    """Shape of arguments and reply: see limiter_set.lua."""
    verb, at = args[0], 2
    if verb == "reset":
        for key in keys:
            db.delete(key)
        return [1]
    rows: list[Reply] = []
    asked: list[tuple[Law, Sequence[int | str]]] = []
    admitted = 1
    for key in keys:
        rule, binding, number = LAWS[str(args[at + 1])], int(args[at + 2]), int(args[at + 3])
        own = args[at + 4 : at + 4 + number]
        at += 4 + number
        row = rule(db, [key], ["give" if verb == "give" else "peek", *own], now)
        if binding and not row[0]:
            admitted = 0
        rows.append(row)
        asked.append((rule, own))
    if verb == "take" and admitted:
        for place, (rule, own) in enumerate(asked):
            if rows[place][0]:
                rows[place] = rule(db, [keys[place]], ["take", *own], now)
    return [admitted, *(figure for row in rows for figure in (len(row), *row))]
