"""The pattern grammar: whether a pattern reaches a code, whether it covers another pattern, and an index to expand it.

Segments are separated by `:`. Inside a segment `*` stands for any run of characters but `:`, the empty run included, and `?`
for exactly one. A last segment that is exactly `*` stands for one or more whole segments. The platform's own codes are
reached only by a pattern that begins with their prefix. Source: semantics, "Permissions and patterns".
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile

from permissions.engine.covering import covers
from permissions.engine.platform import PREFIX

__all__ = ["Index", "covers", "matches"]

# An index lives as long as a role table. Direct lists of bindings come through the same memo, so a realm with very many
# different ones must not grow it without end; 50,000 holds every line of the largest real catalogue (60,052 AWS grants, 16,900 of
# them distinct).
MAX_MEMO = 50_000
# More codes at once, and numbering all of them anew costs less than fitting each of these into every mask.
MAX_ADDED = 32


def matches(pattern: str, code: str) -> bool:
    """Whether `pattern` (a concrete code matches itself) reaches the concrete `code`."""
    if code.startswith(PREFIX) and not pattern.startswith(PREFIX):
        return False
    return _matches_segments(pattern.split(":"), code.split(":"))


def _matches_segments(pattern: Sequence[str], code: Sequence[str]) -> bool:
    count = len(pattern)
    if pattern[-1] == "*":
        if len(code) < count:
            return False
    elif len(code) != count:
        return False
    return all(glob(wanted, part) for wanted, part in zip(pattern, code, strict=False))


def glob(pattern: str, text: str) -> bool:
    """Whether one segment matches. Not a regular expression: `*a*a*a*b` would backtrack there for minutes, here it costs at
    most len(pattern) * len(text) steps, since only the last star is ever taken back."""
    if "*" not in pattern:
        return pattern == text or ("?" in pattern and len(pattern) == len(text) and _same(pattern, text))
    at = place = 0
    star = mark = -1
    size, length = len(pattern), len(text)
    while place < length:
        if at < size and pattern[at] == "*":
            star, mark = at, place
            at += 1
        elif at < size and (pattern[at] == "?" or pattern[at] == text[place]):
            at += 1
            place += 1
        elif star >= 0:
            mark += 1
            at, place = star + 1, mark
        else:
            return False
    return all(rest == "*" for rest in pattern[at:])


def _same(pattern: str, text: str) -> bool:
    return all(a in ("?", b) for a, b in zip(pattern, text, strict=True))


def _place(number: int) -> tuple[int, int]:
    return number >> 3, 1 << (number & 7)


class Index:
    """The registered codes of a realm, numbered, with the masks of the patterns asked for so far.

    Number n of a code is bit n of a mask; `places` has it as byte and bit of a mask's bytes. Per segment position it holds
    segment -> numbers, so that a pattern looks only at the codes of its rarest fixed segment or fixed beginning; a scan of 37,000
    codes for each of 60,000 lines would take an hour.

    An index made by `changed` numbers new codes behind the others; the number of one that is gone stands for nothing, and a mask
    may have that bit.
    """

    __slots__ = ("_at", "_everything", "_memo", "_parts", "_sorted", "bits", "by_number", "codes", "places", "size_bytes")

    def __init__(self, codes: Iterable[str]) -> None:
        self.codes: tuple[str, ...] = tuple(sorted(set(codes)))
        self.by_number: Sequence[str | None] = self.codes
        self.bits: dict[str, int] = {code: n for n, code in enumerate(self.codes)}
        self.places: dict[str, tuple[int, int]] = {code: _place(n) for code, n in self.bits.items()}
        self.size_bytes = len(self.codes) // 8 + 1
        self._parts = [code.split(":") for code in self.codes]
        self._at: list[dict[str, list[int]]] = []
        for n, parts in enumerate(self._parts):
            for position, part in enumerate(parts):
                if position == len(self._at):
                    self._at.append({})
                self._at[position].setdefault(part, []).append(n)
        self._sorted: list[list[str]] = [sorted(values) for values in self._at]
        self._everything = self.mask_of_numbers(n for n, code in enumerate(self.codes) if not code.startswith(PREFIX))
        self._memo: dict[str, int] = {}

    def changed(self, added: Collection[str], gone: Collection[str]) -> Index | None:
        """This index with other codes, every number of the old one kept; None where it costs less to number all anew."""
        unused = len(self.by_number) - len(self.bits) + len(gone)
        if len(added) > MAX_ADDED or unused > max(MAX_ADDED, len(self.bits) >> 3):
            return None
        index = Index.__new__(Index)
        by_number, codes = list(self.by_number), list(self.codes)
        index.bits, index.places, index._parts = self.bits.copy(), self.places.copy(), self._parts.copy()
        index._at, index._sorted = [here.copy() for here in self._at], [values.copy() for values in self._sorted]
        index._everything = self._everything
        # Readers add to the memo meanwhile: it is copied in one step.
        index._memo = self._memo.copy()
        for code in gone:
            by_number[index.bits.pop(code)] = None
            del index.places[code]
            del codes[bisect_left(codes, code)]
        for code in added:
            insort(codes, code)
            index._add(code, by_number)
        index.codes, index.by_number = tuple(codes), by_number
        index.size_bytes = len(by_number) // 8 + 1
        return index

    def _add(self, code: str, by_number: list[str | None]) -> None:
        number, parts = len(by_number), code.split(":")
        self.bits[code], self.places[code] = number, _place(number)
        self._parts.append(parts)
        by_number.append(code)
        for position, part in enumerate(parts):
            if position == len(self._at):
                self._at.append({})
                self._sorted.append([])
            here = self._at[position]
            if part not in here:
                insort(self._sorted[position], part)
            here[part] = [*here.get(part, ()), number]
        if not code.startswith(PREFIX):
            self._everything |= 1 << number
        for pattern, mask in self._memo.items():
            if matches(pattern, code):
                self._memo[pattern] = mask | 1 << number

    def mask_of_numbers(self, numbers: Iterable[int]) -> int:
        # Setting bits one by one in an int copies it each time; a bytearray is written in place.
        field = bytearray(self.size_bytes)
        for n in numbers:
            field[n >> 3] |= 1 << (n & 7)
        return int.from_bytes(field, "little")

    def mask(self, pattern: str) -> int:
        """The registered codes that `pattern` reaches; 0 where it reaches none today."""
        known = self._memo.get(pattern)
        if known is not None:
            return known
        if pattern == "*":
            mask = self._everything
        elif "*" not in pattern and "?" not in pattern:
            number = self.bits.get(pattern)
            return 0 if number is None else 1 << number
        else:
            mask = self._expand(pattern)
        if len(self._memo) >= MAX_MEMO:
            self._memo = {}
        self._memo[pattern] = mask
        return mask

    def mask_of(self, patterns: Iterable[str]) -> int:
        """The union over `patterns`."""
        mask = 0
        single: list[int] = []
        for pattern in patterns:
            number = self.bits.get(pattern)
            if number is not None:
                single.append(number)
            else:
                mask |= self.mask(pattern)
        return mask | self.mask_of_numbers(single) if single else mask

    def expand(self, pattern: str) -> frozenset[str]:
        return frozenset(self.codes_of(self.mask(pattern)))

    def codes_of(self, mask: int) -> list[str]:
        """The codes of a mask, in ascending order."""
        found: list[str | None] = []
        data = mask.to_bytes(self.size_bytes, "little")
        for offset, byte in enumerate(data):
            if byte:
                base = offset << 3
                found.extend(self.by_number[base + n] for n in range(8) if byte >> n & 1)
        return sorted(code for code in found if code is not None)

    def _expand(self, pattern: str) -> int:
        wanted = pattern.split(":")
        numbers = self._candidates(wanted)
        parts = self._parts
        hits = [n for n in numbers if _matches_segments(wanted, parts[n])]
        if not pattern.startswith(PREFIX):
            hits = [n for n in hits if not parts[n][0].startswith(PREFIX)]
        return self.mask_of_numbers(hits)

    def _candidates(self, wanted: Sequence[str]) -> Iterable[int]:
        """The numbers to look at: those of the most selective position."""
        best: list[list[int]] | None = None
        fewest = len(self.by_number) + 1
        for position, segment in enumerate(wanted):
            if position >= len(self._at):
                return ()
            here = self._at[position]
            if "*" not in segment and "?" not in segment:
                lists = [here[segment]] if segment in here else []
            else:
                begin = "".join(takewhile(lambda c: c not in "*?", segment))
                if not begin:
                    continue
                values = self._sorted[position]
                lists = []
                for i in range(bisect_left(values, begin), len(values)):
                    if not values[i].startswith(begin):
                        break
                    lists.append(here[values[i]])
            count = sum(map(len, lists))
            if count < fewest:
                best, fewest = lists, count
        if best is None:
            return range(len(self.by_number))
        return (n for numbers in best for n in numbers)
