"""The caches as operators see them: layers, fills, sizes, ages, filters, prefetches; one id looked up; warm-ups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controlplane.services import boards
from controlplane.services.boards import Fresh, checked_reason
from controlplane.services.instances import UNKNOWN_AGE_S, Figures
from controlplane.services.realms import realm_named, require_in
from controlplane.services.rights import CACHE_PAGE, OPERATE, VIEW, control_realm, require
from permissions.cache import figures as cache_figures
from permissions.cache import holdings, l2, warmup
from permissions.cache.holdings import Copy, Holdings
from permissions.cache.realm import SIZE, SIZE_ABSENT, STATES, Kind
from permissions.engine import names
from permissions.errors import Invalid, NotFound, Problem
from permissions.models import Realm
from permissions.writing import Actor, run_write

# Figures of a frame that the board shows as they move, and the counter behind each.
LAYERS: Final = (
    ("l1", "permission_cache_hits_total", "l1"),
    ("redis", "permission_cache_hits_total", "redis"),
    ("db", "permission_cache_misses_total", ""),
    ("filter", "permission_cache_penetration_total", ""),
    ("live", "permission_cache_live_total", ""),
)
FRAME: Final = (
    "hit_rate",
    "hit_l1",
    "hit_redis",
    "misses_per_s",
    "penetration_per_s",
    "live_per_s",
    "invalidations_per_s",
    "l2_errors_per_s",
    "checks_per_s",
)
KINDS: Final[Mapping[str, Kind]] = {"subject": "s", "resource": "r"}


def cache_state(*, actor: Actor) -> dict[str, Any]:
    """Raises Forbidden."""
    require(actor, VIEW, CACHE_PAGE)
    return board()


def board() -> dict[str, Any]:
    """As `cache_state`, for a caller whose right was asked."""
    return _board.get()


def cache_subject(*, actor: Actor, ref: object, kind: object = "subject", realm: object = None) -> dict[str, Any]:
    """What this process and Redis hold of one id. Raises Forbidden, Invalid, NotFound."""
    require(actor, VIEW, CACHE_PAGE)
    if kind not in KINDS:
        raise Invalid([Problem("kind", f"must be one of {', '.join(KINDS)}")])
    try:
        text = names.check_ref(ref, f"the {kind}")
    except names.BadNameError as error:
        raise Invalid([Problem(str(kind), str(error))]) from error
    return holdings_line(holdings.look_up(_realm(actor, realm), KINDS[str(kind)], text))


def _realm(actor: Actor, realm: object) -> str:
    """What another realm holds is told to those only who may look there too."""
    if realm is None or realm == control_realm():
        return control_realm()
    if not isinstance(realm, str):
        raise Invalid([Problem("realm", f"must be a text, not {type(realm).__name__}")])
    name = realm_named(actor, realm).name
    require_in(actor, VIEW, name, CACHE_PAGE)
    return name


def holdings_line(held: Holdings) -> dict[str, Any]:
    """`built_rev` is B, `revision` W."""
    return {
        "realm": held.realm,
        "kind": "subject" if held.kind == "s" else "resource",
        "id": held.ref,
        "revision": held.revision,
        "floor": held.floor,
        "age_s": None if held.age_s is None or held.age_s > UNKNOWN_AGE_S else round(held.age_s, 3),
        "filtered": held.filtered,
        "last_change": held.last_change,
        "process": boards.this_process(),
        "layers": {"memory": _copy_line(held.memory), "redis": _copy_line(held.redis)},
    }


def _copy_line(copy: Copy) -> dict[str, Any]:
    return {
        "verdict": copy.verdict,
        "why": copy.why,
        "half": copy.half,
        "known": copy.known,
        "built_rev": copy.built_rev,
        "until": None if copy.until_us is None else copy.until_us / 1e6,
        "bytes": copy.size_bytes,
        "ttl_s": None if copy.ttl_ms is None or copy.ttl_ms < 0 else round(copy.ttl_ms / 1000, 3),
    }


# Warm-up, of the process that answers


def warm_start(*, actor: Actor, realm: str | None, rate: object, reason: object, request_id: str = "") -> dict[str, Any]:
    """Raises Forbidden, Invalid, NotFound, and AlreadyWarming while another is being worked at."""
    require(actor, OPERATE, CACHE_PAGE)
    why = checked_reason(reason)
    if realm is not None and not Realm.objects.filter(name=realm).exists():
        raise NotFound(f"there is no realm {realm[:100]!r}")
    speed = boards.checked_number("rate", rate, least=1, most=warmup.MOST_RATE)
    _record("cache_warm", actor, why, {"realm": realm, "rate": speed}, request_id)
    return warmup.start(realm, rate=speed).as_values()


def warm_cancel(*, actor: Actor, reason: object, request_id: str = "") -> bool:
    """Whether there was one to cancel. What is filled stays. Raises Forbidden, Invalid."""
    require(actor, OPERATE, CACHE_PAGE)
    why = checked_reason(reason)
    running = warmup.last()
    if running is None or running.state != "running":
        return False
    _record("cache_warm_cancel", actor, why, {"job": running.id}, request_id)
    running.cancel()
    return True


def _record(action: str, actor: Actor, reason: str, told: dict[str, Any], request_id: str) -> None:
    run_write(
        control_realm(),
        actor,
        reason,
        lambda write: write.record(f"control_{action}", "control", "cache", None, told),
        request_id=request_id,
    )


# Reading


def _read() -> dict[str, Any]:
    sums = Figures.now()
    counts = {layer: sums.total(metric, label) for layer, metric, label in LAYERS}
    asked = counts["l1"] + counts["redis"] + counts["db"] + counts["live"]
    frame = boards.frame()
    return {
        "frame": {name: frame.get(name) for name in FRAME},
        "layers": [
            {"layer": layer, "total": round(counts[layer]), "share": round(counts[layer] / asked, 4) if asked else None}
            for layer, _, _ in LAYERS
        ],
        "cold": not asked and not any(len(state.cache.subjects) for state in list(STATES.values())),
        "fills": {layer: round(sums.total("permission_cache_fills_total", layer)) for layer in ("redis", "db")},
        "events": sums.by_first("permission_cache_events_total"),
        "locks": sums.by_first("permission_cache_lock_waits_total"),
        "prefetch": sums.by_first("permission_cache_prefetch_total"),
        "writes": sums.by_first("permission_cache_l2_writes_total"),
        "rejected": sums.by_first("permission_cache_l2_rejected_total"),
        "resets": sums.by_first("permission_cache_resets_total"),
        "errors": round(sums.total("permission_cache_l2_errors_total")),
        "second_layer": _second_layer(),
        "capacity": {"subject": 2 * SIZE, "resource": 2 * SIZE, "absent": 2 * SIZE_ABSENT},
        "instances": sorted(sums.nodes, key=_slowness),
        "complete": sums.complete,
        "process": boards.this_process(),
        "realms": _realms(),
    }


_board: Final = Fresh(_read)


def _second_layer() -> str:
    layer = l2.second_layer()
    if not isinstance(layer, l2.RedisLayer):
        return "none"
    return "up" if layer.is_up else "down"


def _slowness(line: Mapping[str, Any]) -> tuple[float, str]:
    """The one that knows the least on top; who knows no age at all first."""
    age_s = line["age_s"]
    return (float("-inf") if age_s is None and line["realms"] else -(age_s or 0.0), line["id"])


def _realms() -> list[dict[str, Any]]:
    """Of this process: filters and habits are each process's own, and no other can see them."""
    told = cache_figures.stats()["realms"]
    lines = []
    for name, state in sorted(STATES.items()):
        held = told.get(name)
        if held is None:
            continue
        filters = state.cache.filters
        sets = () if filters is None else (("subjects", filters.subjects), ("resources", filters.resources))
        lines.append(
            {
                "realm": name,
                **{part: held[part] for part in ("revision", "floor", "subjects", "resources", "absent")},
                "age_s": held["age_s"] if held["age_s"] < UNKNOWN_AGE_S else None,
                "filters": [
                    {
                        "of": kind,
                        "ids": len(known),
                        "capacity": known.capacity,
                        "fill": round(len(known) / known.capacity, 4),
                        "error_rate": round(known.error_rate, 6),
                        "bytes": known.size_bytes,
                        "crowded": known.is_crowded,
                    }
                    for kind, known in sets
                ],
                "prefetch": held["prefetch"],
            }
        )
    return lines
