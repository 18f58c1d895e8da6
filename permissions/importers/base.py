"""What every importer needs: checked records of a role catalogue, and the catalogue's spelling of codes and patterns.

An importer is `load(data, *, catalogue=None, progress=None, notes=None) -> Bundle`. It refuses what it cannot read, and what it
must leave out or could not say exactly it tells `notes`: nothing is widened without a word.
"""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from permissions.bundle.fields import kind_of
from permissions.bundle.specs import Bundle, CodeSpec, PermissionSpec, RealmSpec, RoleSpec
from permissions.engine import names
from permissions.errors import Invalid, Problem

Progress = Callable[[int, int], None]
# A pattern of a source that ignores case may need more than one spelling here. Beyond this many, its codes are named one by one.
MAX_SPELLINGS: Final = 4
TRIMMED: Final = "text that begins or ends with a space: taken off"


class Importer(Protocol):
    def __call__(
        self,
        data: object,
        *,
        catalogue: object = None,
        progress: Progress | None = None,
        notes: Counter[str] | None = None,
    ) -> Bundle:
        """The catalogue's roles as a bundle. `notes` counts what was left out or made narrower, by its reason."""


class Record:
    """One role of the file. A value of the wrong kind is noted with its place and read as nothing."""

    def __init__(self, data: Mapping[str, Any], where: str, problems: list[Problem], notes: Counter[str] | None) -> None:
        self.data = data
        self.where = where
        self.problems = problems
        self.name = self._name(notes)

    def note(self, key: str, message: str) -> None:
        self.problems.append(Problem(f"{self.where}.{key}", message))

    def _name(self, notes: Counter[str] | None) -> str:
        name = self.data.get("name")
        if isinstance(name, str) and name != name.strip(" ") and notes is not None:
            notes[TRIMMED] += 1
        try:
            return names.check_text(name.strip(" ") if isinstance(name, str) else name, "name", max_length=names.MAX_NAME)
        except names.BadNameError as error:
            self.note("name", str(error))
            return ""

    def texts(self, key: str) -> list[str]:
        value = self.data.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self.note(key, f"must be a list of texts, not {kind_of(value)}")
        return []

    def text(self, key: str) -> str:
        value = self.data.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self.note(key, f"must be a text, not {kind_of(value)}")
        return ""

    def count(self, key: str) -> int:
        value = self.data.get(key, 0)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.note(key, f"must be a number, not {kind_of(value)}")
        return 0


def records(data: object, problems: list[Problem], notes: Counter[str] | None = None) -> list[Record]:
    """The roles of the file, each under a name of its own."""
    roles = data.get("roles") if isinstance(data, Mapping) else None
    if not isinstance(roles, list):
        raise Invalid([Problem("roles", "the file must be a JSON object with a list of roles under the key 'roles'")])
    found = []
    for number, role in enumerate(roles):
        if isinstance(role, Mapping):
            found.append(Record(role, f"roles[{number}]", problems, notes))
        else:
            problems.append(Problem(f"roles[{number}]", f"must be a mapping, not {kind_of(role)}"))
    times = Counter(record.name for record in found)
    for record in found:
        if record.name and times[record.name] > 1:
            record.note("name", f"{names.shown(record.name)} is the name of {times[record.name]} roles")
    return found


def catalogue_texts(catalogue: object) -> list[str]:
    """The catalogue's codes as the source writes them. None is an empty one."""
    if catalogue is None:
        return []
    if isinstance(catalogue, list) and all(isinstance(code, str) for code in catalogue):
        return catalogue
    raise Invalid([Problem("catalogue", "must be a JSON list of texts, one action each")])


def refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise Invalid(problems)


class Converter:
    """Texts of the source → patterns of the law, each text once. Names what it cannot convert."""

    def __init__(self, convert: Callable[[str], Iterable[str]], problems: list[Problem]) -> None:
        self._convert = convert
        self._problems = problems
        self._known: dict[str, tuple[str, ...] | names.BadNameError] = {}

    def __call__(self, text: str, where: str) -> tuple[str, ...]:
        if text not in self._known:
            try:
                self._known[text] = tuple(names.check_pattern(pattern) for pattern in self._convert(text))
            except names.BadNameError as error:
                self._known[text] = error
        found = self._known[text]
        if isinstance(found, names.BadNameError):
            self._problems.append(Problem(where, str(found)))
            return ()
        return found

    def of(self, record: Record, key: str) -> list[str]:
        """The patterns of a role's list."""
        return [p for n, text in enumerate(record.texts(key)) for p in self(text, f"{record.where}.{key}[{n}]")]

    def of_catalogue(self, catalogue: object) -> list[str]:
        texts = catalogue_texts(catalogue)
        return [p for n, text in enumerate(texts) for p in self(text, f"catalogue[{n}]")]


def lines(patterns: Iterable[str]) -> tuple[CodeSpec, ...]:
    return tuple(CodeSpec(pattern) for pattern in dict.fromkeys(patterns))


def bundle_of(roles: Iterable[RoleSpec], codes: Iterable[str] | None) -> Bundle:
    """The bundle of an import. `codes` None: those that the roles name, which register themselves."""
    permissions = None if codes is None else tuple(PermissionSpec(code) for code in sorted(codes))
    return Bundle(RealmSpec("default"), permissions=permissions, roles=tuple(roles))


def _regex(pattern: str) -> re.Pattern[str]:
    """The pattern with a group around each literal, in any case. `*` stops at a colon unless it is the last segment."""
    if pattern == "*":
        return re.compile(".*", re.DOTALL)
    parts = re.split(r"([*?])", pattern)
    open_end = pattern.endswith(":*")
    wild = {"*": "[^:]*", "?": "[^:]"}
    text = "".join(wild.get(part) or (f"({re.escape(part)})" if part else "") for part in parts)
    return re.compile(text[: -len(wild["*"])] + ".+" if open_end else text, re.IGNORECASE | re.DOTALL)


class Spelling:
    """Codes of a source that ignores case, each in one spelling: the catalogue's, else the one the file uses most."""

    def __init__(self, official: Iterable[str], used: Iterable[str]) -> None:
        self._codes: dict[str, str] = {}
        for code in official:
            self._codes.setdefault(code.lower(), code)
        for code, _ in sorted(Counter(used).items(), key=lambda item: (-item[1], item[0])):
            self._codes.setdefault(code.lower(), code)
        self._sorted = sorted(self._codes)
        self._matching: dict[str, frozenset[str]] = {}
        self._respelled: dict[str, tuple[str, ...]] = {}

    @property
    def codes(self) -> Iterable[str]:
        return self._codes.values()

    def matching(self, pattern: str) -> frozenset[str]:
        """The codes that `pattern` matches in any case."""
        key = pattern.lower()
        if key not in self._matching:
            self._matching[key] = frozenset(self._codes[code] for code in self._candidates(key))
        return self._matching[key]

    def _candidates(self, pattern: str) -> list[str]:
        if not names.is_pattern(pattern):
            return [pattern] if pattern in self._codes else []
        start = re.split(r"[*?]", pattern, maxsplit=1)[0]
        first = bisect.bisect_left(self._sorted, start)
        last = bisect.bisect_left(self._sorted, start + "\U0010ffff")
        regex = _regex(pattern)
        return [code for code in self._sorted[first:last] if regex.fullmatch(code)]

    def respelled(self, pattern: str) -> tuple[str, ...]:
        """Patterns, or codes, that match here in exact case what `pattern` matches there in any.

        Each matched code lends the pattern's literals its own spelling; the spellings together match all of them and, being
        spellings of the same pattern, no other. A pattern that matches nothing in the catalogue is kept as it is written.
        """
        if pattern not in self._respelled:
            codes = self.matching(pattern)
            spellings = sorted({self._as_in(pattern, code) for code in codes}) or [pattern]
            self._respelled[pattern] = tuple(spellings if len(spellings) <= MAX_SPELLINGS else sorted(codes))
        return self._respelled[pattern]

    @staticmethod
    def _as_in(pattern: str, code: str) -> str:
        match = _regex(pattern).fullmatch(code)
        if match is None or pattern == "*":
            return pattern
        literals = iter(match.groups())
        return "".join(next(literals) if part not in ("", "*", "?") else part for part in re.split(r"([*?])", pattern))
