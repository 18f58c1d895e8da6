"""The table of atomic operations: each is a Lua file, the same law in Python, and the keys it touches.

An operation's script and law are found by its name: `lua/<name>.lua`, `laws/<name>.py`. A strategy names an operation; a store
runs it, in Lua or in Python, with one answer.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from resilience.laws.keyspace import Law

LUA: Final = Path(__file__).resolve().parent / "lua"

Suffixes = tuple[str, ...] | Callable[[Sequence[int | str]], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Script:
    """A script as the server gets it. `sha`: hexadecimal, as EVALSHA wants it."""

    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`family` begins every key, `suffixes` end them; where they depend on the arguments, a function of those."""

    name: str
    family: str
    suffixes: Suffixes

    def keys(self, prefix: str, tag: str, args: Sequence[int | str]) -> list[str]:
        """The keys, in the order of KEYS; one hash tag, so that they lie in one slot."""
        suffixes = self.suffixes(args) if callable(self.suffixes) else self.suffixes
        head = f"{prefix}{self.family}:{{{tag}}}:"
        return [head + suffix for suffix in suffixes]

    @property
    def law(self) -> Law:
        return _law(self.name)

    @property
    def script(self) -> Script:
        return _script(self.name)


@cache
def _law(name: str) -> Law:
    found: Law = importlib.import_module(f"resilience.laws.{name}").law
    return found


@cache
def _script(name: str) -> Script:
    text = (LUA / "prelude.lua").read_text(encoding="utf-8") + (LUA / f"{name}.lua").read_text(encoding="utf-8")
    # The server names a script by this digest; nothing is protected by it.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


OPERATIONS: Final[dict[str, Operation]] = {
    operation.name: operation
    for operation in (
        # rate_limiter
        Operation("gcra", "rate_limiter", ("gcra",)),
        # config
        Operation("config_put", "resilience", ("current",)),
        Operation("config_get", "resilience", ("current",)),
        Operation("config_seen", "resilience", ("config",)),
    )
}
