"""What a person may do to a running system: force, reset, override, drain, break. Each with an actor, a reason, and an end."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from resilience import config
from resilience.clock import SYSTEM, Clock
from resilience.config import LIVE, Live
from resilience.errors import ConfigConflict
from resilience.lock import LockFactory, LockState
from resilience.rate_limiter.verdict import Verdict
from resilience.refusals import Refusals, Refused
from resilience.storage.base import Storage, default_store

log = logging.getLogger("resilience.audit")

# Chosen: long enough to repair something, short enough that what is forgotten ends before the next day.
FORCE_S: Final = 3_600.0
LONGEST_S: Final = 2_592_000.0  # 30 days: what must last longer is configuration
ATTEMPTS: Final = 3

Values = Mapping[str, Any]
Edit = Callable[[Values], Values]


class Audit(Protocol):
    """Told before each action; what it raises stops the action. `outcome`: asked, then failed where the action did."""

    def __call__(self, *, action: str, target: str, actor: str, reason: str, outcome: str, detail: Values) -> object: ...


class Writer(Protocol):
    """Changes a section of the live configuration for every process: `edit` gives the new values for the present ones."""

    def __call__(self, section: str, edit: Edit, *, actor: str, reason: str) -> object: ...


class Control:
    """The hooks of one registry. `find(kind, name)`: the named strategy; raises ConfigInvalid for a name nobody knows."""

    def __init__(
        self,
        find: Callable[[str, str], Any],
        *,
        live: Live = LIVE,
        store: Storage | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._find, self._live, self._given_store, self._clock = find, live, store, clock
        self._audit: Audit | None = None
        self._writer: Writer | None = None

    def set_audit(self, audit: Audit | None) -> None:
        """Who records what people did; None: the log."""
        self._audit = audit

    def set_writer(self, writer: Writer | None) -> None:
        """Who changes the configuration where a database is its truth; None: `config.change`."""
        self._writer = writer

    # Breakers

    def force_open(self, breaker: str, *, actor: str, reason: str, until: float | None = None) -> float:
        """Refuses every call, in all processes, until a time (seconds since 1970; if not given, for an hour). Returns the end."""
        return self._force("force_open", breaker, actor, reason, until)

    def force_closed(self, breaker: str, *, actor: str, reason: str, until: float | None = None) -> float:
        """Lets every call through, whatever is measured; see force_open."""
        return self._force("force_closed", breaker, actor, reason, until)

    def auto(self, breaker: str, *, actor: str, reason: str) -> None:
        """Ends a force: the breaker follows its measurements again."""
        found = self._find("breaker", breaker)
        self._do("auto", f"breakers.{breaker}", actor, reason, lambda: found.auto(reason=reason, author=actor))

    def _force(self, action: str, breaker: str, actor: str, reason: str, until: float | None) -> float:
        found = self._find("breaker", breaker)
        end = self._end(until if until is not None else self._clock.now_us() / 1e6 + FORCE_S)
        force = getattr(found, action)
        self._do(action, f"breakers.{breaker}", actor, reason, lambda: force(reason, until=end, author=actor), until=end)
        return end

    # Rate limits

    def reset_key(self, rule: str, key: str, *, actor: str, reason: str) -> None:
        """The key is as if never used."""
        limiter = self._find("limiter", rule)
        self._do("reset_key", f"limiters.{rule}", actor, reason, lambda: limiter.reset(key), key=key)

    def inspect(self, rule: str, key: str) -> Verdict:
        """What the next call of the key would be answered; changes nothing."""
        verdict: Verdict = self._find("limiter", rule).peek(key)
        return verdict

    def override(self, rule: str, key: str, limit: int | None, until: float | None = None, *, actor: str, reason: str) -> float:
        """Gives one key a limit of its own, in all processes, until a time (if not given, for an hour); limit None ends it."""
        self._find("limiter", rule)
        end = self._end(until if until is not None else self._clock.now_us() / 1e6 + FORCE_S)

        def edit(present: Values) -> Values:
            now = self._clock.now_us() / 1e6
            kept = {
                name: entry
                for name, entry in present.items()
                if entry.get("until", 0) > now and (entry.get("rule"), entry.get("key")) != (rule, key)
            }
            if limit is not None:
                kept[secrets.token_hex(8)] = {"rule": rule, "key": key, "limit": limit, "until": end}
            return kept

        detail = {"key": key, "limit": limit, "until": end}
        self._do("override", f"limiters.{rule}", actor, reason, lambda: self._change("overrides", edit, actor, reason), **detail)
        return end

    def shadow(self, rule: str, on: bool, *, actor: str, reason: str) -> None:
        """On: the rule counts and reports, and admits every call; in all processes, until it is switched off."""
        if not isinstance(on, bool):
            raise ValueError(f"on is {on!r}; it takes True or False")
        self._find("limiter", rule)

        def edit(present: Values) -> Values:
            return {**present, rule: {**present.get(rule, {}), "shadow": on}}

        self._do("shadow", f"limiters.{rule}", actor, reason, lambda: self._change("limiters", edit, actor, reason), on=on)

    def top_refused(self, rule: str, most: Any = 10) -> list[Refused]:
        """The keys the rule refuses most, over all processes that run start(); counts halve each minute."""
        self._find("limiter", rule)
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= 100:
            raise ValueError(f"most is {most!r}; it takes an integer from 1 to 100")
        return Refusals(self._store).top(rule, most)

    # Bulkheads and locks

    def drain(self, bulkhead: str, for_s: float = 60.0, *, actor: str, reason: str) -> int:
        """Admits nobody for so long, in any process; who is inside finishes. Answers how many are; `for_s=0` ends a drain."""
        found = self._find("bulkhead", bulkhead)
        act = found.resume if for_s == 0 else lambda: found.drain(for_s)
        inside = self._do("drain", f"bulkheads.{bulkhead}", actor, reason, act, for_s=for_s)
        return int(inside or 0)

    def break_lock(self, name: str, *, actor: str, reason: str) -> LockState:
        """Takes the lock from whoever holds it; the fence keeps what they still write out. Answers what was taken."""
        factory = LockFactory(self._given_store, clock=self._clock)
        state: LockState = self._do("break_lock", f"locks.{name}", actor, reason, lambda: factory.break_lock(name))
        return state

    # The rest

    @property
    def _store(self) -> Storage:
        return self._given_store or default_store()

    def _do(self, action: str, target: str, actor: str, reason: str, act: Callable[[], Any], **detail: Any) -> Any:
        """Nothing happens unrecorded: the record comes first, and one that cannot be written stops the action."""
        _said("actor", actor, 200)
        _said("reason", reason, 500)
        self._record(action, target, actor, reason, "asked", detail)
        try:
            return act()
        except Exception as error:
            self._record(action, target, actor, reason, f"failed: {type(error).__name__}: {error}"[:300], detail)
            raise

    def _record(self, action: str, target: str, actor: str, reason: str, outcome: str, detail: Values) -> None:  # noqa: PLR0917 - one record
        if self._audit is not None:
            self._audit(action=action, target=target, actor=actor, reason=reason, outcome=outcome, detail=detail)
        else:
            log.warning("%s %s by %s, because %s: %s %s", action, target, actor, reason, outcome, dict(detail))

    def _change(self, section: str, edit: Edit, actor: str, reason: str) -> None:
        if self._writer is not None:
            self._writer(section, edit, actor=actor, reason=reason)
            return
        for attempt in range(1, ATTEMPTS + 1):
            try:
                config.change(section, edit(self._live.current().section(section)))
                return
            except ConfigConflict:
                if attempt == ATTEMPTS:
                    raise

    def _end(self, until: object) -> float:
        now = self._clock.now_us() / 1e6
        if isinstance(until, bool) or not isinstance(until, int | float) or not now < until <= now + LONGEST_S:
            raise ValueError(f"until is {until!r}; it takes a time to come, in seconds since 1970, at most 30 days from now")
        return float(until)


def _said(what: str, text: object, most: int) -> None:
    if not isinstance(text, str) or not text.strip() or len(text) > most or not text.isprintable():
        raise ValueError(f"{what} is {text!r:.60}; it takes a text of 1 to {most} printable characters: it will be read later")
