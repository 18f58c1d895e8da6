"""Which actions an Azure role condition guards: `(!(ActionMatches{'a'})) OR (…)`, such clauses joined by AND.

Only this shape is understood, since for every other action such a condition is true. Anything else guards everything.
"""

from __future__ import annotations

import re
from typing import Final

CLAUSE: Final = re.compile(r"!\s*\(\s*ActionMatches\s*\{\s*'([^'*]+)'\s*\}\s*\)")
OPENING, CLOSING = "([{", ")]}"


def guarded_actions(condition: str) -> list[str] | None:
    """The guarded actions, in the order of the text; None where the condition guards more than it names."""
    actions = []
    for clause in _parts(condition, "AND"):
        first = _bare(_parts(clause, "OR")[0])
        match = CLAUSE.fullmatch(first)
        if match is None or len(_parts(clause, "OR")) < 2:
            return None
        actions.append(match.group(1))
    return actions


def _bare(text: str) -> str:
    """The text without the brackets that enclose all of it."""
    text = text.strip()
    while text.startswith("(") and _end_of(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def _end_of(text: str) -> int:
    """Where the bracket closes that opens the text; -1 where it does not."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in OPENING) - (character in CLOSING)
        if depth == 0:
            return place
    return -1


def _parts(text: str, word: str) -> list[str]:
    """The text split at a word (or at its sign, && or ||) that stands outside all brackets."""
    text = _bare(text)
    parts, start, depth = [], 0, 0
    for match in re.finditer(rf"[([{{]|[)\]}}]|\b{word}\b|{re.escape({'AND': '&&', 'OR': '||'}[word])}", text):
        token = match.group()
        if token in OPENING:
            depth += 1
        elif token in CLOSING:
            depth -= 1
        elif depth == 0:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]
