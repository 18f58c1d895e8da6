"""A breaker on memory answers as a reference that keeps every call it ever saw and knows no counters, buckets or epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from resilience import CallPermit, CircuitBreaker, CircuitOpen, FakeClock, MemoryStore

SECOND = 1_000_000
SLOW_US = 2 * SECOND
WINDOW_US = 10 * SECOND
OPEN_US = 30 * SECOND
LEASE_US = 20 * SECOND


@dataclass
class Call:
    """A call under way: in which life of the breaker it began, and as what."""

    permit: CallPermit
    life: int
    began_us: int
    probe: bool


@dataclass
class Reference:
    """`life` begins anew with each transition; what began in an earlier one says nothing about this one."""

    minimum: int
    permits: int
    failures: int
    consecutive: int | None
    state: str = "closed"
    life: int = 0
    until_us: int = 0
    idle_from_us: int = 0
    touched: bool = False
    log: list[tuple[int, bool, bool]] = field(default_factory=list)
    row: int = 0
    probes: dict[int, int] = field(default_factory=dict)
    good: int = 0
    bad: int = 0

    def begin(self, now: int, number: int) -> str:
        """call, probe or refused."""
        self._idle(now)
        if not self.touched:
            # Nothing is held of it: the first to ask begins its hour.
            self.touched, self.idle_from_us = True, now
        if self.state == "open" and now >= self.until_us:
            self._enter("half_open", now)
        if self.state == "closed":
            return "call"
        if self.state == "open":
            return "refused"
        running = [ends for ends in self.probes.values() if ends > now]
        if len(running) + self.good >= self.permits:
            return "refused"
        self.probes[number] = now + LEASE_US
        self.idle_from_us = max(ends for ends in self.probes.values() if ends > now)
        return "probe"

    def end(self, now: int, number: int, call: Call, *, failed: bool, slow: bool) -> None:
        self._idle(now)
        if call.life != self.life:
            return
        if self.state == "half_open":
            if self.probes.pop(number, 0) <= now:
                return
            if failed or slow:
                self.bad += 1
            else:
                self.good += 1
            running = [ends for ends in self.probes.values() if ends > now]
            self.idle_from_us = max([now, *running])
            if self.bad >= self.failures:
                self._enter("open", now)
            elif self.good >= self.permits:
                self._enter("closed", now)
            return
        self.idle_from_us = now
        self.log.append((now, failed, slow))
        self.row = self.row + 1 if failed else 0
        if not failed and not slow:
            return
        index = now // (WINDOW_US // 10)
        lately = [entry for entry in self.log if entry[0] // (WINDOW_US // 10) > index - 10]
        bad = sum(entry[1] for entry in lately)
        slowed = sum(entry[2] for entry in lately)
        often = len(lately) >= self.minimum and (2 * bad >= len(lately) or 2 * slowed >= len(lately))
        if often or (self.consecutive is not None and self.row >= self.consecutive):
            self._enter("open", now)

    def release(self, now: int, number: int) -> None:
        self._idle(now)
        self.probes.pop(number, None)

    def _enter(self, state: str, now: int) -> None:
        self.state = state
        self.life += 1
        self.until_us = self.idle_from_us = now + OPEN_US if state == "open" else now
        self.log, self.probes = [], {}
        self.row = self.good = self.bad = 0

    def _idle(self, now: int) -> None:
        if self.touched and now >= self.idle_from_us + 3600 * SECOND:
            self._enter("closed", now)
            self.touched = False


OPTIONS = st.fixed_dictionaries(
    {
        "minimum_calls": st.integers(1, 5),
        "half_open_permits": st.integers(1, 3),
        "half_open_failures": st.integers(1, 2),
        "consecutive": st.sampled_from([None, 2, 3]),
    }
)
DELAYS = st.sampled_from(
    [0, 1, 1000, SECOND, SECOND, SLOW_US, SLOW_US + 1, 10 * SECOND, LEASE_US, OPEN_US - 1, OPEN_US, 3600 * SECOND]
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), DELAYS),
        st.tuples(st.just("begin"), st.just(0)),
        st.tuples(st.just("call"), st.sampled_from(["good", "bad", "neutral"])),
        st.tuples(st.sampled_from(["good", "bad", "neutral"]), st.integers(0, 5)),
    ),
    max_size=60,
)


@settings(max_examples=400)
@given(OPTIONS, ACTIONS)
def test_it_answers_as_the_reference(options: dict[str, Any], actions: list[tuple[str, Any]]) -> None:
    clock = FakeClock()
    breaker = CircuitBreaker(
        "billing",
        window_s=10,
        open_s=30,
        slow_call_s=2,
        probe_lease_s=20,
        store=MemoryStore(),
        clock=clock,
        **options,
    )
    reference = Reference(
        options["minimum_calls"], options["half_open_permits"], options["half_open_failures"], options["consecutive"]
    )
    under_way: dict[int, Call] = {}

    def begin(number: int) -> None:
        due = reference.begin(clock.now_us(), number)
        try:
            permit = breaker.acquire()
        except CircuitOpen:
            assert due == "refused"
            return
        assert due == ("probe" if permit.is_probe else "call")
        under_way[number] = Call(permit, reference.life, clock.now_us(), permit.is_probe)

    def end(number: int, how: str) -> None:
        call = under_way.pop(number)
        now = clock.now_us()
        if how == "neutral":
            reference.release(now, number)
            call.permit.ignore()
            return
        reference.end(now, number, call, failed=how == "bad", slow=now - call.began_us > SLOW_US)
        if how == "bad":
            call.permit.failure()
        else:
            call.permit.success()

    for number, (action, value) in enumerate(actions):
        if action == "wait":
            clock.advance_us(value)
        elif action in ("begin", "call"):
            begin(number)
            if action == "call" and number in under_way:
                end(number, value)
        elif under_way:
            end(sorted(under_way)[value % len(under_way)], action)
        reference._idle(clock.now_us())
        expected = reference.state
        if expected == "open" and clock.now_us() >= reference.until_us:
            expected = "half_open"
        assert breaker.state == breaker.measured_state == expected
