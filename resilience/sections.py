"""The sections of the live configuration that this package reads, each parameter declared once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilience.params import Mistake, Param, Section, name_text, network_text, path_text, register

# Seconds. A shorter time is not a setting but an outage; 30 days is longer than any state here is worth keeping (chosen).
MIN_S: Final = 0.001
MONTH_S: Final = 2_592_000.0
MAX_LIMIT: Final = 90_000_000  # its square stays below 2^53, which scripts count exactly

ALGORITHMS: Final = ("gcra", "fixed_window", "sliding_window", "sliding_log", "token_bucket")
MODES: Final = ("off", "read_only", "full")


def _(text: str) -> str:
    """Marks a text for the translators of whatever shows it; this package shows nothing."""
    return text


def seconds(
    name: str, default: float | None, help: str, *, least: float = MIN_S, most: float = MONTH_S, nullable: bool = False
) -> Param:
    return Param(name, "float", default, min=least, max=most, help=help, nullable=nullable)


def named(name: str, help: str) -> Param:
    return Param(name, "text", None, min=1, max=100, check=name_text, nullable=True, help=help)


def _limiter(values: Mapping[str, Any]) -> None:
    """What an algorithm does not know is refused here, if the entry names the algorithm; else where the limiter is known."""
    algorithm = values.get("algorithm")
    if algorithm is None:
        return
    if values.get("burst") is not None and algorithm not in ("gcra", "token_bucket"):
        raise Mistake(f"burst is only for gcra and token_bucket, not for {algorithm}")
    if values.get("aligned") and algorithm != "fixed_window":
        raise Mistake(f"aligned is only for fixed_window, not for {algorithm}")
    if values.get("coalesce") and algorithm != "gcra":
        raise Mistake(f"coalesce is only for gcra, not for {algorithm}")
    if algorithm == "sliding_log" and (values.get("limit") or 0) > 1000:
        raise Mistake("limit is at most 1000 for sliding_log, which keeps a stamp for every call")


LIMITERS: Final = register(
    Section(
        "limiters",
        keyed=True,
        help=_("Rate limits by name. What is not set here stays as the code has it; a changed rate keeps the debt of each key."),
        check=_limiter,
        params=(
            Param("algorithm", "choice", "gcra", choices=ALGORITHMS, help=_("How calls are counted.")),
            Param("limit", "int", None, min=1, max=MAX_LIMIT, help=_("Calls admitted in one period.")),
            seconds("period_s", None, _("Length of the period, in seconds.")),
            Param(
                "burst",
                "int",
                None,
                min=1,
                max=MAX_LIMIT,
                nullable=True,
                help=_("Calls admitted at once after a pause; not set: as many as the limit. Only gcra and token_bucket."),
            ),
            Param("aligned", "bool", False, help=_("Windows begin at UTC multiples of the period. Only fixed_window.")),
            Param(
                "on_store_down",
                "choice",
                "local",
                choices=("local", "allow", "deny", "raise"),
                help=_("What holds while the store is away: a share of the limit in memory, everything, nothing, or an error."),
            ),
            Param("deny_cache", "bool", True, help=_("Repeat a refusal from memory for up to a second.")),
            Param(
                "coalesce", "bool", False, help=_("Calls for one key that wait for the store are asked for together. Only gcra.")
            ),
            Param("shadow", "bool", False, help=_("Count and report, but admit every call.")),
            Param(
                "enforced_percent",
                "int",
                100,
                min=0,
                max=100,
                help=_("Percent of the keys that are refused in earnest, chosen by their hash; the others are in shadow."),
            ),
        ),
    )
)


def _override(values: Mapping[str, Any]) -> None:
    if missing := [name for name in ("rule", "key", "limit", "until") if name not in values]:
        raise Mistake(f"lacks {', '.join(missing)}")


def _breaker(values: Mapping[str, Any]) -> None:
    """What is not given may be set in the code: only what stands here together can be judged here."""
    open_s, longest_s = values.get("open_s"), values.get("open_max_s")
    if open_s is not None and longest_s is not None and longest_s < open_s:
        raise Mistake(f"open_max_s is at least open_s, which is {open_s:g}, not {longest_s:g}")


def _retry(values: Mapping[str, Any]) -> None:
    base_s, max_s = values.get("base_s"), values.get("max_s")
    if base_s is not None and max_s is not None and base_s > max_s:
        raise Mistake(f"base_s is at most max_s, which is {max_s:g}, not {base_s:g}")


BREAKERS: Final = register(
    Section(
        "breakers",
        keyed=True,
        help=_("Circuit breakers by name. What is not set here stays as the code has it."),
        check=_breaker,
        params=(
            Param("failure_ratio", "float", 0.5, min=0.001, max=1, help=_("Share of failed calls that opens it.")),
            Param("minimum_calls", "int", 10, min=1, max=1_000_000, help=_("Calls in the window before a ratio counts.")),
            seconds("window_s", 10.0, _("Window of the counts, in seconds."), least=0.1),
            seconds("slow_call_s", None, _("A call longer than this is slow; not set: none is."), nullable=True),
            Param("slow_ratio", "float", None, min=0.001, max=1, nullable=True, help=_("Share of slow calls that opens it.")),
            Param("consecutive", "int", None, min=1, max=1_000_000, nullable=True, help=_("Failures in a row that open it.")),
            seconds("open_s", 30.0, _("How long it stays open before the first probe, in seconds.")),
            seconds("open_max_s", None, _("Longest time open when it opens again and again; not set: 10 times."), nullable=True),
            Param("open_backoff", "float", 1.0, min=1, max=100, help=_("Each opening in a row lasts so many times longer.")),
            Param("half_open_permits", "int", 1, min=1, max=10_000, help=_("Probes at once, and successes that close it.")),
            Param("half_open_failures", "int", 1, min=1, max=10_000, help=_("Failed probes that open it again.")),
            seconds("probe_lease_s", 30.0, _("A probe whose end is never reported counts this long."), least=0.1),
            Param("quorum", "int", 2, min=1, max=10_000, help=_("Processes that must see failures before it opens for all.")),
            seconds("flush_s", 0.1, _("How long results are gathered before they are reported, in seconds."), most=60.0),
            Param("shadow", "bool", False, help=_("Count and report, but let every call through.")),
        ),
    )
)

BULKHEADS: Final = register(
    Section(
        "bulkheads",
        keyed=True,
        help=_("Bulkheads by name. A lowered limit lets those who hold a permit finish."),
        params=(
            Param("max_concurrent", "int", None, min=1, max=1_000_000, help=_("Calls running at once, over all processes.")),
            seconds("lease_s", 30.0, _("A killed holder's permit returns after this time."), least=0.1),
            seconds("max_wait_s", 0.0, _("How long a call waits for a permit, in seconds."), least=0.0),
        ),
    )
)

RETRIES: Final = register(
    Section(
        "retries",
        keyed=True,
        help=_("Retries by name."),
        check=_retry,
        params=(
            Param("attempts", "int", 3, min=1, max=100, help=_("Attempts altogether; 1 repeats nothing.")),
            seconds("base_s", 0.05, _("Upper bound of the first pause, in seconds; it doubles each time."), least=0.0),
            seconds("max_s", 2.0, _("Upper bound of any pause, in seconds."), least=0.0),
            seconds(
                "retry_after_max_s", 30.0, _("A server that asks for a longer pause is not asked again, in seconds."), least=0.0
            ),
        ),
    )
)

PIPELINES: Final = register(
    Section(
        "pipelines",
        keyed=True,
        help=_("Compositions by name. Their order is fixed."),
        params=(
            seconds("timeout_s", None, _("Time for the whole call, in seconds; not set: none."), nullable=True),
            seconds("attempt_timeout_s", None, _("Time for one attempt, in seconds; not set: none."), nullable=True),
            named("rate_limit", _("Name of its rate limit; not set: none.")),
            named("bulkhead", _("Name of its bulkhead; not set: none.")),
            named("retry", _("Name of its retry; not set: none.")),
            named("breaker", _("Name of its circuit breaker; not set: none.")),
        ),
    )
)

OVERRIDES: Final = register(
    Section(
        "overrides",
        keyed=True,
        help=_("Limits of single keys for a time; each ends by itself."),
        params=(
            Param("rule", "text", None, min=1, max=100, check=name_text, help=_("Name of the rate limit.")),
            Param("key", "text", None, min=1, max=200, help=_("The key, as callers name it.")),
            Param("limit", "int", None, min=1, max=MAX_LIMIT, help=_("Calls admitted in one period, instead of the rule's.")),
            Param("until", "moment", None, help=_("When it ends.")),
        ),
        check=_override,
    )
)


def _maintenance(values: Mapping[str, Any]) -> None:
    if values.get("mode", "off") != "off" and not values.get("reason", "").strip():
        raise Mistake("a reason is needed: it is what everybody will be told")


MAINTENANCE: Final = register(
    Section(
        "maintenance",
        keyed=False,
        help=_("The maintenance switch."),
        check=_maintenance,
        params=(
            Param("mode", "choice", "off", choices=MODES, help=_("off; read_only refuses writes; full refuses everything.")),
            Param("reason", "text", "", help=_("What everybody is told.")),
            Param("until", "moment", None, nullable=True, help=_("When it ends by itself; not set: when somebody ends it.")),
            Param("allow", "texts", (), max=64, check=network_text, help=_("Addresses and networks that go on as usual.")),
            Param(
                "paths", "texts", (), max=500, check=path_text, help=_("Only paths that begin so; none and no permission: all.")
            ),
            Param("permissions", "texts", (), max=255, help=_("Only these permissions; a * at the end stands for any rest.")),
        ),
    )
)


def declared() -> tuple[Section, ...]:
    """Those of this package; importing the module registers them."""
    return LIMITERS, BREAKERS, BULKHEADS, RETRIES, PIPELINES, OVERRIDES, MAINTENANCE
