"""What operators and tests do with a breaker: read its state, force it, change its options, tell and ask at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from resilience import telemetry
from resilience.circuit_breaker.core import Core, Leave
from resilience.circuit_breaker.cores import core_of
from resilience.circuit_breaker.driving import Steps, adrive, drive
from resilience.circuit_breaker.options import Options, Rules, checked
from resilience.circuit_breaker.solo import AT_ONCE
from resilience.circuit_breaker.view import BreakerSnapshot, Gate, Measured, State, View, worse
from resilience.clock import Clock
from resilience.errors import StorageError
from resilience.laws.keyspace import Reply
from resilience.storage.base import Storage, default_store
from resilience.storage.keys import check_name

MAX_TEXT: Final = 500
_NOTHING: Final = (0,) * 10


class Control:
    """The part of a breaker that makes no calls."""

    def __init__(self, name: str, options: Options, store: Storage | None, clock: Clock) -> None:
        self.name = check_name(name)
        if store is not None and not callable(getattr(store, "attempt", None)):
            raise ValueError(f"store is {store!r}; it takes a store, as MemoryStore or RedisStore")
        if not callable(getattr(clock, "stamp_us", None)):
            raise ValueError(f"clock is {clock!r}; it takes a clock, as SystemClock or FakeClock")
        self._rules = Rules(options)
        self._store = store
        self._clock = clock
        self._core: Core | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def store(self) -> Storage:
        """The default store is looked up when it is first needed."""
        if self._store is None:
            self._store = default_store()
        return self._store

    def _resolve(self) -> Core:
        self._core = core = core_of(self.name, self.store, self._clock)
        core.rules = self._rules
        return core

    def _leave_of(self, gate: Gate) -> Leave:
        core = self._core or self._resolve()
        return Leave(self._rules, gate.counts, gate.counts.epoch, gate.solo_epoch, generation=core.generation)

    def _drive(self, steps: Steps[Any]) -> Any:
        return drive(steps, self.store, self.name, self._clock.stamp_us)

    async def _adrive(self, steps: Steps[Any]) -> Any:
        return await adrive(steps, self.store, self.name, self._clock.stamp_us)

    # Options

    @property
    def options(self) -> Mapping[str, Any]:
        return self._rules.options.shown()

    def configure(self, **changes: Any) -> None:
        """Changes options from the next call on; what is measured stays. Raises ValueError, and changes nothing then."""
        self._rules = rules = Rules(checked(changes, self._rules.options))
        if self._core is not None:
            self._core.rules = rules

    # State

    @property
    def state(self) -> str:  # not State: a type checker would hold two readings of it for one
        """closed, open, half_open, forced_open or forced_closed: what the next call would meet.

        Asks the store only where nothing is known here, or where every call asks.
        """
        view = self._known()
        forced = view.forced(self._now())
        if forced:
            return "forced_open" if forced == "open" else "forced_closed"
        return self._measured(view)

    @property
    def measured_state(self) -> str:
        """The state without a person's force."""
        return self._measured(self._known())

    def _now(self) -> int:
        return (self._core or self._resolve()).now()

    def _known(self) -> View:
        core = self._core or self._resolve()
        # Who only looks must hear of changes as well as who calls.
        core.used = True
        core.outbox.follow()
        if (core.solo is None or self._rules.direct or not core.view.state) and core.now() >= core.blind_until:
            self._drive(self._looking(core))
        return core.view

    def _measured(self, view: View) -> Measured:
        core = self._core or self._resolve()
        now = core.now()
        shared = view.measured(now)
        return shared if core.solo is None else worse(shared, core.solo.view.measured(now))

    def _looking(self, core: Core) -> Steps[Reply | None]:
        """The state's figures, None where the store did not answer."""
        try:
            return (yield from core.refreshing())
        except StorageError as error:
            core.lost(error)
            return None

    def snapshot(self) -> BreakerSnapshot:
        """Everything about it, asked of the store; what this process knows, where that does not answer."""
        core = self._core or self._resolve()
        return self._snapshot(core, self._drive(self._looking(core)))

    async def asnapshot(self) -> BreakerSnapshot:
        core = self._core or self._resolve()
        return self._snapshot(core, await self._adrive(self._looking(core)))

    def _snapshot(self, core: Core, reply: Reply | None) -> BreakerSnapshot:
        view, now = core.view, core.now()
        figures = [int(figure) for figure in (reply[12:] if reply is not None else _NOTHING)]
        forced = view.forced(now)
        measured = self._measured(view)
        state: State = measured if not forced else "forced_open" if forced == "open" else "forced_closed"
        solo: Measured = "closed" if core.solo is None else core.solo.view.measured(now)
        if forced == "open":
            left_us: int | None = view.force_until - now
        elif measured == "open":
            ends = [view.until] if view.state == "O" else []
            ends += [core.solo.view.until] if core.solo is not None and solo == "open" else []
            left_us = max(ends) - now
        else:
            left_us = None
        return BreakerSnapshot(
            name=self.name,
            state=state,
            measured_state=measured,
            source="view" if reply is None else core.source,
            epoch=view.epoch,
            retry_after_s=None if left_us is None else max(0, left_us) / 1_000_000,
            openings=0 if reply is None else int(reply[6]),
            since=figures[9] / 1_000_000 if figures[9] else None,
            calls=figures[0],
            failures=figures[1],
            slow_calls=figures[2],
            consecutive_failures=figures[3],
            probes_succeeded=figures[4],
            probes_failed=figures[5],
            probes_running=figures[6],
            reporters_seen=figures[7],
            reporters_failing=figures[8],
            solo_state=solo,
            force=forced,
            force_reason=view.reason if forced else "",
            force_author=view.author if forced else "",
            force_until=view.force_end / 1_000_000 if forced else None,
            shadow=self._rules.options.shadow,
        )

    # At once

    def refresh(self) -> None:
        """Asks the store for the shared state. While that does not answer, what was known stays."""
        self._drive(self._looking(self._core or self._resolve()))

    async def arefresh(self) -> None:
        await self._adrive(self._looking(self._core or self._resolve()))

    def flush(self) -> None:
        """Tells the store what was gathered."""
        core = self._core or self._resolve()
        core.blind_until = 0
        self._drive(core.outbox.flushing())

    async def aflush(self) -> None:
        core = self._core or self._resolve()
        core.blind_until = 0
        await self._adrive(core.outbox.flushing())

    # A person's word

    def force_open(self, reason: str, until: float | None = None, *, author: str = "") -> None:
        """Refuses every call until `until` (seconds since 1970; None: until `auto`, at most 366 days).

        Raises ValueError, and StorageError where the store, and so the fleet, was not reached.
        """
        self._drive(self._forcing("open", reason, until, author))

    def force_closed(self, reason: str, until: float | None = None, *, author: str = "") -> None:
        """Admits every call, and goes on measuring. As force_open."""
        self._drive(self._forcing("closed", reason, until, author))

    def auto(self, *, reason: str = "", author: str = "") -> None:
        """Follows what is measured again."""
        self._drive(self._forcing("auto", reason, None, author))

    async def aforce_open(self, reason: str, until: float | None = None, *, author: str = "") -> None:
        await self._adrive(self._forcing("open", reason, until, author))

    async def aforce_closed(self, reason: str, until: float | None = None, *, author: str = "") -> None:
        await self._adrive(self._forcing("closed", reason, until, author))

    async def aauto(self, *, reason: str = "", author: str = "") -> None:
        await self._adrive(self._forcing("auto", reason, None, author))

    def reset(self) -> None:
        """Closed, nothing counted, for everybody; a force stays. Raises StorageError."""
        self._drive(self._resetting())

    async def areset(self) -> None:
        await self._adrive(self._resetting())

    def _forcing(self, to: str, reason: str, until: float | None, author: str) -> Steps[None]:
        core = self._core or self._resolve()
        until_us = self._end_of_force(until)
        reason, author = _text("reason", reason, least=int(to != "auto")), _text("author", author, least=0)
        sent = core.next_sent()
        reply = yield "breaker_force", (to, until_us, reason, author, core.channel, core.name)
        core.adopt(reply, sent)
        if reply[2] == "forced":
            telemetry.emit("circuit_breaker.forced", name=self.name, to=to, reason=reason, author=author, until=until)
        elif reply[2] == "auto":
            telemetry.emit("circuit_breaker.auto", name=self.name, reason=reason, author=author)

    def _end_of_force(self, until: object) -> int:
        if until is None:
            return 0
        if isinstance(until, bool) or not isinstance(until, int | float) or not math.isfinite(until):
            raise ValueError(f"until is {until!r}; it takes seconds since 1970, or None for no end")
        until_us = round(until * 1_000_000)
        # 2^53 is what the store counts exactly.
        if not self._clock.now_us() < until_us < 2**53:
            raise ValueError(f"until is {until!r}; it takes a time to come, in seconds since 1970")
        return until_us

    def _resetting(self) -> Steps[None]:
        core = self._core or self._resolve()
        sent = core.next_sent()
        reply = yield "breaker_set", ("closed", core.channel, core.name, *AT_ONCE)
        core.adopt(reply, sent)


def _text(name: str, value: object, *, least: int) -> str:
    if not isinstance(value, str) or not least <= len(value.strip()) or len(value) > MAX_TEXT:
        what = f"1 to {MAX_TEXT}" if least else f"at most {MAX_TEXT}"
        raise ValueError(f"{name} is {value!r:.80}; it takes a text of {what} characters")
    return value
