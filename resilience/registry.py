"""Named strategies, each made once a process and kept at the live configuration; their health, control, start and stop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from resilience.bulkhead import Bulkhead
from resilience.bulkhead import checked as check_bulkhead
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.circuit_breaker.options import checked as check_breaker
from resilience.clock import SYSTEM, Clock
from resilience.config import LIVE, Live, Snapshot
from resilience.control import Control
from resilience.nodes import BEAT_S, LEASE_S, NodeBeat
from resilience.pipeline import Limit, Pipeline
from resilience.rate_limiter.limiter import RateLimiter
from resilience.rate_limiter.options import checked as check_limiter
from resilience.refusals import Refusals
from resilience.retry import Retry, RetryBudget
from resilience.retry import checked as check_retry
from resilience.shelf import Kind, Shelf, Values
from resilience.storage.base import Storage, default_store, live_processes
from resilience.telemetry import internal_error

__all__ = ["Registry", "breaker", "bulkhead", "control", "health", "limiter", "pipeline", "registry", "retry", "start", "stop"]

# What a pipeline names, by the section its name is looked up in.
_PARTS: Final = {"rate_limit": "limiters", "bulkhead": "bulkheads", "retry": "retries", "breaker": "breakers"}
_PIPELINE: Final = ("fallback", "timeout_s", "attempt_timeout_s", "rate_limit", "key", "cost", "bulkhead", "retry", "breaker")


class Following(Protocol):
    """What keeps the live configuration at its newest version: `config_sources.follower(...)`."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Registry:
    """The strategies of one process by name. Options given to a getter are defaults below the live configuration.

    One name, one object: whoever asks for it gets the same breaker, and with it its state. The module's functions are those of
    the process's own registry; another is for tests.
    """

    def __init__(self, *, live: Live = LIVE, store: Storage | None = None, clock: Clock | None = None) -> None:
        self._live, self._given_store, self._clock = live, store, clock or SYSTEM
        self._shelves = {kind.section: Shelf(kind, self._reader(kind.section)) for kind in self._kinds()}
        self._raw: dict[str, dict[str, Any]] = {}
        self._overrides: dict[tuple[str, str], tuple[int, float]] = {}
        self.control = Control(self.find, live=live, store=store, clock=self._clock)
        self._running: tuple[Following | None, NodeBeat, Refusals] | None = None
        self._outs = (live.add_check(self._check), live.subscribe_applied(self._apply))

    def close(self) -> None:
        """Follows the configuration no more: for tests."""
        for out in self._outs:
            out()

    # Strategies by name

    def breaker(self, name: str, **defaults: Any) -> CircuitBreaker:
        found: CircuitBreaker = self._shelves["breakers"].get(name, defaults)
        return found

    def limiter(self, name: str, **defaults: Any) -> RateLimiter:
        found: RateLimiter = self._shelves["limiters"].get(name, defaults)
        return found

    def bulkhead(self, name: str, **defaults: Any) -> Bulkhead:
        found: Bulkhead = self._shelves["bulkheads"].get(name, defaults)
        return found

    def retry(self, name: str, **defaults: Any) -> Retry:
        """All retries of one name share a budget."""
        found: Retry = self._shelves["retries"].get(name, defaults)
        return found

    def pipeline(self, name: str, **defaults: Any) -> Pipeline:
        """`rate_limit`, `bulkhead`, `retry`, `breaker`: a name or an object; `key`, `cost`: of a rate limit given by its name."""
        found: Pipeline = self._shelves["pipelines"].get(name, defaults)
        return found

    def declare(self, kind: str, name: str, **defaults: Any) -> None:
        """Makes a name known before it is first used: to control, health and the boards."""
        self._shelf(kind).declare(name, defaults)

    def find(self, kind: str, name: str) -> Any:
        """The strategy of a name that the code or the configuration declares. Raises ConfigInvalid for any other."""
        return self._shelf(kind).find(name)

    def names(self, kind: str) -> list[str]:
        return self._shelf(kind).names()

    def names_in(self, section: str) -> list[str]:
        """By the section of the live configuration; none for one that holds no strategies."""
        shelf = self._shelves.get(section)
        return [] if shelf is None else shelf.names()

    def _shelf(self, kind: str) -> Shelf:
        for shelf in self._shelves.values():
            if shelf.kind.name == kind:
                return shelf
        raise ValueError(f"kind is {kind!r}; it takes one of {', '.join(shelf.kind.name for shelf in self._shelves.values())}")

    # Making them

    def _kinds(self) -> tuple[Kind, ...]:
        options, configure = (lambda strategy: strategy.options), (lambda strategy, changes: strategy.configure(**changes))
        return (
            Kind("limiter", "limiters", self._make_limiter, options, check_limiter, configure),
            Kind("breaker", "breakers", self._made(CircuitBreaker), options, check_breaker, configure),
            Kind("bulkhead", "bulkheads", self._made(Bulkhead), options, lambda values: check_bulkhead(**values), configure),
            Kind("retry", "retries", self._make_retry, options, lambda values: check_retry(**values), configure),
            Kind("pipeline", "pipelines", self._make_pipeline, self._pipeline_options, self._check_pipeline, self._recompose),
        )

    def _reader(self, section: str) -> Any:
        return lambda: self._live.current().section(section)

    def _made(self, strategy: type) -> Any:
        ours = {"store": self._given_store, "clock": self._clock}
        return lambda name, options: strategy(name, **{**ours, **options})

    def _make_limiter(self, name: str, options: Values) -> RateLimiter:
        limiter = RateLimiter(name, **{"store": self._given_store, "clock": self._clock, **options})
        self._override(self._live.current(), limiter)
        return limiter

    def _make_retry(self, name: str, options: Values) -> Retry:
        return Retry(name=name, **{"budget": RetryBudget.shared(name), "clock": self._clock, **options})

    def _make_pipeline(self, name: str, options: Values) -> Pipeline:
        self._check_pipeline(options)
        pipeline = Pipeline(name, clock=self._clock, **self._composed(name, options))
        self._raw[name] = dict(options)
        return pipeline

    def _pipeline_options(self, pipeline: Pipeline) -> Values:
        """As they were given: names, not the objects behind them."""
        return {**dict.fromkeys(_PIPELINE), **self._raw.get(pipeline.name, {})}

    def _check_pipeline(self, options: Values) -> None:
        if unknown := sorted(set(options) - set(_PIPELINE)):
            raise ValueError(f"a pipeline has no option {', '.join(unknown)}: known are {', '.join(_PIPELINE)}")
        for part, section in _PARTS.items():
            named = options.get(part)
            if isinstance(named, str) and section in ("limiters", "bulkheads") and named not in self._shelves[section].names():
                raise ValueError(f"{part} names {named}, which neither the code nor the configuration declares")

    def _recompose(self, pipeline: Pipeline, changes: Values) -> None:
        raw = {**self._raw.get(pipeline.name, {}), **changes}
        pipeline.configure(**self._composed(pipeline.name, raw))
        self._raw[pipeline.name] = raw

    def _composed(self, name: str, options: Values) -> dict[str, Any]:
        """The options of a Pipeline, each name replaced by its strategy."""
        parts = {option: options[option] for option in ("fallback", "timeout_s", "attempt_timeout_s") if option in options}
        getters = {"bulkhead": self.bulkhead, "retry": self.retry, "breaker": self.breaker}
        for part, get in getters.items():
            if part in options:
                parts[part] = get(options[part]) if isinstance(options[part], str) else options[part]
        if "rate_limit" in options:
            limit = options["rate_limit"]
            if isinstance(limit, str | RateLimiter):
                limiter = self.limiter(limit) if isinstance(limit, str) else limit
                limit = Limit(limiter, options.get("key") or name, options.get("cost") or 1)
            parts["rate_limit"] = limit
        return parts

    # Live configuration

    def _check(self, snapshot: Snapshot) -> None:
        for section, shelf in self._shelves.items():
            if section != "pipelines":
                shelf.check(snapshot.section(section))

    def _apply(self, snapshot: Snapshot) -> None:
        # Pipelines last: they are made of the others.
        for section, shelf in self._shelves.items():
            shelf.apply(snapshot.section(section))
        for limiter in self._shelves["limiters"].made().values():
            self._override(snapshot, limiter)

    def _override(self, snapshot: Snapshot, limiter: RateLimiter) -> None:
        """Brings the keys that have a limit of their own to the snapshot."""
        section = snapshot.section("overrides")
        if not section and not self._overrides:
            return
        now = self._clock.now_us() / 1e6
        wanted = {
            entry["key"]: (entry["limit"], entry["until"])
            for entry in section.values()
            if entry.get("rule") == limiter.name and entry["until"] > now
        }
        present = {key: given for (rule, key), given in list(self._overrides.items()) if rule == limiter.name}
        for key in {*wanted, *present}:
            if wanted.get(key) == present.get(key):
                continue
            limit, until = wanted.get(key, (None, None))
            try:
                limiter.override(key, limit, until)
            except ValueError as error:
                internal_error("registry", "override", error)
            if limit is None or until is None:
                self._overrides.pop((limiter.name, key), None)
            else:
                self._overrides[limiter.name, key] = (limit, until)

    # Health

    def health(self) -> dict[str, Any]:
        """The store, the breakers, the configuration. Redis down is degraded, and still ready: memory answers. Never raises."""
        store = self._given_store or default_store()
        state = store.health()
        is_whole = state.ok and not state.fallback_active
        now = self._live.current()
        return {
            "status": "ok" if is_whole else "degraded",
            "ready": True,
            "at": time.time(),
            "stores": {
                store.name: {
                    "ok": state.ok,
                    "mode": state.mode,
                    "latency_ms": state.latency_ms,
                    "error": state.error,
                    "since": state.since,
                    "fallback_active": state.fallback_active,
                }
            },
            "breakers": {name: _state_of(found) for name, found in self._shelves["breakers"].made().items()},
            "bulkheads": {name: {"limit": found.limit} for name, found in self._shelves["bulkheads"].made().items()},
            "limiters": {name: dict(found.options) for name, found in self._shelves["limiters"].made().items()},
            "config": {"epoch": now.epoch, "version": now.version, "source": self._live.source},
            "processes": live_processes(),
        }

    # Start and stop

    def start(
        self,
        follower: Following | None = None,
        *,
        store: Storage | None = None,
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
    ) -> None:
        """Follows the configuration and says that this process lives. A server calls it once, a second call does nothing."""
        if self._running is not None:
            return
        store = store or self._given_store or default_store()
        beat, refusals = NodeBeat(store, beat_s=beat_s, lease_s=lease_s), Refusals(store)
        self._running = (follower, beat, refusals)
        if follower is not None:
            follower.start()
        refusals.listen()
        beat.also(refusals.flush)
        beat.start()

    def stop(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        follower, beat, refusals = running
        refusals.close()
        beat.stop()
        if follower is not None:
            follower.stop()


def _state_of(breaker: CircuitBreaker) -> Mapping[str, Any]:
    try:
        return {"state": breaker.state, "measured_state": breaker.measured_state}
    except Exception as error:  # noqa: BLE001 - one breaker's fault must not hide the health of everything else
        internal_error("registry", "health", error)
        return {"state": "unknown", "measured_state": "unknown"}


registry: Final = Registry()
control: Final = registry.control
breaker = registry.breaker
limiter = registry.limiter
bulkhead = registry.bulkhead
retry = registry.retry
pipeline = registry.pipeline
declare = registry.declare
find = registry.find
names = registry.names
names_in = registry.names_in
health = registry.health
start = registry.start
stop = registry.stop
