"""Cover between patterns: whether everything that one can ever reach, the other reaches too.

Judged on the patterns, over all codes that could be registered, not over today's catalogue (semantics, "Handing out": who
holds the seven registered verbs may not hand out `*`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from permissions.engine.platform import PREFIX

# A character that no pattern of the question names: it stands for all of them, since no pattern can tell them apart.
_OTHER: Final = "\x00"
_TAIL: Final = "**"  # not a character: the token of a last segment that is exactly `*`

# Cover is the containment of two regular languages, exponential for texts such as `*a????????????????`. Real catalogues need
# fewer than 400 steps (seen over AWS and Azure); past this bound the answer is "not covered", which refuses and never hands out.
MAX_STEPS: Final = 20_000


class _State(NamedTuple):
    """Where both patterns are after reading the same text."""

    narrow: int  # one place in the narrow pattern's tokens
    wide: frozenset[int]  # every place the wide pattern may be at
    platform: int  # characters of the platform's prefix read so far; -1: the text does not begin with it
    colons: bool  # a colon has been read: a code has at least two segments
    last: str  # "": a segment begins; " ": a white space was read; "x": any other character


def covers(wide: str, narrow: str) -> bool:
    """Whether every code that `narrow` can ever match, `wide` matches too.

    Exact over the codes that `names.check_code` admits, whatever their length; where the search would pass `MAX_STEPS`, False.
    """
    if wide in (narrow, "*"):
        return wide == narrow or not narrow.startswith(PREFIX)
    # A code of the platform is reached only by a pattern that begins with its prefix, on either side.
    of_platform = narrow.startswith(PREFIX)
    if of_platform and not wide.startswith(PREFIX):
        return False
    narrow_tokens, wide_tokens = _tokens(narrow), _tokens(wide)
    letters = {t for t in (*narrow_tokens, *wide_tokens) if len(t) == 1 and t not in "*?:"}
    letters |= set(PREFIX) | {_OTHER, ":"}
    start = _State(0, _closure(wide_tokens, {0}), 0, colons=False, last="")
    seen = {start}
    todo = [start]
    while todo:
        if len(seen) > MAX_STEPS:
            return False
        state = todo.pop()
        reached = _is_code_end(state) and _accepts(narrow_tokens, state.narrow) and (of_platform or state.platform < len(PREFIX))
        if reached and not any(_accepts(wide_tokens, place) for place in state.wide):
            return False
        for letter in letters:
            for following in _read(state, letter, narrow_tokens, wide_tokens):
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
    return True


def _tokens(pattern: str) -> tuple[str, ...]:
    """One token a character; a last segment `*` is the token `_TAIL`."""
    if pattern == "*" or pattern.endswith(":*"):
        return (*pattern[:-1], _TAIL)
    return tuple(pattern)


def _accepts(tokens: tuple[str, ...], place: int) -> bool:
    return all(mark == "*" for mark in tokens[place:])


def _is_code_end(state: _State) -> bool:
    return state.colons and state.last == "x"


def _moves(tokens: tuple[str, ...], place: int, letter: str) -> set[int]:
    """The places reached from `place` by reading `letter`; a star may also be skipped."""
    reached: set[int] = set()
    while place < len(tokens):
        mark = tokens[place]
        if mark == _TAIL:
            # The tail needs one character; having read one it stays, standing past the end as well as on itself.
            reached |= {place, len(tokens)}
            break
        if mark == "*":
            if letter != ":":
                reached.add(place)
            place += 1
            continue
        if mark == letter or (mark == "?" and letter != ":"):
            reached.add(place + 1)
        break
    return reached


def _closure(tokens: tuple[str, ...], places: set[int]) -> frozenset[int]:
    """Places, with those reached by skipping stars: equal situations then look equal, so fewer are visited."""
    full = set(places)
    for place in places:
        following = place
        while following < len(tokens) and tokens[following] == "*":
            following += 1
            full.add(following)
    return frozenset(full)


def _read(state: _State, letter: str, narrow: tuple[str, ...], wide: tuple[str, ...]) -> list[_State]:
    if letter == ":":
        # No code has an empty segment, nor one that ends with a space.
        if state.last != "x":
            return []
        last, colons = "", True
    elif letter.isspace():
        # No segment begins with a space.
        if not state.last:
            return []
        last, colons = " ", state.colons
    else:
        last, colons = "x", state.colons
    platform = state.platform
    if 0 <= platform < len(PREFIX):
        platform = platform + 1 if letter == PREFIX[platform] else -1
    places: set[int] = set()
    for place in state.wide:
        places |= _moves(wide, place, letter)
    reached = _closure(wide, places)
    return [_State(place, reached, platform, colons, last) for place in _moves(narrow, state.narrow, letter)]
