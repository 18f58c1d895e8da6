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
    """`family` begins every key, `suffixes` end them; where they depend on the arguments, a function of those.

    `calls`: operations whose scripts this one's calls as functions of KEYS and ARGV, so that no rule is written twice in Lua.
    """

    name: str
    family: str
    suffixes: Suffixes
    calls: tuple[str, ...] = ()

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
        return _script(self.name, self.family, self.calls)


@cache
def _law(name: str) -> Law:
    found: Law = importlib.import_module(f"resilience.laws.{name}").law
    return found


@cache
def _script(name: str, family: str, calls: tuple[str, ...]) -> Script:
    """`prelude.lua` stands in front of each, then the family's own prelude where there is one, then what it calls."""
    shared = [_lua(part) for part in ("prelude", f"{family}_prelude") if (LUA / f"{part}.lua").exists()]
    called = [f"local function {other}(KEYS, ARGV)\n{_lua(other)}end\n" for other in calls]
    text = "".join((*shared, *called, _lua(name)))
    # The server names a script by this digest; nothing is protected by it.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_BREAKER: Final = ("state", "probes", "seen", "failing", "force")


def _lua(name: str) -> str:
    return (LUA / f"{name}.lua").read_text(encoding="utf-8")


def _limiter_set(args: Sequence[int | str]) -> tuple[str, ...]:
    """The end of each rule's key stands in front of the rule's arguments; see limiter_set.lua."""
    ends, at = [], 2
    for _ in range(int(args[1])):
        ends.append(str(args[at]))
        at += 4 + int(args[at + 3])
    return tuple(ends)


# Of each limiter algorithm, the end of its key.
LIMITERS: Final = {"gcra": "gcra", "fixed_window": "fw", "sliding_log": "sl", "sliding_window": "sc", "token_bucket": "tb"}


OPERATIONS: Final[dict[str, Operation]] = {
    operation.name: operation
    for operation in (
        # rate_limiter
        *(Operation(algorithm, "rate_limiter", (end,)) for algorithm, end in LIMITERS.items()),
        Operation("limiter_reset", "rate_limiter", tuple(LIMITERS.values())),
        Operation("limiter_set", "rate_limiter", _limiter_set, calls=tuple(LIMITERS)),
        # circuit_breaker
        Operation("breaker_allow", "circuit_breaker", _BREAKER),
        Operation("breaker_report", "circuit_breaker", _BREAKER),
        Operation("breaker_force", "circuit_breaker", _BREAKER),
        Operation("breaker_set", "circuit_breaker", _BREAKER),
        Operation("breaker_peek", "circuit_breaker", _BREAKER),
        # bulkhead
        Operation("bulkhead_acquire", "bulkhead", ("permits",)),
        Operation("bulkhead_renew", "bulkhead", ("permits",)),
        Operation("bulkhead_release", "bulkhead", ("permits",)),
        Operation("bulkhead_drain", "bulkhead", ("permits",)),
        Operation("bulkhead_inspect", "bulkhead", ("permits",)),
        # lock
        Operation("lock_acquire", "lock", ("lease",)),
        Operation("lock_renew", "lock", ("lease",)),
        Operation("lock_release", "lock", ("lease",)),
        Operation("lock_break", "lock", ("lease",)),
        Operation("lock_inspect", "lock", ("lease",)),
        # config
        Operation("config_put", "resilience", ("current",)),
        Operation("config_get", "resilience", ("current",)),
        Operation("config_seen", "resilience", ("config",)),
        # who lives
        Operation("node_beat", "resilience", ("live",)),
        # which keys a rule refuses most
        Operation("hot_refused", "resilience", ("refused",)),
    )
}
