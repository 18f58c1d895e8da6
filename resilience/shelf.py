"""Named strategies of one kind: what the code declares lies below what the live configuration says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from resilience.errors import ConfigInvalid
from resilience.storage.keys import check_name
from resilience.telemetry import emit

Values = Mapping[str, Any]


class Kind(NamedTuple):
    """How one kind is made, read, checked and changed. `check` gets all options together and raises ValueError."""

    name: str
    section: str
    make: Callable[[str, Values], Any]
    options: Callable[[Any], Values]
    check: Callable[[Values], object]
    configure: Callable[[Any, Values], object]


@dataclass(slots=True)
class Entry:
    """`baseline`: the options without any live value, to which a parameter returns that is live no more."""

    defaults: dict[str, Any]
    strategy: Any = None
    baseline: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)

    def changes(self, live: Values) -> dict[str, Any]:
        """What brings the strategy to `live`."""
        back = {name: self.baseline[name] for name in self.live if name not in live and name in self.baseline}
        return {**back, **live}


class Shelf:
    """One object a name. `live()`: the section of the configuration this process runs."""

    def __init__(self, kind: Kind, live: Callable[[], Mapping[str, Values]]) -> None:
        self.kind = kind
        self._live = live
        self._entries: dict[str, Entry] = {}
        # A pipeline is made of strategies of other shelves, never of its own: no lock is waited for twice.
        self._lock = threading.Lock()

    def declare(self, name: str, defaults: Values) -> None:
        """Makes the name and its options known, and nothing else. Raises ValueError when they are known with other options."""
        with self._lock:
            self._declared(name, defaults)

    def get(self, name: str, defaults: Values) -> Any:
        """The strategy of that name; made now if it is asked for the first time."""
        entry = self._entries.get(name)
        if entry is not None and entry.strategy is not None and (not defaults or defaults == entry.defaults):
            return entry.strategy
        with self._lock:
            is_new = name not in self._entries
            entry = self._declared(name, defaults)
            if entry.strategy is None:
                try:
                    entry.strategy = self._made(name, entry)
                except BaseException:
                    if is_new:
                        del self._entries[name]
                    raise
            return entry.strategy

    def find(self, name: str) -> Any:
        """The strategy of a name that the code or the configuration declares; ConfigInvalid for any other."""
        if name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise ConfigInvalid(f"{self.kind.section}.{name!s:.100}", f"there is no such {self.kind.name}; known are {known}")
        return self.get(name, {})

    def names(self) -> list[str]:
        return sorted({*self._entries, *self._live()})

    def made(self) -> dict[str, Any]:
        """The strategies in use, by name."""
        return {name: entry.strategy for name, entry in sorted(self._entries.items()) if entry.strategy is not None}

    def check(self, section: Mapping[str, Values]) -> None:
        """Raises ConfigInvalid where a strategy in use could not take its part of the section."""
        for name, entry in list(self._entries.items()):
            if entry.strategy is None:
                continue
            changes = entry.changes(section.get(name, {}))
            try:
                self.kind.check({**self.kind.options(entry.strategy), **changes})
            except (ValueError, NotImplementedError) as error:
                raise ConfigInvalid(f"{self.kind.section}.{name}", str(error)) from error

    def apply(self, section: Mapping[str, Values]) -> None:
        with self._lock:
            for name, entry in self._entries.items():
                if entry.strategy is not None:
                    self._configure(name, entry, entry.strategy, section.get(name, {}))

    def _declared(self, name: str, defaults: Values) -> Entry:
        entry = self._entries.get(check_name(name))
        if entry is None:
            entry = self._entries[name] = Entry(dict(defaults))
        elif defaults and entry.defaults and entry.defaults != defaults:
            odd = sorted(n for n in {*defaults, *entry.defaults} if defaults.get(n) != entry.defaults.get(n))
            raise ValueError(f"{self.kind.name} {name} is declared already, with another {', '.join(odd)}: declare it once")
        elif defaults and not entry.defaults:
            if entry.strategy is not None:
                self._late(entry, defaults)
            entry.defaults = dict(defaults)
        return entry

    def _late(self, entry: Entry, defaults: Values) -> None:
        """It was asked for by its name alone before the code that declares it was imported."""
        known = {name: value for name, value in defaults.items() if name in self.kind.options(entry.strategy)}
        self.kind.configure(entry.strategy, {name: value for name, value in known.items() if name not in entry.live})
        entry.baseline.update(known)

    def _made(self, name: str, entry: Entry) -> Any:
        live = self._live().get(name, {})
        try:
            strategy = self.kind.make(name, entry.defaults)
        except (TypeError, ValueError) as error:
            if not live and entry.defaults:
                raise ValueError(f"{self.kind.name} {name}: {error}") from error
            if not live:
                problem = f"neither the code nor the configuration says what it is ({error})"
                raise ConfigInvalid(f"{self.kind.section}.{name}", problem) from error
            # What the code leaves open the configuration may say; it then has nothing to return to.
            strategy = self.kind.make(name, {**entry.defaults, **live})
            entry.live = dict(live)
            return strategy
        entry.baseline = dict(self.kind.options(strategy))
        self._configure(name, entry, strategy, live)
        return strategy

    def _configure(self, name: str, entry: Entry, strategy: Any, live: Values) -> None:
        changes = entry.changes(live)
        if entry.live == live:
            return
        try:
            self.kind.configure(strategy, changes)
        except Exception as error:  # noqa: BLE001 - one entry that does not fit must not keep the other names on old values
            # A value that is right by its table may still not fit what the code declared.
            emit("config.rejected", source="registry", path=f"{self.kind.section}.{name}", problem=str(error))
        else:
            entry.live = dict(live)
