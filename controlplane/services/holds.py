"""What is held for a while, as operators see it: permits of bulkheads, and locks; draining the ones, breaking the others."""

from __future__ import annotations

from typing import Any, Final

from controlplane.live import tables
from controlplane.services import boards
from controlplane.services.boards import Fresh, action, checked_number, found, is_shared
from controlplane.services.instances import Figures
from controlplane.services.rights import OPERATE, VIEW, on_page, require
from permissions.cache.realm import STATES
from permissions.errors import Invalid, NotFound, Problem
from permissions.writing import Actor
from resilience import registry
from resilience.bulkhead import Bulkhead
from resilience.errors import ConfigInvalid, StorageError
from resilience.lock import LockFactory, LockState
from resilience.lock_base import Held
from resilience.storage.base import default_store
from resilience.storage.keys import check_name
from resilience.telemetry import internal_error

PAGE: Final = on_page("resilience")
REFUSED: Final = "resilience_bulkhead_refused_total"
HERE: Final = "resilience_bulkhead_in_flight"
DRAIN_S: Final = 60.0
LONGEST_DRAIN_S: Final = 86_400.0

# Bulkheads


def bulkheads(*, actor: Actor) -> list[dict[str, Any]]:
    """The fullest first. Raises Forbidden."""
    require(actor, VIEW, PAGE)
    return bulkhead_board()


def bulkhead_board() -> list[dict[str, Any]]:
    """As `bulkheads`, for a caller whose right was asked."""
    return _bulkheads.get()


def bulkhead_one(name: str, *, actor: Actor) -> dict[str, Any]:
    """Raises Forbidden, NotFound."""
    require(actor, VIEW, PAGE)
    return _bulkhead_line(found("bulkhead", name), Figures.now())


def bulkhead_drain(
    name: str, *, actor: Actor, reason: object, for_s: object = None, request_id: str = ""
) -> tuple[int, dict[str, Any]]:
    """How many are inside, and the bulkhead. `for_s` 0 ends a drain. Raises Forbidden, NotFound, Invalid, StoreAway."""
    require(actor, OPERATE, PAGE)
    bulkhead: Bulkhead = found("bulkhead", name)
    span = DRAIN_S if for_s is None else checked_number("for_s", for_s, least=0, most=LONGEST_DRAIN_S)
    with action(actor, reason, request_id=request_id) as why:
        inside = registry.control.drain(name, span, actor=actor.name, reason=why)
    return inside, _bulkhead_line(bulkhead, Figures.now())


def _read_bulkheads() -> list[dict[str, Any]]:
    figures = Figures.now()
    lines = [_guarded(name, figures) for name in registry.names("bulkhead")[: boards.MOST]]
    return sorted(lines, key=lambda line: (-(line["share"] or 0.0), line["name"]))


_bulkheads: Final = Fresh(_read_bulkheads)


def _guarded(name: str, figures: Figures) -> dict[str, Any]:
    """One bulkhead's fault must not hide the others."""
    try:
        return _bulkhead_line(registry.find("bulkhead", name), figures)
    except ConfigInvalid as error:
        problem = error.problem
    except Exception as error:  # noqa: BLE001 - as it says
        internal_error("boards", "bulkhead", error)
        problem = type(error).__name__
    empty: dict[str, Any] = {"in_flight": 0, "limit": None, "share": None, "drained_s": 0.0, "source": "none", "shared": False}
    return {"name": name, **empty, "holders": [], "refused": 0, "instances": [], "lease_s": None, "problem": problem}


def _bulkhead_line(bulkhead: Bulkhead, figures: Figures) -> dict[str, Any]:
    seen = bulkhead.snapshot()
    return {
        "name": seen.name,
        "in_flight": seen.in_flight,
        "limit": seen.limit,
        "share": round(seen.in_flight / seen.limit, 4),
        "drained_s": round(max(0.0, seen.drained_s), 3),
        "source": seen.source,
        "shared": seen.source == "redis",
        "holders": [{"owner": owner, "lease_left_s": round(left_s, 3)} for owner, left_s in seen.holders],
        "refused": round(figures.total(REFUSED, seen.name)),
        "instances": figures.each(HERE, seen.name),
        "lease_s": bulkhead.options["lease_s"],
        "problem": "",
    }


# Locks


def locks(*, actor: Actor) -> list[dict[str, Any]]:
    """Those whose names are known here, the held ones first. Raises Forbidden."""
    require(actor, VIEW, PAGE)
    return lock_board()


def lock_board() -> list[dict[str, Any]]:
    """As `locks`, for a caller whose right was asked."""
    return _locks.get()


def lock_one(name: str, *, actor: Actor) -> dict[str, Any]:
    """Of any name: a free one and one that nobody uses look alike. Raises Forbidden, Invalid."""
    require(actor, VIEW, PAGE)
    return _lock_lines([_checked(name)])[0]


def lock_break(name: str, *, actor: Actor, reason: object, request_id: str = "") -> dict[str, Any]:
    """What was taken from whom. Raises Forbidden, Invalid, StoreAway, and NotFound where nobody holds it."""
    require(actor, OPERATE, PAGE)
    _checked(name)
    store = default_store()
    with action(actor, reason, request_id=request_id) as why:
        if not LockFactory(store).inspect(name).held:
            raise NotFound(f"nobody holds the lock {name}")
        taken = registry.control.break_lock(name, actor=actor.name, reason=why)
    return _lock_line(taken, shared=is_shared(store), here=_held_here().get(name))


def _checked(name: str) -> str:
    try:
        return check_name(name)
    except ValueError as error:
        raise Invalid([Problem("name", str(error))]) from error


def _names() -> list[str]:
    """What this process holds, what others say they hold, and the locks of the caches: no store lists its locks, and to look
    through all its keys would cost everybody."""
    names = set(_held_here())
    names.update(Figures.now().locks)
    for state in list(STATES.values()):
        names.update(f"permission_cache.{work}.{state.head.realm_id}" for work in ("table", "warmup"))
    return sorted(names)[: boards.MOST]


def _read_locks() -> list[dict[str, Any]]:
    lines = _lock_lines(_names())
    return sorted(lines, key=lambda line: (not line["held"], line["name"]))


_locks: Final = Fresh(_read_locks)


def _lock_lines(names: list[str]) -> list[dict[str, Any]]:
    """One pipeline a node for all. What the store does not answer for, this process says what it holds itself."""
    store, here = default_store(), _held_here()
    replies = store.attempt_many([("lock_inspect", name, ()) for name in names]) if names else []
    lines = []
    for name, reply in zip(names, replies, strict=True):
        mine = here.get(name)
        if mine is not None and (isinstance(reply, StorageError) or mine.store is not store):
            left_s = max(0.0, mine.deadline - mine.clock.monotonic())
            state = LockState(name, True, mine.id, mine.fence, left_s)
            lines.append(_lock_line(state, shared=False, here=mine))
        elif isinstance(reply, StorageError):
            lines.append(_lock_line(LockState(name, False, "", 0, 0.0), shared=False, here=None))
        else:
            held, fence, left_us, owner = reply
            state = LockState(name, bool(held), str(owner), int(fence), int(left_us) / 1e6)
            lines.append(_lock_line(state, shared=is_shared(store), here=mine))
    return lines


def _lock_line(state: LockState, *, shared: bool, here: Held | None) -> dict[str, Any]:
    return {
        "name": state.name,
        "held": state.held,
        "owner": state.owner,
        "fence": state.fence or None,
        "lease_left_s": round(max(0.0, state.expires_in_s), 3) if state.held else None,
        "here": here is not None,
        "shared": shared,
    }


def _held_here() -> dict[str, Held]:
    return {hold.name: hold for hold in tables.held_locks()}
