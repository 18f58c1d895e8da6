"""Live configuration: versioned snapshots, applied whole or not at all; the ports to where they come from.

A snapshot is newer by (epoch, version). Readers take `current()` once a call: one reference, swapped when a whole snapshot has
been found right. `config_follower` keeps it at the newest version, `config_sources` has the adapters.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

from resilience import params, telemetry
from resilience.errors import ConfigInvalid
from resilience.sections import declared

Sections = Mapping[str, Mapping[str, Any]]
CHANNEL: Final = "resilience:config_updated"
SWITCH: Final = "maintenance"  # the one section that is taken from a version wrong elsewhere
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`sections`: as read from a source; typed and read-only once it is `current()`. Epoch 0, version 0: defaults alone."""

    epoch: int = 0
    version: int = 0
    sections: Sections = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int]:
        return self.epoch, self.version

    def section(self, name: str) -> Mapping[str, Any]:
        return self.sections.get(name, _EMPTY)

    def with_section(self, name: str, values: Mapping[str, Any]) -> Snapshot:
        """The next version. An epoch begins with its first change."""
        return Snapshot(self.epoch or time.time_ns() // 1000, self.version + 1, {**self.sections, name: values})


class Untrusted(ConfigInvalid):
    """What a source holds is not ours: unreadable, or sealed with another key."""


class ConfigSource(Protocol):
    """`read` gives what is there, None when nothing is. Raises StorageError, OSError or ConfigInvalid."""

    @property
    def name(self) -> str: ...
    def read(self) -> Snapshot | None: ...


class ConfigStore(ConfigSource, Protocol):
    def put(self, snapshot: Snapshot, *, force: bool = False) -> bool:
        """Keeps the snapshot if it is newer than what is there; `force`: whatever is there. False: something newer is."""
        ...


@dataclass(frozen=True, slots=True)
class Process:
    """What one process runs. `problem`: why it refused the newest version; empty while it has it."""

    id: str
    host: str
    pid: int
    epoch: int
    version: int
    source: str
    problem: str
    age_s: float


class Board(Protocol):
    """Where processes say which version they run, and see what the others do. Both raise StorageError."""

    def report(self, snapshot: Snapshot, source: str, problem: str) -> None: ...
    def processes(self) -> list[Process]: ...


class Live:
    """What this process runs: one reference, and who wants to know when it is swapped."""

    def __init__(self) -> None:
        self._current = Snapshot()
        self._lock = threading.RLock()
        self._checks: tuple[Callable[[Snapshot], object], ...] = ()
        self._applied: tuple[Callable[[Snapshot], object], ...] = ()
        self.source = "default"

    def current(self) -> Snapshot:
        return self._current

    def consider(self, snapshot: Snapshot, source: str) -> bool:
        """Applies the snapshot if it is newer. Raises ConfigInvalid for one that is wrong anywhere.

        Nothing of a wrong one is used but its maintenance switch, where that is right: a version that was good until an upgrade
        tightened a bound must neither end a maintenance nor keep anybody from ending one.
        """
        with self._lock:
            if snapshot.key <= self._current.key:
                return False
            try:
                typed = self._checked(snapshot)
            except ConfigInvalid:
                self._take_the_switch(snapshot)
                raise
            self.source = source
            self._swap(typed)
        telemetry.gauge("resilience_config_version", typed.version)
        telemetry.emit("config.applied", epoch=typed.epoch, version=typed.version, source=source)
        return True

    def _take_the_switch(self, snapshot: Snapshot) -> None:
        """The caller holds the lock. Position and source stay: a good version of the same number is still to come."""
        try:
            values = params.validate(SWITCH, snapshot.section(SWITCH))
        except ConfigInvalid:
            return
        now = self._current
        if values != now.section(SWITCH):
            self._swap(Snapshot(now.epoch, now.version, MappingProxyType({**now.sections, SWITCH: values})))

    def _swap(self, snapshot: Snapshot) -> None:
        """The caller holds the lock."""
        self._current = snapshot
        for callback in self._applied:
            try:
                callback(snapshot)
            except Exception as error:  # noqa: BLE001 - one listener's fault must not keep the others on old values
                telemetry.internal_error("config", "applied", error)

    def check(self, sections: Sections) -> None:
        """Raises ConfigInvalid where this process could not run the whole of it. Applies nothing."""
        self._checked(Snapshot(0, 0, sections))

    def _checked(self, snapshot: Snapshot) -> Snapshot:
        found = params.validate_all(snapshot.sections)
        frozen: dict[str, Mapping[str, Any]] = {}
        for name, values in found.items():
            keyed = params.section_of(name).keyed
            frozen[name] = MappingProxyType({k: MappingProxyType(v) for k, v in values.items()} if keyed else values)
        typed = Snapshot(snapshot.epoch, snapshot.version, MappingProxyType(frozen))
        for check in self._checks:
            try:
                check(typed)
            except ValueError as error:
                raise ConfigInvalid("sections", str(error)) from error
        return typed

    def subscribe_applied(self, callback: Callable[[Snapshot], object]) -> Callable[[], None]:
        """Calls `callback(snapshot)` after each swap, in the thread that swapped. Returns a way out."""
        with self._lock:
            self._applied = (*self._applied, callback)
        return lambda: self._drop(callback)

    def add_check(self, check: Callable[[Snapshot], object]) -> Callable[[], None]:
        """`check(snapshot)` raises ConfigInvalid or ValueError for values that this process cannot run. Returns a way out."""
        with self._lock:
            self._checks = (*self._checks, check)
        return lambda: self._drop(check)

    def _drop(self, callback: Callable[[Snapshot], object]) -> None:
        with self._lock:
            self._applied = tuple(other for other in self._applied if other is not callback)
            self._checks = tuple(other for other in self._checks if other is not callback)

    def reset(self) -> None:
        """Back to defaults, telling the listeners: for tests."""
        with self._lock:
            self._current, self.source = Snapshot(), "default"
            for callback in self._applied:
                callback(self._current)

    def forget_lock(self) -> None:
        """For a forked child: the thread that held the lock does not exist there."""
        self._lock = threading.RLock()


declared()  # a snapshot can be judged only once its sections are known
LIVE: Final = Live()
current = LIVE.current
subscribe_applied = LIVE.subscribe_applied
add_check = LIVE.add_check


class Following(Protocol):
    """The follower of this process."""

    def processes(self) -> list[Process]: ...
    def change(self, section: str, values: Mapping[str, Any]) -> Snapshot: ...
    def offer(self, snapshot: Snapshot, source: str) -> bool: ...


_following: Following | None = None


def set_following(following: Following | None) -> None:
    """Told by the follower that starts or stops."""
    global _following  # noqa: PLW0603 - one a process
    _following = following


def following() -> Following | None:
    return _following


def this_process(live: Live = LIVE, problem: str = "") -> Process:
    now = live.current()
    host, pid = socket.gethostname(), os.getpid()
    return Process(f"{host}:{pid}", host, pid, now.epoch, now.version, live.source, problem, 0.0)


def processes() -> list[Process]:
    """What each live process runs, as far as this one can learn it."""
    return [this_process()] if _following is None else _following.processes()


def offer(snapshot: Snapshot, source: str) -> bool:
    """Applies here at once what this process has just written to the truth. A wrong one is refused and told, never raised."""
    if _following is not None:
        return _following.offer(snapshot, source)
    try:
        return LIVE.consider(snapshot, source)
    except ConfigInvalid as error:
        telemetry.internal_error("config", "offer", error)
        return False


def change(section: str, values: Mapping[str, Any]) -> Snapshot:
    """Changes one section where no database holds the truth: for all who share the store, or for this process alone.

    Raises ConfigInvalid, and ConfigConflict when another process was quicker.
    """
    if _following is not None:
        return _following.change(section, values)
    changed = LIVE.current().with_section(section, params.validate(section, values))
    LIVE.consider(changed, "memory")
    return LIVE.current()
