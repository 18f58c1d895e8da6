"""Forces of breakers that each process keeps for itself: by way of the configuration, so that every process holds them.

The breakers in front of the database and of the caches must not ask the store that they guard against, so nothing in a store
could tell other processes of a force. The configuration reaches them all, without Redis too, and after a restart.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, Final

from controlplane.services.config import active, values_of
from controlplane.services.control import action_record, section_edit
from controlplane.services.force_settings import FORCES
from permissions.cache import database, l2_link, rebuild_lock
from resilience import config, registry
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.clock import SYSTEM
from resilience.config import Snapshot
from resilience.telemetry import internal_error

SECTION: Final = FORCES.name


_lock = threading.Lock()
# What this process has done of what it was told, by breaker.
_held: dict[str, Mapping[str, Any]] = {}


def known() -> list[str]:
    """Every breaker, those of the caches too before they are first used."""
    for make in (database.breaker, l2_link.breaker, rebuild_lock.breaker):
        make()
    return registry.names("breaker")


def is_own(breaker: CircuitBreaker) -> bool:
    """Whether each process keeps it for itself."""
    return breaker.store.name == "memory"


def breaker_hold(name: str, *, to: str, actor: str, reason: str, until: float) -> None:
    """In every process, until a time; with its entry in the audit. Rights were asked. Raises what a change of the configuration
    raises: then nobody holds it."""
    entry = {"to": to, "reason": reason, "author": actor, "until": until}
    _record(f"force_{to}", name, actor, reason, {"until": until})
    section_edit(SECTION, lambda present: {**_without(present, name), name: entry}, actor=actor, reason=reason)


def breaker_release(name: str, *, actor: str, reason: str) -> None:
    """As breaker_hold; one that nobody holds stays as it is, and that is recorded too."""
    _record("auto", name, actor, reason, {})
    if name in values_of(SECTION, active()):
        section_edit(SECTION, lambda present: _without(present, name), actor=actor, reason=reason)


def _record(action: str, name: str, actor: str, reason: str, detail: Mapping[str, Any]) -> None:
    target = f"breakers.{name}"
    action_record(action=action, target=target, actor=actor, reason=reason, outcome="asked", detail=detail)


def _without(present: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Ends that have passed go too."""
    now = SYSTEM.now_us() / 1e6
    return {other: entry for other, entry in present.items() if other != name and entry.get("until", 0) > now}


# In every process


def connect() -> None:
    """Once, at the app's start: does what the configuration says from now on."""
    config.subscribe_applied(_applied)
    _applied(config.current())


def _applied(snapshot: Snapshot) -> None:
    section = snapshot.section(SECTION)
    if not section and not _held:
        return
    now = SYSTEM.now_us() / 1e6
    with _lock:
        names = set(known())
        wanted = {name: entry for name, entry in section.items() if entry["until"] > now and name in names}
        for name in {*wanted, *_held}:
            before, after = _held.get(name), wanted.get(name)
            if before == after:
                continue
            try:
                _bring(name, after)
            except Exception as error:  # noqa: BLE001 - one that cannot be held must not keep the others, or the configuration
                internal_error("forces", "apply", error)
                continue
            if after is None:
                _held.pop(name, None)
            else:
                _held[name] = after


def _bring(name: str, entry: Mapping[str, Any] | None) -> None:
    breaker: CircuitBreaker = registry.find("breaker", name)
    if not is_own(breaker):
        return
    if entry is None:
        breaker.auto()
        return
    force = breaker.force_open if entry["to"] == "open" else breaker.force_closed
    force(entry["reason"], until=entry["until"], author=entry.get("author", ""))


def _after_fork() -> None:
    """The child holds what its parent did: breakers of memory are copied with it."""
    global _lock  # noqa: PLW0603 - it may have been held by a thread that the child does not have
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
