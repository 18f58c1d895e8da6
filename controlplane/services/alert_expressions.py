"""Alert rules' expressions: CEL over the last frame and its means, three-valued where figures are missing.

`f` is the last frame, `f1m`, `f5m`, `f15m` its means over one, five and fifteen minutes. A figure that nobody knows is absent:
what needs it is "no data", while `||` and `&&` still answer from the other side, and `has(f.x)` asks. Numbers are doubles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from permissions.conditions.cel import CelLanguage
from permissions.conditions.scanner import tokens_of
from permissions.engine.types import Condition, ConditionError, ConditionSyntaxError

WINDOWS: Final[Mapping[str, int]] = {"f1m": 60, "f5m": 300, "f15m": 900}  # seconds
FRAME: Final = "f"
VARIABLES: Final = frozenset({FRAME, *WINDOWS})

# The figures of a frame; `live` makes them. Numbers have means, flags and texts do not.
NUMBERS: Final = frozenset(
    {
        "nodes",
        "checks_per_s",
        "allowed_per_s",
        "denied_per_s",
        "errors_per_s",
        "deny_share",
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "requests_per_s",
        "hit_rate",
        "hit_l1",
        "hit_redis",
        "misses_per_s",
        "penetration_per_s",
        "live_per_s",
        "invalidations_per_s",
        "l2_errors_per_s",
        "open_breakers",
        "forced_breakers",
        "refused_per_s",
        "limited_share",
        "bulkhead_in_flight",
        "bulkhead_refused_per_s",
        "storage_up",
        "database_up",
        "database_ms",
        "redis_ms",
        "age_s",
        "revision",
        "revision_lag",
        "config_version",
        "config_behind",
        "loop_lag_ms",
        "rss_mb",
        "cpu_percent",
        "sockets",
        "events_dropped_per_s",
        "internal_errors_per_s",
        "condition_errors_per_s",
        "firing",
        "pending",
    }
)
FLAGS: Final = frozenset({"maintenance_open_ended"})
TEXTS: Final = frozenset({"state", "maintenance", "leader"})

Result = Literal["true", "false", "no_data", "error"]
Data = Mapping[str, Mapping[str, Any]]

_LANGUAGE: Final = CelLanguage(VARIABLES)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`values`: the figures that the expression names, as they were; `error`: why there is no answer."""

    result: Result
    values: Mapping[str, float | bool | str | None]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Expression:
    text: str
    figures: tuple[tuple[str, str], ...]  # (variable, figure), as the text names them
    condition: Condition

    def evaluate(self, data: Data) -> Verdict:
        values = {f"{variable}.{name}": data.get(variable, {}).get(name) for variable, name in self.figures}
        try:
            holds = self.condition.evaluate(data)
        except ConditionError as error:
            if any(value is None for value in values.values()):
                return Verdict("no_data", values)
            return Verdict("error", values, str(error)[:300])
        return Verdict("true" if holds else "false", values)


def compiled(text: str) -> Expression:
    """Raises ConditionSyntaxError with a message a person can act on."""
    if not isinstance(text, str):
        raise ConditionSyntaxError(f"must be a text, not {type(text).__name__}")
    condition = _LANGUAGE.compile(text)
    return Expression(text, _figures(text), condition)


def checked(text: str) -> Expression:
    """`compiled`, and tried on frames in which every figure is known, so that a mixture of types is found before it matters."""
    expression = compiled(text)
    # Two of them: what the one side of && or || decides alone hides the other side.
    for number in (0.0, 1e9):
        verdict = expression.evaluate(sample(number))
        if verdict.result == "error":
            raise ConditionSyntaxError(
                f"cannot be evaluated: {verdict.error.partition('. ')[0]}; numbers are doubles, so write 2.0 where you calculate"
            )
    return expression


def data_of(frame: Mapping[str, Any], means: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What expressions see. `means`: by window; whatever is unknown or not finite is left out."""
    return {FRAME: _known(frame), **{window: _known(means.get(window, {})) for window in WINDOWS}}


def sample(number: float = 1.0) -> Data:
    """A frame in which every figure is known; numbers are `number`."""
    frame: dict[str, Any] = dict.fromkeys(NUMBERS, number)
    means = dict(frame)
    frame.update(dict.fromkeys(FLAGS, False), **dict.fromkeys(TEXTS, "ok"))
    return {FRAME: frame, **dict.fromkeys(WINDOWS, means)}


def _known(figures: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, bool | str):
            known[name] = value
        elif isinstance(value, int | float) and math.isfinite(value):
            known[name] = float(value)
    return known


def _figures(text: str) -> tuple[tuple[str, str], ...]:
    """Every `f.name` of the text. Raises ConditionSyntaxError for a name no frame has, or a variable used otherwise."""
    tokens = tokens_of(text)
    found: dict[tuple[str, str], None] = {}
    for n, token in enumerate(tokens):
        if token.kind != "word" or token.value not in VARIABLES or (n and tokens[n - 1].value == "."):
            continue
        following = tokens[n + 1 : n + 3]
        place = f"character {token.at + 1}"
        if len(following) < 2 or following[0].value != "." or following[1].kind != "word":
            raise ConditionSyntaxError(f"{place}: write {token.value}.<figure>, such as {token.value}.checks_per_s")
        name = following[1].value
        allowed = NUMBERS if token.value != FRAME else NUMBERS | FLAGS | TEXTS
        if name not in allowed:
            other = "; it has no mean, ask f" if name in FLAGS | TEXTS else f"; known are {', '.join(sorted(allowed))}"
            raise ConditionSyntaxError(f"{place}: there is no figure {name[:60]!r} in {token.value}{other}")
        found[token.value, name] = None
    if not found:
        raise ConditionSyntaxError("names no figure: it would always answer the same")
    return tuple(found)
