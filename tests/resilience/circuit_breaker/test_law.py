"""The law of the breaker, row by row: what it answers, and what it holds afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from resilience import MemoryStore
from resilience.laws.keyspace import Reply

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
FIGURES = {
    "permits": 1,
    "failures": 1,
    "window": 10 * SECOND,
    "minimum": 4,
    "ratio": 500_000,
    "slow_ratio": 500_000,
    "consecutive": 0,
    "quorum": 1,
    "open": 30 * SECOND,
    "backoff": 1_000,
    "open_max": 300 * SECOND,
    "jitter": 0,
}


class Law:
    """The laws on memory, with the time and the figures of one test."""

    def __init__(self, **figures: int) -> None:
        self.store = MemoryStore()
        self.now = START
        self.figures = {**FIGURES, **figures}
        self.told: list[str] = []
        self.store.bus.subscribe("news", lambda message: self.told.append(message.decode()))

    def allow(self, probe: str = "p", lease_s: float = 30) -> Reply:
        args = (probe, round(lease_s * SECOND), self.figures["permits"], "news", "billing")
        return self.store.run("breaker_allow", "billing", args, self.now)

    def report(
        self, ok: int = 0, bad: int = 0, slow: int = 0, *, tail: int | None = None, probe: str = "", who: str = "me", **more: int
    ) -> Reply:
        figures = {**self.figures, **more}
        epoch = figures.pop("epoch", None)
        batch = (ok, bad, slow, bad if tail is None else tail)
        head = (probe, who, "news", "billing", self.epoch if epoch is None else epoch)
        args: tuple[int | str, ...] = (*head, *batch, *figures.values())
        return self.store.run("breaker_report", "billing", args, self.now)

    def set(self, to: str) -> Reply:
        figures = (self.figures[name] for name in ("open", "backoff", "open_max", "jitter"))
        return self.store.run("breaker_set", "billing", (to, "news", "billing", *figures), self.now)

    def force(self, to: str, until: int = 0) -> Reply:
        return self.store.run("breaker_force", "billing", (to, until, "why", "alice", "news", "billing"), self.now)

    def peek(self) -> Reply:
        return self.store.run("breaker_peek", "billing", (self.figures["window"],), self.now)

    @property
    def epoch(self) -> int:
        return int(self.peek()[4])

    @property
    def state(self) -> Any:
        return self.peek()[3]

    def after(self, seconds: float) -> Law:
        self.now += round(seconds * SECOND)
        return self

    def opened(self) -> Law:
        self.allow()
        assert self.report(bad=4)[2] == "opened"
        return self

    def half_opened(self, probe: str = "p") -> Law:
        self.opened().after(30)
        assert self.allow(probe)[:3] == ["probe", 0, "half_opened"]
        return self


def closed() -> Law:
    law = Law()
    law.allow()
    return law


@pytest.mark.parametrize(
    ("ok", "bad", "slow", "opens"),
    [
        (0, 0, 0, False),
        (0, 3, 0, False),  # below the minimum
        (0, 4, 0, True),
        (2, 2, 0, True),  # exactly the ratio
        (3, 2, 0, False),
        (4, 0, 2, True),  # slow ones have a ratio of their own
        (4, 0, 1, False),
        (100, 0, 0, False),
        (2, 1, 1, False),  # neither ratio is reached; they do not add up
    ],
)
def test_it_opens_at_the_minimum_and_a_ratio(ok: int, bad: int, slow: int, opens: bool) -> None:
    assert (closed().report(ok, bad, slow)[2] == "opened") is opens


def test_a_success_never_opens() -> None:
    law = closed()
    law.report(bad=3)
    # With this one the minimum is reached and the ratio is 3/4: only the next failure may say so.
    assert law.report(ok=1)[2] == ""
    assert law.state == "C"
    assert law.report(bad=1)[2] == "opened"


def test_failures_in_a_row_open_and_a_success_ends_the_row() -> None:
    law = Law(consecutive=3, minimum=1_000)
    law.allow()
    law.report(bad=2)
    law.report(ok=1, bad=1, tail=0)
    law.report(bad=2)
    assert law.state == "C"
    assert law.report(bad=1)[2] == "opened"


def test_the_window_ends_after_nine_to_ten_tenths() -> None:
    for began, after, opens in ((0, 9.999999, True), (0, 10, False), (0, 13, False), (0.9, 9, True), (0.9, 9.1, False)):
        law = closed().after(began)
        law.report(bad=3)
        law.after(after).report(bad=1)
        assert (law.state == "O") is opens


@pytest.mark.parametrize("after_us", [-1, 0])
def test_a_probe_starts_at_exactly_open_s(after_us: int) -> None:
    law = closed().opened()
    law.now += 30 * SECOND + after_us
    reply = law.allow()
    assert reply[0] == ("refuse" if after_us else "probe")
    assert reply[1] == -after_us


@pytest.mark.parametrize(
    ("batch", "to"),
    [({"ok": 1}, "closed"), ({"bad": 1}, "opened"), ({"ok": 1, "slow": 1}, "opened"), ({}, "")],
)
def test_one_success_closes_and_one_failure_or_slow_success_opens(batch: dict[str, Any], to: str) -> None:
    law = Law().half_opened()
    assert law.report(**batch, probe="p")[2] == to
    assert law.state == {"closed": "C", "opened": "O", "": "H"}[to]


def test_a_neutral_probe_gives_its_permit_back() -> None:
    law = Law().half_opened()
    assert law.allow("q")[0] == "refuse"
    law.report(probe="p", epoch=0)
    assert law.allow("q")[0] == "probe"


def test_at_most_the_permits_run_and_that_many_successes_close() -> None:
    law = Law(permits=3).half_opened("p1")
    assert [law.allow(f"p{number}")[0] for number in (2, 3, 4)] == ["probe", "probe", "refuse"]
    assert law.report(ok=1, probe="p1")[2] == ""
    assert law.allow("p4")[0] == "refuse", "two run and one has succeeded: a fourth is not needed"
    law.report(ok=1, probe="p2")
    assert law.report(ok=1, probe="p3")[2] == "closed"


def test_only_successes_close_when_several_failures_are_allowed() -> None:
    law = Law(failures=2).half_opened("p1")
    assert law.report(bad=1, probe="p1")[2] == ""
    assert law.allow("p2")[0] == "probe"
    assert law.report(bad=1, probe="p2")[2] == "opened"


def test_lowered_permits_close_what_has_succeeded_often_enough() -> None:
    law = Law(permits=3).half_opened("p1")
    law.report(ok=1, probe="p1")
    law.figures["permits"] = 1
    assert law.allow("p2")[:3] == ["admit", 0, "closed"]


def test_a_probe_is_given_out_again_at_the_end_of_its_lease() -> None:
    law = Law().half_opened()
    law.now += 30 * SECOND - 1
    assert law.allow("q")[:2] == ["refuse", 1]
    law.now += 1
    assert law.allow("q")[0] == "probe"
    assert law.report(ok=1, probe="p")[0] == "late", "its lease is over, and another probe decides"
    assert law.report(ok=1, probe="q")[2] == "closed"


def test_a_probe_counts_once() -> None:
    law = Law(permits=2).half_opened("p")
    law.report(ok=1, probe="p")
    assert law.report(ok=1, probe="p")[0] == "late"
    assert law.state == "H"


@pytest.mark.parametrize("state", ["C", "O", "H"])
def test_a_report_of_another_epoch_counts_nowhere(state: str) -> None:
    law = {"C": closed, "O": lambda: Law().opened(), "H": lambda: Law().half_opened()}[state]()
    before = law.peek()
    for epoch in (0, law.epoch - 1, law.epoch + 1):
        assert law.report(bad=50, probe="p", epoch=epoch)[0] == "late"
    assert law.peek() == before


def test_every_transition_has_an_epoch_of_its_own_at_least_the_time() -> None:
    law = Law()
    seen = [int(law.allow()[4])]
    for _ in range(3):
        seen.append(int(law.report(bad=4)[4]))
        law.after(30)
        seen.append(int(law.allow("p")[4]))
        seen.append(int(law.report(ok=1, probe="p")[4]))
        law.allow()
    assert seen == sorted(set(seen))
    assert all(epoch >= START for epoch in seen)


def test_no_epoch_returns_after_the_keys_were_lost() -> None:
    law = closed()
    before = law.epoch
    law.store.close()
    law.after(0.000001).allow()
    assert law.epoch > before
    assert law.report(bad=50, epoch=before)[0] == "late"


def test_it_is_closed_after_an_idle_hour_by_its_stamp() -> None:
    law = Law().opened()
    law.after(30 + 3600 - 0.000001)
    assert law.state == "O"
    law.after(0.000001)
    assert law.state == "C"
    assert law.allow()[0] == "admit"


def test_later_openings_last_longer_until_it_was_closed_for_ten_times_as_long() -> None:
    law = Law(backoff=2_000, open_max=100 * SECOND)
    lasted = []
    for _ in range(4):
        law.allow()
        lasted.append(int(law.report(bad=4)[5]) // SECOND)
        law.now += lasted[-1] * SECOND
        law.allow("p")
        law.report(ok=1, probe="p")
    assert lasted == [30, 60, 100, 100]
    law.after(300).allow()
    assert law.report(bad=4)[5] == 30 * SECOND


@pytest.mark.parametrize(("jitter", "second"), [(-200, 48), (200, 72)])
def test_only_later_openings_have_jitter(jitter: int, second: int) -> None:
    law = Law(backoff=2_000, jitter=jitter).opened()
    assert law.peek()[5] == 30 * SECOND
    law.after(30).allow("p")
    assert law.report(bad=1, probe="p")[5] == second * SECOND


def test_without_backoff_every_opening_lasts_exactly_open_s() -> None:
    law = Law(jitter=200).half_opened()
    assert law.report(bad=1, probe="p")[5] == 30 * SECOND


@pytest.mark.parametrize(
    ("seen", "failing", "quorum", "answer"),
    [
        (1, 1, 2, "counted"),  # one of one
        (2, 1, 2, "counted"),  # half of those seen
        (3, 1, 2, "solo"),
        (11, 1, 2, "solo"),
        (11, 2, 2, "counted"),
        (11, 2, 3, "solo"),
        (11, 1, 1, "counted"),
    ],
)
def test_the_shared_state_opens_by_a_quorum_of_reporters(seen: int, failing: int, quorum: int, answer: str) -> None:
    law = Law(quorum=quorum, consecutive=5, minimum=1_000)
    law.allow()
    for number in range(seen - failing):
        law.report(ok=1, who=f"good{number}")
    for number in range(failing):
        reply = law.report(bad=5, who=f"bad{number}")
    assert reply[0] == answer
    assert (reply[2] == "opened") is (answer == "counted")


def test_a_reporter_is_forgotten_after_its_window() -> None:
    law = Law(quorum=2, consecutive=5, minimum=1_000)
    law.allow()
    for number in range(10):
        law.report(ok=1, who=f"good{number}")
    law.after(10)
    assert law.report(bad=5, who="bad")[2] == "opened", "nobody else has been seen lately"


def test_what_is_forced_goes_before_what_is_measured_and_ends_by_its_stamp() -> None:
    law = closed()
    law.force("open", law.now + 5 * SECOND)
    assert law.allow()[:2] == ["refuse", 5 * SECOND]
    law.after(5)
    assert law.allow()[0] == "admit"
    law.opened().force("closed", law.now + 5 * SECOND)
    assert law.allow()[0] == "forced"
    law.after(5)
    assert law.allow()[0] == "refuse"


def test_forced_closed_still_measures() -> None:
    law = closed()
    law.force("closed")
    assert law.report(bad=4)[2] == "opened"
    assert law.allow()[0] == "forced"
    law.force("auto")
    assert law.allow()[0] == "refuse"


def test_a_force_without_an_end_lasts_a_leap_year() -> None:
    law = closed()
    law.force("open")
    assert law.peek()[9] == law.now + 366 * 86_400 * SECOND
    assert law.force("auto")[0] == "done"
    assert law.force("auto")[0] == "none"


def test_a_force_that_has_ended_already_is_none() -> None:
    law = closed()
    law.force("open")
    assert law.force("closed", law.now)[2] == "auto"
    assert law.allow()[0] == "admit"


def test_a_clock_set_back_changes_nothing_but_the_wait() -> None:
    law = Law().opened()
    law.now -= 3600 * SECOND
    assert law.allow()[:2] == ["refuse", 30 * SECOND]
    law.now += 3600 * SECOND + 30 * SECOND
    assert law.allow()[0] == "probe"


def test_every_transition_is_told_with_its_epoch() -> None:
    law = Law().half_opened()
    law.report(ok=1, probe="p")
    law.force("open")
    law.force("auto")
    expected = [("opened", 0), ("half_opened", 0), ("closed", 0), ("forced", 0), ("auto", 0)]
    assert [message.split('"to":"')[1].split('"')[0] for message in law.told] == [to for to, _ in expected]
    assert law.told[-1] == f'{{"type":"circuit_breaker","name":"billing","to":"auto","epoch":{law.epoch}}}'


def test_set_opens_and_closes_under_a_new_epoch() -> None:
    law = Law()
    assert law.set("closed")[0] == "none", "there is nothing to close"
    assert law.set("open")[2] == "opened"
    assert law.set("open")[0] == "none"
    before = law.epoch
    assert law.set("closed")[2] == "closed"
    assert law.epoch > before
