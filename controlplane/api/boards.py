"""What the boards' endpoints share, and the shapes of their answers in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from controlplane.api.base import ControlView
from controlplane.services.boards import MAX_REASON, StoreAway
from controlplane.services.holds import LONGEST_DRAIN_S
from permissions.api import components
from permissions.api.components import Schema, ref
from permissions.api.openapi import parameter
from permissions.cache.holdings import VERDICTS
from permissions.engine.reasons import Unavailable
from resilience.control import LONGEST_S

T = TypeVar("T")

ANSWERED: Final = (
    "Read at most once a second. `shared` false: the store did not answer, or keeps nothing for others, so this is "
    "what the process that answers knows."
)
NAME: Final = parameter("name", "As code or configuration names it.", {"type": "string"}, where="path")


class BoardView(ControlView):
    """A store that does not answer is 503 with Retry-After."""

    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ()

    def doing(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except StoreAway as error:
            raise Unavailable(error.detail, retry_after_s=1.0) from error


_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_FLAG: Final[Schema] = {"type": "boolean"}
_NUMBER: Final[Schema] = {"type": ["number", "null"]}
_MOMENT: Final[Schema] = {"type": ["number", "null"], "description": "Seconds since 1970."}
_COUNTS: Final[Schema] = {"type": "object", "additionalProperties": _COUNT}
_ANY: Final[Schema] = {"type": "object", "additionalProperties": True}


def _object(properties: Schema, required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required), **more}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _input(properties: Schema, *required: str) -> Schema:
    reason = {**_TEXT, "minLength": 1, "maxLength": MAX_REASON, "description": "Why; kept in the audit. May stand in the query."}
    return _object({**properties, "reason": reason}, required, additionalProperties=False)


def _results(name: str, **more: Schema) -> Schema:
    return _object({"store": ref("BoardStore"), "process": _TEXT, **more, "results": _list(ref(name))})


def _inputs() -> dict[str, Schema]:
    end = {
        "until": {"type": ["string", "number"], "description": "A moment with its zone, or seconds since 1970."},
        "for_s": {"type": "number", "minimum": 1, "maximum": LONGEST_S, "description": "Instead of `until`: from now."},
    }
    key = {**_TEXT, "minLength": 1, "maxLength": 200}
    limit = {"type": ["integer", "null"], "minimum": 1, "description": "null ends the override."}
    drain = {"for_s": {"type": "number", "minimum": 0, "maximum": LONGEST_DRAIN_S}}
    return {
        "Because": _input({}),
        "Force": _input(end),
        "Drain": _input(drain),
        "KeyBecause": _input({"key": key}, "key"),
        "Override": _input({"key": key, "limit": limit, **end}, "key", "limit"),
        "Shadow": _input({"on": _FLAG}, "on"),
    }


def _resilience() -> dict[str, Schema]:
    force = _object({"to": {**_TEXT, "enum": ["open", "closed"]}, "reason": _TEXT, "author": _TEXT, "until": _MOMENT})
    breaker = {
        "name": _TEXT,
        "state": {**_TEXT, "enum": ["closed", "open", "half_open", "forced_open", "forced_closed", "unknown"]},
        "measured_state": {**_TEXT, "enum": ["closed", "open", "half_open", "unknown"]},
        "force": {"anyOf": [force, {"type": "null"}]},
        "shared": _FLAG,
        "of": {**_TEXT, "enum": ["all", "process"], "description": "process: each process keeps it for itself."},
        "source": _TEXT,
        "epoch": _COUNT,
        "since": _MOMENT,
        "openings": _COUNT,
        "next_probe_s": _NUMBER,
        **dict.fromkeys(("calls", "failures", "slow_calls", "consecutive_failures"), _COUNT),
        "failure_share": _NUMBER,
        "probes": _object(dict.fromkeys(("running", "succeeded", "failed"), _COUNT)),
        "reporters": _object(dict.fromkeys(("seen", "failing"), _COUNT)),
        "solo_state": _TEXT,
        "shadow": _FLAG,
        **dict.fromkeys(("window_s", "failure_ratio", "minimum_calls"), _NUMBER),
        "outcomes": _COUNTS,
        "instances": {**_COUNTS, "description": "In how many processes it is in which state."},
        "curve": {**_list(_list({"type": "number"})), "description": "[seconds ago, calls, failures] of the last looks."},
        "problem": _TEXT,
    }
    bulkhead = {
        "name": _TEXT,
        "in_flight": _COUNT,
        "limit": {"type": ["integer", "null"]},
        "share": _NUMBER,
        "drained_s": {"type": "number", "minimum": 0, "description": "For so long nobody is admitted."},
        "source": _TEXT,
        "shared": _FLAG,
        "holders": _list(_object({"owner": _TEXT, "lease_left_s": {"type": "number"}})),
        "refused": _COUNT,
        "instances": _list(_object({"process": _TEXT, "value": _WHOLE})),
        "lease_s": _NUMBER,
        "problem": _TEXT,
    }
    lock = {
        "name": _TEXT,
        "held": _FLAG,
        "owner": _TEXT,
        "fence": {"type": ["integer", "null"]},
        "lease_left_s": _NUMBER,
        "here": {**_FLAG, "description": "The process that answers holds it."},
        "shared": _FLAG,
    }
    store = {
        "name": _TEXT,
        "mode": _TEXT,
        **dict.fromkeys(("ok", "fallback_active", "shared"), _FLAG),
        "latency_ms": _NUMBER,
        "since": _MOMENT,
        "error": _TEXT,
    }
    return {
        "BoardStore": _object(store),
        "Breaker": _object(breaker),
        "Breakers": _results("Breaker"),
        "Bulkhead": _object(bulkhead),
        "Bulkheads": _results("Bulkhead"),
        "Drained": _object({"inside": _COUNT, "bulkhead": ref("Bulkhead")}),
        "Lock": _object(lock),
        "Locks": _results("Lock"),
    }


def _limits() -> dict[str, Schema]:
    held = _object({"limit": _WHOLE, "until": {"type": "number"}})
    rule = {
        "name": _TEXT,
        "algorithm": {"type": ["string", "null"]},
        **dict.fromkeys(("limit", "period_s", "burst", "enforced_percent"), _NUMBER),
        "on_store_down": {"type": ["string", "null"]},
        **dict.fromkeys(("allowed", "refused", "shadow_refused"), _COUNT),
        **dict.fromkeys(("allowed_per_s", "refused_per_s", "shadow_refused_per_s"), _NUMBER),
        **dict.fromkeys(("shadow", "shared", "set_live"), _FLAG),
        "keys": {**_TEXT, "enum": ["clear", "hashed"]},
        "sources": _COUNTS,
        "top": _list(_object({"key": _TEXT, "refusals": _COUNT})),
        "overrides": _list(_object({"key": _TEXT, "limit": _WHOLE, "until": {"type": "number"}})),
        "problem": _TEXT,
    }
    verdict = {
        "rule": _TEXT,
        "key": _TEXT,
        "cost": _COUNT,
        "allowed": {**_FLAG, "description": "By the limit itself; a rule in shadow admits all the same."},
        "shadow": _FLAG,
        "limit": _COUNT,
        "remaining": _COUNT,
        "retry_after_s": {**_NUMBER, "description": "null: never."},
        "reset_after_s": _NUMBER,
        "source": _TEXT,
        "override": {"anyOf": [held, {"type": "null"}]},
    }
    overridden = {"rule": _TEXT, "key": _TEXT, "limit": {"type": ["integer", "null"]}, "until": _MOMENT, "version": _COUNT}
    return {
        "Limit": _object(rule),
        "Limits": _results("Limit", version=_COUNT),
        "LimitVerdict": _object(verdict),
        "Overridden": _object(overridden),
    }


def _cache() -> dict[str, Schema]:
    copy = {
        "verdict": {**_TEXT, "enum": list(VERDICTS)},
        "why": _TEXT,
        "half": _TEXT,
        "known": {"type": ["boolean", "null"]},
        "built_rev": {"type": ["integer", "null"], "description": "B: the revision it was read at."},
        "until": _MOMENT,
        "bytes": {"type": ["integer", "null"]},
        "ttl_s": _NUMBER,
    }
    holdings = {
        "realm": _TEXT,
        "kind": _TEXT,
        "id": _TEXT,
        "revision": {"type": ["integer", "null"], "description": "W of the process that answers."},
        "floor": {"type": ["integer", "null"]},
        "age_s": _NUMBER,
        "filtered": {"type": ["boolean", "null"], "description": "The filter says that no row names it."},
        "last_change": {"type": ["integer", "null"]},
        "process": _TEXT,
        "layers": _object({"memory": _object(copy), "redis": _object(copy)}),
    }
    layer = _object({"layer": _TEXT, "total": _COUNT, "share": _NUMBER})
    state = {
        "frame": _ANY,
        "layers": _list(layer),
        "cold": _FLAG,
        **dict.fromkeys(("fills", "events", "locks", "prefetch", "writes", "rejected", "resets", "capacity"), _COUNTS),
        "errors": _COUNT,
        "second_layer": {**_TEXT, "enum": ["none", "up", "down"]},
        "instances": {**_list(_ANY), "description": "The one that knows the least on top."},
        "complete": {**_FLAG, "description": "false: only the process that answers is counted."},
        "process": _TEXT,
        "realms": {**_list(_ANY), "description": "Of the process that answers."},
    }
    return {"CacheHoldings": _object(holdings), "CacheState": _object(state)}


EXAMPLES: Final[dict[str, Schema]] = {
    "Because": {"reason": "their disk was exchanged"},
    "Force": {"reason": "they move to another data centre", "for_s": 3600},
    "Drain": {"reason": "the host restarts", "for_s": 60},
    "KeyBecause": {"key": "ip:192.0.2.7", "reason": "their office shares one address"},
    "Override": {"key": "key:7", "limit": 1000, "for_s": 7200, "reason": "a migration of theirs"},
    "Shadow": {"on": True, "reason": "to see whom it would refuse"},
}


def publish() -> None:
    """Into the document."""
    components.add({**_inputs(), **_resilience(), **_limits(), **_cache()}, EXAMPLES)
