"""Rate limits as operators see and change them: what rules admit and refuse, one key's allowance, overrides, shadow."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from controlplane.services import boards
from controlplane.services.boards import Fresh, action, checked_end, checked_number, found, is_shared
from controlplane.services.config import active
from controlplane.services.instances import Figures
from controlplane.services.rights import OPERATE, VIEW, may, on_page, require
from permissions import conf
from permissions.errors import Invalid, Problem
from permissions.writing import Actor
from resilience import config, registry
from resilience.control import FORCE_S
from resilience.errors import ConfigInvalid, StorageError
from resilience.params import Mistake, Param
from resilience.rate_limiter.limiter import RateLimiter
from resilience.rate_limiter.options import MAX_LIMIT, changed
from resilience.rate_limiter.verdict import Verdict
from resilience.telemetry import internal_error

PAGE: Final = on_page("limits")
DECISIONS: Final = "resilience_rate_limiter_decisions_total"
TOP: Final = 10
# Of a rule: long enough to be steady, short enough to follow an attack.
RATE_SPAN_S: Final = 10.0
_RESULTS: Final = ("allowed", "refused", "shadow_refused")
_KEY: Final = Param("key", "text", None, min=1, max=200)

_looks: dict[str, deque[tuple[float, tuple[float, ...]]]] = {}


def limits(*, actor: Actor) -> list[dict[str, Any]]:
    """Every rule, those that refuse most first. Raises Forbidden."""
    require(actor, VIEW, PAGE)
    clear = may(actor, OPERATE, PAGE)
    return [shown(line, clear=clear) for line in board()]


def limit_one(rule: str, *, actor: Actor) -> dict[str, Any]:
    """Raises Forbidden, NotFound."""
    require(actor, VIEW, PAGE)
    clear = may(actor, OPERATE, PAGE)
    return shown(_line(found("limiter", rule), Figures.now()), clear=clear)


def version() -> int:
    """Of the configuration, which holds overrides and shadow: what If-Match names."""
    now = active()
    return 0 if now is None else now.version


def limit_inspect(rule: str, *, actor: Actor, key: object, cost: object = 1) -> dict[str, Any]:
    """What the key's next call would be answered; changes nothing. Raises Forbidden, NotFound, Invalid, StoreAway."""
    require(actor, VIEW, PAGE)
    limiter: RateLimiter = found("limiter", rule)
    text, number = checked_key(key), int(checked_number("cost", cost, least=1, most=MAX_LIMIT, whole=True))
    try:
        verdict = limiter.peek(text, number)
    except StorageError as error:  # the rule's own policy is to raise while the store is away
        raise boards.StoreAway(f"the store does not answer, and this rule answers nothing without it ({error})") from error
    return _verdict_line(rule, text, number, verdict)


def limit_override(
    rule: str,
    *,
    actor: Actor,
    key: object,
    limit: object,
    reason: object,
    until: object = None,
    for_s: object = None,
    expected: int | None = None,
    request_id: str = "",
) -> float | None:
    """The end; None where `limit` is None, which ends an override. Raises Forbidden, NotFound, Invalid, Stale."""
    require(actor, OPERATE, PAGE)
    limiter: RateLimiter = found("limiter", rule)
    text = checked_key(key)
    number = None if limit is None else int(checked_number("limit", limit, least=1, most=MAX_LIMIT, whole=True))
    if number is not None:
        _fits(limiter, number)
    end = checked_end(until, for_s, default_s=FORCE_S)
    with action(actor, reason, request_id=request_id, expected=expected) as why:
        registry.control.override(rule, text, number, end, actor=actor.name, reason=why)
    return None if number is None else end


def limit_reset(rule: str, *, actor: Actor, key: object, reason: object, request_id: str = "") -> None:
    """The key is as if never used. Raises Forbidden, NotFound, Invalid, StoreAway."""
    require(actor, OPERATE, PAGE)
    found("limiter", rule)
    text = checked_key(key)
    with action(actor, reason, request_id=request_id) as why:
        registry.control.reset_key(rule, text, actor=actor.name, reason=why)


def limit_shadow(
    rule: str, *, actor: Actor, on: object, reason: object, expected: int | None = None, request_id: str = ""
) -> None:
    """On: it counts and reports, and admits every call. Raises Forbidden, NotFound, Invalid, Stale."""
    require(actor, OPERATE, PAGE)
    found("limiter", rule)
    if not isinstance(on, bool):
        raise Invalid([Problem("on", "must be true or false")])
    with action(actor, reason, request_id=request_id, expected=expected) as why:
        registry.control.shadow(rule, on, actor=actor.name, reason=why)


def checked_key(key: object) -> str:
    """Raises Invalid for what is no text of 1 to 200 characters, and for control characters, which no audit line holds."""
    try:
        return str(_KEY.parse(key))
    except Mistake as mistake:
        raise Invalid([Problem("key", str(mistake))]) from None


def hashed(key: str) -> str:
    """The same key gives the same sign, which nobody without the site's secret can try addresses or names against."""
    mac = hmac.new(conf.secret_key().encode(), b"limits:" + key.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return "#" + mac.hexdigest()[:12]


def shown(line: Mapping[str, Any], *, clear: bool) -> dict[str, Any]:
    """Keys are people and addresses: only whoever may act on them sees them as they are."""
    if clear:
        return dict(line)
    hidden = {part: [{**one, "key": hashed(one["key"])} for one in line[part]] for part in ("top", "overrides")}
    return {**line, **hidden, "keys": "hashed"}


# Reading


def board() -> list[dict[str, Any]]:
    """As `limits` with keys in clear, for a caller whose right was asked; see `shown`."""
    return _board.get()


def _read() -> list[dict[str, Any]]:
    names = registry.names("limiter")
    for gone in set(_looks) - set(names):
        _looks.pop(gone, None)
    figures = Figures.now()
    lines = [_guarded(name, figures) for name in names[: boards.MOST]]
    return sorted(lines, key=lambda line: (-(line["refused"] + line["shadow_refused"]), line["name"]))


_board: Final = Fresh(_read)


def _guarded(name: str, figures: Figures) -> dict[str, Any]:
    """One rule's fault must not hide the others."""
    try:
        return _line(registry.find("limiter", name), figures)
    except ConfigInvalid as error:
        problem = error.problem
    except Exception as error:  # noqa: BLE001 - as it says
        internal_error("boards", "limiter", error)
        problem = type(error).__name__
    nothing = dict.fromkeys(("algorithm", "limit", "period_s", "burst", "enforced_percent", "on_store_down"))
    counts = dict.fromkeys(_RESULTS, 0)
    rates = dict.fromkeys([f"{result}_per_s" for result in _RESULTS])
    rest = {"shadow": False, "shared": False, "set_live": True, "keys": "clear", "sources": {}, "top": [], "overrides": []}
    return {"name": name, **nothing, **counts, **rates, **rest, "problem": problem}


def _line(limiter: RateLimiter, figures: Figures) -> dict[str, Any]:
    options = limiter.options
    sums = dict.fromkeys(_RESULTS, 0.0)
    sources: dict[str, float] = {}
    for (result, source), number in figures.rows(DECISIONS, limiter.name).items():
        sums[result] = sums.get(result, 0.0) + number
        sources[source] = sources.get(source, 0.0) + number
    live = config.current()
    return {
        "name": limiter.name,
        **{name: options[name] for name in ("algorithm", "limit", "period_s", "burst", "enforced_percent", "on_store_down")},
        **{result: round(sums[result]) for result in _RESULTS},
        **_rates(limiter.name, tuple(sums[result] for result in _RESULTS)),
        "shadow": options["shadow"],
        "shared": is_shared(limiter.core.store) and boards.store_line()["shared"],
        "set_live": limiter.name in live.section("limiters"),
        "keys": "clear",
        "sources": {source: round(number) for source, number in sorted(sources.items())},
        "top": _top(limiter.name),
        "overrides": _overrides(limiter.name, live.section("overrides")),
        "problem": "",
    }


def _rates(rule: str, sums: tuple[float, ...]) -> dict[str, float | None]:
    """By the second, over the last looks; None before the second one, and after a process took its counts with it."""
    now = boards.now_s()
    looks = _looks.setdefault(rule, deque(maxlen=60))
    while looks and now - looks[0][0] > RATE_SPAN_S:
        looks.popleft()
    before = looks[0] if looks else None
    if not looks or now - looks[-1][0] >= boards.EVERY_S / 2:
        looks.append((now, sums))
    names = [f"{result}_per_s" for result in _RESULTS]
    if before is None or now - before[0] < boards.EVERY_S / 2:
        return dict.fromkeys(names)
    span_s = now - before[0]
    return {
        name: round((later - earlier) / span_s, 2) if later >= earlier else None
        for name, later, earlier in zip(names, sums, before[1], strict=True)
    }


def _top(rule: str) -> list[dict[str, Any]]:
    return [{"key": key, "refusals": number} for key, number in registry.control.top_refused(rule, TOP)]


def _overrides(rule: str, section: Mapping[str, Any]) -> list[dict[str, Any]]:
    now = boards.now_s()
    held = [entry for entry in section.values() if entry.get("rule") == rule and entry.get("until", 0) > now]
    return [
        {"key": entry["key"], "limit": entry["limit"], "until": entry["until"]}
        for entry in sorted(held, key=lambda entry: (entry["until"], entry["key"]))
    ]


def _verdict_line(rule: str, key: str, cost: int, verdict: Verdict) -> dict[str, Any]:
    own = next((one for one in _overrides(rule, config.current().section("overrides")) if one["key"] == key), None)
    return {
        "rule": rule,
        "key": key,
        "cost": cost,
        # A rule on trial admits all the same; this is what the limit itself says.
        "allowed": verdict.allowed and not verdict.is_shadow,
        "shadow": verdict.is_shadow,
        "limit": verdict.limit,
        "remaining": verdict.remaining,
        # null: never, for it costs more than is ever admitted at once.
        "retry_after_s": verdict.retry_after_s if math.isfinite(verdict.retry_after_s) else None,
        "reset_after_s": verdict.reset_after_s if math.isfinite(verdict.reset_after_s) else None,
        "source": verdict.source,
        "override": None if own is None else {"limit": own["limit"], "until": own["until"]},
    }


def _fits(limiter: RateLimiter, limit: int) -> None:
    """Raises Invalid for a limit the rule's algorithm cannot count: found in each process, it would be passed over there."""
    options = limiter.core.options
    own = {"limit": limit} if options.burst is None else {"limit": limit, "burst": limit}
    try:
        changed(options, own)
    except ValueError as error:
        raise Invalid([Problem("limit", str(error))]) from error
