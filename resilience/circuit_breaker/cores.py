"""Breakers of one name and store in a process share one core, for as long as the store lives."""

from __future__ import annotations

import os
import threading
import weakref

from resilience.circuit_breaker.core import Core
from resilience.circuit_breaker.reports import REPORTER
from resilience.clock import Clock
from resilience.storage.base import Storage

# The core lives with its store, not with a breaker: who makes a breaker for each call loses no count.
_cores: weakref.WeakKeyDictionary[Storage, dict[tuple[str, int], Core]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def core_of(name: str, store: Storage, clock: Clock) -> Core:
    with _lock:
        # A core holds its clock, so an id stays that clock's own.
        cores = _cores.setdefault(store, {})
        core = cores.get((name, id(clock)))
        if core is None:
            core = cores[name, id(clock)] = Core(name, store, clock)
        return core


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - who held it does not exist here
    _lock = threading.Lock()
    REPORTER.start_anew()
    for cores in list(_cores.values()):
        for core in cores.values():
            core.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
