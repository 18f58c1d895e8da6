"""Which line of a file a place such as `roles[2].permissions[0]` stands on; and the error of a file that has no places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from permissions.errors import Problem

MAX_DEPTH: Final = 32


class Places(Mapping[str, int]):
    """Place → line. A place without a line of its own (a missing key, say) has the line of what surrounds it.

    The lines are found when the first one is asked for: a bundle without a mistake never needs them.
    """

    def __init__(self, find: Callable[[], dict[str, int]]) -> None:
        self._find = find
        self._lines: dict[str, int] | None = None

    @property
    def lines(self) -> dict[str, int]:
        if self._lines is None:
            self._lines = self._find()
        return self._lines

    def __getitem__(self, place: str) -> int:
        lines = self.lines
        while place and place not in lines:
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return lines[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)


class UnreadableError(Exception):
    """The text cannot be read to its end; `problems` say where and why. `is_json`: it is JSON all the same."""

    def __init__(self, *problems: Problem, is_json: bool = False) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems
        self.is_json = is_json
